"""The mailbox: latest only, expiring, bounded, signed."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.bcdb.notary import PEOPLE, Desk, Meddler, edited, filled, run
from tfgrid.core import errors, limits
from tfgrid.core.clock import ManualClock
from tfgrid.core.transport import Request
from tfgrid.ledger import bcdb


@pytest.fixture
def desk() -> Desk:
    """A ledger in memory that knows alice and bob."""
    made = Desk()
    run(filled(made, 0))
    run(filled(made, 0, who="bob"))
    return made


def _letter(desk: Desk, who: str = "alice", *, signer: str = "", **fields: Any) -> bcdb.Letter:
    message = bcdb.Message(
        ledger=desk.trust.ledger, author=PEOPLE[who].identity, box="status:x", sequence=1,
        at=desk.clock.now_ms(), ttl_seconds=20, payload="up",
    )  # fmt: skip
    return bcdb.sign_message(msgspec.structs.replace(message, **fields), PEOPLE[signer or who])


def test_the_latest_message_of_each_author_is_read(desk: Desk) -> None:
    """A newer message replaces the older; each author has boxes of its own; a prefix finds many."""
    alice, bob = desk.author("alice"), desk.author("bob")

    async def scene() -> None:
        await alice.post("status:a", "one", ttl_seconds=20)
        await alice.post("status:a", "two", ttl_seconds=20)
        await bob.post("status:a", "three", ttl_seconds=20)
        await bob.post("logs:c/web", "lines", ttl_seconds=20)
        found = await desk.client.messages("status:")
        assert sorted(message.payload for message in found) == ["three", "two"]
        assert [
            m.payload
            for m in await desk.client.messages(author=PEOPLE["bob"].identity, prefix="logs:")
        ] == ["lines"]
        follower = desk.follower()
        await follower.sync()
        assert len(await desk.client.messages(view=follower.view)) == 3

    run(scene())


def test_messages_expire(desk: Desk) -> None:
    """After its time a message is gone, and cannot be posted again."""
    assert isinstance(desk.clock, ManualClock)
    letter = _letter(desk)
    run(desk.client.post(letter))
    desk.clock.advance(21)

    assert run(desk.client.messages()) == []
    with pytest.raises(errors.NotAllowed, match="TFG-2224"):
        run(desk.client.post(letter))


def test_posting_the_same_letter_again_is_safe(desk: Desk) -> None:
    """The same letter again is no conflict; an older or other one with its sequence is."""
    run(desk.client.post(_letter(desk, sequence=5)))
    run(desk.client.post(_letter(desk, sequence=5)))
    for other in (_letter(desk, sequence=4), _letter(desk, sequence=5, payload="other")):
        with pytest.raises(errors.Conflict, match="TFG-2221") as caught:
            run(desk.client.post(other))
        assert caught.value.details["expected"] == 6


@pytest.mark.parametrize(
    ("who", "fields", "code"),
    [
        ("alice", {"ledger": "1" * 64}, "TFG-2223"),
        ("eve", {}, "TFG-2223"),
        ("alice", {"signer": "bob"}, "TFG-1413"),
        ("alice", {"ttl_seconds": 0}, "TFG-1103"),
        ("alice", {"ttl_seconds": limits.mailbox_ttl_seconds_max + 1}, "TFG-1103"),
        ("alice", {"box": "no colon"}, "TFG-1103"),
        ("alice", {"box": "status:" + "x" * 200}, "TFG-1103"),
        ("alice", {"at": 1}, "TFG-2224"),
        ("alice", {"at": 2**52}, "TFG-2224"),
        ("alice", {"payload": "\u20ac" * 30_000}, "TFG-2225"),
        ("alice", {"payload": "x" * 70_000}, "TFG-1103"),
    ],
)
def test_letters_that_are_refused(desk: Desk, who: str, fields: dict[str, Any], code: str) -> None:
    """Foreign, forged, untimely, malformed and oversized letters are refused and not kept."""
    with pytest.raises(errors.GridError, match=code):
        run(desk.client.post(_letter(desk, who, **fields)))
    assert run(desk.client.messages()) == []


def test_the_mailbox_is_bounded(desk: Desk) -> None:
    """Letters, bytes and one author's boxes are bounded; expired letters make room."""
    assert isinstance(desk.clock, ManualClock)
    now = desk.clock.now_ms()
    by_count = bcdb.Mailbox(letters_max=2)
    by_bytes = bcdb.Mailbox(bytes_max=3)
    for box in (by_count, by_bytes):
        box.post(_letter(desk, box="a:1", payload="x"), now_ms=now)
        box.post(_letter(desk, box="a:2", payload="yy", ttl_seconds=100), now_ms=now)
        box.post(_letter(desk, box="a:2", payload="zz", sequence=2, ttl_seconds=100), now_ms=now)
        with pytest.raises(errors.Busy, match="TFG-2222"):
            box.post(_letter(desk, box="a:3", payload="x"), now_ms=now)
        box.post(_letter(desk, box="a:3", payload="x", at=now + 30_000), now_ms=now + 30_000)
        letters = box.read(prefix="", author="", now_ms=now + 30_000).letters
        assert [letter.message.box for letter in letters] == ["a:2", "a:3"]
    crowded = bcdb.Mailbox()
    for count in range(limits.mailbox_boxes_per_author_max):
        crowded.post(_letter(desk, box=f"a:{count}"), now_ms=now)
    with pytest.raises(errors.Busy, match="TFG-2222"):
        crowded.post(_letter(desk, box="a:one-more"), now_ms=now)
    crowded.post(_letter(desk, "bob", box="a:one-more"), now_ms=now)
    assert crowded.read(prefix="", author="", now_ms=now).more


def test_forged_letters_are_left_out(desk: Desk) -> None:
    """A server that changes a letter, or shows an expired one, is not believed."""
    assert isinstance(desk.clock, ManualClock)
    run(desk.client.post(_letter(desk)))
    run(desk.client.post(_letter(desk, "bob")))
    meddler = Meddler(desk)

    def change(answer: dict[str, Any]) -> dict[str, Any]:
        first, second = answer["letters"]
        return answer | {
            "letters": [first | {"message": first["message"] | {"payload": "down"}}, second]
        }

    meddler.change = edited(change, path="mailbox")
    client = bcdb.Client(meddler.transport(), desk.trust)
    assert [message.payload for message in run(client.messages())] == ["up"]
    old = run(desk.service.handle(Request(method="GET", path="/v1/mailbox")))
    desk.clock.advance(30)
    meddler.change = lambda request, answer: old if "mailbox" in request.path else answer
    assert run(client.messages()) == []
