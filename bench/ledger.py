"""How many entries a second the ledger takes from one author and from fifty, and a follower reads.

Submissions go straight into the service, and through the HTTP door; every client verifies what it
is answered. The ratio of fifty authors to one shows what group commit gives. A follower reads a
ledger of that many entries from nothing: every signature, rule, leaf and root.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from bench.figures import Figure, Report, Sample, Table, judged
from bench.ground import Ground
from bench.meters import own_cpu_seconds
from bench.table import number
from tests.bcdb.notary import REGISTRY, RNG, Desk, Note
from tfgrid.core.clock import SystemClock
from tfgrid.core.identity import Keyring
from tfgrid.core.store import DirectoryStore
from tfgrid.core.transport import MemoryTransport, Transport
from tfgrid.doors import api
from tfgrid.jumpscale import clients
from tfgrid.ledger import bcdb

__all__ = ["measure"]

_CLOCK: Final = SystemClock()
_SECONDS: Final = 2.0
_MANY: Final = 50


class _Counts:
    """Entries and commits of one way, over all its samples."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.samples: list[Sample] = []
        self.entries = 0
        self.commits = 0

    def figure(self, base: Figure | None = None) -> Figure:
        """Entries a second."""
        made = Figure(name=self.name, unit="1/s", samples=tuple(self.samples))
        return judged(made, base)


async def _write(desk: Desk, transports: list[Transport], counts: _Counts) -> None:
    """Submit with one author on each transport for a while."""
    authors = [
        bcdb.Author(
            Keyring.new("author", RNG), bcdb.Client(transport, desk.trust), _CLOCK,
            registry=REGISTRY,
        )
        for transport in transports
    ]  # fmt: skip
    for author in authors:
        await author.register()
    began, commits, count = time.perf_counter(), desk.ledger.commits, 0
    cpu = own_cpu_seconds()

    async def write(author: bcdb.Author) -> None:
        nonlocal count
        while time.perf_counter() < began + _SECONDS:
            await author.submit("note.set", Note(name="page", text="x" * 300))
            count += 1

    await asyncio.gather(*map(write, authors))
    elapsed = time.perf_counter() - began
    spent = own_cpu_seconds() - cpu
    counts.samples.append(Sample(value=count / elapsed, cpu_seconds=spent / count))
    counts.entries += count
    counts.commits += desk.ledger.commits - commits


async def _over_http(desk: Desk, work: Callable[[str], Awaitable[None]]) -> None:
    told: asyncio.Future[api.Address] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    serving = asyncio.create_task(api.serve(desk.service.handle, ready=told.set_result, stop=stop))
    try:
        await work((await told).url)
    finally:
        stop.set()
        await serving


async def _follow(desk: Desk, counts: _Counts) -> None:
    """Read and verify the whole ledger as a new follower."""
    follower, cpu = desk.follower(), own_cpu_seconds()
    began = time.perf_counter()
    await follower.sync()
    elapsed = time.perf_counter() - began
    spent = own_cpu_seconds() - cpu
    rate = follower.size / elapsed
    counts.samples.append(Sample(value=rate, cpu_seconds=spent / follower.size))


def measure(_ground: Ground, repeat: int) -> Report:
    """Write in turns by each way, then follow from nothing."""
    return asyncio.run(_measure(max(3, repeat // 3)))


async def _measure(repeat: int) -> Report:
    ways = {
        (way, authors): _Counts(f"submits, {way}, {authors} author{'s' * (authors > 1)}")
        for way in ("in process", "over HTTP")
        for authors in (1, _MANY)
    }
    follower = _Counts("entries verified by a new follower")
    with tempfile.TemporaryDirectory(prefix="tfgrid-bench-ledger-") as name:
        folder = Path(name)
        desk = Desk(directory=folder / "l", signed=DirectoryStore(folder / "s"), clock=_CLOCK)

        async def http(url: str) -> None:
            for authors in (1, _MANY):
                doors = [clients.HttpTransport(url) for _ in range(authors)]
                await _write(desk, list(doors), ways["over HTTP", authors])
                for door in doors:
                    door.close()

        for _ in range(repeat):
            for authors in (1, _MANY):
                memory: list[Transport] = [MemoryTransport(desk.service.handle)] * authors
                await _write(desk, memory, ways["in process", authors])
            await _over_http(desk, http)
        for _ in range(repeat):
            await _follow(desk, follower)
        desk.close()
    return _report(list(ways.values()), follower)


def _report(ways: list[_Counts], follower: _Counts) -> Report:
    base = ways[0].figure()
    figures = (base, *(way.figure(base) for way in ways[1:]), follower.figure(base))
    rows = tuple((w.name, str(w.entries), number(w.entries / w.commits)) for w in ways)
    table = Table(
        title="group commit: entries written together", columns=("way", "entries", "a commit"),
        rows=rows,
    )  # fmt: skip
    return Report(figures=figures, tables=(table,))
