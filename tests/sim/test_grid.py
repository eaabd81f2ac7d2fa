"""A whole grid in one process, from seeds: the five promises hold whatever fails."""

from __future__ import annotations

import dataclasses
import hashlib
import os

import pytest

from tests.sim.nodes import SimHost
from tests.sim.oracle import Broken
from tests.sim.run import plan_of
from tests.sim.world import Plan, simulate
from tfgrid.agents.zos.core0.loop import Core0
from tfgrid.agents.zos.core0.plan import Known
from tfgrid.core.host import Item, Observed
from tfgrid.ledger import contract

seeds_per_test = 10
seed_count = int(os.environ.get("TFGRID_SIM_SEEDS", "300"))
small = [seed for seed in range(1, seed_count + 1) if seed % 100]
large = list(range(100, max(seed_count, 100) + 1, 100))
groups = [small[i : i + seeds_per_test] for i in range(0, len(small), seeds_per_test)]


@pytest.mark.slow
@pytest.mark.parametrize("seeds", groups, ids=lambda seeds: f"{seeds[0]}-{seeds[-1]}")
def test_promises_hold(seeds: list[int]) -> None:
    """No crash, power cut, cut link, lost request, clock jump or full disk breaks a promise."""
    for seed in seeds:
        simulate(plan_of(seed))


@pytest.mark.slow
@pytest.mark.parametrize("seed", large)
def test_promises_hold_for_fifty_nodes(seed: int) -> None:
    """Fifty nodes, ten contracts and the same faults break no promise either."""
    simulate(plan_of(seed))


@pytest.mark.slow
def test_a_seed_replays() -> None:
    """The same seed gives the same story to the millisecond, and another seed another."""

    def story(seed: int) -> str:
        lines = simulate(plan_of(seed)).oracle.story
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    assert story(3) == story(3)
    assert story(3) != story(4)


def _hasty(core: Core0) -> None:
    """A node that starts what it was only asked to accept."""
    honest = core.known

    def known(observed: object) -> Known:
        seen = honest(observed)  # type: ignore[arg-type]
        cases = tuple(
            dataclasses.replace(c, stage="run") if c.stage in {"admit", "hold"} else c
            for c in seen.cases
        )
        return dataclasses.replace(seen, cases=cases)

    core.known = known  # type: ignore[method-assign]


def _timid(core: Core0) -> None:
    """A node that gives everything up when it hears nothing from the ledger for a while."""
    honest = core.known

    def known(observed: object) -> Known:
        seen = honest(observed)  # type: ignore[arg-type]
        return seen if core.follower.stale_seconds() < 15 else dataclasses.replace(seen, cases=())

    core.known = known  # type: ignore[method-assign]


def _broken_promise(tamper: object, seeds: range) -> str:
    for seed in seeds:
        try:
            simulate(Plan(seed=seed, tamper=tamper))  # type: ignore[arg-type]
        except Broken as fault:
            return str(fault)
    return ""


@pytest.mark.slow
def test_a_node_without_quorum_is_seen() -> None:
    """The canary: a node that starts without quorum and acceptance must break promise 1."""
    told = _broken_promise(_hasty, range(1, 6))

    assert "1: " in told
    assert "without quorum" in told
    assert "seed=" in told


@pytest.mark.slow
def test_a_node_that_gives_up_is_seen() -> None:
    """The canary: a node that stops workloads because its ledger is silent must break promise 5."""
    assert "5: " in _broken_promise(_timid, range(1, 12))


@pytest.mark.slow
def test_a_node_that_believes_its_clock_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The canary: a node that ends contracts by its own clock alone must break promise 5."""

    def must_stop(state: contract.ContractState, *, clock_ms: int, order_time_ms: int) -> bool:
        del order_time_ms
        return honest(state, clock_ms=clock_ms, order_time_ms=clock_ms)

    honest = contract.must_stop
    monkeypatch.setattr(contract, "must_stop", must_stop)

    assert "5: " in _broken_promise(lambda _core: None, range(1, 24))


@pytest.mark.slow
def test_a_machine_that_starts_twice_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The canary: a machine that starts anew what runs already must break promise 3."""
    honest = SimHost.ensure

    async def ensure(self: SimHost, item: Item) -> Observed:
        self.items.pop(item.key, None)
        return await honest(self, item)

    async def observe(self: SimHost) -> dict[object, Observed]:
        return {k: o for k, o in self.items.items() if k.kind != "network"}

    monkeypatch.setattr(SimHost, "ensure", ensure)
    monkeypatch.setattr(SimHost, "observe", observe)

    assert "3: " in _broken_promise(lambda _core: None, range(1, 4))
