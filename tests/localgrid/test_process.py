"""Processes that outlive who started them: found again, never mistaken, ended whole."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tfgrid.core import errors, limits
from tfgrid.doors.localgrid import model, process
from tfgrid.jumpscale.sal import processes

GRID = f"t{os.getpid():07d}"[:8]


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[model.Paths]:
    """A grid's paths below a directory of the test's own; whatever still runs is ended."""
    monkeypatch.setattr(model, "runtime_root", tmp_path / "run")
    yield model.Paths(tmp_path / "grid")
    for name in ("one", "two"):
        process.stop(GRID, name, timeout_seconds=0)


def _part(code: str, name: str = "one") -> model.Part:
    return model.Part(name=name, kind="bot", argv=(sys.executable, "-c", code))


def _wait_for(log: Path, text: str) -> None:
    until = time.monotonic() + 5
    while not (log.exists() and text in log.read_text()):
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.slow
def test_starting_twice_starts_once(paths: model.Paths) -> None:
    """The second start finds the first; stopping ends it and forgets it; again is nothing."""
    part = _part("import time; print('here', flush=True); time.sleep(60)")
    first = process.start(paths, GRID, part)
    assert process.start(paths, GRID, part) == first
    assert process.find_running(GRID, "one") == first
    _wait_for(paths.log("one"), "here")
    assert process.stop(GRID, "one")
    assert processes.start_ticks(first.pid) != first.start_ticks
    assert process.find_running(GRID, "one") is None
    assert not process.stop(GRID, "one")


@pytest.mark.slow
def test_what_ignores_the_request_is_killed(paths: model.Paths) -> None:
    """SIGTERM first, SIGKILL when the time is over."""
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('deaf', flush=True); time.sleep(60)"
    )
    started = process.start(paths, GRID, _part(code))
    _wait_for(paths.log("one"), "deaf")
    assert process.stop(GRID, "one", timeout_seconds=0.1)
    assert processes.start_ticks(started.pid) != started.start_ticks


@pytest.mark.slow
def test_a_record_of_before_a_reboot_is_nobody(paths: model.Paths) -> None:
    """A pid that another process has now is not found, and stopping it hurts nobody."""
    other = process.start(paths, GRID, _part("import time; time.sleep(60)", "two"))
    stale = process.Running(name="one", pid=other.pid, start_ticks=other.start_ticks + 1)
    record = model.Paths.runtime(GRID) / "parts" / "one.json"
    record.write_bytes(msgspec.json.encode(stale))
    assert process.find_running(GRID, "one") is None
    assert not process.stop(GRID, "one", timeout_seconds=0)
    assert process.find_running(GRID, "two") == other


@pytest.mark.slow
def test_it_has_a_session_of_its_own_and_no_terminal(paths: model.Paths) -> None:
    """A key pressed at the terminal that started it does not reach it."""
    started = process.start(paths, GRID, _part("import time; time.sleep(60)"))
    assert os.getsid(started.pid) == started.pid
    assert Path(f"/proc/{started.pid}/fd/0").readlink() == Path("/dev/null")
    os.kill(started.pid, signal.SIGKILL)


@pytest.mark.slow
def test_the_last_lines_tell_why_it_ended(paths: model.Paths) -> None:
    """The end of the log is there for the error; a part that wrote none has no lines."""
    process.start(paths, GRID, _part("import sys; sys.exit('no such bridge')"))
    _wait_for(paths.log("one"), "no such bridge")
    assert process.last_lines(paths, "one") == ["no such bridge"]
    assert process.last_lines(paths, "two") == []


@pytest.mark.slow
def test_a_log_that_is_too_large_is_begun_anew(paths: model.Paths) -> None:
    """The old log is kept beside, so that two logs are the most there are."""
    paths.logs.mkdir(parents=True)
    paths.log("one").write_bytes(b"x" * (limits.log_file_bytes_max + 1))
    process.start(paths, GRID, _part("print('fresh', flush=True)"))
    _wait_for(paths.log("one"), "fresh")
    assert sorted(p.name for p in paths.logs.iterdir()) == ["one.log", "one.log.1"]


def test_a_program_that_is_not_there_is_named(paths: model.Paths) -> None:
    """TFG-5111, and nothing is remembered."""
    part = model.Part(name="one", kind="edge", argv=("no-such-program-anywhere",))
    with pytest.raises(errors.MachineLacks, match="no-such-program-anywhere"):
        process.start(paths, GRID, part)
    assert process.find_running(GRID, "one") is None
