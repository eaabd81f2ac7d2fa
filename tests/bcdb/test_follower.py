"""Followers, and servers that do not tell them the truth."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from tests.bcdb.notary import PEOPLE, REGISTRY, Desk, Meddler, Note, edited, filled, run
from tfgrid.core import errors
from tfgrid.core.clock import ManualClock
from tfgrid.core.store import MemoryStore
from tfgrid.core.transport import MemoryTransport, Request, Response
from tfgrid.ledger import bcdb


def _halted(follower: bcdb.Follower, code: str) -> bcdb.Halt:
    """The follower halts with this reason, keeps it in its store, and refuses from then on."""
    for _attempt in range(2):
        with pytest.raises(errors.VerificationFailed, match="TFG-2121"):
            run(follower.sync())
    assert follower.halted is not None
    assert follower.halted.code == code
    assert follower.halted.shown
    return follower.halted


def _fork(desk: Desk, count: int, *, keyring: str = "notary", who: str = "alice") -> Desk:
    """Another ledger from the same genesis, at the same time, signed with the same key."""
    clock = ManualClock(now_ms=1_750_000_000_000)
    other = Desk(clock=clock, keyring=keyring)
    assert (other.trust == desk.trust) == (keyring == "notary")
    run(filled(other, count, who=who))
    return other


def test_a_follower_has_the_ledgers_view() -> None:
    """A follower reads all entries and holds the ledger's own view and root."""
    desk = Desk()
    entries = run(filled(desk, 10))
    follower = desk.follower()

    new = run(follower.sync())

    assert [entry.position for entry in new] == list(range(12))
    assert new[2:] == entries
    assert follower.head == desk.ledger.head[1]
    assert follower.view.dump() == desk.ledger.reader().view.dump()
    assert run(follower.sync()) == []


def test_long_logs_come_in_pages() -> None:
    """A log longer than a page arrives whole, and a restart replays it without network."""
    desk, store = Desk(), MemoryStore()
    run(filled(desk, 600))
    follower = desk.follower(store)
    assert len(run(follower.sync())) == 602
    run(desk.author("alice").submit("note.set", Note(name="late", text="x")))
    assert len(run(follower.sync())) == 1

    desk.transport.cut = True
    again = desk.follower(store)

    assert again.size == 603
    assert again.head == follower.head
    assert again.view.dump() == follower.view.dump()
    desk.transport.cut = False
    assert run(again.sync()) == []


def test_a_rewritten_history_halts_for_good() -> None:
    """Another history under the same genesis and key ends the following, also after a restart."""
    desk = Desk()
    run(filled(desk, 5))
    for count in (5, 9):
        store = MemoryStore()
        follower = desk.follower(store)
        run(follower.sync())
        before = follower.view.dump()
        liar = _fork(desk, count, who="bob")
        follower._transport = liar.transport

        halt = _halted(follower, "TFG-2123")

        assert halt.believed == desk.ledger.head[0]
        assert halt.shown == liar.ledger.head[0]
        assert follower.view.dump() == before
        reborn = desk.follower(store)
        assert reborn.halted == halt
        _halted(reborn, "TFG-2123")


def test_a_ledger_that_shrank_halts_for_good() -> None:
    """A newer checkpoint of a smaller tree is proof of a rollback."""
    desk = Desk()
    run(filled(desk, 5))
    follower = desk.follower()
    run(follower.sync())

    follower._transport = _fork(desk, 3).transport

    _halted(follower, "TFG-2125")


def test_an_old_head_shown_again_does_not_halt() -> None:
    """Somebody on the way replays an old answer: refused, and the next true answer is believed."""
    desk = Desk()
    assert isinstance(desk.clock, ManualClock)
    run(filled(desk, 3))
    meddler = Meddler(desk)
    follower = desk.follower(transport=meddler.transport())
    old = run(desk.service.handle(Request(method="GET", path="/v1/feed", query={"first": "5"})))
    desk.clock.advance(20)
    run(desk.author("bob").register())
    run(follower.sync())
    meddler.change = lambda _request, _answer: old

    for _attempt in range(2):
        with pytest.raises(errors.VerificationFailed, match=r"TFG-2122|TFG-2113"):
            run(follower.sync())

    assert follower.halted is None
    meddler.change = lambda _request, answer: answer
    assert run(follower.sync()) == []


