"""Which processes a grid has, with their commands, and whether each answers."""

from __future__ import annotations

import asyncio
import errno
import time
from pathlib import Path

from tfgrid.agents import zos
from tfgrid.core import errors
from tfgrid.doors.localgrid import process, provision
from tfgrid.doors.localgrid.model import (
    GridFile,
    NodeEntry,
    Part,
    Paths,
    chunks_port,
    ledger_port,
)

__all__ = ["answers", "destroy_node", "find", "node_part", "parts"]

_DESTROY_TRIES = 40
_DESTROY_PAUSE_SECONDS = 0.05
_SERVE = "tfgrid.doors.localgrid.serve"


def node_part(paths: Paths, node: NodeEntry) -> Part:
    """The process of one node."""
    argv = process.python("tfgrid.agents.zos", str(paths.node(node.name)))
    return Part(name=node.name, kind="node", argv=argv)


def parts(paths: Paths, grid: GridFile) -> tuple[Part, ...]:
    """Every process, in the order in which they are started."""
    root = str(paths.root)
    return (
        Part(name="ledger", kind="ledger", argv=process.python(_SERVE, "ledger", root)),
        Part(name="chunks", kind="chunks", argv=process.python(_SERVE, "chunks", root)),
        *(node_part(paths, node) for node in grid.nodes),
        Part(
            name="edge", kind="edge", argv=("haproxy", "-db", "-f", str(provision.edge_file(paths)))
        ),
        Part(name="bot", kind="bot", argv=process.python("tfgrid.agents.threebot", str(paths.bot))),
    )


def destroy_node(paths: Paths, name: str) -> bool:
    """End everything of a node, workloads too; whether there was anything. Its directory stays.

    Raises:
        errors.Failed: TFG-4014, TFG-3001, something of it does not end.

    """
    directory = paths.node(name)
    if not (directory / "node.json").exists():
        return False
    config = zos.read_config(directory)
    was = zos.exists(config)
    for left in reversed(range(_DESTROY_TRIES)):
        try:
            zos.destroy(config)
            break
        except errors.Failed as fault:
            # A control group stays busy for a moment after the last process in it was killed.
            if fault.details.get("errno") != errno.EBUSY or not left:
                raise
            time.sleep(_DESTROY_PAUSE_SECONDS)
    return was


def find(paths: Paths, grid: GridFile, name: str) -> Part:
    """One process by its name; `bcdb` is the ledger's other name.

    Raises:
        errors.NotFound: TFG-5107.

    """
    wanted = "ledger" if name == "bcdb" else name
    known = parts(paths, grid)
    for part in known:
        if part.name == wanted:
            return part
    names = ", ".join(part.name for part in known)
    raise errors.NotFound(
        "TFG-5107", f"this grid has no part {name!r}, but {names}", where=name, hint="tfgrid status"
    )


async def answers(paths: Paths, grid: GridFile, part: Part) -> str:
    """Empty if a part answers, else what is missing, for people."""
    match part.kind:
        case "ledger":
            return await _connects(grid.gateway_address, ledger_port)
        case "chunks":
            return await _connects(grid.gateway_address, chunks_port)
        case "edge":
            return await _connects("127.0.0.1", grid.edge_port)
        case "node":
            return _node_lacks(paths.node(part.name), grid)
        case "bot":
            return ""


async def _connects(host: str, port: int) -> str:
    try:
        async with asyncio.timeout(1):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError):
        return f"{host}:{port} does not answer"
    writer.close()
    return ""


def _node_lacks(directory: Path, grid: GridFile) -> str:
    try:
        status = zos.read_status(directory, ledger=grid.ledger)
    except errors.GridError as fault:
        return fault.what
    if status is None:
        return "has said nothing yet"
    if status.phase == "following" and not status.reason:
        return ""
    return f"{status.phase}: {status.reason}".rstrip(": ")
