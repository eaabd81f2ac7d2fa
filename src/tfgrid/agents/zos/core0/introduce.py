"""How a node makes itself known: identity, registration, inventory, each when it differs.

The node says what it is; whether it counts is the farmer's word (`node.admit`). Heartbeats are not
written here: the ledger holds transitions only.
"""

from __future__ import annotations

from typing import Protocol

from tfgrid.core import errors
from tfgrid.core.ids import NodeId
from tfgrid.core.schema import Value
from tfgrid.core.units import Capacity
from tfgrid.ledger import bcdb, farm

__all__ = ["Introduction", "Registers"]


class Registers(Protocol):
    """Whoever writes entries for this node: `bcdb.Author`."""

    async def register(self) -> object:
        """Write the identity, once."""
        ...

    async def submit(self, kind: str, body: Value) -> bcdb.Entry:
        """Write one entry."""
        ...


class Introduction:
    """What the ledger should hold about this node.

    Free disk changes all the time: an inventory is written anew only when it differs by more than a
    sixteenth.
    """

    def __init__(
        self,
        node: NodeId,
        author: Registers,
        registration: farm.NodeRegister,
        inventory: farm.NodeInventory,
    ) -> None:
        self._node = node
        self._author = author
        self._registration = registration
        self._inventory = inventory
        self._written = -1

    async def __call__(self, view: bcdb.View, size: int) -> bool:
        """Write what is missing; True once the view, which has `size` entries, holds all of it.

        Raises:
            errors.GridError: as `bcdb.Author.submit`.

        """
        if size <= self._written:
            return False  # What was written last is not in the view yet.
        if bcdb.identity_state(view, self._node) is None:
            await self._author.register()
            return False
        known = _known(view, self._node)
        if known is None or self._differs(known):
            return await self._write("node.register", self._registration)
        if _far(known.total, self._inventory.total) or known.reserve != self._inventory.reserve:
            return await self._write("node.inventory", self._inventory)
        return True

    async def _write(self, kind: str, body: Value) -> bool:
        self._written = (await self._author.submit(kind, body)).position
        return False

    def _differs(self, known: farm.NodeInfo) -> bool:
        wanted = self._registration
        return (known.registration, known.endpoint) != (
            farm.registration_digest(wanted),
            wanted.endpoint,
        )


def _known(view: bcdb.View, node: NodeId) -> farm.NodeInfo | None:
    try:
        return farm.node(view, node, 0)
    except errors.NotFound:
        return None


def _far(one: Capacity, other: Capacity) -> bool:
    pairs = ((getattr(one, f), getattr(other, f)) for f in one.__struct_fields__)
    return any(abs(a - b) * 16 > max(a, b) for a, b in pairs)
