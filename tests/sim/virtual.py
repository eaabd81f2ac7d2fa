"""Virtual time for asyncio: when nothing is ready, the clock jumps to the next timer.

One thread, no real waiting, and the same order of callbacks for the same program: with all chance
from one seed, a run is a function of that seed.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from functools import cache, lru_cache
from typing import Any, TypeVar

from tfgrid.core import canonical, keys

__all__ = ["NodeClock", "VirtualLoop", "remember_pure_functions", "run"]

_T = TypeVar("_T")
epoch_ms = 1_750_000_000_000


class _JumpingSelector(selectors.SelectSelector):
    """Never waits: time that would be waited is added to the loop's clock."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """See `selectors.BaseSelector.select`."""
        if timeout is None:
            raise RuntimeError("every task waits and no timer is set: a deadlock")
        if timeout > 0:
            self.loop.seconds += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is `seconds` and passes only by jumping."""

    def __init__(self) -> None:
        selector = _JumpingSelector()
        selector.loop = self
        self.seconds = 0.0
        super().__init__(selector)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self.seconds


class NodeClock:
    """One machine's clock over virtual time: `offset_ms` is how wrong its wall clock is."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.offset_ms = 0

    def now_ms(self) -> int:
        """See `core.clock.Clock.now_ms`."""
        return epoch_ms + round(self._loop.seconds * 1000) + self.offset_ms

    def monotonic_ms(self) -> int:
        """See `core.clock.Clock.monotonic_ms`."""
        return round(self._loop.seconds * 1000)

    async def sleep(self, seconds: float) -> None:
        """See `core.clock.Clock.sleep`."""
        await asyncio.sleep(seconds)


@cache
def remember_pure_functions() -> None:
    """Let nodes share the results of parsing and verifying the same bytes.

    Fifty nodes verify every entry each; a run is judged by what they do with the answer.
    """
    setattr(canonical, "parse", lru_cache(maxsize=20_000)(canonical.parse))  # noqa: B010
    setattr(keys, "verify", lru_cache(maxsize=50_000)(keys.verify))  # noqa: B010


def run(main: Coroutine[Any, Any, _T], loop: VirtualLoop) -> _T:
    """Run one coroutine in virtual time, end what it left and close the loop."""
    asyncio.set_event_loop(None)
    try:
        return loop.run_until_complete(main)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.close()
