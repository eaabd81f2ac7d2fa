"""What somebody who knows Redis tries first works, or is refused in words, and nothing hangs."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from tests.zdb.ground import Error, Running, Wire, request, serving

REFUSED = "Command not supported"


@pytest.fixture
def client(server: Running) -> Iterator[redis.Redis]:
    """redis-py as most people open it."""
    address = server.address
    with redis.Redis(host=address.host, port=address.port, decode_responses=True) as opened:
        yield opened


def test_keys_are_found_as_in_redis(client: redis.Redis) -> None:
    """`scan_iter` gives every key once, and those of a pattern, however many there are."""
    names = {f"user:{number}:é" for number in range(3000)} | {"other"}
    with client.pipeline(transaction=False) as pipeline:
        for name in names:
            pipeline.set(name, "x")
        pipeline.execute()
    found = list(client.scan_iter())
    assert names <= set(found)
    assert len(found) == len(set(found))
    users = list(client.scan_iter("user:1?:*", count=7))
    assert sorted(users) == sorted(f"user:{number}:é" for number in range(10, 20))
    assert list(client.scan_iter("none*")) == []
    assert list(client.scan_iter("user:[12]:*", _type="string")) != []
    assert list(client.scan_iter("user:[12]:*", _type="list")) == []
    cursor, _ = client.scan(0, match="o*")
    assert isinstance(cursor, int)


@pytest.mark.parametrize("mode", ["user", "seq"])
def test_scan_takes_either_cursor(call: Wire, mode: str) -> None:
    """A number is Redis's, 17 bytes are those of 0-db, and anything else is refused as before."""
    name = f"either_{mode}"
    call("NSNEW", name)
    assert call("NSSET", name, "mode", mode) == "OK"
    assert call("SELECT", name) == "OK"
    keys = [call("SET", f"k{n}" if mode == "user" else "", f"{n}") for n in range(3)]
    cursor, found = call("SCAN", "0"), call("SCAN")
    assert isinstance(cursor, list)
    assert cursor[0] == b"0"
    assert isinstance(cursor[1], list)
    assert set(cursor[1]) == set(keys)
    assert isinstance(found, list)
    assert isinstance(found[0], bytes)
    assert len(found[0]) == 17
    for words, text in (
        (("SCAN", "0x"), "Invalid key format"),
        (("SCANX", "0"), "Invalid key format"),
        (("RSCAN", "0"), "Invalid key format"),
        (("SCAN", "0", "MATCH"), "Unexpected arguments"),
        (("SCAN", "0", "MATCH", "*", "COUNT", "0"), "Invalid argument"),
        (("SCAN", "0", "WHERE", "x"), "Invalid argument"),
        (("SCAN", "99999999999999999999999"), "Invalid key format"),
    ):
        assert call(*words) == Error(text), words


def subscribe(client: redis.Redis) -> object:
    """What a subscription is answered with."""
    with client.pubsub() as pubsub:  # type: ignore[no-untyped-call]
        pubsub.subscribe("news")
        return pubsub.get_message(timeout=5)


@pytest.mark.parametrize(
    "ask",
    [
        subscribe, lambda client: client.publish("news", "x"),
        lambda client: client.blpop("list", timeout=5), lambda client: client.incr("n"),
        lambda client: client.keys("*"), lambda client: client.expire("k", 1),
        lambda client: client.eval("return 1", 0), lambda client: client.flushall(),
        lambda client: next(client.monitor().__enter__().listen()),
    ],
)  # fmt: skip
def test_what_is_not_there_is_refused_at_once(
    client: redis.Redis, ask: Callable[[redis.Redis], Any]
) -> None:
    """In words, without waiting, and the connection goes on as if nothing had been asked."""
    client.set("k", "v")
    began = time.monotonic()
    with pytest.raises(redis.ResponseError, match=REFUSED):
        ask(client)
    assert time.monotonic() - began < 4
    assert client.get("k") == "v"


