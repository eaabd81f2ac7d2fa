"""Places for workloads: cheapest first, complete, with every reason.

The search goes through the workloads, those with the fewest candidates first, and gives each the
cheapest node that still has room and that its spread permits; where one ends up without a node, it
goes back. Ties are broken by what is least reserved, then by name and id, so that the same
arguments give the same places. Two things keep it short: like workloads take their nodes in order,
and at each step a node that is in every way like one that failed there is not tried. It is complete
up to `steps_max` steps, beyond which it gives up and says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from tfgrid.core import limits
from tfgrid.core.ids import NodeId
from tfgrid.core.units import Capacity, bytes_text
from tfgrid.ledger.contract.checks import apart_by, gap_text, placing_faults, together
from tfgrid.ledger.contract.model import Constraints, Network, Placed, Route, Workload, asked
from tfgrid.ledger.farm import NodeInfo, Payment

__all__ = ["Found", "Refused", "search", "steps_max"]

steps_max: Final = 20_000
"""Nodes tried before the search gives up."""

Sizes: TypeAlias = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A node for each workload, how many had fitted it, and why not those before."""

    nodes: Mapping[str, NodeInfo]
    fitting: Mapping[str, int]
    skipped: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """No places: the workload that found none, and every reason of every node that was refused.

    `reasons` is by node id; `grid` holds what no single node could mend. `complete` is false if the
    search gave up.
    """

    workload: str
    reasons: Mapping[NodeId, tuple[str, ...]]
    grid: tuple[str, ...]
    complete: bool


@dataclass(slots=True)
class _Seat:
    """A node during the search: what is left of it, and which workloads it was given."""

    node: NodeInfo
    left: Sizes
    price: dict[Sizes, int] = field(default_factory=dict)
    guests: list[str] = field(default_factory=list)

    def alike(self, named: frozenset[str]) -> object:
        """What two nodes must share for the search to treat them as one."""
        node = self.node
        own = node.node if self.guests or node.node in named else ""
        kind = (node.farm, node.country, node.trust, node.roles, node.domains)
        return (self.left, own, kind)


def _sizes(capacity: Capacity) -> Sizes:
    return (
        capacity.cpu_millis,
        capacity.memory_bytes,
        capacity.ssd_bytes,
        capacity.hdd_bytes,
    )


def _minus(left: Sizes, needs: Sizes) -> Sizes:
    return (left[0] - needs[0], left[1] - needs[1], left[2] - needs[2], left[3] - needs[3])


def _holds(left: Sizes, needs: Sizes) -> bool:
    return (
        left[0] >= needs[0] and left[1] >= needs[1] and left[2] >= needs[2] and left[3] >= needs[3]
    )


def _signature(workload: Placed) -> object:
    """What two workloads must share to have the same candidates."""
    host = workload.host if isinstance(workload, Route) else ""
    return (type(workload), host, asked(workload), workload.constraints)


@dataclass(slots=True)
class _Search:
    seats: list[_Seat]
    order: list[Placed]
    candidates: dict[str, list[_Seat]]
    needs: dict[str, Sizes]
    cap: int | None
    named: frozenset[str]
    cheapest_rest: list[int]
    steps_left: int
    chosen: dict[str, _Seat] = field(default_factory=dict)
    deepest: int = -1
    blocked: dict[NodeId, str] = field(default_factory=dict)
    used: Counter[NodeId] = field(default_factory=Counter)

    def run(self, depth: int, spent: int, start: int) -> bool:
        """Place the workloads from `depth` on, the first from candidate `start` on."""
        if depth == len(self.order):
            return True
        workload = self.order[depth]
        needs, seats = self.needs[workload.name], self.candidates[workload.name]
        failed: set[object] = set()
        reached = depth > self.deepest
        if reached:
            self.deepest, self.blocked = depth, {}
        for index in range(start, len(seats)):
            seat = seats[index]
            why = self._obstacle(workload, seat, needs, spent, depth)
            if why:
                if depth == self.deepest:
                    self.blocked[seat.node.node] = why
                continue
            key = seat.alike(self.named)
            if key in failed:
                continue
            self.steps_left -= 1
            if self.steps_left < 0:
                return False
            if self._with(workload, seat, depth, spent, index):
                return True
            failed.add(key)
        return False

    def _with(self, workload: Placed, seat: _Seat, depth: int, spent: int, index: int) -> bool:
        before, needs = seat.left, self.needs[workload.name]
        seat.left = _minus(before, needs)
        seat.guests.append(workload.name)
        self.chosen[workload.name] = seat
        self.used[seat.node.node] += 1
        like = depth + 1 < len(self.order) and (
            self.candidates[self.order[depth + 1].name] is self.candidates[workload.name]
        )
        if self.run(depth + 1, spent + seat.price[needs], index if like else 0):
            return True
        self.used[seat.node.node] -= 1
        del self.chosen[workload.name]
        seat.guests.pop()
        seat.left = before
        return False

    def _obstacle(self, workload: Placed, seat: _Seat, needs: Sizes, spent: int, depth: int) -> str:
        """Why a node that fits by itself does not in this arrangement; empty if it does."""
        if not _holds(seat.left, needs):
            return f"{_shortage(seat.left, needs)} left beside {', '.join(seat.guests)}"
        new = not self.used[seat.node.node]
        if new and sum(1 for n in self.used.values() if n) >= limits.nodes_per_contract_max:
            return f"a contract may use {limits.nodes_per_contract_max} nodes"
        if self.cap is not None:
            total = spent + seat.price[needs] + self.cheapest_rest[depth + 1]
            if total > self.cap:
                return "the whole would cost more than the price cap"
        if workload.constraints.group:
            return self._clash(workload.constraints, seat)
        return ""

    def _clash(self, constraints: Constraints, seat: _Seat) -> str:
        for other in self.order:
            there = self.chosen.get(other.name)
            if there is not None:
                shared = together(constraints, other.constraints, seat.node, there.node)
                if shared:
                    return f"{shared} already used by {other.name} (spread={shared})"
        return ""


