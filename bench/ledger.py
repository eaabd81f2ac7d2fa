"""How many entries a second the ledger takes, from one author and from many, as ratios.

    python bench/ledger.py [--seconds 5]

Each way is measured in this process, on a temporary directory: submissions straight into the
orderer, and through the HTTP door with verifying clients. The ratio of many authors to one shows
what group commit gives.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.bcdb.notary import REGISTRY, RNG, Desk, Note
from tfgrid.core.clock import SystemClock
from tfgrid.core.identity import Keyring
from tfgrid.core.store import DirectoryStore
from tfgrid.core.transport import MemoryTransport, Transport
from tfgrid.doors import api
from tfgrid.jumpscale import clients
from tfgrid.ledger import bcdb

_CLOCK = SystemClock()


async def _rate(desk: Desk, transports: list[Transport], seconds: float) -> tuple[float, float]:
    """Entries a second, and entries a commit, with one author on each transport."""
    authors = [
        bcdb.Author(
            Keyring.new("author", RNG), bcdb.Client(way, desk.trust), _CLOCK, registry=REGISTRY
        )
        for way in transports
    ]  # fmt: skip
    for author in authors:
        await author.register()
    began, commits, count = _CLOCK.monotonic_ms(), desk.ledger.commits, 0

    async def write(author: bcdb.Author) -> None:
        nonlocal count
        while _CLOCK.monotonic_ms() < began + seconds * 1000:
            await author.submit("note.set", Note(name="page", text="x" * 300))
            count += 1

    await asyncio.gather(*map(write, authors))
    elapsed = (_CLOCK.monotonic_ms() - began) / 1000
    return count / elapsed, count / (desk.ledger.commits - commits)


async def _over_http(desk: Desk, work: Callable[[str], Awaitable[None]]) -> None:
    told: asyncio.Future[api.Address] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    serving = asyncio.create_task(api.serve(desk.service.handle, ready=told.set_result, stop=stop))
    await work((await told).url)
    stop.set()
    await serving


async def main(seconds: float) -> None:
    """Measure and print a table."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        desk = Desk(directory=directory / "l", signed=DirectoryStore(directory / "s"), clock=_CLOCK)
        rows: list[tuple[str, float, float]] = []
        for authors in (1, 50):
            memory: list[Transport] = [MemoryTransport(desk.service.handle)] * authors
            rows.append((f"in process, {authors:2} authors", *await _rate(desk, memory, seconds)))

        async def http(url: str) -> None:
            for authors in (1, 50):
                ways: list[Transport] = [clients.HttpTransport(url) for _ in range(authors)]
                rows.append((f"over HTTP,  {authors:2} authors", *await _rate(desk, ways, seconds)))
                for way in ways:
                    assert isinstance(way, clients.HttpTransport)
                    way.close()

        await _over_http(desk, http)
        base = rows[0][1]
        print(f"{'':26}  entries/s   ratio  entries/commit")
        for label, rate, grouped in rows:
            print(f"{label:26} {rate:10.0f} {rate / base:7.2f} {grouped:15.1f}")
        began = _CLOCK.monotonic_ms()
        size = desk.ledger.audit()
        print(f"audit of {size} entries: {_CLOCK.monotonic_ms() - began} ms")
        desk.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5)
    asyncio.run(main(parser.parse_args().seconds))
