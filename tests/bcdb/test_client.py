"""Clients that verify, and authors whose answers get lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from tests.bcdb.notary import PEOPLE, REGISTRY, Desk, Meddler, Note, edited, filled, run
from tfgrid.core import canonical, errors
from tfgrid.core.clock import ManualClock
from tfgrid.core.store import MemoryStore
from tfgrid.core.transport import MemoryTransport, Request, Response
from tfgrid.ledger import bcdb


def _with(**fields: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda document: document | fields


def _through(desk: Desk, meddler: Meddler, name: str) -> bcdb.Author:
    client = bcdb.Client(meddler.transport(), desk.trust)
    return bcdb.Author(PEOPLE[name], client, desk.clock, registry=REGISTRY)


def test_entries_are_found_and_verified() -> None:
    """By position, digest, kind, tag and author, each with its body."""
    desk = Desk()
    entries = run(filled(desk, 9))

    async def scene() -> None:
        client = bcdb.Client(desk.transport, desk.trust)
        entry, body = await client.entry(3)
        assert entry == entries[1]
        assert b"text 1" in body
        assert (await client.entry(entry.digest))[0] == entry
        tagged = await client.find(tag="note:n1")
        assert [entry.position for entry, _ in tagged] == [3, 10]
        assert len(await client.find(kind="note.set")) == 9
        assert len(await client.find(kind="note.set", limit=4)) == 4
        assert [e.position for e, _ in await client.find(kind="note.set", first=9)] == [9, 10]
        assert len(await client.find(author=PEOPLE["alice"].identity)) == 10
        assert await client.find(tag="note:none") == []
        assert await client.bodies([entry]) == [body]

    run(scene())


def test_a_search_goes_over_several_answers() -> None:
    """More matches than one answer holds arrive all, once and in order."""
    desk = Desk()
    run(filled(desk, 300))

    found = run(desk.client.find(kind="note.set", limit=1000))

    assert [entry.position for entry, _ in found] == list(range(2, 302))


def _in_entry(**fields: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A change of fields in the answer's entry; functions get the old value."""

    def change(document: dict[str, Any]) -> dict[str, Any]:
        entry = dict(document["entry"])
        for name, value in fields.items():
            entry[name] = value(entry[name]) if callable(value) else value
        return document | {"entry": entry}

    return change


def _in_note(old: str, new: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda document: document | {"checkpoint": document["checkpoint"].replace(old, new)}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (_in_entry(position=2), "TFG-2111"),
        (_in_entry(proof=lambda proof: proof[:-1]), "TFG-2111"),
        (_in_entry(proof=lambda proof: proof * 2), "TFG-2111"),
        (_in_entry(proof=lambda proof: proof[::-1]), "TFG-2111"),
        (_in_entry(leaf=lambda leaf: leaf | {"order_time": 1}), "TFG-2111"),
        (_in_entry(body="e30"), "TFG-2114"),
        (_in_entry(body=None), "TFG-2113"),
        (_with(extra=1), "TFG-2113"),
        (_in_note("\n", "\r\n"), "TFG-2101"),
        (_in_note("order_time", " order_time"), "TFG-2101"),
    ],
)
def test_changed_answers_are_refused(change: Any, code: str) -> None:
    """Whatever part of an answer is changed, the client names it and returns nothing."""
    desk = Desk()
    run(filled(desk, 7))
    meddler = Meddler(desk)
    meddler.change = edited(change, path="entries/3")

    with pytest.raises(errors.VerificationFailed, match=code):
        run(bcdb.Client(meddler.transport(), desk.trust).entry(3))


def test_an_answer_to_another_question_is_refused() -> None:
    """A true entry that is not the one asked for, by position, search or submission, is refused."""
    desk = Desk()
    run(filled(desk, 3))
    meddler = Meddler(desk)
    client = bcdb.Client(meddler.transport(), desk.trust)
    true = {
        path: run(desk.service.handle(Request(method="GET", path=path, query={"body": "1"})))
        for path in ("/v1/entries/2", "/v1/entries")
    }
    meddler.change = lambda request, _answer: true[
        "/v1/entries"
        if request.path == "/v1/entries" and request.method == "GET"
        else "/v1/entries/2"
    ]

    with pytest.raises(errors.VerificationFailed, match="TFG-2113"):
        run(client.entry(3))
    with pytest.raises(errors.VerificationFailed, match="TFG-2113"):
        run(client.find(kind="identity.create"))
    with pytest.raises(errors.VerificationFailed, match="TFG-2113"):
        run(client.submit(*desk.signed_note("alice", 4)))


def test_a_forked_or_shrunk_ledger_is_refused() -> None:
    """A client that saw a head refuses another history, and a newer head with fewer entries."""
    desk, store = Desk(), MemoryStore()
    run(filled(desk, 5))
    run(bcdb.Client(desk.transport, desk.trust, store=store).checkpoint())
    liar = Desk(clock=ManualClock())
    run(filled(liar, 9, who="bob"))
    later = ManualClock()
    small = Desk(clock=later)
    run(filled(small, 2))
    later.advance(60)

    for other, code in ((liar, "TFG-2112"), (small, "TFG-2125")):
        client = bcdb.Client(other.transport, desk.trust, store=store)
        assert client.head == desk.ledger.head[1]
        with pytest.raises(errors.VerificationFailed, match=code):
            run(client.checkpoint())
        assert client.head == desk.ledger.head[1]


