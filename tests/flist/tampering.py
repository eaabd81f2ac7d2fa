"""What somebody at a node's disk might do to an image, and the code that must follow."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.flist import trees

CAPABILITY = bytes.fromhex("0100000202" + "00" * 15)


@contextmanager
def same_times(*paths: Path) -> Iterator[None]:
    """Whatever happens, the times of these stay as they were."""
    before = [path.stat() for path in paths]
    yield
    for path, about in zip(paths, before, strict=True):
        os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


def turn_a_bit(root: Path) -> None:
    """One bit of a large file."""
    path = root / "etc/big"
    with same_times(path):
        path.write_bytes(trees.flipped(path.read_bytes(), 1024**2 + 5))


def grow(root: Path) -> None:
    """One byte more."""
    with same_times(root / "etc/app/nothing"):
        os.truncate(root / "etc/app/nothing", 1)


def add_file(root: Path) -> None:
    """A file that nobody signed."""
    with same_times(root / "etc"):
        (root / "etc/more").touch()


def add_device(root: Path) -> None:
    """A device node."""
    with same_times(root / "etc"):
        os.mknod(root / "etc/null", 0o20666, os.makedev(1, 3))


def fill_empty_directory(root: Path) -> None:
    """A directory in one that was signed empty."""
    with same_times(root / "var/empty"):
        (root / "var/empty/x").mkdir()


def take_away(root: Path) -> None:
    """A file is missing."""
    with same_times(root / "etc"):
        (root / "etc/same").unlink()


def link_for_file(root: Path) -> None:
    """A link to the very bytes, in place of a file."""
    with same_times(root / "etc"):
        (root / "etc/same").rename(root.parent / "same")
        (root / "etc/same").symlink_to("../../same")


def pipe_for_file(root: Path) -> None:
    """A pipe, which would hang a careless reader."""
    with same_times(root / "etc", root / "etc/same"):
        (root / "etc/same").unlink()
        os.mkfifo(root / "etc/same", 0o644)


def link_for_directory(root: Path) -> None:
    """A link to the very directory, moved elsewhere."""
    with same_times(root):
        (root / "etc").rename(root.parent / "etc")
        (root / "etc").symlink_to("../etc")


def link_for_root(root: Path) -> None:
    """A link to the very tree, moved elsewhere."""
    root.rename(root.parent / "elsewhere")
    root.symlink_to("elsewhere")


def turn_link(root: Path) -> None:
    """A link that points elsewhere."""
    moment = (root / "sbin").lstat().st_mtime_ns
    with same_times(root):
        (root / "sbin").unlink()
        (root / "sbin").symlink_to("etc")
        os.utime(root / "sbin", ns=(moment, moment), follow_symlinks=False)


def link_out(root: Path) -> None:
    """A name outside through which a file can be written later."""
    os.link(root / "etc/same", root.parent / "outside")


def split_link(root: Path) -> None:
    """Two names of one file become two files with the same bytes."""
    with same_times(root / "bin", root / "bin/tool"):
        (root / "bin/tool").unlink()
        (root / "bin/tool").write_bytes(b"#!/bin/true\n")
        (root / "bin/tool").chmod(0o755)
        (root.parent / "third").hardlink_to(root / "bin/also")
        (root.parent / "fourth").hardlink_to(root / "bin/tool")


def change_metadata(root: Path) -> None:
    """Metadata that would allow more."""
    path = root.parent / "metadata"
    path.write_bytes(path.read_bytes().replace(b'"mode":493', b'"mode":511'))


TAMPERINGS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "one bit": ("TFG-3231", turn_a_bit),
    "grown": ("TFG-3231", grow),
    "mode": ("TFG-3232", lambda root: (root / "bin/tool").chmod(0o4755)),
    "directory mode": ("TFG-3232", lambda root: (root / "etc").chmod(0o777)),
    "root's mode": ("TFG-3232", lambda root: root.chmod(0o777)),
    "owner": ("TFG-3232", lambda root: os.chown(root / "etc/same", 1, 0)),
    "group": ("TFG-3232", lambda root: os.chown(root / "etc", 0, 1)),
    "link's owner": ("TFG-3232", lambda root: os.lchown(root / "sbin", 1, 1)),
    "time": ("TFG-3232", lambda root: os.utime(root / "etc/same", (1, 1))),
    "attribute": ("TFG-3232", lambda root: os.setxattr(root / "etc/same", "user.x", b"1")),
    "overlay": (
        "TFG-3232", lambda root: os.setxattr(root / "var", "trusted.overlay.opaque", b"y"),
    ),
    "capability": (
        "TFG-3232", lambda root: os.setxattr(root / "bin/tool", "security.capability", CAPABILITY),
    ),
    "link's attribute": (
        "TFG-3232",
        lambda root: os.setxattr(root / "sbin", "trusted.x", b"y", follow_symlinks=False),
    ),
    "added": ("TFG-3233", add_file),
    "added device": ("TFG-3233", add_device),
    "added in an empty directory": ("TFG-3233", fill_empty_directory),
    "missing": ("TFG-3234", take_away),
    "link for a file": ("TFG-3234", link_for_file),
    "pipe for a file": ("TFG-3234", pipe_for_file),
    "link for a directory": ("TFG-3234", link_for_directory),
    "link for the root": ("TFG-3234", link_for_root),
    "another target": ("TFG-3231", turn_link),
    "another hard link": ("TFG-3232", link_out),
    "split hard link": ("TFG-3232", split_link),
    "manifest": ("TFG-3235", lambda root: (root.parent / "manifest").write_bytes(b"{}")),
    "no manifest": ("TFG-3235", lambda root: (root.parent / "manifest").unlink()),
    "metadata": ("TFG-3235", change_metadata),
    "no metadata": ("TFG-3235", lambda root: (root.parent / "metadata").unlink()),
}  # fmt: skip
