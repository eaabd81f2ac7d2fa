"""The network seam over HTTP/1.1: asyncio streams, with h11 for the protocol.

A general HTTP library costs a command line more time to import than the whole answer may take; this
one does what a `Transport` needs and no more: kept-alive connections, one deadline for the whole
exchange, bounded answers. It follows no redirect, sends no cookie and decodes no content.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote, urlencode, urlsplit

import h11

from tfgrid.core import errors, limits
from tfgrid.core.transport import Request, Response

__all__ = ["HttpTransport"]

_READ_BYTES: Final = 64 * 1024
_HEADER_BYTES_MAX: Final = 16 * 1024
_IDLE_CONNECTIONS_MAX: Final = 8


@dataclass(slots=True, kw_only=True)
class _Connection:
    """One connection and the state of its conversation."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    loop: asyncio.AbstractEventLoop
    protocol: h11.Connection
    used: bool = False

    def is_usable(self) -> bool:
        return self.loop is asyncio.get_running_loop() and not self.reader.at_eof()


class HttpTransport:
    """A way to one HTTP server.

    Args:
        base_url: `http://HOST:PORT`, or `http+unix://` and the percent-encoded path of a socket.
        response_bytes_max: a larger answer is refused.

    Raises:
        errors.BadInput: TFG-5211, not such a URL.

    """

    def __init__(
        self, base_url: str, *, response_bytes_max: int = limits.response_bytes_max
    ) -> None:
        parts = urlsplit(base_url)
        unix = parts.scheme == "http+unix"
        if parts.scheme not in {"http", "http+unix"} or not (unix or parts.hostname):
            raise errors.BadInput(
                "TFG-5211", f"{base_url!r} is not the address of a server", where=base_url,
                hint="write it like http://10.1.2.1:8100",
            )  # fmt: skip
        self.base_url: Final = base_url
        self._socket_path = unquote(parts.netloc + parts.path) if unix else ""
        self._host = "localhost" if unix else parts.hostname or ""
        self._port = parts.port or 80
        self._authority = self._host if unix else parts.netloc.rpartition("@")[2]
        self._prefix = "" if unix else parts.path.rstrip("/")
        self._response_bytes_max = response_bytes_max
        self._idle: list[_Connection] = []

    async def send(self, request: Request, *, timeout_seconds: float = 10) -> Response:
        """See `Transport.send`.

        Raises:
            errors.Unreachable: TFG-1301.
            errors.VerificationFailed: TFG-5212, the answer is not HTTP or larger than allowed.

        """
        try:
            async with asyncio.timeout(timeout_seconds):
                return await self._exchange(request)
        except (OSError, EOFError) as fault:  # a timeout is an OSError
            raise errors.Unreachable(
                "TFG-1301", f"no answer: {str(fault) or type(fault).__name__}",
                where=self.base_url,
                hint="check that the server runs and can be reached from here",
            ) from fault  # fmt: skip
        except h11.RemoteProtocolError as fault:
            raise errors.VerificationFailed(
                "TFG-5212", f"the answer is not HTTP: {fault}", where=self.base_url
            ) from fault

    def close(self) -> None:
        """Close idle connections."""
        while self._idle:
            _close(self._idle.pop())

    async def _exchange(self, request: Request) -> Response:
        connection = await self._connected()
        reused = connection.used
        try:
            return await self._converse(connection, request)
        except (ConnectionError, EOFError):
            # A kept connection may have been closed meanwhile; only a read is sent again unasked.
            if not reused or request.method != "GET":
                raise
            self.close()
            return await self._converse(await self._connected(), request)

    async def _connected(self) -> _Connection:
        while self._idle:
            kept = self._idle.pop()
            if kept.is_usable():
                return kept
            _close(kept)
        if self._socket_path:
            reader, writer = await asyncio.open_unix_connection(self._socket_path)
        else:
            reader, writer = await asyncio.open_connection(self._host, self._port)
        return _Connection(
            reader=reader, writer=writer, loop=asyncio.get_running_loop(),
            protocol=h11.Connection(
                h11.CLIENT, max_incomplete_event_size=_HEADER_BYTES_MAX
            ),
        )  # fmt: skip

    async def _converse(self, connection: _Connection, request: Request) -> Response:
        try:
            await _write(connection, self._head(request), request.body)
            response = await self._read(connection)
        except BaseException:
            _close(connection)
            raise
        self._release(connection)
        return response

    def _head(self, request: Request) -> h11.Request:
        query = f"?{urlencode(request.query)}" if request.query else ""
        headers = [("host", self._authority), ("accept", "application/json")]
        if request.body or request.method == "POST":
            headers.append(("content-length", str(len(request.body))))
        target = quote(self._prefix + request.path, safe="/:@-._~") + query
        return h11.Request(method=request.method, target=target, headers=headers)

    async def _read(self, connection: _Connection) -> Response:
        status, media_type, body = 0, "", bytearray()
        while True:
            event = connection.protocol.next_event()
            if event is h11.NEED_DATA:
                data = await connection.reader.read(_READ_BYTES)
                if not data and not status:
                    raise EOFError("the server closed the connection")
                connection.protocol.receive_data(data)
            elif isinstance(event, h11.Response):
                status = event.status_code
                media_type = dict(event.headers).get(b"content-type", b"").decode("latin-1")
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > self._response_bytes_max:
                    raise errors.VerificationFailed(
                        "TFG-5212", f"the answer has more than {self._response_bytes_max} bytes",
                        where=self.base_url,
                    )  # fmt: skip
            elif isinstance(event, h11.EndOfMessage):
                return Response(status=status, body=bytes(body), media_type=media_type)
            elif isinstance(event, h11.ConnectionClosed):
                raise EOFError("the server closed the connection")

    def _release(self, connection: _Connection) -> None:
        done = h11.DONE
        states = (connection.protocol.our_state, connection.protocol.their_state)
        if states != (done, done) or len(self._idle) >= _IDLE_CONNECTIONS_MAX:
            _close(connection)
            return
        connection.protocol.start_next_cycle()
        connection.used = True
        self._idle.append(connection)


async def _write(connection: _Connection, head: h11.Request, body: bytes) -> None:
    protocol, writer = connection.protocol, connection.writer
    writer.write(protocol.send(head) or b"")
    if body:
        writer.write(protocol.send(h11.Data(data=body)) or b"")
    writer.write(protocol.send(h11.EndOfMessage()) or b"")
    await writer.drain()


def _close(connection: _Connection) -> None:
    if not connection.loop.is_closed():
        connection.writer.close()
