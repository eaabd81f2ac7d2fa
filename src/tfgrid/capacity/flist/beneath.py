"""System calls that never leave a tree.

`openat2` (Linux 5.6) resolves a whole path in the kernel under a directory and refuses `..` above
it, every symbolic link, magic links and mounts on the way. So no order of entries, and nobody who
changes the tree meanwhile, can lead a write or a read outside.
"""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path
from typing import Final

from tfgrid.core import errors

__all__ = ["open_at", "open_parent", "sync"]

_SYS_OPENAT2: Final = 437
_NO_XDEV, _NO_MAGICLINKS, _NO_SYMLINKS, _BENEATH = 0x01, 0x02, 0x04, 0x08
_RESOLVE: Final = _BENEATH | _NO_SYMLINKS | _NO_MAGICLINKS | _NO_XDEV

_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class _OpenHow(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def open_at(root: int, path: str, flags: int, mode: int = 0) -> int:
    """A descriptor for `path` under the directory `root` (a descriptor); links are never followed.

    Raises:
        OSError: as openat2(2); ELOOP for a link on the way, EXDEV for an escape.
        errors.MachineLacks: TFG-3226, the kernel has no openat2.

    """
    how = _OpenHow(flags | os.O_CLOEXEC | os.O_NOFOLLOW, mode, _RESOLVE)
    descriptor: int = _libc.syscall(
        ctypes.c_long(_SYS_OPENAT2), ctypes.c_int(root), os.fsencode(path or "."),
        ctypes.byref(how), ctypes.c_size_t(ctypes.sizeof(how)),
    )  # fmt: skip
    if descriptor >= 0:
        return descriptor
    number = ctypes.get_errno()
    if number == errno.ENOSYS:
        raise errors.MachineLacks(
            "TFG-3226", "the kernel has no openat2", hint="use Linux 5.6 or newer"
        )
    raise OSError(number, os.strerror(number), path)


def open_parent(root: int, path: str) -> tuple[int, str]:
    """A descriptor for the directory that holds `path`, and the last component's name."""
    parent, _, name = path.rpartition("/")
    return open_at(root, parent, os.O_RDONLY | os.O_DIRECTORY), name


def sync(directory: Path) -> None:
    """Return when all that was written to the directory's file system is on the disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if _libc.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(directory))
    finally:
        os.close(descriptor)
