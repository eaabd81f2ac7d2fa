"""What every orderer promises; `solo` in a directory and in memory face the same jury."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bcdb.notary import PEOPLE, RNG, Desk, Note, filled, run
from tfgrid.core import errors, limits
from tfgrid.core.clock import ManualClock, SystemClock
from tfgrid.core.identity import Keyring
from tfgrid.core.store import MemoryStore
from tfgrid.ledger import bcdb


@pytest.fixture(params=["memory", "directory"])
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    """A ledger with each orderer in turn."""
    made = Desk(directory=tmp_path / "ledger" if request.param == "directory" else None)
    yield made
    made.close()


def test_positions_are_consecutive_and_time_never_goes_back(desk: Desk) -> None:
    """Entries stand in a row, and a clock that jumps back does not take the ledger along."""

    async def scene() -> list[bcdb.Entry]:
        entries = await filled(desk, 5)
        assert isinstance(desk.clock, ManualClock)
        before = desk.clock.now_ms()
        desk.clock.jump(-30)
        late = await desk.author("bob").submit("identity.create", PEOPLE["bob"].inception)
        assert late.order_time == before
        return [*entries, late]

    entries = run(scene())

    assert [entry.position for entry in entries] == [2, 3, 4, 5, 6, 7]
    times = [entry.order_time for entry in entries]
    assert times == sorted(times)


def test_the_same_bytes_again_give_the_same_place(desk: Desk) -> None:
    """Submitting the same signed entry again answers its place and adds nothing."""

    async def scene() -> tuple[bcdb.Entry, bcdb.Entry]:
        await filled(desk, 0)
        signed, body = desk.signed_note("alice", 1)
        first = await desk.ledger.submit(signed, body)
        await desk.author("bob").register()
        return first, await desk.ledger.submit(signed, body)

    first, again = run(scene())

    assert first == again
    assert desk.ledger.head[1].size == 4


def test_the_same_bytes_at_once_stand_once(desk: Desk) -> None:
    """Copies of one entry that race each other all get the one place."""

    async def scene() -> list[bcdb.Entry]:
        await filled(desk, 0)
        signed, body = desk.signed_note("alice", 1)
        return await asyncio.gather(*(desk.ledger.submit(signed, body) for _ in range(20)))

    entries = run(scene())

    assert len({entry.position for entry in entries}) == 1
    assert desk.ledger.head[1].size == 3


def test_a_refusal_changes_nothing(desk: Desk) -> None:
    """After a refused entry, root, view and the author's next sequence are as before."""

    async def scene() -> None:
        await filled(desk, 3)
        reader = desk.ledger.reader()
        before, root = reader.view.dump(), desk.ledger.head[1].root
        for text in ("low", "explode"):
            body = Note(name="n2", text=text, count=0 if text == "low" else 9)
            signed, data = desk.signed_note("alice", 4, body=body, tags=("note:n2",))
            with pytest.raises((errors.Conflict, errors.Failed)):
                await desk.ledger.submit(signed, data)
        assert reader.view.dump() == before
        assert desk.ledger.head[1].root == root
        assert (
            await desk.author("alice").submit("note.set", Note(name="n2", text="ok", count=9))
        ).position == 5

    run(scene())


def test_a_faulty_kind_refuses_its_entry_only(desk: Desk) -> None:
    """A rule that raises what it should not is a refusal TFG-2009, and the next entry is taken."""

    async def scene() -> None:
        await filled(desk, 0)
        signed, data = desk.signed_note("alice", 1, body=Note(name="page", text="explode"))
        with pytest.raises(errors.Failed, match="TFG-2009"):
            await desk.ledger.submit(signed, data)
        signed, data = desk.signed_note("alice", 1)
        assert (await desk.ledger.submit(signed, data)).position == 2

    run(scene())


def test_a_double_signature_is_put_on_record(desk: Desk) -> None:
    """Two entries under one sequence: the second is refused, kept, and both together prove it."""

    async def scene() -> None:
        await filled(desk, 2)
        signed, data = desk.signed_note("alice", 1, body=Note(name="page", text="other"))
        with pytest.raises(errors.Conflict, match="TFG-2004") as caught:
            await desk.ledger.submit(signed, data)
        assert caught.value.details["expected"] == 3
        proof = await desk.client.equivocation(PEOPLE["alice"].identity)
        assert proof is not None
        first, other = proof
        assert (first.position, other) == (2, signed)
        assert await desk.client.equivocation(PEOPLE["founder"].identity) is None

    run(scene())


def test_a_gap_is_no_double_signature(desk: Desk) -> None:
    """A sequence too far ahead is refused with the expected one, and accuses nobody."""

    async def scene() -> None:
        await filled(desk, 1)
        signed, data = desk.signed_note("alice", 7)
        with pytest.raises(errors.Conflict, match="TFG-2004") as caught:
            await desk.ledger.submit(signed, data)
        assert caught.value.details["expected"] == 2
        assert await desk.client.equivocation(PEOPLE["alice"].identity) is None

    run(scene())


def test_the_rebuilt_view_is_the_live_view(desk: Desk) -> None:
    """Replaying the log gives the view byte for byte, rows that were removed included."""

    async def scene() -> None:
        await filled(desk, 20)
        alice = desk.author("alice")
        await alice.submit("note.set", Note(name="n1", text="remove", count=99))
        await alice.rotate()
        follower = desk.follower()
        await follower.sync()
        assert follower.view.dump() == desk.ledger.reader().view.dump()

    run(scene())

    assert desk.ledger.audit() == 24


