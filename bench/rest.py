"""What the grid's processes need while nothing happens: memory, and processor time of a core.

Measured twice: when nothing was ordered, and while the guestbook runs. The node processes are held
to a target by the worst of them; what runs beside them is told, not held.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from typing import Final

from bench.figures import Bound, Figure, Report, Sample, Table, judged
from bench.ground import Grid, Ground
from bench.meters import cpu_seconds, resident_bytes
from bench.table import number

__all__ = ["kind_of", "measure"]

_SECONDS: Final = 30.0
_SETTLE_SECONDS: Final = 10.0
_MB: Final = 1_000_000

# The first that is found in a command names its kind.
_KINDS: Final[tuple[tuple[str, str], ...]] = (
    ("tfgrid.agents.zos.keeper", "keeper"),
    ("tfgrid.agents.zos", "node"),
    ("tfgrid.agents.threebot", "3Bot"),
    ("serve ledger", "ledger"),
    ("serve chunks", "chunk server"),
    ("wireguard-go", "wireguard-go"),
    ("edge/haproxy.cfg", "haproxy, edge"),
    ("gateway/haproxy.cfg", "haproxy, gateway"),
)


def kind_of(command: str) -> str:
    """What a process of a grid is, by its command; everything else is a workload."""
    return next((kind for mark, kind in _KINDS if mark in command), "workload")


Use = dict[str, list[tuple[float, float]]]
"""Per kind, a process each: percent of a core, and resident MB."""


def measure(ground: Ground, _repeat: int) -> Report:
    """Watch a grid without contracts, then with the guestbook."""
    grid = ground.grid
    time.sleep(_SETTLE_SECONDS)
    empty = watch(grid, _SECONDS)
    grid.order("guestbook")
    grid.sign_all("guestbook")
    grid.wait("guestbook", "running")
    time.sleep(_SETTLE_SECONDS)
    busy = watch(grid, _SECONDS)
    grid.cancel("guestbook")
    figures = [*_figures("no contract", empty), *_figures("guestbook runs", busy)]
    tables = (_table("nothing ordered", empty), _table("the guestbook runs", busy))
    return Report(figures=tuple(figures), tables=tables)


def watch(grid: Grid, seconds: float) -> Use:
    """What each process used within so many seconds."""
    before = {pid: cpu_seconds(pid, with_waited=True) for pid in grid.processes()}
    began = time.perf_counter()
    time.sleep(seconds)
    elapsed = time.perf_counter() - began
    use: Use = defaultdict(list)
    for pid, command in grid.processes().items():
        if pid in before:
            spent = cpu_seconds(pid, with_waited=True) - before[pid]
            use[kind_of(command)].append((100 * spent / elapsed, resident_bytes(pid) / _MB))
    return use


def _figures(when: str, use: Mapping[str, list[tuple[float, float]]]) -> list[Figure]:
    nodes = use["node"]
    cpu = tuple(Sample(value=percent) for percent, _ in nodes)
    memory = tuple(Sample(value=resident) for _, resident in nodes)
    return [
        judged(
            Figure(name=f"node at rest, {when}: core", unit="%", samples=cpu),
            bound=Bound(at_most=1, of="worst"),
        ),
        judged(
            Figure(name=f"node at rest, {when}: memory", unit="MB", samples=memory),
            bound=Bound(at_most=80, of="worst"),
        ),
    ]


def _table(when: str, use: Mapping[str, list[tuple[float, float]]]) -> Table:
    rows = tuple(
        (
            kind,
            str(len(each)),
            number(max(percent for percent, _ in each)),
            number(max(resident for _, resident in each)),
            number(sum(percent for percent, _ in each)),
            number(sum(resident for _, resident in each)),
        )
        for kind, each in sorted(use.items())
    )
    columns = ("process", "n", "worst %", "worst MB", "all %", "all MB")
    return Table(
        title=f"{when}: use of a core and resident memory in {_SECONDS:.0f} s",
        columns=columns,
        rows=rows,
    )
