"""Measuring: clocks, processor time of processes, pinning, and ways that take turns."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.figures import Sample

__all__ = [
    "children",
    "command_of",
    "cpu_seconds",
    "in_turns",
    "measured",
    "own_cpu_seconds",
    "pinned",
    "resident_bytes",
    "turns",
]

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


def own_cpu_seconds() -> float:
    """Processor time of this process and of all children that it has waited for."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def cpu_seconds(pid: int, *, with_waited: bool = False) -> float:
    """Processor time of a process to the nanosecond; 0 of one that is gone.

    `with_waited` adds what its ended children took, which the kernel counts in ticks of 10 ms.
    """
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        spent = sum(int((t / "schedstat").read_text().split()[0]) for t in threads) / 1e9
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except (OSError, IndexError):
        return 0.0
    return spent + (sum(map(int, fields[13:15])) / _TICKS if with_waited else 0.0)


def resident_bytes(pid: int) -> int:
    """Memory of a process that is in RAM; 0 of one that is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    except (OSError, IndexError):
        return 0


def command_of(pid: int) -> str:
    """The command line of a process; empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""


def children(roots: Collection[int]) -> set[int]:
    """These processes and all below them, as of now."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
            except OSError:
                continue
            parents[int(entry.name)] = int(fields[1])
    found = set(roots)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def measured(action: Callable[[], object]) -> Sample:
    """Seconds that an action took, with the processor seconds of this process and its children."""
    cpu, wall = own_cpu_seconds(), time.perf_counter()
    action()
    wall = time.perf_counter() - wall
    return Sample(value=wall, cpu_seconds=own_cpu_seconds() - cpu)


def in_turns(
    ways: Mapping[str, Callable[[], object]], repeat: int, *, warm: int = 1
) -> dict[str, list[Sample]]:
    """Each way `repeat` times, in rotating order, so that what disturbs the machine meets all.

    The first `warm` rounds fill caches and are not counted.
    """
    samples: dict[str, list[Sample]] = {name: [] for name in ways}
    for counted, name in turns(list(ways), repeat, warm=warm):
        sample = measured(ways[name])
        if counted:
            samples[name].append(sample)
    return samples


def turns(names: Sequence[str], repeat: int, *, warm: int = 1) -> Iterator[tuple[bool, str]]:
    """Whose turn it is, and whether it counts: as `in_turns`, for ways that are run otherwise."""
    for number in range(warm + repeat):
        at = number % len(names)
        for name in (*names[at:], *names[:at]):
            yield number >= warm, name


@contextmanager
def pinned(count: int = 1) -> Iterator[None]:
    """Keep this process, and what it starts meanwhile, on the last `count` processors."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[-count:])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
