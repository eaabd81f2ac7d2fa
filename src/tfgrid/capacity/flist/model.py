"""What an image says, as frozen values.

A **manifest** is what its publisher signs: name, configuration of the process, totals, and the
digest of the metadata. The **metadata** is one entry for each file, directory and link, in the one
order that the format allows. An entry holds everything about a file except its bytes, which are
chunks named by digest.

What an entry cannot say, an image cannot do: there are no device nodes, sockets or pipes, no setuid
or setgid bits, no owners above 65535, and of the extended attributes only `user.*`.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, field

from tfgrid.core import ids, limits
from tfgrid.core.identity import Inception, Rotation, Signatures
from tfgrid.core.schema import Base64, Count, Name, Value

__all__ = [
    "Config",
    "Directory",
    "Entry",
    "File",
    "Link",
    "Manifest",
    "SignedManifest",
    "SignedRotation",
    "Symlink",
]

Path = Annotated[str, Meta(max_length=limits.path_bytes_max)]
"""Relative, components separated by `/`; the root itself is the empty text."""

AbsolutePath = Annotated[str, Meta(pattern=r"\A/[^\x00]*\Z", max_length=limits.path_bytes_max)]
Argument = Annotated[str, Meta(pattern=r"\A[^\x00]*\Z", max_length=limits.text_chars_max)]
Variable = Annotated[str, Meta(pattern=r"\A[A-Za-z_][A-Za-z0-9_]{0,127}\Z")]
Owner = Annotated[int, Meta(ge=0, lt=limits.uids_per_container)]
Mtime = Annotated[int, Meta(ge=0, lt=2**32)]
"""Whole seconds since 1970, as far as every file system can keep them."""
FileMode = Annotated[int, Meta(ge=0, le=0o777)]
DirectoryMode = Annotated[int, Meta(ge=0, le=0o1777)]
Xattrs = Annotated[
    dict[Annotated[str, Meta(pattern=r"\Auser\.[!-~]{1,250}\Z")], Base64],
    Meta(max_length=limits.xattrs_max),
]


class Config(Value, frozen=True):
    """How the image's process starts; a workload's own words come after these."""

    arguments: Annotated[tuple[Argument, ...], Meta(max_length=limits.arguments_max)] = ()
    environment: Annotated[
        dict[Variable, Argument], Meta(max_length=limits.environment_entries_max)
    ] = field(default_factory=dict)
    user_id: Owner = 0
    group_id: Owner = 0
    directory: AbsolutePath = "/"


class Directory(Value, frozen=True, tag="directory", tag_field="type"):
    """A directory; the first entry of every metadata is the root, whose path is empty."""

    path: Path
    mode: DirectoryMode
    uid: Owner
    gid: Owner
    mtime: Mtime
    xattrs: Xattrs = field(default_factory=dict)


class File(Value, frozen=True, tag="file", tag_field="type"):
    """A file: every chunk but the last is full, so that chunk sizes follow from `size`."""

    path: Path
    mode: FileMode
    uid: Owner
    gid: Owner
    mtime: Mtime
    size: Annotated[int, Meta(ge=0, le=limits.image_bytes_max)]
    chunks: tuple[ids.Digested, ...]
    xattrs: Xattrs = field(default_factory=dict)


class Symlink(Value, frozen=True, tag="symlink", tag_field="type"):
    """A symbolic link; its target is text that only the container's own kernel view resolves."""

    path: Path
    uid: Owner
    gid: Owner
    mtime: Mtime
    target: Annotated[
        str, Meta(pattern=r"\A[^\x00]+\Z", min_length=1, max_length=limits.symlink_bytes_max)
    ]


class Link(Value, frozen=True, tag="link", tag_field="type"):
    """Another name of a `File` that stands earlier in the metadata; all else is that file's."""

    path: Path
    target: Path


Entry: TypeAlias = Directory | File | Symlink | Link


class Manifest(Value, frozen=True):
    """What a publisher signs.

    `root` is the digest of the whole metadata, and so of every byte and attribute of the tree;
    `metadata` are the chunks it travels in. `content_bytes` counts each file once. `prefetch` lists
    the paths that a lazy reader should fetch first, in order.
    """

    format: Literal[1]
    name: Name
    signer: ids.Author
    root: ids.Digested
    metadata: Annotated[tuple[ids.Digested, ...], Meta(min_length=1, max_length=64)]
    metadata_bytes: Annotated[int, Meta(ge=1, le=limits.image_metadata_bytes_max)]
    entries: Annotated[int, Meta(ge=1, le=limits.image_entries_max)]
    content_bytes: Annotated[int, Meta(ge=0, le=limits.image_bytes_max)]
    chunks: Count
    config: Config
    prefetch: Annotated[tuple[Path, ...], Meta(max_length=1024)] = ()


class SignedRotation(Value, frozen=True):
    """One later event of the signer's identity, signed by the keys that it reveals."""

    rotation: Rotation
    signatures: Signatures


class SignedManifest(Value, frozen=True):
    """A manifest with all that proves it offline; an image's digest is this document's."""

    manifest: Manifest
    inception: Inception
    signatures: Signatures
    rotations: Annotated[
        tuple[SignedRotation, ...], Meta(max_length=limits.identity_events_max)
    ] = ()
