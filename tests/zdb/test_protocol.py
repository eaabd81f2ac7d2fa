"""What arrives on a socket: any cut, any garbage, any speed, and many at once."""

from __future__ import annotations

import contextlib
import random
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.zdb.ground import Error, Running, Wire, readable, request, serving

mebibyte = 1024**2


def memory_bytes(server: Running) -> int:
    """What the server holds in memory."""
    pages = int(Path(f"/proc/{server.pid}/statm").read_text().split()[1])
    return pages * 4096


@pytest.mark.parametrize(
    ("garbage", "text"),
    [
        (b"PING\r\n", "Malformed request, array expected"),
        (b"\r\n\r\n", "Malformed request, array expected"),
        (b"\r\nPING\r\n", "Malformed request, array expected"),
        (b"\rx", "Malformed request, array expected"),
        (b"*-1\r\n", "Malformed request, array expected"),
        (b"*1\n$4\r\nPING\r\n", "Malformed request, array expected"),
        (b"*0\r\n", "Missing arguments"),
        (b"*1025\r\n", "Too many arguments"),
        (b"*1000000000\r\n", "Too many arguments"),
        (b"*18446744073709551617\r\n", "Too many arguments"),
        (b"*1\r\n+PING\r\n", "Malformed query string"),
        (b"*1\r\n$-5\r\n", "Malformed query string"),
        (b"*1\r\n$+3\r\n", "Malformed query string"),
        (b"*1\r\n$4\r\nPING\n\n", "Malformed query string"),
        (b"*1\r\n$8388609\r\n", "Payload too big"),
        (b"*1\r\n$536870912\r\n", "Payload too big"),
    ],
    ids=repr,
)
def test_malformed_requests_are_named_and_end_the_connection(
    server: Running, garbage: bytes, text: str
) -> None:
    """What came before is answered, the error is told, and nothing after it is executed."""
    with server.wire() as wire:
        wire.send(request("PING") + garbage + request("PING"))
        assert wire.reply() == "PONG"
        assert wire.reply() == Error(text)
        assert wire.closed()
    with server.wire() as wire:
        assert wire("PING") == "PONG"


def test_an_empty_line_before_a_request_is_nothing(call: Wire) -> None:
    """`redis-cli --pipe` sends one; it may be cut anywhere."""
    data = request("PING") + b"\r\n" + request("ECHO", "end")
    for cut in range(1, len(data)):
        call.send(data[:cut])
        time.sleep(0.001)
        call.send(data[cut:])
        assert [call.reply(), call.reply()] == ["PONG", b"end"]


def test_a_request_may_be_cut_at_every_byte(call: Wire) -> None:
    """Two halves with a pause between them are the same request, wherever the cut is."""
    first = request("SET", b"k\r\n\0", b"\r\n$1\r\n*2\r\n")
    data = first + request("GET", b"k\r\n\0")
    for cut in range(1, len(data)):
        call("DEL", b"k\r\n\0")
        call.send(data[:cut])
        assert cut >= len(first) or not readable(call.socket, 0.0005)
        call.send(data[cut:])
        assert [call.reply(), call.reply()] == [b"k\r\n\0", b"\r\n$1\r\n*2\r\n"]


def test_one_byte_at_a_time_is_a_request(call: Wire) -> None:
    """A client that writes single bytes is served."""
    for byte in request("SET", "key", "value"):
        call.send(bytes([byte]))
    assert call.reply() == b"key"


@pytest.mark.parametrize("size", [8190, 8191, 8192, 8193, 65_536, 262_144, mebibyte])
def test_buffer_sizes_are_no_borders(call: Wire, size: int) -> None:
    """Pipelined values around the sizes of buffers arrive whole."""
    values = [bytes([65 + number]) * (size - 40 + number * 7) for number in range(12)]
    call.send(b"".join(request("SET", f"k{n}", value) for n, value in enumerate(values)))
    assert [call.reply() for _ in values] == [f"k{n}".encode() for n in range(12)]
    assert call("MGET", *(f"k{n}" for n in range(12))) == values


def test_the_largest_value_is_kept_and_the_next_refused(call: Wire) -> None:
    """8 MiB is a value, one byte more is not."""
    value = random.Random(1).randbytes(8 * mebibyte)  # the bytes do not matter, their number does
    assert call("SET", "k", value) == b"k"
    assert call("GET", "k") == value
    call.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$8388609\r\n")
    assert call.reply() == Error("Payload too big")


def test_the_most_arguments_are_1024(call: Wire) -> None:
    """MGET takes 1023 keys; one more is refused with the connection."""
    keys = [f"k{number}" for number in range(1023)]
    assert call("MGET", *keys) == [None] * 1023
    call.send(request("MGET", *keys, "more"))
    assert call.reply() == Error("Too many arguments")
    assert call.closed()


