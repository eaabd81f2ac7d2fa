"""Control groups on both layouts: v2 alone, and the hybrid in which v1 has the controllers.

    v2:      /sys/fs/cgroup/tfgrid/GRID8/n1                        controllers and kill
    hybrid:  /sys/fs/cgroup/{memory,pids,cpu,...}/tfgrid/GRID8/n1   controllers
             /sys/fs/cgroup/unified/tfgrid/GRID8/n1                kill, freeze, pressure

In both there is one v2 tree, so one write to `cgroup.kill` ends a node with all that descends from
it. In v2 a group with controllers for its children holds no process itself: the node's own
processes join `NODE/agent`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, Literal

from tfgrid.jumpscale.sal.change import Argv, Change, refused

__all__ = [
    "GroupJoin",
    "GroupKill",
    "GroupLimits",
    "GroupMake",
    "GroupRemove",
    "Tree",
    "detect",
    "moving",
    "processes",
    "read_limits",
    "subgroups",
]

_V1_CONTROLLERS: Final = (
    "memory",
    "pids",
    "cpu",
    "cpuacct",
    "devices",
    "freezer",
    "blkio",
    "cpuset",
)
_BOUNDED: Final = ("memory", "pids", "cpu")
_PERIOD_MICROSECONDS: Final = 100_000
_UNLIMITED: Final = 1 << 60
_STAY_SECONDS: Final = 0.004


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """Where control groups are on this machine: the v2 mount, and the v1 mounts by controller."""

    layout: Literal["v2", "hybrid", "v1"]
    unified: Path | None
    controllers: Mapping[str, Path]

    def unified_group(self, name: str) -> Path | None:
        """The v2 folder of a group, where there is a v2 tree."""
        return self.unified / _relative(name) if self.unified else None

    def folders(self, name: str) -> tuple[Path, ...]:
        """Every folder of a group, over all trees, each once."""
        roots = dict.fromkeys([*filter(None, [self.unified]), *self.controllers.values()])
        return tuple(root / _relative(name) for root in roots)

    def bounded_folders(self, name: str) -> tuple[Path, ...]:
        """The folders of a group in the v2 tree and in the v1 trees of memory, pids and cpu.

        Others are left out when a process is moved: a new cpuset group, for one, takes none.
        """
        used = [self.controllers[c] for c in _BOUNDED if c in self.controllers]
        roots = dict.fromkeys([*filter(None, [self.unified]), *used])
        return tuple(root / _relative(name) for root in roots)

    def folder(self, name: str, controller: str) -> Path | None:
        """The folder whose files govern `controller` for a group."""
        root = self.controllers.get(controller)
        return root / _relative(name) if root else None


def _relative(name: str) -> PurePosixPath:
    path = PurePosixPath(name.lstrip("/"))
    assert path.parts, "a group has a name"
    assert ".." not in path.parts, "a group's name stays below the root"
    return path


def detect(mountinfo: str | None = None) -> Tree:
    """The layout of this machine, as mounted in the caller's namespace (or in the text given).

    A v2 tree that a node's namespace has hidden from the runtime is found under the host's first
    process only; see `GroupKill`, which therefore takes a tree that was detected before the hiding.
    """
    text = (
        Path("/proc/thread-self/mountinfo").read_text("utf-8") if mountinfo is None else mountinfo
    )
    unified: Path | None = None
    controllers: dict[str, Path] = {}
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        target, kind = Path(left.split(" ")[4]), right.split(" ")[0]
        if kind == "cgroup2" and unified is None:
            unified = target
        elif kind == "cgroup":
            words = right.split(" ")[2].split(",")
            controllers.update({w: target for w in words if w in _V1_CONTROLLERS})
    if controllers:
        return Tree(layout="hybrid" if unified else "v1", unified=unified, controllers=controllers)
    found = _v2_controllers(unified) if unified else ()
    return Tree(layout="v2", unified=unified, controllers={c: unified for c in found if unified})


def _v2_controllers(root: Path) -> tuple[str, ...]:
    try:
        return tuple((root / "cgroup.controllers").read_text("ascii").split())
    except OSError:
        return ()


def _write(path: Path, text: str, doing: str) -> None:
    try:
        # Opened without O_TRUNC or O_CREAT: a control file is there or the group is not.
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, text.encode("ascii"))
        finally:
            os.close(descriptor)
    except OSError as error:
        raise refused(doing, error, where=str(path)) from error


def _shell(path: Path, text: str) -> Argv:
    return ("sh", "-c", 'printf %s "$1" >"$2"', "_", text, str(path))


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupMake(Change):
    """Make a group in every tree; `delegate` lets groups below it use memory, pids and cpu (v2)."""

    tree: Tree
    name: str
    delegate: bool = False

    def _enables(self) -> tuple[tuple[Path, str], ...]:
        if self.tree.layout != "v2" or not self.delegate or not self.tree.unified:
            return ()
        wanted = [c for c in _BOUNDED if c in self.tree.controllers]
        parts = _relative(self.name).parts
        folders = [self.tree.unified.joinpath(*parts[:n]) for n in range(len(parts) + 1)]
        text = " ".join(f"+{c}" for c in wanted)
        return tuple((folder / "cgroup.subtree_control", text) for folder in folders)

    def perform(self) -> None:
        """See `Change.perform`; a group that is there already is no error."""
        for folder in self.tree.bounded_folders(self.name):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise refused("make a control group", error, where=str(folder)) from error
        for path, text in self._enables():
            _write(path, text, "delegate controllers")

    def argv(self) -> tuple[Argv, ...]:
        """See `Change.argv`."""
        made = ("mkdir", "--parents", *map(str, self.tree.bounded_folders(self.name)))
        return (made, *(_shell(path, text) for path, text in self._enables()))


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupJoin(Change):
    """Move a process and its future children into a group, of every tree or of v2 only."""

    tree: Tree
    name: str
    pid: int
    unified_only: bool = False

    def _files(self) -> tuple[Path, ...]:
        if self.unified_only:
            folder = self.tree.unified_group(self.name)
            return (folder / "cgroup.procs",) if folder else ()
        return tuple(folder / "cgroup.procs" for folder in self.tree.bounded_folders(self.name))

    def perform(self) -> None:
        """See `Change.perform`."""
        for path in self._files():
            _write(path, str(self.pid), "move a process to a control group")

    def argv(self) -> tuple[Argv, ...]:
        """See `Change.argv`."""
        return tuple(_shell(path, str(self.pid)) for path in self._files())


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupLimits(Change):
    """Bound a group's memory (without swap), processes and cpu; None leaves a bound as it is."""

    tree: Tree
    name: str
    memory_bytes: int | None = None
    processes: int | None = None
    cpu_millis: int | None = None

    def _writes(self) -> list[tuple[Path, str]]:
        tree, name, v2 = self.tree, self.name, self.tree.layout == "v2"
        writes: list[tuple[Path, str]] = []
        if self.memory_bytes is not None and (folder := tree.folder(name, "memory")):
            files = (
                ("memory.max",) if v2 else ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")
            )
            writes += [(folder / file, str(self.memory_bytes)) for file in files]
            writes += [(folder / "memory.swap.max", "0")] if v2 else []
        if self.processes is not None and (folder := tree.folder(name, "pids")):
            writes.append((folder / "pids.max", str(self.processes)))
        if self.cpu_millis is not None and (folder := tree.folder(name, "cpu")):
            quota = self.cpu_millis * _PERIOD_MICROSECONDS // 1000
            period = str(_PERIOD_MICROSECONDS)
            if v2:
                writes.append((folder / "cpu.max", f"{quota} {period}"))
            else:
                writes.append((folder / "cpu.cfs_period_us", period))
                writes.append((folder / "cpu.cfs_quota_us", str(quota)))
        return writes

    def perform(self) -> None:
        """See `Change.perform`."""
        for path, text in self._writes():
            _write(path, text, "limit a control group")

    def argv(self) -> tuple[Argv, ...]:
        """See `Change.argv`."""
        return tuple(_shell(path, text) for path, text in self._writes())


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupKill(Change):
    """Kill every process of a group and of all groups below it, at once (v2, Linux 5.14)."""

    tree: Tree
    name: str

    def _file(self) -> Path | None:
        folder = self.tree.unified_group(self.name)
        return folder / "cgroup.kill" if folder else None

    def perform(self) -> None:
        """See `Change.perform`; a group that is not there has no process to kill."""
        path = self._file()
        if path and path.exists():
            _write(path, "1", "kill a control group")

    def argv(self) -> tuple[Argv, ...]:
        """See `Change.argv`."""
        path = self._file()
        return (_shell(path, "1"),) if path else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRemove(Change):
    """Remove a group and all below it in every tree; the kernel refuses if one has a process."""

    tree: Tree
    name: str

    def perform(self) -> None:
        """See `Change.perform`; a group that is not there is no error."""
        for folder in self.tree.folders(self.name):
            for path, _, _ in os.walk(folder, topdown=False):
                try:
                    Path(path).rmdir()
                except FileNotFoundError:
                    continue
                except OSError as error:
                    raise refused("remove a control group", error, where=path) from error

    def argv(self) -> tuple[Argv, ...]:
        """See `Change.argv`."""
        folders = [str(f) for f in self.tree.folders(self.name) if f.exists()]
        return tuple(
            ("find", folder, "-depth", "-type", "d", "-exec", "rmdir", "{}", ";")
            for folder in folders
        )


