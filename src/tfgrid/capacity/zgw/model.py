"""What a gateway should answer and what it does: plain values."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from tfgrid.core import limits
from tfgrid.core.schema import Value

__all__ = ["Backend", "Health", "Route", "RouteSeen", "Settings"]

Port = Annotated[int, Meta(ge=1, le=65_535)]
Address4 = Annotated[str, Meta(pattern=r"\A[0-9.]{7,15}\Z")]
Host = Annotated[
    str,
    Meta(
        pattern=r"\A([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]*[a-z0-9])?\Z",
        max_length=253,
    ),
]
HealthPath = Annotated[str, Meta(pattern=r"\A/[A-Za-z0-9._~/-]*\Z", max_length=256)]

Health = Literal["up", "down", "starting"]
"""up: answers its checks; down: does not; starting: not yet told."""


class Backend(Value, frozen=True, kw_only=True):
    """Where a container is reached from the node's own namespace.

    A link address and port of Zero-Net.
    """

    address: Address4
    port: Port


class Route(Value, frozen=True, kw_only=True):
    """An HTTPS name and who answers it.

    `label` is given back by `observe`, such as the digest of an item.
    """

    host: Host
    backends: Annotated[tuple[Backend, ...], Meta(min_length=1, max_length=limits.workloads_max)]
    health_path: HealthPath = "/"
    label: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9._:-]*\Z", max_length=64)] = ""


class RouteSeen(Value, frozen=True, kw_only=True):
    """What HAProxy holds for a name."""

    host: str
    label: str
    health_path: str
    backends: dict[str, Health]


class Settings(Value, frozen=True, kw_only=True):
    """How HAProxy runs on this node.

    Args:
        address: underlay address to listen at; port 443 unless said otherwise.
        domains: routes must be one label below one of these, since one wildcard certificate each
            serves them.
        certificate: PEM file with leaf, intermediate and key, readable by root only.
        directory: for configuration, maps and runtime socket; made 0700.
        backend_range4: the only range backends may be in (`znet.link_range4`): never loopback,
            underlay or metadata.
        netns: namespace to run in, None for the launcher's own.

    """

    address: str
    port: Port = 443
    domains: tuple[Host, ...]
    certificate: Path
    directory: Path
    backend_range4: str = "100.64.0.0/16"
    routes_max: Annotated[int, Meta(ge=1, le=4096)] = limits.networks_per_node_max
    connections_max: Annotated[int, Meta(ge=16, le=100_000)] = 4096
    check_interval_ms: Annotated[int, Meta(ge=100, le=60_000)] = 1000
    threads: Annotated[int, Meta(ge=1, le=64)] = 2
    netns: Path | None = None

    @property
    def slots(self) -> int:
        """Backends that HAProxy is started with.

        A quarter more than routes, so that a free one is near.
        """
        return self.routes_max + self.routes_max // 4 + 1
