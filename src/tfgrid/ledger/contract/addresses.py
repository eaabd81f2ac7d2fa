"""Ranges, subnets and addresses of a contract's networks, from its salt, and what holds of them.

Each network has an IPv4 range (a /18 of 10.0.0.0/8) and an IPv6 range (a /48 of fd00::/8, RFC
4193), both drawn by hash from the contract's salt and the network's name. Node number n of a
network has the n-th /24 and the n-th /64. The first address of a subnet is the node's own end, the
gateway; members follow.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network
from itertools import combinations
from typing import Final

from tfgrid.core import errors, limits
from tfgrid.core.ids import NodeId
from tfgrid.ledger.contract.model import Member, NetworkPlace, Proposal

__all__ = ["check_networks", "place", "ranges"]

_PRIVATE4: Final = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))
_PRIVATE6: Final = IPv6Network("fd00::/8")
_RANGE4_BITS: Final = 18
_RANGE6_BITS: Final = 48
_SUBNET6_BITS: Final = 64


def ranges(
    salt: str, network: str, taken: Sequence[IPv4Network]
) -> tuple[IPv4Network, IPv6Network]:
    """The ranges of one network; the next draw where the IPv4 range meets one that is taken."""
    for draw in range(limits.workloads_max * 16):
        seed = hashlib.sha256(f"{salt}/{network}/{draw}".encode()).digest()
        block = int.from_bytes(seed[:2]) % 2 ** (_RANGE4_BITS - 8)
        range4 = IPv4Network(((10 << 24) + (block << (32 - _RANGE4_BITS)), _RANGE4_BITS))
        range6 = IPv6Network((b"\xfd" + seed[2:7] + bytes(10), _RANGE6_BITS))
        if not any(range4.overlaps(other) for other in taken):
            return range4, range6
    raise AssertionError("1024 ranges hold 64 networks")


def place(
    network: str,
    node: NodeId,
    index: int,
    members: Sequence[str],
    within: tuple[IPv4Network, IPv6Network],
) -> NetworkPlace:
    """One node's part of a network, with an address for each member."""
    range4, range6 = within
    step4, step6 = 2 ** (32 - limits.subnet_prefix_bits), 2 ** (128 - _SUBNET6_BITS)
    first4 = range4.network_address + index * step4
    first6 = range6.network_address + index * step6
    return NetworkPlace(
        network=network, node=node, index=index,
        range4=str(range4), range6=str(range6),
        subnet4=f"{first4}/{limits.subnet_prefix_bits}", subnet6=f"{first6}/{_SUBNET6_BITS}",
        members=tuple(
            Member(workload=name, address4=str(first4 + offset), address6=str(first6 + offset))
            for offset, name in enumerate(members, start=2)
        ),
    )  # fmt: skip


def check_networks(proposal: Proposal, joined: Mapping[tuple[str, NodeId], list[str]]) -> None:
    """Hold that every node that must meet has its part of a network, and that addresses are sound.

    Raises:
        errors.BadInput: TFG-2366 parts and nodes differ, TFG-2367 ranges or subnets do not fit each
            other, TFG-2368 members or their addresses are wrong, TFG-2377 a range is not private.

    """
    places = proposal.placement.networks
    if sorted((p.network, p.node) for p in places) != sorted(joined):
        raise errors.BadInput(
            "TFG-2366",
            "each node that joins a network has exactly one part of it",
            where="networks",
        )
    by_network: dict[str, list[NetworkPlace]] = {}
    for part in places:
        by_network.setdefault(part.network, []).append(part)
    for parts in by_network.values():
        _check_parts(parts)
        for part in parts:
            _check_members(part, joined[part.network, part.node])
    for one, other in combinations(by_network.values(), 2):
        for first, second in ((one[0].range4, other[0].range4), (one[0].range6, other[0].range6)):
            if _parse(first).overlaps(_parse(second)):
                raise _bad(f"{one[0].network} and {other[0].network} overlap", first)


def _check_parts(parts: Sequence[NetworkPlace]) -> None:
    """Hold that the parts of one network share its ranges and split them without overlap."""
    first = parts[0]
    range4, range6 = _parse(first.range4), _parse(first.range6)
    families = isinstance(range4, IPv4Network) and isinstance(range6, IPv6Network)
    if not families or not _is_private(range4) or not _is_private(range6):
        raise errors.BadInput(
            "TFG-2377", "a contract's network has a private IPv4 and a private IPv6 range",
            where=first.network,
        )  # fmt: skip
    for values in (
        [p.index for p in parts],
        [p.subnet4 for p in parts],
        [p.subnet6 for p in parts],
    ):
        if len(set(values)) != len(values):
            raise _bad("two nodes have the same index or subnet", first.network)
    for part in parts:
        if (part.range4, part.range6) != (first.range4, first.range6):
            raise _bad("the parts of a network name different ranges", part.network)
        subnet4, subnet6 = _parse(part.subnet4), _parse(part.subnet6)
        lengths = (subnet4.prefixlen, subnet6.prefixlen)
        inside = _is_inside(subnet4, range4) and _is_inside(subnet6, range6)
        if lengths != (limits.subnet_prefix_bits, _SUBNET6_BITS) or not inside:
            raise _bad("a subnet is not a /24 or /64 inside the range", part.subnet4)


def _is_inside(subnet: IPv4Network | IPv6Network, around: IPv4Network | IPv6Network) -> bool:
    if isinstance(subnet, IPv4Network) and isinstance(around, IPv4Network):
        return subnet.subnet_of(around)
    if isinstance(subnet, IPv6Network) and isinstance(around, IPv6Network):
        return subnet.subnet_of(around)
    return False


def _is_private(network: IPv4Network | IPv6Network) -> bool:
    if isinstance(network, IPv6Network):
        return network.subnet_of(_PRIVATE6)
    return any(network.subnet_of(private) for private in _PRIVATE4)


def _check_members(part: NetworkPlace, names: Sequence[str]) -> None:
    if sorted(member.workload for member in part.members) != sorted(names):
        raise errors.BadInput(
            "TFG-2368", "the members are not the workloads that are placed there",
            where=part.network,
        )  # fmt: skip
    for subnet, texts in (
        (_parse(part.subnet4), [member.address4 for member in part.members]),
        (_parse(part.subnet6), [member.address6 for member in part.members]),
    ):
        reserved = {subnet.network_address, subnet.network_address + 1, subnet.broadcast_address}
        for text in texts:
            try:
                address = ipaddress.ip_address(text)
            except ValueError as fault:
                raise _member("not an address", text) from fault
            if str(address) != text or address not in subnet or address in reserved:
                raise _member("an address is not a member's in this subnet", text)
        if len(set(texts)) != len(texts):
            raise _member("two members have the same address", part.network)


def _member(what: str, where: str) -> errors.BadInput:
    return errors.BadInput("TFG-2368", what, where=where)


def _bad(what: str, where: str) -> errors.BadInput:
    return errors.BadInput("TFG-2367", what, where=where)


def _parse(text: str) -> IPv4Network | IPv6Network:
    try:
        network = ipaddress.ip_network(text)
    except ValueError as fault:
        raise _bad("not a range of addresses", text) from fault
    if str(network) != text:
        raise _bad("a range is not in its shortest form", text)
    return network
