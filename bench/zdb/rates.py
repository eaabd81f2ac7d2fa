"""Zero-DB beside Redis: throughput, processor time, durability, memory and restart.

All serve from the first processor and are asked in turns from the last one (`peers`).
`--sync interval=1000` stands beside AOF everysec, `--sync group` beside AOF always. Rates are told
as milliseconds for a thousand requests, so that less is better as everywhere here, with the
server's processor time for the same thousand; tables have requests a second for the reader.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

from bench.figures import Bound, Figure, Report, Sample, Table, judged, timed
from bench.ground import Ground
from bench.meters import resident_bytes, turns
from bench.zdb.peers import (
    Kind,
    Load,
    Peer,
    Run,
    alone,
    control,
    placed,
    run,
    serving,
    settle,
    start,
)
from tfgrid.capacity import zdb

__all__ = ["measure"]

# Value bytes, and how many keys there are of that size.
SIZES: Final = ((3, 500_000), (512, 200_000), (4096, 50_000))
COMMANDS: Final[tuple[Literal["get", "set"], ...]] = ("get", "set")
DEPTHS: Final = (1, 16, 64)
# How many times Redis' time ours may take, by pipeline depth.
TIMES: Final = {1: 1 / 1.3, 16: 1.0, 64: 1 / 1.6}
# Processors that are shared with other machines change their speed from one second to the next, so
# that turns are short and many, and neighbours in time are compared. Writing goes on behind a SET's
# reply: its turns are longer.
TURNS: Final = {"get": 10, "set": 5}
TURN_SECONDS: Final = {"get": 0.15, "set": 0.3}
KEYS: Final = 1_000_000
REPEATS: Final = (3, 5)
# Clients and pipeline of durable SETs; those with a bound are the issue's.
DURABLE: Final = (
    (1, 1, None), (10, 1, None), (50, 1, 1.0), (200, 1, None), (50, 16, 1.0),
)  # fmt: skip
DURABLE_TURNS: Final = 8
DURABLE_SECONDS: Final = 0.3
WRITTEN_BYTES: Final = 1 << 30
CONTROL_REQUESTS: Final = 60_000
RESTARTS: Final = 5

# What Redis has in memory anyway, zdb may keep there too: the largest set of values is 205 MB.
FAST: Final = {
    "zdb": Kind("zdb", "interval=1000", cache_bytes=256 << 20), "redis": Kind("redis", "everysec")
}  # fmt: skip
# The same beside a Redis that rewrites its file, which is what it does unless told otherwise.
USUAL: Final = {**FAST, "redis": replace(FAST["redis"], rewrites=True)}
SAFE: Final = {"zdb": Kind("zdb", "group"), "redis": Kind("redis", "always")}

_COLUMNS: Final = ("", "zdb 1/s", "redis 1/s", "times", "half of the turns", "zdb CPU µs",
                   "redis CPU µs", "null 1/s", "null times redis")  # fmt: skip
_PAIR: Final = _COLUMNS[:7]


def _figure(name: str, runs: Sequence[Run]) -> Figure:
    samples = (Sample(value=1e6 / r.rate, cpu_seconds=r.cpu_us / 1000) for r in runs)
    return Figure(name=name, unit="ms", samples=tuple(samples))


def _rate(runs: Sequence[Run]) -> float:
    return statistics.median(one.rate for one in runs)


def _half(ours: Sequence[Run], redis: Sequence[Run]) -> str:
    """Between which ratios the middle half of the turns lies, each turn for itself."""
    ratios = [one.rate / other.rate for one, other in zip(ours, redis, strict=True)]
    if len(ratios) == 1:
        return f"{ratios[0]:.2f}"
    low, _, high = statistics.quantiles(ratios, n=4)
    return f"{low:.2f} to {high:.2f}"


def _cpu(runs: Sequence[Run]) -> str:
    return f"{statistics.median(one.cpu_us for one in runs):.2f}"


def _row(label: str, runs: Mapping[str, Sequence[Run]]) -> tuple[str, ...]:
    ours, redis = runs["zdb"], runs["redis"]
    row: tuple[str, ...] = (label, f"{_rate(ours):,.0f}", f"{_rate(redis):,.0f}",
           f"{_rate(ours) / _rate(redis):.2f}", _half(ours, redis), _cpu(ours),
           _cpu(redis))  # fmt: skip
    if null := runs.get("null"):
        row += (f"{_rate(null):,.0f}", f"{_rate(null) / _rate(redis):.2f}")
    return row


def _pair(label: str, runs: Mapping[str, Sequence[Run]], bound: float | None) -> list[Figure]:
    """Redis' figure and ours beside it."""
    redis, ours = (_figure(f"{who}: {label}", runs[who]) for who in ("redis", "zdb"))
    return [redis, judged(ours, redis, Bound(at_most=bound, of="ratio") if bound else None)]


