r"""Who offers capacity, where, at what price: farms, their offers, their nodes.

    farmer: farm.create -> farm.offer -> node.admit        node: node.register -> node.inventory
                                   \                        /
                                    NodeInfo: what a planner, a ledger and a person see of a node

A farm's id is its farmer's identity. A node registers itself; it counts when the farmer has
admitted exactly that registration. Capacity that contracts hold is kept here as reservations with
an end, so that what is free is a pure function of records and order time.

    from tfgrid.ledger import farm
    for node in farm.nodes(view, now_ms): print(node.name, node.free)

| module | what it holds |
|---|---|
| `model` | the bodies of the records, and what is read from them |
| `rows` | what the view keeps of them |
| `records` | the kinds: who may write which, and what is checked |
| `state` | reading farms, nodes and sources; reserving and releasing |
"""

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
    Payment,
    Prices,
    Role,
    TrustClass,
    registration_digest,
)
from tfgrid.ledger.farm.records import kinds
from tfgrid.ledger.farm.state import (
    farm,
    farms,
    image_sources,
    inventory,
    node,
    nodes,
    positions,
    release,
    reserve,
)

__all__ = [
    "FarmCreate",
    "FarmInfo",
    "ImageSource",
    "Inventory",
    "NodeAdmit",
    "NodeInfo",
    "NodeInventory",
    "NodeRegister",
    "Offer",
    "Payment",
    "Prices",
    "Role",
    "TrustClass",
    "farm",
    "farms",
    "image_sources",
    "inventory",
    "kinds",
    "node",
    "nodes",
    "positions",
    "registration_digest",
    "release",
    "reserve",
]
