"""The phases: every step of the table is walked, and nothing else is a step."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any, get_args

import pytest

from tests.contract.stage import Running, Stage, guestbook_stage, node_id
from tfgrid.core import errors, limits
from tfgrid.ledger import contract
from tfgrid.ledger.contract import phases

DOCUMENT = Path(__file__).parents[2] / "docs/formats/contract-states.md"


def _alone(stage: Stage) -> Running:
    """A contract that its owner alone approves and cancels."""
    return stage.propose(policy=contract.Policy())


def _approved() -> Running:
    return guestbook_stage().propose().approve("budget", "legal")


def _running() -> Running:
    return _approved().accept().run()


def _cancel(running: Running) -> Running:
    return running.approve("budget", "security", action="delete")


def _expire(running: Running) -> Running:
    valid_until = running.proposal.agreement.valid_until
    running.stage.now_ms = valid_until + 1
    return running


def _fail(running: Running) -> Running:
    running.report("n2", "failed", "web-1")
    return running


def _later(running: Running, seconds: int) -> Running:
    running.stage.later(seconds)
    return running


def _refuse(running: Running) -> Running:
    running.report("n1", "refused")
    return running


def _reject(running: Running) -> Running:
    return running.approve("budget", "legal", decision="reject", reason="too dear")


def _remove(running: Running) -> Running:
    for name in running.names:
        running.report(name, "ended")
    return running


WALKS: dict[tuple[str, str], Any] = {
    ("proposed", "quorum"): _approved,
    ("proposed", "rejection"): lambda: _reject(guestbook_stage().propose()),
    ("proposed", "window closed"): lambda: _later(guestbook_stage().propose(), 86_401),
    ("proposed", "cancelled"): lambda: _cancel(guestbook_stage().propose()),
    ("approved", "all accepted"): lambda: _approved().accept(),
    ("approved", "node refused"): lambda: _refuse(_approved()),
    ("approved", "deadline passed"): lambda: _later(
        _approved(), limits.admission_deadline_seconds + 1
    ),
    ("approved", "cancelled"): lambda: _cancel(_approved()),
    ("accepted", "all running"): _running,
    ("accepted", "workload failed"): lambda: _fail(_approved().accept()),
    ("accepted", "cancelled"): lambda: _cancel(_approved().accept()),
    ("accepted", "validity over"): lambda: _expire(_approved().accept()),
    ("running", "workload failed"): lambda: _fail(_running()),
    ("running", "cancelled"): lambda: _cancel(_running()),
    ("running", "validity over"): lambda: _expire(_running()),
    ("degraded", "all running"): lambda: _fail(_running()).run(),
    ("degraded", "cancelled"): lambda: _cancel(_fail(_running())),
    ("degraded", "validity over"): lambda: _expire(_fail(_running())),
    ("cancelling", "all removed"): lambda: _remove(_cancel(_running())),
    ("expired", "all removed"): lambda: _remove(_expire(_running())),
}
# Nothing was made by any node yet, so the end follows at once.
_AT_ONCE = {("proposed", "cancelled"): "ended", ("approved", "cancelled"): "ended"}


@pytest.mark.parametrize("edge", list(contract.TRANSITIONS), ids=" / ".join)
def test_every_step_of_the_table_is_reached_by_records(
    edge: tuple[contract.Phase, contract.Event],
) -> None:
    """Records and order time alone lead through each step to the phase that the table says."""
    assert WALKS[edge]().phase == _AT_ONCE.get(edge, contract.TRANSITIONS[edge])


@pytest.mark.parametrize("phase", get_args(phases.Phase))
def test_what_is_not_in_the_table_is_no_step(phase: contract.Phase) -> None:
    """Every event that a phase does not have is refused."""
    for event in get_args(phases.Event):
        if (phase, event) not in contract.TRANSITIONS:
            with pytest.raises(errors.Conflict):
                phases.step(phase, event)


def test_final_phases_are_left_by_nothing() -> None:
    """There are four of them."""
    assert {"ended", "rejected", "lapsed", "refused"} == contract.PHASES_FINAL


def test_the_drawing_is_the_table() -> None:
    """`docs/formats/contract-states.md` shows each step once, and no other."""
    drawn = set()
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        if " --> " in line and ": " in line:
            start, _, rest = line.strip().partition(" --> ")
            end, _, event = rest.partition(": ")
            drawn.add((start, event, end))
    assert drawn == {(s, e, t) for (s, e), t in contract.TRANSITIONS.items()}


def test_nodes_may_accept_in_any_order() -> None:
    """Whichever node answers last, all have accepted and the contract starts."""
    ends = set()
    for names in permutations(["n1", "n2", "n3", "n4"]):
        running = _approved()
        for name in names:
            assert running.phase == "approved"
            running.report(name, "accepted")
        ends.add(running.phase)
    assert ends == {"accepted"}


def test_approvers_may_sign_in_any_order() -> None:
    """Any two of the three make the quorum, in either order."""
    for pair in permutations(["budget", "security", "legal"], 2):
        assert guestbook_stage().propose().approve(*pair).phase == "approved"


def test_no_workload_may_start_before_every_node_accepted() -> None:
    """One missing acceptance keeps all others waiting."""
    running = _approved()
    for name in running.names[:-1]:
        running.report(name, "accepted")
        assert not contract.may_start(running.state, node_id(name))
    running.report(running.names[-1], "accepted")
    assert all(contract.may_start(running.state, node_id(name)) for name in running.names)


def test_a_stranger_may_not_start() -> None:
    """A node without a part in the placement starts nothing."""
    assert not contract.may_start(_running().state, node_id("nobody"))


def test_at_the_deadline_all_release() -> None:
    """A node that never answers costs the others nothing: their capacity is free again."""
    running = _approved()
    running.report("n1", "accepted")
    held = [node.reserved.memory_bytes for node in running.stage.inventory().nodes]
    assert sum(held) > 0
    running.stage.later(limits.admission_deadline_seconds + 1)
    assert running.phase == "refused"
    assert all(n.free == n.capacity for n in running.stage.inventory().nodes)
    assert "no answer in time" in running.state.reason


def test_one_refusal_releases_all() -> None:
    """A node that refuses ends the contract, and every node's capacity is free again."""
    running = _approved()
    running.report("n2", "accepted")
    running.report("n1", "refused")
    assert running.phase == "refused"
    assert all(n.free == n.capacity for n in running.stage.inventory().nodes)
    assert contract.must_stop(running.state, clock_ms=0, order_time_ms=0)


