"""What a program inside a namespace can do: echo, connect, listen, send anything.

Sockets made there, used here.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

from tfgrid.jumpscale.sal import namespaces


def open_socket(netns: Path, family: int, kind: int, protocol: int = 0) -> socket.socket:
    """A socket of a namespace."""
    with namespaces.inside(netns):
        made = socket.socket(family, kind, protocol)
    made.settimeout(1.0)
    return made


def echoes(netns: Path, address: str, *, source: str = "", seconds: float = 1.0) -> bool:
    """Whether an echo request is answered by that address."""
    six = ":" in address
    family, protocol = (
        (socket.AF_INET6, socket.IPPROTO_ICMPV6) if six else (socket.AF_INET, socket.IPPROTO_ICMP)
    )
    body = b"tfgrid" + os.urandom(8)
    head = struct.pack("!BBHHH", 128 if six else 8, 0, 0, 7, 1)
    packet = head[:2] + struct.pack("!H", 0 if six else _sum(head + body)) + head[4:] + body
    with open_socket(netns, family, socket.SOCK_RAW, protocol) as probe:
        probe.settimeout(seconds)
        try:
            if source:
                probe.bind((source, 0))
            probe.sendto(packet, (address, 0))
            while True:  # other packets may come first
                data, sender = probe.recvfrom(2048)
                if sender[0] == address and body in data and data != packet:
                    return True
        except OSError:
            return False


def _sum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def connects(netns: Path, address: str, port: int, *, seconds: float = 1.0) -> str:
    """`yes`, `refused` or `silence`."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with open_socket(netns, family, socket.SOCK_STREAM) as probe:
        probe.settimeout(seconds)
        try:
            probe.connect((address, port))
        except ConnectionRefusedError:
            return "refused"
        except OSError:
            return "silence"
        return "yes"


@contextlib.contextmanager
def greeting(netns: Path, port: int, text: str, *, address: str = "::") -> Iterator[list[str]]:
    """A server that tells whoever connects its name; the list has the addresses of who did."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    seen: list[str] = []
    with open_socket(netns, family, socket.SOCK_STREAM) as server:
        server.settimeout(None)
        if family == socket.AF_INET6:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address, port))
        server.listen(64)

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, sender = server.accept()
                    with connection:
                        seen.append(sender[0].removeprefix("::ffff:"))
                        connection.sendall(text.encode())

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield seen
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(2)


def hears(netns: Path, address: str, port: int, *, seconds: float = 2.0) -> str:
    """What the server there says, or nothing."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with open_socket(netns, family, socket.SOCK_STREAM) as probe:
        probe.settimeout(seconds)
        try:
            probe.connect((address, port))
            return probe.recv(1024).decode()
        except OSError:
            return ""


def run_in(netns: Path, *words: str) -> str:
    """What a program says in a namespace; it must succeed."""
    done = subprocess.run(
        ["nsenter", f"--net={netns}", *words], capture_output=True, text=True, check=False,
        timeout=10,
    )  # fmt: skip
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout
