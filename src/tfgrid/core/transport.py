"""The network as an argument: one request, one response.

A server is a `Handler`; `doors/api` puts HTTP around it, and `MemoryTransport` calls it in the same
process, with faults when a test asks for them. Clients see a `Transport` and cannot tell. A server
answers an error as a problem document (RFC 9457), and the client raises the same error again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final, Protocol, TypeAlias

import msgspec

from tfgrid.core import errors

__all__ = [
    "Handler",
    "MemoryTransport",
    "Request",
    "Response",
    "Transport",
    "fault_in",
    "problem",
]


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
            errors.Unreachable: TFG-1301, no answer within the time; whether the request was carried
            out is
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


_STATUS: Final[tuple[tuple[type[errors.GridError], int], ...]] = (
    (errors.BadInput, 400),
    (errors.NotAllowed, 403),
    (errors.NotFound, 404),
    (errors.Conflict, 409),
    (errors.NoFit, 409),
    (errors.VerificationFailed, 422),
    (errors.Busy, 503),
    (errors.Unreachable, 502),
    (errors.StillGoing, 504),
)
_CLASSES: Final = {name: getattr(errors, name) for name in errors.__all__}


class _Problem(msgspec.Struct, frozen=True):
    """The members of a problem document that are read back; others are ignored (RFC 9457)."""

    code: Annotated[str, msgspec.Meta(pattern=r"\ATFG-[0-9]{4}\Z")]
    detail: Annotated[str, msgspec.Meta(max_length=4096)]
    error: str = "Failed"
    where: Annotated[str, msgspec.Meta(max_length=4096)] = ""
    hint: Annotated[str, msgspec.Meta(max_length=4096)] = ""
    details: dict[str, str | int | bool | None] = {}


def problem(fault: errors.GridError, *, status: int = 0) -> Response:
    """An error as an answer: a problem document (RFC 9457) with the error's four parts.

    The HTTP status follows from the error's class, unless a better one is given.
    """
    status = status or next((s for kind, s in _STATUS if isinstance(fault, kind)), 500)
    plain = (str, int, bool, type(None))
    document = {
        "type": f"urn:tfgrid:error:{fault.code}",
        "title": type(fault).__doc__ or type(fault).__name__,
        "status": status,
        "detail": fault.what,
        "code": fault.code,
        "error": type(fault).__name__,
        "where": fault.where,
        "hint": fault.hint,
        "details": {k: v for k, v in fault.details.items() if isinstance(v, plain)},
    }
    return Response(
        status=status, body=msgspec.json.encode(document), media_type="application/problem+json"
    )


def fault_in(response: Response) -> errors.GridError:
    """The error that an answer carries; what is not a problem document is named by its status.

    Returns:
        the error as the server raised it, or `errors.Failed` TFG-1302 (TFG-1301
        `errors.Unreachable` for 502 to 504) where the answer does not say.

    """
    try:
        told = msgspec.json.decode(response.body[: 64 * 1024], type=_Problem)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        if response.status in {502, 503, 504}:
            return errors.Unreachable("TFG-1301", f"no answer but status {response.status}")
        return errors.Failed("TFG-1302", f"the server answered with status {response.status}")
    kind = _CLASSES.get(told.error, errors.Failed)
    fault: errors.GridError = kind(told.code, told.detail, where=told.where, hint=told.hint)
    fault.details = dict(told.details)
    return fault
