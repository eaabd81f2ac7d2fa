"""Long listings: they take turns, so that whoever else asks is answered meanwhile."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.zdb.faults.test_faults import CANNOT, traced
from tests.zdb.ground import Error, Reply, Running, Wire, readable, request, serving

dead_records = 400_000


def bury(wire: Wire, count: int = dead_records) -> None:
    """Two live keys with nothing but dead records between them."""
    assert wire("SET", "first", "1") == b"first"
    batch = 10_000
    for _ in range(count // batch):
        wire.send(b"".join(request("SET", "between", f"{n}") for n in range(batch)))
        assert [wire.reply() for _ in range(batch)][-1] == b"between"
    assert wire("DEL", "between") == "OK"
    assert wire("SET", "last", "2") == b"last"


@pytest.fixture(scope="module")
def buried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server whose default namespace is a long stretch of dead records."""
    folder = tmp_path_factory.mktemp("walks")
    with serving(folder, "--sync", "none", "--data-size", "8388608") as running:
        with running.wire() as wire:
            bury(wire)
        yield running


def keys(reply: Reply) -> list[bytes]:
    """The keys of a listing."""
    assert isinstance(reply, list), reply
    entries = reply[1]
    assert isinstance(entries, list)
    found = []
    for entry in entries:
        assert isinstance(entry, list)
        assert isinstance(entry[0], bytes)
        found.append(entry[0])
    return found


def longest_wait(asks: Wire, walkers: list[Wire]) -> tuple[float, float]:
    """The longest that somebody else waits until all walkers are answered, and how long that is."""
    began, longest = time.monotonic(), 0.0
    left = list(walkers)
    while left:
        asked = time.monotonic()
        assert asks("PING") == "PONG"
        longest = max(longest, time.monotonic() - asked)
        if readable(left[-1].socket, 0):
            assert not isinstance(left.pop().reply(), Error)
    return longest, time.monotonic() - began


@pytest.mark.parametrize("command", ["SCAN", "RSCAN"])
def test_a_long_stretch_of_dead_records_hides_nothing(buried: Running, command: str) -> None:
    """One reply has the live keys on both sides of it, and then there is no more."""
    with buried.wire() as wire:
        reply = wire(command)
        assert sorted(keys(reply)) == [b"first", b"last"]
        assert isinstance(reply, list)
        assert isinstance(reply[0], bytes)
        assert wire(command, reply[0]) == Error("No more data")


@pytest.mark.parametrize("command", ["SCAN", "RSCAN"])
def test_others_are_answered_while_one_walks(buried: Running, command: str) -> None:
    """Nobody waits for more than a small part of it."""
    with buried.wire() as walker, buried.wire() as other:
        walker.send(request(command))
        longest, whole = longest_wait(other, [walker])
        assert longest < whole / 4


def test_many_that_walk_at_once_share_one_walk_s_time(buried: Running) -> None:
    """However many walk, in whatever way, also those that went: whoever does not is answered."""
    with contextlib.ExitStack() as stack:
        other = stack.enter_context(buried.wire())
        for _ in range(4):
            with buried.wire() as gone:
                gone.send(request("RSCAN") * 50)
        walkers = [stack.enter_context(buried.wire()) for _ in range(12)]
        for number, walker in enumerate(walkers):
            walker.send(request("SCAN") * 4 if number % 2 else request("RSCAN") * 2)
        longest, whole = longest_wait(other, walkers)
        assert longest < whole / 8


def test_walks_take_their_turns(buried: Running) -> None:
    """A short one that begins later does not wait for a long one to end."""
    with buried.wire() as long, buried.wire() as short:
        assert short("NSNEW", "short") == "OK"
        assert short("SELECT", "short") == "OK"
        assert short("SET", "k", "v") == b"k"
        long.send(request("RSCAN"))
        time.sleep(0.02)
        for words in (("SCAN",), ("RSCAN",), ("KSCAN", "k")):
            assert isinstance(short(*words), list)
        assert not readable(long.socket, 0)
        assert sorted(keys(long.reply())) == [b"first", b"last"]


def test_what_happens_meanwhile_is_no_error(tmp_path: Path) -> None:
    """Reloaded, flushed, frozen or removed under a walk: it ends, and the server goes on."""
    with serving(tmp_path, "--sync", "none") as server:
        for words, allowed in (
            (("RELOAD", "n"), ()),
            (("NSSET", "n", "freeze", "1"), ("Namespace is temporarily frozen",)),
            (("NSSET", "n", "freeze", "0"), ("Namespace is temporarily frozen",)),
            (("NSDEL", "n"), ("Your active namespace is not available anymore",)),
        ):
            with server.wire() as admin, server.wire() as walker, server.wire() as flusher:
                if words[0] != "NSSET":
                    admin("NSDEL", "n")
                    assert admin("NSNEW", "n") == "OK"
                    assert walker("SELECT", "n") == "OK"
                    bury(walker, 200_000)
                assert walker("SELECT", "n") == "OK"
                walker.send(request("RSCAN"))
                time.sleep(0.02)
                assert admin(*words) == "OK"
                reply = walker.reply()
                if isinstance(reply, Error):
                    assert reply.text.startswith(allowed), words
                else:
                    assert sorted(keys(reply)) == [b"first", b"last"]
                assert flusher("PING") == "PONG"


def test_a_flush_under_a_walk_ends_it(tmp_path: Path) -> None:
    """What was there before may be told, and nothing else."""
    with (
        serving(tmp_path, "--sync", "none") as server,
        server.wire() as walker,
        server.wire() as other,
    ):
        for wire in (walker, other):
            wire("NSNEW", "n")
            assert wire("NSSET", "n", "password", "pw") == "OK"
            assert wire("NSSET", "n", "public", "0") == "OK"
            assert wire("SELECT", "n", "pw") == "OK"
        bury(walker, 200_000)
        walker.send(request("RSCAN"))
        time.sleep(0.02)
        assert other("FLUSH") == "OK"
        reply = walker.reply()
        assert reply == Error("No more data") or set(keys(reply)) <= {b"first", b"last"}
        assert walker("SCAN") == Error("No more data")


def test_a_failed_write_of_another_cuts_no_walk(tmp_path: Path) -> None:
    """The turn in which a commit fails is not told: the walk begins anew and is right."""
    with serving(tmp_path, "--sync", "none") as server, server.wire() as wire:
        bury(wire, 20_000)
        assert server.stop() == 0
    prefix = traced(tmp_path, "fdatasync", "fdatasync:error=EIO:when=6+")
    with (
        serving(tmp_path, prefix=prefix) as server,
        server.wire() as walker,
        server.wire() as writer,
    ):
        failed = False
        for number in range(40):
            walker.send(request("RSCAN"))
            while not readable(walker.socket, 0):
                reply = writer("SET", f"new{number}", "x")
                failed = failed or reply == CANNOT
            assert {b"first", b"last"} <= set(keys(walker.reply()))
            if failed:
                break
        assert failed
        assert f"new{number}".encode() not in keys(walker("SCAN"))
