"""Servers of the Redis protocol on one processor, and the load that asks them from another.

The load is `rust/zdb-server/examples/load.rs`, for every server alike: it costs less than a
server does and never sleeps, so that the server is what is measured. `null.rs` beside it answers
constants, which marks what a loop of one thread can reach on this machine. Both are built when
first needed.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import mmap
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import psutil

from bench.meters import cpu_seconds
from tfgrid.capacity import zdb

__all__ = [
    "Kind",
    "Load",
    "Peer",
    "Run",
    "alone",
    "control",
    "free_port",
    "placed",
    "run",
    "serving",
    "settle",
    "start",
]

_RUST: Final = Path(__file__).parents[2] / "rust"
_EXAMPLES: Final = _RUST / "target" / "release" / "examples"
_ANSWER_SECONDS: Final = 60.0
# More than any server writes in a turn.
_FRESH_BYTES: Final = 256 << 20


@dataclass(frozen=True, slots=True)
class Kind:
    """A server: `zdb`, `redis` or `null`, and how it keeps what it is given."""

    name: Literal["zdb", "redis", "null"]
    sync: str = ""
    mode: str = "user"
    value_bytes: int = 3
    cache_bytes: int = 64 << 20
    rewrites: bool = False


@dataclass(slots=True)
class Peer:
    """A server that runs."""

    process: subprocess.Popen[bytes]
    port: int

    @property
    def pid(self) -> int:
        """Its process."""
        return self.process.pid


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is asked: for so many seconds, or (fill) each key once."""

    command: Literal["set", "get", "fill"]
    value_bytes: int
    keys: int
    depth: int = 1
    clients: int = 50
    seconds: float = 0.5


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of a load saw."""

    requests: int
    seconds: float
    cpu_seconds: float

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds

    @property
    def cpu_us(self) -> float:
        """The server's processor time for one request, in microseconds."""
        return self.cpu_seconds / self.requests * 1e6


def settle() -> None:
    """Give every turn the same machine: nothing waits to be written, and free memory is at hand.

    Else a server writes while the disk is busy with what another one wrote before it. And the host
    of a virtual machine may take free memory back: whoever is the first to use it again would pay.
    """
    os.sync()
    with mmap.mmap(-1, _FRESH_BYTES) as memory:
        for at in range(0, _FRESH_BYTES, mmap.PAGESIZE):
            memory[at] = 1


@contextmanager
def alone(peer: Peer, peers: Iterable[Peer]) -> Iterator[None]:
    """Stop every other server and its children: each works for itself in its own turns only."""
    stopped = []
    for other in peers:
        if other is not peer:
            process = psutil.Process(other.pid)
            stopped += [process, *process.children(recursive=True)]
    try:
        for process in stopped:
            with suppress(psutil.NoSuchProcess):
                process.suspend()
        yield
    finally:
        for process in stopped:
            with suppress(psutil.NoSuchProcess):
                process.resume()


def free_port() -> int:
    """A port that nobody listened on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _example(name: str) -> str:
    path = _EXAMPLES / name
    if name not in _built:
        subprocess.run(
            ["cargo", "build", "--quiet", "--release", "--locked", "--package",
             "tfgrid-zdb-server", "--example", name],
            cwd=_RUST, check=True,
        )  # fmt: skip
        _built.add(name)
    return str(path)


_built: set[str] = set()
_seeds = itertools.count(1)


def _command(kind: Kind, folder: Path, port: int) -> list[str]:
    match kind.name:
        case "null":
            return [_example("null"), str(port), str(kind.value_bytes)]
        case "redis":
            # What Redis does unless told otherwise: write its file anew, without old versions, each
            # time that it has doubled. Zero-DB keeps them all here.
            percentage = "100" if kind.rewrites else "0"
            return ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir",
                    str(folder), "--save", "", "--appendonly", "yes",
                    "--appendfsync", kind.sync,
                    "--auto-aof-rewrite-percentage", percentage]  # fmt: skip
        case "zdb":
            return [*zdb.PROGRAM, "--data", str(folder / "d"),
                    "--index", str(folder / "i"), "--listen", "127.0.0.1", "--port", str(port),
                    "--sync", kind.sync, "--mode", kind.mode,
                    "--cache", str(kind.cache_bytes)]  # fmt: skip


def placed(command: list[str], processor: int) -> list[str]:
    """A command for one processor.

    At the usual priority: before a process of a real-time one the kernel's own threads would not
    write anything back, and whoever waits for a disk would be measured as slow.
    """
    return ["taskset", "-c", str(processor), *command]


def start(kind: Kind, folder: Path) -> Peer:
    """A server on the first processor; returns once it answers."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    process = subprocess.Popen(
        placed(_command(kind, folder, port), min(os.sched_getaffinity(0))),
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env=zdb.environment(os.environ) if kind.name == "zdb" else None,
    )  # fmt: skip
    until = time.perf_counter() + _ANSWER_SECONDS
    while time.perf_counter() < until:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
                connection.sendall(b"*1\r\n$6\r\nDBSIZE\r\n")
                if connection.recv(64)[:1] in (b":", b"$"):
                    return Peer(process, port)
        except OSError:
            pass
        time.sleep(0.001)
    raise TimeoutError(f"{kind.name} does not answer")


@contextmanager
def serving(kinds: dict[str, Kind], folder: Path) -> Iterator[dict[str, Peer]]:
    """Servers side by side, and nothing of them left afterwards."""
    with ExitStack() as stack:
        peers = {}
        for name, kind in kinds.items():
            peers[name] = start(kind, folder / name)
            stack.callback(_end, peers[name], folder / name)
        yield peers


def _end(peer: Peer, folder: Path) -> None:
    peer.process.send_signal(signal.SIGKILL)
    peer.process.wait()
    shutil.rmtree(folder, ignore_errors=True)


def run(peer: Peer, load: Load) -> Run:
    """Ask a server from the last processor."""
    count = ["--requests", str(load.keys)] if load.command == "fill" else []
    command = [_example("load"), "--port", str(peer.port), "--command", load.command,
               "--bytes", str(load.value_bytes), "--keys", str(load.keys),
               "--depth", str(load.depth), "--clients", str(load.clients),
               "--seed", str(next(_seeds)),
               *(count or ["--seconds", str(load.seconds)])]  # fmt: skip
    before = cpu_seconds(peer.pid)
    done = subprocess.run(
        placed(command, max(os.sched_getaffinity(0))),
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    spent = cpu_seconds(peer.pid) - before
    seen = json.loads(done.stdout)
    # A missing key, or (by Zero-DB alone) a value that was there already: not what was to be asked.
    if seen["nil"] > seen["requests"] / 1000:
        raise ValueError(f"{seen['nil']} of {seen['requests']} requests came to nothing")
    return Run(seen["requests"], seen["seconds"], spent)


def control(peer: Peer, load: Load, count: int) -> Run:
    """The same asked by redis-benchmark, which every reader has."""
    before = cpu_seconds(peer.pid)
    command = ["redis-benchmark", "-p", str(peer.port), "-t", load.command, "-d",
               str(load.value_bytes), "-P", str(load.depth), "-n", str(count), "-c",
               str(load.clients), "-r", str(load.keys), "--csv"]  # fmt: skip
    done = subprocess.run(
        placed(command, max(os.sched_getaffinity(0))),
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    spent = cpu_seconds(peer.pid) - before
    rate = float(list(csv.reader(io.StringIO(done.stdout)))[-1][1])
    return Run(count, count / rate, spent)
