"""Packing a directory."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.flist import trees
from tfgrid.capacity import flist
from tfgrid.capacity.flist import listing, packing
from tfgrid.capacity.flist.model import Directory, File, Link, Symlink
from tfgrid.core import canonical, errors


def metadata(store: flist.ChunkStore, packed: flist.Packed) -> bytes:
    """The metadata of a packed tree, from its chunks."""
    return b"".join(store.get(digest) or b"" for digest in packed.metadata)


def test_a_packed_tree_says_what_is_there(tmp_path: Path) -> None:
    """Every file, directory and link stands in the metadata, with its size, mode and target."""
    store = flist.ChunkStore(tmp_path / "store")
    packed = flist.pack(trees.sample(tmp_path / "tree"), store, mtime_max=trees.LATEST)
    data = metadata(store, packed)
    entries = {entry.path: entry for entry in listing.parse(data)}
    assert canonical.digest(data) == packed.root and len(data) == packed.metadata_bytes
    assert sorted(entries) == sorted(["", *trees.files_below(tmp_path / "tree")])
    assert packed.entries == len(entries) and packed.notes == ()
    tool, big = entries["bin/also"], entries["etc/big"]
    assert isinstance(tool, File) and (tool.mode, tool.mtime) == (0o755, trees.LATEST)
    assert entries["bin/tool"] == Link(path="bin/tool", target="bin/also")
    assert isinstance(big, File) and len(big.chunks) == 2 and store.has(big.chunks[1])
    out = entries["etc/out"]
    assert isinstance(out, Symlink) and out.target == "/etc/../../etc/shadow"
    assert isinstance(entries["var/empty"], Directory)


def test_the_same_tree_gives_the_same_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Order of listing, times of packing and number of threads leave no trace."""
    store = flist.ChunkStore(tmp_path / "store")
    first = flist.pack(trees.sample(tmp_path / "one"), store, mtime_max=trees.LATEST)
    second = trees.sample(tmp_path / "two")
    os.utime(second / "etc/same", (5, 2_000_000_000))
    listed: Callable[..., Any] = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: reversed(list(listed(path))))
    other = flist.ChunkStore(tmp_path / "other")
    assert flist.pack(second, other, mtime_max=trees.LATEST, workers=7) == first


@pytest.mark.parametrize("change", ["bytes", "mode", "name", "time", "link", "more"])
def test_every_change_gives_another_digest(tmp_path: Path, change: str) -> None:
    """Nothing of a tree is left out of its digest."""
    tree, store = trees.sample(tmp_path / "tree"), flist.ChunkStore(tmp_path / "store")
    before = flist.pack(tree, store, mtime_max=trees.LATEST).root
    changes: dict[str, Callable[[], object]] = {
        "bytes": lambda: (tree / "etc/same").write_text("answer = 43\n"),
        "mode": lambda: (tree / "etc/same").chmod(0o600),
        "name": lambda: (tree / "etc/same").rename(tree / "etc/sane"),
        "time": lambda: os.utime(tree / "etc/same", (1, 1)),
        "link": lambda: (tree / "etc/out").rename(tree / "sbin"),
        "more": (tree / "var/empty/x").touch,
    }
    changes[change]()
    assert flist.pack(tree, store, mtime_max=trees.LATEST).root != before


@pytest.mark.parametrize("kind", ["fifo", "socket", "name"])
def test_what_no_image_can_carry_is_refused(tmp_path: Path, kind: str) -> None:
    """Pipes, sockets and names that are not UTF-8 are an error, never left out in silence."""
    path = tmp_path / "tree"
    path.mkdir()
    if kind == "fifo":
        os.mkfifo(path / "x")
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path / "x"))
    else:
        Path(os.fsdecode(os.fsencode(path) + b"/\xff")).touch()
    with pytest.raises(errors.BadInput, match="TFG-3214"):
        flist.pack(path, flist.ChunkStore(tmp_path / "store"))


@pytest.mark.root
def test_devices_and_owners_that_no_container_has_are_refused(tmp_path: Path) -> None:
    """A device node, and a file of an owner above 65535, cannot be packed."""
    path, store = tmp_path / "tree", flist.ChunkStore(tmp_path / "store")
    path.mkdir()
    (path / "x").touch()
    os.chown(path / "x", 65_536, 0)
    with pytest.raises(errors.BadInput, match="TFG-3214"):
        flist.pack(path, store)
    (path / "x").unlink()
    os.mknod(path / "null", 0o20666, os.makedev(1, 3))
    with pytest.raises(errors.BadInput, match="TFG-3214"):
        flist.pack(path, store)


