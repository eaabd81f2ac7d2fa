"""A gateway in a namespace with plain backends, and a client that trusts the grid's root."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.znet.probes import open_socket
from tfgrid.capacity import zgw
from tfgrid.core.clock import SystemClock
from tfgrid.jumpscale.executors import DirectLauncher
from tfgrid.jumpscale.sal import links, namespaces

domain = "grid.localhost"


@dataclass
class Web:
    """A web server with a name: what it was asked, and switches to make it misbehave."""

    name: str
    address: str
    port: int = 80
    requests: list[str] = field(default_factory=list)
    healthy: bool = True
    hang: bool = False
    open: bool = True

    def answer(self, request: str) -> bytes | None:
        """What to answer, or None to hang."""
        line = request.partition("\r\n")[0]
        self.requests.append(request)
        if self.hang and "/health" not in line:
            return None
        status = "200 OK" if self.healthy or "/health" not in line else "503 No"
        body = self.name
        return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


def _talk(web: Web, connection: socket.socket) -> None:
    with connection, contextlib.suppress(OSError):
        connection.settimeout(30)
        data = b""
        while web.open:
            while b"\r\n\r\n" not in data:
                more = connection.recv(65_536)
                if not more:
                    return
                data += more
            head, _, data = data.partition(b"\r\n\r\n")
            answer = web.answer(head.decode("latin-1"))
            if answer is None:
                connection.recv(1)
                return
            connection.sendall(answer)


@contextlib.contextmanager
def serving(netns: Path, *webs: Web) -> Iterator[None]:
    """Serve until the block ends."""
    listeners = []

    def serve(web: Web, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=_talk, args=(web, connection), daemon=True).start()

    for web in webs:
        listener = open_socket(netns, socket.AF_INET, socket.SOCK_STREAM)
        listener.settimeout(None)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((web.address, web.port))
        listener.listen(256)
        listeners.append(listener)
        threading.Thread(target=serve, args=(web, listener), daemon=True).start()
    try:
        yield
    finally:
        for listener in listeners:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()


@dataclass
class Edge:
    """The gateway under test."""

    netns: Path
    settings: zgw.Settings
    gateway: zgw.Gateway
    launcher: DirectLauncher
    authority: zgw.Authority

    def again(self) -> zgw.Gateway:
        """The node process anew."""
        self.gateway = zgw.Gateway(
            settings=self.settings, launcher=self.launcher, clock=SystemClock()
        )
        return self.gateway

    def connect(self, name: str) -> ssl.SSLSocket:
        """A connection that is verified against the grid's root, for this server name."""
        context = ssl.create_default_context(cadata=self.authority.root_pem.decode())
        context.set_alpn_protocols(["http/1.1"])
        plain = open_socket(self.netns, socket.AF_INET, socket.SOCK_STREAM)
        plain.settimeout(15)
        plain.connect((self.settings.address, self.settings.port))
        return context.wrap_socket(plain, server_hostname=name)

    def raw(self, name: str, request: bytes) -> bytes:
        """All that is answered until the other side closes or is silent."""
        answer = b""
        with self.connect(name) as tls, contextlib.suppress(OSError):
            tls.sendall(request)
            tls.settimeout(2)
            while data := tls.recv(65_536):
                answer += data
        return answer

    def get(
        self, name: str, path: str = "/", *, host: str = "", method: str = "GET"
    ) -> tuple[int, str]:
        """Status and body of one request."""
        request = f"{method} {path} HTTP/1.1\r\nHost: {host or name}\r\nConnection: close\r\n\r\n"
        with self.connect(name) as tls:
            tls.sendall(request.encode())
            answer = b""
            with contextlib.suppress(ssl.SSLError):
                while data := tls.recv(65_536):
                    answer += data
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split(b" ")[1]), body.decode()

    async def aget(self, name: str, path: str = "/", **options: str) -> tuple[int, str]:
        """The same beside other work."""
        return await asyncio.to_thread(self.get, name, path, **options)


def settings_of(folder: Path, netns: Path, **options: int) -> zgw.Settings:
    """A gateway on 10.71.0.1 that checks often."""
    return zgw.Settings(
        address="10.71.0.1", domains=(domain,), certificate=folder / "gateway.pem",
        directory=folder / "gateway", routes_max=options.pop("routes_max", 16), netns=netns,
        check_interval_ms=options.pop("check_interval_ms", 200),
    )  # fmt: skip


def play(folder: Path, story: Callable[[Edge], Awaitable[None]], **options: int) -> None:
    """Run a story against a started gateway; whatever happens, nothing is left."""
    netns = folder / "node"
    namespaces.Pin(net=netns).perform()
    links.LinkSet(netns=netns, name="lo", up=True).perform()
    for address in ("10.71.0.1/32", "100.64.0.2/32", "100.64.0.6/32"):
        links.AddressAdd(netns=netns, link="lo", address=address).perform()
    now = SystemClock().now_ms()
    root = zgw.Authority.create("test grid", now_ms=now)
    middle = root.intermediate("test gateway", (domain,), now_ms=now)
    settings = settings_of(folder, netns, **options)
    settings.certificate.write_bytes(middle.leaf((f"*.{domain}",), now_ms=now).pem)
    launcher = DirectLauncher(folder / "logs")
    gateway = zgw.Gateway(settings=settings, launcher=launcher, clock=SystemClock())
    edge = Edge(netns, settings, gateway, launcher, middle)

    async def whole() -> None:
        try:
            await gateway.start()
            await story(edge)
        finally:
            await edge.gateway.stop()

    try:
        asyncio.run(whole())
    finally:
        namespaces.Unpin(path=netns).perform()
