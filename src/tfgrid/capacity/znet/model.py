"""What a network on a node should be and what it is.

Plain values, and the names that follow from them.
"""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from tfgrid.core import limits
from tfgrid.core.schema import Count, Name, Value

__all__ = [
    "Forward",
    "Member",
    "NetworkSeen",
    "NetworkSpec",
    "Peer",
    "Prepared",
    "Service",
    "Site",
    "bridge_name",
    "gateway_name",
    "link_addresses",
    "link_name",
    "link_range4",
    "loopback_addresses",
    "mac_address",
    "namespace_name",
    "port_name",
    "service_link",
    "tunnel_name",
]

link_range4: Final = ipaddress.IPv4Network("100.64.0.0/16")
"""Link addresses of all networks of a node (within RFC 6598, as shared by no tenant)."""

service_link: Final = "lo"
"""The link of a tenant namespace that has the addresses of services."""

loopback_addresses: Final = frozenset({"127.0.0.1/8", "::1/128"})

Port = Annotated[int, Meta(ge=1, le=65_535)]
Address4 = Annotated[str, Meta(pattern=r"\A[0-9.]{7,15}\Z")]
Address6 = Annotated[str, Meta(pattern=r"\A[0-9a-f:.]{2,45}\Z")]
Range = Annotated[str, Meta(pattern=r"\A[0-9a-f.:]+/[0-9]{1,3}\Z")]
NetworkId = Annotated[str, Meta(pattern=r"\A[0-9a-f]{16,64}\Z")]
PublicKey = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_-]{43}\Z")]


class Member(Value, frozen=True, kw_only=True):
    """A container of this node in the network.

    Its namespace is attached apart, when there is one.
    """

    name: Name
    address4: Address4
    address6: Address6


class Service(Value, frozen=True, kw_only=True):
    """What the node itself answers for in the network: an address of its own and one TCP port.

    The address is the tenant namespace's, behind no port of the bridge. Members reach it and this
    port of it, and nothing else of the node.
    """

    name: Name
    address4: Address4
    address6: Address6
    port: Port


class Peer(Value, frozen=True, kw_only=True):
    """Another node of the network: where it is reached, and the ranges that are its own.

    `endpoint` is `10.0.0.1:51820`, `[fd00::1]:51820`, or empty for a node that dials out only.
    """

    public_key: PublicKey
    endpoint: Annotated[str, Meta(pattern=r"\A(|[0-9.]+:[0-9]{1,5}|\[[0-9a-f:]+\]:[0-9]{1,5})\Z")]
    allowed: Annotated[tuple[Range, ...], Meta(min_length=1, max_length=16)]
    keepalive_seconds: Annotated[int, Meta(ge=0, le=3600)] = 25


class NetworkSpec(Value, frozen=True, kw_only=True):
    """A node's part of one network.

    Args:
        id: hex digits, unique over all contracts (such as a digest of contract id and network
            name).
        label: free text kept on the machine and given back by `observe`, such as the digest of an
            item.
        range4, range6: the whole network.
        subnet4, subnet6: this node's part; the first address is the bridge's, the members' only
            gateway.
        members: containers of this node.
        peers: the other nodes.
        gateway: whether a link to the node's own namespace is wanted, for routes.
        services: what the node itself answers for here.

    """

    id: NetworkId
    label: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9._:-]*\Z", max_length=64)] = ""
    range4: Range
    range6: Range
    subnet4: Range
    subnet6: Range
    members: Annotated[tuple[Member, ...], Meta(max_length=limits.workloads_max)] = ()
    peers: Annotated[tuple[Peer, ...], Meta(max_length=limits.nodes_per_contract_max)] = ()
    gateway: bool = False
    services: Annotated[tuple[Service, ...], Meta(max_length=limits.workloads_max)] = ()

    @property
    def bridge4(self) -> str:
        """The bridge's address: the first of the IPv4 subnet."""
        return str(ipaddress.ip_network(self.subnet4)[1])

    @property
    def bridge6(self) -> str:
        """The bridge's address: the first of the IPv6 subnet."""
        return str(ipaddress.ip_network(self.subnet6)[1])


class Prepared(Value, frozen=True, kw_only=True):
    """What others must know of this node before the network runs.

    The key is base64url without padding.
    """

    public_key: PublicKey
    port: Port


class Forward(Value, frozen=True, kw_only=True):
    """Where a member's port, here or on a peer, is reached in the node's own namespace."""

    link_address: Address4
    link_port: Port
    address: Address4
    port: Port


class NetworkSeen(Value, frozen=True, kw_only=True):
    """What was read from the machine.

    `whole` says that namespace, bridge, tunnel and rules stand and the tunnel's process (if any)
    lives; `ports` are the bridge ports in place (`port_name`); `latest_handshakes` is seconds
    since 1970 by peer. `inode` is the number of the tenant namespace, another one when it was made
    anew; `services` are the addresses of services that are its own.
    """

    id: NetworkId
    label: str
    whole: bool
    public_key: str = ""
    port: Annotated[int, Meta(ge=0, le=65_535)] = 0
    ports: tuple[str, ...] = ()
    latest_handshakes: dict[str, Count] = msgspec.field(default_factory=dict)
    forwards: tuple[Forward, ...] = ()
    inode: Count = 0
    services: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where on this machine things are.

    The defaults are those of a process inside its node's namespaces.

    `node_netns` None is the caller's own. `user_space` None uses the kernel's WireGuard where
    there is one.
    """

    node_netns: Path | None = None
    netns_directory: Path = Path("/run/netns")
    uapi_directory: Path = Path("/run/wireguard")
    port_min: int = 51_820
    user_space: bool | None = None


def _tagged(prefix: str, network: str) -> str:
    return f"{prefix}-{network[:12]}"


def namespace_name(network: str) -> str:
    """The tenant namespace of a network, in the node's own /run/netns."""
    return f"net-{network[:16]}"


def bridge_name(network: str) -> str:
    """The bridge of a network, in its tenant namespace."""
    return _tagged("br", network)


def tunnel_name(network: str) -> str:
    """The WireGuard interface of a network."""
    return _tagged("wg", network)


def gateway_name(network: str) -> str:
    """The tenant's end of the gateway link."""
    return _tagged("gw", network)


def link_name(network: str) -> str:
    """The node's end of the gateway link."""
    return _tagged("ln", network)


def port_name(network: str, member: str) -> str:
    """The bridge port of a member."""
    return _tagged("m", hashlib.sha256(f"{network} {member}".encode()).hexdigest())


def mac_address(address4: str) -> str:
    """The locally administered MAC address that goes with an address of a network."""
    return "02:74:" + ":".join(f"{byte:02x}" for byte in ipaddress.IPv4Address(address4).packed)


def link_addresses(index: int) -> tuple[str, str]:
    """Node's and tenant's end of the gateway link with this number, both /30."""
    first = link_range4[4 * index]
    return str(first + 1), str(first + 2)
