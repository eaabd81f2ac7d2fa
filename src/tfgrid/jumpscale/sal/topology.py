"""What links, addresses, routes and neighbours a network namespace has: four dumps, one value."""

from __future__ import annotations

import ipaddress
import socket
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tfgrid.core import errors
from tfgrid.jumpscale.sal import netlink
from tfgrid.jumpscale.sal.netlink import attributes

__all__ = ["Address", "Link", "Neighbour", "Route", "Topology", "read"]

_GETLINK, _GETADDR, _GETROUTE, _GETNEIGH = 18, 22, 26, 30
_INFO: Final = struct.Struct("=BxHiII")
_ADDRESS: Final = struct.Struct("=BBBBi")
_ROUTE: Final = struct.Struct("=BBBBBBBBI")
_NEIGHBOUR: Final = struct.Struct("=BxxxiHBB")
_NUD_PERMANENT: Final = 0x80
_MAIN_TABLE, _STATIC_PROTOCOL = 254, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A link; `kind` is empty for a physical one, `master` for one that is nobody's port.

    `up` is what was asked for; `carries` says that packets can pass, for links that can tell (RFC
    2863 operStatus).
    """

    index: int
    name: str
    kind: str
    mac: str
    mtu_bytes: int
    up: bool
    carries: bool
    master: str
    isolated: bool
    link_local: bool


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """An address with its prefix length, on a link."""

    link: str
    address: str


@dataclass(frozen=True, slots=True, order=True)
class Route:
    """A route of the main table that an administrator or program made.

    The kernel's own are not listed.
    """

    destination: str
    link: str
    via: str


@dataclass(frozen=True, slots=True, order=True)
class Neighbour:
    """An address on a link whose MAC address is set for good."""

    link: str
    address: str
    mac: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """One namespace, as it was when it was read."""

    links: dict[str, Link]
    addresses: frozenset[Address]
    routes: frozenset[Route]
    neighbours: frozenset[Neighbour]


def read(netns: Path | None = None) -> Topology:
    """Read a namespace.

    Raises:
        errors.Failed: TFG-3602, it cannot be read.

    """
    try:
        with netlink.open_in(netns) as opened:
            links = _links(opened)
            names = {link.index: link.name for link in links}
            return Topology(
                links={link.name: link for link in links},
                addresses=_addresses(opened, names),
                routes=_routes(opened, names),
                neighbours=_neighbours(opened, names),
            )
    except OSError as error:
        raise errors.Failed(
            "TFG-3602", f"cannot read the links of a namespace: {error.strerror}",
            where=str(netns or ""), errno=error.errno or 0,
        ) from error  # fmt: skip


def _links(opened: netlink.Socket) -> list[Link]:
    answers = opened.read(_GETLINK, _INFO.pack(0, 0, 0, 0, 0))
    parsed = [(_INFO.unpack_from(answer), attributes(answer[_INFO.size :])) for answer in answers]
    names = {head[2]: _text(found.get(3, b"")) for head, found in parsed}
    return [_link(head[2], head[3], found, names) for head, found in parsed]


def _link(index: int, flags: int, found: dict[int, bytes], names: dict[int, str]) -> Link:
    info = attributes(found.get(18, b""))
    port = attributes(info.get(5, b""))
    family = attributes(attributes(found.get(26, b"")).get(socket.AF_INET6, b""))
    return Link(
        index=index,
        name=names[index],
        kind=_text(info.get(1, b"")),
        mac=found.get(1, b"").hex(":"),
        mtu_bytes=_number(found.get(4)),
        up=bool(flags & 1),
        carries=found.get(16, b"\0")[:1] == b"\6",
        master=names.get(_number(found.get(10)), ""),
        isolated=port.get(33, b"\0")[:1] == b"\1",
        link_local=family.get(8, b"\0")[:1] == b"\0",
    )


def _addresses(opened: netlink.Socket, names: dict[int, str]) -> frozenset[Address]:
    seen = set()
    for answer in opened.read(_GETADDR, _ADDRESS.pack(0, 0, 0, 0, 0)):
        _, prefix, _, _, index = _ADDRESS.unpack_from(answer)
        found = attributes(answer[_ADDRESS.size :])
        address = _address(found.get(2) or found.get(1, b""))
        seen.add(Address(names.get(index, ""), f"{address}/{prefix}"))
    return frozenset(seen)


def _routes(opened: netlink.Socket, names: dict[int, str]) -> frozenset[Route]:
    seen = set()
    for answer in opened.read(_GETROUTE, _ROUTE.pack(*([0] * 9))):
        family, prefix, _, _, table, protocol, *_ = _ROUTE.unpack_from(answer)
        if table != _MAIN_TABLE or protocol != _STATIC_PROTOCOL:
            continue
        found = attributes(answer[_ROUTE.size :])
        any_address = bytes(4 if family == socket.AF_INET else 16)
        destination = f"{_address(found.get(1, any_address))}/{prefix}"
        via = _address(found[5]) if 5 in found else ""
        seen.add(Route(destination, names.get(_number(found.get(4)), ""), via))
    return frozenset(seen)


def _neighbours(opened: netlink.Socket, names: dict[int, str]) -> frozenset[Neighbour]:
    seen = set()
    for answer in opened.read(_GETNEIGH, _NEIGHBOUR.pack(0, 0, 0, 0, 0)):
        _, index, state, _, _ = _NEIGHBOUR.unpack_from(answer)
        found = attributes(answer[_NEIGHBOUR.size :])
        if state & _NUD_PERMANENT and 2 in found and len(found.get(1, b"")) in (4, 16):
            address, mac = _address(found[1]), found[2].hex(":")
            seen.add(Neighbour(names.get(index, ""), address, mac))
    return frozenset(seen)


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode("ascii", "replace")


def _number(data: bytes | None) -> int:
    return int(struct.unpack_from("=I", data)[0]) if data else 0


def _address(packed: bytes) -> str:
    return str(ipaddress.ip_address(packed))