def _asked(peers: Mapping[str, Peer], load: Load, repeat: int) -> dict[str, list[Run]]:
    runs: dict[str, list[Run]] = {name: [] for name in peers}
    for _, name in turns(list(peers), repeat, warm=0):
        if load.command == "set":
            settle()
        # The null server does nothing while it is not asked.
        with alone(peers[name], (peers[other] for other in peers if other != "null")):
            runs[name].append(run(peers[name], load))
    return runs


def _fill(peers: Mapping[str, Peer], value_bytes: int, keys: int) -> None:
    """Store all keys, and read for a while: the first reads fill caches and are not counted."""
    for name, peer in peers.items():
        if name != "null":
            load = Load(command="fill", value_bytes=value_bytes, keys=keys, depth=64)
            run(peer, load)
            run(peer, replace(load, command="get", seconds=2.0))


def _rates(folder: Path, repeat: int) -> tuple[list[Figure], list[Table]]:
    figures, rows, controls, usual = [], [], [], []
    for size, keys in SIZES:
        with serving({**FAST, "null": Kind("null", value_bytes=size)}, folder) as peers:
            _fill(peers, size, keys)
            for command, depth in itertools.product(COMMANDS, DEPTHS):
                load = Load(command=command, value_bytes=size, keys=keys, depth=depth,
                            seconds=TURN_SECONDS[command])  # fmt: skip
                label = f"{command.upper()} {size} B, pipeline {depth}"
                runs = _asked(peers, load, repeat * TURNS[command])
                figures += _pair(label, runs, TIMES[depth])
                rows.append(_row(label, runs))
            if size == SIZES[0][0]:
                controls = _controls({name: peers[name] for name in FAST}, size, keys, repeat)
        usual += _usual(size, keys, folder, repeat)
    title = "interval=1000 and --cache of 256 MiB beside AOF everysec, 50 clients"
    fast = Table(title=title, columns=_COLUMNS, rows=tuple(rows))
    rewriting = Table(title="the same writes beside a Redis that rewrites its file, as it does "
                      "unless told otherwise", columns=_PAIR, rows=tuple(usual))  # fmt: skip
    slower = Table(title="the same asked by redis-benchmark, which is the slower party",
                    columns=_PAIR, rows=tuple(controls))  # fmt: skip
    return figures, [fast, rewriting, slower]


def _usual(size: int, keys: int, folder: Path, repeat: int) -> list[tuple[str, ...]]:
    rows = []
    with serving(USUAL, folder) as peers:
        _fill(peers, size, keys)
        for depth in DEPTHS:
            load = Load(command="set", value_bytes=size, keys=keys, depth=depth,
                        seconds=TURN_SECONDS["set"])  # fmt: skip
            runs = _asked(peers, load, repeat * TURNS["set"])
            rows.append(_row(f"SET {size} B, pipeline {depth}", runs))
    return rows


def _controls(
    peers: Mapping[str, Peer], size: int, keys: int, repeat: int
) -> list[tuple[str, ...]]:
    load = Load(command="set", value_bytes=size, keys=keys)
    runs: dict[str, list[Run]] = {name: [] for name in peers}
    for _, name in turns(list(peers), repeat, warm=0):
        runs[name].append(control(peers[name], load, CONTROL_REQUESTS))
    return [_row(f"SET {size} B, pipeline 1", runs)]


def _durable(folder: Path, repeat: int) -> tuple[list[Figure], Table]:
    figures, rows = [], []
    with serving(SAFE, folder) as peers:
        for clients, depth, bound in DURABLE:
            load = Load(command="set", value_bytes=3, keys=KEYS, depth=depth, clients=clients,
                        seconds=DURABLE_SECONDS)  # fmt: skip
            runs = _asked(peers, load, repeat * DURABLE_TURNS)
            label = f"durable SET 3 B, {clients} clients, pipeline {depth}"
            figures += _pair(label, runs, bound)
            rows.append(_row(label, runs))
    title = "reply after fsync: group beside AOF always"
    return figures, Table(title=title, columns=_PAIR, rows=tuple(rows))


def _keys(port: int, begin: int, end: int, *, sequential: bool) -> None:
    value = b"abc"
    with zdb.Client(zdb.Address(port=port), timeout_seconds=60) as client:
        for first in range(begin, end, 5000):
            client.call([
                (b"SET", b"" if sequential else b"key:%012d" % number, value)
                for number in range(first, first + 5000)
            ])  # fmt: skip


