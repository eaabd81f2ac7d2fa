"""The kinds of farm and node records: who may write which, and what is checked.

| kind | author | what is checked besides the author |
|---|---|---|
| `farm.create` | the farmer | has no farm yet, is no node; the name is free |
| `farm.offer` | the farmer | payment methods differ |
| `node.register` | the node | the farm exists; endpoint, roles and domains are sound |
| `node.admit` | the farmer of that node | it names the registration as it is now |
| `node.inventory` | the node | the reserve is within the total and not below the least |
| `image.source` | anyone, for itself | not too many |
"""

from __future__ import annotations

import ipaddress
from typing import Any

import msgspec

from tfgrid.core import canonical, errors, limits
from tfgrid.core.ids import FarmId, IdentityId, NodeId
from tfgrid.ledger import bcdb
from tfgrid.ledger.farm.model import (
    FarmCreate,
    ImageSource,
    NodeAdmit,
    NodeInventory,
    NodeRegister,
    Offer,
    image_sources_max,
    registration_digest,
)
from tfgrid.ledger.farm.rows import FarmRow, NodeRow, SourceRow, farm_row, node_row, store

__all__ = ["kinds"]


def kinds() -> tuple[bcdb.Kind[Any], ...]:
    """farm.create, farm.offer, node.register, node.admit, node.inventory, image.source."""
    return (
        bcdb.Kind(
            name="farm.create", body_type=FarmCreate, check=_create_check, apply=_create_apply
        ),
        bcdb.Kind(name="farm.offer", body_type=Offer, check=_offer_check, apply=_offer_apply),
        bcdb.Kind(
            name="node.register", body_type=NodeRegister,
            check=_register_check, apply=_register_apply, tags=lambda body: (f"farm:{body.farm}",),
        ),
        bcdb.Kind(
            name="node.admit", body_type=NodeAdmit,
            check=_admit_check, apply=_admit_apply, tags=lambda body: (f"node:{body.node}",),
        ),
        bcdb.Kind(
            name="node.inventory", body_type=NodeInventory,
            check=_inventory_check, apply=_inventory_apply,
        ),
        bcdb.Kind(
            name="image.source", body_type=ImageSource, check=_source_check, apply=_source_apply
        ),
    )  # fmt: skip


def _farmer(author: IdentityId) -> FarmId:
    return FarmId(author)


def _node(author: IdentityId) -> NodeId:
    return NodeId(author)


def _create_check(view: bcdb.View, entry: bcdb.Entry, body: FarmCreate) -> None:
    author = entry.header.author
    if farm_row(view, _farmer(author)) is not None:
        raise errors.Conflict("TFG-2610", "this identity has a farm already", where=author)
    if node_row(view, _node(author)) is not None:
        raise errors.NotAllowed("TFG-2611", "a node cannot be a farmer too", where=author)
    if view.get("farm-name", body.name) is not None:
        raise errors.Conflict(
            "TFG-2612", f"another farm is named {body.name}", where=body.name,
            hint="choose another name",
        )  # fmt: skip


def _create_apply(view: bcdb.View, entry: bcdb.Entry, body: FarmCreate) -> None:
    author = entry.header.author
    store(view, "farm", author, FarmRow(name=body.name, created=entry.position))
    view.put("farm-name", body.name, author.encode())


def _offer_check(view: bcdb.View, entry: bcdb.Entry, body: Offer) -> None:
    _own_farm(view, entry)
    if len(set(body.payments)) != len(body.payments):
        raise errors.BadInput("TFG-2614", "a payment method is listed twice", where="payments")


def _own_farm(view: bcdb.View, entry: bcdb.Entry) -> FarmRow:
    row = farm_row(view, _farmer(entry.header.author))
    if row is None:
        raise errors.NotAllowed(
            "TFG-2613", "the author has no farm", where=entry.header.author,
            hint="write farm.create first",
        )  # fmt: skip
    return row


def _offer_apply(view: bcdb.View, entry: bcdb.Entry, body: Offer) -> None:
    row = msgspec.structs.replace(_own_farm(view, entry), offer=body, offered=entry.position)
    store(view, "farm", entry.header.author, row)


