"""A workload that holds the other end of its log's pipe, on a disk that may be full."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tfgrid.agents.zos.keeper import logs
from tfgrid.core import limits


@pytest.fixture
def log(tmp_path: Path) -> Iterator[logs.Log]:
    """A log whose pipe is open."""
    made = logs.Log(str(tmp_path / "pipe"), str(tmp_path / "log"))
    yield made
    made.close()


def test_a_byte_a_packet_costs_a_bounded_number_of_moves(
    log: logs.Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each packet is a move of its own; a writer that never stops is left to wait all the same."""
    writer = os.open(log.pipe, os.O_WRONLY | os.O_NONBLOCK)
    fcntl.fcntl(writer, fcntl.F_SETFL, os.O_DIRECT | os.O_NONBLOCK)
    moves, splice = 0, os.splice

    def refilled(source: int, target: int, count: int, *, flags: int) -> int:
        nonlocal moves
        moves += 1
        os.write(writer, b"x")
        return splice(source, target, count, flags=flags)

    monkeypatch.setattr(os, "splice", refilled)
    rests = [log.pump(now=100.0) for _ in range(1000)]
    os.close(writer)
    assert moves <= 256
    assert rests[-1] == pytest.approx(100.1)


def test_a_disk_without_room_for_another_file_ends_nothing(
    log: logs.Log, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """When no new file can be made, the old one is begun anew, and the writer goes on."""
    path = tmp_path / "log"
    os.truncate(path, limits.log_file_bytes_max)
    full = logs.Log(log.pipe, str(path))

    def no_room(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "open", no_room)
    with Path(log.pipe).open("wb", buffering=0) as writer:
        writer.write(b"after\n")
        assert full.pump(now=100.0) == 0.0
    monkeypatch.undo()
    full.close()
    assert (tmp_path / "log.1").read_bytes() == b"after\n"


def test_a_log_is_no_way_to_another_file(tmp_path: Path) -> None:
    """A link in place of the log or of its pipe is not followed."""
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "log").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="Too many levels"):
        logs.Log(str(tmp_path / "pipe"), str(tmp_path / "log"))
    (tmp_path / "pipe2").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="Too many levels"):
        logs.Log(str(tmp_path / "pipe2"), str(tmp_path / "log2"))
    assert (tmp_path / "precious").read_text() == "mine"
