"""How long a command takes on a ledger with a past: a thousand entries instead of some thirty.

`contract list` is told beside the same command without the view that the one before it kept, which
replays every entry.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Final

from bench.figures import Bound, Report, judged, timed
from bench.ground import Ground, program
from bench.meters import in_turns, pinned
from tfgrid.core.clock import SystemClock
from tfgrid.core.identity import Keyring
from tfgrid.core.rng import SystemRng
from tfgrid.jumpscale import clients
from tfgrid.ledger import bcdb, contract, farm

__all__ = ["measure"]

_ENTRIES: Final = 1000
_AT_ONCE: Final = 20


def _runs(*argv: str) -> None:
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)


def measure(ground: Ground, repeat: int) -> Report:
    """Time `contract list --json` on a ledger of a thousand entries, with its kept view or none."""
    tfgrid, grid = str(program()), ("--grid", str(ground.grid.root))
    asyncio.run(_lengthen(ground))
    line = (tfgrid, "contract", "list", "--json", *grid)

    def replaying() -> None:
        for view in ground.grid.paths.follower.glob("follower/*/view"):
            view.unlink()
        _runs(*line)

    name = f"tfgrid contract list --json, {_ENTRIES} entries"
    ways = {
        "python -c pass": lambda: _runs(sys.executable, "-c", "pass"),
        f"{name}, replayed": replaying,
        name: lambda: _runs(*line),
    }
    with pinned():
        samples = in_turns(ways, max(10, repeat), warm=1)
    found = {way: timed(way, taken) for way, taken in samples.items()}
    bare = found["python -c pass"]
    return Report(
        figures=(
            bare,
            judged(found[name], bare, Bound(at_most=250)),
            judged(found[f"{name}, replayed"], bare),
        )
    )


async def _lengthen(ground: Ground) -> None:
    """Let people register until the grid's ledger has its thousand entries."""
    file = ground.grid.file
    registry = bcdb.registry(farm.kinds(), contract.kinds())
    rng, clock = SystemRng(), SystemClock()
    size = await ground.grid.ledger_size()

    async def register(numbers: range) -> None:
        transport = clients.HttpTransport(file.ledger_url)
        client = bcdb.Client(transport, file.trust)
        for number in numbers:
            ring = Keyring.new(f"person{number}", rng)
            await bcdb.Author(ring, client, clock, registry=registry).register()
        transport.close()

    wanted = range(max(0, _ENTRIES - size))
    await asyncio.gather(*(register(wanted[first::_AT_ONCE]) for first in range(_AT_ONCE)))
