"""How long a command takes to answer: what a person waits for each time, so it is held tightly.

Every command is a process of its own, on one processor, in turns with an interpreter that does
nothing, which is the part that nobody can save.
"""

from __future__ import annotations

import subprocess
import sys

from bench.figures import Bound, Report, judged, timed
from bench.ground import Ground, program
from bench.meters import in_turns, pinned

__all__ = ["measure"]


def _runs(*argv: str) -> None:
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)


def measure(ground: Ground, repeat: int) -> Report:
    """Time `--version` and `contract list --json` beside an idle interpreter."""
    tfgrid, grid = str(program()), ("--grid", str(ground.grid.root))
    ways = {
        "python -c pass": lambda: _runs(sys.executable, "-c", "pass"),
        "tfgrid --version": lambda: _runs(tfgrid, "--version"),
        "tfgrid contract list --json": lambda: _runs(tfgrid, "contract", "list", "--json", *grid),
        "tfgrid --help": lambda: _runs(tfgrid, "--help"),
    }
    with pinned():
        samples = in_turns(ways, max(20, repeat * 2), warm=2)
    found = {name: timed(name, taken) for name, taken in samples.items()}
    bare = found["python -c pass"]
    return Report(
        figures=(
            bare,
            judged(found["tfgrid --version"], bare, Bound(at_most=100)),
            judged(found["tfgrid --help"], bare),
            judged(found["tfgrid contract list --json"], bare, Bound(at_most=250)),
        )
    )
