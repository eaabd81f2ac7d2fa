"""When to try a failed step again: each step by itself, doubling up to a cap, with jitter.

A step is known by its key. Success forgets it, so that the next failure starts small again; so does
a step of that key that is about something else, such as the next version of what failed.

A workload that is started well and ends at once is no failed step, and would be started, and told
of in the ledger, many times a second. So starts are remembered too: the first repetition is due at
once, each further one after a delay that doubles, until one has run for `calm_ms`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tfgrid.core import limits
from tfgrid.core.rng import Rng

__all__ = ["Backoff", "Delay"]

first_delay_ms: Final = 500
calm_ms: Final = 60_000


@dataclass(frozen=True, slots=True)
class Delay:
    """Why a step waits: how often it failed, when it is due again, and the last reason."""

    failures: int
    due_ms: int
    reason: str


@dataclass(frozen=True, slots=True)
class _Start:
    """The latest of `count` starts, each soon after the one before; the next is due at `due_ms`."""

    count: int
    at_ms: int
    due_ms: int


class Backoff:
    """Delays by step key, in monotonic milliseconds."""

    def __init__(self, rng: Rng) -> None:
        self._rng = rng
        self._delays: dict[str, Delay] = {}
        self._starts: dict[str, _Start] = {}
        self._planned = set[str]()
        self._about: dict[str, str] = {}

    def failed(self, key: str, reason: str, now_ms: int) -> Delay:
        """Note a failure; the step is due after its delay, of which up to a quarter is chance."""
        failures = self._delays[key].failures + 1 if key in self._delays else 1
        self._delays[key] = Delay(failures, now_ms + self._wait_ms(failures), reason)
        return self._delays[key]

    def started(self, key: str, now_ms: int) -> None:
        """Note that a workload was started; the next start of it may have to wait."""
        before = self._starts.get(key)
        again = before is not None and now_ms - before.at_ms < calm_ms + self._wait_ms(before.count)
        count = before.count + 1 if before is not None and again else 1
        wait_ms = self._wait_ms(count - 1) if count > 1 else 0
        self._starts[key] = _Start(count, now_ms, now_ms + wait_ms)

    def _wait_ms(self, times: int) -> int:
        longest = limits.step_backoff_seconds_max * 1000
        delay = min(longest, first_delay_ms << min(times - 1, 20))
        return delay - self._rng.below(delay // 4 + 1)

    def succeeded(self, key: str) -> None:
        """Forget the failures of a step."""
        self._delays.pop(key, None)

    def plan(self, key: str, about: str) -> None:
        """Note what a step is about; failures of another say nothing of it."""
        if self._about.get(key, about) != about:
            self._delays.pop(key, None)
        self._about[key] = about

    def delays(self) -> dict[str, Delay]:
        """Every delay by its step's key."""
        return dict(self._delays)

    def delay(self, key: str) -> Delay | None:
        """The delay of a step, if it failed last time."""
        return self._delays.get(key)

    def ready(self, key: str, now_ms: int) -> bool:
        """Whether a step may be tried now."""
        waits = (self._delays.get(key), self._starts.get(key))
        return all(wait is None or wait.due_ms <= now_ms for wait in waits)

    def keep_only(self, keys: set[str], now_ms: int) -> None:
        """Forget steps that nobody plans any more, and starts that have long been calm."""
        self._planned = keys
        self._delays = {k: d for k, d in self._delays.items() if k in keys}
        self._about = {k: about for k, about in self._about.items() if k in keys}
        recent = now_ms - calm_ms - limits.step_backoff_seconds_max * 1000
        self._starts = {k: s for k, s in self._starts.items() if k in keys or s.at_ms > recent}

    def next_due_ms(self, without: set[str]) -> int | None:
        """When the next waiting step is due, those `without` aside."""
        waiting = self._planned - without
        dues = [d.due_ms for k, d in self._delays.items() if k not in without]
        return min(
            [*dues, *(s.due_ms for k, s in self._starts.items() if k in waiting)], default=None
        )
