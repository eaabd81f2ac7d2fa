"""What a client, a contract or a container may not do at a gateway."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from pathlib import Path

import pytest

from tests.zgw.edge import Edge, Web, domain, play, serving
from tests.zgw.test_routes import name, route
from tfgrid.capacity import zgw
from tfgrid.core import errors

pytestmark = [pytest.mark.root, pytest.mark.slow]


def status(answer: bytes) -> int:
    """The status code of an answer, 0 for none."""
    return int(answer.split(b" ")[1]) if answer.startswith(b"HTTP/") else 0


def test_ambiguous_requests_never_reach_a_container(tmp_path: Path) -> None:
    """Two lengths, hosts or encodings and another authority are refused at the door."""
    line = b"POST / HTTP/1.1\r\nHost: " + name.encode() + b"\r\n"
    end = b"\r\n\r\n"
    chunked = b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: " + name.encode() + b"\r\n\r\n"
    requests = {
        "CL+CL": line + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
        "TE+TE": line + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n" + chunked,
        "TE odd": line + b"Transfer-Encoding: xchunked\r\n\r\n" + chunked,
        "TE space": line + b"Transfer-Encoding : chunked\r\n\r\n" + chunked,
        "host twice": line + b"Host: other.grid.localhost\r\n\r\n",
        "authority": b"GET http://other.grid.localhost/ HTTP/1.1\r\nHost: " + name.encode() + end,
        "no host": b"GET / HTTP/1.1\r\n\r\n",
        "NUL": line + b"X-A: a\x00b\r\n\r\n",
    }  # fmt: skip

    async def story(edge: Edge) -> None:
        web = Web("one", "100.64.0.2", 20_000)
        with serving(edge.netns, web):
            await edge.gateway.ensure(route(web))
            answers = {
                kind: await asyncio.to_thread(edge.raw, name, request)
                for kind, request in requests.items()
            }
            assert {kind: status(answer) for kind, answer in answers.items()} == dict.fromkeys(
                requests, 400
            )
            assert all(r.startswith("GET /health") for r in web.requests)

    play(tmp_path, story)


def test_what_is_tolerated_reaches_a_container_in_one_reading(tmp_path: Path) -> None:
    """Length beside encoding, and bare line feeds, reach a container in one form or not at all."""

    async def story(edge: Edge) -> None:
        web = Web("one", "100.64.0.2", 20_000)
        line = f"POST /both HTTP/1.1\r\nHost: {name}\r\n"
        both = line + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        hidden = "GET /hidden HTTP/1.1\r\nHost: other.grid.localhost\r\n\r\n"
        bare = f"GET /bare HTTP/1.1\nHost: {name}\nConnection: close\n\n"
        with serving(edge.netns, web):
            await edge.gateway.ensure(route(web))
            answer = await asyncio.to_thread(edge.raw, name, (both + hidden).encode())
            assert status(answer) in {200, 400} and b"hidden" not in answer
            await asyncio.to_thread(edge.raw, name, bare.encode())
        for request in (r.lower() for r in web.requests):
            assert "hidden" not in request
            assert "\n" not in request.replace("\r\n", "")
            assert not ("content-length:" in request and "transfer-encoding:" in request)

    play(tmp_path, story)


def test_slow_and_endless_headers_are_cut(tmp_path: Path) -> None:
    """Headers that never end in time, or are larger than the limit, are cut off."""

    async def story(edge: Edge) -> None:
        def dawdle() -> tuple[bytes, float]:
            began = time.monotonic()
            with edge.connect(name) as tls:
                tls.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-A: ")
                return tls.recv(1024), time.monotonic() - began

        answer, seconds = await asyncio.to_thread(dawdle)
        assert status(answer) == 408 and seconds < 7
        big = f"GET / HTTP/1.1\r\nHost: {name}\r\nX-A: {'a' * 65_536}\r\n\r\n".encode()
        web = Web("one", "100.64.0.2", 20_000)
        with serving(edge.netns, web):
            await edge.gateway.ensure(route(web))
            # The answer may be lost when the rest of the headers meets a closed connection.
            assert status(await asyncio.to_thread(edge.raw, name, big)) in {0, 400, 431}
        assert all(r.startswith("GET /health") for r in web.requests)

    play(tmp_path, story)


def test_headers_about_the_client_are_ours(tmp_path: Path) -> None:
    """X-Forwarded-For and its relatives from the client are replaced, never passed on."""

    async def story(edge: Edge) -> None:
        web = Web("one", "100.64.0.2", 20_000)
        forged = "X-Forwarded-For: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n"
        request = f"GET /seen HTTP/1.1\r\nHost: {name}\r\n{forged}Connection: close\r\n\r\n"
        with serving(edge.netns, web):
            await edge.gateway.ensure(route(web))
            assert status(await asyncio.to_thread(edge.raw, name, request.encode())) == 200
        seen = next(r for r in web.requests if r.startswith("GET /seen")).lower()
        assert "6.6.6.6" not in seen
        assert "x-forwarded-for: 10.71.0.1\r\n" in seen
        assert "x-forwarded-proto: https\r\n" in seen

    play(tmp_path, story)


def test_backends_and_names_outside_are_refused(tmp_path: Path) -> None:
    """Addresses that are no links are no backends, and foreign or deep names are no routes."""

    async def story(edge: Edge) -> None:
        for address in ("127.0.0.1", "10.71.0.1", "169.254.169.254", "0.0.0.0", "100.65.0.1"):
            with pytest.raises(errors.BadInput) as refused:
                await edge.gateway.ensure(route(Web("x", address)))
            assert refused.value.code == "TFG-3504"
        for host in ("a.b.grid.localhost", "grid.localhost", "example.com", "xgrid.localhost"):
            with pytest.raises(errors.BadInput) as refused:
                await edge.gateway.ensure(route(Web("x", "100.64.0.2"), host=host))
            assert refused.value.code == "TFG-3503"
        assert await edge.gateway.observe() == {}

    play(tmp_path, story)


def test_a_client_that_asks_for_a_foreign_name_gets_no_handshake(tmp_path: Path) -> None:
    """A TLS greeting for a name outside the domains, or none at all, ends in the handshake."""

    async def story(edge: Edge) -> None:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            edge.connect("example.com")
        with contextlib.closing(edge.connect(f"any.{domain}")) as tls:
            assert tls.version() == "TLSv1.3"

    play(tmp_path, story)


def test_only_the_https_port_is_open(tmp_path: Path) -> None:
    """In the node's namespace HAProxy listens on one TCP port and on nothing else."""

    async def story(edge: Edge) -> None:
        from tests.znet.probes import run_in

        lines = run_in(edge.netns, "ss", "-Hlntu").splitlines()
        assert {line.split()[4] for line in lines} == {"10.71.0.1:443"}

    play(tmp_path, story)


def test_without_a_certificate_nothing_is_started(tmp_path: Path) -> None:
    """A gateway without a certificate says so and runs nothing."""

    async def story(edge: Edge) -> None:
        await edge.gateway.stop()
        edge.settings.certificate.unlink()
        with pytest.raises(errors.NotFound) as refused:
            await edge.gateway.ensure(
                zgw.Route(host=name, backends=(zgw.Backend(address="100.64.0.2", port=1),))
            )
        assert refused.value.code == "TFG-3502"
        assert await edge.launcher.list() == {}

    play(tmp_path, story)
