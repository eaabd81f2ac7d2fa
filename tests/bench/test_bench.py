"""The benchmarks' arithmetic and tables; nothing here is timed."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path

import pytest

import bench
from bench import figures, meters, rest, table
from bench.__main__ import BENCHMARKS
from bench.figures import Bound, Figure, Report, Sample, Table, judged
from bench.zdb import peers, rates


def _figure(*values: float, name: str = "ours") -> Figure:
    return Figure(
        name=name, unit="ms", samples=tuple(Sample(value=v, cpu_seconds=v / 1000) for v in values)
    )


@pytest.mark.parametrize("name", bench.__all__)
def test_every_module_of_the_map_is_there(name: str) -> None:
    """Each module that the package names can be imported and offers what it lists."""
    module = importlib.import_module(f"bench.{name}")
    assert all(hasattr(module, word) for word in module.__all__)


def test_every_benchmark_is_on_the_map() -> None:
    """What `make bench` runs is named in the package's map and in the document."""
    assert set(BENCHMARKS) <= set(bench.__all__)
    text = Path("docs/benchmarks.md").read_text("utf-8")
    assert all(f"`{name}`" in text for name in BENCHMARKS)


def test_a_figure_is_its_median_with_its_spread() -> None:
    """One slow sample moves the spread and not the figure."""
    figure = _figure(3, 1, 900, 2, 4)
    assert (figure.median, figure.low, figure.high) == (3, 1, 900)
    assert figure.cpu_ms == 3
    assert _figure(1).ratio is None


def test_processor_time_may_be_unknown() -> None:
    """A figure whose samples carry no processor time tells none."""
    assert Figure(name="x", unit="%", samples=(Sample(value=1),)).cpu_ms is None


@pytest.mark.parametrize(
    ("bound", "met"),
    [
        (Bound(at_most=30), True),
        (Bound(at_most=29), False),
        (Bound(at_most=31, of="worst"), False),
        (Bound(at_most=32, of="worst"), True),
        (Bound(at_most=20, of="distance"), True),
        (Bound(at_most=19, of="distance"), False),
        (Bound(at_most=3, of="ratio"), True),
        (Bound(at_most=2.9, of="ratio"), False),
    ],
)
def test_a_bound_is_held_against_what_it_names(bound: Bound, met: bool) -> None:
    """Value, worst sample, distance and ratio are judged each by itself, the limit included."""
    ours, peer = _figure(28, 30, 32), _figure(10, name="peer")
    assert judged(ours, peer, bound).met is met
    assert judged(ours, peer).met is None


def test_a_table_says_what_is_missed() -> None:
    """A row carries peer, ratio, target and verdict, in columns of one width."""
    ours, peer = _figure(30), _figure(10, name="peer")
    text = table.figures_text([peer, judged(ours, peer, Bound(at_most=2, of="ratio"))])
    head, first, second = text.splitlines()
    assert head.split() == [
        "figure", "median", "min", "max", "n", "cpu", "ms", "beside", "ratio", "target",
    ]  # fmt: skip
    assert first.split()[:3] == ["peer", "10.0", "ms"]
    assert second.endswith("peer 10.0   3.00  <= 2.00 x  MISSED")


def test_numbers_have_the_digits_that_matter() -> None:
    """Small and large values are told with about three digits."""
    told = [table.number(v) for v in (0, 0.01234, 1.234, 12.34, 1234.5)]
    assert told == ["0.00", "0.012", "1.23", "12.3", "1234"]


def test_json_carries_every_sample() -> None:
    """What is written for programs has the samples, the verdicts and the tables."""
    made = Table(title="t", columns=("a",), rows=(("1",),))
    report = Report(figures=(judged(_figure(1, 2), bound=Bound(at_most=1)),), tables=(made,))
    data = json.loads(table.as_json({"x": report}, {"kernel": "k"}))
    (figure,) = data["benchmarks"]["x"]["figures"]
    assert figure["samples"] == [1, 2] and figure["met"] is False
    assert data["benchmarks"]["x"]["tables"][0]["rows"] == [["1"]]
    assert data["machine"] == {"kernel": "k"}


def test_ways_take_turns() -> None:
    """Each way comes first as often as the others, and warm rounds are not counted."""
    seen: list[str] = []
    ways = {name: (lambda name=name: seen.append(name)) for name in "abc"}
    samples = meters.in_turns(ways, 3)
    assert "".join(seen) == "abc" + "bca" + "cab" + "abc"
    assert {name: len(taken) for name, taken in samples.items()} == {"a": 3, "b": 3, "c": 3}
    assert [counted for counted, _ in meters.turns("ab", 1)] == [False, False, True, True]


def test_a_process_is_metered() -> None:
    """Our own process has memory, time and a command; one that is gone has none of them."""
    pid, gone = os.getpid(), 2**22 + 1
    assert meters.resident_bytes(pid) > 1_000_000 and meters.cpu_seconds(pid) > 0
    assert pid in meters.children([os.getppid()]) and "py" in meters.command_of(pid)
    assert (meters.resident_bytes(gone), meters.cpu_seconds(gone)) == (0, 0)
    assert meters.command_of(gone) == ""


def test_pinning_is_given_back() -> None:
    """Within the block one processor is used, afterwards those of before."""
    before = os.sched_getaffinity(0)
    with meters.pinned():
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        ("python3 -m tfgrid.agents.zos /g/nodes/n1", "node"),
        ("python3 -m tfgrid.agents.zos.keeper /run/x /g/nodes/n1/keeper", "keeper"),
        ("haproxy -db -f /g/edge/haproxy.cfg", "haproxy, edge"),
        ("wireguard-go -f wg0", "wireguard-go"),
        ("redis-server 0.0.0.0:6379", "workload"),
    ],
)
def test_processes_are_told_apart(command: str, kind: str) -> None:
    """A keeper is no node, and what nobody knows is a workload."""
    assert rest.kind_of(command) == kind


def test_a_run_is_a_rate_and_a_cost() -> None:
    """Requests by seconds and processor seconds by requests; twice as quick is half the time."""
    ours, redis = peers.Run(2000, 0.5, 0.01), peers.Run(1000, 0.5, 0.01)
    assert (ours.rate, ours.cpu_us, redis.cpu_us) == (4000, 5, 10)
    first, second = rates._pair("SET", {"zdb": [ours], "redis": [redis]}, 1 / 1.6)
    assert (first.name, second.name, second.met) == ("redis: SET", "zdb: SET", True)
    assert second.ratio == 0.5


def test_a_row_tells_how_near_the_ceiling_is() -> None:
    """Rates, their ratio, between which ratios half of the turns lie, cost, what null reaches."""
    runs = {
        "zdb": [peers.Run(n, 1, 0.01) for n in (900, 1000, 1100)],
        "redis": [peers.Run(n, 1, 0.01) for n in (450, 500, 440)],
        "null": [peers.Run(n, 1, 0.01) for n in (900, 900, 100)],
    }
    row = rates._row("GET", runs)
    assert len(row) == len(rates._COLUMNS)
    assert row[:7] == ("GET", "1,000", "450", "2.22", "2.00 to 2.50", "10.00", "22.22")
    assert row[7:] == ("900", "2.00")


def test_units_of_time_are_milliseconds() -> None:
    """Samples in seconds become a figure in milliseconds, with their processor time kept."""
    figure = figures.timed("x", [Sample(value=0.25, cpu_seconds=0.5)])
    assert (figure.median, figure.unit, figure.cpu_ms) == (250, "ms", 500)
