"""A seccomp profile as the kernel takes it, compiled once per node instead of once per container.

A runtime compiles the profile of each container it makes, with libseccomp, in some ten
milliseconds. The profile is the same for all, so the same library does it here once; the result is
given to crun beside the profile. A runtime that does not know the annotation, or a machine
without the library, compiles the profile as ever.
"""

from __future__ import annotations

import base64
import ctypes
import functools
import os
import platform
from collections.abc import Mapping
from typing import Any, Final

from tfgrid.capacity.container.seccomp import seccomp_profile
from tfgrid.core import errors

__all__ = ["annotation", "compiled", "node_filter"]

annotation: Final = "run.oci.seccomp_bpf_data"
"""Where crun (0.18 and newer) looks for a compiled filter, in base64; crun(1)."""

_LIBRARY: Final = "libseccomp.so.2"
# seccomp.h of libseccomp.
_ALLOW: Final = 0x7FFF0000
_ERRNO: Final = 0x00050000
_OPERATORS: Final = {
    "SCMP_CMP_NE": 1,
    "SCMP_CMP_LT": 2,
    "SCMP_CMP_LE": 3,
    "SCMP_CMP_EQ": 4,
    "SCMP_CMP_GE": 5,
    "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}
_UNKNOWN: Final = -1
_FILTER_BYTES_MAX: Final = 4096 * 8


class _Comparison(ctypes.Structure):
    _fields_ = (
        ("index", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("value", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


@functools.cache
def node_filter() -> str:
    """The profile of every container, compiled, in base64; empty if there is no libseccomp."""
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError:
        return ""
    return base64.b64encode(compiled(seccomp_profile(), library)).decode("ascii")


def compiled(profile: Mapping[str, Any], library: ctypes.CDLL) -> bytes:
    """A profile for this machine type as a program for seccomp(2).

    Raises:
        errors.Failed: TFG-3108, the library refused a rule; no filter is better than a weaker one,
            and no container runs without.

    """
    library.seccomp_init.restype = ctypes.c_void_p
    default = _action(profile["defaultAction"], profile["defaultErrnoRet"])
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(default)))
    if not context:
        raise errors.Failed("TFG-3108", "a system call filter was not begun")
    try:
        for rule in profile["syscalls"]:
            for name in rule["names"]:
                _add(library, context, name, rule)
        return _exported(library, context)
    finally:
        library.seccomp_release(context)


def _action(name: str, number: int) -> int:
    return {"SCMP_ACT_ALLOW": _ALLOW, "SCMP_ACT_ERRNO": _ERRNO | number}[name]


def _add(
    library: ctypes.CDLL, context: ctypes.c_void_p, name: str, rule: Mapping[str, Any]
) -> None:
    call = library.seccomp_syscall_resolve_name(name.encode("ascii"))
    if call == _UNKNOWN:
        # Younger than the library: it falls to the default, as with any runtime.
        return
    comparisons = [
        _Comparison(c["index"], _OPERATORS[c["op"]], c["value"], c["valueTwo"])
        for c in rule.get("args", ())
    ]
    array = (_Comparison * len(comparisons))(*comparisons)
    action = ctypes.c_uint32(_action(rule["action"], rule.get("errnoRet", 0)))
    code = library.seccomp_rule_add_array(context, action, call, len(comparisons), array)
    if code < 0:
        raise errors.Failed(
            "TFG-3108", f"a system call filter was not made: {os.strerror(-code)}", where=name
        )


def _exported(library: ctypes.CDLL, context: ctypes.c_void_p) -> bytes:
    descriptor = os.memfd_create("seccomp")
    try:
        code = library.seccomp_export_bpf(context, descriptor)
        size = os.lseek(descriptor, 0, os.SEEK_CUR)
        if code < 0 or not 0 < size <= _FILTER_BYTES_MAX or size % 8:
            raise errors.Failed(
                "TFG-3108", "a system call filter was not written", where=platform.machine()
            )
        return os.pread(descriptor, size, 0)
    finally:
        os.close(descriptor)
