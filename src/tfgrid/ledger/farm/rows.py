"""What the view keeps of farms, nodes and sources: one row each, with the positions it came from.

| table | key | row |
|---|---|---|
| `farm` | farm id | `FarmRow` |
| `farm-name` | name | farm id |
| `node` | node id | `NodeRow` |
| `image-source` | author id/digest of the URL | `SourceRow` |
| `reservation` | node id/contract id | `model.Reservation` |

Rows were written by this package from checked records, so they are read without checking them
again.
"""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar, cast

import msgspec

from tfgrid.core import canonical
from tfgrid.core.ids import FarmId, NodeId
from tfgrid.core.schema import Integer, Value
from tfgrid.ledger import bcdb
from tfgrid.ledger.farm.model import NodeInventory, NodeRegister, Offer

__all__ = ["FarmRow", "NodeRow", "SourceRow", "farm_row", "load", "node_row", "store"]

_T = TypeVar("_T")


class FarmRow(Value, frozen=True):
    """A farm and its latest offer; -1 stands for no position."""

    name: str
    created: Integer
    offer: Offer | None = None
    offered: Integer = -1


class NodeRow(Value, frozen=True):
    """A node's latest registration and inventory, and which registration its farmer admitted.

    `first` is the position of its first registration, `admitted_registered` of the one that was
    admitted: with them a bundle can be replayed.
    """

    name: str
    registration: NodeRegister
    registered: Integer
    first: Integer
    admitted: str = ""
    admission: Integer = -1
    admitted_registered: Integer = -1
    inventory: NodeInventory | None = None
    inventoried: Integer = -1


class SourceRow(Value, frozen=True):
    """A chunk server, and the position at which it was announced."""

    url: str
    position: Integer


@cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def load(data: bytes, kind: type[_T]) -> _T:
    """A row from its bytes."""
    row: _T = _decoder(cast("Any", kind)).decode(data)
    return row


def store(view: bcdb.View, table: str, key: str, row: Value) -> None:
    """Put a row into the view."""
    view.put(table, key, canonical.encode(row))


def farm_row(view: bcdb.View, farm: FarmId) -> FarmRow | None:
    """A farm's row, or None."""
    data = view.get("farm", farm)
    return None if data is None else load(data, FarmRow)


def node_row(view: bcdb.View, node: NodeId) -> NodeRow | None:
    """A node's row, or None."""
    data = view.get("node", node)
    return None if data is None else load(data, NodeRow)
