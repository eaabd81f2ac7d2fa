"""Up, status, down and purge of a grid on this machine.

`up` is the same for a new grid, a stopped one, one that a reboot took down and one that runs: it
looks what is missing and starts only that. `down` ends every process and leaves the state; `purge`
leaves nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from tfgrid.core import errors
from tfgrid.core.clock import SystemClock
from tfgrid.core.rng import SystemRng
from tfgrid.doors.localgrid import create, parts, process, provision, underlay
from tfgrid.doors.localgrid.model import (
    GridFile,
    Part,
    PartState,
    Paths,
    default_directory,
    find,
    hold_own,
    read,
)
from tfgrid.doors.localgrid.register import Registrar

__all__ = ["PartStatus", "Progress", "Started", "check_layout", "down", "purge", "status", "up"]

Progress: TypeAlias = Callable[[str, str], None]
"""Called with a thing and its new state."""

_POLL_SECONDS = 0.2
_CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True, kw_only=True)
class PartStatus:
    """One process and how it fares; `detail` says why where it is not ready."""

    name: str
    kind: str
    state: PartState
    pid: int
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A grid that runs, and the names of what had to be started for it."""

    paths: Paths
    grid: GridFile
    started: tuple[str, ...]


async def up(
    directory: Path | None, *, nodes: int | None, farms: int | None, timeout_seconds: float,
    progress: Progress,
) -> Started:  # fmt: skip
    """Make the grid in `directory` run, creating it if it is not there.

    Raises:
        errors.MachineLacks: TFG-5112, not root; TFG-5111.
        errors.Conflict: TFG-5108, the grid is there with other nodes or farms.
        errors.Failed: TFG-5109, a process ended too early; `details["reasons"]` has its last lines.
        errors.StillGoing: TFG-5110, not all of it answered in time.
        errors.Busy: TFG-5114, another command is starting or stopping it.

    """
    if os.geteuid() != 0:
        raise errors.MachineLacks(
            "TFG-5112", "nodes need namespaces and links of their own, and so root",
            hint="sudo tfgrid up",
        )  # fmt: skip
    paths = Paths((directory or default_directory()).absolute())
    check_layout(paths.root, nodes=nodes, farms=farms)
    with _alone(paths):
        grid = _open_or_create(paths, nodes, farms, progress)
        grid = underlay.claim(paths, grid)
        underlay.make(grid)
        deadline = asyncio.get_running_loop().time() + timeout_seconds
        run = _Run(paths, grid, deadline, progress)
        await run.everything()
    return Started(paths=paths, grid=grid, started=tuple(run.started))


def check_layout(directory: Path | None, *, nodes: int | None, farms: int | None) -> None:
    """Hold that the grid in `directory` has, or could be made with, so many nodes and farms.

    Raises:
        errors.BadInput: TFG-5104, so many cannot be.
        errors.Conflict: TFG-5108, the grid is there with others.

    """
    paths = Paths((directory or default_directory()).absolute())
    if not paths.grid_file.exists():
        create.layout(*_asked(nodes, farms))
        return
    grid = read(paths)
    there = (len(grid.nodes), len(grid.farms))
    if (there[0] if nodes is None else nodes, there[1] if farms is None else farms) != there:
        raise errors.Conflict(
            "TFG-5108", f"this grid has {there[0]} nodes in {there[1]} farms",
            where=str(paths.root), hint="give another directory with --dir",
        )  # fmt: skip


def _asked(nodes: int | None, farms: int | None) -> tuple[int, int]:
    """How many nodes and farms a new grid gets."""
    count = 4 if nodes is None else nodes
    return count, min(2, count) if farms is None else farms


@contextlib.contextmanager
def _alone(paths: Paths) -> Iterator[None]:
    """Hold the grid's lock, so that two commands do not start or stop it at once.

    Raises:
        errors.Busy: TFG-5114, another command holds it.
        errors.NotAllowed: TFG-5115, somebody else could change the directory.

    """
    paths.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    hold_own(paths.root)
    with paths.lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as fault:
            raise errors.Busy(
                "TFG-5114", "another command is starting or stopping this grid",
                where=str(paths.root), hint="wait for it, then repeat the command",
            ) from fault  # fmt: skip
        yield


def _open_or_create(
    paths: Paths, nodes: int | None, farms: int | None, progress: Progress
) -> GridFile:
    if paths.grid_file.exists():
        return read(paths)
    progress("grid", f"new, in {paths.root}")
    count, parts_of = _asked(nodes, farms)
    return create.create(paths, nodes=count, farms=parts_of, clock=SystemClock(), rng=SystemRng())


