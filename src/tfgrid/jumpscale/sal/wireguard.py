"""WireGuard devices and their peers, in the kernel or in user space.

A user-space device is spoken to through its socket (the cross-platform `set=1` / `get=1` text
protocol), a kernel device through `wg`. Both mean the same and render as `wg set`. A private key
is never in an argument vector or a representation: `wg` reads it from standard input.

Refuses with TFG-3605 (the device) and TFG-3606 (no `wg` for a kernel device).
"""

from __future__ import annotations

import base64
import os
import socket
import struct
import subprocess
from abc import abstractmethod
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tfgrid.core import errors
from tfgrid.jumpscale.sal import links, namespaces, syscalls
from tfgrid.jumpscale.sal.change import Argv, Change

__all__ = [
    "Device",
    "DeviceSet",
    "PeerRemove",
    "PeerSeen",
    "PeerSet",
    "kernel_has_wireguard",
    "public_key",
    "read",
    "serving_pid",
]

_ANSWER_BYTES_MAX: Final = 1024 * 1024
_ANSWER_SECONDS: Final = 5.0
_PROBE: Final = "wgprobe0"
_CREDENTIALS: Final = struct.Struct("=iII")


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerSeen:
    """A peer as the device has it.

    `endpoint` is empty if unknown, `latest_handshake` in seconds, 0 for never.
    """

    endpoint: str
    allowed: frozenset[str]
    keepalive_seconds: int
    latest_handshake: int
    received_bytes: int
    sent_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device as it is.

    Its public key (base64, empty without one), UDP port and peers by public key.
    """

    public_key: str
    port: int
    peers: dict[str, PeerSeen]


def public_key(private_key: bytes) -> bytes:
    """The X25519 public key of 32 private bytes (RFC 7748)."""
    from nacl import bindings

    return bindings.crypto_scalarmult_base(private_key)


@dataclass(frozen=True, slots=True, kw_only=True)
class _OnDevice(Change):
    """A change to a device: `uapi` is its socket, or None for a kernel device in `netns`."""

    device: str
    uapi: Path | None = None
    netns: Path | None = None

    def perform(self) -> None:
        """See `Change.perform`."""
        if self.uapi:
            _exchange(self.uapi, "set=1\n" + self._text() + "\n")
        else:
            _wg(self.netns, *self._words(), secret=self._secret())

    def argv(self) -> tuple[Argv, ...]:
        """See `Change.argv`."""
        return (links.entering(self.netns, "wg", *self._words()),)

    @abstractmethod
    def _text(self) -> str:
        """The change in the text protocol."""

    @abstractmethod
    def _words(self) -> tuple[str, ...]:
        """The change as arguments of `wg`."""

    def _secret(self) -> str:
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSet(_OnDevice):
    """Give a device its private key and UDP port."""

    private_key: bytes = field(repr=False)
    port: int

    def _text(self) -> str:
        return f"private_key={self.private_key.hex()}\nlisten_port={self.port}\n"

    def _words(self) -> tuple[str, ...]:
        return ("set", self.device, "listen-port", str(self.port), "private-key", "/dev/stdin")

    def _secret(self) -> str:
        return base64.b64encode(self.private_key).decode() + "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerSet(_OnDevice):
    """Have a peer with exactly these ranges; its session, if any, goes on.

    `public_key` is base64.
    """

    public_key: str
    endpoint: str
    allowed: tuple[str, ...]
    keepalive_seconds: int

    def _text(self) -> str:
        lines = [f"public_key={base64.b64decode(self.public_key).hex()}"]
        lines += [f"endpoint={self.endpoint}"] if self.endpoint else []
        lines += [f"persistent_keepalive_interval={self.keepalive_seconds}"]
        lines += ["replace_allowed_ips=true", *(f"allowed_ip={each}" for each in self.allowed)]
        return "\n".join(lines) + "\n"

    def _words(self) -> tuple[str, ...]:
        endpoint = ("endpoint", self.endpoint) if self.endpoint else ()
        keepalive = ("persistent-keepalive", str(self.keepalive_seconds))
        ranges = ("allowed-ips", ",".join(self.allowed))
        return ("set", self.device, "peer", self.public_key, *endpoint, *keepalive, *ranges)


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerRemove(_OnDevice):
    """Forget a peer with its session. `public_key` is base64."""

    public_key: str

    def _text(self) -> str:
        return f"public_key={base64.b64decode(self.public_key).hex()}\nremove=true\n"

    def _words(self) -> tuple[str, ...]:
        return ("set", self.device, "peer", self.public_key, "remove")


def read(device: str, *, uapi: Path | None = None, netns: Path | None = None) -> Device | None:
    """What a device is configured to do, or None if there is none or nobody answers for it."""
    if uapi:
        try:
            return _from_uapi(_exchange(uapi, "get=1\n\n"))
        except errors.Failed:
            return None
    try:
        return _from_dump(_wg(netns, "show", device, "dump"))
    except errors.Failed:
        return None


def serving_pid(uapi: Path) -> int | None:
    """The process that listens on a user-space device's socket, or None if nobody does."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_ANSWER_SECONDS)
            connection.connect(str(uapi))
            peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    except OSError:
        return None
    pid: int = _CREDENTIALS.unpack(peer)[0]
    return pid or None


