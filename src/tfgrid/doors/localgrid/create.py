"""A new grid: identities, the ledger's genesis, a certificate authority, at last `grid.json`.

`grid.json` is written when all else is there. A creation that was cut off leaves none, and the next
one begins anew.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tfgrid.core import errors, identity, ids, keys
from tfgrid.core.clock import Clock
from tfgrid.core.rng import Rng
from tfgrid.core.store import DirectoryStore
from tfgrid.doors.localgrid import kinds
from tfgrid.doors.localgrid.model import (
    FarmEntry,
    GridFile,
    NodeEntry,
    Paths,
    edge_port_first,
    first_node_host,
    grid8_digits,
    nodes_max,
    write,
)
from tfgrid.ledger import bcdb

__all__ = ["PEOPLE", "create", "keyring", "layout", "open_unlock_key"]

PEOPLE: Final = ("admin", "ledger", "expert", "alice", "budget", "security", "legal", "bot")
"""Who is in a grid here beside its farmers; their keys are kept sealed, their names say it all."""

_COUNTRIES: Final = ("BE", "EG", "CH", "TZ", "AE", "DE", "BR", "IN")


def layout(nodes: int, farms: int) -> tuple[list[str], list[NodeEntry]]:
    """Names of farms and nodes: nodes are dealt out in blocks, and the last one is the gateway too.

    Raises:
        errors.BadInput: TFG-5104, so many nodes or farms cannot be.

    """
    if not 1 <= farms <= nodes <= nodes_max:
        raise errors.BadInput(
            "TFG-5104", f"{nodes} nodes in {farms} farms cannot be", where="--nodes, --farms",
            hint=f"give 1 to {nodes_max} nodes, and no more farms than nodes",
        )  # fmt: skip
    names = [f"f{n}" for n in range(1, farms + 1)]
    entries = [
        NodeEntry(
            name=f"n{n + 1}", farm=names[n * farms // nodes], host=first_node_host + n,
            roles=("compute", "gateway") if n == nodes - 1 else ("compute",),
        )
        for n in range(nodes)
    ]  # fmt: skip
    return names, entries


def create(paths: Paths, *, nodes: int, farms: int, clock: Clock, rng: Rng) -> GridFile:
    """Make a new grid in a directory; nothing is started.

    Raises:
        errors.BadInput: TFG-5104.
        errors.Conflict: TFG-5105, the directory holds something else.

    """
    names, entries = layout(nodes, farms)
    _clear(paths)
    unlock = rng.token(keys.unlock_key_bytes)
    everyone = {name: identity.Keyring.new(name, rng) for name in (*PEOPLE, *names)}
    trust = _found_ledger(paths, everyone, clock)
    grid = trust.ledger[:grid8_digits]
    _keep_unlock_key(grid, unlock)
    store = DirectoryStore(paths.root)
    for ring in everyone.values():
        identity.save_keyring(ring, store, unlock_key=unlock, rng=rng)
    made = GridFile(
        version=1, grid=grid, trust=trust, underlay="", edge_port=edge_port_first,
        bridge=f"tg{grid}",
        farms=tuple(
            _farm_entry(everyone[n], i)
            for i, n in enumerate(names)
        ),
        nodes=tuple(entries),
        identities={name: ring.identity for name, ring in everyone.items()},
        created_at=clock.now_ms(),
    )  # fmt: skip
    _found_authority(paths, grid, unlock, clock, rng)
    write(paths, made)
    return made


def _farm_entry(farmer: identity.Keyring, number: int) -> FarmEntry:
    country = _COUNTRIES[number % len(_COUNTRIES)]
    return FarmEntry(name=farmer.name, farm=ids.FarmId(farmer.identity), country=country)


def _clear(paths: Paths) -> None:
    """Make the directory, or empty it of a creation that was cut off; never of anything else."""
    root = paths.root
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    root.chmod(0o700)
    ours = {"ledger", "identities", "ca"}
    found = {entry.name for entry in root.iterdir()} - {paths.lock.name}
    begun = not found or ("ledger" in found and _is_ledger(paths.ledger))
    if found - ours or not begun:
        raise errors.Conflict(
            "TFG-5105", "this directory holds other things", where=str(root),
            hint="give an empty directory with --dir",
        )  # fmt: skip
    for name in found:
        shutil.rmtree(root / name)


def _is_ledger(folder: Path) -> bool:
    """Whether a folder holds nothing but what founding a ledger leaves, which comes first."""
    known = {"ledger.db", "ledger.db-wal", "ledger.db-shm", "lock", "signed"}
    return folder.is_dir() and {entry.name for entry in folder.iterdir()} <= known


def _found_ledger(
    paths: Paths, everyone: Mapping[str, identity.Keyring], clock: Clock
) -> bcdb.Trust:
    ledger = bcdb.SoloLedger.create(
        paths.ledger, founder=everyone["admin"], checkpoint_keyrings=[everyone["ledger"]],
        registry=kinds.registry(), clock=clock, signed=DirectoryStore(paths.ledger / "signed"),
    )  # fmt: skip
    try:
        return ledger.trust
    finally:
        ledger.close()


def _keep_unlock_key(grid: str, unlock: bytes) -> None:
    DirectoryStore(Paths.unlock_key(grid).parent).write(f"{grid}.key", unlock)


def open_unlock_key(grid: str) -> bytes:
    """The key that opens the grid's sealed identities.

    Raises:
        errors.NotFound: TFG-5106.

    """
    path = Paths.unlock_key(grid)
    try:
        return path.read_bytes()
    except OSError as fault:
        raise errors.NotFound(
            "TFG-5106", "the key that opens this grid's identities is not there", where=str(path),
            hint="run as the user who made the grid, or restore the file",
        ) from fault  # fmt: skip


def keyring(paths: Paths, grid: GridFile, name: str) -> identity.Keyring:
    """Open a sealed identity of the grid.

    Raises:
        errors.NotFound: TFG-5106, TFG-1414.

    """
    store = DirectoryStore(paths.root)
    return identity.open_keyring(name, store, unlock_key=open_unlock_key(grid.grid))


def _found_authority(paths: Paths, grid: str, unlock: bytes, clock: Clock, rng: Rng) -> None:
    from tfgrid.capacity import zgw

    root = zgw.Authority.create(f"tfgrid {grid}", now_ms=clock.now_ms())
    store = DirectoryStore(paths.ca)
    sealed = keys.seal(root.key_pem, unlock_key=unlock, name="ca/root", rng=rng)
    store.write("root.key.sealed", sealed)
    store.write("root.pem", root.root_pem)


def authority_pems(paths: Paths, grid: GridFile) -> tuple[bytes, bytes]:
    """Certificate and key of the grid's root authority."""
    sealed = (paths.ca / "root.key.sealed").read_bytes()
    unlock = open_unlock_key(grid.grid)
    key = keys.open_sealed(sealed, unlock_key=unlock, name="ca/root")
    return Path(paths.root_certificate).read_bytes(), key
