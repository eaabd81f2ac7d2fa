"""Every byte and attribute of a tree against its metadata, and that nothing was added.

Run before each start of a container. Nothing is skipped on the word of a time stamp or a cache: who
can write to the disk can set those too. Threads share the reading, because hashing releases the
interpreter; SHA-256 with the CPU's own instructions is faster than most disks.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tfgrid.capacity.flist import beneath, listing
from tfgrid.capacity.flist.model import Directory, Entry, File, Link, Symlink, Xattrs
from tfgrid.core import canonical, errors, limits

__all__ = ["check_tree"]

_BATCH_ENTRIES = 64
_own = threading.local()


def check_tree(path: Path, entries: Sequence[Entry], *, workers: int) -> None:
    """Hold that the tree at `path` is exactly what `entries` say.

    Raises:
        errors.VerificationFailed: TFG-3231 bytes, TFG-3232 owner, mode, time, link or attribute,
            TFG-3233 something was added, TFG-3234 something is missing or of another type.

    """
    try:
        root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as fault:
        raise errors.VerificationFailed(
            "TFG-3234", f"the tree cannot be read: {fault.strerror}", where=str(path), hint=_HINT
        ) from fault
    try:
        check = _Check.of(root, entries)
        size = _BATCH_ENTRIES
        batches = [entries[at : at + size] for at in range(0, len(entries), size)]
        with ThreadPoolExecutor(workers) as pool:
            for _ in pool.map(check.batch, batches):
                pass
    finally:
        os.close(root)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Check:
    root: int
    device: int
    children: dict[str, set[str]]
    links: Counter[str]
    files: dict[str, File]

    @classmethod
    def of(cls, root: int, entries: Sequence[Entry]) -> _Check:
        """What must be known of the whole tree before its parts can be checked."""
        children: dict[str, set[str]] = defaultdict(set)
        for entry in entries[1:]:
            parent, _, name = entry.path.rpartition("/")
            children[parent].add(name)
        return cls(
            root=root, device=os.fstat(root).st_dev, children=children,
            links=Counter(entry.target for entry in entries if isinstance(entry, Link)),
            files={entry.path: entry for entry in entries if isinstance(entry, File)},
        )  # fmt: skip

    def batch(self, entries: Sequence[Entry]) -> None:
        """Check some entries; what `check_tree` raises."""
        buffer = getattr(_own, "buffer", None) or bytearray(limits.chunk_bytes_max)
        _own.buffer = buffer
        with closing(_Parent(self.root)) as parent:
            for entry in entries:
                try:
                    self._entry(entry, parent, buffer)
                except OSError as fault:
                    raise errors.VerificationFailed(
                        "TFG-3234", f"/{entry.path} cannot be read: {fault.strerror}",
                        where=entry.path, hint=_HINT,
                    ) from fault  # fmt: skip

    def _entry(self, entry: Entry, parent: _Parent, buffer: bytearray) -> None:
        if isinstance(entry, Symlink):
            self._symlink(entry, *parent.of(entry.path))
        elif isinstance(entry, Link):
            self._link(entry)
        else:
            directory = isinstance(entry, Directory)
            flags = os.O_RDONLY | (os.O_DIRECTORY if directory else os.O_NONBLOCK)
            descriptor = beneath.open_at(self.root, entry.path, flags)
            try:
                self._attributes(entry, os.fstat(descriptor))
                if _xattrs(descriptor) != entry.xattrs:
                    raise _differs(entry, "extended attributes")
                if isinstance(entry, Directory):
                    self._listing(entry, descriptor)
                else:
                    _bytes(entry, descriptor, buffer)
            finally:
                os.close(descriptor)

    def _attributes(self, entry: Directory | File, about: os.stat_result) -> None:
        directory = isinstance(entry, Directory)
        if stat.S_IFMT(about.st_mode) != (stat.S_IFDIR if directory else stat.S_IFREG):
            raise errors.VerificationFailed(
                "TFG-3234", f"/{entry.path} is of another type", where=entry.path, hint=_HINT
            )
        if stat.S_IMODE(about.st_mode) != entry.mode:
            raise _differs(entry, "mode")
        if (about.st_uid, about.st_gid) != (entry.uid, entry.gid):
            raise _differs(entry, "owner")
        if about.st_mtime_ns != entry.mtime * 1_000_000_000:
            raise _differs(entry, "time")
        if about.st_dev != self.device:
            raise _differs(entry, "file system")
        if isinstance(entry, File):
            if about.st_size != entry.size:
                raise _altered(entry)
            if about.st_nlink != 1 + self.links[entry.path]:
                raise _differs(entry, "number of hard links")

    def _listing(self, entry: Directory, descriptor: int) -> None:
        found = {item.name for item in os.scandir(descriptor)}
        expected = self.children.get(entry.path, set())
        if found != expected:
            name = min(found - expected, default="")
            if name:
                raise errors.VerificationFailed(
                    "TFG-3233", f"{name!a} was added in /{entry.path}", where=entry.path,
                    hint=_HINT,
                )  # fmt: skip
            name = min(expected - found)
            raise errors.VerificationFailed(
                "TFG-3234", f"{name!a} is missing in /{entry.path}", where=entry.path, hint=_HINT
            )

    def _symlink(self, entry: Symlink, parent: int, name: str) -> None:
        about = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if not stat.S_ISLNK(about.st_mode):
            raise errors.VerificationFailed(
                "TFG-3234", f"/{entry.path} is no link", where=entry.path, hint=_HINT
            )
        if os.readlink(name, dir_fd=parent) != entry.target:
            raise _altered(entry)
        if (about.st_uid, about.st_gid) != (entry.uid, entry.gid):
            raise _differs(entry, "owner")
        if about.st_mtime_ns != entry.mtime * 1_000_000_000 or about.st_nlink != 1:
            raise _differs(entry, "time or number of links")
        if os.listxattr(f"/proc/self/fd/{parent}/{name}", follow_symlinks=False):
            raise _differs(entry, "extended attributes")

    def _link(self, entry: Link) -> None:
        about = []
        for path in (entry.path, entry.target):
            parent, name = beneath.open_parent(self.root, path)
            try:
                about.append(os.stat(name, dir_fd=parent, follow_symlinks=False))
            finally:
                os.close(parent)
        if not os.path.samestat(*about):
            raise _differs(entry, "link target")


class _Parent:
    """The directory that the last link was in, still open: neighbours in a listing share it."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._path = ""
        self._descriptor = -1

    def of(self, path: str) -> tuple[int, str]:
        """As `beneath.open_parent`; the descriptor is good until the next call."""
        parent, _, name = path.rpartition("/")
        if self._descriptor < 0 or parent != self._path:
            self.close()
            self._descriptor, name = beneath.open_parent(self._root, path)
            self._path = parent
        return self._descriptor, name

    def close(self) -> None:
        """Close what is open."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


_HINT = "the node's disk was changed; the image is fetched again"


def _bytes(entry: File, descriptor: int, buffer: bytearray) -> None:
    view = memoryview(buffer)
    for digest, size in zip(entry.chunks, listing.chunk_sizes(entry.size), strict=True):
        filled = 0
        while filled < size and (count := os.readv(descriptor, [view[filled:size]])):
            filled += count
        if filled != size or hashlib.sha256(view[:size]).hexdigest() != digest:
            raise _altered(entry)


def _xattrs(descriptor: int) -> Xattrs:
    return {
        name: canonical.text_from(os.getxattr(descriptor, name))
        for name in os.listxattr(descriptor)
    }


def _altered(entry: Entry) -> errors.VerificationFailed:
    return errors.VerificationFailed(
        "TFG-3231", f"/{entry.path} has other bytes than were signed", where=entry.path, hint=_HINT
    )


def _differs(entry: Entry, what: str) -> errors.VerificationFailed:
    return errors.VerificationFailed(
        "TFG-3232", f"/{entry.path} has another {what} than was signed", where=entry.path,
        hint=_HINT,
    )  # fmt: skip