def _memory(folder: Path) -> tuple[list[Figure], Table]:
    """Growth of memory for a million keys, then kill -9 and the time to the first answer."""
    rows, grown = [], {}
    restarts: dict[str, list[float]] = {}
    for name, kind in (("zdb user", FAST["zdb"]), ("redis", FAST["redis"]),
                       ("zdb sequential", Kind("zdb", "interval=1000", "seq"))):  # fmt: skip
        place, sequential = folder / "memory", kind.mode == "seq"
        peer = start(kind, place)
        # What a connection and a commit need is there before the growth by keys is measured.
        _keys(peer.port, 0, 10_000, sequential=sequential)
        before = resident_bytes(peer.pid)
        _keys(peer.port, 10_000, KEYS + 10_000, sequential=sequential)
        time.sleep(2.5)
        grown[name] = resident_bytes(peer.pid) - before
        restarts[name] = []
        for _ in range(RESTARTS):
            peer.process.kill()
            peer.process.wait()
            began = time.perf_counter()
            peer = start(kind, place)
            restarts[name].append(time.perf_counter() - began)
        peer.process.kill()
        peer.process.wait()
        shutil.rmtree(place)
        median, high = statistics.median(restarts[name]), max(restarts[name])
        rows.append((name, f"{grown[name] / KEYS:.1f}", f"{median:.3f}", f"{high:.3f}"))
    redis = _megabytes("redis: memory of 1 M keys", grown["redis"])
    figures = [
        redis,
        judged(_megabytes("zdb user: memory of 1 M keys", grown["zdb user"]), redis,
               Bound(at_most=40)),
        judged(_megabytes("zdb sequential: memory of 1 M ids", grown["zdb sequential"]), redis,
               Bound(at_most=1)),
        judged(timed("zdb user: restart after kill -9 with 1 M keys",
                     [Sample(value=seconds) for seconds in restarts["zdb user"]]),
               bound=Bound(at_most=100)),
    ]  # fmt: skip
    columns = ("1 M keys of 3 B", "bytes a key", "restart to first answer, s", "at most")
    return figures, Table(title="memory and restart", columns=columns, rows=tuple(rows))


def _megabytes(name: str, size: int) -> Figure:
    return Figure(name=name, unit="MB", samples=(Sample(value=size / 1e6),))


def _disk(folder: Path, repeat: int) -> tuple[list[Figure], Table]:
    """4 KiB values at depth 64 beside a sequential writer, each until all of it is on the disk."""
    ours, fio = [], []
    for _ in range(repeat):
        ours.append(_written_by_zdb(folder))
        fio.append(_written_by_fio(folder))
    writer = Figure(name="fio: 1 GiB written and synced", unit="ms", samples=tuple(fio))
    figure = Figure(name="zdb: 1 GiB of 4 KiB SETs written and synced", unit="ms",
                    samples=tuple(ours))  # fmt: skip
    speeds = [WRITTEN_BYTES / 1e3 / one.median for one in (figure, writer)]
    row = (f"{speeds[0]:.0f}", f"{speeds[1]:.0f}", f"{speeds[0] / speeds[1]:.2f}",
           f"{(figure.cpu_ms or 0) / 1000:.2f}")  # fmt: skip
    table = Table(title="4 KiB SET, pipeline 64, beside a sequential writer",
                  columns=("zdb MB/s", "fio MB/s", "share", "zdb CPU s"), rows=(row,))  # fmt: skip
    return [writer, judged(figure, writer, Bound(at_most=1 / 0.8, of="ratio"))], table


def _written_by_zdb(folder: Path) -> Sample:
    with serving({"zdb": FAST["zdb"]}, folder) as peers:
        peer, keys = peers["zdb"], WRITTEN_BYTES // 4096
        began = time.perf_counter()
        done = run(peer, Load(command="fill", value_bytes=4096, keys=keys, depth=64))
        # It closes the data file, which is a sync.
        with zdb.Client(zdb.Address(port=peer.port), timeout_seconds=60) as client:
            client.call([(b"NSJUMP",)])
        return Sample(value=(time.perf_counter() - began) * 1000, cpu_seconds=done.cpu_seconds)


def _written_by_fio(folder: Path) -> Sample:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "fio"
    done = subprocess.run(
        placed(["fio", "--name=w", f"--filename={file}", "--rw=write", "--bs=1M",
                f"--size={WRITTEN_BYTES}", "--end_fsync=1", "--output-format=json"],
               max(os.sched_getaffinity(0))),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    file.unlink()
    return Sample(value=float(json.loads(done.stdout)["jobs"][0]["write"]["runtime"]))


def measure(ground: Ground, repeat: int) -> Report:
    """Everything, on an empty folder of its own."""
    folder = ground.folder / "zdb"
    repeat = max(REPEATS[0], min(repeat, REPEATS[1]))
    figures, tables = _rates(folder, repeat)
    for more, table in (_durable(folder, repeat), _memory(folder), _disk(folder, REPEATS[1])):
        figures += more
        tables.append(table)
    return Report(figures=tuple(figures), tables=tuple(tables))
