"""The Python side: clients, their codec, and supervision through a launcher."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.zdb.ground import Running
from tfgrid.capacity import zdb
from tfgrid.capacity.zdb import format as wire
from tfgrid.capacity.zdb import server as supervision
from tfgrid.core import errors
from tfgrid.core.clock import SystemClock
from tfgrid.jumpscale import executors


@pytest.fixture
def client(server: Running, request: pytest.FixtureRequest) -> Iterator[zdb.Client]:
    """A client in a namespace of its own."""
    with server.client() as client:
        client.nsnew(request.node.name)
        client.select(request.node.name)
        yield client


def test_every_verb_is_typed(client: zdb.Client, request: pytest.FixtureRequest) -> None:
    """The blocking client reads each reply as what it is."""
    assert client.ping() == "PONG"
    assert client.set(b"k", b"one", timestamp=5) == b"k"
    assert client.set(b"k", b"one") is None
    assert client.set(b"k", b"two", timestamp=6) == b"k"
    assert (client.get(b"k"), client.get(b"absent")) == (b"two", None)
    assert client.mget([b"k", b"absent"]) == [b"two", None]
    assert (client.exists(b"k"), client.check(b"k"), client.check(b"absent")) == (True, True, None)
    assert (client.length(b"k"), client.keytime(b"k")) == (3, 6)
    assert [(v.payload, v.timestamp) for v in client.history(b"k")] == [(b"two", 6), (b"one", 5)]
    assert list(client.scan()) == [zdb.Entry(b"k", 3, 6)]
    assert list(client.scan(backward=True)) == list(client.scan())
    assert list(client.kscan(b"k")) == [b"k"]
    assert list(client.kscan(b"z")) == []
    assert client.dbsize() == 1
    client.delete(b"k")
    with pytest.raises(errors.NotFound, match="TFG-3705"):
        client.delete(b"k")
    with pytest.raises(errors.Conflict, match="TFG-3706"):
        client.nsnew(request.node.name)
    with pytest.raises(zdb.Refused, match="TFG-3707 WAIT: Timeout"):
        client.wait(timeout_ms=100)
    with pytest.raises(errors.NotAllowed, match="TFG-3704"):
        client.flush()
    with pytest.raises(errors.BadInput, match="TFG-3702"):
        client.set(b"k" * 256, b"")
    with pytest.raises(errors.BadInput, match="TFG-3702"):
        client.mget([])
    assert request.node.name in client.nslist()
    client.nsset(request.node.name, "maxsize", "77")
    assert client.nsinfo(request.node.name).payload_bytes_max == 77
    assert client.info()["sequential_key_size"] == "8"


def test_long_listings_are_walked_to_the_end(client: zdb.Client) -> None:
    """Scans of several pages give every key once."""
    keys = [b"key-%05d" % number for number in range(3000)]
    client.call([(b"SET", key, b"v") for key in keys])
    assert [entry.key for entry in client.scan()] == keys
    assert [entry.key for entry in client.scan(backward=True)] == keys[::-1]
    assert sorted(client.kscan(b"key-0")) == keys


def test_secrets_are_proved_by_challenge(client: zdb.Client, server: Running) -> None:
    """SELECT with a password sends an answer, and a wrong one is refused."""
    name = "secret-" + str(id(client))
    client.nsnew(name)
    client.nsset(name, "password", "pw")
    client.nsset(name, "public", "0")
    with server.client() as other:
        with pytest.raises(errors.NotAllowed):
            other.select(name, "wrong")
        other.select(name, "pw")
        other.set(b"k", b"v")
        other.flush()


def test_the_asynchronous_client_does_the_same(server: Running) -> None:
    """Tasks take turns on one connection, and a cancelled request closes it."""

    async def work() -> None:
        async with await zdb.AsyncClient.connect(server.address) as client:
            await client.nsnew("async")
            await client.select("async")
            await asyncio.gather(*(client.set(b"k%d" % n, b"v%d" % n) for n in range(50)))
            assert await client.mget([b"k7", b"k49"]) == [b"v7", b"v49"]
            assert len([entry async for entry in client.scan()]) == 50
            assert [v.payload async for v in client.history(b"k7")] == [b"v7"]
            waiting = asyncio.create_task(client.wait(timeout_ms=60_000))
            await asyncio.sleep(0.05)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            with pytest.raises(errors.Unreachable, match="TFG-3708"):
                await client.ping()

    asyncio.run(work())


def test_nobody_there_is_said_so(tmp_path: Path) -> None:
    """A refused connection is TFG-3708 with the address."""
    address = zdb.Address(socket=tmp_path / "none.sock")
    with pytest.raises(errors.Unreachable, match="TFG-3708"):
        zdb.Client(address)
    with pytest.raises(errors.Unreachable, match="TFG-3708"):
        asyncio.run(zdb.AsyncClient.connect(address))


@pytest.mark.parametrize(
    "lie", [b"hello\r\n", b"$99999999\r\n", b"*9999999\r\n", b":x\r\n", b"$2\r\nabc\r\n",
            b"*1\r\n" * 20, b"+" + b"x" * 70_000, b":5\r\n"],
)  # fmt: skip
def test_a_server_that_is_none_is_found_out(lie: bytes) -> None:
    """Whatever answers something else is named, and costs no memory."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            # A client that found out goes, and need not have read it all.
            with connection, contextlib.suppress(ConnectionError):
                connection.recv(1000)
                connection.sendall(lie)
                connection.recv(1000)

        thread = threading.Thread(target=answer)
        thread.start()
        with (
            zdb.Client(zdb.Address(port=listener.getsockname()[1])) as client,
            pytest.raises(errors.VerificationFailed, match="TFG-3703"),
        ):
            client.ping()
        thread.join(10)


