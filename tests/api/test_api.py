"""HTTP around a handler: limits, problems, ready and stop; and the transport to it."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tfgrid.core import errors
from tfgrid.core.log import Log
from tfgrid.core.transport import Request, Response
from tfgrid.doors import api
from tfgrid.jumpscale import clients

_BODY_MAX = 1000


async def _echo(request: Request) -> Response:
    """Answer what was asked; some paths misbehave."""
    match request.path:
        case "/refuse":
            raise errors.Conflict("TFG-2004", "no", where="here", hint="look", expected=7)
        case "/explode":
            raise RuntimeError("secret words")
        case "/slow":
            await asyncio.sleep(0.3)
        case "/large":
            return Response(status=200, body=b"x" * 5000)
    told = {"method": request.method, "path": request.path, "query": dict(request.query)}
    return Response(status=200, body=json.dumps(told | {"bytes": len(request.body)}).encode())


@asynccontextmanager
async def _served(**options: Any) -> AsyncIterator[tuple[str, io.StringIO]]:
    told: asyncio.Future[api.Address] = asyncio.get_running_loop().create_future()
    stop, lines = asyncio.Event(), io.StringIO()
    serving = asyncio.create_task(
        api.serve(
            _echo, ready=told.set_result, stop=stop, body_bytes_max=_BODY_MAX,
            log=Log("api", level="debug", stream=lines), **options,
        )
    )  # fmt: skip
    first: list[asyncio.Future[Any]] = [told, serving]
    await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        serving.result()
    try:
        yield told.result().url, lines
    finally:
        stop.set()
        await serving


def _scene(body: Callable[[clients.HttpTransport, str], Awaitable[None]], **options: Any) -> str:
    async def main() -> str:
        async with _served(**options) as (url, lines):
            transport = clients.HttpTransport(url)
            try:
                await body(transport, url)
            finally:
                transport.close()
        return lines.getvalue()

    return asyncio.run(main())


def test_requests_arrive_as_they_were_sent(tmp_path: Path) -> None:
    """Method, path, query and body pass over TCP and over a Unix socket, and are logged."""

    async def body(transport: clients.HttpTransport, _url: str) -> None:
        for _again in range(3):
            answer = await transport.send(
                Request(method="POST", path="/a/b:c", query={"k": "v w&x=\u00e9"}, body=b"12345")
            )
            assert json.loads(answer.body) == {
                "method": "POST", "path": "/a/b:c", "query": {"k": "v w&x=\u00e9"}, "bytes": 5,
            }  # fmt: skip
        assert answer.media_type.startswith("application/json")

    log = _scene(body)
    _scene(body, uds=tmp_path / "s")

    assert json.loads(log.splitlines()[0])["path"] == "/a/b:c"
    assert not (tmp_path / "s").exists()


def test_refusals_are_problem_documents() -> None:
    """A GridError keeps its parts; an unexpected one is answered without its words."""

    async def body(transport: clients.HttpTransport, _url: str) -> None:
        refused = await transport.send(Request(method="GET", path="/refuse"))
        told = json.loads(refused.body)
        assert (refused.status, refused.media_type) == (409, "application/problem+json")
        assert (told["code"], told["detail"], told["hint"]) == ("TFG-2004", "no", "look")
        assert told["details"] == {"expected": 7}
        exploded = await transport.send(Request(method="GET", path="/explode"))
        assert exploded.status == 500
        assert b"TFG-5203" in exploded.body
        assert b"secret" not in exploded.body
        assert (await transport.send(Request(method="GET", path="/fine"))).status == 200

    assert "secret" not in _scene(body)


def test_bodies_are_bounded() -> None:
    """The largest body passes; a larger one, declared or counted, is refused."""

    async def body(transport: clients.HttpTransport, url: str) -> None:
        fits = await transport.send(Request(method="POST", path="/", body=b"x" * _BODY_MAX))
        assert json.loads(fits.body)["bytes"] == _BODY_MAX
        over = await transport.send(Request(method="POST", path="/", body=b"x" * (_BODY_MAX + 1)))
        assert over.status == 413
        assert b"TFG-5201" in over.body
        declared = await _raw(
            url, b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10737418240\r\n\r\n"
        )
        assert b" 413 " in declared.split(b"\r\n")[0]
        chunk = b"258\r\n" + b"x" * 600 + b"\r\n"
        chunked = await _raw(
            url,
            b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
            + chunk * 3
            + b"0\r\n\r\n",
        )
        assert b" 413 " in chunked.split(b"\r\n")[0]

    _scene(body)


async def _raw(url: str, data: bytes) -> bytes:
    host, _, port = url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(data)
    await writer.drain()
    try:
        async with asyncio.timeout(5):
            return await reader.read(4096)
    finally:
        writer.close()


def test_malformed_requests_are_refused() -> None:
    """Rubbish, a huge head, unknown methods and doubled parameters get a 4xx."""

    async def body(transport: clients.HttpTransport, url: str) -> None:
        for data in (
            b"rubbish\r\n\r\n",
            b"GET / HTTP/1.1\r\n" + b"x: " + b"y" * 70_000 + b"\r\n\r\n",
            b"BREW / HTTP/1.1\r\nhost: x\r\n\r\n",
            b"GET /?a=1&a=2 HTTP/1.1\r\nhost: x\r\n\r\n",
            b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        ):
            assert (await _raw(url, data)).startswith(b"HTTP/1.1 4")
        assert (await transport.send(Request(method="GET", path="/"))).status == 200

    _scene(body)


def test_a_taken_port_is_named() -> None:
    """Listening where somebody listens already is an error of its own."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        async def main() -> None:
            await api.serve(_echo, port=port)

        with pytest.raises(errors.Busy, match="TFG-5202"):
            asyncio.run(main())


