"""One thing the keeper keeps: a process, its log, and whoever waits for its end.

settling --(program with a pid file leaves with 0)--> running --(ends)--> ended
    `--(it fails, or takes too long)--> gone, and the asker is told why
"""

from __future__ import annotations

from collections.abc import Callable

from tfgrid.agents.zos.keeper.logs import Log
from tfgrid.jumpscale.sal import processes

__all__ = ["Entry", "Reply"]

Reply = Callable[[dict[str, object]], None]


class Entry:
    """A name with its process and log.

    `starter` is the pid of a program that is still settling, 0 otherwise; `held` is the process to
    keep.
    """

    def __init__(self, name: str, log: Log) -> None:
        self.name = name
        self.log = log
        self.pid = 0
        self.start_ticks = 0
        self.held: processes.Held | None = None
        self.adopted = False
        self.ended = False
        self.exit_code: int | None = None
        self.starter = 0
        self.pid_file = ""
        self.deadline = 0.0
        self.reply: Reply | None = None
        self.waiters: list[tuple[float, Reply]] = []
        self.tries = 0

    def keep(self, held: processes.Held, *, adopted: bool) -> None:
        """Take this process as the one to keep."""
        self.held = held
        self.adopted = adopted
        self.pid = held.pid
        self.start_ticks = held.start_ticks
        self.starter = 0

    def told(self) -> dict[str, object]:
        """As clients are told."""
        return {
            "name": self.name,
            "pid": self.pid,
            "start_ticks": self.start_ticks,
            "ended": self.ended,
            "exit_code": self.exit_code,
        }

    def record(self, boot: str) -> dict[str, object]:
        """As it is written down; no argument or variable of the program ever is."""
        return {**self.told(), "boot": boot}

    def release(self) -> None:
        """Let go of the process; it is not touched."""
        if self.held:
            self.held.close()
            self.held = None
