"""From what should be and what is to what must change: pure, and empty when nothing must.

The order is such that a packet never meets a namespace that is half closed: rules first, then
links, then addresses and routes.
"""

from __future__ import annotations

import base64
import dataclasses
import ipaddress
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TypeAlias

from tfgrid.capacity.znet import model, rules
from tfgrid.capacity.znet.model import Member, NetworkSpec, Site
from tfgrid.capacity.znet.reservations import Reservation
from tfgrid.capacity.znet.state import State, wanted_settings
from tfgrid.core import canonical, limits
from tfgrid.jumpscale.executors import Spawn
from tfgrid.jumpscale.sal import links, namespaces, nftables, topology, wireguard
from tfgrid.jumpscale.sal.change import Change

__all__ = ["Step", "plan", "plan_attachment", "plan_forwards", "spawn_of"]

Step: TypeAlias = Change | Spawn
"""A change of the machine, or a process to start."""

_MTU: Final = limits.mtu_wireguard_bytes


def plan(spec: NetworkSpec, record: Reservation, state: State, site: Site) -> tuple[Step, ...]:
    """What must change so that the network is as specified."""
    netns = site.netns_directory / model.namespace_name(spec.id)
    return (
        *_namespace(state, netns),
        *_rules(spec, record, state, netns),
        *_services(spec, state, netns),
        *_bridge(spec, state, netns),
        *_tunnel(spec, state, site, netns),
        *_device(spec, record, state, site, netns),
        *_routes(spec, state, netns),
        *_gateway(spec, record, state, site, netns),
    )


def spawn_of(network: str, site: Site) -> Spawn:
    """How the user-space WireGuard of a network is started.

    In the node's namespace, where its socket stays.
    """
    tunnel = model.tunnel_name(network)
    return Spawn(
        name=tunnel,
        argv=("wireguard-go", "--foreground", tunnel),
        env={"LOG_LEVEL": "error", "WG_PROCESS_FOREGROUND": "1", "PATH": "/usr/sbin:/usr/bin"},
        netns=site.node_netns,
    )


def _namespace(state: State, netns: Path) -> Iterator[Step]:
    if not state.exists:
        yield namespaces.Pin(net=netns)
    for key, value in wanted_settings.items():
        if state.settings.get(key) != value:
            yield links.Setting(netns=netns, key=key, value=value)
    loopback = state.tenant.links.get("lo")
    if loopback is None or not loopback.up:
        yield links.LinkSet(netns=netns, name="lo", up=True)


def _rules(spec: NetworkSpec, record: Reservation, state: State, netns: Path) -> Iterator[Step]:
    wanted = rules.tables(spec, record.link)
    for table in wanted:
        if state.tables.get((table.family, table.table)) != table.comment:
            yield nftables.TableSet(
                netns=netns, family=table.family, table=table.table,
                body=table.body, label=table.label,
            )  # fmt: skip
    if not spec.gateway and ("ip", rules.gateway_table) in state.tables:
        yield nftables.TableRemove(netns=netns, family="ip", table=rules.gateway_table)


def _services(spec: NetworkSpec, state: State, netns: Path) -> Iterator[Step]:
    """The addresses that the node answers for, on the namespace's loopback: it is always up."""
    wanted = [a for s in spec.services for a in (f"{s.address4}/32", f"{s.address6}/128")]
    own = state.tenant.addresses
    strangers = frozenset(a for a in own if a.address not in model.loopback_addresses)
    seen = dataclasses.replace(state.tenant, addresses=strangers)
    yield from _addresses(seen, netns, model.service_link, wanted)


def _bridge(spec: NetworkSpec, state: State, netns: Path) -> Iterator[Step]:
    name = model.bridge_name(spec.id)
    there = state.tenant.links.get(name)
    if there is None:
        yield links.LinkAdd(
            netns=netns, name=name, kind="bridge", mac=model.mac_address(spec.bridge4)
        )
    if there is None or not there.up or there.mtu_bytes != _MTU or there.link_local:
        yield links.LinkSet(netns=netns, name=name, up=True, mtu_bytes=_MTU, link_local=False)
    wanted = [_with_prefix(spec.bridge4, spec.subnet4), _with_prefix(spec.bridge6, spec.subnet6)]
    yield from _addresses(state.tenant, netns, name, wanted)
    for member in spec.members:
        yield from _neighbours(
            state.tenant, netns, name, (member.address4, member.address6),
            model.mac_address(member.address4),
        )  # fmt: skip
    ports = {model.port_name(spec.id, member.name) for member in spec.members}
    for link in state.tenant.links.values():
        if link.master == name and link.name not in ports:
            yield links.LinkRemove(netns=netns, name=link.name)


