"""The thirteen damage experiments that 0-db was put through, against the real server.

A thousand keys, an end, one mutation of a file, a start, everything read: each ends in full
data, or in errors and log lines that name the file. `docs/operating/zdb.md` has the table.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeAlias

import pytest

from tests.zdb.ground import Error, Running, request, serving

keys = 1000
Change: TypeAlias = Callable[[bytearray], object]
page_bytes = 4096
entry_at = page_bytes + 48


def value(number: int) -> bytes:
    """What is stored under a number."""
    return b"value of %05d" % number


class Outcome(NamedTuple):
    """How many keys are right, missing, or an error; a wrong one is a failure of the test."""

    good: int
    missing: int = 0
    refused: int = 0


full = Outcome(keys)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same keys in a store that was killed and in one that was stopped, with a whole index."""
    made = {}
    for end in ("killed", "stopped"):
        folder = made[end] = tmp_path_factory.mktemp(end)
        with serving(folder) as server:
            with server.wire() as wire:
                wire.send(b"".join(request("SET", f"key{n:05}", value(n)) for n in range(keys)))
                assert [wire.reply() for _ in range(keys)][-1] == b"key00999"
            if end == "stopped":
                assert server.stop() == 0
    return made


def change(path: Path, how: Change | None) -> None:
    """Mutate a file, or remove it."""
    if how is None:
        path.unlink()
        return
    data = bytearray(path.read_bytes())
    how(data)
    path.write_bytes(data)


def outcome(server: Running) -> Outcome:
    """Read everything: nothing wrong may come back."""
    good = missing = refused = 0
    with server.wire() as wire:
        wire.send(b"".join(request("GET", f"key{n:05}") for n in range(keys)))
        for number in range(keys):
            reply = wire.reply()
            if isinstance(reply, Error):
                assert reply == Error("Internal Error")
                refused += 1
            elif reply is None:
                missing += 1
            else:
                assert reply == value(number)
                good += 1
        assert wire("DBSIZE") == good + refused
        assert wire("SET", "after", "x") == b"after"
    return Outcome(good, missing, refused)


def flip(at: int, bit: int = 1) -> Change:
    """Flip a bit at an offset."""

    def flipped(data: bytearray) -> None:
        data[at] ^= bit

    return flipped


def flip_payload(data: bytearray) -> None:
    """Flip a bit of one value."""
    data[data.index(value(500)) + 3] ^= 0x10


def cut(count: int) -> Change:
    """Cut so many bytes off the end."""

    def shorter(data: bytearray) -> None:
        del data[-count:]

    return shorter


def add(tail: bytes) -> Change:
    """Append bytes."""
    return lambda data: data.extend(tail)


index, data = "index/default/i0", "data/default/d0"

# What is done, in which store, to which file, how; what is left; what the log says of the file.
EXPERIMENTS: tuple[tuple[str, str, str, Change | None, Outcome, str], ...] = (
    ("index tail cut by 5", "stopped", index, cut(5), full, "files were mended"),
    ("index tail cut by 20", "stopped", index, cut(20), full, "files were mended"),
    ("index tail plus 7 bytes 0xff", "stopped", index, add(b"\xff" * 7), full, "files were mended"),
    ("index tail plus 64 zeros", "stopped", index, add(bytes(64)), full, "files were mended"),
    ("data tail cut by 10", "stopped", data, cut(10), Outcome(keys - 1, 0, 1), "data was lost"),
    ("data tail plus 11 bytes of garbage", "killed", data, add(b"\x5a" * 11), full,
     "files were mended"),
    ("data tail plus 4 KiB of zeros", "killed", data, add(bytes(4096)), full, "files were mended"),
    ("one payload bit flipped", "stopped", data, flip_payload, Outcome(keys - 1, 0, 1),
     "a record could not be read"),
    ("index entry's hash flipped", "stopped", index, flip(entry_at, 4), full, "files were mended"),
    ("index entry's offset flipped", "stopped", index, flip(entry_at + 5), full,
     "files were mended"),
    ("index magic flipped", "stopped", index, flip(4), full, "files were mended"),
    ("index file deleted", "stopped", index, None, full, "files were mended"),
    ("data file deleted", "stopped", data, None, Outcome(0, 0, keys), "data was lost"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("store", "file", "how", "expected", "event"),
    [row[1:] for row in EXPERIMENTS],
    ids=[row[0].replace(" ", "-") for row in EXPERIMENTS],
)
def test_damage_ends_in_full_data_or_a_named_loss(
    stores: dict[str, Path], tmp_path: Path, store: str, file: str, how: Change | None,
    expected: Outcome, event: str,
) -> None:  # fmt: skip
    """Nothing wrong is read, what is left is what can be, and the log names the file."""
    folder = tmp_path / "store"
    shutil.copytree(stores[store], folder)
    change(folder / file, how)
    with serving(folder) as server:
        assert outcome(server) == expected
        told = [line for line in server.lines() if line["event"] == event]
        name = "data file 0" if event.startswith("a record") else file.rsplit("/", 1)[1]
        assert any(name in str(line) for line in told), server.log()
        server.kill()
    with serving(folder) as server, server.wire() as wire:
        assert wire("GET", "after") == b"x"


def test_without_damage_there_is_nothing_to_say(stores: dict[str, Path], tmp_path: Path) -> None:
    """A kill alone costs nothing and is not reported."""
    folder = tmp_path / "store"
    shutil.copytree(stores["killed"], folder)
    with serving(folder) as server:
        assert outcome(server) == full
        assert not [line for line in server.lines() if line["event"].startswith(("files", "data"))]


def test_the_manual_has_the_table() -> None:
    """Each experiment is a line of docs/operating/zdb.md."""
    manual = (Path(__file__).parents[3] / "docs/operating/zdb.md").read_text()
    for row in EXPERIMENTS:
        assert f"| {row[0]} |" in manual, row[0]
