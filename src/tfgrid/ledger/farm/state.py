"""Reading farms, nodes and sources from a view; reserving and releasing capacity in it.

Everything is a function of the view and of a moment of order time (`now_ms`), never of a clock
here. A reservation ends by itself at its moment, so that a contract whose time is over frees its
capacity without a record of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tfgrid.core import errors
from tfgrid.core.ids import ContractId, FarmId, IdentityId, NodeId
from tfgrid.core.units import Capacity
from tfgrid.ledger import bcdb
from tfgrid.ledger.farm.model import (
    FarmInfo,
    Inventory,
    NodeInfo,
    NodeInventory,
    Prices,
    Reservation,
    registration_digest,
)
from tfgrid.ledger.farm.rows import (
    FarmRow,
    NodeRow,
    SourceRow,
    farm_row,
    load,
    node_row,
    store,
)

__all__ = [
    "farm",
    "farms",
    "image_sources",
    "inventory",
    "node",
    "nodes",
    "positions",
    "release",
    "reserve",
]


def farm(view: bcdb.View, farm_id: FarmId) -> FarmInfo:
    """One farm.

    Raises:
        errors.NotFound: TFG-2601.

    """
    row = farm_row(view, farm_id)
    if row is None:
        raise errors.NotFound("TFG-2601", "no such farm in this ledger", where=farm_id)
    return _farm_info(farm_id, row)


def farms(view: bcdb.View) -> tuple[FarmInfo, ...]:
    """All farms, by id."""
    return tuple(
        _farm_info(FarmId(_id(key)), load(data, FarmRow)) for key, data in view.scan("farm")
    )


def node(
    view: bcdb.View, node_id: NodeId, now_ms: int, *, without: ContractId | None = None
) -> NodeInfo:
    """One node, whether admitted or not, with what contracts hold of it at `now_ms`.

    Args:
        view: the records.
        node_id: which node.
        now_ms: a moment of order time.
        without: a contract that is looked at as if it held nothing.

    Raises:
        errors.NotFound: TFG-2602.

    """
    row = node_row(view, node_id)
    if row is None:
        raise errors.NotFound("TFG-2602", "no such node in this ledger", where=node_id)
    others = _reservations(view, f"{node_id}/", without=without)
    held = _sum(others, now_ms).get(node_id, Capacity())
    return _node_info(node_id, row, farm(view, row.registration.farm), held)


def nodes(view: bcdb.View, now_ms: int) -> tuple[NodeInfo, ...]:
    """All registered nodes, by id, whether admitted or not."""
    known = {info.farm: info for info in farms(view)}
    held = _sum(_reservations(view, ""), now_ms)
    found = []
    for key, data in view.scan("node"):
        row, node_id = load(data, NodeRow), NodeId(_id(key))
        home = known[row.registration.farm]
        found.append(_node_info(node_id, row, home, held.get(node_id, Capacity())))
    return tuple(found)


def inventory(view: bcdb.View, now_ms: int, size: int) -> Inventory:
    """All nodes at the position of a ledger of `size` entries: what a planner works from."""
    return Inventory(order_time=now_ms, size=size, nodes=nodes(view, now_ms))


def image_sources(view: bcdb.View, *authors: IdentityId) -> tuple[str, ...]:
    """URLs of the chunk servers of these identities, in the order of the identities, each once."""
    found = (
        load(data, SourceRow).url
        for author in authors
        for _, data in view.scan("image-source", f"{author}/")
    )
    return tuple(dict.fromkeys(found))


def reserve(
    view: bcdb.View, node_id: NodeId, contract: ContractId, capacity: Capacity, until_ms: int
) -> None:
    """Hold capacity for a contract until a moment; a later call replaces an earlier one."""
    row = Reservation(capacity=capacity, until=until_ms)
    store(view, "reservation", f"{node_id}/{contract}", row)


def release(view: bcdb.View, node_id: NodeId, contract: ContractId) -> None:
    """Give back what a contract holds; does nothing if it holds nothing."""
    view.remove("reservation", f"{node_id}/{contract}")


def positions(view: bcdb.View, node_id: NodeId) -> tuple[int, ...]:
    """The positions of the records that make this node what it is now, its farm's included."""
    row = node_row(view, node_id)
    if row is None:
        return ()
    home = farm_row(view, row.registration.farm)
    assert home is not None
    found = {
        home.created,
        home.offered,
        row.first,
        row.registered,
        row.admission,
        row.admitted_registered,
        row.inventoried,
    }
    return tuple(sorted(found - {-1}))


def _id(key: str) -> IdentityId:
    return IdentityId(key)


def _reservations(
    view: bcdb.View, prefix: str, *, without: ContractId | None = None
) -> Iterator[tuple[NodeId, Reservation]]:
    for key, data in view.scan("reservation", prefix):
        node_id, _, contract = key.partition("/")
        if contract != without:
            yield NodeId(_id(node_id)), load(data, Reservation)


def _sum(rows: Iterable[tuple[NodeId, Reservation]], now_ms: int) -> dict[NodeId, Capacity]:
    held: dict[NodeId, Capacity] = {}
    for node_id, row in rows:
        if row.until >= now_ms:
            held[node_id] = held.get(node_id, Capacity()).plus(row.capacity)
    return held


def _farm_info(farm_id: FarmId, row: FarmRow) -> FarmInfo:
    return FarmInfo(
        farm=farm_id, name=row.name,
        country=row.offer.country if row.offer else "",
        prices=row.offer.prices if row.offer else Prices(),
        payments=row.offer.payments if row.offer else (),
    )  # fmt: skip


_NOTHING = NodeInventory(total=Capacity(), reserve=Capacity())


def _node_info(node_id: NodeId, row: NodeRow, home: FarmInfo, held: Capacity) -> NodeInfo:
    registration = row.registration
    digest = registration_digest(registration)
    has = row.inventory or _NOTHING
    return NodeInfo(
        node=node_id, name=row.name,
        farm=home.farm, farm_name=home.name,
        country=home.country, prices=home.prices, payments=home.payments,
        trust=registration.trust, roles=registration.roles,
        endpoint=registration.endpoint, domains=registration.domains,
        registration=digest, admitted=row.admitted == digest,
        total=has.total, reserve=has.reserve, reserved=held,
    )  # fmt: skip