def test_set_with_options_stores_nothing(client: redis.Redis) -> None:
    """An expiry or a condition is refused: it is not left out silently."""
    refused: list[dict[str, Any]] = [{"ex": 10}, {"nx": True}, {"xx": True}, {"get": True}]
    for options in refused:
        with pytest.raises(redis.ResponseError):
            client.set("conditional", "v", **options)
    assert client.get("conditional") is None
    with pytest.raises(redis.ResponseError):
        client.delete("conditional", "k")


def opened(server: Running, **fields: Any) -> redis.Redis:
    """A client with these fields."""
    return redis.Redis(host=server.address.host, port=server.address.port, **fields)


def test_passwords_are_sent_in_any_form(tmp_path_factory: pytest.TempPathFactory) -> None:
    """With or without the name of Redis's only user, over either protocol."""
    folder, user = tmp_path_factory.mktemp("password"), {"username": "default"}
    known: dict[str, Any] = {"password": "secret"}
    right: list[dict[str, Any]] = [known, user | known, user | known | {"protocol": 3}]
    wrong: list[dict[str, Any]] = [known | {"username": "me"}, {"password": "wrong"}]
    with serving(folder, "--admin", "secret") as server:
        for number, fields in enumerate(right):
            with opened(server, **fields) as client:
                assert client.execute_command("NSNEW", f"n{number}") in {b"OK", "OK", True}
        for fields in wrong:
            with opened(server, **fields) as client, pytest.raises(redis.RedisError):
                client.ping()


