"""The command lines of crun, and what its state folder says."""

from __future__ import annotations

from pathlib import Path

from tfgrid.jumpscale import executors
from tfgrid.jumpscale.sal.change import Argv

__all__ = ["create_line", "delete", "start", "waits_for_start"]

_SECONDS = 15.0


def _crun(root: Path, *words: str) -> Argv:
    return ("crun", "--root", str(root), "--cgroup-manager", "cgroupfs", *words)


def create_line(root: Path, name: str, bundle: Path, pid_file: Path) -> Argv:
    """The command that makes a container wait for its start, with its pid in `pid_file`."""
    return _crun(root, "create", "--bundle", str(bundle), "--pid-file", str(pid_file), name)


def start(root: Path, name: str) -> None:
    """Let a created container run; raises what `executors.run` raises."""
    executors.run(_crun(root, "start", name), timeout_seconds=_SECONDS)


def delete(root: Path, name: str) -> None:
    """Kill and remove a container with its control groups; one that is not there is no error."""
    if (root / name).exists():
        line = _crun(root, "delete", "--force", name)
        executors.run(line, timeout_seconds=_SECONDS, check=False)


def waits_for_start(root: Path, name: str) -> bool:
    """Whether the container's first process still waits; its end of the wait is a named pipe."""
    return (root / name / "exec.fifo").exists()
