"""What clients learn of each other: WAIT, MIRROR, MASTER, and what hooks are told."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import pytest

from tests.zdb.ground import Error, Reply, Running, Wire, readable, request, serving


def test_who_waits_is_woken_by_another_of_the_namespace(
    server: Running, call: Wire, request: pytest.FixtureRequest
) -> None:
    """WAIT ends with the command's name, for the namespace and the command that was asked for."""
    with server.wire() as waiter, server.wire() as elsewhere:
        assert waiter("SELECT", request.node.name) == "OK"
        for wanted, ran in (("SET", "SET"), ("set", "SET"), ("*", "GET")):
            waiter.send(_request("WAIT", wanted, "5000") + _request("PING"))
            time.sleep(0.02)
            elsewhere("SET", "x", str(time.monotonic()))
            call("EXISTS", "k") if wanted != "*" else None
            assert not readable(waiter.socket, 0.02)
            call(ran, "k", "v") if ran == "SET" else call(ran, "k")
            assert [waiter.reply(), waiter.reply()] == [ran, "PONG"]


def _request(*words: str) -> bytes:
    return request(*words)


def test_one_does_not_wake_oneself_and_times_out(call: Wire) -> None:
    """Requests behind a WAIT are kept until it ends."""
    began = time.monotonic()
    call.send(_request("WAIT", "PING", "150") + _request("PING"))
    assert [call.reply(), call.reply()] == [Error("Timeout"), "PONG"]
    assert 0.14 < time.monotonic() - began < 2


def test_who_goes_while_waiting_is_forgotten(server: Running, call: Wire) -> None:
    """A client that disconnects during WAIT leaves nothing behind."""
    for _ in range(20):
        waiter = server.wire()
        waiter.send(_request("WAIT", "*", "1800000"))
        waiter.socket.close()
    assert call("PING") == "PONG"


def frames(listener: Wire, count: int) -> list[list[Reply]]:
    """So many frames of the feed."""
    found = [listener.reply() for _ in range(count)]
    assert all(isinstance(frame, list) for frame in found)
    return [frame for frame in found if isinstance(frame, list)]


def test_the_feed_tells_every_change_and_nothing_else(
    server: Running, call: Wire, request: pytest.FixtureRequest
) -> None:
    """A listener gets `[time, namespace, owner, arguments...]` of what was changed."""
    name = request.node.name.encode()
    with server.wire() as listener:
        assert listener("MIRROR") == "Starting mirroring"
        call.send(
            _request("SET", "k", "v") + _request("SET", "k", "v") + _request("GET", "k")
            + _request("DEL", "k") + _request("DEL", "k") + _request("SET", "", "v")
            + _request("NSSET", request.node.name, "worm", "1")
        )  # fmt: skip
        got = frames(listener, 3)
        assert not readable(listener.socket, 0.05)
    assert [call.reply() for _ in range(7)][-1] == "OK"
    assert [frame[3:] for frame in got] == [
        [b"SET", b"k", b"v"],
        [b"DEL", b"k"],
        [b"NSSET", name, b"worm", b"1"],
    ]
    owners = {frame[2] for frame in got if isinstance(frame[2], int)}
    info = call("INFO")
    assert isinstance(info, bytes)
    assert f"\ninstance_id: {owners.pop()}\n".encode() in info
    assert all(frame[1] == name for frame in got)
    assert all(isinstance(frame[0], int) and abs(frame[0] - time.time()) < 5 for frame in got)


def test_two_servers_follow_each_other_without_an_echo(tmp_path: Path) -> None:
    """A change that comes back to where it was made is dropped by its owner."""
    with contextlib.ExitStack() as stack:
        one, two = (stack.enter_context(serving(tmp_path / name)) for name in "ab")
        writer, feed, other, back = (
            stack.enter_context(server.wire()) for server in (one, one, two, two)
        )
        assert feed("MIRROR") == back("MIRROR") == "Starting mirroring"
        assert other("MASTER") == "Hello, master"
        writer("SET", "k", "v")
        (frame,) = frames(feed, 1)
        words = [word for word in frame[3:] if isinstance(word, bytes)]
        assert other(*words, str(frame[2])) == b"k"
        (echo,) = frames(back, 1)
        assert echo[2] == frame[2]
        with one.wire() as loop:
            assert loop("MASTER") == "Hello, master"
            assert loop(*words, str(echo[2])) is None
            assert loop("SET", "k") == Error("Invalid argument")
        assert not readable(feed.socket, 0.05)


def test_a_feed_that_is_not_read_is_cut(tmp_path: Path) -> None:
    """A listener that stops reading is bounded and goes; writers do not wait for it."""
    with serving(tmp_path, "--sync", "none") as server, server.wire() as listener:
        assert listener("MIRROR") == "Starting mirroring"
        with server.wire() as writer:
            for number in range(24):
                value = bytes([number]) * (4 * 1024**2)
                assert writer("SET", "k", value) == b"k"
        reasons = [line.get("reason") for line in server.lines()]
        assert "it does not read the feed" in reasons


def test_hooks_are_told_in_order_and_ready_decides(tmp_path: Path) -> None:
    """The program hears of files and namespaces; a `ready` that fails stops the start."""
    hook, told = tmp_path / "hook", tmp_path / "told"
    hook.write_text(
        f'#!/bin/sh\necho "$*" >>{told}\n[ "$1" != ready ] || exit $(cat {tmp_path}/code)\n'
    )
    hook.chmod(0o755)
    (tmp_path / "code").write_text("0")
    with serving(tmp_path / "s", "--hook", str(hook), "--data-size", "524288") as server:
        with server.wire() as wire:
            assert wire("NSNEW", "n") == "OK"
            assert wire("NSSET", "n", "worm", "1") == "OK"
            for number in range(8):
                assert wire("SET", f"k{number}", bytes([number]) * 200_000)
            until = time.monotonic() + 5
            while "jump-data" not in told.read_text() and time.monotonic() < until:
                time.sleep(0.02)
            runs = wire("HOOKS")
            assert isinstance(runs, list)
            first = runs[0]
            assert isinstance(first, list)
            assert first[0] == b"namespaces-init"
            assert wire("NSDEL", "n") == "OK"
            assert wire("STOP") == "Stopping"
        server.process.wait(20)
    lines = [line.split(" ") for line in told.read_text().splitlines()]
    names = [line[0] for line in lines]
    assert names[:4] == ["namespaces-init", "ready", "namespace-created", "namespace-updated"]
    assert names[-2:] == ["namespace-closing", "close"]
    assert "namespace-deleted" in names
    jump = next(line for line in lines if line[0] == "jump-data")
    assert [Path(path).name for path in jump[2:]] == ["d0", "d1"]
    assert Path(jump[2]).exists()
    assert all(line[1].startswith("tcp://127.0.0.1:") for line in lines)

    (tmp_path / "code").write_text("1")
    with pytest.raises(AssertionError, match="ready"), serving(tmp_path / "t", "--hook", str(hook)):
        pass