def kernel_has_wireguard() -> bool:
    """Whether this kernel makes WireGuard links: tried in a namespace that is gone afterwards."""
    back = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        syscalls.unshare(syscalls.CLONE_NEWNET)
        try:
            links.LinkAdd(name=_PROBE, kind="wireguard").perform()
        except errors.Failed:
            return False
        return True
    finally:
        syscalls.setns(back, syscalls.CLONE_NEWNET)
        os.close(back)


def _from_uapi(answer: str) -> Device:
    public, port = "", 0
    peers: list[tuple[str, dict[str, str], set[str]]] = []
    for line in answer.splitlines():
        key, _, value = line.partition("=")
        if key == "private_key" and value.strip("0"):
            public = base64.b64encode(public_key(bytes.fromhex(value))).decode()
        elif key == "listen_port":
            port = int(value)
        elif key == "public_key":
            peers.append((base64.b64encode(bytes.fromhex(value)).decode(), {}, set()))
        elif peers and key == "allowed_ip":
            peers[-1][2].add(value)
        elif peers:
            peers[-1][1][key] = value
    return Device(
        public_key=public, port=port, peers={name: _seen(said, ips) for name, said, ips in peers}
    )


def _seen(said: dict[str, str], allowed: set[str]) -> PeerSeen:
    return PeerSeen(
        endpoint=said.get("endpoint", ""),
        allowed=frozenset(allowed),
        keepalive_seconds=int(said.get("persistent_keepalive_interval", "0")),
        latest_handshake=int(said.get("last_handshake_time_sec", "0")),
        received_bytes=int(said.get("rx_bytes", "0")),
        sent_bytes=int(said.get("tx_bytes", "0")),
    )


def _from_dump(answer: str) -> Device:
    head, *rest = [line.split("\t") for line in answer.splitlines()]
    peers = {}
    for public, _, endpoint, allowed, handshake, received, sent, keepalive in rest:
        peers[public] = PeerSeen(
            endpoint="" if endpoint == "(none)" else endpoint,
            allowed=frozenset() if allowed == "(none)" else frozenset(allowed.split(",")),
            keepalive_seconds=0 if keepalive == "off" else int(keepalive),
            latest_handshake=int(handshake),
            received_bytes=int(received),
            sent_bytes=int(sent),
        )
    public = "" if head[1] == "(none)" else head[1]
    return Device(public_key=public, port=int(head[2]), peers=peers)


def _exchange(uapi: Path, request: str) -> str:
    answer = bytearray()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_ANSWER_SECONDS)
            connection.connect(str(uapi))
            connection.sendall(request.encode("ascii"))
            while not answer.endswith(b"\n\n") and len(answer) < _ANSWER_BYTES_MAX:
                data = connection.recv(65_536)
                if not data:
                    break
                answer += data
    except OSError as error:
        raise errors.Failed(
            "TFG-3605", f"the WireGuard device does not answer: {error}", where=str(uapi)
        ) from error
    *_, last = answer.decode("ascii", "replace").strip().splitlines() or [""]
    if last != "errno=0":
        raise errors.Failed("TFG-3605", f"the WireGuard device refused: {last}", where=str(uapi))
    return answer.decode("ascii")


def _wg(netns: Path | None, *arguments: str, secret: str = "") -> str:
    try:
        with namespaces.inside(netns) if netns else nullcontext():
            done = subprocess.run(
                ["wg", *arguments], input=secret, capture_output=True, text=True, check=False,
                timeout=_ANSWER_SECONDS,
            )  # fmt: skip
    except FileNotFoundError as error:
        raise errors.MachineLacks(
            "TFG-3606", "there is no wg program here", hint="apt-get install wireguard-tools"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise errors.Failed("TFG-3605", "wg did not answer", where=str(netns or "")) from error
    if done.returncode:
        raise errors.Failed(
            "TFG-3605", f"wg refused: {done.stderr.strip()}", where=str(netns or "")
        )
    return done.stdout
