"""Netlink (RFC 3549) as bytes: a socket in a namespace, requests, attributes, answers.

Only what `links`, `topology` and `nftables` need. A library for all of netlink costs a node process
25 MB and a quarter of a second at start (`docs/decisions/0004-own-netlink.md`); this costs neither.
Messages are in the machine's byte order and padded to four bytes, as the kernel wants them.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tfgrid.jumpscale.sal import namespaces

__all__ = [
    "Socket",
    "attribute",
    "attributes",
    "each_attribute",
    "flag_ack",
    "flag_create",
    "flag_dump",
    "flag_exclusive",
    "flag_replace",
    "nested",
    "netfilter",
    "open_in",
    "route",
    "text",
]

route: Final = 0
"""NETLINK_ROUTE: links, addresses, routes."""
netfilter: Final = 12
"""NETLINK_NETFILTER: packet rules."""
flag_ack: Final = 0x05
"""NLM_F_REQUEST | NLM_F_ACK: do it and say whether it worked."""
flag_create: Final = 0x400
flag_exclusive: Final = 0x200
flag_replace: Final = 0x100
flag_dump: Final = 0x301
"""NLM_F_REQUEST | NLM_F_DUMP: tell all."""

_HEADER: Final = struct.Struct("=IHHII")
_ATTRIBUTE: Final = struct.Struct("=HH")
_ERROR: Final = 2
_DONE: Final = 3
_NESTED: Final = 0x8000
_TYPE_MASK: Final = 0x3FFF
_RECEIVE_BYTES: Final = 256 * 1024
_ANSWER_SECONDS: Final = 5.0
_SOL_NETLINK: Final = 270
_NETLINK_GET_STRICT_CHK: Final = 12


def attribute(kind: int, data: bytes) -> bytes:
    """One attribute: length, type, data, padding."""
    length = _ATTRIBUTE.size + len(data)
    return _ATTRIBUTE.pack(length, kind) + data + bytes(-length % 4)


def nested(kind: int, *parts: bytes) -> bytes:
    """An attribute that holds attributes."""
    return attribute(kind | _NESTED, b"".join(parts))


def text(kind: int, value: str) -> bytes:
    """An attribute that holds a zero-terminated string."""
    return attribute(kind, value.encode("ascii") + b"\0")


def attributes(data: bytes) -> dict[int, bytes]:
    """The attributes in `data` by type; of a repeated type the last."""
    return dict(each_attribute(data))


def each_attribute(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The attributes in `data` in order, as type and content; what is cut short is left out."""
    offset = 0
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < _ATTRIBUTE.size:
            break
        yield kind & _TYPE_MASK, data[offset + _ATTRIBUTE.size : offset + length]
        offset += length + (-length % 4)


class Socket:
    """A netlink socket of the network namespace in which it was opened, wherever it is used."""

    def __init__(self, protocol: int = route) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_NETLINK, kind, protocol)
        self._socket.settimeout(_ANSWER_SECONDS)
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_GET_STRICT_CHK, 1)
        self._socket.bind((0, 0))
        self._sequence = 0

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def change(self, kind: int, body: bytes, flags: int = 0) -> None:
        """Send a request and wait for its acknowledgement.

        Raises:
            OSError: what the kernel answered.

        """
        for _ in self._exchange(kind, body, flag_ack | flags):
            pass

    def read(self, kind: int, body: bytes) -> list[bytes]:
        """All answers to a dump request, each without its header."""
        return list(self._exchange(kind, body, flag_dump))

    def _exchange(self, kind: int, body: bytes, flags: int) -> Iterator[bytes]:
        self._sequence += 1
        length = _HEADER.size + len(body)
        self._socket.send(_HEADER.pack(length, kind, flags, self._sequence, 0) + body)
        while True:
            data = self._socket.recv(_RECEIVE_BYTES)
            offset = 0
            while offset + _HEADER.size <= len(data):
                size, answer, _, sequence, _ = _HEADER.unpack_from(data, offset)
                content = data[offset + _HEADER.size : offset + size]
                offset += max(size + (-size % 4), _HEADER.size)
                if sequence != self._sequence:
                    continue
                if answer == _ERROR or (answer == _DONE and len(content) >= 4):
                    _raise_if_error(content)
                    return
                if answer == _DONE:
                    return
                yield content


def _raise_if_error(content: bytes) -> None:
    number = -struct.unpack_from("=i", content)[0]
    if number:
        raise OSError(number, os.strerror(number))


@contextmanager
def open_in(netns: Path | None, protocol: int = route) -> Iterator[Socket]:
    """A socket in a pinned namespace, or in the caller's own; the thread is back where it was."""
    if netns is None:
        opened = Socket(protocol)
    else:
        with namespaces.inside(netns):
            opened = Socket(protocol)
    try:
        yield opened
    finally:
        opened.close()
