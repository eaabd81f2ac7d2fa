"""Bounded logs: a named pipe drained into a file, and the file before it.

The pipe has a name and everybody opens it for both ways. So a keeper that dies leaves a writer that
waits, not one that is killed by SIGPIPE, and the next keeper opens the same pipe and loses no byte.
The bytes are the workload's own, unchanged: no time is added to lines, because the workload says it
better and cutting lines would cost what splicing saves.

A flood is moved by the kernel from pipe to file without entering this process, at most
`_window_bytes_max` in at most `_window_moves_max` moves in each tenth of a second; beyond that its
writer waits, and only it. Moves are counted because the writer's end of the pipe is the workload's:
it can make every byte a packet of its own, and would have the keeper work for each.
"""

# Plain strings: these paths are made once and used in code that is hot or forked.
# ruff: noqa: PTH105, PTH108, PTH123

from __future__ import annotations

import errno
import os

from tfgrid.core import limits

__all__ = ["Log", "tail"]

_round_bytes_max = 256 * 1024
_window_bytes_max = 2 * 1024**2
_window_moves_max = 256
_drain_moves_max = 1024
_window_seconds = 0.1


class Log:
    """The pipe and the files of one name.

    Raises:
        OSError: pipe or file cannot be made.

    """

    def __init__(self, pipe: str, file: str) -> None:
        self.pipe = pipe
        self._file = file
        if not os.path.lexists(pipe):
            os.mkfifo(pipe, 0o600)
        self.descriptor = os.open(pipe, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        self._window_end = 0.0
        self._window_bytes = 0
        self._window_moves = 0
        self._output = self._open()
        self._size = os.lseek(self._output, 0, os.SEEK_END)

    def _open(self) -> int:
        # Not O_APPEND: splice(2) refuses it. The keeper is the only writer.
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.open(self._file, flags, 0o600)

    def pump(self, now: float) -> float:
        """Move what waits in the pipe; 0, or the moment from which more may be moved."""
        if now >= self._window_end:
            self._window_end = now + _window_seconds
            self._window_bytes = self._window_moves = 0
        moved = 0
        while moved < _round_bytes_max and self._window_moves < _window_moves_max:
            self._window_moves += 1
            count = self._move(_round_bytes_max - moved)
            if count == 0:
                break
            moved += count
        self._window_bytes += moved
        tired = self._window_bytes >= _window_bytes_max or self._window_moves >= _window_moves_max
        return self._window_end if tired else 0.0

    def drain(self) -> None:
        """Move what an ended process left in the pipe, whatever its window."""
        for _ in range(_drain_moves_max):
            if self._move(_round_bytes_max) == 0:
                return

    def _move(self, bytes_max: int) -> int:
        if self._size >= limits.log_file_bytes_max:
            self._rotate()
        bytes_max = min(bytes_max, limits.log_file_bytes_max - self._size)
        try:
            flags = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK
            count = os.splice(self.descriptor, self._output, bytes_max, flags=flags)
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno == errno.EAGAIN:
                return 0
            return self._discard()
        self._size += count
        return count

    def _discard(self) -> int:
        """Lose what is said: a workload must not stand still because the disk is full."""
        try:
            return len(os.read(self.descriptor, 65_536))
        except BlockingIOError:
            return 0

    def _rotate(self) -> None:
        """Begin a new file; where the disk has no room for one, the old one anew."""
        try:
            os.replace(self._file, self._file + ".1")
            fresh = self._open()
        except OSError:
            os.ftruncate(self._output, 0)
            os.lseek(self._output, 0, os.SEEK_SET)
        else:
            os.close(self._output)
            self._output = fresh
        self._size = 0

    def close(self) -> None:
        """Let go; the writer, if there is one, waits for the next keeper."""
        os.close(self.descriptor)
        os.close(self._output)

    def remove(self) -> None:
        """Let go and remove pipe and files."""
        self.close()
        for path in (self.pipe, self._file, self._file + ".1"):
            if os.path.lexists(path):
                os.unlink(path)


def tail(file: str, bytes_max: int) -> bytes:
    """The last bytes of a log over both of its files; empty if there is none."""
    parts: list[bytes] = []
    for path in (file, file + ".1"):
        wanted = bytes_max - sum(map(len, parts))
        if wanted <= 0:
            break
        try:
            with open(path, "rb") as source:
                size = source.seek(0, os.SEEK_END)
                source.seek(max(0, size - wanted))
                parts.insert(0, source.read(wanted))
        except FileNotFoundError:
            continue
    return b"".join(parts)
