"""What a placement means for one node, as items of its machine. Pure.

    Proposal + endpoints from accepted receipts --> Image-, Network-, Zdb-, Container-, RouteSpec
    --> Item

An item's specification holds everything that decides what is made, so that its digest changes
exactly when something else should run. Names on the machine are `<contract id>/<workload>`; images
go by their digest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from msgspec import UNSET, UnsetType

from tfgrid.core import canonical, host, ids
from tfgrid.core.ids import ContractId, NodeId
from tfgrid.core.schema import Base64, Count, Name, Value
from tfgrid.core.units import Capacity
from tfgrid.ledger import contract as contracts

__all__ = [
    "ContainerSpec",
    "HostName",
    "ImageSpec",
    "NetworkSpec",
    "Peer",
    "RouteSpec",
    "ZdbSpec",
    "contract_of",
    "demand",
    "image_item",
    "item_of",
    "items_for",
    "networks_for",
    "spec_of",
]

_S = TypeVar("_S", bound=Value)


class Peer(Value, frozen=True):
    """Another node's part of a network, as its verified accepted receipt told it."""

    node: ids.Node
    index: Count
    subnet4: str
    subnet6: str
    public_key: Base64
    endpoint: str


class HostName(Value, frozen=True):
    """A name in a network and its addresses, for the hosts file."""

    name: Name
    address4: str
    address6: str


class ImageSpec(Value, frozen=True, tag="image", tag_field="type"):
    """An image to hold verified on this node: what it is, and whose signature it must bear."""

    digest: ids.Digested
    signer: ids.Author


class NetworkSpec(Value, frozen=True, tag="network", tag_field="type"):
    """A network's part on this node; `peers` is empty while it is only prepared.

    `gateway` says that a route of this node leads into it. `services` are the members that the node
    itself answers for; where there are none it is not written, so that a network without them is
    the item that it was before there were any.
    """

    contract: ids.Contract
    place: contracts.NetworkPlace
    gateway: bool
    peers: tuple[Peer, ...]
    services: tuple[Name, ...] | UnsetType = UNSET


class ZdbSpec(Value, frozen=True, tag="zdb", tag_field="type"):
    """A namespace of Zero-DB with its quota, and the address at which its network reaches it."""

    contract: ids.Contract
    workload: contracts.ZdbNamespace
    place: contracts.NetworkPlace
    member: contracts.Member


class ContainerSpec(Value, frozen=True, tag="container", tag_field="type"):
    """A container with its address, the node's end of its network, and the names it may know."""

    contract: ids.Contract
    workload: contracts.Container
    place: contracts.NetworkPlace
    member: contracts.Member
    hosts: tuple[HostName, ...]


class RouteSpec(Value, frozen=True, tag="route", tag_field="type"):
    """A route at this gateway node, and the containers behind it."""

    contract: ids.Contract
    workload: contracts.Route
    place: contracts.NetworkPlace
    backends: tuple[HostName, ...]


_KINDS: dict[type[Value], host.ItemKind] = {
    ImageSpec: "image",
    NetworkSpec: "network",
    ZdbSpec: "zdb",
    ContainerSpec: "container",
    RouteSpec: "route",
}


def item_of(name: str, spec: Value) -> host.Item:
    """The item of a specification."""
    data = canonical.encode(spec)
    key = host.ItemKey(_KINDS[type(spec)], name)
    return host.Item(key=key, digest=canonical.digest(data), spec=data)


def spec_of(item: host.Item, kind: type[_S]) -> _S:
    """The specification in an item, as the type it must be."""
    return canonical.parse(item.spec, kind)


def contract_of(key: host.ItemKey) -> ContractId | None:
    """The contract an item belongs to; None for images, which contracts share."""
    return None if key.kind == "image" else ContractId(key.name.partition("/")[0])


def _mine(proposal: contracts.Proposal, node: NodeId) -> list[contracts.Workload]:
    names = {a.workload for a in proposal.placement.assignments if a.node == node}
    return [w for w in proposal.agreement.workloads if w.name in names]


def demand(proposal: contracts.Proposal, node: NodeId) -> Capacity:
    """What a placement asks of one node in all."""
    total = Capacity()
    for workload in _mine(proposal, node):
        total = total.plus(contracts.asked(workload))
    return total