def test_time_ends_a_workload_only_by_both_clocks() -> None:
    """A node's clock that jumps, or a ledger that stands still, ends nothing; together they do."""
    state = _running().state
    over = state.proposal.agreement.valid_until + 1
    before = over - 2
    stops = {
        (clock, order): contract.must_stop(state, clock_ms=clock, order_time_ms=order)
        for clock in (before, over)
        for order in (before, over)
    }
    assert [pair for pair, stop in stops.items() if stop] == [(over, over)]


def test_a_cancelled_contract_stops_whatever_the_clock_says() -> None:
    """Records end a workload at once."""
    state = _cancel(_running()).state
    assert state.phase == "cancelling"
    assert contract.must_stop(state, clock_ms=0, order_time_ms=0)


def test_capacity_comes_back_node_by_node() -> None:
    """A cancelled contract's share of a node is free when that node has removed it."""
    running = _cancel(_running())
    running.report("n1", "ended")
    free = {n.name: n.free == n.capacity for n in running.stage.inventory().nodes}
    assert free == {"n1": True, "n2": False, "n3": False, "n4": True}


def test_an_expired_contract_holds_no_capacity() -> None:
    """At its end the capacity is free without a record of its own."""
    running = _expire(_running())
    assert all(n.free == n.capacity for n in running.stage.inventory().nodes)


def test_the_owner_alone_suffices_where_the_policy_is_empty() -> None:
    """With an empty policy the proposal is the quorum, and the owner cancels alone."""
    running = _alone(guestbook_stage())
    assert running.phase == "approved"
    assert running.state.deploy.reached
    body = running.approval("owner", "delete")
    running.stage.refused("TFG-2410", "mallory", "contract.approve", body)
    running.stage.write("alice", "contract.approve", body)
    assert running.phase == "ended"
