"""Processes by a name that is never reused: pid and start time, held by a pidfd.

A pid alone may be somebody else tomorrow. A pid with its start time (field 22 of /proc/PID/stat, in
clock ticks since boot) is one process for ever within one boot, and a pidfd opened for it signals
that process or nobody. The exit code of a process that is not our child is learnt from /proc while
it waits to be reaped, and from the pidfd itself after that (Linux 6.15 and newer: PIDFD_GET_INFO
with PIDFD_INFO_EXIT).
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
from pathlib import Path
from typing import Final, Self

from tfgrid.jumpscale.sal import syscalls

__all__ = [
    "Held",
    "become_subreaper",
    "boot_id",
    "children",
    "exit_code_of_status",
    "start_ticks",
]

_PR_SET_CHILD_SUBREAPER: Final = 36
_DEAD: Final = (b"Z", b"X")
_PIDFD_INFO_EXIT: Final = 1 << 3
# struct pidfd_info of linux/pidfd.h: mask, cgroup, pid, tgid, ppid, eight owner ids, exit code.
_PIDFD_INFO: Final = struct.Struct("=QQ 3I 8I i")
_PIDFD_GET_INFO: Final = (3 << 30) | (0xFF << 8) | 11 | (_PIDFD_INFO.size << 16)


def _stat(pid: int) -> list[bytes]:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return []
    # The second field is the program's name in brackets and may itself hold brackets and spaces.
    return stat.rpartition(b")")[2].split()


def start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None if it is gone or a zombie."""
    fields = _stat(pid)
    return None if not fields or fields[0] in _DEAD else int(fields[19])


def boot_id() -> str:
    """Names this boot of the machine; pids and start times of another mean nothing now."""
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()


def children(pid: int) -> tuple[int, ...]:
    """The direct children of a process's main thread, as the kernel lists them."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii")
    except (FileNotFoundError, ProcessLookupError):
        return ()
    return tuple(int(word) for word in text.split())


def become_subreaper() -> None:
    """Let this process, not the machine's first, adopt descendants whose parent died."""
    syscalls.prctl(_PR_SET_CHILD_SUBREAPER, 1)


def exit_code_of_status(status: int) -> int:
    """A wait status as one number: the exit code, or 128 + signal."""
    if os.WIFSIGNALED(status):
        return 128 + os.WTERMSIG(status)
    return os.WEXITSTATUS(status)


class Held:
    """One process held by a pidfd, ours or not. Close it, or use it as a context."""

    def __init__(self, pid: int, ticks: int, descriptor: int) -> None:
        self.pid = pid
        self.start_ticks = ticks
        self.descriptor = descriptor

    @classmethod
    def open(
        cls, pid: int, expected_ticks: int | None = None, *, unreaped: bool = False
    ) -> Held | None:
        """Hold a process; None if it is gone or did not start at `expected_ticks`.

        With `unreaped` a child that has ended, and that the caller has not waited for, is held too.
        """
        try:
            descriptor = os.pidfd_open(pid)
        except (ProcessLookupError, OSError):
            return None
        # Read after opening: if the pid was reused in between, the start time shows it.
        fields = _stat(pid) if unreaped else []
        ticks = int(fields[19]) if fields else start_ticks(pid)
        if ticks is None or expected_ticks not in {None, ticks}:
            os.close(descriptor)
            return None
        return cls(pid, ticks, descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the process; it is not touched."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def ended(self) -> bool:
        """Whether the process has ended (it may still be a zombie)."""
        return self.wait(0)

    def wait(self, timeout_seconds: float) -> bool:
        """Block until it has ended or the time is over; whether it has ended."""
        poll = select.poll()
        poll.register(self.descriptor, select.POLLIN)
        return bool(poll.poll(max(0, round(timeout_seconds * 1000))))

    def signal(self, number: int) -> bool:
        """Signal this process and no other; False if it has ended."""
        try:
            signal.pidfd_send_signal(self.descriptor, number)
        except ProcessLookupError:
            return False
        return True

    def exit_code(self) -> int | None:
        """How it ended, if it has ended and this kernel tells; else None."""
        value = bytearray(_PIDFD_INFO.pack(_PIDFD_INFO_EXIT, *([0] * 13)))
        try:
            fcntl.ioctl(self.descriptor, _PIDFD_GET_INFO, value)
        except OSError:
            return self._zombie_code()
        fields = _PIDFD_INFO.unpack(value)
        if fields[0] & _PIDFD_INFO_EXIT:
            return exit_code_of_status(fields[-1])
        return self._zombie_code()

    def _zombie_code(self) -> int | None:
        """The code of a zombie, whose wait status stands in /proc (field 52, for root)."""
        fields = _stat(self.pid)
        ours = len(fields) > 49 and fields[0] in _DEAD and int(fields[19]) == self.start_ticks
        return exit_code_of_status(int(fields[49])) if ours else None
