"""System calls that Python 3.11 does not offer, through the C library.

Numbers above 423 are the same on every architecture. Each function raises `OSError` with the
kernel's errno.
"""

from __future__ import annotations

import ctypes
import os
import struct
from typing import Final

__all__ = [
    "clone_mount",
    "mount",
    "mount_setattr",
    "move_mount",
    "prctl",
    "setns",
    "umount",
    "unshare",
]

MS_RDONLY: Final = 1
MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_NOEXEC: Final = 8
MS_REMOUNT: Final = 32
MS_BIND: Final = 4096
MS_REC: Final = 16384
MS_PRIVATE: Final = 1 << 18
MS_SLAVE: Final = 1 << 19
MS_SHARED: Final = 1 << 20
MNT_DETACH: Final = 2
UMOUNT_NOFOLLOW: Final = 8
CLONE_NEWNS: Final = 0x00020000
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWNET: Final = 0x40000000

_OPEN_TREE: Final = 428
_MOVE_MOUNT: Final = 429
_MOUNT_SETATTR: Final = 442
_AT_FDCWD: Final = -100
_AT_EMPTY_PATH: Final = 0x1000
_AT_RECURSIVE: Final = 0x8000
_OPEN_TREE_CLONE: Final = 1
_MOVE_MOUNT_F_EMPTY_PATH: Final = 4
MOUNT_ATTR_RDONLY: Final = 0x1
MOUNT_ATTR_NOSUID: Final = 0x2
MOUNT_ATTR_NODEV: Final = 0x4
MOUNT_ATTR_IDMAP: Final = 0x00100000

_libc: Final = ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _text(value: str | None) -> bytes | None:
    return None if value is None else os.fsencode(value)


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None) -> None:
    """Mount a file system; man 2 mount."""
    unsigned = ctypes.c_ulong(flags)
    _checked(_libc.mount(_text(source), _text(target), _text(kind), unsigned, _text(data)))


def umount(target: str, flags: int) -> None:
    """Unmount; man 2 umount2."""
    _checked(_libc.umount2(_text(target), ctypes.c_int(flags)))


def setns(descriptor: int, kind: int) -> None:
    """Enter a namespace; man 2 setns; 0 for `kind` takes whatever the descriptor is."""
    _checked(_libc.setns(ctypes.c_int(descriptor), ctypes.c_int(kind)))


def unshare(flags: int) -> None:
    """Enter new namespaces; man 2 unshare."""
    _checked(_libc.unshare(ctypes.c_int(flags)))


def prctl(option: int, argument: int) -> int:
    """Set a property of the process; man 2 prctl."""
    zero = ctypes.c_ulong(0)
    return _checked(_libc.prctl(ctypes.c_int(option), ctypes.c_ulong(argument), zero, zero, zero))


def _syscall(number: int, *arguments: object) -> int:
    return _checked(_libc.syscall(ctypes.c_long(number), *arguments))


def clone_mount(source: str, *, recursive: bool = False) -> int:
    """Copy a mount and get a descriptor of the detached copy; man 2 open_tree."""
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | (_AT_RECURSIVE if recursive else 0)
    return _syscall(
        _OPEN_TREE, ctypes.c_int(_AT_FDCWD), ctypes.c_char_p(_text(source)), ctypes.c_uint(flags)
    )


def mount_setattr(descriptor: int, *, attributes: int, userns: int = 0) -> None:
    """Set `attributes` of a detached mount, with `userns` for the id map; man 2 mount_setattr."""
    value = struct.pack("=QQQQ", attributes, 0, 0, userns)
    _syscall(
        _MOUNT_SETATTR,
        ctypes.c_int(descriptor),
        ctypes.c_char_p(b""),
        ctypes.c_uint(_AT_EMPTY_PATH),
        ctypes.c_char_p(value),
        ctypes.c_size_t(len(value)),
    )


def move_mount(descriptor: int, target: str) -> None:
    """Attach a detached mount at `target`; man 2 move_mount."""
    _syscall(
        _MOVE_MOUNT,
        ctypes.c_int(descriptor),
        ctypes.c_char_p(b""),
        ctypes.c_int(_AT_FDCWD),
        ctypes.c_char_p(_text(target)),
        ctypes.c_uint(_MOVE_MOUNT_F_EMPTY_PATH),
    )