def test_stopping_finishes_what_was_begun() -> None:
    """A request under way when the server is told to stop is still answered."""

    async def main() -> None:
        async with _served() as (url, _lines):
            transport = clients.HttpTransport(url)
            slow = asyncio.create_task(transport.send(Request(method="GET", path="/slow")))
            await asyncio.sleep(0.1)
        assert (await slow).status == 200
        transport.close()
        with pytest.raises(errors.Unreachable, match="TFG-1301"):
            await transport.send(Request(method="GET", path="/"))

    asyncio.run(main())


def test_the_transport_says_why() -> None:
    """No server, a slow one, one that talks rubbish and one that says too much have names."""

    async def body(transport: clients.HttpTransport, url: str) -> None:
        with pytest.raises(errors.Unreachable, match="TFG-1301"):
            await transport.send(Request(method="GET", path="/slow"), timeout_seconds=0.05)
        small = clients.HttpTransport(url, response_bytes_max=100)
        with pytest.raises(errors.VerificationFailed, match="TFG-5212"):
            await small.send(Request(method="GET", path="/large"))

    _scene(body)
    for url in ("https://x", "x", "http://", "ftp://x:1"):
        with pytest.raises(errors.BadInput, match="TFG-5211"):
            clients.HttpTransport(url)


def test_hostile_servers_are_survived() -> None:
    """Rubbish, an endless head, a closed connection and a short body are named errors."""
    answers = (b"rubbish\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 9000, b"",
               b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc")  # fmt: skip

    async def main(answer: bytes) -> None:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        transport = clients.HttpTransport(f"http://127.0.0.1:{port}")
        with pytest.raises((errors.VerificationFailed, errors.Unreachable)):
            await transport.send(Request(method="GET", path="/"))
        server.close()
        await server.wait_closed()

    for answer in answers:
        asyncio.run(main(answer))


def test_a_kept_connection_that_was_closed_is_replaced() -> None:
    """After the server was restarted on the same address, a read is answered at once."""

    async def main() -> None:
        async with _served() as (url, _lines):
            transport = clients.HttpTransport(url)
            await transport.send(Request(method="GET", path="/"))
        port = int(url.rpartition(":")[2])
        async with _served(port=port):
            assert (await transport.send(Request(method="GET", path="/"))).status == 200
        transport.close()

    asyncio.run(main())


def test_a_process_says_when_it_listens_and_ends_on_sigterm() -> None:
    """`run` writes one line to the descriptor that its parent gave, and SIGTERM ends it with 0."""
    reading, writing = os.pipe()
    script = (
        "from tfgrid.core.transport import Response\n"
        "from tfgrid.doors import api\n"
        "async def handler(request): return Response(status=200)\n"
        f"api.run(handler, ready_fd={writing}, port=0)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script], pass_fds=[writing])
    os.close(writing)
    with os.fdopen(reading) as pipe:
        line = pipe.readline()
    assert line.startswith("READY http://127.0.0.1:")
    transport = clients.HttpTransport(line.split()[1])

    async def ask() -> int:
        try:
            return (await transport.send(Request(method="GET", path="/"))).status
        finally:
            transport.close()

    assert asyncio.run(ask()) == 200
    child.send_signal(signal.SIGTERM)
    assert child.wait(10) == 0
