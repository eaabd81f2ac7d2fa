"""Network links, addresses, routes, neighbours and network settings, in any pinned namespace.

Changes go straight to the kernel by netlink; what they render is `ip` and `bridge` (iproute2),
entered by `nsenter`. What is there is read by `topology`. A `netns` of None is the caller's own.
Changes refuse with TFG-3601; the number of the kernel's refusal is in `details["errno"]`.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from tfgrid.core import errors
from tfgrid.jumpscale.sal import namespaces, netlink
from tfgrid.jumpscale.sal.change import Argv, Change
from tfgrid.jumpscale.sal.netlink import attribute, nested

__all__ = [
    "AddressAdd",
    "AddressRemove",
    "InNamespace",
    "LinkAdd",
    "LinkMove",
    "LinkRemove",
    "LinkSet",
    "NeighbourAdd",
    "RouteAdd",
    "RouteRemove",
    "Setting",
    "VethAdd",
    "entering",
]

_NEWLINK, _DELLINK, _NEWADDR, _DELADDR = 16, 17, 20, 21
_NEWROUTE, _DELROUTE, _NEWNEIGH = 24, 25, 28
_INFO: Final = struct.Struct("=BxHiII")
_ADDRESS: Final = struct.Struct("=BBBBi")
_ROUTE: Final = struct.Struct("=BBBBBBBBI")
_NEIGHBOUR: Final = struct.Struct("=BxxxiHBB")
_IFA_FLAG_NODAD: Final = 0x02
_NUD_PERMANENT: Final = 0x80
_UP: Final = 1
_MAIN_TABLE, _STATIC_PROTOCOL, _UNICAST = 254, 4, 1
_SCOPE_UNIVERSE, _SCOPE_LINK = 0, 253
_ON_LINK: Final = 4


def entering(netns: Path | None, *words: str) -> Argv:
    """A command line that runs in a namespace."""
    return (*(("nsenter", f"--net={netns}") if netns else ()), *words)


def _u32(value: int) -> bytes:
    return struct.pack("=I", value)


def _mac(value: str) -> bytes:
    return bytes.fromhex(value.replace(":", ""))


def _family(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> int:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


def _index(name: str) -> int:
    """The index of a link in the calling thread's namespace."""
    try:
        return socket.if_nametoindex(name)
    except OSError as error:
        raise OSError(19, os.strerror(19)) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class InNamespace(Change):
    """A change inside one network namespace."""

    netns: Path | None = None

    def perform(self) -> None:
        """See `Change.perform`; refuses with TFG-3601."""
        try:
            if self.netns is None:
                self._perform()
            else:
                with namespaces.inside(self.netns):
                    self._perform()
        except OSError as error:
            raise errors.Failed(
                "TFG-3601", f"the kernel refused {self}: {error.strerror}",
                where=str(self.netns or ""), errno=error.errno or 0,
            ) from error  # fmt: skip

    @abstractmethod
    def _perform(self) -> None:
        """The change, in the calling thread's namespace."""

    def _request(self, kind: int, body: bytes, flags: int = 0) -> None:
        with netlink.open_in(None) as opened:
            opened.change(kind, body, flags)

    def _ip(self, *words: str) -> Argv:
        return entering(self.netns, "ip", *words)


_ADD: Final = netlink.flag_create | netlink.flag_exclusive
_PUT: Final = netlink.flag_create | netlink.flag_replace


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkAdd(InNamespace):
    """Make a bridge or a WireGuard link, down; `mac` is empty for a random one (or none)."""

    name: str
    kind: Literal["bridge", "wireguard"]
    mac: str = ""

    def _perform(self) -> None:
        body = _INFO.pack(0, 0, 0, 0, 0) + netlink.text(3, self.name)
        if self.mac:
            body += attribute(1, _mac(self.mac))
        body += nested(18, netlink.text(1, self.kind))
        self._request(_NEWLINK, body, _ADD)

    def argv(self) -> tuple[Argv, ...]:
        """See `Change.argv`."""
        mac = ("address", self.mac) if self.mac else ()
        return (self._ip("link", "add", "name", self.name, *mac, "type", self.kind),)


