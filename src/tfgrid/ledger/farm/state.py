"""Reading farms, nodes and sources from a view; reserving and releasing capacity in it.

Everything is a function of the view and of a moment of order time (`now_ms`), never of a clock here. A
reservation ends by itself at its moment, so that a contract whose time is over frees its capacity without
a record of its own.
"""

from __future__ import annotations

from collections.abc import Iterator

from tfgrid.core import canonical, errors
from tfgrid.core.ids import ContractId, FarmId, IdentityId, NodeId
from tfgrid.core.schema import Value
from tfgrid.core.units import Capacity
from tfgrid.ledger import bcdb
from tfgrid.ledger.farm.model import (
    FarmCreate,
    FarmInfo,
    ImageSource,
    Inventory,
    NodeAdmit,
    NodeInfo,
    NodeInventory,
    NodeRegister,
    Offer,
    Prices,
    Reservation,
    registration_digest,
)

__all__ = [
    "farm",
    "farms",
    "image_sources",
    "inventory",
    "node",
    "nodes",
    "release",
    "reserve",
]


def farm(view: bcdb.View, farm_id: FarmId) -> FarmInfo:
    """One farm.

    Raises:
        errors.NotFound: TFG-2601.

    """
    raise errors.NotFound("TFG-2601", "no such farm", where=farm_id)


def farms(view: bcdb.View) -> tuple[FarmInfo, ...]:
    """All farms, by id."""
    return ()


def node(view: bcdb.View, node_id: NodeId, now_ms: int) -> NodeInfo:
    """One node, whether admitted or not, with what contracts hold of it at `now_ms`.

    Raises:
        errors.NotFound: TFG-2602.

    """
    raise errors.NotFound("TFG-2602", "no such node", where=node_id)


def nodes(view: bcdb.View, now_ms: int) -> tuple[NodeInfo, ...]:
    """All registered nodes, by id, whether admitted or not."""
    return ()


def inventory(view: bcdb.View, now_ms: int, size: int) -> Inventory:
    """All nodes at the position of a ledger of `size` entries: what a planner works from."""
    return Inventory(order_time=now_ms, size=size, nodes=nodes(view, now_ms))


def image_sources(view: bcdb.View, *authors: IdentityId) -> tuple[str, ...]:
    """URLs of the chunk servers of these identities, in the order of the identities, each once."""
    return ()


def reserve(
    view: bcdb.View, node_id: NodeId, contract: ContractId, capacity: Capacity, until_ms: int
) -> None:
    """Hold capacity for a contract until a moment; a later call replaces an earlier one."""


def release(view: bcdb.View, node_id: NodeId, contract: ContractId) -> None:
    """Give back what a contract holds; does nothing if it holds nothing."""
