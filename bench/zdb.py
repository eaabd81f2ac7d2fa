"""Zero-DB beside Redis: throughput, processor time, durability, memory and restart.

Both serve one after the other from the first processor and are asked by `redis-benchmark` on the
last one. `--sync interval=1000` stands beside AOF everysec, `--sync group` beside AOF always. Rates
are told as milliseconds for a thousand requests, so that less is better as everywhere here, with
the server's processor time for the same thousand; tables have requests a second for the reader.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.figures import Bound, Figure, Report, Sample, Table, judged
from bench.ground import Ground
from bench.meters import cpu_seconds, resident_bytes, turns
from tfgrid.capacity import zdb

__all__ = ["measure"]

CLIENTS: Final = 50
SIZES: Final = ((3, 240_000), (512, 160_000), (4096, 48_000))
DEPTHS: Final = (1, 16, 64)
# How many times Redis' time ours may take, by pipeline depth.
TIMES: Final = {1: 1 / 1.3, 16: 1.0, 64: 1 / 1.6}
KEYS: Final = 1_000_000
REPEAT_MAX: Final = 3


@dataclass(frozen=True, slots=True)
class Kind:
    """A server, and how it is told to keep what it is given."""

    name: str
    sync: str


FAST: Final = (Kind("zdb", "interval=1000"), Kind("redis", "everysec"))
DURABLE: Final = (Kind("zdb", "group"), Kind("redis", "always"))


@dataclass(slots=True)
class Peer:
    """A server that runs."""

    process: subprocess.Popen[bytes]
    port: int

    @property
    def pid(self) -> int:
        """Its process."""
        return self.process.pid


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _command(kind: Kind, folder: Path, port: int, mode: str) -> list[str]:
    if kind.name == "zdb":
        return [sys.executable, "-m", "tfgrid.capacity.zdb", "--data", str(folder / "d"),
                "--index", str(folder / "i"), "--listen", "127.0.0.1", "--port", str(port),
                "--sync", kind.sync, "--mode", mode]  # fmt: skip
    return ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder),
            "--save", "", "--appendonly", "yes", "--appendfsync", kind.sync]  # fmt: skip


def _start(kind: Kind, folder: Path, mode: str = "user") -> Peer:
    folder.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    command = [
        "taskset",
        "-c",
        str(min(os.sched_getaffinity(0))),
        *_command(kind, folder, port, mode),
    ]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _until_it_answers(port)
    return Peer(process, port)


def _until_it_answers(port: int) -> None:
    until = time.perf_counter() + 60
    while time.perf_counter() < until:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
                connection.sendall(b"*1\r\n$6\r\nDBSIZE\r\n")
                if connection.recv(64).startswith(b":"):
                    return
        except OSError:
            pass
        time.sleep(0.001)
    raise TimeoutError("the server does not answer")


@contextmanager
def _serving(kind: Kind, folder: Path, mode: str = "user") -> Iterator[Peer]:
    peer = _start(kind, folder, mode)
    try:
        yield peer
    finally:
        peer.process.send_signal(signal.SIGKILL)
        peer.process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _ask(
    peer: Peer, command: str, size: int, depth: int, count: int, clients: int = CLIENTS
) -> Sample:
    """One run of redis-benchmark: seconds and processor seconds of the server for 1000 requests."""
    before = cpu_seconds(peer.pid)
    last = str(max(os.sched_getaffinity(0)))
    done = subprocess.run(
        ["taskset", "-c", last, "redis-benchmark", "-p", str(peer.port), "-t", command,
         "-d", str(size), "-P", str(depth), "-n", str(count), "-c", str(clients),
         "-r", str(KEYS), "--csv"],
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    spent = cpu_seconds(peer.pid) - before
    rate = float(list(csv.reader(io.StringIO(done.stdout)))[-1][1])
    return Sample(value=1000 / rate, cpu_seconds=spent / count * 1000)


def _figure(name: str, samples: Sequence[Sample]) -> Figure:
    scaled = (Sample(value=s.value * 1000, cpu_seconds=s.cpu_seconds) for s in samples)
    return Figure(name=name, unit="ms", samples=tuple(scaled))


def _pair(
    name: str, samples: dict[str, list[Sample]], bound: float | None
) -> tuple[list[Figure], tuple[str, ...]]:
    """Redis' figure and ours beside it, and a row for the reader."""
    redis, ours = (_figure(f"{who}: {name}", samples[who]) for who in ("redis", "zdb"))
    held = Bound(at_most=bound, of="ratio") if bound else None
    rates = [f"{1e6 / figure.median:,.0f}" for figure in (ours, redis)]
    cpus = [f"{figure.cpu_ms or 0:.2f}" for figure in (ours, redis)]
    times = f"{redis.median / ours.median:.2f}"
    return [redis, judged(ours, redis, held)], (name, *rates, times, *cpus)


_COLUMNS: Final = ("", "zdb 1/s", "redis 1/s", "times", "zdb CPU µs each", "redis CPU µs each")


def _rates(folder: Path, repeat: int) -> tuple[list[Figure], Table]:
    figures, rows = [], []
    for size, count in SIZES:
        with _both(FAST, folder) as peers:
            for command, depth in itertools.product(("set", "get"), DEPTHS):
                samples: dict[str, list[Sample]] = {name: [] for name in peers}
                enough = count // 4 if depth == 1 else count
                for counted, name in turns(list(peers), repeat):
                    sample = _ask(peers[name], command, size, depth, enough)
                    if counted:
                        samples[name].append(sample)
                label = f"{command.upper()} {size} B, pipeline {depth}"
                made, row = _pair(label, samples, TIMES[depth])
                figures += made
                rows.append(row)
    title = "interval=1000 beside AOF everysec, 50 clients"
    return figures, Table(title=title, columns=_COLUMNS, rows=tuple(rows))


