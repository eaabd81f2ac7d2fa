"""The bodies of farm and node records, and what is read from them.

Prices are integers in ten-millionths of a TFT per unit and day: one core, one GiB of memory, one
GiB of SSD or HDD. What a workload costs is rounded up once per dimension, so that two planners
agree to the last digit.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias

from msgspec import Meta

from tfgrid.core import canonical, ids
from tfgrid.core.ids import Digest
from tfgrid.core.schema import Count, Moment, Name, Value
from tfgrid.core.units import Capacity, Money

__all__ = [
    "FarmCreate",
    "FarmInfo",
    "ImageSource",
    "Inventory",
    "NodeAdmit",
    "NodeInfo",
    "NodeInventory",
    "NodeRegister",
    "Offer",
    "Payment",
    "Prices",
    "Reservation",
    "Role",
    "TrustClass",
    "image_sources_max",
    "registration_digest",
]

TrustClass: TypeAlias = Literal["simulated", "hosted", "booted"]
"""simulated: in a test; hosted: on somebody's Linux, whose root can look; booted: measured."""

Role: TypeAlias = Literal["compute", "gateway"]
"""What a node does: run containers, answer for host names."""

Payment: TypeAlias = Literal["none", "tft"]
"""How a contract is paid; `none` only where the farm's offer says so."""

Country = Annotated[str, Meta(pattern=r"\A[A-Z]{2}\Z")]
"""ISO 3166-1 alpha-2, upper case."""

Address = Annotated[str, Meta(pattern=r"\A[0-9a-f.:]+\Z", max_length=45)]
Domain = Annotated[
    str,
    Meta(
        pattern=r"\A[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+\Z",
        max_length=253,
    ),
]
Url = Annotated[str, Meta(pattern=r"\Ahttps?://[A-Za-z0-9.:\[\]_-]+(/[A-Za-z0-9._~/-]*)?\Z",
                          max_length=512)]  # fmt: skip
Price = Annotated[int, Meta(ge=0, le=10**12)]

image_sources_max: Final = 16
"""Chunk servers that one identity may announce at a time."""

_GIB: Final = 1024**3


class Prices(Value, frozen=True):
    """Ten-millionths of a TFT per day for one core, and for one GiB of memory, SSD and HDD."""

    cru: Price = 0
    mru: Price = 0
    sru: Price = 0
    hru: Price = 0

    def of(self, asked: Capacity) -> Money:
        """What `asked` costs per day, each dimension rounded up to the smallest unit."""
        parts = (
            (asked.cpu_millis * self.cru, 1000),
            (asked.memory_bytes * self.mru, _GIB),
            (asked.ssd_bytes * self.sru, _GIB),
            (asked.hdd_bytes * self.hru, _GIB),
        )
        return Money(amount=str(sum(-(-amount // unit) for amount, unit in parts)))


class FarmCreate(Value, frozen=True, tag="farm.create", tag_field="type"):
    """The body of `farm.create`, by the farmer, whose identity becomes the farm's id."""

    name: Name


class Offer(Value, frozen=True, tag="farm.offer", tag_field="type"):
    """The body of `farm.offer`, by the farmer; the latest one counts for new contracts."""

    country: Country
    prices: Prices
    payments: Annotated[tuple[Payment, ...], Meta(min_length=1, max_length=2)]


class NodeRegister(Value, frozen=True, tag="node.register", tag_field="type"):
    """The body of `node.register`, by the node. `endpoint` is its underlay address, without a port.

    A later registration replaces this one and has to be admitted anew, unless only `endpoint`
    differs.
    """

    farm: ids.Farm
    endpoint: Address
    trust: TrustClass
    roles: Annotated[tuple[Role, ...], Meta(min_length=1, max_length=2)]
    domains: Annotated[tuple[Domain, ...], Meta(max_length=16)] = ()


class NodeAdmit(Value, frozen=True, tag="node.admit", tag_field="type"):
    """The body of `node.admit`, by the farmer: this node, as registered now, is mine.

    `registration` is `NodeInfo.registration`; with `admitted` false the node gets no new work.
    """

    node: ids.Node
    registration: ids.Digested
    admitted: bool = True


class NodeInventory(Value, frozen=True, tag="node.inventory", tag_field="type"):
    """The body of `node.inventory`, by the node: what it has, what it keeps for itself."""

    total: Capacity
    reserve: Capacity


class ImageSource(Value, frozen=True, tag="image.source", tag_field="type"):
    """The body of `image.source`: a chunk server, by any identity for itself.

    A node asks only the sources of its farm and of an image's signer; every chunk is checked by its
    digest.
    """

    url: Url
    active: bool = True


class Reservation(Value, frozen=True):
    """Capacity that a contract holds on a node until a moment of order time."""

    capacity: Capacity
    until: Moment


class FarmInfo(Value, frozen=True):
    """A farm as of now. Without an offer (`country` empty) nothing can be placed in it."""

    farm: ids.Farm
    name: Name
    country: str
    prices: Prices
    payments: tuple[Payment, ...]


class NodeInfo(Value, frozen=True):
    """A node as of now: what it says, what its farm offers, what contracts hold."""

    node: ids.Node
    name: Name
    farm: ids.Farm
    farm_name: Name
    country: str
    prices: Prices
    payments: tuple[Payment, ...]
    trust: TrustClass
    roles: tuple[Role, ...]
    endpoint: Address
    domains: tuple[str, ...]
    registration: ids.Digested
    admitted: bool
    total: Capacity
    reserve: Capacity
    reserved: Capacity

    @property
    def capacity(self) -> Capacity:
        """What contracts may hold in all: the total without the node's own reserve."""
        return self.total.minus(self.reserve)

    @property
    def free(self) -> Capacity:
        """What no contract holds; written out because planners ask it of every node."""
        total, reserve, held = self.total, self.reserve, self.reserved
        return Capacity(
            cpu_millis=max(0, total.cpu_millis - reserve.cpu_millis - held.cpu_millis),
            memory_bytes=max(0, total.memory_bytes - reserve.memory_bytes - held.memory_bytes),
            ssd_bytes=max(0, total.ssd_bytes - reserve.ssd_bytes - held.ssd_bytes),
            hdd_bytes=max(0, total.hdd_bytes - reserve.hdd_bytes - held.hdd_bytes),
        )


class Inventory(Value, frozen=True):
    """All nodes at one position of the ledger: what a planner works from."""

    order_time: Moment
    size: Count
    nodes: tuple[NodeInfo, ...]


def registration_digest(registration: NodeRegister) -> Digest:
    """What a farmer admits: the registration without its endpoint, which may move."""
    fixed = {
        "farm": registration.farm,
        "trust": registration.trust,
        "roles": sorted(registration.roles),
        "domains": sorted(registration.domains),
    }
    return canonical.digest(canonical.encode(fixed))