def test_answers_that_cross_are_joined() -> None:
    """Many questions at once, while the log grows, are all believed and end at the newest head."""
    desk = Desk()
    run(filled(desk, 2))

    async def scene() -> None:
        client = bcdb.Client(desk.transport, desk.trust)
        await client.checkpoint()
        alice = desk.author("alice")
        for count in range(5):
            late = await desk.service.handle(
                Request(method="GET", path="/v1/checkpoint", query={"known": "0"})
            )
            await alice.submit("note.set", Note(name="page", text="x", count=count))
            await client.checkpoint()
            old = msgspec.json.decode(late.body)
            await client._believe(old["checkpoint"], old["consistency"], 0)
            assert client.head == desk.ledger.head[1]

    run(scene())


def test_a_lost_answer_is_asked_for_again() -> None:
    """When answers are lost, the entry is in the ledger once and the caller gets its place."""
    desk = Desk()
    run(filled(desk, 0))
    meddler = Meddler(desk)
    alice = _through(desk, meddler, "alice")

    async def scene() -> None:
        await alice.submit("note.set", Note(name="page", text="first"))
        meddler.lost = 1
        entry = await alice.submit("note.set", Note(name="page", text="second"))
        assert entry.position == 3
        meddler.lost = 2
        with pytest.raises(errors.Unreachable):
            await alice.submit("note.set", Note(name="page", text="third"))
        assert (await alice.submit("note.set", Note(name="page", text="third"))).position == 4
        meddler.lost = 2
        with pytest.raises(errors.Unreachable):
            await alice.submit("note.set", Note(name="page", text="fourth"))
        assert (await alice.submit("note.set", Note(name="page", text="fifth"))).position == 6

    run(scene())

    texts = [body.split(b'"text":')[1] for _, body in run(desk.client.find(kind="note.set"))]
    assert texts == [b'"first"}', b'"second"}', b'"third"}', b'"fourth"}', b'"fifth"}']


def test_two_programs_with_one_identity_take_turns() -> None:
    """Authors that share an identity lose no entry and write none twice."""
    desk = Desk()
    run(filled(desk, 0))

    async def scene() -> None:
        authors = [desk.author("alice") for _ in range(3)]
        for count in range(9):
            await authors[count % 3].submit(
                "note.set", Note(name="page", text=f"{count}", count=count)
            )

    run(scene())

    assert desk.ledger.head[1].size == 11


def test_an_author_is_not_talked_into_signing_twice() -> None:
    """A server that says a sequence is taken, and cannot show by what, gets no second signature."""
    desk = Desk()
    run(filled(desk, 0))
    refusal = run(desk.service.handle(_submission(desk, 9)))
    assert refusal.status == 409
    posts: list[Request] = []

    async def withheld(request: Request) -> Response:
        if request.method == "POST":
            posts.append(request)
            return refusal
        return await desk.service.handle(request)

    alice = bcdb.Author(
        PEOPLE["alice"], bcdb.Client(MemoryTransport(withheld), desk.trust), desk.clock
    )
    with pytest.raises(errors.Conflict, match="TFG-2004"):
        run(alice.submit("note.set", Note(name="page", text="x"), ("note:page",)))
    assert len(posts) == 1


def _submission(desk: Desk, sequence: int) -> Request:
    signed, body = desk.signed_note("alice", sequence)
    return Request(method="POST", path="/v1/entries", body=canonical.encode(signed) + b"\n" + body)


def test_an_author_registers_once_and_rotates() -> None:
    """Registration is safe to repeat, and after a rotation the new keyring signs."""
    desk = Desk()

    async def scene() -> None:
        alice = desk.author("alice")
        first = await alice.register()
        assert await alice.register() == first
        keyring = await alice.rotate()
        assert keyring.generation == 1
        await alice.submit("note.set", Note(name="page", text="x"))
        state = await desk.client.identity(PEOPLE["alice"].identity)
        assert state.keys == (keyring.public,)
        with pytest.raises(errors.VerificationFailed, match="TFG-1413"):
            await desk.author("alice").submit("note.set", Note(name="page", text="old key"))
        second = bcdb.Author(keyring, desk.client, desk.clock, registry=REGISTRY)
        assert (await second.rotate()).generation == 2

    run(scene())


def test_concurrent_submissions_of_one_author_are_all_placed() -> None:
    """One author used from many tasks at once writes each entry once."""
    desk = Desk()
    run(filled(desk, 0))

    async def scene() -> list[bcdb.Entry]:
        alice = desk.author("alice")
        return await asyncio.gather(
            *(alice.submit("note.set", Note(name=f"n{i}", text="x")) for i in range(20))
        )

    assert len({entry.position for entry in run(scene())}) == 20


def test_an_identity_chain_cannot_be_another() -> None:
    """A server that shows somebody else's events, or leaves out the inception, proves nothing."""
    desk = Desk()
    run(filled(desk, 0))
    run(desk.author("alice").rotate())
    run(desk.author("bob").register())
    bob = PEOPLE["bob"].identity
    for events in ([1], [2], [1, 1], [3, 1], [1, 2]):
        meddler = Meddler(desk)
        meddler.change = edited(_with(events=events), path="authors/")
        with pytest.raises(errors.GridError):
            run(bcdb.Client(meddler.transport(), desk.trust).identity(bob))


def test_a_false_accusation_is_refused() -> None:
    """A double signature that the author did not make proves nothing."""
    desk = Desk()
    run(filled(desk, 2))
    signed, body = desk.signed_note("alice", 1, body=Note(name="page", text="other"))
    with pytest.raises(errors.Conflict):
        run(desk.ledger.submit(signed, body))
    by_eve = bcdb.sign_header(signed.header, PEOPLE["eve"])
    for other in (by_eve, desk.signed_note("eve", 1)[0]):
        meddler = Meddler(desk)
        plain = msgspec.to_builtins(other)
        meddler.change = edited(_with(other=plain), path="equivocations")
        with pytest.raises(errors.VerificationFailed, match="TFG-2113"):
            run(bcdb.Client(meddler.transport(), desk.trust).equivocation(PEOPLE["alice"].identity))
