"""From the approval that makes the quorum to the page that answers, and where the time goes.

Each round orders a guestbook with its images already on the nodes (another contract runs them
there), signs once, begins to ask for the page every ten milliseconds, and signs a second time. Time
zero is the order time of that second approval: what the ledger says, not what a client hopes. The
gateway has no route before, so starting HAProxy is part of it.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import statistics
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from bench.figures import Bound, Report, Sample, Table, judged, timed
from bench.ground import Grid, Ground, program
from bench.meters import cpu_seconds
from bench.rest import kind_of
from bench.table import number
from tfgrid.core.clock import SystemClock
from tfgrid.ledger import contract

__all__ = ["measure"]

_POLL_SECONDS: Final = 0.01
_GIVE_UP_SECONDS: Final = 60.0
_CLOCK: Final = SystemClock()
_ANSWERED: Final = "first 200 over HTTPS at the edge"

Span = tuple[float, float]
"""Begin and end in milliseconds since the quorum."""


class _Page:
    """Asks for a page over one kept connection, as often as one likes."""

    def __init__(self, grid: Grid, host: str) -> None:
        self._context = ssl.create_default_context(cafile=str(grid.paths.root_certificate))
        self._host, self._port = host, grid.file.edge_port
        self._connection: http.client.HTTPConnection | None = None

    def status(self) -> int:
        """The status of the answer; 0 without one."""
        try:
            connection = self._connection or self._connected()
            self._connection = connection
            connection.request("GET", "/", headers={"Host": self._host})
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            self.close()
            return 0
        return answer.status

    def close(self) -> None:
        """Give the connection up."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> http.client.HTTPConnection:
        plain = socket.create_connection(("127.0.0.1", self._port), timeout=2)
        try:
            wrapped = self._context.wrap_socket(plain, server_hostname=self._host)
        except OSError:
            plain.close()
            raise
        connection = http.client.HTTPConnection(self._host, self._port, timeout=2)
        connection.sock = wrapped
        return connection


def measure(ground: Ground, repeat: int) -> Report:
    """Order, sign, ask until the page answers, cancel: `repeat` times, at least five."""
    grid = ground.grid
    grid.keep_images_here("kept")
    names = grid.node_names()
    samples: list[Sample] = []
    rounds: list[dict[str, Span]] = []
    burnt: list[dict[str, float]] = []
    for count in range(max(5, repeat) + 1):
        name = f"round-{count}"
        spent, spans = _round(grid, name, names)
        answered = spans[_ANSWERED][1]
        if count:  # the first finds code and certificates not yet read
            samples.append(Sample(value=answered / 1000, cpu_seconds=sum(spent.values())))
            rounds.append(spans)
            burnt.append(spent)
        grid.cancel(name)
    figure = judged(timed("quorum to page answering", samples), None, Bound(at_most=5000))
    return Report(figures=(figure,), tables=(_where(rounds), _who(burnt)))


def _round(
    grid: Grid, name: str, names: dict[str, str]
) -> tuple[dict[str, float], dict[str, Span]]:
    """Processor seconds by kind of process, and spans by what happened."""
    host = grid.order(name)
    grid.sign(name, "budget")
    page = _Page(grid, host)
    before = _cpu(grid)
    last = ("contract", "sign", name, "--as", "security", "--grid", str(grid.root), "--json")
    signing = subprocess.Popen([str(program()), *last], stdout=subprocess.DEVNULL)
    signed, answered = _poll(page, signing)
    spent = {kind: cpu - before.get(kind, 0.0) for kind, cpu in _cpu(grid).items()}
    page.close()
    if signing.wait() != 0:
        raise SystemExit(f"signing {name} failed")
    state = grid.wait(name, "running")
    zero = state.approved_at
    spans = {"sign command answers": (0.0, float(signed - zero))}
    spans |= _receipts(state, zero) | _steps(grid, state, names)
    spans[_ANSWERED] = (0.0, float(answered - zero))
    return spent, spans


