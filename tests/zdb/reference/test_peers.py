"""Ordinary Redis clients, as they are: redis-py, hiredis, and Debian's programs where they are."""

from __future__ import annotations

import asyncio
import shutil
import subprocess

import hiredis
import pytest
import redis
import redis.asyncio

from tests.zdb.ground import Running, Wire, request


def test_redis_py_works_without_special_settings(server: Running) -> None:
    """Connection, values, pipelines, CONFIG, INFO, CLIENT and errors of redis-py."""
    address = server.address
    with redis.Redis(host=address.host, port=address.port, client_name="me") as client:
        assert client.ping()
        client.set("py", b"value")
        assert client.get("py") == b"value"
        assert client.mget(["py", "absent"]) == [b"value", None]
        assert client.exists("py") == 1
        assert client.client_getname() in {"me", b"me"}
        assert client.config_get("appendonly") == {"appendonly": "yes"}
        assert client.dbsize() >= 1
        assert client.info()["sequential_key_size"] == 8
        with client.pipeline(transaction=False) as pipeline:
            for number in range(100):
                pipeline.set(f"p{number}", number)
                pipeline.get(f"p{number}")
            assert pipeline.execute()[1::2] == [str(n).encode() for n in range(100)]
        with pytest.raises(redis.ResponseError, match="Command not supported"):
            client.execute_command("LPUSH", "a", "b")
        assert client.execute_command("HISTORY", "py")[2] == b"value"


def test_asynchronous_redis_py_works(server: Running) -> None:
    """The asyncio client of redis-py stores and reads."""

    async def work() -> None:
        address = server.address
        client = redis.asyncio.Redis(host=address.host, port=address.port)
        try:
            await client.set("aio", "x")
            assert await client.get("aio") == b"x"
        finally:
            await client.aclose()

    asyncio.run(work())


def test_hello_says_who_is_there_and_switches(server: Running) -> None:
    """HELLO 2 answers with a list, HELLO 3 with a map, and from then on nil is RESP3's."""
    with server.wire() as wire:
        hello = wire("HELLO", "2", "SETNAME", "x")
        assert isinstance(hello, list)
        told = dict(zip(hello[::2], hello[1::2], strict=True))
        assert (told[b"proto"], told[b"role"], told[b"mode"]) == (2, b"master", b"standalone")
        assert wire("CLIENT", "GETNAME") == b"x"
        wire.send(request("HELLO", "3") + request("GET", "absent"))
        data = b""
        while not data.endswith(b"_\r\n"):
            data += wire.socket.recv(4096)
        assert data.startswith(b"%7\r\n$6\r\nserver\r\n")
        assert b"$5\r\nproto\r\n:3\r\n" in data


@pytest.mark.parametrize("protocol", [2, 3])
def test_redis_py_takes_either_protocol(server: Running, protocol: int) -> None:
    """Values, nil, lists and settings are the same over RESP2 and RESP3."""
    address = server.address
    with redis.Redis(host=address.host, port=address.port, protocol=protocol) as client:
        client.set("p", str(protocol))
        assert client.mget(["p", "absent"]) == [str(protocol).encode(), None]
        assert client.get("absent") is None
        assert client.config_get("save") == {"save": ""}


def test_hiredis_reads_every_kind_of_reply(call: Wire) -> None:
    """The parser of hiredis understands statuses, errors, integers, strings, arrays and nil."""
    call.send(
        request("PING") + request("SET", "k", "v") + request("GET", "k") + request("GET", "none")
        + request("DBSIZE") + request("SCAN") + request("NOTHING")
    )  # fmt: skip
    reader = hiredis.Reader()
    replies: list[object] = []
    while len(replies) < 7:
        reader.feed(call.socket.recv(65536))
        while (reply := reader.gets()) is not False:
            replies.append(reply)
    assert replies[:5] == [b"PONG", b"k", b"v", None, 1]
    assert isinstance(replies[5], list)
    assert isinstance(replies[6], hiredis.ReplyError)


@pytest.mark.slow
def test_the_programs_of_redis_work(server: Running) -> None:
    """redis-cli asks and redis-benchmark runs, if this machine has them."""
    where = ("-h", server.address.host, "-p", str(server.address.port))
    if shutil.which("redis-cli"):
        answer = subprocess.run(
            ["redis-cli", *where, "--no-raw", "set", "cli", "x"], capture_output=True, text=True,
            timeout=20, check=True,
        )  # fmt: skip
        assert answer.stdout == '"cli"\n'
    if shutil.which("redis-benchmark"):
        answer = subprocess.run(
            ["redis-benchmark", *where, "-t", "set,get", "-n", "2000", "-P", "16", "-q",
             "-r", "99"],
            capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        assert "WARNING" not in answer.stdout + answer.stderr
        assert answer.stdout.count("requests per second") == 2
