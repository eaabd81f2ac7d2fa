"""The grid's own servers: `python -m tfgrid.doors.localgrid.serve ledger|chunks DIR`.

Each is a socketless service of a lower storey with `doors/api` around it. SIGTERM ends it after
what it was asked.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tfgrid.core import errors
from tfgrid.core.clock import SystemClock
from tfgrid.core.store import DirectoryStore
from tfgrid.doors import api
from tfgrid.doors.localgrid import create, kinds
from tfgrid.doors.localgrid.model import (
    GridFile,
    Paths,
    chunks_port,
    find,
    ledger_port,
    read,
)
from tfgrid.ledger import bcdb

__all__ = ["main", "open_ledger"]


def open_ledger(paths: Paths, grid: GridFile) -> bcdb.SoloLedger:
    """The grid's ledger, opened with the key that signs its checkpoints."""
    return bcdb.SoloLedger.open(
        paths.ledger,
        checkpoint_keyrings=[create.keyring(paths, grid, "ledger")],
        registry=kinds.registry(),
        clock=SystemClock(),
        signed=DirectoryStore(paths.ledger / "signed"),
    )


def _serve_ledger(paths: Paths, grid: GridFile) -> None:
    ledger = open_ledger(paths, grid)
    try:
        service = bcdb.Service(ledger)
        api.run(service.handle, host=grid.gateway_address, port=ledger_port)
    finally:
        ledger.close()


def _serve_chunks(paths: Paths, grid: GridFile) -> None:
    from tfgrid.capacity import flist

    service = flist.Service(flist.ChunkStore(paths.images))
    api.run(service.handle, host=grid.gateway_address, port=chunks_port)


def main(arguments: list[str]) -> int:
    """Serve until SIGTERM; 2 for wrong arguments, else the fault's exit code."""
    if len(arguments) != 2 or arguments[0] not in {"ledger", "chunks"}:
        sys.stderr.write("usage: python -m tfgrid.doors.localgrid.serve ledger|chunks DIR\n")
        return 2
    try:
        paths = find(Path(arguments[1]))
        run = _serve_ledger if arguments[0] == "ledger" else _serve_chunks
        run(paths, read(paths))
    except errors.GridError as fault:
        sys.stderr.write(f"{fault}\n")
        return fault.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
