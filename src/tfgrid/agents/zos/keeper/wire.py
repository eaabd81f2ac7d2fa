"""What client and keeper say to each other: one JSON object a packet, one request and one reply.

    {"verb": "wait", "name": "web", "timeout_ms": 5000}
    {"ok": {"name": "web", "pid": 4711, "start_ticks": 815, "ended": true, "exit_code": 0}}
    {"error": {"code": "TFG-3023", "what": "no process has that name", "details": {}}}

A packet is at most `packet_bytes_max` long; a longer one is cut by the kernel and refused as not
JSON.
"""

# Plain strings: these paths are made once and used in code that is hot or forked.
# ruff: noqa: PTH108

from __future__ import annotations

import json
import os
import socket

packet_bytes_max = 96 * 1024
backlog = 64

__all__ = ["backlog", "connect", "decode", "encode", "listen", "packet_bytes_max"]


def encode(message: dict[str, object]) -> bytes:
    """A message as one packet."""
    return json.dumps(message, separators=(",", ":")).encode()


def decode(packet: bytes) -> dict[str, object]:
    """A packet as a message.

    Raises:
        ValueError: it is not one JSON object.

    """
    message = json.loads(packet)
    if not isinstance(message, dict):
        raise ValueError("a message is an object")  # noqa: TRY004 - one kind of error for one cause
    return message


def listen(folder: str) -> socket.socket:
    """A listening socket in `folder` that only its owner may open; a stale one is replaced."""
    with _through(folder) as path:
        if os.path.lexists(path):
            os.unlink(path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        before = os.umask(0o177)
        try:
            listener.bind(path)
        finally:
            os.umask(before)
        listener.listen(backlog)
        return listener


def connect(folder: str) -> socket.socket:
    """A non-blocking socket connected to the keeper in `folder`.

    Raises:
        OSError: nobody listens.

    """
    with _through(folder) as path:
        client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        client.setblocking(False)
        try:
            client.connect(path)
        except OSError:
            client.close()
            raise
        return client


class _through:  # noqa: N801 - reads as a word: with _through(folder)
    """The socket's path by way of an open folder, because a unix address holds 108 bytes only."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def __enter__(self) -> str:
        self._descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return f"/proc/self/fd/{self._descriptor}/keeper.sock"

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)