def _shortage(left: Sizes, needs: Sizes) -> str:
    names = ("cpu", "memory", "disk", "hdd")
    for name, has, wants in zip(names, left, needs, strict=True):
        if has < wants:
            if name == "cpu":
                return f"{name}: {wants / 1000:g} asked, {has / 1000:g}"
            return f"{name}: {bytes_text(wants)} asked, {bytes_text(has)}"
    raise AssertionError("nothing is short")


def search(
    workloads: Sequence[Workload],
    nodes: Sequence[NodeInfo],
    *,
    payment: Payment,
    cap: int | None = None,
    steps: int = steps_max,
    explain: bool = True,
) -> Found | Refused:
    """Places for the workloads among these that have a node of their own.

    Args:
        workloads: what to place; networks follow from it.
        nodes: the inventory, in any order.
        payment: nodes of farms that do not offer it are refused.
        cap: the most that all may cost a day, in ten-millionths of a TFT.
        steps: how long to search before giving up.
        explain: whether to gather reasons; a trial needs none.

    """
    placed = [w for w in workloads if not isinstance(w, Network)]
    seats = [
        _Seat(node=node, left=_sizes(node.free))
        for node in sorted(nodes, key=lambda n: (_load_permille(n), n.name, n.node))
    ]
    lists: dict[object, list[_Seat]] = {}
    candidates: dict[str, list[_Seat]] = {}
    for workload in placed:
        key = _signature(workload)
        if key not in lists:
            lists[key] = _candidates(workload, seats, payment)
        candidates[workload.name] = lists[key]
    needs = {w.name: _sizes(asked(w)) for w in placed}
    order = _ordered(placed, candidates, needs)
    task = _Search(
        seats=seats, order=order, candidates=candidates, needs=needs, cap=cap,
        named=frozenset(n for w in placed for n in w.constraints.nodes),
        cheapest_rest=_cheapest_rest(order, candidates, needs), steps_left=steps,
    )  # fmt: skip
    empty = next((w for w in order if not candidates[w.name]), None)
    if empty is None and task.run(0, 0, 0):
        return _found(task, payment, explain=explain)
    return _refused(task, empty, payment, explain=explain)