@contextmanager
def moving(tree: Tree) -> Iterator[None]:
    """While the block lasts, nobody who moves a process to another group waits for that.

    The first move after a while waits for a grace period of the kernel, 4 to 20 ms in which it does
    nothing; those that follow within the next one do not. So a thread moves this process to where
    it is, at once and again and again. Without a group to write to, moves wait as ever.
    """
    file = _own_group(tree)
    if file is None:
        yield
        return
    done = threading.Event()
    thread = threading.Thread(target=_stay, args=(file, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()


def _stay(file: Path, done: threading.Event) -> None:
    # A move that is refused makes nothing worse than it is without.
    with suppress(OSError):
        descriptor = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
        try:
            while not done.is_set():
                os.write(descriptor, b"0")
                done.wait(_STAY_SECONDS)
        finally:
            os.close(descriptor)


def _own_group(tree: Tree) -> Path | None:
    """Where this process's own group takes processes, in any one tree that is shown here."""
    for line in Path("/proc/self/cgroup").read_text("ascii", "surrogateescape").splitlines():
        _, controllers, path = line.split(":", 2)
        names = controllers.split(",") if controllers else []
        roots = [tree.controllers[n] for n in names if n in tree.controllers]
        if not controllers and tree.layout == "v2" and tree.unified:
            roots = [tree.unified]
        for root in roots:
            file = root / path.lstrip("/") / "cgroup.procs"
            if ".." not in file.parts and file.is_file():
                return file
    return None


def processes(tree: Tree, name: str) -> tuple[int, ...]:
    """The processes in a group and all below it, in any tree."""
    found: set[int] = set()
    for folder in tree.folders(name):
        for path, _, files in os.walk(folder):
            if "cgroup.procs" in files:
                found.update(_pids(Path(path) / "cgroup.procs"))
    return tuple(sorted(found - {0}))


def _pids(path: Path) -> list[int]:
    try:
        return [int(line) for line in path.read_text("ascii").split()]
    except OSError:
        return []


def subgroups(tree: Tree, name: str) -> tuple[str, ...]:
    """The names of the groups directly below one, over all trees."""
    found: set[str] = set()
    for folder in tree.folders(name):
        if folder.is_dir():
            found.update(entry.name for entry in os.scandir(folder) if entry.is_dir())
    return tuple(sorted(found))


def _read(folder: Path | None, file: str) -> str:
    try:
        return (folder / file).read_text("ascii").strip() if folder else ""
    except OSError:
        return ""


def _bound(text: str) -> int | None:
    if not text or text == "max" or int(text) >= _UNLIMITED or int(text) < 0:
        return None
    return int(text)


def read_limits(tree: Tree, name: str) -> dict[str, int | None]:
    """Bounds of a group: memory_bytes, swap_bytes, processes, cpu_millis; None is no bound."""
    memory, pids = tree.folder(name, "memory"), tree.folder(name, "pids")
    cpu, v2 = tree.folder(name, "cpu"), tree.layout == "v2"
    limit = _bound(_read(memory, "memory.max" if v2 else "memory.limit_in_bytes"))
    swap = _bound(_read(memory, "memory.swap.max" if v2 else "memory.memsw.limit_in_bytes"))
    if not v2 and swap is not None and limit is not None:
        swap -= limit
    if v2:
        quota_text, _, period_text = _read(cpu, "cpu.max").partition(" ")
    else:
        quota_text, period_text = _read(cpu, "cpu.cfs_quota_us"), _read(cpu, "cpu.cfs_period_us")
    quota, period = _bound(quota_text), _bound(period_text)
    millis = quota * 1000 // period if quota is not None and period else None
    return {
        "memory_bytes": limit,
        "swap_bytes": swap,
        "processes": _bound(_read(pids, "pids.max")),
        "cpu_millis": millis,
    }
