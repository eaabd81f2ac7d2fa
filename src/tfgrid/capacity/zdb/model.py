"""What clients and servers of Zero-DB are told and tell, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tfgrid.core import errors

__all__ = ["Address", "Entrance", "Entry", "Namespace", "Refused", "Version"]

port_default: Final = 9900
key_bytes_max: Final = 255
payload_bytes_max: Final = 8 * 1024**2
arguments_max: Final = 1024
name_bytes_max: Final = 128


class Refused(errors.Failed):
    """The server answered with an error that is no more special than its text."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens: `socket`, or `host` and `port`."""

    host: str = "127.0.0.1"
    port: int = port_default
    socket: Path | None = None

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read `HOST:PORT`, `[IPv6]:PORT`, `tcp://...`, `unix://PATH` or a path with a slash.

        Raises:
            errors.BadInput: TFG-3701.

        """
        if text.startswith(("unix://", "/")):
            return cls(socket=Path(text.removeprefix("unix://")))
        host, colon, port = text.removeprefix("tcp://").rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not colon or not host or not port.isascii() or not port.isdecimal():
            raise errors.BadInput(
                "TFG-3701", f"{text!r} is no address of a server", where=text,
                hint="HOST:PORT, or the path of a unix socket",
            )  # fmt: skip
        return cls(host=host, port=int(port))

    def __str__(self) -> str:
        if self.socket is not None:
            return f"unix://{self.socket}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"tcp://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a scan: its payload's length in bytes, and its unix time in seconds."""

    key: bytes
    length: int
    timestamp: int


@dataclass(frozen=True, slots=True)
class Entrance:
    """A listening socket that was handed to a server, and the one namespace behind it.

    `address` is where it listens, `connections` how many come through it now.
    """

    name: str
    namespace: str
    address: str
    connections: int


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a key; `payload` is None where the key was deleted.

    `older` is the position of the version before it, or None for the first.
    """

    payload: bytes | None
    timestamp: int
    older: bytes | None


@dataclass(frozen=True, slots=True)
class Namespace:
    """What NSINFO says; `fields` has every line of it.

    `sequential` tells who chooses keys. Quotas are 0 for none: `payload_bytes_max` of live
    payloads, `disk_bytes_max` of its files, `entries_max` of live keys. `history` is as NSSET takes
    it.
    """

    name: str
    entries: int
    payload_bytes: int
    payload_bytes_max: int
    disk_bytes: int
    disk_bytes_max: int
    entries_max: int
    history: str
    sequential: bool
    public: bool
    worm: bool
    locked: bool
    password: bool
    read_only: str
    fields: dict[str, str]
