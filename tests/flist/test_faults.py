"""Full disks and crashes: whatever happens, nothing half made counts."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.flist import trees
from tfgrid.capacity import flist
from tfgrid.capacity.flist import beneath
from tfgrid.core import errors
from tfgrid.core.rng import SeededRng

pytestmark = pytest.mark.root

KIB = 1024


def ensure(node: flist.ImageStore, published: trees.Published) -> flist.Image:
    """The image on a node, rechecked."""
    sources = [published.transport()]
    asyncio.run(node.ensure(published.digest, published.keyring.identity, sources))
    return asyncio.run(node.recheck(published.digest))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """A file system of so many bytes; called again, it is as large as then said."""
    path = tmp_path / "disk"
    path.mkdir()

    def sized(size: int) -> Path:
        again = ["-o", "remount"] if path.is_mount() else []
        subprocess.run(
            ["mount", "-t", "tmpfs", *again, "-o", f"size={size}", "flist-test", str(path)],
            check=True,
        )
        return path

    yield sized
    if path.is_mount():
        subprocess.run(["umount", str(path)], check=True)


@pytest.mark.parametrize("ahead", [True, False], ids=["seen ahead", "late"])
@pytest.mark.parametrize("size_kib", [64, 700, 1200, 1600, 2000])
def test_a_full_disk_leaves_nothing_behind(
    tmp_path: Path, small_disk: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch,
    size_kib: int, ahead: bool,
) -> None:  # fmt: skip
    """Wherever the space ends, all is removed, and with more space the image is made."""
    published = trees.publish(tmp_path)
    node = flist.ImageStore(small_disk(size_kib * KIB) / "node")
    check = flist.ImageStore._check_space
    if not ahead:
        monkeypatch.setattr(flist.ImageStore, "_check_space", lambda *_: None)
    with pytest.raises(errors.Failed) as caught:
        ensure(node, published)
    assert caught.value.code == "TFG-3223"
    folders = ("making", "incoming", "trees")
    assert [list((node.directory / name).iterdir()) for name in folders] == [[], [], []]
    monkeypatch.setattr(flist.ImageStore, "_check_space", check)
    small_disk(16 * 1024 * KIB)
    assert ensure(node, published)


def test_a_full_chunk_store_says_so(tmp_path: Path, small_disk: Callable[[int], Path]) -> None:
    """Publishing to a full disk is an error that keeps what was published before."""
    store = flist.ChunkStore(small_disk(256 * KIB))
    first = store.put(b"first")
    with pytest.raises(errors.Failed, match="TFG-3213"):
        store.put(SeededRng(1).token(1024 * KIB))
    assert store.get(first) == b"first"
    assert len([path for path in store.directory.rglob("*") if path.is_file()]) == 1


def steps(monkeypatch: pytest.MonkeyPatch, before: Callable[[int], None]) -> None:
    """Call `before` with a running number ahead of whatever changes the disk."""
    numbers = itertools.count()

    def watched(function: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **rest: Any) -> Any:
            before(next(numbers))
            return function(*args, **rest)

        return called

    for owner, names in (
        (os, ["mkdir", "link", "symlink", "fchown", "fchmod", "utime", "write"]),
        (Path, ["rename", "write_bytes", "replace"]),
        (beneath, ["open_at", "sync"]),
    ):
        for name in names:
            monkeypatch.setattr(owner, name, watched(getattr(owner, name)))


def crashed(directory: Path, published: trees.Published, step: int) -> bool:
    """Whether a child that is killed ahead of a step of materialising had got that far."""
    child = os.fork()
    if child == 0:
        with pytest.MonkeyPatch.context() as patch:
            steps(patch, lambda number: os._exit(9) if number == step else None)
            try:
                ensure(flist.ImageStore(directory), published)
            finally:
                os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.slow
def test_a_crash_at_any_step_leaves_no_image_that_is_not_whole(tmp_path: Path) -> None:
    """After a kill at any point a new start sees the whole image or none, and can make it."""
    published = trees.publish(tmp_path)
    points = 0
    for step in itertools.count(0, 5):
        directory = tmp_path / f"node-{step}"
        if not crashed(directory, published, step):
            break
        points += 1
        node = flist.ImageStore(directory)
        assert not list((directory / "making").iterdir())
        for image in node.images():
            asyncio.run(node.recheck(image.digest))
        assert ensure(node, published)
        assert not list((directory / "incoming").iterdir()) or node.images()
    assert points > 15


def test_many_crashes_in_a_row_are_survived(tmp_path: Path) -> None:
    """A node that is killed again and again in the same directory gets there in the end."""
    published = trees.publish(tmp_path)
    random = SeededRng(7)
    for _ in range(6):
        crashed(tmp_path / "node", published, random.below(60))
    assert ensure(flist.ImageStore(tmp_path / "node"), published)


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    """Making, checking, refusing and packing close what they open."""
    published = trees.publish(tmp_path)
    node = flist.ImageStore(tmp_path / "node")
    ensure(node, published)
    before = len(list(Path("/proc/self/fd").iterdir()))
    (node.directory / "trees" / published.digest / "root/etc/same").write_text("x")
    for _ in range(3):
        with pytest.raises(errors.VerificationFailed):
            ensure(node, published)
        node.discard(published.digest)
        ensure(node, published)
        (node.directory / "trees" / published.digest / "root/etc/same").write_text("x")
        flist.pack(tmp_path / "app-tree", published.store)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
