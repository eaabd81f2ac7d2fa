"""A directory becomes metadata and chunks, the same ones every time.

The same tree gives the same root digest, in whatever order the file system lists it and however
often its times of access change; `mtime_max` clamps the times that a build left behind. What an
image cannot carry is either dropped and noted (setuid and setgid bits, file capabilities and every
attribute that is not `user.*`) or refused (device nodes, sockets, pipes, owners above 65535, names
that are not UTF-8).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tfgrid.capacity.flist import beneath, listing, signing
from tfgrid.capacity.flist.model import (
    Config,
    Directory,
    Entry,
    File,
    Link,
    Manifest,
    Symlink,
    Xattrs,
)
from tfgrid.capacity.flist.store import ChunkStore
from tfgrid.core import canonical, errors, limits
from tfgrid.core.identity import Keyring
from tfgrid.core.ids import Digest
from tfgrid.core.schema import Count, Value

__all__ = ["Packed", "pack", "publish"]


mtime_limit: Final = 2**32 - 1


class Packed(Value, frozen=True):
    """A packed tree; `notes` say what could not be kept of it."""

    root: Digest
    metadata: tuple[Digest, ...]
    metadata_bytes: Count
    entries: Count
    content_bytes: Count
    chunks: Count
    notes: tuple[str, ...]


def pack(
    directory: Path, store: ChunkStore, *, mtime_max: int | None = None, workers: int = 2
) -> Packed:
    """Put a tree's chunks and metadata into `store`.

    Args:
        directory: the tree; nothing may change it meanwhile.
        store: where chunks go.
        mtime_max: seconds since 1970; later times are clamped to it.
        workers: threads that hash and compress.

    Raises:
        errors.BadInput: TFG-3214 something that an image cannot carry, TFG-3215 the tree changed
            meanwhile, TFG-3206 to TFG-3211 names or sizes over a limit.
        errors.Failed: TFG-3213, the store's disk refused.

    """
    root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        walk = _Walk(root=root, mtime_max=mtime_max)
        found = list(walk.entries("", os.fstat(root)))
        files = [entry for entry in found if isinstance(entry, File)]
        with ThreadPoolExecutor(workers) as pool:
            chunks = pool.map(lambda entry: _put_file(root, entry, store), files)
            filled = {entry.path: entry for entry in chunks}
    finally:
        os.close(root)
    entries = list(listing.check(filled.get(entry.path, entry) for entry in found))
    data = listing.encode(entries)
    distinct, total = listing.content(entries)
    size = limits.chunk_bytes_max
    metadata = tuple(store.put(data[at : at + size]) for at in range(0, len(data), size))
    return Packed(
        root=canonical.digest(data), metadata=metadata, metadata_bytes=len(data),
        entries=len(entries), content_bytes=total, chunks=len(distinct),
        notes=tuple(walk.notes),
    )  # fmt: skip


def publish(
    packed: Packed,
    store: ChunkStore,
    *,
    name: str,
    keyring: Keyring,
    config: Config,
    prefetch: Sequence[str] = (),
) -> tuple[Digest, Manifest]:
    """Sign a packed tree as an image and put its manifest into `store`; the digest is the image's.

    Raises:
        errors.BadInput: TFG-1103, the name or configuration is malformed.
        errors.Failed: TFG-3213.

    """
    manifest = Manifest(
        format=1, name=name, signer=keyring.identity, root=packed.root,
        metadata=packed.metadata, metadata_bytes=packed.metadata_bytes, entries=packed.entries,
        content_bytes=packed.content_bytes, chunks=packed.chunks, config=config,
        prefetch=tuple(prefetch),
    )  # fmt: skip
    canonical.parse(canonical.encode(manifest), Manifest)
    return store.put_manifest(signing.sign(manifest, keyring)), manifest


@dataclass(slots=True, kw_only=True)
class _Walk:
    root: int
    mtime_max: int | None
    notes: list[str] = field(default_factory=list)
    first_names: dict[tuple[int, int], str] = field(default_factory=dict)

    def entries(self, path: str, about: os.stat_result) -> Iterator[Entry]:
        """The entry of a directory and, in order, of all in it; files without their chunks."""
        descriptor = beneath.open_at(self.root, path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield self._directory(path, about, descriptor)
            for name in sorted(item.name for item in os.scandir(descriptor)):
                below = f"{path}/{name}" if path else name
                found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                if stat.S_ISDIR(found.st_mode):
                    yield from self.entries(below, found)
                else:
                    yield self._leaf(below, found, descriptor)
        finally:
            os.close(descriptor)

    def _directory(self, path: str, about: os.stat_result, descriptor: int) -> Directory:
        uid, gid = self._owner(path, about)
        return Directory(
            path=_text(path), mode=self._mode(path, about, 0o1777), uid=uid, gid=gid,
            mtime=self._mtime(about), xattrs=self._xattrs(path, descriptor),
        )  # fmt: skip

    def _leaf(self, path: str, about: os.stat_result, parent: int) -> Entry:
        uid, gid = self._owner(path, about)
        if stat.S_ISLNK(about.st_mode):
            target = _text(os.readlink(path.rpartition("/")[2], dir_fd=parent))
            mtime = self._mtime(about)
            return Symlink(path=_text(path), uid=uid, gid=gid, mtime=mtime, target=target)
        if not stat.S_ISREG(about.st_mode):
            raise errors.BadInput(
                "TFG-3214", f"{path} is a device, socket or pipe, which an image cannot carry",
                where=path, hint="remove it from the tree",
            )  # fmt: skip
        if about.st_nlink > 1:
            first = self.first_names.setdefault((about.st_dev, about.st_ino), path)
            if first != path:
                return Link(path=_text(path), target=first)
        descriptor = beneath.open_at(self.root, path, os.O_RDONLY)
        try:
            xattrs = self._xattrs(path, descriptor)
        finally:
            os.close(descriptor)
        return File(
            path=_text(path), mode=self._mode(path, about, 0o777), uid=uid, gid=gid,
            mtime=self._mtime(about), size=about.st_size, chunks=(), xattrs=xattrs,
        )  # fmt: skip

    def _mode(self, path: str, about: os.stat_result, kept: int) -> int:
        mode = stat.S_IMODE(about.st_mode)
        if mode & ~kept:
            self.notes.append(f"{path}: mode {mode:o} became {mode & kept:o}")
        return mode & kept

    def _owner(self, path: str, about: os.stat_result) -> tuple[int, int]:
        if max(about.st_uid, about.st_gid) >= limits.uids_per_container:
            raise errors.BadInput(
                "TFG-3214", f"{path} belongs to {about.st_uid}:{about.st_gid}, above 65535",
                where=path, hint="give it an owner that a container has",
            )  # fmt: skip
        return about.st_uid, about.st_gid

    def _mtime(self, about: os.stat_result) -> int:
        seconds = max(0, about.st_mtime_ns // 1_000_000_000)
        return min(seconds, mtime_limit if self.mtime_max is None else self.mtime_max)

    def _xattrs(self, path: str, descriptor: int) -> Xattrs:
        kept: Xattrs = {}
        for name in sorted(os.listxattr(descriptor)):
            if name.startswith("user.") and not name.startswith("user.overlay."):
                kept[name] = canonical.text_from(os.getxattr(descriptor, name))
            else:
                self.notes.append(f"{path}: attribute {name} was dropped")
        return kept


def _text(path: str) -> str:
    try:
        path.encode()
    except UnicodeEncodeError as fault:
        raise errors.BadInput(
            "TFG-3214", f"the name {path!r} is not UTF-8", where=ascii(path), hint="rename it"
        ) from fault
    return path


def _put_file(root: int, entry: File, store: ChunkStore) -> File:
    chunks, left = list[Digest](), entry.size
    descriptor = beneath.open_at(root, entry.path, os.O_RDONLY)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        for size in listing.chunk_sizes(entry.size):
            data = _read_exactly(file.fileno(), size)
            left -= len(data)
            if len(data) == size:
                chunks.append(store.put(data))
        if left or os.read(file.fileno(), 1):
            raise errors.BadInput(
                "TFG-3215", f"{entry.path} changed while it was packed", where=entry.path,
                hint="pack a tree that nothing else writes to",
            )  # fmt: skip
    return File(
        **{f: getattr(entry, f) for f in File.__struct_fields__} | {"chunks": tuple(chunks)}
    )


def _read_exactly(descriptor: int, size: int) -> bytes:
    data = os.read(descriptor, size)
    while len(data) < size and (more := os.read(descriptor, size - len(data))):
        data += more
    return data
