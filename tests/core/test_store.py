"""A write that returned is there; one that did not has changed nothing or everything."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tfgrid.core import errors
from tfgrid.core.store import DirectoryStore, MemoryStore, Store

_WRITER = """
import sys
from pathlib import Path
from tfgrid.core.store import DirectoryStore
try:
    DirectoryStore(Path(sys.argv[1])).write("deep/name", b"new" * 1000)
except Exception as fault:
    sys.exit(str(fault))
"""
_OLD, _NEW = b"old" * 1000, b"new" * 1000


@pytest.fixture(params=["directory", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Each kind of store: all of them keep the same promises."""
    return DirectoryStore(tmp_path / "store") if request.param == "directory" else MemoryStore()


def test_bytes_are_replaced_whole(store: Store) -> None:
    """What was written last is read, and what was removed is gone."""
    assert store.read("a") is None
    for data in (b"one", b"", b"\x00\xff" * 5000):
        store.write("a", data)
        assert store.read("a") == data
    store.remove("a")
    store.remove("a")
    assert store.read("a") is None


def test_names_are_listed_by_prefix(store: Store) -> None:
    """All names are there, sorted, folders and unfinished files are not."""
    for name in ("b/2", "b/1", "a", "b.x"):
        store.write(name, b"")
    assert store.names() == ["a", "b.x", "b/1", "b/2"]
    assert store.names("b/") == ["b/1", "b/2"]
    assert store.names("c") == []


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/",
        "/etc/x",
        "..",
        "../x",
        "a/../x",
        "a//b",
        "a/",
        ".hidden",
        "a/.b",
        "A",
        "a b",
        "a\n",
        "é",
        "a\x00",
        "./a",
        "a/./b",
    ],
)
def test_nothing_climbs_out(store: Store, name: str) -> None:
    """A name that is not a plain relative path is refused by every verb."""
    for verb in (store.read, store.remove, lambda n: store.write(n, b"")):
        with pytest.raises(errors.BadInput, match="TFG-1202"):
            verb(name)


def test_only_the_owner_reads(tmp_path: Path) -> None:
    """Files and folders that a store makes are closed to others."""
    DirectoryStore(tmp_path / "store").write("a/b", b"x")
    modes = {p.stat().st_mode & 0o777 for p in (tmp_path / "store").rglob("*")}
    assert modes == {0o600, 0o700}


def test_a_full_memory_disk_keeps_the_old_bytes() -> None:
    """The in-memory store can refuse to write, as a full disk does."""
    store = MemoryStore()
    store.write("a", b"old")
    store.fail_writes = True
    with pytest.raises(errors.Failed, match="TFG-1201"):
        store.write("a", b"new")
    assert store.read("a") == b"old"


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    """A folder where a file should be is an error with a code, and so is a file as a folder."""
    store = DirectoryStore(tmp_path)
    store.write("a/b", b"x")
    with pytest.raises(errors.Failed, match="TFG-1203"):
        store.read("a")
    with pytest.raises(errors.Failed, match="TFG-1204"):
        store.remove("a")
    with pytest.raises(errors.Failed, match="TFG-1201"):
        store.write("a/b/c", b"x")
    (tmp_path / "file").touch()
    with pytest.raises(errors.Failed, match="TFG-1205"):
        DirectoryStore(tmp_path / "file" / "store")


def _write_under_strace(folder: Path, *injections: str) -> subprocess.CompletedProcess[str]:
    """Write new bytes in another process, with faults at system calls that touch the folder."""
    paths = (
        folder.parent,
        folder,
        folder / "deep",
        folder / "deep/name",
        folder / "deep/.name.new",
    )
    watched = [word for path in paths for word in ("-P", str(path))]
    faults = [word for injection in injections for word in ("-e", f"inject={injection}")]
    return subprocess.run(
        ["strace", "-f", "-qq", *watched, *faults, sys.executable, "-c", _WRITER, str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )


def _calls(trace: str) -> Iterator[tuple[str, int]]:
    """Each system call of a trace with its number among those of its name."""
    seen = Counter[str]()
    for name in re.findall(r"^(?:\[pid +\d+\] )?(\w+)\(", trace, re.MULTILINE):
        seen[name] += 1
        yield name, seen[name]


def _prepared(folder: Path, *, has_old: bool) -> Path:
    if has_old:
        DirectoryStore(folder).write("deep/name", _OLD)
    return folder


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.parametrize("has_old", [True, False])
def test_a_killed_writer_leaves_old_or_new(tmp_path: Path, has_old: bool) -> None:
    """A writer killed at any of its system calls leaves the old bytes or the new, and no third."""
    before = _OLD if has_old else None
    calls = list(_calls(_write_under_strace(_prepared(tmp_path / "0", has_old=has_old)).stderr))
    assert {"openat", "write", "fsync", "rename"} <= {name for name, _ in calls}
    left: list[bytes | None] = []
    for number, (name, count) in enumerate(calls, start=1):
        folder = _prepared(tmp_path / str(number), has_old=has_old)
        done = _write_under_strace(folder, f"{name}:signal=KILL:when={count}")
        assert done.returncode != 0, (name, count)
        left.append(DirectoryStore(folder).read("deep/name"))
        DirectoryStore(folder).write("deep/name", b"again")
        assert DirectoryStore(folder).read("deep/name") == b"again"
        assert DirectoryStore(folder).names() == ["deep/name"]
    assert set(left) == {before, _NEW}
    assert left == sorted(left, key=lambda data: data == _NEW), "a later kill undid the write"


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.parametrize(
    "fault",
    ["write:error=ENOSPC", "write:error=EIO", "fsync:error=EIO:when=1", "rename:error=ENOSPC",
     "openat:error=ENOSPC:when=1", "openat:error=EROFS:when=1"],
)  # fmt: skip
def test_a_refusing_disk_keeps_the_old_bytes(tmp_path: Path, fault: str) -> None:
    """A disk that is full, broken or read-only is reported, and the old bytes stand alone."""
    folder = _prepared(tmp_path / "store", has_old=True)
    done = _write_under_strace(folder, fault)
    assert "TFG-1201 cannot write deep/name" in done.stderr
    assert DirectoryStore(folder).read("deep/name") == _OLD
    assert [p.name for p in (folder / "deep").iterdir()] == ["name"]


@pytest.mark.root
@pytest.mark.slow
def test_a_write_is_synced_before_and_after_its_rename(tmp_path: Path) -> None:
    """The bytes reach the disk before their name does, and every new name before the return."""
    folder = tmp_path / "store"
    trace = _write_under_strace(folder).stderr
    order = [name for name, _ in _calls(trace) if name in {"mkdir", "write", "fsync", "rename"}]
    assert order == ["mkdir", "fsync", "mkdir", "fsync", "write", "fsync", "rename", "fsync"]
