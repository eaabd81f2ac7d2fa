"""What may not upset a node's mind, nor its ledger.

A fault that nobody foresaw; a workload that starts well and ends at once, for ever.
"""

from __future__ import annotations

import asyncio
import io
import itertools
import json
from types import SimpleNamespace
from typing import Any, cast

from tfgrid.agents.zos.core0.backoff import Backoff, calm_ms
from tfgrid.agents.zos.core0.loop import Core0, Seams
from tfgrid.agents.zos.core0.plan import Offer
from tfgrid.core import limits
from tfgrid.core.clock import ManualClock
from tfgrid.core.ids import IdentityId, NodeId
from tfgrid.core.log import Log
from tfgrid.core.rng import SeededRng
from tfgrid.core.store import MemoryStore
from tfgrid.core.units import Capacity

KEY = "item container web"
HOUR_MS = 3_600_000


def _core(clock: ManualClock, lines: io.StringIO, **parts: Any) -> Core0:
    seams = Seams(
        clock=clock, store=MemoryStore(), rng=SeededRng(1), log=Log("zos", stream=lines),
        author=cast("Any", None), introduce=cast("Any", None), **parts,
    )  # fmt: skip
    follower = cast("Any", SimpleNamespace(halted=None, head=None, stale_seconds=lambda: 1e9))
    node = NodeId(IdentityId("a" * 64))
    return Core0(node, Offer(capacity=Capacity()), follower, seams)


class _Broken:
    """A machine, and a report, that fail as nothing in the catalogue does."""

    def __init__(self) -> None:
        self.looked = self.reported = 0

    async def observe(self) -> object:
        """Fail."""
        self.looked += 1
        raise KeyError("what nobody foresaw")

    async def changed(self) -> None:
        """Fail otherwise."""
        raise RecursionError("too deep")

    async def report(self, _report: object) -> None:
        """Fail once more."""
        self.reported += 1
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "a stranger's byte")


def test_an_unforeseen_fault_ends_no_part_of_a_node() -> None:
    """Looking, watching, following and reporting begin again, and each fault is a line of error."""
    clock, lines, machine = ManualClock(), io.StringIO(), _Broken()
    core = _core(clock, lines, host=machine, report=machine.report)

    async def body() -> None:
        running = asyncio.create_task(core.run())
        for _ in range(40):
            await asyncio.sleep(0)
            clock.advance(1)
            await asyncio.sleep(0)
        assert not running.done()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(body())
    broke = {line["which"] for line in map(json.loads, lines.getvalue().splitlines())}
    assert {"_work", "_watch", "_follow", "_beat"} <= broke
    assert machine.looked > 2
    assert machine.reported > 2


def _starts_in_an_hour(lives_ms: int) -> list[int]:
    """When a container that lives so long is started, if it is started as soon as it may be."""
    backoff, now, starts = Backoff(SeededRng(1)), 0, list[int]()
    while now < HOUR_MS:
        backoff.keep_only({KEY}, now)
        assert backoff.ready(KEY, now)
        backoff.started(KEY, now)
        starts.append(now)
        now += lives_ms
        backoff.keep_only({KEY}, now)
        while not backoff.ready(KEY, now):
            due = backoff.next_due_ms(set())
            assert due is not None
            now = max(due, now + 1)
    return starts


def test_a_crash_loop_slows_down_to_the_cap() -> None:
    """The first restart is at once, later ones wait; in an hour there are some tens, not 3600."""
    starts = _starts_in_an_hour(lives_ms=1000)
    waits = [b - a for a, b in itertools.pairwise(starts)]
    assert waits[0] == 1000
    assert waits == sorted(waits[:6]) + waits[6:]
    assert max(waits) <= limits.step_backoff_seconds_max * 1000
    assert 60 <= len(starts) <= 110


def test_what_runs_for_a_while_is_restarted_at_once() -> None:
    """Who runs calmly and ends is no crash loop: its next start waits for nothing."""
    lives = calm_ms + limits.step_backoff_seconds_max * 1000
    starts = _starts_in_an_hour(lives_ms=lives)
    assert {b - a for a, b in itertools.pairwise(starts)} == {lives}


def test_a_start_that_stands_wakes_nobody() -> None:
    """A workload that runs is not planned, and its past start is no moment to wake for."""
    backoff = Backoff(SeededRng(1))
    for now in (0, 10, 20):
        backoff.started(KEY, now)
    backoff.keep_only(set(), 30)
    assert backoff.next_due_ms(set()) is None
    assert not backoff.ready(KEY, 30)
    backoff.keep_only(set(), HOUR_MS)
    assert backoff.ready(KEY, 30)