def test_a_closed_ledger_refuses(desk: Desk) -> None:
    """Nothing is accepted, or waits for ever, once the ledger is closed."""

    async def scene() -> None:
        signed, data = desk.signed_note(
            "alice", 0, body=PEOPLE["alice"].inception, kind="identity.create", tags=()
        )
        desk.close()
        with pytest.raises((errors.Failed, sqlite3.ProgrammingError)):
            await asyncio.wait_for(desk.ledger.submit(signed, data), 5)

    run(scene())


def test_many_authors_share_a_sync(tmp_path: Path) -> None:
    """Under concurrency there are fewer commits than entries, and none is missing."""
    desk = Desk(directory=tmp_path / "ledger", clock=SystemClock())
    people = [Keyring.new(f"p{i}", RNG) for i in range(60)]

    async def scene() -> list[bcdb.Entry]:
        entries = []
        for keyring in people:
            signed, body = desk.signed_note(
                "alice", 0, body=keyring.inception, kind="identity.create", tags=(),
                author=keyring.identity,
            )  # fmt: skip
            entries.append((bcdb.sign_header(signed.header, keyring), body))
        before = desk.ledger.commits
        answers = await asyncio.gather(*(desk.ledger.submit(*entry) for entry in entries))
        assert desk.ledger.commits - before < len(people) / 2
        return answers

    answers = run(scene())

    assert sorted(entry.position for entry in answers) == list(range(1, 61))
    assert desk.ledger.audit() == 61
    desk.close()


class _GatedStore(MemoryStore):
    """Holds the writer in the middle of its work until the gate opens."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()

    def write(self, name: str, data: bytes) -> None:
        """Wait, then write."""
        assert self.gate.wait(10)
        super().write(name, data)


def test_a_full_queue_says_busy(tmp_path: Path) -> None:
    """More submissions than the queue holds are refused as Busy, and the others are taken."""
    store = _GatedStore()
    desk = Desk(directory=tmp_path / "ledger", signed=store, queue_entries_max=2)
    people = [Keyring.new(f"q{i}", RNG) for i in range(40)]

    async def scene() -> list[bcdb.Entry | BaseException]:
        entries = []
        for keyring in people:
            signed, body = desk.signed_note(
                "alice", 0, body=keyring.inception, kind="identity.create", tags=(),
                author=keyring.identity,
            )  # fmt: skip
            entries.append((bcdb.sign_header(signed.header, keyring), body))
        store.gate.clear()
        tasks = [asyncio.create_task(desk.ledger.submit(*entry)) for entry in entries]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        store.gate.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    answers = run(scene())

    busy = [answer for answer in answers if isinstance(answer, errors.Busy)]
    placed = [answer for answer in answers if isinstance(answer, bcdb.Entry)]
    assert busy
    assert all(fault.code == "TFG-2205" and fault.retry for fault in busy)
    assert len(busy) + len(placed) == len(answers)
    assert desk.ledger.head[1].size == 1 + len(placed)
    desk.close()


def test_an_idle_head_is_signed_again(desk: Desk) -> None:
    """After ten idle seconds the head carries a newer time, with the same root."""
    if desk.ledger.is_durable:
        return
    assert isinstance(desk.clock, ManualClock)
    _text, first = desk.ledger.head
    desk.clock.advance(limits.head_refresh_seconds - 1)
    assert run(desk.client.checkpoint()) == first
    desk.clock.advance(1)

    again = run(desk.client.checkpoint())

    assert again.order_time == first.order_time + limits.head_refresh_seconds * 1000
    assert (again.size, again.root) == (first.size, first.root)


def test_a_threshold_of_checkpoint_keys(tmp_path: Path) -> None:
    """A ledger of two keys is signed by both, and opens only with enough of them."""
    signed = MemoryStore()
    keys = [PEOPLE["notary"], PEOPLE["bob"]]
    options: dict[str, Any] = {
        "registry": bcdb.registry(), "clock": ManualClock(), "signed": signed,
    }  # fmt: skip
    ledger = bcdb.SoloLedger.create(
        tmp_path / "l", founder=PEOPLE["founder"], checkpoint_keyrings=keys, **options
    )
    assert ledger.trust.threshold == 2
    assert ledger.head[0].count("\u2014 ") == 2
    ledger.close()

    with pytest.raises(errors.VerificationFailed, match="TFG-2209"):
        bcdb.SoloLedger.open(tmp_path / "l", checkpoint_keyrings=keys[:1], **options)


def test_a_waiting_follower_is_told_at_once(tmp_path: Path) -> None:
    """A question held for up to 20 seconds is answered when an entry comes, and by the deadline."""
    desk = Desk(directory=tmp_path / "ledger", clock=SystemClock())

    async def scene() -> None:
        follower = desk.follower()
        await follower.sync()
        waiting = asyncio.create_task(follower.sync(20))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        entry = await desk.author("bob").submit("identity.create", PEOPLE["bob"].inception)
        assert await asyncio.wait_for(waiting, 5) == [entry]
        gone = asyncio.create_task(follower.sync(20))
        await asyncio.sleep(0.05)
        gone.cancel()
        assert isinstance((await asyncio.gather(gone, return_exceptions=True))[0], BaseException)
        assert await asyncio.wait_for(follower.sync(1), 5) == []
        assert desk.service._waiting == 0
        assert desk.ledger._watchers == []

    run(scene())
    desk.close()