def test_another_ledger_or_key_is_refused() -> None:
    """Another ledger, or this one under another key, is never believed; the true one still is."""
    desk = Desk()
    run(filled(desk, 2))
    follower = desk.follower()
    run(follower.sync())
    before = follower.view.dump()
    trust = msgspec.structs.replace(desk.trust, keys=(PEOPLE["eve"].public,))
    follower._transport = _fork(desk, 2, keyring="eve").transport

    for refusing in (follower, desk.follower(trust=trust)):
        for _attempt in range(2):
            with pytest.raises(errors.VerificationFailed, match="TFG-2124"):
                run(refusing.sync())
        assert refusing.halted is None

    assert follower.view.dump() == before
    follower._transport = desk.transport
    assert run(follower.sync()) == []


def test_nobody_on_the_way_can_halt_a_follower() -> None:
    """True checkpoints with false leaves and false proofs are refused, and prove nothing."""
    desk = Desk()
    run(filled(desk, 5))
    follower = desk.follower()
    run(follower.sync())
    run(desk.author("bob").register())
    liar = _fork(desk, 9, who="bob")

    async def lie(request: Request) -> Response:
        answer = await liar.service.handle(request)
        signed = edited(lambda document: document | {"checkpoint": desk.ledger.head[0]})
        return signed(request, answer)

    follower._transport = MemoryTransport(lie)
    for _attempt in range(2):
        with pytest.raises(errors.GridError):
            run(follower.sync())

    assert follower.halted is None
    follower._transport = desk.transport
    assert len(run(follower.sync())) == 1


def test_kept_back_entries_are_noticed() -> None:
    """A server that hides the last entries, or any in the middle, is not believed."""
    desk = Desk()
    run(filled(desk, 5))
    meddler = Meddler(desk)

    def hide(count: int) -> Any:
        def change(page: dict[str, Any]) -> dict[str, Any]:
            return page | {"leaves": page["leaves"][:count], "bodies": page["bodies"][:count]}

        return edited(change, path="feed")

    for count, code in ((0, "TFG-2115"), (3, "TFG-2113")):
        meddler.change = hide(count)
        follower = desk.follower(transport=meddler.transport())
        with pytest.raises(errors.VerificationFailed, match=code):
            run(follower.sync())
        assert follower.size == 0
        assert follower.halted is None

    meddler.change = edited(
        lambda page: (
            page | {"leaves": page["leaves"][:2] + page["leaves"][3:], "bodies": page["bodies"][1:]}
        ),
        path="feed",
    )
    with pytest.raises(errors.VerificationFailed, match="TFG-2113"):
        run(desk.follower(transport=meddler.transport()).sync())


def test_wrong_bodies_are_refused() -> None:
    """A body with other bytes, sent along or fetched, is refused and nothing is applied."""
    desk = Desk()
    run(filled(desk, 2))
    meddler = Meddler(desk)

    def swap(answer: dict[str, Any]) -> dict[str, Any]:
        bodies = answer["bodies"]
        return answer | {"bodies": [bodies[0], *reversed(bodies[1:])]} if bodies[0] else answer

    meddler.change = edited(swap)
    for wants in (None, lambda _header: True):
        follower = desk.follower(transport=meddler.transport(), wants=wants)
        with pytest.raises(errors.VerificationFailed, match="TFG-2114"):
            run(follower.sync())
        assert follower.size == 0
        assert follower.halted is None


def test_only_wanted_bodies_are_fetched() -> None:
    """Unwanted entries are judged by their headers, identities always in full."""
    desk = Desk()
    run(filled(desk, 14))
    run(desk.author("alice").rotate())
    run(desk.author("bob").register())
    meddler = Meddler(desk)
    follower = desk.follower(
        transport=meddler.transport(), wants=lambda header: "note:n3" in header.tags
    )

    run(follower.sync())

    assert [key for key, _ in follower.view.scan("note")] == ["n3"]
    asked = [r.query["positions"] for r in meddler.requests if r.path == "/v1/bodies"]
    assert asked == ["0,1,5,12,16,17"]
    state = bcdb.identity_state(follower.view, PEOPLE["alice"].identity)
    assert state is not None
    assert state.index == 1


def test_an_entry_against_the_rules_halts_for_good() -> None:
    """A ledger that signs for an entry which the rules refuse has lied, whatever its proofs say."""
    desk = Desk()
    run(filled(desk, 2))
    follower = desk.follower()
    run(follower.sync())
    desk.ledger.registry = bcdb.registry(_lax())  # type: ignore[misc]
    signed, body = desk.signed_note("alice", 3, body=Note(name="n1", text="x", count=0), tags=())
    run(desk.ledger.submit(signed, body))

    halt = _halted(follower, "TFG-2126")

    assert "entry 4" in halt.reason


def _lax() -> tuple[bcdb.Kind[Any], ...]:
    def nothing(*_args: Any) -> None:
        pass

    return (bcdb.Kind(name="note.set", body_type=Note, check=nothing, apply=nothing),)