def test_a_pool_outlives_the_server(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Connections of a pool that a restart cut are made anew by redis-py itself."""
    folder = tmp_path_factory.mktemp("pool")
    with serving(folder) as server:
        port = server.address.port
        pool = redis.BlockingConnectionPool(  # type: ignore[no-untyped-call]
            host="127.0.0.1", port=port, max_connections=3, timeout=5, socket_timeout=5,
            health_check_interval=1,
        )  # fmt: skip
        client = redis.Redis(connection_pool=pool)
        client.set("k", "v")
        assert server.stop() == 0
    with serving(folder, "--listen", "127.0.0.1", "--port", str(port)):
        assert client.get("k") == b"v"
        pool.disconnect()


def cli(server: Running, *words: str, stdin: bytes = b"", seconds: float = 20) -> str:
    """What redis-cli prints; some of its modes go on until they are stopped."""
    where = ("-h", server.address.host, "-p", str(server.address.port))
    argv = ["timeout", str(seconds), "stdbuf", "-oL", "redis-cli", *where, *words]
    ran = subprocess.run(argv, input=stdin, capture_output=True, check=False, timeout=60)
    return (ran.stdout + ran.stderr).decode()


@pytest.mark.skipif(not shutil.which("redis-cli"), reason="redis-cli is not on this machine")
def test_the_modes_of_redis_cli(server: Running) -> None:
    """Figures, latency, listing and mass insertion work; what does not is refused in words."""
    with server.wire() as wire:
        wire("SET", "cli:1", "x")
    told = cli(server, "--stat", "-i", "0.1", seconds=1)
    assert "keys" in told
    assert len(told.splitlines()) >= 3
    assert "-9223372036854775808" not in told
    assert "Out of memory" not in told
    least, most = map(int, cli(server, "--latency", seconds=2).split()[:2])
    assert 0 <= least <= most
    assert "cli:1" in cli(server, "--scan", "--pattern", "cli:*")
    inserted = b"".join(request("SET", f"piped:{number}", "x") for number in range(1000))
    told = cli(server, "--pipe", stdin=inserted)
    assert "errors: 0, replies: 1000" in told
    with server.wire() as wire:
        assert wire("GET", "piped:999") == b"x"
    for words in (("monitor",), ("subscribe", "x"), ("--rdb", "/dev/null"), ("eval", "1", "0")):
        assert REFUSED in cli(server, *words, seconds=3), words
    assert REFUSED in cli(server, "--bigkeys")
    assert cli(server, "-3", "--no-raw", "get", "absent").strip() == "(nil)"


@pytest.mark.skipif(not shutil.which("redis-benchmark"), reason="redis-benchmark is not there")
def test_the_list_of_redis_benchmark(server: Running) -> None:
    """What the server has of it runs, and the whole list ends in words and not in silence."""
    where = ("-h", server.address.host, "-p", str(server.address.port), "-n", "500", "-q")
    argv = ["redis-benchmark", *where]
    ran = subprocess.run(
        [*argv, "-t", "ping_mbulk,set,get"], capture_output=True, check=True, timeout=60
    )
    assert ran.stdout.count(b"requests per second") == 3
    with contextlib.suppress(subprocess.TimeoutExpired):
        ran = subprocess.run(argv, capture_output=True, check=False, timeout=30)
    assert b"Error from server" in ran.stdout + ran.stderr


def test_a_pipeline_is_a_transaction_as_redis_py_has_it(client: redis.Redis) -> None:
    """`pipeline()` as it is: its replies in order, errors among them, nothing of it before EXEC."""
    with client.pipeline() as pipeline:
        pipeline.set("t1", "one")
        pipeline.set("t2", "two")
        pipeline.get("t1")
        pipeline.mget("t1", "t2", "none")
        pipeline.exists("t2")
        assert client.get("t1") is None
        assert pipeline.execute() == [False, False, "one", ["one", "two", None], 1]
    with client.pipeline() as pipeline:
        pipeline.set("t3", "three")
        pipeline.set("x" * 256, "too long")
        pipeline.get("t3")
        done = pipeline.execute(raise_on_error=False)
    assert [done[0], done[2]] == [False, "three"]
    assert isinstance(done[1], redis.ResponseError)
    for refused in (("INCR", "n"), ("KEYS", "*"), ("SCAN", "0")):
        with client.pipeline() as pipeline:
            pipeline.set("t4", "never")
            pipeline.execute_command(*refused)  # type: ignore[no-untyped-call]
            with pytest.raises(redis.RedisError):
                pipeline.execute()
        assert client.get("t4") is None


def test_transactions_in_words(server: Running) -> None:
    """Begin, queue, end and give up, each in the words of Redis; too much is refused."""
    with server.wire() as call:
        assert call("EXEC") == Error("EXEC without MULTI")
        assert call("DISCARD") == Error("DISCARD without MULTI")
        assert [call("MULTI"), call("SET", "w", "v"), call("DISCARD")] == ["OK", "QUEUED", "OK"]
        assert call("GET", "w") is None
        assert [call("MULTI"), call("EXEC")] == ["OK", []]
        assert call("MULTI") == "OK"
        assert call("MULTI") == Error("MULTI calls can not be nested")
        abort = Error("EXECABORT Transaction discarded because of previous errors.")
        assert call("EXEC") == abort
        for words in (("SELECT", "default"), ("WAIT", "*"), ("SCAN",), ("NSNEW", "n"), ("STOP",)):
            assert [call("MULTI"), call(*words)] == [
                "OK", Error("Command not allowed in a transaction"),
            ]  # fmt: skip
            assert call("EXEC") == abort
        big = bytes(3 * 1024 * 1024)
        assert call("MULTI") == "OK"
        assert [call("SET", f"b{n}", big + b"%d" % n) for n in range(2)] == ["QUEUED"] * 2
        assert call("SET", "b2", big + big) == Error("Transaction too big")
        assert call("EXEC") == abort
        assert call("MULTI") == "OK"
        assert [call("SET", f"b{n}", big + b"%d" % n) for n in range(2)] == ["QUEUED"] * 2
        assert call("EXEC") == [b"b0", b"b1"]
        assert [call("MULTI"), call("MGET", "b0", "b1"), call("GET", "b0")] == [
            "OK", "QUEUED", "QUEUED",
        ]  # fmt: skip
        assert [call("PING"), call("GET", "b1")] == ["QUEUED", "QUEUED"]
        assert call("EXEC") == [[big + b"0", big + b"1"], big + b"0", "PONG", big + b"1"]
        assert call("GET", "b0") == big + b"0"