@pytest.mark.parametrize("seed", range(20))
def test_noise_never_ends_the_server(server: Running, seed: int) -> None:
    """Mutated pipelines get replies or an error and an end, and the server lives on."""
    rng = random.Random(seed)
    words = [b"SET", b"GET", b"SCAN", b"HISTORY", b"MGET", b"k", b"", b"\r\n", b"9" * 12]
    for _ in range(15):
        data = bytearray()
        for _ in range(rng.randrange(1, 6)):
            data += request(*rng.choices(words, k=rng.randrange(1, 5)))
        for _ in range(rng.randrange(0, 4)):
            at = rng.randrange(len(data))
            data[at : at + rng.randrange(3)] = rng.randbytes(rng.randrange(3))
        with contextlib.suppress(ConnectionError), server.wire() as wire:
            wire.send(bytes(data))
            wire.socket.shutdown(socket.SHUT_WR)
            wire.socket.settimeout(5)
            while wire.socket.recv(65536):
                pass
    with server.wire() as wire:
        assert wire("PING") == "PONG"


def test_a_client_that_ends_its_side_gets_its_replies(call: Wire) -> None:
    """After a half-closed connection everything asked before is still answered."""
    call.send(request("PING") * 1000)
    call.socket.shutdown(socket.SHUT_WR)
    assert [call.reply() for _ in range(1000)] == ["PONG"] * 1000
    assert call.closed()


def test_big_promises_cost_no_memory(server: Running) -> None:
    """Connections that announce 8 MiB and send nothing are not given 8 MiB."""
    with contextlib.ExitStack() as stack:
        before = memory_bytes(server)
        wires = [stack.enter_context(server.wire()) for _ in range(200)]
        for wire in wires:
            wire.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$8388608\r\nbegin")
        with server.wire() as other:
            assert other("PING") == "PONG"
        assert memory_bytes(server) - before < 16 * mebibyte


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server that cuts clients after a second."""
    with serving(tmp_path_factory.mktemp("impatient"), "--client-timeout", "1") as running:
        yield running


@pytest.mark.slow
def test_a_client_that_never_reads_is_bounded_and_cut(impatient: Running) -> None:
    """Replies are not collected without end, others are served, and the client goes."""
    with impatient.wire() as greedy, impatient.wire() as other:
        assert greedy("SET", "big", b"x" * 4 * mebibyte) == b"big"
        before = memory_bytes(impatient)
        with contextlib.suppress(OSError):
            greedy.send(request("GET", "big") * 2000 + request("MGET", *["big"] * 1000) * 5)
        assert other("PING") == "PONG"
        assert memory_bytes(impatient) - before < 48 * mebibyte
        until = time.monotonic() + 10
        while not _was_cut(impatient) and time.monotonic() < until:
            time.sleep(0.05)
        assert _was_cut(impatient)
        assert other("GET", "big") == b"x" * 4 * mebibyte


def _was_cut(server: Running) -> bool:
    return any(line["event"] == "a client was cut" for line in server.lines())


@pytest.mark.slow
def test_a_slow_reader_gets_everything(call: Wire) -> None:
    """A client that reads little by little gets all its replies in order."""
    values = [bytes([number]) * mebibyte for number in range(1, 9)]
    for number, value in enumerate(values):
        call("SET", f"k{number}", value)
    call.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    call.send(b"".join(request("GET", f"k{number}") for number in range(8)) * 4)
    got = [call.reply() for _ in range(32)]
    assert got == values * 4


@pytest.mark.slow
def test_a_thousand_connections_are_served(server: Running) -> None:
    """A thousand clients are open at once, each is answered, and their memory is small."""
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(server.wire()) for _ in range(1000)]
        before = memory_bytes(server)
        for number, wire in enumerate(wires):
            wire.send(request("SET", f"c{number}", f"v{number}"))
        assert [wire.reply() for wire in wires] == [f"c{n}".encode() for n in range(1000)]
        for number, wire in enumerate(wires):
            wire.send(request("GET", f"c{number}"))
        assert [wire.reply() for wire in wires] == [f"v{n}".encode() for n in range(1000)]
        assert memory_bytes(server) - before < 24 * mebibyte


def test_too_many_connections_are_refused_in_words(tmp_path: Path) -> None:
    """Beyond --clients a connection is told so; a free place is used again."""
    with serving(tmp_path, "--clients", "2") as server, server.wire() as one:
        with server.wire() as two, server.wire() as three:
            assert one("PING") == two("PING") == "PONG"
            assert three.reply() == Error("max number of clients reached")
        until = time.monotonic() + 5
        while time.monotonic() < until:
            with server.wire() as again, contextlib.suppress(OSError, EOFError):
                if again("PING") == "PONG":
                    return
        raise AssertionError("no place became free")
