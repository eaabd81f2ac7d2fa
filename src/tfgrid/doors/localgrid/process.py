"""Start the grid's processes, find them again, stop them.

A process outlives the command that started it. It is remembered under `/run/tfgrid/GRID8/parts/` as
pid and start time, which together name a process for ever; a record whose process is gone (after a
crash, after a reboot) is no process. Its output goes to a bounded log, whose last lines are in the
error when it ends too early.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Final

import msgspec

from tfgrid.core import errors, limits
from tfgrid.core.schema import Count, Text, Value
from tfgrid.doors.localgrid.model import Part, Paths
from tfgrid.jumpscale.sal import processes

__all__ = ["Running", "find_running", "last_lines", "python", "start", "stop"]

stop_seconds: Final = 10.0


class Running(Value, frozen=True):
    """A process of a grid."""

    name: Text
    pid: Count
    start_ticks: Count


def python(module: str, *arguments: str) -> tuple[str, ...]:
    """The command that runs a module of this installation."""
    return (sys.executable, "-P", "-m", module, *arguments)


def _record(grid: str, name: str) -> Path:
    return Paths.runtime(grid) / "parts" / f"{name}.json"


def find_running(grid: str, name: str) -> Running | None:
    """The process of a part, or None."""
    try:
        found = msgspec.json.decode(_record(grid, name).read_bytes(), type=Running)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return found if processes.start_ticks(found.pid) == found.start_ticks else None


def start(paths: Paths, grid: str, part: Part) -> Running:
    """Start a part unless it runs; its log is kept, and begun anew when it has grown too large.

    Raises:
        errors.MachineLacks: TFG-5111, its program is not there.

    """
    there = find_running(grid, part.name)
    if there is not None:
        return there
    log = paths.log(part.name)
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if log.exists() and log.stat().st_size > limits.log_file_bytes_max:
        log.replace(log.with_suffix(".log.1"))
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    try:
        pid = os.posix_spawnp(
            part.argv[0], part.argv, _environment(), setsid=True,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
        )  # fmt: skip
    except FileNotFoundError as fault:
        raise errors.MachineLacks(
            "TFG-5111", f"{part.argv[0]} is not installed", where=part.name, hint="tfgrid doctor"
        ) from fault
    running = Running(name=part.name, pid=pid, start_ticks=processes.start_ticks(pid) or 0)
    record = _record(grid, part.name)
    record.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    record.write_bytes(msgspec.json.encode(running))
    return running


def _environment() -> dict[str, str]:
    kept = {k: os.environ[k] for k in ("HOME", "LANG", "TZ", "XDG_STATE_HOME") if k in os.environ}
    path = os.environ.get("PATH", os.defpath)
    return kept | {"PATH": f"{path}:/usr/sbin:/sbin", "PYTHONUNBUFFERED": "1"}


def last_lines(paths: Paths, name: str, count: int = 8) -> list[str]:
    """The end of a part's log."""
    try:
        with paths.log(name).open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - limits.log_tail_bytes_max))
            text = file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return []
    return text.splitlines()[-count:]


def stop(grid: str, name: str, *, timeout_seconds: float = stop_seconds) -> bool:
    """End a part: SIGTERM, and SIGKILL when the time is over; whether there was anything to end."""
    there = find_running(grid, name)
    if there is not None:
        _end(there, timeout_seconds)
    _record(grid, name).unlink(missing_ok=True)
    return there is not None


def _end(running: Running, timeout_seconds: float) -> None:
    with processes.Held.open(running.pid, running.start_ticks) or nullcontext() as held:
        if held is None:
            return
        for number, seconds in ((signal.SIGTERM, timeout_seconds), (signal.SIGKILL, 5.0)):
            if not held.signal(number) or held.wait(seconds):
                break
    _reap(running.pid)


def _reap(pid: int) -> None:
    """Collect it if it is this program's own child, as in a test that starts and stops a grid."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return