@contextmanager
def _both(kinds: Sequence[Kind], folder: Path) -> Iterator[dict[str, Peer]]:
    ours, redis = kinds
    with _serving(ours, folder / "zdb") as one, _serving(redis, folder / "redis") as other:
        yield {"zdb": one, "redis": other}


def _durable(folder: Path, repeat: int) -> tuple[list[Figure], Table]:
    figures, rows = [], []
    with _both(DURABLE, folder) as peers:
        for clients, depth in ((1, 1), (10, 1), (50, 1), (50, 16)):
            samples: dict[str, list[Sample]] = {name: [] for name in peers}
            for counted, name in turns(list(peers), repeat):
                count = 1500 * clients if depth == 1 else 120_000
                sample = _ask(peers[name], "set", 3, depth, min(count, 120_000), clients)
                if counted:
                    samples[name].append(sample)
            label = f"durable SET 3 B, {clients} clients, pipeline {depth}"
            made, row = _pair(label, samples, 1.0 if clients == CLIENTS else None)
            figures += made
            rows.append(row)
    title = "reply after fsync: group beside AOF always"
    return figures, Table(title=title, columns=_COLUMNS, rows=tuple(rows))


def _fill(port: int, begin: int, end: int, *, sequential: bool) -> None:
    value = b"abc"
    with zdb.Client(zdb.Address(port=port), timeout_seconds=60) as client:
        for start in range(begin, end, 5000):
            client.call([
                (b"SET", b"" if sequential else b"key:%012d" % number, value)
                for number in range(start, start + 5000)
            ])  # fmt: skip


def _memory(folder: Path) -> tuple[list[Figure], Table]:
    """Growth of memory for a million keys, then kill -9 and the time to the first answer."""
    rows, grown = [], {}
    restarts: dict[str, float] = {}
    for name, kind, mode in (("zdb user", FAST[0], "user"), ("zdb sequential", FAST[0], "seq"),
                             ("redis", FAST[1], "")):  # fmt: skip
        place = folder / "memory"
        peer = _start(kind, place, mode)
        # What a connection and a commit need is there before the growth by keys is measured.
        _fill(peer.port, 0, 10_000, sequential=mode == "seq")
        before = resident_bytes(peer.pid)
        _fill(peer.port, 10_000, KEYS + 10_000, sequential=mode == "seq")
        time.sleep(2.5)
        grown[name] = resident_bytes(peer.pid) - before
        peer.process.kill()
        peer.process.wait()
        began = time.perf_counter()
        again = _start(kind, place, mode)
        restarts[name] = time.perf_counter() - began
        again.process.kill()
        again.process.wait()
        shutil.rmtree(place)
        rows.append((name, f"{grown[name] / KEYS:.1f}", f"{restarts[name]:.3f}"))
    redis = _megabytes("redis: memory of 1 M keys", grown["redis"])
    figures = [
        redis,
        judged(_megabytes("zdb user: memory of 1 M keys", grown["zdb user"]), redis,
               Bound(at_most=40)),
        judged(_megabytes("zdb sequential: memory of 1 M ids", grown["zdb sequential"]), redis,
               Bound(at_most=1)),
        Figure(name="zdb user: restart after kill -9 with 1 M keys", unit="ms",
               samples=(Sample(value=restarts["zdb user"] * 1000),), bound=Bound(at_most=100)),
    ]  # fmt: skip
    columns = ("1 M keys of 3 B", "bytes a key", "restart to first answer, s")
    return figures, Table(title="memory and restart", columns=columns, rows=tuple(rows))


def _megabytes(name: str, size: int) -> Figure:
    return Figure(name=name, unit="MB", samples=(Sample(value=size / 1e6),))


def _disk(folder: Path) -> Table:
    """4 KiB values at depth 64 beside what a sequential writer reaches on the same disk."""
    with _serving(FAST[0], folder / "zdb") as peer:
        best = min(_ask(peer, "set", 4096, 64, 120_000).value for _ in range(2))
    file = folder / "fio"
    done = subprocess.run(
        ["fio", "--name=w", f"--filename={file}", "--rw=write", "--bs=1M", "--size=512M",
         "--end_fsync=1", "--output-format=json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    file.unlink()
    writer = json.loads(done.stdout)["jobs"][0]["write"]["bw_bytes"] / 1e6
    ours = 4.096 / best / 1000 * 1000
    row = (f"{ours:.0f}", f"{writer:.0f}", f"{ours / writer:.2f}")
    return Table(title="4 KiB SET, pipeline 64, beside a sequential writer",
                 columns=("zdb MB/s", "fio MB/s", "share"), rows=(row,))  # fmt: skip


def measure(ground: Ground, repeat: int) -> Report:
    """Everything, on an empty folder of its own."""
    folder = ground.folder / "zdb"
    repeat = min(repeat, REPEAT_MAX)
    figures, fast = _rates(folder, repeat)
    durable_figures, durable = _durable(folder, repeat)
    memory_figures, memory = _memory(folder)
    tables = (fast, durable, memory, _disk(folder))
    return Report(figures=tuple(figures + durable_figures + memory_figures), tables=tables)