def _tunnel(spec: NetworkSpec, state: State, site: Site, netns: Path) -> Iterator[Step]:
    name = model.tunnel_name(spec.id)
    there = state.tenant.links.get(name)
    if there is None or not (state.kernel or state.process):
        if name not in state.node.links or not (state.kernel or state.process):
            yield (
                links.LinkAdd(netns=site.node_netns, name=name, kind="wireguard")
                if state.kernel
                else spawn_of(spec.id, site)
            )
        yield links.LinkMove(netns=site.node_netns, name=name, to=netns)
        there = None
    if there is None or not there.up or there.mtu_bytes != _MTU or there.link_local:
        yield links.LinkSet(netns=netns, name=name, up=True, mtu_bytes=_MTU, link_local=False)


def _device(
    spec: NetworkSpec, record: Reservation, state: State, site: Site, netns: Path
) -> Iterator[Step]:
    name = model.tunnel_name(spec.id)
    uapi = None if state.kernel else site.uapi_directory / f"{name}.sock"
    where = netns if state.kernel else None
    device = state.device
    own = _wire_key(record.prepared.public_key)
    if device is None or (device.public_key, device.port) != (own, record.port):
        yield wireguard.DeviceSet(
            device=name, uapi=uapi, netns=where, private_key=record.secret, port=record.port
        )
    seen = device.peers if device else {}
    wanted = {_wire_key(peer.public_key): peer for peer in spec.peers}
    for key in seen.keys() - wanted.keys():
        yield wireguard.PeerRemove(device=name, uapi=uapi, netns=where, public_key=key)
    for key, peer in wanted.items():
        if not _same_peer(peer, seen.get(key)):
            yield wireguard.PeerSet(
                device=name, uapi=uapi, netns=where, public_key=key, endpoint=peer.endpoint,
                allowed=peer.allowed, keepalive_seconds=peer.keepalive_seconds,
            )  # fmt: skip


def _same_peer(wanted: model.Peer, seen: wireguard.PeerSeen | None) -> bool:
    """Whether a peer is as wanted.

    One that was heard from may have moved, and WireGuard followed it.
    """
    if seen is None or seen.allowed != frozenset(wanted.allowed):
        return False
    settled = seen.endpoint == wanted.endpoint or seen.latest_handshake > 0 or not wanted.endpoint
    return settled and seen.keepalive_seconds == wanted.keepalive_seconds


def _routes(spec: NetworkSpec, state: State, netns: Path) -> Iterator[Step]:
    name = model.tunnel_name(spec.id)
    wanted = {str(ipaddress.ip_network(r)) for peer in spec.peers for r in peer.allowed}
    stands = state.kernel or state.process
    seen = {r.destination for r in state.tenant.routes if r.link == name and stands}
    for destination in sorted(seen - wanted):
        yield links.RouteRemove(netns=netns, destination=destination, link=name)
    for destination in sorted(wanted - seen):
        yield links.RouteAdd(netns=netns, destination=destination, link=name)


def _gateway(
    spec: NetworkSpec, record: Reservation, state: State, site: Site, netns: Path
) -> Iterator[Step]:
    inner, outer = model.gateway_name(spec.id), model.link_name(spec.id)
    there = inner in state.tenant.links and outer in state.node.links
    if not spec.gateway:
        if inner in state.tenant.links:
            yield links.LinkRemove(netns=netns, name=inner)
        return
    node_end, tenant_end = model.link_addresses(record.link)
    if not there:
        yield links.VethAdd(
            netns=netns, name=inner, mac=model.mac_address(tenant_end), mtu_bytes=_MTU,
            peer=outer, peer_mac=model.mac_address(node_end),
            peer_netns=site.node_netns or Path("/proc/thread-self/ns/net"),
        )  # fmt: skip
    for end, name, address, side in (
        (netns, inner, tenant_end, state.tenant),
        (site.node_netns, outer, node_end, state.node),
    ):
        link = side.links.get(name) if there else None
        if link is None or not link.up or link.link_local:
            yield links.LinkSet(netns=end, name=name, up=True, link_local=False)
        yield from _addresses(side if there else None, end, name, [f"{address}/30"])
    yield from plan_forwards(record, _kept_forwards(spec, record, state), netns)


def _kept_forwards(spec: NetworkSpec, record: Reservation, state: State) -> dict[str, str]:
    """The forwards that stand; none if their table is new or about to be replaced."""
    table = next(t for t in rules.tables(spec, record.link) if t.table == rules.gateway_table)
    same = state.tables.get((table.family, table.table)) == table.comment
    return state.forwards if same else {}


