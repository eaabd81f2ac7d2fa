"""Nothing acknowledged is lost: the server is killed at any moment and committing call."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.bcdb.notary import Desk, run
from tfgrid.core.clock import SystemClock
from tfgrid.core.store import DirectoryStore

_SERVER = [sys.executable, "-m", "tests.bcdb.crashing"]


def _survey(directory: Path) -> tuple[set[str], int]:
    """Open after a crash, audit, write once more; the ledger's texts and its size."""
    desk = Desk(
        directory=directory / "ledger", signed=DirectoryStore(directory / "signed"),
        clock=SystemClock(),
    )  # fmt: skip
    size = desk.ledger.audit()
    texts = {
        body.decode().rpartition('"text":"')[2].removesuffix('"}')
        for _, body in run(desk.client.find(kind="note.set", limit=100_000))
    }
    run(desk.author("eve").register())
    desk.close()
    return texts, size


@pytest.mark.slow
def test_kill_9_under_load_loses_nothing(tmp_path: Path) -> None:
    """A server under load is killed six times; each acknowledged entry is in a sound log."""
    acknowledged: set[str] = set()
    size = 0
    for round_number in range(6):
        server = subprocess.Popen(
            [*_SERVER, str(tmp_path), "100000"], stdout=subprocess.PIPE, text=True
        )
        assert server.stdout
        lines = [server.stdout.readline()]
        time.sleep(0.05 + 0.07 * round_number)
        server.kill()
        lines += server.stdout.readlines()
        server.wait()
        server.stdout.close()
        acknowledged |= {line.strip() for line in lines if line.endswith("\n")}

        texts, after = _survey(tmp_path)

        assert acknowledged <= texts
        assert after > size
        size = after
    assert len(acknowledged) > 20


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace kills at a chosen system call")
@pytest.mark.parametrize("call", ["pwrite64", "fdatasync", "fsync", "rename"])
def test_a_crash_at_any_committing_call_loses_nothing(tmp_path: Path, call: str) -> None:
    """Killed at the n-th write, sync or rename of a run, the ledger is sound."""
    base = tmp_path / "base"
    base.mkdir()
    subprocess.run([*_SERVER, str(base), "1"], check=True, capture_output=True)
    crashes = 0
    for nth in (1, 2, 3, 5, 8):
        directory = tmp_path / f"{call}-{nth}"
        shutil.copytree(base, directory)
        inject = f"inject={call}:signal=KILL:when={nth}"
        result = subprocess.run(
            ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", inject,
             *_SERVER, str(directory), "3"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        acknowledged = {line for line in result.stdout.splitlines() if line.count("-") == 2}
        crashes += result.returncode != 0

        texts, _size = _survey(directory)

        assert acknowledged <= texts, nth
    assert crashes >= 3
