"""The network as an argument: one request, one response.

A server is a `Handler`; `doors/api` puts HTTP around it, and `MemoryTransport` calls it in the same process,
with faults when a test asks for them. Clients see a `Transport` and cannot tell.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from tfgrid.core import errors

__all__ = ["Handler", "MemoryTransport", "Request", "Response", "Transport"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request: method, path (starting with `/`), query and body."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One response: HTTP status, body and media type."""

    status: int
    body: bytes = b""
    media_type: str = "application/json"


Handler: TypeAlias = Callable[[Request], Awaitable[Response]]
"""A server without a socket."""


class Transport(Protocol):
    """A way to one server."""

    async def send(self, request: Request, *, timeout_seconds: float = 10) -> Response:
        """Send and wait for the answer; any status is an answer.

        Raises:
            errors.Unreachable: TFG-1301, no answer within the time; whether the request was carried out is
                not known.

        """
        ...


class MemoryTransport:
    """Calls a handler in the same process; `cut` makes it unreachable."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.cut = False

    async def send(self, request: Request, *, timeout_seconds: float = 10) -> Response:
        """See `Transport.send`."""
        del timeout_seconds
        if self.cut:
            raise errors.Unreachable("TFG-1301", "no answer", where=request.path)
        return await self.handler(request)