def _poll(page: _Page, signing: subprocess.Popen[bytes]) -> tuple[int, int]:
    """When the sign command ended and when the page first answered."""
    signed = 0
    until = time.monotonic() + _GIVE_UP_SECONDS
    while time.monotonic() < until:
        if not signed and signing.poll() is not None:
            signed = _CLOCK.now_ms()
        if page.status() == 200:
            answered = _CLOCK.now_ms()
            signing.wait()
            return signed or _CLOCK.now_ms(), answered
        time.sleep(_POLL_SECONDS)
    raise SystemExit(f"the page did not answer within {_GIVE_UP_SECONDS:.0f} s")


def _cpu(grid: Grid) -> dict[str, float]:
    spent: dict[str, float] = defaultdict(float)
    for pid, command in grid.processes().items():
        spent[kind_of(command)] += cpu_seconds(pid, with_waited=True)
    return spent


def _receipts(state: contract.ContractState, zero: int) -> dict[str, Span]:
    """Order times of what the nodes said."""
    accepted = [f.at - zero for f in state.receipts if f.receipt.state == "accepted"]
    running = [f.at - zero for f in state.receipts if f.receipt.state == "running"]
    return {
        "accepted by the nodes (ledger)": (float(min(accepted)), float(max(accepted))),
        "running by the nodes (ledger)": (float(min(running)), float(max(running))),
    }


def _steps(
    grid: Grid, state: contract.ContractState, names: dict[str, str]
) -> dict[str, Span]:  # fmt: skip
    """What each node did, from its log: begin and end of each step."""
    found: dict[str, Span] = {}
    for node in state.nodes:
        for what, begin, end in _done(grid, names[node], state):
            kind, _, workload = what.partition(" ")
            label = f"{kind} {workload}" if kind != "network" else "network, all nodes"
            old = found.get(label, (begin, end))
            found[label] = (min(old[0], begin), max(old[1], end))
    return found


def _done(
    grid: Grid, node: str, state: contract.ContractState
) -> Iterator[tuple[str, float, float]]:  # fmt: skip
    for line in grid.lines(node):
        words = str(line.get("step", "")).split(" ")
        if line["event"] != "step done" or line["at_ms"] < state.approved_at or len(words) != 3:
            continue
        owner, _, workload = words[2].partition("/")
        if words[0] == "item" and owner == state.contract:
            end = float(line["at_ms"] - state.approved_at)
            yield f"{words[1]} {workload}", end - line["milliseconds"], end


def _where(rounds: list[dict[str, Span]]) -> Table:
    """Medians of begin and end over the rounds, in the order in which they end."""
    gathered: dict[str, list[Span]] = defaultdict(list)
    for spans in rounds:
        for name, span in spans.items():
            gathered[name].append(span)
    middles = {
        name: (statistics.median(s[0] for s in spans), statistics.median(s[1] for s in spans))
        for name, spans in gathered.items()
    }
    rows = tuple(
        (name, number(begin), number(end - begin), number(end))
        for name, (begin, end) in sorted(middles.items(), key=lambda item: item[1][1])
    )
    title = f"where the time goes: ms since the quorum, medians of {len(rounds)} rounds"
    return Table(title=title, columns=("what", "begins", "takes", "ends"), rows=rows)


def _who(burnt: list[dict[str, float]]) -> Table:
    """Medians of the processor time until the page answered, by kind of process."""
    kinds = sorted({kind for spent in burnt for kind in spent})
    middles = {k: 1000 * statistics.median(s.get(k, 0.0) for s in burnt) for k in kinds}
    rows = tuple((kind, number(middles[kind])) for kind in sorted(kinds, key=lambda k: -middles[k]))
    title = "who worked for it: processor ms of all processes of a kind, from signing to the page"
    return Table(title=title, columns=("process", "cpu ms"), rows=rows)
