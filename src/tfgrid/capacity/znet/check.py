"""What a specification must hold before anything is touched."""

from __future__ import annotations

import ipaddress
from typing import TypeAlias

from tfgrid.capacity.znet.model import Member, NetworkSpec, Service
from tfgrid.core import errors

__all__ = ["check"]

_Net: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


def check(spec: NetworkSpec) -> None:
    """Hold that every address and range is written in its one form and lies where it belongs.

    Raises:
        errors.BadInput: TFG-3402, with the address that does not.

    """
    try:
        whole = {4: ipaddress.ip_network(spec.range4), 6: ipaddress.ip_network(spec.range6)}
        parts = {4: ipaddress.ip_network(spec.subnet4), 6: ipaddress.ip_network(spec.subnet6)}
    except ValueError as error:
        raise _contradiction(spec, str(error)) from error
    for version, part in parts.items():
        if part.version != version or not _within(part, whole[version]):
            raise _contradiction(spec, f"{part} is not within {whole[version]}")
    taken = {spec.bridge4, spec.bridge6}
    inhabitants: tuple[Member | Service, ...] = (*spec.members, *spec.services)
    for member in inhabitants:
        for version, text in ((4, member.address4), (6, member.address6)):
            if text in taken or not _address_in(text, parts[version]):
                raise _contradiction(spec, f"{text} of {member.name} is not free in its subnet")
            taken.add(text)
    for peer in spec.peers:
        for text in peer.allowed:
            if not _foreign(text, whole, parts):
                raise _contradiction(spec, f"{text} of a peer is ours, or outside the network")


def _within(inner: _Net, outer: _Net) -> bool:
    return (
        inner.version == outer.version
        and inner.prefixlen >= outer.prefixlen
        and inner.network_address in outer
    )


def _address_in(text: str, subnet: _Net) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return str(address) == text and address in subnet and address != subnet.network_address


def _foreign(text: str, whole: dict[int, _Net], parts: dict[int, _Net]) -> bool:
    try:
        allowed = ipaddress.ip_network(text)
    except ValueError:
        return False
    own = parts[allowed.version]
    meets = _within(allowed, own) or _within(own, allowed)
    return str(allowed) == text and _within(allowed, whole[allowed.version]) and not meets


def _contradiction(spec: NetworkSpec, what: str) -> errors.BadInput:
    return errors.BadInput("TFG-3402", f"the network cannot be as specified: {what}", where=spec.id)
