"""Killed while it compacts and changes files: at each system call, restarted, everything compared.

Compaction begins seconds after a write, so a run takes that long; many run beside one another.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.zdb.faults.test_faults import HARMLESS, KILLED_AT, traced
from tests.zdb.ground import EndedError, Error, Wire, serving

small_files = ("--data-size", "524288")
keys = 8
at_once = 6
Values = dict[str, set[bytes | None]]


def value(turn: int, number: int) -> bytes:
    """Another one for each."""
    return random.Random(turn * keys + number).randbytes(50_000)


def data_bytes(wire: Wire) -> int:
    """Bytes of the data files of a namespace."""
    shown = wire("NSINFO", "n")
    assert isinstance(shown, bytes)
    fields = dict(line.split(": ", 1) for line in shown.decode().splitlines() if ": " in line)
    return int(fields["data_file_bytes"])


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Values]:
    """A store at rest, of whose data files little is current, and what must be in it."""
    folder = tmp_path_factory.mktemp("filled")
    known: Values = {}
    with serving(folder, *small_files) as server, server.wire() as wire:
        assert wire("NSNEW", "n") == "OK"
        assert wire("SELECT", "n") == "OK"
        for turn in range(4):
            for number in range(keys):
                if number % 4 != 3 or turn == 0:
                    assert wire("SET", f"k{number}", value(turn, number)) == f"k{number}".encode()
                    known[f"k{number}"] = {value(turn, number)}
        assert wire("SET", "gone", "x") == b"gone"
        assert wire("DEL", "gone") == "OK"
        known["gone"] = {None}
        assert wire("NSSET", "n", "history", "last:1") == "OK"
        assert server.stop() == 0
    return folder, known


def play(wire: Wire, known: Values) -> None:
    """Write, into another file too, and wait until nothing old is left."""
    assert wire("SELECT", "n") == "OK"
    before = data_bytes(wire)
    for turn in range(4, 6):
        for number in range(keys - 2):
            known[f"k{number}"] |= {value(turn, number)}
            assert wire("SET", f"k{number}", value(turn, number)) == f"k{number}".encode()
            known[f"k{number}"] = {value(turn, number)}
    until = time.monotonic() + 60
    while data_bytes(wire) > before // 2:
        assert time.monotonic() < until
        time.sleep(0.05)
    time.sleep(1)
    assert wire("SET", "last", "x") == b"last"


def paths(folder: Path) -> Iterator[Path]:
    """What the engine may open of the namespace."""
    for root, letter, copy in (("data", "d", ""), ("index", "i", "-copy")):
        yield folder / root / "n"
        for end in ("", ".new"):
            yield folder / root / "n" / f"namespace{copy}{end}"
            for number in range(12):
                yield folder / root / "n" / f"{letter}{number}{end}"


def killed(folder: Path, store: tuple[Path, Values], calls: str, number: int) -> bool:
    """One run, killed at so many calls of a kind; whether that was before its end."""
    source, known = store[0], {key: set(values) for key, values in store[1].items()}
    for root in ("data", "index"):
        shutil.copytree(source / root, folder / root)
    prefix = traced(folder, calls, f"{calls}:signal=KILL:when={number}", *paths(folder))
    died = True
    with (
        contextlib.suppress(EndedError, EOFError, ConnectionError),
        serving(folder, *small_files, prefix=prefix) as server,
    ):
        with server.wire() as wire:
            play(wire, known)
        died = server.stop() != 0
    with serving(folder, *small_files) as server, server.wire() as wire:
        assert wire("SELECT", "n") == "OK"
        for key, values in known.items():
            reply = wire("GET", key)
            assert not isinstance(reply, Error), f"{calls} {number} {key}: {server.log()}"
            assert reply in values, f"{calls} {number} {key}: {server.log()}"
        assert not any(line["event"] == "data was lost" for line in server.lines())
        assert wire("SET", "afterwards", "x") == b"afterwards"
    return died


@pytest.mark.slow
@pytest.mark.parametrize(
    "calls",
    ["pwrite64", "fdatasync,fsync", "rename,renameat,renameat2", "unlink,unlinkat,rmdir",
     "ftruncate", "openat"],
)  # fmt: skip
def test_killed_while_compacting_nothing_is_lost(
    tmp_path: Path, filled: tuple[Path, Values], calls: str
) -> None:
    """Every current value is there after a restart, whichever call was the last."""
    points = 0
    with ThreadPoolExecutor(at_once) as pool:
        for first in range(1, 200, at_once):
            folders = [tmp_path / str(first + n) for n in range(at_once)]
            died = list(pool.map(lambda f: killed(f, filled, calls, int(f.name)), folders))
            points += sum(died)
            for folder in folders:
                shutil.rmtree(folder)
            if not all(died):
                break
    assert not died[-1]
    assert points > 0 or calls == "ftruncate"


def test_compaction_makes_no_kind_of_call_that_is_left_out(
    tmp_path: Path, filled: tuple[Path, Values]
) -> None:
    """It changes files by the calls at which the test above kills, and by no other."""
    for root in ("data", "index"):
        shutil.copytree(filled[0] / root, tmp_path / root)
    only = [word for path in paths(tmp_path) for word in ("-P", str(path))]
    prefix = ("strace", "-f", "-qq", "-o", str(tmp_path / "trace"), *only)
    with serving(tmp_path, *small_files, prefix=prefix) as server:
        with server.wire() as wire:
            play(wire, {key: set(values) for key, values in filled[1].items()})
        assert server.stop() == 0
    trace = (tmp_path / "trace").read_text()
    calls = {line.split("(")[0].split()[-1] for line in trace.splitlines() if "(" in line}
    assert calls - HARMLESS <= KILLED_AT
    assert "d1.new" in trace, "a file was compacted"
    assert "unlink" in trace, "a file went"
