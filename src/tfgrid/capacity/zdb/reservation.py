"""What a node reserves on a device, and what it finds there."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

__all__ = ["Held", "KeyMode", "Reservation"]

KeyMode: TypeAlias = Literal["user", "seq"]
"""Who chooses the keys of a namespace: its clients, or the server, which counts."""

name_bytes_max: Final = 128
place_bytes_max: Final = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """A namespace for one tenant, with its quota and the one way in.

    Args:
        name: of the namespace: 1 to 128 letters, digits, `.`, `_` and `-`, not `default`.
        mode: who chooses keys; fixed once the namespace was written to.
        disk_bytes: most bytes of its files, history included; 0 for no bound.
        keys_max: most live keys; 0 for no bound.
        history: what compaction may drop: `all` is kept, `last:N`, `since:UNIXTIME`.
        place: names where `listen` makes its socket, in 1 to 255 visible ASCII characters: the
            network namespace and the address, such as `4:4026532281 10.1.0.5:9900`. An entrance
            at another place is closed, with its connections, and made anew; at the same place it
            stays as it is.
        listen: makes a listening stream socket in the tenant's network namespace. It is called
            when an entrance has to be made, and the socket is closed here once it was passed on.

    """

    name: str
    mode: KeyMode = "user"
    disk_bytes: int
    keys_max: int = 0
    history: str = "all"
    place: str
    listen: Callable[[], socket.socket]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A namespace that is there.

    Args:
        name: of the namespace.
        serving: whether a process serves it. If none does, the files are all that is known: every
            other field is its default.
        mode, disk_bytes_max, keys_max, history: as reserved.
        disk_bytes: what its files take of `disk_bytes_max` now, in bytes.
        payload_bytes: bytes of the payloads of live keys.
        keys: live keys.
        place: where its entrance listens, as reserved; None if it has none.
        connections: open ones of the entrance.
        read_only: why it takes no writes since a disk failed; empty if it does.

    """

    name: str
    serving: bool
    mode: KeyMode = "user"
    disk_bytes_max: int = 0
    keys_max: int = 0
    history: str = "all"
    disk_bytes: int = 0
    payload_bytes: int = 0
    keys: int = 0
    place: str | None = None
    connections: int = 0
    read_only: str = ""
