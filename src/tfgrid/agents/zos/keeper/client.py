"""Talking to the keeper, and starting one where none answers."""

from __future__ import annotations

from pathlib import Path

from tfgrid.jumpscale.executors import Launched, Spawn

__all__ = ["Client", "ensure"]


class Client:
    """A `Launcher` whose processes belong to the keeper that listens in `run_dir`."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir

    async def spawn(self, spawn: Spawn) -> Launched:
        """See `Launcher.spawn`."""
        ...

    async def list(self) -> dict[str, Launched]:
        """See `Launcher.list`."""
        ...

    async def wait(self, name: str, timeout_seconds: float) -> Launched:
        """See `Launcher.wait`."""
        ...

    async def signal(self, name: str, signal: int) -> None:
        """See `Launcher.signal`."""
        ...

    async def tail(self, name: str, bytes_max: int) -> bytes:
        """See `Launcher.tail`."""
        ...

    async def forget(self, name: str) -> None:
        """See `Launcher.forget`."""
        ...

    async def stop(self, name: str, timeout_seconds: float) -> None:
        """See `Launcher.stop`."""
        ...

    async def quit(self) -> None:
        """End the keeper; what it started runs on, without anybody who drains its output."""
        ...


async def ensure(run_dir: Path, state_dir: Path) -> Client:
    """The client of the keeper in `run_dir`; starts one, in the caller's namespaces, if none answers.

    Raises:
        errors.Unreachable: TFG-4201, it does not answer within five seconds.

    """
    ...
