"""HTTP around a core `Handler`: Litestar on uvicorn.

    bytes -> bounded head (h11) -> bounded body, bounded time -> Request -> handler -> Response

The handler decides everything; this module gives it a socket. Bodies are refused by their declared
length before a byte of them is read, and by count when no length was declared. Whatever goes wrong
is answered as a problem document (RFC 9457) and never with what stands in an exception. The socket
listens before `ready` is called, so that a parent that was told may connect at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import uvicorn
from litestar import Litestar, Request, Response, route
from litestar.enums import HttpMethod
from litestar.exceptions import HTTPException

from tfgrid.core import errors, limits, transport
from tfgrid.core.clock import Clock, SystemClock
from tfgrid.core.log import Log

__all__ = ["Address", "run", "serve"]

body_seconds_max: Final = 30
head_bytes_max: Final = 16 * 1024
connections_max: Final = 2048
stop_seconds_max: Final = 5
_BACKLOG: Final = 512
_METHODS: Final = [HttpMethod.GET, HttpMethod.POST, HttpMethod.PUT, HttpMethod.DELETE]


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a server listens: a URL for `HttpTransport`."""

    url: str


async def serve(
    handler: transport.Handler, *, host: str = "127.0.0.1", port: int = 0, uds: Path | None = None,
    ready: Callable[[Address], None] | None = None, stop: asyncio.Event | None = None,
    body_bytes_max: int = limits.submission_bytes_max, clock: Clock | None = None,
    log: Log | None = None,
) -> None:  # fmt: skip
    """Serve until `stop` is set (or the task is cancelled), then finish what was begun.

    Args:
        handler: answers requests; a `GridError` that it raises becomes a problem document.
        host: address to listen on.
        port: TCP port; 0 takes a free one.
        uds: path of a Unix socket, instead of host and port.
        ready: called once, when connections are accepted.
        stop: ends the serving.
        body_bytes_max: a larger body is refused with 413.
        clock: for the access log.
        log: the access log; requests that fail are lines of level info, others debug.

    Raises:
        errors.Busy: TFG-5202, the address is taken; `errors.MachineLacks` when it cannot be
        listened on.

    """
    listener = _listen(host, port, uds)
    address = _address(listener, uds)
    door = _Door(handler, body_bytes_max, clock or SystemClock(), log or Log("api"))
    server = _server(door)
    try:
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            await _first(serving, server.listening)
            if ready is not None and server.listening.is_set():
                ready(address)
            await _first(serving, stop or asyncio.Event())
        finally:
            server.should_exit = True
            await asyncio.shield(serving)
    finally:
        _unlisten(listener, uds)


def run(handler: transport.Handler, *, ready_fd: int | None = None, **options: Any) -> None:
    """Serve as the main thing of a process: SIGTERM and SIGINT end it gracefully.

    Args:
        handler: see `serve`.
        ready_fd: gets the line `READY URL` when connections are accepted, and is closed.
        options: see `serve`.

    """

    def ready(address: Address) -> None:
        if ready_fd is not None:
            os.write(ready_fd, f"READY {address.url}\n".encode())
            os.close(ready_fd)

    async def main() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await serve(handler, ready=ready, stop=stop, **options)

    asyncio.run(main())


