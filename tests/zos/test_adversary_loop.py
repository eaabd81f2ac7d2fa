"""Something that nobody foresaw happens in the middle of a node's mind."""

from __future__ import annotations

import asyncio
import io
import json
from types import SimpleNamespace
from typing import Any, cast

from tfgrid.agents.zos.core0.loop import Core0, Seams
from tfgrid.agents.zos.core0.plan import Offer
from tfgrid.core.clock import ManualClock
from tfgrid.core.ids import IdentityId, NodeId
from tfgrid.core.log import Log
from tfgrid.core.rng import SeededRng
from tfgrid.core.store import MemoryStore
from tfgrid.core.units import Capacity


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
