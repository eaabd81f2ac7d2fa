"""Time as an argument.

Two clocks, never mixed: the wall clock says when (and may jump), the monotonic clock says how long.
A loop sleeps on the clock it was given, so that a test can jump it and a simulation can own it.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from typing import Protocol

__all__ = ["Clock", "ManualClock", "SystemClock"]


class Clock(Protocol):
    """What time it is, and waiting."""

    def now_ms(self) -> int:
        """Wall clock: milliseconds since 1970-01-01 UTC. May jump either way."""
        ...

    def monotonic_ms(self) -> int:
        """Milliseconds since some fixed point in the past. Never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return when `seconds` of monotonic time have gone by."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now_ms(self) -> int:
        """See `Clock.now_ms`."""
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> int:
        """See `Clock.monotonic_ms`."""
        return time.monotonic_ns() // 1_000_000

    async def sleep(self, seconds: float) -> None:
        """See `Clock.sleep`."""
        await asyncio.sleep(seconds)


class ManualClock:
    """A clock that stands still until it is moved; sleepers wake in order as time passes them."""

    def __init__(self, *, now_ms: int = 1_750_000_000_000) -> None:
        self._now_ms = now_ms
        self._monotonic_ms = 0
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._count = 0

    def now_ms(self) -> int:
        """See `Clock.now_ms`."""
        return self._now_ms

    def monotonic_ms(self) -> int:
        """See `Clock.monotonic_ms`."""
        return self._monotonic_ms

    async def sleep(self, seconds: float) -> None:
        """See `Clock.sleep`."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        due = self._monotonic_ms + max(0, round(seconds * 1000))
        heapq.heappush(self._sleepers, (due, self._count, future))
        await future

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass on both clocks and wake whoever was waiting for it."""
        until = self._monotonic_ms + round(seconds * 1000)
        self._now_ms += until - self._monotonic_ms
        self._monotonic_ms = until
        while self._sleepers and self._sleepers[0][0] <= until:
            future = heapq.heappop(self._sleepers)[2]
            if not future.done():
                future.set_result(None)

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward or back, as an administrator or a broken NTP server would."""
        self._now_ms += round(seconds * 1000)