class _Door:
    """Turns HTTP requests into core requests and back."""

    def __init__(
        self, handler: transport.Handler, body_bytes_max: int, clock: Clock, log: Log
    ) -> None:
        self._handler = handler
        self._body_bytes_max = body_bytes_max
        self._clock = clock
        self._log = log

    def app(self) -> Litestar:
        """The Litestar application: one route for everything."""

        @route(["/", "/{path:path}"], http_method=_METHODS, name="all")
        async def every(request: Request[Any, Any, Any]) -> Response[bytes]:
            return await self._answer(request)

        return Litestar(
            [every], openapi_config=None, logging_config=None, debug=False,
            request_max_body_size=self._body_bytes_max, pdb_on_exception=False,
            exception_handlers={HTTPException: self._refuse, Exception: self._refuse},
        )  # fmt: skip

    async def _answer(self, request: Request[Any, Any, Any]) -> Response[bytes]:
        began_ms = self._clock.monotonic_ms()
        try:
            answer = await self._handler(await self._request(request))
        except errors.GridError as fault:
            answer = _refused(fault)
        except Exception as fault:  # noqa: BLE001 - the last line: no request ends the server
            self._log.error("handler failed", path=request.url.path, error=type(fault).__name__)
            answer = transport.problem(_failed())
        self._note(request, answer, began_ms)
        return _response(answer)

    async def _request(self, request: Request[Any, Any, Any]) -> transport.Request:
        pairs = list(request.query_params.multi_items())
        query = dict(pairs)
        if len(query) != len(pairs):
            raise errors.BadInput("TFG-5204", "a query parameter is given more than once")
        return transport.Request(
            method=request.method, path=request.url.path, query=query,
            body=await self._body(request),
        )  # fmt: skip

    async def _body(self, request: Request[Any, Any, Any]) -> bytes:
        declared = request.headers.get("content-length", "0")
        if not declared.isdecimal() or int(declared[:16]) > self._body_bytes_max:
            raise self._too_large()
        body = bytearray()
        try:
            async with asyncio.timeout(body_seconds_max):
                async for chunk in request.stream():
                    body += chunk
        except TimeoutError as fault:
            raise errors.BadInput("TFG-5205", "the body came too slowly") from fault
        except HTTPException as fault:
            raise self._too_large() from fault
        return bytes(body)

    def _too_large(self) -> errors.GridError:
        return errors.BadInput(
            "TFG-5201", f"a body has at most {self._body_bytes_max} bytes here", where="body"
        )

    def _refuse(self, request: Request[Any, Any, Any], fault: Exception) -> Response[bytes]:
        """What Litestar itself refuses: unknown methods, malformed requests."""
        if isinstance(fault, HTTPException) and fault.status_code < 500:
            told = errors.BadInput("TFG-5206", f"not answered here: {fault.detail}")
            return _response(_refused(told, status=fault.status_code))
        self._log.error("request failed", path=request.url.path, error=type(fault).__name__)
        return _response(transport.problem(_failed()))

    def _note(
        self, request: Request[Any, Any, Any], answer: transport.Response, began_ms: int
    ) -> None:
        write = self._log.debug if answer.status < 400 else self._log.info
        write(
            "request", method=request.method, path=request.url.path[:256], status=answer.status,
            bytes=len(answer.body), milliseconds=self._clock.monotonic_ms() - began_ms,
        )  # fmt: skip


class _Server(uvicorn.Server):
    """uvicorn that says when it listens, and leaves signals to whoever starts it."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections, then say so."""
        await super().startup(sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


def _server(door: _Door) -> _Server:
    config = uvicorn.Config(
        door.app(), http="h11", ws="none", loop="asyncio", lifespan="off", log_config=None,
        access_log=False, server_header=False, proxy_headers=False, backlog=_BACKLOG,
        limit_concurrency=connections_max, h11_max_incomplete_event_size=head_bytes_max,
        timeout_keep_alive=60, timeout_graceful_shutdown=stop_seconds_max,
    )  # fmt: skip
    return _Server(config)


async def _first(serving: asyncio.Task[None], event: asyncio.Event) -> None:
    """Until the event is set, or the server ended by itself."""
    told = asyncio.create_task(event.wait())
    try:
        await asyncio.wait({serving, told}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        told.cancel()


def _listen(host: str, port: int, uds: Path | None) -> socket.socket:
    if uds is not None:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    else:
        # The protocol is named so that asyncio recognises TCP and switches Nagle's delay off.
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        _bind(listener, host, port, uds)
    except OSError as fault:
        listener.close()
        raise errors.Busy(
            "TFG-5202", f"cannot listen: {fault.strerror}", where=str(uds or f"{host}:{port}"),
            hint="see who listens there: ss -lntup",
        ) from fault  # fmt: skip
    return listener


def _bind(listener: socket.socket, host: str, port: int, uds: Path | None) -> None:
    if uds is not None:
        uds.unlink(missing_ok=True)
        listener.bind(str(uds))
        uds.chmod(0o600)
    else:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    listener.listen(_BACKLOG)


def _unlisten(listener: socket.socket, uds: Path | None) -> None:
    listener.close()
    if uds is not None:
        uds.unlink(missing_ok=True)


def _address(listener: socket.socket, uds: Path | None) -> Address:
    if uds is not None:
        from urllib.parse import quote

        return Address(url=f"http+unix://{quote(str(uds), safe='')}")
    host, port = listener.getsockname()[:2]
    return Address(url=f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")


def _refused(fault: errors.GridError, *, status: int = 0) -> transport.Response:
    """A problem document, under the HTTP status that says most."""
    return transport.problem(
        fault, status=status or {"TFG-5201": 413, "TFG-5205": 408}.get(fault.code, 0)
    )


def _failed() -> errors.GridError:
    return errors.Failed("TFG-5203", "the server failed at this request; its log says more")


def _response(answer: transport.Response) -> Response[bytes]:
    return Response(answer.body, status_code=answer.status, media_type=answer.media_type)