class _Run:
    """One `up`: starts parts in their order and waits until each answers."""

    def __init__(self, paths: Paths, grid: GridFile, deadline: float, progress: Progress) -> None:
        self._paths = paths
        self._grid = grid
        self._deadline = deadline
        self._progress = progress
        self.started: list[str] = []

    async def everything(self) -> None:
        known = {part.name: part for part in parts.parts(self._paths, self._grid)}
        for name in ("ledger", "chunks"):
            await self._start_and_wait(known.pop(name))
        registrar = Registrar(self._paths, self._grid)
        await registrar.people()
        self._progress("records", "identities, farms, offers and image source are registered")
        for node in self._grid.nodes:
            provision.node(self._paths, self._grid, node)
        provision.bot(self._paths, self._grid)
        provision.edge(self._paths, self._grid)
        for part in known.values():
            self._start(part)
        await self._nodes_ready(registrar, [known[node.name] for node in self._grid.nodes])
        for name in ("edge", "bot"):
            await self._wait(known[name])

    def _start(self, part: Part) -> None:
        if process.find_running(self._grid.grid, part.name) is None:
            process.start(self._paths, self._grid.grid, part)
            self.started.append(part.name)
            self._progress(part.name, "starting")

    async def _start_and_wait(self, part: Part) -> None:
        self._start(part)
        await self._wait(part)

    async def _wait(self, part: Part) -> None:
        while lacks := await parts.answers(self._paths, self._grid, part):
            self._hold_alive(part)
            await self._pause(part.name, lacks)
        self._progress(part.name, "ready")

    async def _nodes_ready(self, registrar: Registrar, nodes: list[Part]) -> None:
        waiting = {part.name: part for part in nodes}
        while waiting:
            admitted = await registrar.admit()
            for name, part in list(waiting.items()):
                self._hold_alive(part)
                lacks = await parts.answers(self._paths, self._grid, part)
                if not lacks and name in admitted:
                    self._progress(name, "ready")
                    del waiting[name]
                else:
                    self._progress(name, lacks or "admitted, tells its capacity")
            if waiting:
                await self._pause(", ".join(waiting), "not ready")

    def _hold_alive(self, part: Part) -> None:
        if process.find_running(self._grid.grid, part.name) is not None:
            return
        raise errors.Failed(
            "TFG-5109", f"{part.name} ended before it answered", where=part.name,
            hint=f"less {self._paths.log(part.name)}",
            reasons=process.last_lines(self._paths, part.name),
        )  # fmt: skip

    async def _pause(self, name: str, lacks: str) -> None:
        if asyncio.get_running_loop().time() > self._deadline:
            raise errors.StillGoing(
                "TFG-5110", f"{name} is not ready in time: {lacks}", where=name,
                hint="tfgrid up, which goes on where this stopped",
                reasons=process.last_lines(self._paths, name.partition(",")[0]),
            )  # fmt: skip
        await asyncio.sleep(_POLL_SECONDS)


async def status(directory: Path | None) -> tuple[Paths, GridFile, tuple[PartStatus, ...]]:
    """Every part of the grid in `directory`, looked at now.

    Raises:
        errors.NotFound: TFG-5101, no grid is kept there.

    """
    paths = find(directory)
    grid = read(paths)
    found = [await _part_status(paths, grid, part) for part in parts.parts(paths, grid)]
    return paths, grid, tuple(found)


async def _part_status(paths: Paths, grid: GridFile, part: Part) -> PartStatus:
    running = process.find_running(grid.grid, part.name)
    if running is None:
        return PartStatus(
            name=part.name, kind=part.kind, state="stopped", pid=0,
            detail="not started, or ended; tfgrid up starts it",
        )  # fmt: skip
    lacks = await parts.answers(paths, grid, part)
    return PartStatus(
        name=part.name, kind=part.kind, state="running" if lacks else "ready",
        pid=running.pid, detail=lacks,
    )  # fmt: skip


def down(directory: Path | None, *, progress: Progress) -> tuple[Paths, GridFile, tuple[str, ...]]:
    """End every process of the grid, its workloads too; what it keeps stays.

    Returns the grid and the names of what was stopped.

    Raises:
        errors.NotFound: TFG-5101.

    """
    paths = find(directory)
    with _alone(paths):
        return _down(paths, read(paths), progress)


def _down(
    paths: Paths, grid: GridFile, progress: Progress
) -> tuple[Paths, GridFile, tuple[str, ...]]:
    stopped = []
    for part in reversed(parts.parts(paths, grid)):
        if _stop(paths, grid, part):
            stopped.append(part.name)
            progress(part.name, "stopped")
    underlay.remove(grid)
    _remove_group(grid)
    shutil.rmtree(Paths.runtime(grid.grid), ignore_errors=True)
    return paths, grid, tuple(stopped)


def _stop(paths: Paths, grid: GridFile, part: Part) -> bool:
    was = process.stop(grid.grid, part.name)
    if part.kind == "node":
        was = parts.destroy_node(paths, part.name) or was
    return was


def purge(directory: Path | None, *, progress: Progress) -> tuple[Paths, tuple[str, ...]]:
    """End everything and remove all that the grid ever made; the names of what was stopped.

    Raises:
        errors.NotFound: TFG-5101.

    """
    paths = find(directory)
    with _alone(paths):
        paths, grid, stopped = _down(paths, read(paths), progress)
        underlay.release(grid)
        _remove_files(paths, progress)
    for key in Paths.unlock_key(grid.grid).parent.glob(f"{grid.grid}*.key"):
        key.unlink(missing_ok=True)
    keys = Paths.unlock_key(grid.grid).parent
    for folder in (keys, keys.parent, Paths.runtime(grid.grid).parent):
        _remove_if_empty(folder)
    progress("grid", f"removed {paths.root}")
    return paths, stopped


def _remove_files(paths: Paths, progress: Progress) -> None:
    """Remove what a grid makes; what somebody else put beside it stays, and is named."""
    # grid.json goes last: a purge that is cut off can be repeated.
    for entry in sorted(paths.root.iterdir(), key=lambda path: path == paths.grid_file):
        if entry.name not in paths.names and entry.suffix != ".proof":
            progress(entry.name, "kept: it is not the grid's")
        elif entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    _remove_if_empty(paths.root)


def _remove_group(grid: GridFile) -> None:
    """The grid's control groups in every hierarchy, and those above that are empty then.

    A runtime puts containers into hierarchies without controllers too (`systemd`), which nobody
    else looks at.
    """
    for top in (_CGROUPS, *_CGROUPS.iterdir()):
        for folder, _, _ in os.walk(top / "tfgrid" / grid.grid, topdown=False):
            with contextlib.suppress(OSError):
                Path(folder).rmdir()
        with contextlib.suppress(OSError):
            (top / "tfgrid").rmdir()


def _remove_if_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
