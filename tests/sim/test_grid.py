"""A whole grid in one process, from seeds: the five promises hold whatever fails."""

from __future__ import annotations

import hashlib
import os

import pytest

from tests.sim.run import plan_of
from tests.sim.world import simulate

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