@pytest.mark.root
def test_what_gives_privilege_is_dropped_and_noted(tmp_path: Path) -> None:
    """Setuid and setgid bits and privileged attributes do not enter an image; `user.*` does."""
    path, store = tmp_path / "tree", flist.ChunkStore(tmp_path / "store")
    path.mkdir()
    (path / "su").touch()
    (path / "su").chmod(0o6755)
    for name in ("user.kept", "user.overlay.opaque", "trusted.overlay.redirect", "security.x"):
        os.setxattr(path / "su", name, b"v")
    packed = flist.pack(path, store)
    entry = listing.parse(metadata(store, packed))[1]
    assert isinstance(entry, File) and entry.mode == 0o755
    assert dict(entry.xattrs) == {"user.kept": canonical.text_from(b"v")}
    assert len(packed.notes) == 4 and any("6755" in note for note in packed.notes)


@pytest.mark.parametrize("grow", [True, False])
def test_a_tree_that_changes_meanwhile_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grow: bool
) -> None:
    """A file that grew or shrank while it was read is an error, not a mix."""
    tree = trees.sample(tmp_path / "tree")
    put: Callable[..., File] = packing._put_file

    def late(root: int, entry: File, store: flist.ChunkStore) -> File:
        if entry.path == "etc/big":
            os.truncate(tree / "etc/big", entry.size + (1 if grow else -1))
        return put(root, entry, store)

    monkeypatch.setattr(packing, "_put_file", late)
    with pytest.raises(errors.BadInput, match="TFG-3215"):
        flist.pack(tree, flist.ChunkStore(tmp_path / "store"))


def test_an_image_is_listed_and_verified(tmp_path: Path) -> None:
    """What was published is found by name, and verifies to its last chunk."""
    published = trees.publish(tmp_path)
    (found,) = flist.images(published.store)
    assert (found.digest, found.name, found.signer_name) == (published.digest, "app", "expert")
    assert flist.verify(published.store, published.digest, signer=published.keyring.identity)
    assert found.manifest.content_bytes < found.stored_bytes + 2000


@pytest.mark.parametrize("damage", ["flip", "lose", "swap"])
def test_a_damaged_publication_does_not_verify(tmp_path: Path, damage: str) -> None:
    """One flipped byte, one lost chunk, or one under another's name is found."""
    published = trees.publish(tmp_path)
    names = [path for path in (published.store.directory / "chunks").rglob("*") if path.is_file()]
    first, second = sorted(names, key=lambda path: path.stat().st_size)[-2:]
    if damage == "flip":
        second.write_bytes(trees.flipped(second.read_bytes(), 20))
    elif damage == "lose":
        second.unlink()
    else:
        second.write_bytes(first.read_bytes())
    with pytest.raises(errors.GridError) as caught:
        flist.verify(published.store, published.digest)
    assert caught.value.code == ("TFG-3220" if damage == "lose" else "TFG-3212")


def test_an_unknown_image_or_signer_is_refused(tmp_path: Path) -> None:
    """Verification names what is not there and who did not sign."""
    published = trees.publish(tmp_path)
    with pytest.raises(errors.NotFound, match="TFG-3220"):
        flist.verify(published.store, canonical.digest(b""))
    with pytest.raises(errors.VerificationFailed, match="TFG-3202"):
        flist.verify(published.store, published.digest, signer=trees.keyring("other").identity)


def test_a_copy_is_whole(tmp_path: Path) -> None:
    """A tree copied to another store is published there as the same image."""
    published = trees.publish(tmp_path)
    packed = flist.pack(tmp_path / "app-tree", published.store, mtime_max=trees.LATEST)
    other = flist.ChunkStore(tmp_path / "other")
    flist.copy(packed, published.store, other)
    digest, _ = flist.publish(
        packed, other, name="app", keyring=published.keyring,
        config=flist.Config(arguments=("/bin/tool",)),
    )  # fmt: skip
    assert digest == published.digest and flist.verify(other, digest)
