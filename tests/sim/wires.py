"""The way from one node to the ledger: slow, lossy, repeating, or cut, as the seed says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tfgrid.core import errors
from tfgrid.core.rng import SeededRng
from tfgrid.core.transport import Handler, Request, Response

__all__ = ["Wire"]


class Wire:
    """A transport with faults.

    `loss` is the chance that a request or its answer is lost, each; `repeat` that a request arrives
    twice. `server` gives the handler of the moment, or None while the ledger is down. `answered` is
    told of each answer that arrives.
    """

    def __init__(
        self,
        server: Callable[[], Handler | None],
        rng: SeededRng,
        answered: Callable[[Request, Response], None] = lambda _request, _response: None,
    ) -> None:
        self.server = server
        self.cut = False
        self.loss = 0.0
        self.repeat = 0.0
        self._rng = rng
        self.answered = answered

    async def send(self, request: Request, *, timeout_seconds: float = 10) -> Response:
        """See `core.transport.Transport.send`."""
        await asyncio.sleep(0.001 + self._rng.below(40) / 1000)
        handler = self.server()
        if self.cut or handler is None or self._rng.chance(self.loss):
            await self._silence(request, timeout_seconds)
        assert handler is not None
        twice = request.path != "/v1/feed" and self._rng.chance(self.repeat)
        try:
            async with asyncio.timeout(timeout_seconds):
                if twice:
                    await handler(request)
                response = await handler(request)
        except TimeoutError:
            await self._silence(request, 0)
        await asyncio.sleep(0.001 + self._rng.below(40) / 1000)
        if self.cut or self.server() is None or self._rng.chance(self.loss):
            await self._silence(request, timeout_seconds)
        self.answered(request, response)
        return response

    async def _silence(self, request: Request, seconds: float) -> None:
        await asyncio.sleep(seconds)
        raise errors.Unreachable("TFG-1301", "no answer", where=request.path)
