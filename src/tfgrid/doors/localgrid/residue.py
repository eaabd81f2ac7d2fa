"""What a grid has left on the machine, counted: processes, mounts, links, cgroups, claims, files.

Reading only; `down --purge` shows it, and a test holds that it is nothing.
"""

from __future__ import annotations

import os
from pathlib import Path

from tfgrid.doors.localgrid.model import GridFile, Paths
from tfgrid.jumpscale.sal import claims, processes

__all__ = ["contained", "left_behind"]


def left_behind(grid: str, root: Path) -> list[str]:
    """One line for each thing that is still there of the grid `grid` whose directory was `root`."""
    return [
        *_processes(grid, root),
        *_mounts(grid, root),
        *_links(grid),
        *_cgroups(grid),
        *(f"claim {c.resource} {c.value} of {c.owner}" for c in claims.Claims().held(grid)),
        *(f"file {path}" for path in _files(grid, root) if path.exists()),
    ]


def contained(grid: GridFile) -> dict[str, int]:
    """How many processes run inside containers of each node, as the kernel sees it.

    A container's processes have a pid namespace of their own and are in a control group of their
    node.
    """
    ours = Path("/proc/self/ns/pid").stat().st_ino
    found = {node.name: 0 for node in grid.nodes}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            groups = (folder / "cgroup").read_text(encoding="utf-8")
            namespace = (folder / "ns" / "pid").stat().st_ino
        except OSError:
            continue
        for name in found:
            if f"{grid.grid}/{name}/" in groups and namespace != ours:
                found[name] += 1
    return found


def _files(grid: str, root: Path) -> tuple[Path, ...]:
    keys = Paths.unlock_key(grid).parent.glob(f"{grid}*")
    return (root, Paths.runtime(grid), *keys)


def _processes(grid: str, root: Path) -> list[str]:
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal() or int(folder.name) == os.getpid():
            continue
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            groups = (folder / "cgroup").read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        if processes.start_ticks(int(folder.name)) is None:
            continue  # it has ended, and holds nothing; who started it has not asked how
        ours = f"{root}/" in command or f"{root} " in command or f"tfgrid/{grid}" in command
        if (ours or grid in groups) and "tfgrid down" not in command:
            found.append(f"process {folder.name}: {command.strip()[:80]}")
    return found


def _mounts(grid: str, root: Path) -> list[str]:
    found = []
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        point = line.split()[4]
        if point.startswith((f"{root}/", f"{Paths.runtime(grid)}/")):
            found.append(f"mount {point}")
    return found


def _links(grid: str) -> list[str]:
    names = (entry.name for entry in Path("/sys/class/net").iterdir())
    return [f"link {name}" for name in names if grid in name]


def _cgroups(grid: str) -> list[str]:
    top = Path("/sys/fs/cgroup")
    found = {p for depth in ("*", "*/*", "*/*/*") for p in top.glob(depth) if grid in p.name}
    return [f"cgroup {path}" for path in sorted(found)]
