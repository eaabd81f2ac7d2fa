"""What a node has promised for a network before it runs.

Private key, UDP port, link number, forwarded ports.

One record per network in a store, written whole before anything is told to others, so that all of
it is the same after any restart. The lowest free number is taken, and all numbers in use are
those in the store.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from tfgrid.capacity.znet.model import (
    Forward,
    Port,
    Prepared,
    link_addresses,
    tunnel_name,
)
from tfgrid.core import canonical, errors, limits
from tfgrid.core.rng import Rng
from tfgrid.core.schema import Base64, Value
from tfgrid.core.store import Store
from tfgrid.jumpscale.sal import wireguard

__all__ = ["Reservation", "Reservations"]

_FOLDER: Final = "networks/"
_LINK_PORT_MIN: Final = 20_000
_LINK_PORT_MAX: Final = 60_000


class Reservation(Value, frozen=True, kw_only=True):
    """The record of one network.

    `forwards` maps `address:port` of a member to a port of the link.
    """

    private_key: Annotated[Base64, Meta(min_length=43, max_length=43)]
    port: Port
    link: Annotated[int, Meta(ge=0, lt=limits.networks_per_node_max)]
    forwards: dict[str, Port] = msgspec.field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Reservation(port={self.port}, link={self.link}, forwards={self.forwards})"

    @property
    def secret(self) -> bytes:
        """The 32 bytes of the private key."""
        return canonical.bytes_from(self.private_key)

    @property
    def prepared(self) -> Prepared:
        """What others may know."""
        public = canonical.text_from(wireguard.public_key(self.secret))
        return Prepared(public_key=public, port=self.port)

    def forwarded(self) -> tuple[Forward, ...]:
        """All forwards, by link port."""
        tenant_end = link_addresses(self.link)[1]
        found = []
        for target, link_port in sorted(self.forwards.items(), key=lambda each: each[1]):
            address, _, port = target.rpartition(":")
            found.append(
                Forward(
                    link_address=tenant_end, link_port=link_port, address=address, port=int(port)
                )
            )
        return tuple(found)


class Reservations:
    """All records of a node."""

    def __init__(self, store: Store, rng: Rng, *, port_min: int) -> None:
        self._store = store
        self._rng = rng
        self._port_min = port_min

    def networks(self) -> list[str]:
        """The ids of all networks with a record."""
        return [name.removeprefix(_FOLDER) for name in self._store.names(_FOLDER)]

    def get(self, network: str) -> Reservation | None:
        """The record of a network, or None.

        Raises:
            errors.Failed: TFG-3406, the record is damaged; the key cannot be recovered.

        """
        data = self._store.read(_FOLDER + network)
        if data is None:
            return None
        try:
            return msgspec.json.decode(data, type=Reservation)
        except msgspec.DecodeError as error:
            raise errors.Failed(
                "TFG-3406", "the record of a network's key and port is damaged", where=network,
                hint="cancel the contract; it can be deployed again with a new key",
            ) from error  # fmt: skip

    def reserve(self, network: str) -> Reservation:
        """The record of a network, made if there is none.

        Refuses with TFG-3401 when all numbers are taken, and with TFG-3407 when another network
        has the digits that go into the names of links.
        """
        there = self.get(network)
        if there:
            return there
        self._check_names(network)
        taken = [other for each in self.networks() if (other := self.get(each))]
        made = Reservation(
            private_key=canonical.text_from(_clamped(self._rng.token(32))),
            port=_lowest(self._port_min, limits.networks_per_node_max, {r.port for r in taken}),
            link=_lowest(0, limits.networks_per_node_max, {r.link for r in taken}),
        )
        self._write(network, made)
        return made

    def _check_names(self, network: str) -> None:
        """Links have room for 48 bits of an id, which somebody patient can make meet another's."""
        name = tunnel_name(network)
        if any(tunnel_name(other) == name for other in self.networks() if other != network):
            raise errors.Conflict(
                "TFG-3407", "another network of this node has the same first digits",
                where=network, hint="order again; its salt makes it another",
            )  # fmt: skip

    def forward(self, network: str, record: Reservation, target: str) -> Reservation:
        """The record with a link port for `target` (`address:port`)."""
        if target in record.forwards:
            return record
        count = _LINK_PORT_MAX - _LINK_PORT_MIN
        port = _lowest(_LINK_PORT_MIN, count, set(record.forwards.values()))
        changed = msgspec.structs.replace(record, forwards=record.forwards | {target: port})
        self._write(network, changed)
        return changed

    def unforward(self, network: str, record: Reservation, target: str) -> Reservation:
        """The record without `target`."""
        rest = {each: port for each, port in record.forwards.items() if each != target}
        changed = msgspec.structs.replace(record, forwards=rest)
        if rest != record.forwards:
            self._write(network, changed)
        return changed

    def release(self, network: str) -> None:
        """Forget a network; its key is gone for good."""
        self._store.remove(_FOLDER + network)

    def _write(self, network: str, record: Reservation) -> None:
        self._store.write(_FOLDER + network, msgspec.json.encode(record))


def _clamped(token: bytes) -> bytes:
    """A private key as X25519 wants it (RFC 7748 section 5)."""
    head, tail = token[0] & 248, (token[31] & 127) | 64
    return bytes([head]) + token[1:31] + bytes([tail])


def _lowest(first: int, count: int, taken: set[int]) -> int:
    for number in range(first, first + count):
        if number not in taken:
            return number
    raise errors.NoFit("TFG-3401", f"all {count} numbers from {first} up are taken on this node")
