"""The ledger's files: one writer, old copies, damage, full and failing disks."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bcdb.notary import PEOPLE, Desk, Note, filled, run
from tfgrid.core import errors
from tfgrid.core.store import DirectoryStore, MemoryStore
from tfgrid.ledger import bcdb

_HOLDER = """
import fcntl, os, sys, time
lock = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(lock, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(60)
"""


def _reopened(directory: Path, signed: MemoryStore) -> Desk:
    return Desk(directory=directory, signed=signed)


def test_a_ledger_opens_as_it_was_closed(tmp_path: Path) -> None:
    """Entries, view and head are there again, and the next entry continues."""
    desk = Desk(directory=tmp_path / "l")
    run(filled(desk, 3))
    before, root = desk.ledger.reader().view.dump(), desk.ledger.head[1].root
    desk.close()

    again = _reopened(tmp_path / "l", desk.signed)  # type: ignore[arg-type]

    assert again.trust == desk.trust
    assert again.ledger.head[1].root == root
    assert again.ledger.reader().view.dump() == before
    assert run(again.author("alice").submit("note.set", Note(name="n", text="x"))).position == 5
    again.close()


def test_two_writers_never_open_one_directory(tmp_path: Path) -> None:
    """A second writer is refused while the first lives, and welcome when it was killed."""
    desk = Desk(directory=tmp_path / "l")
    with pytest.raises(errors.Busy, match="TFG-2201"):
        _reopened(tmp_path / "l", desk.signed)  # type: ignore[arg-type]
    desk.close()
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(tmp_path / "l" / "lock")], stdout=subprocess.PIPE
    )
    assert holder.stdout
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(errors.Busy, match="TFG-2201"):
        _reopened(tmp_path / "l", desk.signed)  # type: ignore[arg-type]
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    holder.stdout.close()

    _reopened(tmp_path / "l", desk.signed).close()  # type: ignore[arg-type]


def test_directories_that_are_no_ledger(tmp_path: Path) -> None:
    """Opening nothing, founding over something and opening other files are refused."""
    desk = Desk(directory=tmp_path / "l")
    desk.close()
    with pytest.raises(errors.Conflict, match="TFG-2208"):
        bcdb.SoloLedger.create(
            tmp_path / "l", founder=PEOPLE["founder"], checkpoint_keyrings=[PEOPLE["notary"]],
            registry=bcdb.registry(), clock=desk.clock, signed=MemoryStore(),
        )  # fmt: skip
    for name in ("empty", "other"):
        (tmp_path / name).mkdir()
    sqlite3.connect(tmp_path / "other" / "ledger.db").execute(
        "CREATE TABLE x (y)"
    ).connection.close()
    for name in ("missing", "empty", "other"):
        with pytest.raises(errors.NotFound, match="TFG-2202"):
            bcdb.SoloLedger.open(
                tmp_path / name, checkpoint_keyrings=[PEOPLE["notary"]],
                registry=bcdb.registry(), clock=desk.clock, signed=MemoryStore(),
            )  # fmt: skip


def test_an_older_copy_of_the_disk_does_not_open(tmp_path: Path) -> None:
    """A ledger put back from a snapshot is smaller than what it signed, and signs nothing."""
    desk = Desk(directory=tmp_path / "l")
    run(filled(desk, 2))
    desk.close()
    shutil.copytree(tmp_path / "l", tmp_path / "old")
    again = _reopened(tmp_path / "l", desk.signed)  # type: ignore[arg-type]
    run(again.author("bob").register())
    again.close()
    last = desk.signed.read("checkpoint")

    with pytest.raises(errors.VerificationFailed, match="TFG-2206"):
        _reopened(tmp_path / "old", desk.signed)  # type: ignore[arg-type]

    assert desk.signed.read("checkpoint") == last
    _reopened(tmp_path / "l", desk.signed).close()  # type: ignore[arg-type]


def test_a_fork_of_the_disk_does_not_open(tmp_path: Path) -> None:
    """A copy that went on by itself is another history than the one signed, however long it is."""
    desk = Desk(directory=tmp_path / "l")
    desk.close()
    shutil.copytree(tmp_path / "l", tmp_path / "fork")
    fork_signed = MemoryStore()
    fork_signed.write("checkpoint", desk.signed.read("checkpoint") or b"")
    fork = _reopened(tmp_path / "fork", fork_signed)
    run(filled(fork, 5, who="bob"))
    fork.close()
    again = _reopened(tmp_path / "l", desk.signed)  # type: ignore[arg-type]
    run(filled(again, 2))
    again.close()

    with pytest.raises(errors.VerificationFailed, match="TFG-2206"):
        _reopened(tmp_path / "fork", desk.signed)  # type: ignore[arg-type]


def test_a_lost_signed_checkpoint_does_not_pass(tmp_path: Path) -> None:
    """Without the last signed checkpoint nobody can say that nothing was rolled back."""
    desk = Desk(directory=tmp_path / "l")
    run(filled(desk, 1))
    desk.close()

    with pytest.raises(errors.VerificationFailed, match="TFG-2206"):
        _reopened(tmp_path / "l", MemoryStore())


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("UPDATE entries SET leaf = replace(leaf, 'note', 'nose') WHERE position = 3", "TFG-2207"),
        ("UPDATE tree SET hash = zeroblob(32) WHERE level = 0 AND number = 2", "TFG-2207"),
        ("UPDATE tree SET hash = zeroblob(32) WHERE level = 2 AND number = 0", "TFG-2207"),
        ("DELETE FROM entries WHERE position = 6", "TFG-2206"),
    ],
)
def test_damage_is_named_before_anything_is_signed(
    tmp_path: Path, statement: str, code: str
) -> None:
    """A changed leaf, tree hash or missing entry keeps the ledger from opening."""
    desk = Desk(directory=tmp_path / "l")
    run(filled(desk, 5))
    desk.close()
    connection = sqlite3.connect(tmp_path / "l" / "ledger.db")
    assert connection.execute(statement).rowcount == 1
    connection.commit()
    connection.close()

    with pytest.raises(errors.VerificationFailed, match=code):
        _reopened(tmp_path / "l", desk.signed)  # type: ignore[arg-type]


def test_a_changed_view_is_found_by_audit(tmp_path: Path) -> None:
    """The audit replays the log and names a view that differs."""
    desk = Desk(directory=tmp_path / "l")
    run(filled(desk, 2))
    desk.close()
    connection = sqlite3.connect(tmp_path / "l" / "ledger.db")
    connection.execute("UPDATE view SET value = X'00' WHERE name = 'note' AND key = 'n1'")
    connection.commit()
    connection.close()
    again = _reopened(tmp_path / "l", desk.signed)  # type: ignore[arg-type]

    with pytest.raises(errors.VerificationFailed, match="TFG-2207"):
        again.ledger.audit()
    again.close()


def test_files_are_for_their_owner_and_synced(tmp_path: Path) -> None:
    """The directory is private, and the database syncs each commit in full."""
    desk = Desk(directory=tmp_path / "l")
    connection = desk.ledger._database.connection

    assert (tmp_path / "l").stat().st_mode & 0o777 == 0o700
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        desk.ledger.reader()._connection.execute("DELETE FROM entries")
    desk.close()


def test_a_store_that_cannot_keep_the_signature_acknowledges_nothing(tmp_path: Path) -> None:
    """If the signed head cannot be kept, nothing is answered; the retry gets the same place."""
    desk = Desk(directory=tmp_path / "l")
    assert isinstance(desk.signed, MemoryStore)
    run(filled(desk, 1))
    head = desk.ledger.head
    signed, body = desk.signed_note("alice", 2)
    desk.signed.fail_writes = True
    with pytest.raises(errors.Failed, match="TFG-1201"):
        run(desk.ledger.submit(signed, body))
    assert desk.ledger.head == head
    desk.signed.fail_writes = False

    entry = run(desk.ledger.submit(signed, body))

    assert entry.position == 3
    assert desk.ledger.head[1].size == 4
    desk.close()


def test_a_failing_disk_stops_the_ledger_until_it_is_opened_again(tmp_path: Path) -> None:
    """After an error that is not a full disk nothing more is acknowledged in this run."""
    desk = Desk(directory=tmp_path / "l")
    run(filled(desk, 1))

    def broken(*_args: object) -> None:
        fault = sqlite3.OperationalError("disk I/O error")
        fault.sqlite_errorname = "SQLITE_IOERR_FSYNC"
        raise fault

    insert = desk.ledger._database.insert
    desk.ledger._database.insert = broken  # type: ignore[method-assign,assignment]
    for _attempt in range(2):
        with pytest.raises(errors.Failed, match="TFG-2204"):
            run(desk.ledger.submit(*desk.signed_note("alice", 2)))
        desk.ledger._database.insert = insert  # type: ignore[method-assign]
    desk.close()

    again = _reopened(tmp_path / "l", desk.signed)  # type: ignore[arg-type]
    assert run(again.ledger.submit(*desk.signed_note("alice", 2))).position == 3
    again.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one mebibyte."""
    path = tmp_path / "small"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "bcdb-test", path], check=True)
    yield path
    subprocess.run(["umount", path], check=True)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_refuses_and_goes_on_when_there_is_room(
    tmp_path: Path, small_disk: Path
) -> None:
    """A full disk refuses by name, earlier entries stay readable, later ones pass."""
    desk = Desk(directory=small_disk / "l", signed=DirectoryStore(tmp_path / "s"))
    run(filled(desk, 3))
    (small_disk / "filler").write_bytes(b"x" * 256 * 1024)
    accepted, fault = 3, None
    text = "y" * 4000
    while fault is None:
        body = Note(name="big", text=text, count=accepted)
        entry = desk.signed_note("alice", accepted + 1, body=body, tags=("note:big",))
        try:
            run(desk.ledger.submit(*entry))
            accepted += 1
        except errors.Failed as refusal:
            fault = refusal
    assert fault.code == "TFG-2203"
    assert accepted > 3
    assert run(desk.client.entry(4))[0].header.sequence == 3
    assert desk.ledger.head[1].size == 2 + accepted

    (small_disk / "filler").unlink()
    body = Note(name="big", text=text, count=accepted)
    run(desk.ledger.submit(*desk.signed_note("alice", accepted + 1, body=body, tags=("note:big",))))

    assert desk.ledger.audit() == 3 + accepted
    desk.close()
