"""Mounts: made by mount(2) and its younger relations, read from mountinfo.

An idmapped clone is a second view of a tree in which every owner is shifted by a user namespace's
map: an image that is stored once and owned by root appears owned by each container's own root.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from tfgrid.jumpscale.sal import syscalls
from tfgrid.jumpscale.sal.change import Argv, Change, refused

__all__ = [
    "Bind",
    "Entry",
    "IdmappedClone",
    "Mount",
    "Overlay",
    "Propagation",
    "Tmpfs",
    "Unmount",
    "overlay_options",
    "table",
    "under",
]

_FLAGS: Final = {
    "ro": syscalls.MS_RDONLY,
    "nosuid": syscalls.MS_NOSUID,
    "nodev": syscalls.MS_NODEV,
    "noexec": syscalls.MS_NOEXEC,
}
_ESCAPES: Final = {"\\040": " ", "\\011": "\t", "\\012": "\n", "\\134": "\\"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount(Change):
    """Mount a file system; `flags` are of ro, nosuid, nodev, noexec; `data` is its own."""

    kind: str
    source: str
    target: Path
    flags: tuple[str, ...] = ()
    data: str = ""

    def perform(self) -> None:
        """See `Change.perform`."""
        bits = sum(_FLAGS[flag] for flag in self.flags)
        try:
            syscalls.mount(self.source, str(self.target), self.kind, bits, self.data or None)
        except OSError as error:
            raise refused(f"mount {self.kind}", error, where=str(self.target)) from error

    def argv(self) -> tuple[Argv, ...]:
        """See `Change.argv`."""
        options = ",".join([*self.flags, *filter(None, [self.data])])
        extra = ("--options", options) if options else ()
        return (("mount", "--types", self.kind, *extra, self.source, str(self.target)),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tmpfs(Change):
    """Mount an empty file system in memory, of at most `size_bytes`."""

    target: Path
    size_bytes: int
    mode: int = 0o755

    def _mount(self) -> Mount:
        data = f"size={self.size_bytes},mode={self.mode:o}"
        flags = ("nosuid", "nodev")
        return Mount(kind="tmpfs", source="tmpfs", target=self.target, flags=flags, data=data)

    def perform(self) -> None:
        """See `Change.perform`."""
        self._mount().perform()

    def argv(self) -> tuple[Argv, ...]:
        """See `Change.argv`."""
        return self._mount().argv()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bind(Change):
    """Show a file or folder at a second place."""

    source: Path
    target: Path
    recursive: bool = False
    read_only: bool = False

    def perform(self) -> None:
        """See `Change.perform`. `read_only` holds for the top mount of a recursive bind."""
        flags = syscalls.MS_BIND | (syscalls.MS_REC if self.recursive else 0)
        again = syscalls.MS_BIND | syscalls.MS_REMOUNT | syscalls.MS_RDONLY
        try:
            syscalls.mount(str(self.source), str(self.target), None, flags, None)
            if self.read_only:
                syscalls.mount(None, str(self.target), None, again, None)
        except OSError as error:
            raise refused("bind", error, where=str(self.target)) from error

    def argv(self) -> tuple[Argv, ...]:
        """See `Change.argv`."""
        kind = "--rbind" if self.recursive else "--bind"
        first = ("mount", kind, str(self.source), str(self.target))
        again = ("mount", "--options", "remount,bind,ro", str(self.target))
        return (first, again) if self.read_only else (first,)


def overlay_options(
    lower: tuple[Path, ...], upper: Path | None, work: Path | None, extra: tuple[str, ...] = ()
) -> str:
    """The option string of an overlay; characters that mean something in it are escaped.

    Raises:
        ValueError: a path holds a character that cannot be escaped (a comma).

    """
    paths = [*lower, *filter(None, (upper, work))]
    if any("," in str(path) for path in paths):
        raise ValueError("an overlay path holds a comma")
    options = ["lowerdir=" + ":".join(str(p).replace(":", "\\:") for p in lower)]
    if upper and work:
        options += [f"upperdir={upper}", f"workdir={work}"]
    return ",".join([*options, *extra])


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlay(Change):
    """Lay a writable `upper` over read-only `lower` folders (the first listed lies on top)."""

    target: Path
    lower: tuple[Path, ...]
    upper: Path | None = None
    work: Path | None = None
    options: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()

    def _mount(self) -> Mount:
        data = overlay_options(self.lower, self.upper, self.work, self.options)
        return Mount(
            kind="overlay", source="overlay", target=self.target, flags=self.flags, data=data
        )

    def perform(self) -> None:
        """See `Change.perform`."""
        self._mount().perform()

    def argv(self) -> tuple[Argv, ...]:
        """See `Change.argv`."""
        return self._mount().argv()


@dataclass(frozen=True, slots=True, kw_only=True)
class IdmappedClone(Change):
    """Show `source` at `target` with owners shifted by the map of a pinned user namespace.

    `base` and `count` repeat that map for the rendered command (util-linux 2.39 and newer).
    """

    source: Path
    target: Path
    userns: Path
    base: int
    count: int
    read_only: bool = False
    nodev: bool = True

    def perform(self) -> None:
        """See `Change.perform`."""
        bits = syscalls.MOUNT_ATTR_IDMAP
        bits |= syscalls.MOUNT_ATTR_RDONLY if self.read_only else 0
        bits |= syscalls.MOUNT_ATTR_NODEV if self.nodev else 0
        descriptors: list[int] = []
        try:
            descriptors.append(os.open(self.userns, os.O_RDONLY | os.O_CLOEXEC))
            descriptors.append(syscalls.clone_mount(str(self.source)))
            syscalls.mount_setattr(descriptors[1], attributes=bits, userns=descriptors[0])
            syscalls.move_mount(descriptors[1], str(self.target))
        except OSError as error:
            raise refused("make an idmapped clone", error, where=str(self.target)) from error
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def argv(self) -> tuple[Argv, ...]:
        """See `Change.argv`."""
        flags = [flag for flag, on in (("ro", self.read_only), ("nodev", self.nodev)) if on]
        options = ",".join([f"X-mount.idmap=0:{self.base}:{self.count}", *flags])
        line = ("mount", "--bind", "--options", options, str(self.source), str(self.target))
        return (line,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Propagation(Change):
    """Say whether mounts made under `target` are seen by its peers and by whom."""

    target: Path
    mode: Literal["private", "slave", "shared"] = "private"
    recursive: bool = False

    def perform(self) -> None:
        """See `Change.perform`."""
        bits = {"private": syscalls.MS_PRIVATE, "slave": syscalls.MS_SLAVE}
        flags = bits.get(self.mode, syscalls.MS_SHARED) | (syscalls.MS_REC if self.recursive else 0)
        try:
            syscalls.mount("none", str(self.target), None, flags, None)
        except OSError as error:
            raise refused(f"make mounts {self.mode}", error, where=str(self.target)) from error

    def argv(self) -> tuple[Argv, ...]:
        """See `Change.argv`."""
        word = f"--make-{'r' if self.recursive else ''}{self.mode}"
        return (("mount", word, str(self.target)),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmount(Change):
    """Take a mount away; `lazy` detaches it now and frees it when the last user has gone."""

    target: Path
    lazy: bool = False

    def perform(self) -> None:
        """See `Change.perform`."""
        flags = syscalls.UMOUNT_NOFOLLOW | (syscalls.MNT_DETACH if self.lazy else 0)
        try:
            syscalls.umount(str(self.target), flags)
        except OSError as error:
            raise refused("unmount", error, where=str(self.target)) from error

    def argv(self) -> tuple[Argv, ...]:
        """See `Change.argv`."""
        return (("umount", *(("--lazy",) if self.lazy else ()), str(self.target)),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the mount table (proc_pid_mountinfo(5))."""

    target: Path
    kind: str
    source: str
    options: tuple[str, ...]
    fields: tuple[str, ...]
    super_options: tuple[str, ...]


def _unescape(text: str) -> str:
    for escape, character in _ESCAPES.items():
        text = text.replace(escape, character)
    return text


def table(pid: int | None = None) -> tuple[Entry, ...]:
    """The mounts that this thread (or process `pid`) sees, in the order they were made."""
    entries = []
    path = f"/proc/{pid}/mountinfo" if pid else "/proc/thread-self/mountinfo"
    for line in Path(path).read_text("utf-8", "surrogateescape").splitlines():
        left, _, right = line.partition(" - ")
        parts, tail = left.split(" "), right.split(" ")
        entries.append(
            Entry(
                target=Path(_unescape(parts[4])),
                kind=tail[0],
                source=_unescape(tail[1]),
                options=tuple(parts[5].split(",")),
                fields=tuple(parts[6:]),
                super_options=tuple(tail[2].split(",")),
            )
        )
    return tuple(entries)


def under(path: Path) -> tuple[Entry, ...]:
    """Every mount at or below `path`, in the order in which to unmount them."""
    found = [e for e in table() if e.target == path or path in e.target.parents]
    return tuple(reversed(found))