_LEAVES = st.none() | st.integers(-(10**18), 10**18) | st.binary(max_size=40)
_REPLIES = st.recursive(_LEAVES, lambda inner: st.lists(inner, max_size=4), max_leaves=12)


def _render(reply: wire.Reply) -> bytes:
    match reply:
        case None:
            return b"$-1\r\n"
        case int():
            return b":%d\r\n" % reply
        case bytes():
            return b"$%d\r\n%b\r\n" % (len(reply), reply)
        case list():
            return b"*%d\r\n" % len(reply) + b"".join(map(_render, reply))
        case _:
            raise TypeError(reply)


@given(st.lists(_REPLIES, max_size=5), st.data())
def test_replies_are_the_same_in_any_pieces(replies: list[wire.Reply], data: st.DataObject) -> None:
    """The decoder gives the same replies however the bytes are cut."""
    stream = b"".join(map(_render, replies))
    decoder, found = wire.Decoder(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        decoder.feed(stream[:size])
        stream = stream[size:]
        while (reply := decoder.next()) is not None:
            found.append(reply[0])
    assert found == replies


@pytest.mark.parametrize(
    ("text", "shown"),
    [("127.0.0.1:9900", "tcp://127.0.0.1:9900"), ("[::1]:1", "tcp://[::1]:1"),
     ("tcp://h:2", "tcp://h:2"), ("/run/z.sock", "unix:///run/z.sock"),
     ("unix:///a", "unix:///a")],
)  # fmt: skip
def test_addresses_are_read_and_shown(text: str, shown: str) -> None:
    """What is shown is read again as the same."""
    assert str(zdb.Address.parse(text)) == shown
    assert zdb.Address.parse(shown) == zdb.Address.parse(text)


@pytest.mark.parametrize("text", ["", "host", ":1", "h:x", "h:²"])
def test_other_addresses_are_refused(text: str) -> None:
    """What is no address is TFG-3701."""
    with pytest.raises(errors.BadInput, match="TFG-3701"):
        zdb.Address.parse(text)


def test_a_launcher_starts_watches_and_stops_a_server(tmp_path: Path) -> None:
    """Starting twice is one process; a server that ended is started anew; stopping is orderly."""

    async def work() -> None:
        launcher = executors.DirectLauncher(tmp_path / "logs")
        settings = zdb.Settings(
            data=tmp_path / "d", index=tmp_path / "i", admin_socket=tmp_path / "a.sock"
        )
        server = zdb.Server("zdb-test", settings, launcher, SystemClock())
        try:
            first = await server.start()
            assert (await server.start()).pid == first.pid
            async with await server.connect() as client:
                await client.nsnew("n")
                await client.stop()
            await launcher.wait("zdb-test", 10)
            assert await server.running() is None
            assert (await server.start()).pid != first.pid
            async with await server.connect() as client:
                assert await client.nslist() == ["default", "n"]
            other = zdb.Server("zdb-other", settings, launcher, SystemClock())
            with pytest.raises(errors.Failed, match="TFG-3710"):
                await other.start()
        finally:
            await server.stop()
            await launcher.stop("zdb-other", 1)
        assert await server.running() is None

    asyncio.run(work())


def test_settings_become_options_without_secrets(tmp_path: Path) -> None:
    """Each setting is an option of the native server; nowhere to listen is TFG-3709."""
    settings = zdb.Settings(
        data=Path("d"), index=Path("i"), listen=zdb.Address("::1", 7), mode="seq",
        admin_file=Path("s"), metrics=zdb.Address("::1", 8), hook=Path("h"), sync="always",
    )  # fmt: skip
    assert supervision.arguments(settings) == [
        "--data",
        "d",
        "--index",
        "i",
        "--mode",
        "seq",
        "--sync",
        "always",
        "--data-size",
        "268435456",
        "--cache",
        "67108864",
        "--listen",
        "::1",
        "--port",
        "7",
        "--admin-file",
        "s",
        "--hook",
        "h",
        "--metrics",
        "[::1]:8",
    ]
    with pytest.raises(errors.BadInput, match="TFG-3709"):
        _ = zdb.Settings(data=tmp_path, index=tmp_path).control
