"""Writing a verified tree.

The entries come from `listing.parse`, which has refused whatever could leave the tree; here the
kernel is asked to refuse it a second time: every path is opened with `openat2` beneath a fresh
directory that only root can enter. Files are made by their entry, filled with verified chunks, then
given owner, mode, attributes and time in that order; directories get theirs last, from the leaves
up, because writing into a directory changes its time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from tfgrid.capacity.flist import beneath, listing
from tfgrid.capacity.flist.model import Directory, Entry, File, Link, Symlink
from tfgrid.core import canonical
from tfgrid.core.ids import Digest

__all__ = ["ReadChunk", "write"]

ReadChunk: TypeAlias = Callable[[Digest, int], bytes]
"""The verified plain bytes of a chunk of this size; raises where it is missing or damaged."""

_BATCH_ENTRIES = 64


def write(
    destination: Path, entries: Sequence[Entry], read_chunk: ReadChunk, *, workers: int
) -> None:
    """Make the tree in the empty directory `destination`; the caller syncs and renames.

    Raises:
        OSError: the disk refused; the caller removes what is there.
        errors.VerificationFailed: TFG-3212, from `read_chunk`.

    """
    root = os.open(destination, os.O_RDONLY | os.O_DIRECTORY)
    try:
        directories = [entry for entry in entries if isinstance(entry, Directory)]
        files = [entry for entry in entries if isinstance(entry, File)]
        for directory in directories[1:]:
            with _parent(root, directory.path) as (parent, name):
                os.mkdir(name, 0o700, dir_fd=parent)
        batches = [files[at : at + _BATCH_ENTRIES] for at in range(0, len(files), _BATCH_ENTRIES)]
        with ThreadPoolExecutor(workers) as pool:
            for _ in pool.map(lambda batch: _write_files(root, batch, read_chunk), batches):
                pass
        for entry in entries:
            if isinstance(entry, Symlink):
                _write_symlink(root, entry)
            elif isinstance(entry, Link):
                _write_link(root, entry)
        for directory in reversed(directories):
            flags = os.O_RDONLY | os.O_DIRECTORY
            with _closing(beneath.open_at(root, directory.path, flags)) as descriptor:
                _dress(descriptor, directory)
    finally:
        os.close(root)


@contextmanager
def _closing(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _parent(root: int, path: str) -> Iterator[tuple[int, str]]:
    descriptor, name = beneath.open_parent(root, path)
    with _closing(descriptor):
        yield descriptor, name


def _write_files(root: int, files: Sequence[File], read_chunk: ReadChunk) -> None:
    for file in files:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with _closing(beneath.open_at(root, file.path, flags, 0o600)) as descriptor:
            for digest, size in zip(file.chunks, listing.chunk_sizes(file.size), strict=True):
                left = memoryview(read_chunk(digest, size))
                while left:
                    left = left[os.write(descriptor, left) :]
            _dress(descriptor, file)


def _write_symlink(root: int, entry: Symlink) -> None:
    moment = entry.mtime * 1_000_000_000
    with _parent(root, entry.path) as (parent, name):
        os.symlink(entry.target, name, dir_fd=parent)
        os.chown(name, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
        os.utime(name, ns=(moment, moment), dir_fd=parent, follow_symlinks=False)


def _write_link(root: int, entry: Link) -> None:
    with _parent(root, entry.target) as (source, old), _parent(root, entry.path) as (parent, new):
        os.link(old, new, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)


def _dress(descriptor: int, entry: Directory | File) -> None:
    moment = entry.mtime * 1_000_000_000
    os.fchown(descriptor, entry.uid, entry.gid)
    os.fchmod(descriptor, entry.mode)
    for name, value in entry.xattrs.items():
        os.setxattr(descriptor, name, canonical.bytes_from(value))
    os.utime(descriptor, ns=(moment, moment))