def _load_permille(node: NodeInfo) -> int:
    """How much of a node is reserved, in the dimension that is fullest."""
    held = _sizes(node.reserved)
    if not any(held):
        return 0
    has = _sizes(node.capacity)
    return max((1000 * h // c for h, c in zip(held, has, strict=True) if c), default=0)


def _candidates(workload: Placed, seats: Sequence[_Seat], payment: Payment) -> list[_Seat]:
    """The nodes that may have a workload and that fit it by themselves, cheapest first."""
    capacity = asked(workload)
    needs = _sizes(capacity)
    fitting = []
    for seat in seats:
        node = seat.node
        if not _holds(seat.left, needs) or payment not in node.payments:
            continue
        if placing_faults(workload, node):
            continue
        seat.price[needs] = int(node.prices.of(capacity))
        fitting.append(seat)
    return sorted(fitting, key=lambda seat: seat.price[needs])


def _ordered(
    placed: Sequence[Placed], candidates: Mapping[str, list[_Seat]], needs: Mapping[str, Sizes]
) -> list[Placed]:
    """The workloads, those with the fewest candidates first, likes side by side."""
    first: dict[int, int] = {}
    for position, workload in enumerate(placed):
        first.setdefault(id(candidates[workload.name]), position)
    return sorted(
        placed,
        key=lambda w: (
            len(candidates[w.name]),
            tuple(-size for size in needs[w.name]),
            first[id(candidates[w.name])],
        ),
    )


def _cheapest_rest(
    order: Sequence[Placed], candidates: Mapping[str, list[_Seat]], needs: Mapping[str, Sizes]
) -> list[int]:
    """For each depth the least that all workloads from there on can cost."""
    rest = [0]
    for workload in reversed(order):
        seats = candidates[workload.name]
        least = seats[0].price[needs[workload.name]] if seats else 0
        rest.append(rest[-1] + least)
    return rest[::-1]


def _found(task: _Search, payment: Payment, *, explain: bool) -> Found:
    fitting, skipped = {}, {}
    for workload in task.order:
        seats, chosen = task.candidates[workload.name], task.chosen[workload.name]
        fitting[workload.name] = len(seats)
        notes = _why_skipped(task, workload, chosen, payment) if explain else ()
        skipped[workload.name] = tuple(notes)
    nodes = {name: seat.node for name, seat in task.chosen.items()}
    return Found(nodes=nodes, fitting=fitting, skipped=skipped)


_NOTES_MAX: Final = 3


def _why_skipped(task: _Search, workload: Placed, chosen: _Seat, payment: Payment) -> list[str]:
    """Why not the nodes that would have come before, then why others were refused; a few."""
    notes: list[str] = []
    for seat in task.candidates[workload.name]:
        if seat is chosen or len(notes) == _NOTES_MAX:
            break
        clash = _clash_of(task, workload, seat)
        short = _shortage_of(task, workload, seat)
        notes.append(f"{seat.node.name}: {clash or short or 'kept for the others'}")
    fits = {id(seat) for seat in task.candidates[workload.name]}
    for seat in task.seats:
        if len(notes) == _NOTES_MAX:
            break
        if id(seat) not in fits:
            notes.append(f"{seat.node.name}: {_static_reasons(workload, seat, payment)[0]}")
    return notes


def _clash_of(task: _Search, workload: Placed, seat: _Seat) -> str:
    for other in task.order:
        if other.name != workload.name:
            there = task.chosen[other.name].node
            shared = together(workload.constraints, other.constraints, seat.node, there)
            if shared:
                return f"{shared} already used by {other.name} (spread={shared})"
    return ""


def _shortage_of(task: _Search, workload: Placed, seat: _Seat) -> str:
    needs = task.needs[workload.name]
    if _holds(seat.left, needs):
        return ""
    return f"{_shortage(seat.left, needs)} left beside {', '.join(seat.guests)}"


def _static_reasons(workload: Placed, seat: _Seat, payment: Payment) -> list[str]:
    """Every reason why a node does not fit a workload by itself."""
    node, needs = seat.node, asked(workload)
    reasons = list(placing_faults(workload, node))
    if node.country and payment not in node.payments:
        reasons.append(f"farm {node.farm_name} does not offer payment {payment}")
    reasons.extend(gap_text(name, needs, node) for name in node.free.lacks(needs))
    return reasons


def _refused(task: _Search, empty: Placed | None, payment: Payment, *, explain: bool) -> Refused:
    workload = empty or task.order[max(task.deepest, 0)]
    likes: dict[int, Placed] = {}
    for one in task.order:
        likes.setdefault(id(task.candidates[one.name]), one)
    reasons: dict[NodeId, tuple[str, ...]] = {}
    for seat in task.seats if explain else ():
        found = [
            f"{one.name}: {reason}"
            for one in likes.values()
            for reason in _static_reasons(one, seat, payment)
        ]
        if empty is None and any(seat is one for one in task.candidates[workload.name]):
            # One that an alike workload had tried, or that is alike another, was not tried again.
            blocked = task.blocked.get(seat.node.node, "fits by itself, but not beside the others")
            found.append(f"{workload.name}: {blocked}")
        if found:
            reasons[seat.node.node] = tuple(found)
    grid = [] if task.seats else ["there are no nodes"]
    return Refused(
        workload=workload.name, reasons=reasons, grid=(*grid, *_grid_reasons(task)),
        complete=task.steps_left >= 0,
    )  # fmt: skip


def _grid_reasons(task: _Search) -> list[str]:
    """What no single node could mend: a spread wider than the grid."""
    needed: Counter[tuple[str, str]] = Counter()
    for one in task.order:
        apart = apart_by(one.constraints, one.constraints)
        if apart:
            needed[one.constraints.group, apart] += 1
    reasons = []
    for (group, apart), count in needed.items():
        names = [
            w.name for w in task.order
            if (w.constraints.group, w.constraints.spread) == (group, apart)
        ]  # fmt: skip
        here = {getattr(s.node, apart) for name in names for s in task.candidates[name]}
        if len(here) < count:
            reasons.append(f"{group}: spread={apart} needs {count} different, {len(here)} fit")
    return reasons
