"""When to try a failed step again: each step by itself, doubling up to a cap, with jitter.

A step is known by its key. Success forgets it, so that the next failure starts small again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tfgrid.core import limits
from tfgrid.core.rng import Rng

__all__ = ["Backoff", "Delay"]

first_delay_ms: Final = 500


@dataclass(frozen=True, slots=True)
class Delay:
    """Why a step waits: how often it failed, when it is due again, and the last reason."""

    failures: int
    due_ms: int
    reason: str


class Backoff:
    """Delays by step key, in monotonic milliseconds."""

    def __init__(self, rng: Rng) -> None:
        self._rng = rng
        self._delays: dict[str, Delay] = {}

    def failed(self, key: str, reason: str, now_ms: int) -> Delay:
        """Note a failure; the step is due after its delay, of which up to a quarter is chance."""
        failures = self._delays[key].failures + 1 if key in self._delays else 1
        longest = limits.step_backoff_seconds_max * 1000
        delay = min(longest, first_delay_ms * 2 ** min(failures - 1, 20))
        due = now_ms + delay - self._rng.below(delay // 4 + 1)
        self._delays[key] = Delay(failures, due, reason)
        return self._delays[key]

    def succeeded(self, key: str) -> None:
        """Forget the failures of a step."""
        self._delays.pop(key, None)

    def delays(self) -> dict[str, Delay]:
        """Every delay by its step's key."""
        return dict(self._delays)

    def delay(self, key: str) -> Delay | None:
        """The delay of a step, if it failed last time."""
        return self._delays.get(key)

    def ready(self, key: str, now_ms: int) -> bool:
        """Whether a step may be tried now."""
        delay = self._delays.get(key)
        return delay is None or delay.due_ms <= now_ms

    def keep_only(self, keys: set[str]) -> None:
        """Forget steps that nobody plans any more."""
        self._delays = {k: d for k, d in self._delays.items() if k in keys}

    def next_due_ms(self, without: set[str]) -> int | None:
        """When the next waiting step is due, those `without` aside."""
        return min((d.due_ms for k, d in self._delays.items() if k not in without), default=None)
