"""Random walks of several contracts: whatever is written, the ledger never overcommits."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contract.stage import Running, Stage, guestbook_stage
from tfgrid.core import errors
from tfgrid.ledger import contract

ROLES = st.sampled_from(["budget", "security", "legal"])
CONTRACTS = st.integers(0, 3)
STEPS = st.one_of(
    st.tuples(st.just("propose"), CONTRACTS, st.sampled_from(["64MiB", "2GiB", "3GiB"])),
    st.tuples(st.just("vote"), CONTRACTS, ROLES, st.sampled_from(["deploy", "deploy", "delete"]),
              st.sampled_from(["approve", "approve", "approve", "reject"])),
    st.tuples(st.just("all"), CONTRACTS, st.sampled_from(["accepted", "running", "ended"])),
    st.tuples(st.just("one"), CONTRACTS, st.integers(0, 3),
              st.sampled_from(["accepted", "refused", "running", "failed", "ended"])),
    st.tuples(st.just("start"), CONTRACTS),
    st.tuples(st.just("quorum"), CONTRACTS, st.sampled_from(["deploy", "deploy", "delete"])),
    st.tuples(st.just("later"), st.sampled_from([1, 5, 20, 30, 61])),
    st.tuples(st.just("later"), st.just(1) | st.sampled_from([86_400, 31 * 86_400])),
)  # fmt: skip


class _Walk:
    def __init__(self) -> None:
        self.stage: Stage = guestbook_stage()
        self.running: dict[int, Running] = {}

    def take(self, step: tuple[Any, ...]) -> None:
        """One step, which the ledger may refuse."""
        verb, *rest = step
        if verb == "later":
            self.stage.later(rest[0])
            return
        number = rest[0]
        if number not in self.running:
            memory = rest[1] if verb == "propose" else "2GiB"
            parameters = {"memory": memory, "host": f"h{number % 3}.grid.localhost"}
            salt = "ABCD"[number] * 22
            self.running[number] = self.stage.propose(salt=salt, parameters=parameters)
        running = self.running[number]
        if verb == "vote":
            running.approve(rest[1], action=rest[2], decision=rest[3])
        if verb == "start":
            running.approve("budget", "legal").accept().run()
        if verb == "quorum":
            running.approve("budget", "legal", action=rest[1])
        if verb == "all":
            self._report_all(running, rest[1])
        if verb == "one":
            names = running.names
            name = names[rest[1] % len(names)]
            workload = "redis" if rest[2] in {"running", "failed"} else ""
            running.report(name, rest[2], workload)

    def _report_all(self, running: Running, state: str) -> None:
        if state == "running":
            running.run()
            return
        for name in running.names:
            running.report(name, state)

    def check(self) -> None:
        """What must hold after every step."""
        for node in self.stage.inventory().nodes:
            assert node.capacity.lacks(node.reserved) == {}
        held = [
            host
            for state in contract.contracts(self.stage.view, self.stage.now_ms)
            if state.phase in {"approved", "accepted", "running", "degraded"}
            for host in {
                w.host for w in state.proposal.agreement.workloads if isinstance(w, contract.Route)
            }
        ]
        assert len(held) == len(set(held))


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, min_size=15, max_size=60))
def test_the_ledger_never_promises_more_than_there_is(steps: list[tuple[Any, ...]]) -> None:
    """Capacity is not exceeded, a host name is held once, final phases are final."""
    walk = _Walk()
    before: dict[str, str] = {}
    codes: set[str] = set()
    for step in steps:
        try:
            walk.take(step)
        except errors.GridError as fault:
            codes.add(fault.code)
        walk.check()
        for state in contract.contracts(walk.stage.view, walk.stage.now_ms):
            known = before.get(state.contract, state.phase)
            assert known not in contract.PHASES_FINAL or known == state.phase
            before[state.contract] = state.phase
    assert all(code.startswith("TFG-2") for code in codes)


def test_an_impossible_walk_would_be_seen() -> None:
    """The check is able to fail: a contract that is made to hold too much is noticed."""
    walk = _Walk()
    walk.take(("propose", 0, "3GiB"))
    walk.take(("vote", 0, "budget", "deploy", "approve"))
    walk.take(("vote", 0, "legal", "deploy", "approve"))
    walk.check()
    view = walk.stage.view
    key, value = next(view.scan("reservation"))
    big = value.replace(b'"cpu_millis":250', b'"cpu_millis":99999')
    assert big != value
    view.put("reservation", key, big)
    with pytest.raises(AssertionError):
        walk.check()
