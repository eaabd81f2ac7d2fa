r"""Metadata as bytes, and the strict way back.

    tfgrid image metadata 1\n
    {"gid":0,"mode":493,"mtime":0,"path":"","type":"directory","uid":0,"xattrs":{}}\n
    {"chunks":["..."],"gid":0,...,"path":"bin/sh","size":125640,"type":"file",...}\n

One canonical document a line, ordered by path, component by component, so that a parent always
comes before what is in it and a name can stand only once. `parse` accepts exactly the bytes that
`encode` would write and holds every rule about names, parents and links, so that whoever has
entries may walk them without looking again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from tfgrid.capacity.flist.model import Directory, Entry, File, Link, Symlink
from tfgrid.core import canonical, errors, limits
from tfgrid.core.ids import Digest

__all__ = ["check", "chunk_sizes", "content", "encode", "metadata_sizes", "order", "parse"]

magic: Final = b"tfgrid image metadata 1\n"

# The canonical form of `core.canonical`, for a hundred thousand documents at once.
_ENCODER: Final = msgspec.json.Encoder(order="sorted")
_DECODER: Final = msgspec.json.Decoder(Entry, strict=True)


def order(path: str) -> tuple[str, ...]:
    """The key by which entries are ordered: components compared one by one, by code point."""
    return tuple(path.split("/")) if path else ()


def encode(entries: Iterable[Entry]) -> bytes:
    """The metadata of entries that are in order and hold the rules of `check`."""
    return magic + _ENCODER.encode_lines(entries)


def parse(data: bytes) -> tuple[Entry, ...]:
    """The entries of some metadata, every rule held.

    Raises:
        errors.BadInput: TFG-3205 not this format,
            TFG-3206 to TFG-3211 see `check`.

    """
    if len(data) > limits.image_metadata_bytes_max:
        raise errors.BadInput("TFG-3210", f"metadata of {len(data)} bytes is over the limit")
    if not data.startswith(magic) or not data.endswith(b"\n"):
        raise errors.BadInput(
            "TFG-3205", "not image metadata of format 1", hint="use a version that knows its format"
        )
    if data.count(b"\n") > limits.image_entries_max + 1:
        raise _too_many()
    lines = memoryview(data)[len(magic) :]
    try:
        entries = _DECODER.decode_lines(lines)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        raise errors.BadInput(
            "TFG-3205", f"the metadata holds what is no entry: {fault}",
            hint="this image is hostile or broken; do not use it",
        ) from fault  # fmt: skip
    if _ENCODER.encode_lines(entries) != lines:
        raise errors.BadInput("TFG-3205", "the metadata is not in its canonical form")
    return tuple(check(entries))


def check(entries: Iterable[Entry]) -> Iterator[Entry]:
    """The same entries, one by one, while they hold the rules that types cannot say.

    Raises:
        errors.BadInput: TFG-3206 a name that could leave the tree or is too long, TFG-3207 not in
            order or twice, TFG-3208 the parent is not a directory, TFG-3209 a hard link to anything
            but an earlier file, TFG-3210 chunks that do not match the size or a limit exceeded,
            TFG-3211 a forbidden attribute.

    """
    directories, files = set[str](), set[str]()
    last: tuple[str, ...] | None = None
    for count, entry in enumerate(entries, start=1):
        if count > limits.image_entries_max:
            raise _too_many()
        key = order(entry.path)
        _check_path(entry, key, directories, last)
        _check_content(entry, files)
        if isinstance(entry, Directory):
            directories.add(entry.path)
        elif isinstance(entry, File):
            files.add(entry.path)
        last = key
        yield entry
    if last is None:
        raise errors.BadInput("TFG-3208", "image has no root directory")


def _too_many() -> errors.BadInput:
    return errors.BadInput(
        "TFG-3210", f"the image has more than {limits.image_entries_max} entries",
        hint="divide it into several images",
    )  # fmt: skip


def _check_path(
    entry: Entry, key: tuple[str, ...], directories: set[str], last: tuple[str, ...] | None
) -> None:
    path = entry.path
    for component in key:
        if component in {"", ".", ".."} or "\0" in component:
            raise errors.BadInput(
                "TFG-3206", f"{path!r} is not a path inside an image", where=path[:64],
                hint="this image is hostile or broken; do not use it",
            )  # fmt: skip
        if len(component.encode()) > limits.path_component_bytes_max:
            raise errors.BadInput("TFG-3206", "a name in the image is too long", where=path[:64])
    if len(key) > limits.path_depth_max or len(path.encode()) > limits.path_bytes_max:
        raise errors.BadInput("TFG-3206", "a path is too long or too deep", where=path[:64])
    if last is not None and key <= last:
        raise errors.BadInput("TFG-3207", f"{path!r} stands twice or out of order", where=path[:64])
    if last is None:
        if path or not isinstance(entry, Directory):
            raise errors.BadInput(
                "TFG-3208", "the first entry is not the root directory", where=path[:64]
            )
    elif "/".join(key[:-1]) not in directories:
        raise errors.BadInput(
            "TFG-3208", f"the parent of {path!r} is not a directory of the image", where=path[:64]
        )


def _check_content(entry: Entry, files: set[str]) -> None:
    if isinstance(entry, Link):
        if entry.target not in files:
            raise errors.BadInput(
                "TFG-3209", f"{entry.path!r} links to what is not an earlier file of the image",
                where=entry.path[:64],
            )  # fmt: skip
    elif isinstance(entry, Symlink):
        if len(entry.target.encode()) >= limits.symlink_bytes_max:
            raise errors.BadInput("TFG-3206", "a link's target is too long", where=entry.path[:64])
    else:
        _check_xattrs(entry)
        if isinstance(entry, File) and len(entry.chunks) != len(chunk_sizes(entry.size)):
            raise errors.BadInput(
                "TFG-3210", f"{entry.path!r} has {entry.size} bytes in {len(entry.chunks)} chunks",
                where=entry.path[:64],
            )  # fmt: skip


def _check_xattrs(entry: Directory | File) -> None:
    size = 0
    for name, value in entry.xattrs.items():
        size += len(name) + len(canonical.bytes_from(value))
        if name.startswith("user.overlay."):
            raise errors.BadInput(
                "TFG-3211", f"{entry.path!r} carries {name}, which would steer the overlay",
                where=entry.path[:64],
            )  # fmt: skip
    if size > limits.xattr_bytes_max:
        raise errors.BadInput("TFG-3211", "too many attribute bytes", where=entry.path[:64])


def chunk_sizes(size: int) -> list[int]:
    """The plain size of each chunk of a file of `size` bytes."""
    whole, rest = divmod(size, limits.chunk_bytes_max)
    return [limits.chunk_bytes_max] * whole + ([rest] if rest else [])


def metadata_sizes(chunks: tuple[Digest, ...], size: int) -> list[tuple[Digest, int]]:
    """The chunks of the metadata with their plain sizes.

    Raises:
        errors.BadInput: TFG-3210, the number of chunks does not match.

    """
    sizes = chunk_sizes(size)
    if len(sizes) != len(chunks):
        raise errors.BadInput(
            "TFG-3210", f"metadata of {size} bytes stands in {len(chunks)} chunks"
        )
    return list(zip(chunks, sizes, strict=True))


def content(entries: Iterable[Entry]) -> tuple[dict[Digest, int], int]:
    """Every distinct chunk with its plain size, in order of first use, and the bytes of all files.

    Raises:
        errors.BadInput: TFG-3210, one chunk is said to have two sizes, or the whole is over the
            limit.

    """
    sizes, total = dict[Digest, int](), 0
    for entry in entries:
        if not isinstance(entry, File):
            continue
        total += entry.size
        for digest, size in zip(entry.chunks, chunk_sizes(entry.size), strict=True):
            if sizes.setdefault(digest, size) != size:
                raise errors.BadInput(
                    "TFG-3210", "a chunk is said to have two sizes", where=entry.path[:64]
                )
    if total > limits.image_bytes_max:
        raise errors.BadInput("TFG-3210", f"image of {total} bytes is over the limit")
    return sizes, total
