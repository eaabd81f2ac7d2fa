"""A workload that starts well and ends at once, for ever: it may not fill the ledger."""

from __future__ import annotations

import itertools

from tfgrid.agents.zos.core0.backoff import Backoff, calm_ms
from tfgrid.core import limits
from tfgrid.core.rng import SeededRng

KEY = "item container web"
HOUR_MS = 3_600_000


def _starts_in_an_hour(lives_ms: int) -> list[int]:
    """When a container that lives so long is started, if it is started as soon as it may be."""
    backoff, now, starts = Backoff(SeededRng(1)), 0, list[int]()
    while now < HOUR_MS:
        backoff.keep_only({KEY}, now)
        assert backoff.ready(KEY, now)
        backoff.started(KEY, now)
        starts.append(now)
        now += lives_ms
        backoff.keep_only({KEY}, now)
        while not backoff.ready(KEY, now):
            due = backoff.next_due_ms(set())
            assert due is not None
            now = max(due, now + 1)
    return starts


def test_a_crash_loop_slows_down_to_the_cap() -> None:
    """The first restart is at once, later ones wait; in an hour there are some tens, not 3600."""
    starts = _starts_in_an_hour(lives_ms=1000)
    waits = [b - a for a, b in itertools.pairwise(starts)]
    assert waits[0] == 1000
    assert waits == sorted(waits[:6]) + waits[6:]
    assert max(waits) <= limits.step_backoff_seconds_max * 1000
    assert 60 <= len(starts) <= 110


def test_what_runs_for_a_while_is_restarted_at_once() -> None:
    """Who runs calmly and ends is no crash loop: its next start waits for nothing."""
    lives = calm_ms + limits.step_backoff_seconds_max * 1000
    starts = _starts_in_an_hour(lives_ms=lives)
    assert {b - a for a, b in itertools.pairwise(starts)} == {lives}


def test_a_start_that_stands_wakes_nobody() -> None:
    """A workload that runs is not planned, and its past start is no moment to wake for."""
    backoff = Backoff(SeededRng(1))
    for now in (0, 10, 20):
        backoff.started(KEY, now)
    backoff.keep_only(set(), 30)
    assert backoff.next_due_ms(set()) is None
    assert not backoff.ready(KEY, 30)
    backoff.keep_only(set(), HOUR_MS)
    assert backoff.ready(KEY, 30)
