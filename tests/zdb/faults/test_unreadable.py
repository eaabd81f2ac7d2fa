"""A disk that does not give bytes back: the real server under read errors, injected by strace."""

from __future__ import annotations

from pathlib import Path

from tests.zdb.faults.test_faults import traced
from tests.zdb.ground import Error, Wire, request, serving

keys = 3000


def value(number: int) -> bytes:
    """So long that the file is read beside the loop that takes it in."""
    return f"value {number} ".encode() * 300


def fill(wire: Wire) -> None:
    """So many keys that they lie in thousands of sectors, and another namespace."""
    wire.send(b"".join(request("SET", f"k{number}", value(number)) for number in range(keys)))
    assert [wire.reply() for _ in range(keys)][-1] == f"k{keys - 1}".encode()
    assert wire("NSNEW", "other") == "OK"


def values(wire: Wire) -> tuple[int, int]:
    """How many keys have their value, and how many are an error; nothing wrong may come back."""
    wire.send(b"".join(request("GET", f"k{number}") for number in range(keys)))
    good = errors = 0
    for number in range(keys):
        reply = wire.reply()
        assert isinstance(reply, Error) or reply in (None, value(number))
        good += reply is not None and not isinstance(reply, Error)
        errors += isinstance(reply, Error)
    return good, errors


def test_sectors_that_cannot_be_read_refuse_no_start(tmp_path: Path) -> None:
    """What they held is named, everything else is served, and read-only until all can be read."""
    with serving(tmp_path) as server, server.wire() as wire:
        fill(wire)
        server.kill()
    data = tmp_path / "data" / "default" / "d0"
    before = data.read_bytes()
    # The read of the whole, and then of each sector: some of these fail.
    prefix = traced(tmp_path, "pread64", "pread64:error=EIO:when=3..6", data)
    with serving(tmp_path, prefix=prefix) as server, server.wire() as wire:
        lost = [line for line in server.lines() if line["event"] == "data was lost"]
        assert any("cannot be read" in line["what"] and line["file"] == "d0" for line in lost)
        good, _ = values(wire)
        assert keys - 600 < good < keys
        refused = wire("SET", "k1", "over it")
        assert isinstance(refused, Error)
        assert "read-only" in refused.text
        shown = wire("NSINFO", "default")
        assert isinstance(shown, bytes)
        assert b"of d0 cannot be read\n" in shown
        assert data.read_bytes() == before
        # Another namespace is none of it; and a disk that reads again is believed.
        assert wire("SELECT", "other") == "OK"
        assert wire("SET", "k", "v") == b"k"
        assert wire("RELOAD", "default") == "OK"
        assert wire("SELECT", "default") == "OK"
        assert values(wire) == (keys, 0)
        assert wire("SET", "afterwards", "x") == b"afterwards"


def test_a_data_file_that_cannot_be_read_at_all_is_a_named_loss(tmp_path: Path) -> None:
    """The server starts, says so, and serves the others."""
    with serving(tmp_path) as server, server.wire() as wire:
        fill(wire)
        assert server.stop() == 0
    data = tmp_path / "data" / "default" / "d0"
    before = data.read_bytes()
    prefix = traced(tmp_path, "pread64", "pread64:error=EIO:when=1+", data)
    with serving(tmp_path, prefix=prefix) as server, server.wire() as wire:
        assert any(line["event"] == "data was lost" for line in server.lines())
        assert values(wire) == (0, keys)
        assert isinstance(wire("SET", "new", "x"), Error)
        assert wire("SELECT", "other") == "OK"
        assert wire("SET", "k", "v") == b"k"
        server.kill()
    assert data.read_bytes() == before
    with serving(tmp_path) as server, server.wire() as wire:
        assert values(wire) == (keys, 0)


def test_index_files_that_cannot_be_read_cost_nothing(tmp_path: Path) -> None:
    """They are made anew from data."""
    with serving(tmp_path) as server, server.wire() as wire:
        fill(wire)
        assert server.stop() == 0
    index = tmp_path / "index" / "default" / "i0"
    prefix = traced(tmp_path, "pread64", "pread64:error=EIO:when=1+", index)
    with serving(tmp_path, prefix=prefix) as server, server.wire() as wire:
        assert values(wire) == (keys, 0)
        assert wire("SET", "afterwards", "x") == b"afterwards"