def _register_check(view: bcdb.View, entry: bcdb.Entry, body: NodeRegister) -> None:
    author = entry.header.author
    if farm_row(view, body.farm) is None:
        raise errors.NotFound("TFG-2601", "no such farm in this ledger", where=body.farm)
    if farm_row(view, _farmer(author)) is not None:
        raise errors.NotAllowed("TFG-2611", "a farmer cannot be a node too", where=author)
    _check_address(body.endpoint)
    if len(set(body.roles)) != len(body.roles) or len(set(body.domains)) != len(body.domains):
        raise errors.BadInput("TFG-2617", "a role or domain is listed twice", where="roles")
    if ("gateway" in body.roles) != bool(body.domains):
        raise errors.BadInput(
            "TFG-2618", "a gateway has domains, and only a gateway has them", where="domains"
        )
    old = node_row(view, _node(author))
    held = next(view.scan("reservation", f"{author}/"), None)
    if old and old.registration.farm != body.farm and held:
        raise errors.Conflict(
            "TFG-2619", "the node holds contracts in its present farm", where=author,
            hint="wait until they have ended",
        )  # fmt: skip


def _check_address(text: str) -> None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError as fault:
        raise errors.BadInput(
            "TFG-2616", "the endpoint is not an IP address", where=text
        ) from fault
    if str(address) != text or address.is_multicast or address.is_unspecified:
        raise errors.BadInput(
            "TFG-2616", "the endpoint is not a node's address in its shortest form", where=text
        )


def _register_apply(view: bcdb.View, entry: bcdb.Entry, body: NodeRegister) -> None:
    author = _node(entry.header.author)
    old = node_row(view, author)
    if old is None:
        state = bcdb.identity_state(view, author)
        assert state is not None
        row = NodeRow(
            name=state.name, registration=body, registered=entry.position, first=entry.position
        )
    else:
        row = msgspec.structs.replace(old, registration=body, registered=entry.position)
    store(view, "node", author, row)


def _known_node(view: bcdb.View, node: NodeId) -> NodeRow:
    row = node_row(view, node)
    if row is None:
        raise errors.NotFound("TFG-2602", "no such node in this ledger", where=node)
    return row


def _admit_check(view: bcdb.View, entry: bcdb.Entry, body: NodeAdmit) -> None:
    row = _known_node(view, body.node)
    if row.registration.farm != entry.header.author:
        raise errors.NotAllowed(
            "TFG-2620", "only the farmer whom the node names may admit it", where=body.node
        )
    if registration_digest(row.registration) != body.registration:
        raise errors.Conflict(
            "TFG-2621", "the node has registered otherwise since", where=body.node,
            hint="look at the node again and admit what it says now",
        )  # fmt: skip


def _admit_apply(view: bcdb.View, entry: bcdb.Entry, body: NodeAdmit) -> None:
    row = _known_node(view, body.node)
    changed = msgspec.structs.replace(
        row, admitted=body.registration if body.admitted else "",
        admission=entry.position, admitted_registered=row.registered,
    )  # fmt: skip
    store(view, "node", body.node, changed)


def _inventory_check(view: bcdb.View, entry: bcdb.Entry, body: NodeInventory) -> None:
    _known_node(view, _node(entry.header.author))
    if body.total.lacks(body.reserve):
        raise errors.BadInput("TFG-2622", "the reserve is more than the total", where="reserve")
    if body.reserve.memory_bytes < limits.node_memory_reserve_bytes_min:
        raise errors.BadInput(
            "TFG-2623", f"a node keeps at least {limits.node_memory_reserve_bytes_min} bytes of "
            "memory for itself (node_memory_reserve_bytes_min)", where="reserve.memory_bytes",
        )  # fmt: skip


def _inventory_apply(view: bcdb.View, entry: bcdb.Entry, body: NodeInventory) -> None:
    author = _node(entry.header.author)
    row = msgspec.structs.replace(
        _known_node(view, author), inventory=body, inventoried=entry.position
    )
    store(view, "node", author, row)


def _source_key(author: IdentityId, url: str) -> str:
    return f"{author}/{canonical.digest(url.encode())}"


def _source_check(view: bcdb.View, entry: bcdb.Entry, body: ImageSource) -> None:
    author = entry.header.author
    known = {key for key, _ in view.scan("image-source", f"{author}/")}
    if body.active and len(known | {_source_key(author, body.url)}) > image_sources_max:
        raise errors.NotAllowed(
            "TFG-2624", f"an identity may announce {image_sources_max} chunk servers at a time",
            where=author, hint="withdraw one with active: false",
        )  # fmt: skip


def _source_apply(view: bcdb.View, entry: bcdb.Entry, body: ImageSource) -> None:
    key = _source_key(entry.header.author, body.url)
    if body.active:
        store(view, "image-source", key, SourceRow(url=body.url, position=entry.position))
    else:
        view.remove("image-source", key)
