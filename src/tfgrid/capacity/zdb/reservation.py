"""What a node reserves on a device, and what it finds there."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

__all__ = ["Held", "KeyMode", "Listen", "Reservation"]

KeyMode: TypeAlias = Literal["user", "seq"]
"""Who chooses the keys of a namespace: its clients, or the server, which counts."""

Listen: TypeAlias = Callable[[], socket.socket]
"""Makes a listening stream socket in a tenant's network namespace."""

name_bytes_max: Final = 128
place_bytes_max: Final = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """A namespace for one tenant, with its quota and the ways in.

    Args:
        name: of the namespace: 1 to 128 letters, digits, `.`, `_` and `-`, not `default`.
        mode: who chooses keys; fixed once the namespace was written to.
        disk_bytes: most bytes of its files, history included; 0 for no bound.
        keys_max: most live keys; 0 for no bound.
        history: what compaction may drop: `all` is kept, `last:N`, `since:UNIXTIME`.
        places: where tenants come in, one for each address family, each with what makes its
            socket. A place names the network namespace and the address in 1 to 255 visible ASCII
            characters, such as `4:4026532281 10.1.0.5:9900`. An entrance at a place that is not
            among them is closed, with its connections; one at a place that is stays as it is; for
            the others a socket is made, and closed here once it was passed on.

    """

    name: str
    mode: KeyMode = "user"
    disk_bytes: int
    keys_max: int = 0
    history: str = "all"
    places: Mapping[str, Listen]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A namespace that is there.

    Args:
        name: of the namespace.
        serving: whether a process serves it. If none does, the files are all that is known: every
            other field but `silent` is its default.
        silent: whether a process is there that does not answer, for `Device.silent_seconds`.
        mode, disk_bytes_max, keys_max, history: as reserved.
        disk_bytes: what its files take of `disk_bytes_max` now, in bytes.
        payload_bytes: bytes of the payloads of live keys.
        keys: live keys.
        places: where its entrances listen, as reserved.
        connections: open ones of its entrances.
        read_only: why it takes no writes since a disk failed; empty if it does.

    """

    name: str
    serving: bool
    silent: bool = False
    mode: KeyMode = "user"
    disk_bytes_max: int = 0
    keys_max: int = 0
    history: str = "all"
    disk_bytes: int = 0
    payload_bytes: int = 0
    keys: int = 0
    places: frozenset[str] = frozenset()
    connections: int = 0
    read_only: str = ""
