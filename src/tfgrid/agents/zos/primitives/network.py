"""Networks: a contract's network on this node, from its place and its peers' endpoints."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from tfgrid.agents.zos.core0 import items
from tfgrid.agents.zos.primitives.memo import Memo
from tfgrid.capacity import znet
from tfgrid.core import host
from tfgrid.core.store import Store
from tfgrid.ledger import contract as contracts

__all__ = ["NetworksOfNode", "network_label", "network_spec"]


def network_label(name: str) -> str:
    """The machine's name of a network: 32 hexadecimal digits from contract and network."""
    return hashlib.sha256(name.encode()).hexdigest()[:32]


def network_spec(item: host.Item) -> znet.NetworkSpec:
    """The network that an item asks for. Pure."""
    spec = items.spec_of(item, items.NetworkSpec)
    served = frozenset(spec.services or ())
    return znet.NetworkSpec(
        id=network_label(item.key.name),
        label=item.digest,
        range4=spec.place.range4,
        range6=spec.place.range6,
        subnet4=spec.place.subnet4,
        subnet6=spec.place.subnet6,
        members=tuple(
            znet.Member(name=m.workload, address4=m.address4, address6=m.address6)
            for m in spec.place.members
            if m.workload not in served
        ),
        services=tuple(
            znet.Service(
                name=m.workload, address4=m.address4, address6=m.address6, port=contracts.ZDB_PORT
            )
            for m in spec.place.members
            if m.workload in served
        ),
        peers=tuple(
            znet.Peer(public_key=p.public_key, endpoint=p.endpoint, allowed=(p.subnet4, p.subnet6))
            for p in spec.peers
        ),
        gateway=spec.gateway,
    )


class NetworksOfNode:
    """The networks of a node. `underlay` is the address at which peers reach it."""

    def __init__(self, networks: znet.Networks, store: Store, underlay: str) -> None:
        self._networks = networks
        self._memo = Memo("network", store)
        self._underlay = underlay

    async def prepare(self, item: host.Item) -> Mapping[str, str]:
        """Make or recall the node's key and port, and say them."""
        label = network_label(item.key.name)
        self._memo.keep(label, self._memo.get(label) or item)
        prepared = await self._networks.prepare(label)
        endpoint = f"{self._underlay}:{prepared.port}"
        return {"public_key": prepared.public_key, "endpoint": endpoint}

    async def observe(
        self, seen: Mapping[str, znet.NetworkSeen]
    ) -> Mapping[host.ItemKey, host.Observed]:
        """Every network, those that are only prepared too."""
        found = {}
        for label, item in self._memo:
            if label not in seen:
                found[item.key] = host.Observed(
                    key=item.key, digest=item.digest, condition="prepared"
                )
        for label, network in seen.items():
            key = self._memo.key(label)
            condition: host.Condition = "running" if network.whole else "broken"
            if not network.whole and not network.label:
                condition = "prepared"
            found[key] = host.Observed(
                key=key, digest=network.label, condition=condition, facts={"port": network.port}
            )
        return found

    async def ensure(self, item: host.Item) -> host.Observed:
        """Make the network as specified."""
        self._memo.keep(network_label(item.key.name), item)
        await self._networks.ensure(network_spec(item))
        return host.Observed(key=item.key, digest=item.digest, condition="running")

    async def remove(self, key: host.ItemKey) -> None:
        """Remove the network with its key."""
        label = network_label(key.name) if "/" in key.name else key.name
        await self._networks.remove(label)
        self._memo.forget(label)
