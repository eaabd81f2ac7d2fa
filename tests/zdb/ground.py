"""A real server in a temporary folder, and a plain socket that speaks to it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from tfgrid.capacity import zdb
from tfgrid.capacity.zdb import format as wire

Reply = wire.Reply
Error = wire.ErrorReply
start_seconds = 20.0


class Wire:
    """One connection, bytes in and replies out."""

    def __init__(self, address: zdb.Address, *, timeout_seconds: float = 20.0) -> None:
        if address.socket is not None:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(timeout_seconds)
            self.socket.connect(str(address.socket))
        else:
            self.socket = socket.create_connection(
                (address.host, address.port), timeout=timeout_seconds
            )
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._decoder = wire.Decoder()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send raw bytes."""
        self.socket.sendall(data)

    def reply(self) -> Reply:
        """Read one reply; EOFError when the server closed."""
        while (found := self._decoder.next()) is None:
            data = self.socket.recv(1 << 18)
            if not data:
                raise EOFError
            self._decoder.feed(data)
        return found[0]

    def __call__(self, *words: bytes | str) -> Reply:
        """Send one request and read its reply."""
        self.send(request(*words))
        return self.reply()

    def closed(self) -> bool:
        """Whether the server closed, with nothing left to read."""
        try:
            self.reply()
        except (EOFError, ConnectionError):
            return True
        return False


def request(*words: bytes | str) -> bytes:
    """One request as bytes."""
    return wire.encode([word if isinstance(word, bytes) else word.encode() for word in words])


class EndedError(AssertionError):
    """The server ended before it listened; its log."""


class Running:
    """A server's process and where it is."""

    def __init__(self, folder: Path, options: Sequence[str], prefix: Sequence[str]) -> None:
        self.folder = folder
        self.options = options
        self.prefix = prefix
        self.log_path = folder / "log"
        self.process = self._spawn()
        self.addresses: list[str] = []
        self._wait()

    def _spawn(self) -> subprocess.Popen[bytes]:
        folder = self.folder
        argv = [*self.prefix, *zdb.PROGRAM, "--data",
                str(folder / "data"), "--index", str(folder / "index"), *self.options]  # fmt: skip
        if not {"--socket", "--private", "--port"} & set(self.options):
            argv += ["--listen", "127.0.0.1", "--port", "0"]
        self._log_from = self.log_path.stat().st_size if self.log_path.exists() else 0
        with self.log_path.open("ab") as log:
            return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=log, stdout=log,
                                    env=zdb.environment(os.environ))  # fmt: skip

    def _wait(self) -> None:
        until = time.monotonic() + start_seconds
        while time.monotonic() < until:
            lines = self.lines()
            self.addresses = [line["address"] for line in lines if line["event"] == "listening"]
            expected = max(1, sum(name in self.options for name in _sockets))
            if len(self.addresses) >= expected + ("--dualnet" in self.options):
                return
            if self.process.poll() is not None:
                raise EndedError(self.log())
            time.sleep(0.005)
        raise AssertionError(f"it does not listen: {self.log()}")

    def log(self) -> str:
        """Everything this process wrote."""
        with self.log_path.open("rb") as file:
            file.seek(self._log_from)
            return file.read().decode()

    def lines(self) -> list[dict[str, str]]:
        """The log lines of this process."""
        return [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]

    @property
    def address(self) -> zdb.Address:
        """Where it listens first."""
        return zdb.Address.parse(self.addresses[0])

    @property
    def pid(self) -> int:
        """The server itself, which may run under a tracer."""
        tracer = self.process.pid
        children = Path(f"/proc/{tracer}/task/{tracer}/children").read_text().split()
        return int(children[0]) if children else tracer

    def wire(self) -> Wire:
        """A new connection to its first address."""
        return Wire(self.address)

    def client(self) -> zdb.Client:
        """A new client of its first address."""
        return zdb.Client(self.address)

    def kill(self) -> None:
        """SIGKILL, as the machine does it."""
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            os.kill(self.pid, signal.SIGKILL)
        self.process.wait(20)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            os.kill(self.pid, signal.SIGTERM)
        return self.process.wait(20)


_sockets = ("--socket", "--admin-socket", "--metrics")


@contextlib.contextmanager
def serving(folder: Path, *options: str, prefix: Sequence[str] = ()) -> Iterator[Running]:
    """A server that is there inside the `with` statement."""
    folder.mkdir(parents=True, exist_ok=True)
    running = Running(folder, options, prefix)
    try:
        yield running
    finally:
        running.kill()


def readable(connection: socket.socket, seconds: float) -> bool:
    """Whether something arrives in that time."""
    return bool(select.select([connection], [], [], seconds)[0])
