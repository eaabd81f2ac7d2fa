"""Pull a plug and put it back: what a power cut does to one part of the grid.

The ledger and the bot are killed. A node is killed with everything on it, keeper and workloads too,
and loses its namespaces, as a machine does; put back, it finds its directory and its contracts, and
makes all again.
"""

from __future__ import annotations

import asyncio

from tfgrid.core import errors
from tfgrid.doors.localgrid import parts, process
from tfgrid.doors.localgrid.model import GridFile, Part, Paths

__all__ = ["replug", "unplug"]


def unplug(paths: Paths, grid: GridFile, name: str) -> Part:
    """Pull the plug of one part; nothing is told to it first.

    Raises:
        errors.NotFound: TFG-5107, there is no such part.
        errors.Conflict: TFG-5113, it does not run.

    """
    part = parts.find(paths, grid, name)
    if process.find_running(grid.grid, part.name) is None:
        raise errors.Conflict(
            "TFG-5113", f"{part.name} does not run", where=part.name,
            hint=f"tfgrid demo replug {part.name}",
        )  # fmt: skip
    process.stop(grid.grid, part.name, timeout_seconds=0)
    if part.kind == "node":
        parts.destroy_node(paths, part.name)
    return part


async def replug(paths: Paths, grid: GridFile, name: str, *, timeout_seconds: float) -> Part:
    """Put the plug back and wait until the part answers; does nothing if it does.

    Raises:
        errors.NotFound: TFG-5107.
        errors.StillGoing: TFG-5110, it did not answer in time.

    """
    part = parts.find(paths, grid, name)
    process.start(paths, grid.grid, part)
    deadline = asyncio.get_running_loop().time() + timeout_seconds
    while lacks := await parts.answers(paths, grid, part):
        if asyncio.get_running_loop().time() > deadline:
            raise errors.StillGoing(
                "TFG-5110", f"{part.name} is not ready in time: {lacks}", where=part.name,
                reasons=process.last_lines(paths, part.name),
            )  # fmt: skip
        await asyncio.sleep(0.2)
    return part
