"""The protocol of whoever starts processes: what to start, what was started, and seven verbs.

A launched process is known by its name. Starting a name that runs is an error, not a second
process; a name that has ended stays known, with its exit code and log, until it is forgotten.

    spawn --> running --(exits, or is signalled)--> ended --forget--> gone

Standard input is /dev/null; output and errors go, in the order written, into one bounded log per
name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

__all__ = ["Launched", "Launcher", "Spawn"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spawn:
    """What to start.

    Args:
        name: letters, digits, `.`, `_` and `-`, at most 128; unique per launcher, and the log's
            name.
        argv: program (found through PATH if not absolute) and arguments.
        env: the whole environment; nothing is inherited but PATH when it is not given.
        netns: a pinned network namespace to start in, or None for the launcher's own.
        cwd: working directory.
        pid_file: for a program that starts another and leaves (`crun create`): where it writes the
            pid of the
            process to keep. The program must exit 0 within `settle_seconds`.
        log_owner: uid and gid of the log's pipe, so that the process may reopen /dev/stdout.
        settle_seconds: how long a program with `pid_file` may take.

    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    netns: Path | None = None
    cwd: Path = Path("/")
    pid_file: Path | None = None
    log_owner: int = 0
    settle_seconds: float = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """What was started, as the launcher knows it now.

    `pid` and `start_ticks` (field 22 of /proc/PID/stat) together name a process for ever. While it
    runs `ended` is False. Afterwards `exit_code` is 0 to 255, or 128 + signal, or None when nobody
    could learn it.
    """

    name: str
    pid: int
    start_ticks: int
    ended: bool = False
    exit_code: int | None = None


class Launcher(Protocol):
    """Starts processes, keeps logs and exit codes; each verb may raise errors.Unreachable."""

    async def spawn(self, spawn: Spawn) -> Launched:
        """Start a process.

        Raises:
            errors.Conflict: TFG-3020, the name is known already; forget it first.
            errors.Failed: TFG-3021, it could not be started, or its launching program failed (its
                last
                output is in the text and `details["exit_code"]`).
            errors.BadInput: TFG-3022, the name or an argument is malformed.

        """
        ...

    async def list(self) -> dict[str, Launched]:
        """Every known process by name, ended ones too."""
        ...

    async def wait(self, name: str, timeout_seconds: float) -> Launched:
        """Return when the process has ended, or as it is when the time is over.

        Raises:
            errors.NotFound: TFG-3023, no such name.

        """
        ...

    async def signal(self, name: str, signal: int) -> None:
        """Signal the process; does nothing if it has ended (never hits a reused pid).

        Raises:
            errors.NotFound: TFG-3023, no such name.

        """
        ...

    async def tail(self, name: str, bytes_max: int) -> bytes:
        """The end of the log, newest bytes last; empty if there is none."""
        ...

    async def forget(self, name: str) -> None:
        """Forget an ended process with its log and exit code; does nothing if the name is unknown.

        Raises:
            errors.Conflict: TFG-3024, it still runs.

        """
        ...

    async def stop(self, name: str, timeout_seconds: float) -> None:
        """SIGTERM, after `timeout_seconds` SIGKILL, then forget; an unknown name is no error."""
        ...
