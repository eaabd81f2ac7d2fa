"""A file whose size is a quota: an ext4 file system in it, mounted through a loop device.

The file is sparse, so it takes what is used; its size is the hard limit, met as "no space left on
device". The loop device is taken with autoclear: it goes when the last mount of it goes, even if
the node was killed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tfgrid.core import errors
from tfgrid.jumpscale.sal import syscalls
from tfgrid.jumpscale.sal.change import Argv, Change, refused

__all__ = ["DiskCopy", "DiskMake", "DiskMount", "loops_of"]

_LOOP_CTL_GET_FREE: Final = 0x4C82
_LOOP_CONFIGURE: Final = 0x4C0A
_LO_FLAGS_AUTOCLEAR: Final = 4
# struct loop_config of linux/loop.h: fd, block size, then struct loop_info64, then reserved words.
_LOOP_CONFIG: Final = struct.Struct("=II QQQQQIIII 64s 64s 32s QQ 8Q")
_LOOP_TRIES: Final = 16
_SMALL_BYTES: Final = 512 * 1024**2
_UNFORCED: Final = "nobarrier"


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskMake(Change):
    """Make a file of `size_bytes` with an empty ext4 file system in it.

    No journal: what is on it is made again after a crash. Nothing is reserved for root, and inode
    tables are left to the kernel, so that making one costs milliseconds.
    """

    path: Path
    size_bytes: int

    def argv(self) -> tuple[Argv, ...]:
        """See `Change.argv`; e2fsprogs."""
        features = "^has_journal,^resize_inode,uninit_bg,sparse_super2,^dir_nlink"
        options = "lazy_itable_init=1,nodiscard,assume_storage_prezeroed=1,num_backup_sb=0"
        size = () if self.size_bytes >= _SMALL_BYTES else ("-N", str(self._inodes()))
        return (
            ("truncate", "--size", str(self.size_bytes), str(self.path)),
            (
                "mkfs.ext4",
                "-q",
                "-F",
                "-m",
                "0",
                "-O",
                features,
                "-E",
                options,
                *size,
                str(self.path),
            ),
        )

    def _inodes(self) -> int:
        return max(64, self.size_bytes // 8192)

    def perform(self) -> None:
        """See `Change.perform`. A half-made file is removed.

        Raises:
            errors.MachineLacks: TFG-3031, mkfs.ext4 is not there.
            errors.Failed: TFG-3032, it failed.

        """
        line = self.argv()[1]
        try:
            with self.path.open("xb") as file:
                os.ftruncate(file.fileno(), self.size_bytes)
            subprocess.run(line, check=True, capture_output=True, timeout=60)
        except FileNotFoundError as error:
            self.path.unlink(missing_ok=True)
            hint = "apt-get install e2fsprogs"
            raise errors.MachineLacks("TFG-3031", "mkfs.ext4 is missing", hint=hint) from error
        except (subprocess.SubprocessError, OSError) as error:
            self.path.unlink(missing_ok=True)
            said = getattr(error, "stderr", None) or str(error).encode()
            text = said.decode("utf-8", "replace").strip()[-300:]
            where = str(self.path)
            raise errors.Failed("TFG-3032", f"a disk was not made: {text}", where=where) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskCopy(Change):
    """Make a disk by copying an empty one of the same size, holes as holes.

    Faster than making one: the program that does forces what it wrote to the machine's disk.
    """

    template: Path
    path: Path

    def perform(self) -> None:
        """See `Change.perform`."""
        try:
            with self.template.open("rb") as source, self.path.open("xb") as target:
                size = os.fstat(source.fileno()).st_size
                os.ftruncate(target.fileno(), size)
                for start, end in _data(source.fileno(), size):
                    _copy(source.fileno(), target.fileno(), start, end)
        except OSError as error:
            raise refused("copy a disk", error, where=str(self.path)) from error

    def argv(self) -> tuple[Argv, ...]:
        """See `Change.argv`; coreutils."""
        return (("cp", "--sparse=always", str(self.template), str(self.path)),)


def _data(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    """Where a sparse file has data: pairs of start and end."""
    position = 0
    while position < size:
        try:
            start = os.lseek(descriptor, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        position = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield start, position


def _copy(source: int, target: int, start: int, end: int) -> None:
    while start < end:
        count = os.copy_file_range(source, target, end - start, start, start)
        if count == 0:
            return
        start += count


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskMount(Change):
    """Mount a disk made by `DiskMake`, without device nodes and setuid programs on it counting.

    Nothing on it is forced to the machine's disk, since nothing on it outlives a crash. The kernel
    would force its first block with each mount and unmount, and fsync(2) inside what all share.
    """

    path: Path
    target: Path
    nosuid: bool = False

    def perform(self) -> None:
        """See `Change.perform`."""
        flags = syscalls.MS_NODEV | (syscalls.MS_NOSUID if self.nosuid else 0)
        try:
            device, name = _attach(self.path)
            try:
                syscalls.mount(name, str(self.target), "ext4", flags, _UNFORCED)
            finally:
                os.close(device)
        except OSError as error:
            raise refused("mount a disk", error, where=str(self.path)) from error

    def argv(self) -> tuple[Argv, ...]:
        """See `Change.argv`."""
        options = ",".join(["loop", "nodev", *(["nosuid"] if self.nosuid else []), _UNFORCED])
        line = ("mount", "--types", "ext4", "--options", options, str(self.path), str(self.target))
        return (line,)


def _attach(path: Path) -> tuple[int, str]:
    """Bind a file to a free loop device; an open descriptor of the device, and its name."""
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        for _ in range(_LOOP_TRIES):
            number = fcntl.ioctl(control, _LOOP_CTL_GET_FREE)
            name = f"/dev/loop{number}"
            device = os.open(name, os.O_RDWR | os.O_CLOEXEC)
            shown = os.fsencode(path)[-63:]
            zeros = b""
            head = (file, 0, 0, 0, 0, 0, 0, 0, 0, 0, _LO_FLAGS_AUTOCLEAR, shown, zeros, zeros)
            try:
                fcntl.ioctl(device, _LOOP_CONFIGURE, _LOOP_CONFIG.pack(*head, *([0] * 10)))
            except OSError as error:
                os.close(device)
                # Another process took it between the question and the answer: ask again.
                if error.errno != 16:
                    raise
                continue
            return device, name
        raise OSError(16, os.strerror(16))
    finally:
        os.close(control)
        os.close(file)


def loops_of(path: Path) -> tuple[str, ...]:
    """The loop devices that are bound to a file."""
    found = []
    for folder in Path("/sys/block").glob("loop*/loop"):
        try:
            backing = (folder / "backing_file").read_text("utf-8").strip()
        except OSError:
            continue
        if backing == str(path):
            found.append(f"/dev/{folder.parent.name}")
    return tuple(found)
