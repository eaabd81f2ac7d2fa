"""Containers on one node: create, start, observe, remove."""

from __future__ import annotations

from pathlib import Path

from tfgrid.capacity.container.model import Spec, Status
from tfgrid.jumpscale.executors import Launcher
from tfgrid.jumpscale.sal import claims

__all__ = ["Runtime"]


class Runtime:
    """The containers of one node.

    Runs inside the node's mount namespace: all mounts are made there and die with it.

    Args:
        state_dir: folder that lasts (`NODE_DIR/containers`); a folder per container.
        run_dir: folder that need not (`/run/tfgrid/GRID8/NODE/containers`).
        launcher: who parents the containers' first processes.
        ranges: the machine-wide allocator of uid ranges.
        owner: this node in claims and control groups, such as `0f3a9c11/n1`.

    """

    def __init__(
        self,
        *,
        state_dir: Path,
        run_dir: Path,
        launcher: Launcher,
        ranges: claims.Claims,
        owner: str,
    ) -> None:
        self._state_dir = state_dir
        self._run_dir = run_dir
        self._launcher = launcher
        self._ranges = ranges
        self._owner = owner

    def netns(self, name: str) -> Path:
        """Where the network namespace of a container is pinned once it is created."""
        ...

    async def create(self, spec: Spec) -> Status:
        """Make everything up to the first instruction of the workload; does nothing if that is there already."""
        ...

    async def start(self, name: str) -> Status:
        """Let a created container run, then read its limits back; does nothing if it runs."""
        ...

    async def observe(self) -> dict[str, Status]:
        """Every container of this node and every remnant of one, read from the machine."""
        ...

    async def remove(self, name: str, *, grace_seconds: float = 5.0) -> None:
        """Remove a container with all that was made for it: SIGTERM, after `grace_seconds` SIGKILL, then files."""
        ...

    async def tail(self, name: str, bytes_max: int) -> bytes:
        """The end of the container's log."""
        ...
