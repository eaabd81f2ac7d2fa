"""Format version 1 to the byte: what was once written is read for ever."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest

from tests.flist import trees
from tfgrid.capacity import flist
from tfgrid.capacity.flist import chunks, listing, source
from tfgrid.capacity.flist.model import Directory, Entry, File, Link, Symlink
from tfgrid.core import canonical, limits
from tfgrid.core.ids import Digest, IdentityId

VECTORS: Final = Path(__file__).parents[1] / "vectors" / "flist_v1.json"
CONTENT: Final = b"answer = 42\n"


def build() -> dict[str, Any]:
    """The vectors, as this version writes them."""
    large = bytes(limits.chunk_bytes_max) + b"tail"
    entries: list[Entry] = [
        Directory(path="", mode=0o755, uid=0, gid=0, mtime=0),
        Directory(path="etc", mode=0o1777, uid=0, gid=65_535, mtime=4_294_967_295),
        File(
            path="etc/config", mode=0o640, uid=1000, gid=100, mtime=1_700_000_000, size=12,
            chunks=(canonical.digest(CONTENT),),
            xattrs={"user.note": canonical.text_from(b"\x00\xff")},
        ),
        Symlink(path="etc/näme", uid=0, gid=0, mtime=1, target="../..//\n"),
        Link(path="etc/same", target="etc/config"),
        Directory(path="etc-more", mode=0, uid=0, gid=0, mtime=2),
        File(path='f"il\\e', mode=0, uid=0, gid=0, mtime=0, size=0, chunks=()),
        File(
            path="large", mode=0o777, uid=0, gid=0, mtime=0, size=len(large),
            chunks=(canonical.digest(large[:-4]), canonical.digest(b"tail")),
        ),
    ]  # fmt: skip
    metadata = listing.encode(listing.check(entries))
    expert = trees.keyring()
    distinct, total = listing.content(entries)
    manifest = flist.Manifest(
        format=1, name="vector", signer=expert.identity, root=canonical.digest(metadata),
        metadata=(canonical.digest(metadata),), metadata_bytes=len(metadata),
        entries=len(entries), content_bytes=total, chunks=len(distinct),
        config=flist.Config(
            arguments=("/bin/app", "--serve"), environment={"LANG": "C.UTF-8"}, user_id=1000,
            group_id=1000, directory="/srv",
        ),
        prefetch=("etc/config",),
    )  # fmt: skip
    signed = flist.sign(manifest, expert)
    return {
        "metadata": metadata.decode(),
        "root": canonical.digest(metadata),
        "signed_manifest": signed.decode(),
        "image": canonical.digest(signed),
        "signer": expert.identity,
        "chunk_digest": canonical.digest(CONTENT),
        "chunk_plain": CONTENT.hex(),
        "chunk_frame": chunks.stored(CONTENT).hex(),
        "batch": source.frames([b"", b"ab"]).hex(),
    }


@pytest.fixture(scope="module")
def vectors() -> dict[str, str]:
    """The frozen vectors."""
    frozen: dict[str, str] = json.loads(VECTORS.read_text())
    return frozen


def test_what_is_written_is_what_was_frozen(vectors: dict[str, str]) -> None:
    """Metadata, manifest, digests and batches have not moved by a bit; zstd alone may differ."""
    written = build()
    assert {k: v for k, v in written.items() if k != "chunk_frame"} == {
        k: v for k, v in vectors.items() if k != "chunk_frame"
    }


def test_what_was_frozen_is_read(vectors: dict[str, str]) -> None:
    """The frozen manifest opens, its metadata parses and its chunk unfolds."""
    manifest = flist.open_manifest(
        vectors["signed_manifest"].encode(), digest=Digest(vectors["image"]),
        signer=IdentityId(vectors["signer"]),
    )  # fmt: skip
    entries = listing.parse(vectors["metadata"].encode())
    assert manifest.root == vectors["root"] and manifest.entries == len(entries) == 8
    frame, digest = bytes.fromhex(vectors["chunk_frame"]), Digest(vectors["chunk_digest"])
    assert chunks.plain(frame, digest, size=12) == CONTENT
