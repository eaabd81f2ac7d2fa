"""A tenant's program beside its namespace: a connection made inside a network namespace."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Self

from tfgrid.capacity.zdb import format as wire
from tfgrid.jumpscale.sal import namespaces

__all__ = ["Tenant", "answer"]

PORT = 9900


class Tenant:
    """One connection to a namespace, from inside the network of a container.

    Raises:
        OSError: nobody answers there.

    """

    def __init__(self, netns: Path, address: str, *, seconds: float = 5.0) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._socket = namespaces.apart(netns, lambda: socket.socket(family))
        self._decoder = wire.Decoder()
        try:
            self._socket.settimeout(seconds)
            self._socket.connect((address, PORT))
        except OSError:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def __call__(self, *words: str | bytes) -> wire.Reply:
        """Send one command and read its reply; EOFError when the other side closed."""
        encoded = [word if isinstance(word, bytes) else word.encode() for word in words]
        self._socket.sendall(wire.encode(encoded))
        while (found := self._decoder.next()) is None:
            data = self._socket.recv(65_536)
            if not data:
                raise EOFError
            self._decoder.feed(data)
        return found[0]

    def refused(self, *words: str) -> str:
        """Send a command that must be answered by an error; its text."""
        reply = self(*words)
        assert isinstance(reply, wire.ErrorReply), reply
        return reply.text


def answer(netns: Path, address: str, *words: str | bytes) -> wire.Reply:
    """The reply to one command on a connection of its own."""
    with Tenant(netns, address) as tenant:
        return tenant(*words)