@dataclass(frozen=True, slots=True, kw_only=True)
class VethAdd(InNamespace):
    """Make a pair of links, one end here and the other in `peer_netns` at once, both down."""

    name: str
    peer: str
    peer_netns: Path
    mac: str
    peer_mac: str
    mtu_bytes: int

    def perform(self) -> None:
        """See `Change.perform`; the peer's namespace is opened before ours is entered."""
        try:
            descriptor = os.open(self.peer_netns, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise errors.Failed(
                "TFG-3601", f"the kernel refused {self}: {error.strerror}",
                where=str(self.peer_netns), errno=error.errno or 0,
            ) from error  # fmt: skip
        try:
            _VethPair(change=self, descriptor=descriptor, netns=self.netns).perform()
        finally:
            os.close(descriptor)

    def _perform(self) -> None:
        raise AssertionError("perform opens the peer's namespace first")

    def argv(self) -> tuple[Argv, ...]:
        """See `Change.argv`."""
        mtu = ("mtu", str(self.mtu_bytes))
        peer = ("peer", "name", self.peer, "address", self.peer_mac, *mtu)
        here = ("link", "add", "name", self.name, "address", self.mac, *mtu)
        return (self._ip(*here, "type", "veth", *peer, "netns", str(self.peer_netns)),)


@dataclass(frozen=True, slots=True, kw_only=True)
class _VethPair(InNamespace):
    """A `VethAdd` whose peer's namespace is open."""

    change: VethAdd
    descriptor: int

    def _perform(self) -> None:
        head = _INFO.pack(0, 0, 0, 0, 0)
        mtu = attribute(4, _u32(self.change.mtu_bytes))
        peer = head + netlink.text(3, self.change.peer) + mtu
        peer += attribute(1, _mac(self.change.peer_mac)) + attribute(28, _u32(self.descriptor))
        body = head + netlink.text(3, self.change.name) + mtu
        body += attribute(1, _mac(self.change.mac))
        body += nested(18, netlink.text(1, "veth"), nested(2, nested(1, peer)))
        self._request(_NEWLINK, body, _ADD)

    def argv(self) -> tuple[Argv, ...]:
        """See `Change.argv`."""
        return self.change.argv()


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSet(InNamespace):
    """Change properties of a link; None leaves one as it is.

    `isolated` is for a port of a bridge: it then talks to the bridge itself and to no other
    isolated port. `link_local` False keeps the kernel from giving the link an IPv6 address of its
    own. Going up comes last: a link that is up already has what it should not get any more.
    """

    name: str
    up: bool | None = None
    mtu_bytes: int | None = None
    master: str | None = None
    isolated: bool | None = None
    link_local: bool | None = None

    def _perform(self) -> None:
        index = _index(self.name)
        rest = b""
        if self.mtu_bytes is not None:
            rest += attribute(4, _u32(self.mtu_bytes))
        if self.link_local is not None:
            mode = attribute(8, b"\0" if self.link_local else b"\1")
            rest += nested(26, nested(socket.AF_INET6, mode))
        if self.master is not None:
            rest += attribute(10, _u32(_index(self.master)))
        if rest:
            self._request(_NEWLINK, _INFO.pack(0, 0, index, 0, 0) + rest)
        if self.isolated is not None:
            port = nested(5, attribute(33, bytes([self.isolated])))
            slave = nested(18, netlink.text(4, "bridge"), port)
            self._request(_NEWLINK, _INFO.pack(0, 0, index, 0, 0) + slave)
        if self.up is not None:
            self._request(_NEWLINK, _INFO.pack(0, 0, index, _UP if self.up else 0, _UP))

    def argv(self) -> tuple[Argv, ...]:
        """See `Change.argv`."""
        words: list[str] = []
        if self.mtu_bytes is not None:
            words += ["mtu", str(self.mtu_bytes)]
        if self.link_local is not None:
            words += ["addrgenmode", "eui64" if self.link_local else "none"]
        if self.master is not None:
            words += ["master", self.master]
        lines = [self._ip("link", "set", "dev", self.name, *words)] if words else []
        if self.isolated is not None:
            state = "on" if self.isolated else "off"
            words = ["bridge", "link", "set", "dev", self.name, "isolated", state]
            lines.append(entering(self.netns, *words))
        if self.up is not None:
            lines.append(self._ip("link", "set", "dev", self.name, "up" if self.up else "down"))
        return tuple(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkMove(InNamespace):
    """Move a link to another namespace; it arrives down and without addresses."""

    name: str
    to: Path

    def _perform(self) -> None:
        descriptor = os.open(self.to, os.O_RDONLY | os.O_CLOEXEC)
        try:
            body = _INFO.pack(0, 0, _index(self.name), 0, 0) + attribute(28, _u32(descriptor))
            self._request(_NEWLINK, body)
        finally:
            os.close(descriptor)

    def argv(self) -> tuple[Argv, ...]:
        """See `Change.argv`."""
        return (self._ip("link", "set", "dev", self.name, "netns", str(self.to)),)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkRemove(InNamespace):
    """Remove a link, and with one end of a pair the other."""

    name: str

    def _perform(self) -> None:
        self._request(_DELLINK, _INFO.pack(0, 0, _index(self.name), 0, 0))

    def argv(self) -> tuple[Argv, ...]:
        """See `Change.argv`."""
        return (self._ip("link", "delete", "dev", self.name),)


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressAdd(InNamespace):
    """Give a link an address with its prefix length; no duplicate detection, the planner knows."""

    link: str
    address: str

    def _body(self) -> bytes:
        interface = ipaddress.ip_interface(self.address)
        flags = _IFA_FLAG_NODAD if interface.version == 6 else 0
        head = _ADDRESS.pack(
            _family(interface.ip), interface.network.prefixlen, flags, 0, _index(self.link)
        )
        return head + attribute(2, interface.ip.packed) + attribute(1, interface.ip.packed)

    def _perform(self) -> None:
        self._request(_NEWADDR, self._body(), _ADD)

    def argv(self) -> tuple[Argv, ...]:
        """See `Change.argv`."""
        nodad = ("nodad",) if ":" in self.address else ()
        return (self._ip("address", "add", self.address, "dev", self.link, *nodad),)


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressRemove(AddressAdd):
    """Take an address away from a link."""

    def _perform(self) -> None:
        self._request(_DELADDR, self._body())

    def argv(self) -> tuple[Argv, ...]:
        """See `Change.argv`."""
        return (self._ip("address", "delete", self.address, "dev", self.link),)


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteAdd(InNamespace):
    """Send a range (`0.0.0.0/0` for all) to a link, by way of `via` if not empty.

    `via` is taken to be on the link.
    """

    destination: str
    link: str
    via: str = ""

    def _body(self) -> bytes:
        network = ipaddress.ip_network(self.destination)
        scope = _SCOPE_UNIVERSE if self.via or network.version == 6 else _SCOPE_LINK
        family = _family(network.network_address)
        kind = (_MAIN_TABLE, _STATIC_PROTOCOL, scope, _UNICAST, _ON_LINK if self.via else 0)
        body = _ROUTE.pack(family, network.prefixlen, 0, 0, *kind)
        if network.prefixlen:
            body += attribute(1, network.network_address.packed)
        if self.via:
            body += attribute(5, ipaddress.ip_address(self.via).packed)
        return body + attribute(4, _u32(_index(self.link)))

    def _perform(self) -> None:
        self._request(_NEWROUTE, self._body(), _ADD)

    def _words(self) -> tuple[str, ...]:
        via = ("via", self.via) if self.via else ()
        onlink = ("onlink",) if self.via else ()
        return (self.destination, *via, "dev", self.link, "proto", "static", *onlink)

    def argv(self) -> tuple[Argv, ...]:
        """See `Change.argv`."""
        return (self._ip("route", "add", *self._words()),)


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteRemove(RouteAdd):
    """Send a range to a link no more."""

    def _perform(self) -> None:
        self._request(_DELROUTE, self._body())

    def argv(self) -> tuple[Argv, ...]:
        """See `Change.argv`."""
        return (self._ip("route", "delete", *self._words()),)


@dataclass(frozen=True, slots=True, kw_only=True)
class NeighbourAdd(InNamespace):
    """Say for good which MAC address an address on a link has.

    Nobody is asked or believed.
    """

    link: str
    address: str
    mac: str

    def _perform(self) -> None:
        address = ipaddress.ip_address(self.address)
        head = _NEIGHBOUR.pack(_family(address), _index(self.link), _NUD_PERMANENT, 0, 0)
        body = head + attribute(1, address.packed) + attribute(2, _mac(self.mac))
        self._request(_NEWNEIGH, body, _PUT)

    def argv(self) -> tuple[Argv, ...]:
        """See `Change.argv`."""
        words = (self.address, "lladdr", self.mac, "dev", self.link, "nud", "permanent")
        return (self._ip("neighbour", "replace", *words),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting(InNamespace):
    """A kernel setting of the namespace, such as `net.ipv4.ip_forward`.

    A dot inside a name is a `/`.
    """

    key: str
    value: str

    @property
    def path(self) -> Path:
        """Where the setting is, for a thread inside the namespace."""
        return Path("/proc/sys") / self.key.replace(".", "/")

    def _perform(self) -> None:
        self.path.write_text(self.value + "\n", "ascii")

    def argv(self) -> tuple[Argv, ...]:
        """See `Change.argv`."""
        return (entering(self.netns, "sysctl", "-q", "-w", f"{self.key}={self.value}"),)