def networks_for(
    contract: ContractId, proposal: contracts.Proposal, node: NodeId
) -> tuple[host.Item, ...]:
    """The node's parts of networks, still without peers, as they are prepared before accepting."""
    return _networks(contract, proposal, node, {})


def items_for(
    contract: ContractId,
    proposal: contracts.Proposal,
    node: NodeId,
    endpoints: Mapping[NodeId, Iterable[contracts.Endpoint]],
) -> tuple[host.Item, ...]:
    """All items of one node, in the order in which they need one another.

    `endpoints` are from the accepted receipts of every node of the placement.
    """
    places = proposal.placement.networks
    here = {p.network: p for p in places if p.node == node}
    hosts = {p.network: _host_names(places, p.network) for p in here.values()}
    images, namespaces, containers, routes = {}, [], [], []
    for workload in _mine(proposal, node):
        name = f"{contract}/{workload.name}"
        if isinstance(workload, contracts.Container):
            place = here[workload.network]
            image = image_item(workload.image)
            images[image.key] = image
            spec = ContainerSpec(
                contract=contract, workload=workload, place=place,
                member=_member(place, workload.name), hosts=hosts[workload.network],
            )  # fmt: skip
            containers.append(item_of(name, spec))
        elif isinstance(workload, contracts.ZdbNamespace):
            place = here[workload.network]
            namespace = ZdbSpec(
                contract=contract, workload=workload, place=place,
                member=_member(place, workload.name),
            )  # fmt: skip
            namespaces.append(item_of(name, namespace))
        elif isinstance(workload, contracts.Route):
            backends = tuple(h for h in hosts[workload.network] if h.name in workload.containers)
            route = RouteSpec(
                contract=contract, workload=workload, place=here[workload.network],
                backends=backends,
            )  # fmt: skip
            routes.append(item_of(name, route))
    networks = _networks(contract, proposal, node, endpoints)
    return (*images.values(), *networks, *namespaces, *containers, *routes)


def _member(place: contracts.NetworkPlace, workload: str) -> contracts.Member:
    return next(m for m in place.members if m.workload == workload)


def image_item(image: contracts.Image) -> host.Item:
    """The item of an image; two contracts that want the same image of the same signer share it."""
    spec = ImageSpec(digest=image.digest, signer=image.signer)
    return item_of(f"{image.digest}/{image.signer}", spec)


def _networks(
    contract: ContractId,
    proposal: contracts.Proposal,
    node: NodeId,
    endpoints: Mapping[NodeId, Iterable[contracts.Endpoint]],
) -> tuple[host.Item, ...]:
    places = proposal.placement.networks
    mine = _mine(proposal, node)
    routed = {w.network for w in mine if isinstance(w, contracts.Route)}
    namespaces = [w for w in mine if isinstance(w, contracts.ZdbNamespace)]
    served = {p.network: [w.name for w in namespaces if w.network == p.network] for p in places}
    return tuple(
        item_of(
            f"{contract}/{place.network}",
            NetworkSpec(
                contract=contract,
                place=place,
                gateway=place.network in routed,
                peers=_peers(places, place, endpoints),
                services=tuple(served[place.network]) or UNSET,
            ),
        )
        for place in places
        if place.node == node
    )


def _host_names(places: Iterable[contracts.NetworkPlace], network: str) -> tuple[HostName, ...]:
    return tuple(
        HostName(name=m.workload, address4=m.address4, address6=m.address6)
        for p in places
        if p.network == network
        for m in p.members
    )


def _peers(
    places: Iterable[contracts.NetworkPlace],
    mine: contracts.NetworkPlace,
    endpoints: Mapping[NodeId, Iterable[contracts.Endpoint]],
) -> tuple[Peer, ...]:
    return tuple(
        Peer(
            node=place.node, index=place.index, subnet4=place.subnet4, subnet6=place.subnet6,
            public_key=end.public_key, endpoint=end.endpoint,
        )
        for place in places
        if place.network == mine.network and place.node != mine.node
        for end in endpoints.get(place.node, ())
        if end.network == place.network
    )  # fmt: skip
