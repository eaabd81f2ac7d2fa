"""The command lines of crun, and what its state folder says and takes.

A created container waits to read one byte from a named pipe in that folder. `start` writes it, as
`crun start` does when it is done with seven milliseconds of loading itself.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from tfgrid.jumpscale import executors
from tfgrid.jumpscale.sal.change import Argv, refused

__all__ = ["create_line", "delete", "start", "waits_for_start"]

_SECONDS = 15.0


def _crun(root: Path, *words: str) -> Argv:
    return ("crun", "--root", str(root), "--cgroup-manager", "cgroupfs", *words)


def create_line(root: Path, name: str, bundle: Path, pid_file: Path) -> Argv:
    """The command that makes a container wait for its start, with its pid in `pid_file`."""
    return _crun(root, "create", "--bundle", str(bundle), "--pid-file", str(pid_file), name)


def start(root: Path, name: str) -> None:
    """Let a created container run; does nothing if it was let already or has ended.

    Raises:
        errors.Failed: TFG-3001, the kernel refused.

    """
    pipe = _pipe(root, name)
    try:
        # With O_NONBLOCK a pipe that nobody reads any more is an error, not a wait for a reader.
        descriptor = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            os.write(descriptor, b"\0")
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in {errno.ENXIO, errno.EPIPE, errno.ENOENT}:
            raise refused("start a container", error, where=name) from error
    pipe.unlink(missing_ok=True)


def delete(root: Path, name: str) -> None:
    """Kill and remove a container with its control groups; one that is not there is no error."""
    if (root / name).exists():
        line = _crun(root, "delete", "--force", name)
        executors.run(line, timeout_seconds=_SECONDS, check=False)


def waits_for_start(root: Path, name: str) -> bool:
    """Whether the container's first process still waits."""
    return _pipe(root, name).exists()


def _pipe(root: Path, name: str) -> Path:
    return root / name / "exec.fifo"