def plan_forwards(record: Reservation, seen: dict[str, str], netns: Path) -> Iterator[Change]:
    """What must change so that exactly the promised ports are forwarded."""
    wanted = {str(f.link_port): f"{f.address} . {f.port}" for f in record.forwarded()}
    table = rules.gateway_table
    for key, value in seen.items():
        if wanted.get(key) != value:
            yield nftables.ElementRemove(
                netns=netns, family="ip", table=table, map=rules.forwards_map, key=key
            )
    for key, value in wanted.items():
        if seen.get(key) != value:
            yield nftables.ElementAdd(
                netns=netns, family="ip", table=table, map=rules.forwards_map, key=key, value=value
            )


def plan_attachment(
    spec_id: str, member: Member, gateways: tuple[str, str], tenant: topology.Topology,
    inside: topology.Topology, netns: Path, member_netns: Path,
) -> tuple[Step, ...]:  # fmt: skip
    """What must change so that a member's namespace has its eth0.

    `gateways` are the bridge's addresses.
    """
    port, bridge = model.port_name(spec_id, member.name), model.bridge_name(spec_id)
    mac = model.mac_address(member.address4)
    steps: list[Step] = []
    there = port in tenant.links and "eth0" in inside.links
    if not there:
        if port in tenant.links:
            steps.append(links.LinkRemove(netns=netns, name=port))
        steps.append(
            links.VethAdd(
                netns=netns, name=port, mac=_port_mac(mac), mtu_bytes=_MTU,
                peer="eth0", peer_mac=mac, peer_netns=member_netns,
            )
        )  # fmt: skip
    link = tenant.links.get(port) if there else None
    if link is None or link.master != bridge or not link.isolated or link.link_local:
        steps.append(
            links.LinkSet(netns=netns, name=port, master=bridge, isolated=True, link_local=False)
        )
    if link is None or not link.up:
        steps.append(links.LinkSet(netns=netns, name=port, up=True))
    steps += _inside(member, gateways, inside if there else None, member_netns)
    return tuple(steps)


def _inside(
    member: Member, gateways: tuple[str, str], seen: topology.Topology | None, netns: Path
) -> Iterator[Step]:
    """The member's end.

    Loopback, addresses without neighbours, and the bridge as the only way out.
    """
    loopback = seen.links.get("lo") if seen else None
    if loopback is None or not loopback.up:
        yield links.LinkSet(netns=netns, name="lo", up=True)
    own = seen.links.get("eth0") if seen else None
    if own is None or not own.up or own.link_local:
        yield links.LinkSet(netns=netns, name="eth0", up=True, link_local=False)
    wanted = [f"{member.address4}/32", f"{member.address6}/128"]
    yield from _addresses(seen, netns, "eth0", wanted)
    yield from _neighbours(seen, netns, "eth0", gateways, model.mac_address(gateways[0]))
    routes = seen.routes if seen else frozenset()
    for gateway, everything in zip(gateways, ("0.0.0.0/0", "::/0"), strict=True):
        host = str(ipaddress.ip_network(gateway))
        if topology.Route(host, "eth0", "") not in routes:
            yield links.RouteAdd(netns=netns, destination=host, link="eth0")
        if topology.Route(everything, "eth0", gateway) not in routes:
            yield links.RouteAdd(netns=netns, destination=everything, link="eth0", via=gateway)


def _addresses(
    seen: topology.Topology | None, netns: Path | None, link: str, wanted: list[str]
) -> Iterator[Step]:
    there = {each.address for each in seen.addresses if each.link == link} if seen else set()
    for address in sorted(there - set(wanted)):
        yield links.AddressRemove(netns=netns, link=link, address=address)
    for address in wanted:
        if address not in there:
            yield links.AddressAdd(netns=netns, link=link, address=address)


def _neighbours(
    seen: topology.Topology | None, netns: Path, link: str, addresses: tuple[str, ...], mac: str
) -> Iterator[Step]:
    there = seen.neighbours if seen else frozenset()
    for address in addresses:
        if topology.Neighbour(link, address, mac) not in there:
            yield links.NeighbourAdd(netns=netns, link=link, address=address, mac=mac)


def _with_prefix(address: str, subnet: str) -> str:
    return f"{address}/{ipaddress.ip_network(subnet).prefixlen}"


def _port_mac(mac: str) -> str:
    """The port's own MAC address: the member's with another first byte, so that they differ."""
    return "06" + mac[2:]


def _wire_key(public_key: str) -> str:
    """A key as WireGuard writes it: base64 with padding."""
    return base64.b64encode(canonical.bytes_from(public_key)).decode()
