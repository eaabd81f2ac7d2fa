"""Virtual time for asyncio: when nothing is ready, the clock jumps to the next timer.

One thread, no real waiting, and the same order of callbacks for the same program: with all chance
from one seed, a run is a function of that seed.
"""

from __future__ import annotations

import asyncio
import gc
import selectors
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, TypeVar

from tfgrid.core import canonical, keys
from tfgrid.ledger.bcdb import note
from tfgrid.ledger.contract import state

__all__ = ["NodeClock", "VirtualLoop", "remembered", "run"]

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
        self.loop = loop
        self.offset_ms = 0

    def now_ms(self) -> int:
        """See `core.clock.Clock.now_ms`."""
        return epoch_ms + round(self.loop.seconds * 1000) + self.offset_ms

    def monotonic_ms(self) -> int:
        """See `core.clock.Clock.monotonic_ms`."""
        return round(self.loop.seconds * 1000)

    async def sleep(self, seconds: float) -> None:
        """See `core.clock.Clock.sleep`."""
        await asyncio.sleep(seconds)


_PURE = (
    (canonical, "parse"), (keys, "verify"), (keys, "is_public_key"), (note, "read"),
    (state, "_load"),
)  # fmt: skip


@contextmanager
def remembered() -> Iterator[None]:
    """Let everybody in a run share the results of parsing and verifying the same bytes.

    Fifty nodes verify every entry each; a run is judged by what they do with the answer. The
    collector waits until the end of the run, since nothing large is thrown away within one.
    """
    honest = {(module, name): getattr(module, name) for module, name in _PURE}
    for (module, name), function in honest.items():
        setattr(module, name, lru_cache(maxsize=20_000)(function))
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.collect(0)
        for (module, name), function in honest.items():
            setattr(module, name, function)


def run(main: Coroutine[Any, Any, _T], loop: VirtualLoop) -> _T:
    """Run one coroutine in virtual time, end what it left and close the loop."""
    asyncio.set_event_loop(None)
    try:
        return loop.run_until_complete(main)
    finally:
        # What went wrong is known by now; tasks that die of it need not tell again.
        loop.set_exception_handler(lambda _loop, _context: None)
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.close()