def test_damage_on_the_way_never_halts_or_passes() -> None:
    """Any flipped byte of an answer is refused without halting, and nothing of it is believed."""
    desk = Desk()
    run(filled(desk, 3))
    meddler = Meddler(desk)
    whole = run(desk.service.handle(Request(method="GET", path="/v1/feed", query={"bodies": "1"})))
    for index in range(0, len(whole.body), 37):
        damaged = bytearray(whole.body)
        damaged[index] ^= 1
        body = bytes(damaged)

        def change(request: Request, answer: Response, body: bytes = body) -> Response:
            return Response(status=200, body=body) if request.path == "/v1/feed" else answer

        meddler.change = change
        follower = desk.follower(transport=meddler.transport())
        with pytest.raises(errors.VerificationFailed):
            run(follower.sync())
        assert follower.size == 0
        assert follower.halted is None


def test_hostile_answers_are_refused() -> None:
    """Deep, huge, empty and foreign answers are named errors, never a crash."""
    desk = Desk()
    run(filled(desk, 1))
    for answer in (
        Response(status=200, body=b"[" * 100_000),
        Response(status=200, body=b""),
        Response(status=200, body=b"null"),
        Response(status=200, body=b"\xff" * 100),
        Response(status=200, body=b'{"first":0}'),
        Response(status=500, body=b"<html>"),
        Response(
            status=500,
            body=b'{"code":"TFG-9999","detail":"x","error":"SystemExit","details":{"code":1}}',
        ),
        Response(status=302),
    ):
        meddler = Meddler(desk)
        meddler.change = lambda _request, _answer, answer=answer: answer  # type: ignore[misc]
        with pytest.raises(errors.GridError):
            run(desk.follower(transport=meddler.transport()).sync())


def test_a_damaged_store_heals_and_keeps_its_pin() -> None:
    """A follower whose copy is damaged fetches it again, and still knows its checkpoint."""
    desk, store = Desk(), MemoryStore()
    run(filled(desk, 5))
    run(desk.follower(store).sync())
    name = next(name for name in store.names() if "segments" in name)
    data = bytearray(store.read(name) or b"")
    data[len(data) // 2] ^= 1
    store.write(name, bytes(data))

    again = desk.follower(store)

    assert again.size == 0
    assert again.head == desk.ledger.head[1]
    assert len(run(again.sync())) == 7
    store.write(name, bytes(data))
    liar = _fork(desk, 5, who="bob")
    fooled = desk.follower(store, transport=liar.transport)
    _halted(fooled, "TFG-2123")


def test_staleness_is_told() -> None:
    """A ledger that shows the same head for long is stale, and a new head makes it fresh."""
    desk = Desk()
    assert isinstance(desk.clock, ManualClock)
    run(filled(desk, 1))
    meddler = Meddler(desk)
    follower = desk.follower(transport=meddler.transport())
    assert follower.stale_seconds() == math.inf
    run(follower.sync())
    assert follower.stale_seconds() == 0
    frozen = run(desk.service.handle(Request(method="GET", path="/v1/feed", query={"first": "3"})))
    meddler.change = lambda _request, _answer: frozen
    desk.clock.advance(90)
    run(follower.sync())

    assert follower.stale_seconds() == 90
    assert follower.order_time_ms() == desk.clock.now_ms()
    meddler.change = lambda _request, answer: answer
    run(follower.sync())
    assert follower.stale_seconds() == 0


def test_a_head_from_the_past_is_never_fresh() -> None:
    """A follower that starts on a frozen ledger does not take its head for a fresh one."""
    desk = Desk()
    frozen = run(desk.service.handle(Request(method="GET", path="/v1/feed", query={"bodies": "1"})))
    later = ManualClock(now_ms=desk.clock.now_ms() + 3_600_000)

    async def answer(_request: Request) -> Response:
        return frozen

    follower = bcdb.Follower(
        MemoryTransport(answer), desk.trust, registry=REGISTRY, store=MemoryStore(), clock=later
    )
    run(follower.sync())

    assert follower.size == 1
    assert follower.stale_seconds() == math.inf


def test_a_full_disk_stops_nothing_for_good() -> None:
    """A follower whose store is full says so, and goes on when there is room."""
    desk, store = Desk(), MemoryStore()
    run(filled(desk, 3))
    follower = desk.follower(store)
    store.fail_writes = True
    with pytest.raises(errors.Failed, match="TFG-1201"):
        run(follower.sync())
    store.fail_writes = False

    run(follower.sync())

    assert follower.size == 5
    assert desk.follower(store).view.dump() == desk.ledger.reader().view.dump()
