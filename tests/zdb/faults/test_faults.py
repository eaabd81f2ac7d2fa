"""A disk that fails, and power that goes: the real server under injected faults.

The server uses plain system calls, so strace can kill it at each of them or let one fail. What a
killed process leaves is in the page cache; that unsynced bytes may vanish too is tried against the
simulated disk of the engine's own tests.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.zdb.ground import EndedError, Error, Reply, Running, Wire, request, serving

CANNOT = Error("Cannot write data right now")


def traced(folder: Path, calls: str, inject: str, *only: Path) -> tuple[str, ...]:
    """A prefix that injects a fault, into calls on these paths only if any are given."""
    paths = [word for path in only for word in ("-P", str(path))]
    return ("strace", "-f", "-qq", "-o", str(folder / "trace"), *paths,
            "-e", f"trace={calls}", "-e", f"inject={inject}")  # fmt: skip


def engine_paths(folder: Path) -> Iterator[Path]:
    """Every path that the engine may touch while it serves the script, and none of Python's."""
    for root, letter, copy in (("data", "d", ""), ("index", "i", "-copy")):
        yield folder / root
        for name in ("default", "n", "m"):
            yield folder / root / name
            for end in ("", ".new"):
                yield folder / root / name / f"namespace{copy}{end}"
                for number in range(4):
                    yield folder / root / name / f"{letter}{number}{end}"


Step = tuple[str, tuple[str, ...]]

# In which namespace, what: writes, overwrites, deletes, new files, so many writes that the index is
# written too (FILL, which ends in a SET), reloading, properties, flushing, removal.
SCRIPT: tuple[Step, ...] = (
    ("default", ("SET", "a", "1")),
    ("default", ("NSNEW", "n")),
    ("default", ("NSSET", "n", "password", "pw")),
    ("default", ("NSSET", "n", "public", "0")),
    ("n", ("SET", "a", "one")),
    ("n", ("SET", "b", "two")),
    ("n", ("NSJUMP",)),
    ("n", ("FILL", "f", "index batches")),
    ("default", ("RELOAD", "n")),
    ("n", ("SET", "a", "three")),
    ("n", ("DEL", "b")),
    ("default", ("SET", "a", "2")),
    ("n", ("FLUSH",)),
    ("n", ("SET", "c", "four")),
    ("default", ("NSNEW", "m")),
    ("default", ("NSDEL", "m")),
    ("default", ("SET", "z", "last")),
)


class Model:
    """What must be there, key by key; a step under way may have happened or not."""

    def __init__(self) -> None:
        self.states: list[dict[tuple[str, str], str]] = [{}]

    def began(self, step: Step) -> None:
        """From now on both are possible."""
        self.states.append(self._after(self.states[0], step))

    def ended(self) -> None:
        """It was acknowledged."""
        self.states = self.states[1:]

    @staticmethod
    def _after(state: dict[tuple[str, str], str], step: Step) -> dict[tuple[str, str], str]:
        namespace, words = step
        match words:
            case ("SET" | "FILL", key, value):
                return state | {(namespace, key): value}
            case ("DEL", key):
                return {place: value for place, value in state.items() if place != (namespace, key)}
            case ("FLUSH",):
                return {place: value for place, value in state.items() if place[0] != namespace}
            case _:
                return state


def play(wire: Wire, model: Model) -> None:
    """Run the script until it or the server ends."""
    for namespace, words in SCRIPT:
        select = ("SELECT", "n", "pw") if namespace == "n" else ("SELECT", "default")
        assert wire(*select) == "OK"
        model.began((namespace, words))
        if words[0] == "FILL":
            wire.send(b"".join(request("SET", f"f{number}", "x") for number in range(4200)))
            assert not any(isinstance(wire.reply(), Error) for _ in range(4200))
        word = "SET" if words[0] == "FILL" else words[0]
        assert not isinstance(wire(word, *words[1:]), Error), words
        model.ended()


def found(wire: Wire) -> dict[tuple[str, str], str]:
    """Everything that is there."""
    state = {}
    names = wire("NSLIST")
    assert isinstance(names, list)
    for namespace in ("default", "n"):
        if namespace.encode() not in names:
            continue
        if wire("SELECT", namespace, "pw") != "OK":
            continue
        for key in "abcfz":
            value: Reply = wire("GET", key)
            assert value is None or isinstance(value, bytes)
            if value is not None:
                state[namespace, key] = value.decode()
    return state


@pytest.mark.slow
@pytest.mark.parametrize(
    "calls",
    ["pwrite64", "fdatasync,fsync", "rename,renameat,renameat2", "unlink,unlinkat,rmdir",
     "mkdir,mkdirat", "openat"],
)  # fmt: skip
def test_killed_at_a_system_call_nothing_acknowledged_is_lost(tmp_path: Path, calls: str) -> None:
    """For each call of its kind that the script makes: killed there, restarted, compared."""
    points = 0
    for number in range(1, 200):
        folder = tmp_path / str(number)
        folder.mkdir()
        model = Model()
        only = engine_paths(folder) if calls == "openat" else ()
        prefix = traced(folder, calls, f"{calls}:signal=KILL:when={number}", *only)
        died = True
        with (
            contextlib.suppress(EndedError, EOFError, ConnectionError),
            serving(folder, prefix=prefix) as server,
        ):
            with server.wire() as wire:
                play(wire, model)
            died = server.stop() != 0
        with serving(folder) as server, server.wire() as wire:
            assert found(wire) in model.states, f"{calls} {number}: {server.log()}"
            assert wire("SELECT", "default") == "OK"
            assert wire("SET", "afterwards", "x") == b"afterwards"
        if not died:
            break
        points += 1
    assert not died
    assert points > 0


# Calls that change nothing, and those at each of which the test above kills.
HARMLESS = {
    "pread64", "read", "fstat", "newfstatat", "stat", "statx", "statfs", "lseek", "fcntl", "close",
    "getdents64", "flock", "fadvise64", "access", "readlink", "ioctl",
}  # fmt: skip
KILLED_AT = {
    "pwrite64", "fdatasync", "fsync", "rename", "renameat", "renameat2", "unlink", "unlinkat",
    "rmdir", "mkdir", "mkdirat", "openat", "ftruncate",
}  # fmt: skip


def test_no_kind_of_system_call_is_left_out(tmp_path: Path) -> None:
    """The engine changes files by these calls alone: a new kind has to be killed at too."""
    only = [word for path in engine_paths(tmp_path) for word in ("-P", str(path))]
    prefix = ("strace", "-f", "-qq", "-o", str(tmp_path / "trace"), *only)
    with serving(tmp_path, prefix=prefix) as server:
        with server.wire() as wire:
            play(wire, Model())
        assert server.stop() == 0
    lines = (tmp_path / "trace").read_text().splitlines()
    calls = {line.split("(")[0].split()[-1] for line in lines if "(" in line}
    assert calls - HARMLESS <= KILLED_AT
    assert {"pwrite64", "fdatasync", "openat", "mkdir"} <= calls


@pytest.mark.parametrize("call", ["ftruncate", "fdatasync", "fsync", "pwrite64"])
def test_killed_while_mending_nothing_is_lost(tmp_path: Path, call: str) -> None:
    """A start that cuts a torn tail may be killed at each of its calls; the next one goes on."""
    with serving(tmp_path) as server, server.wire() as wire:
        wire.send(b"".join(request("SET", f"k{number}", f"v{number}") for number in range(500)))
        assert [wire.reply() for _ in range(500)][-1] == b"k499"
        server.kill()
    path = tmp_path / "data" / "default" / "d0"
    whole = path.read_bytes()
    for number in range(1, 20):
        path.write_bytes(whole + b"torn" * 300)
        prefix = traced(tmp_path, call, f"{call}:signal=KILL:when={number}")
        died = True
        with contextlib.suppress(EndedError), serving(tmp_path, prefix=prefix) as server:
            died = False
        with serving(tmp_path) as server, server.wire() as wire:
            wire.send(b"".join(request("GET", f"k{number}") for number in range(500)))
            assert [wire.reply() for _ in range(500)] == [b"v%d" % n for n in range(500)]
        if not died:
            assert number > 1
            return
    raise AssertionError("it never starts")


@pytest.mark.slow
@pytest.mark.parametrize("sync", ["group", "always"])
def test_a_failed_fsync_is_not_acknowledged_and_stops_writing(tmp_path: Path, sync: str) -> None:
    """After EIO from fsync the write is refused, and so are all until a RELOAD; reads go on."""
    prefix = traced(tmp_path, "fdatasync,fsync", "fdatasync,fsync:error=EIO:when=40+")
    with serving(tmp_path, "--sync", sync, prefix=prefix) as server, server.wire() as wire:
        assert wire("SET", "k", "v0") == b"k"
        acknowledged, reply = "v0", None
        for number in range(1, 100):
            reply = wire("SET", "k", f"v{number}")
            if isinstance(reply, Error):
                break
            acknowledged = f"v{number}"
        assert isinstance(reply, Error)
        again = wire("SET", "k", "later")
        assert isinstance(again, Error)
        assert "read-only" in again.text
        shown = wire("NSINFO", "default")
        assert isinstance(shown, bytes)
        assert b"\nread_only: " in shown
        assert wire("GET", "k") == acknowledged.encode()
        assert (
            any(line["event"] == "a commit failed" for line in server.lines()) or sync == "always"
        )
        server.kill()
    with serving(tmp_path) as server, server.wire() as wire:
        value = wire("GET", "k")
        assert isinstance(value, bytes)
        assert int(value[1:]) >= int(acknowledged[1:])
        assert wire("SET", "k", "new") == b"k"


@pytest.mark.slow
def test_a_failed_sync_beside_the_loop_stops_writing_too(tmp_path: Path) -> None:
    """EIO from the thread that syncs: no write is taken after it, and the next start is sound."""
    # Only that thread syncs a data file while nothing rotates; each of them fails.
    prefix = traced(tmp_path, "fdatasync,fsync", "fdatasync,fsync:error=EIO:when=1+")
    with serving(tmp_path) as server, server.wire() as wire:
        assert wire("SET", "k", "before") == b"k"
    with serving(tmp_path, "--sync", "interval=100", prefix=prefix) as server:
        with server.wire() as wire:
            assert wire("SET", "k", "v0") == b"k"
            until, number = time.monotonic() + 20, 0
            while not isinstance(reply := wire("SET", "k", f"v{number}"), Error):
                assert time.monotonic() < until
                time.sleep(0.01)
                number += 1
            assert "read-only" in reply.text
            assert "fsync of data file" in reply.text
            shown = wire("NSINFO", "default")
            assert isinstance(shown, bytes)
            assert b"\nread_only: " in shown
            # What was read before goes on being read, and nothing makes it writable but a RELOAD.
            assert wire("GET", "k") == f"v{number - 1}".encode()
            for words in (("NSJUMP",), ("FLUSH",), ("DEL", "k")):
                assert isinstance(wire(*words), Error), words
            assert any(line["event"] == "a commit failed" for line in server.lines())
        assert server.stop() != 0
    with serving(tmp_path) as server, server.wire() as wire:
        value = wire("GET", "k")
        assert isinstance(value, bytes)
        assert wire("SET", "k", "new") == b"k"


def test_a_slow_sync_beside_the_loop_stops_nobody(tmp_path: Path) -> None:
    """While an fsync takes its time others are served, until writes have waited their interval."""
    prefix = traced(tmp_path, "fdatasync", "fdatasync:delay_enter=400000:when=1+")
    with (
        serving(tmp_path, "--sync", "interval=1000", prefix=prefix) as server,
        server.wire() as wire,
    ):
        assert wire("SET", "k", "v") == b"k"
        longest, until, number = 0.0, time.monotonic() + 3, 0
        while time.monotonic() < until:
            began = time.monotonic()
            assert wire("SET", "k", f"v{number}") == b"k"
            assert wire("GET", "k") == f"v{number}".encode()
            longest, number = max(longest, time.monotonic() - began), number + 1
        calls = (tmp_path / "trace").read_text().count("fdatasync(")
        assert calls >= 3
        assert longest < 0.4


def test_a_full_data_file_is_synced_while_the_next_one_is_written(tmp_path: Path) -> None:
    """Nobody waits for its sync, and a kill before that has ended loses nothing."""
    with serving(tmp_path) as server, server.wire() as wire:
        assert wire("SET", "k", "before") == b"k"
    prefix = traced(
        tmp_path, "fdatasync", "fdatasync:delay_enter=3000000:when=1+",
        tmp_path / "data" / "default" / "d0",
    )  # fmt: skip
    options = ("--sync", "interval=30000", "--data-size", "1048576")
    with serving(tmp_path, *options, prefix=prefix) as server, server.wire() as wire:
        began = time.monotonic()
        for number in range(1500):
            assert wire("SET", f"k{number}", str(number).rjust(1000)) is not None
        assert time.monotonic() - began < 2.5
        shown = wire("NSINFO", "default")
        assert isinstance(shown, bytes)
        assert b"data_current_id: 1\n" in shown
        server.kill()
    with serving(tmp_path) as server, server.wire() as wire:
        for number in range(1500):
            assert wire("GET", f"k{number}") == str(number).rjust(1000).encode()


def test_writes_wait_for_a_sync_that_lasts_longer_than_the_interval(tmp_path: Path) -> None:
    """No more than an interval of acknowledged writes is ever without a sync."""
    prefix = traced(tmp_path, "fdatasync", "fdatasync:delay_enter=600000:when=1+")
    with (
        serving(tmp_path, "--sync", "interval=200", prefix=prefix) as server,
        server.wire() as wire,
    ):
        waits, until, number = 0, time.monotonic() + 4, 0
        while time.monotonic() < until:
            began = time.monotonic()
            assert wire("SET", "k", f"v{number}") == b"k"
            waits, number = waits + (time.monotonic() - began > 0.3), number + 1
        assert waits >= 2
        server.kill()
    with serving(tmp_path) as server, server.wire() as wire:
        assert wire("GET", "k") == f"v{number - 1}".encode()


@pytest.mark.parametrize("size", [1, 40_000])
def test_readers_of_a_failed_turn_are_told_so(tmp_path: Path, size: int) -> None:
    """What a pipeline read of writes that then failed is not told as true, however big it is."""
    prefix = traced(tmp_path, "fdatasync,fsync", "fdatasync,fsync:error=EIO:when=30+")
    with serving(tmp_path, prefix=prefix) as server, server.wire() as wire:
        for number in range(60):
            value = f"v{number}".ljust(size, ".")
            wire.send(request("SET", "k", value) + request("GET", "k") + request("EXISTS", "x"))
            replies = [wire.reply() for _ in range(3)]
            if replies[0] != b"k":
                assert replies[:2] == [CANNOT, CANNOT]
                assert wire("GET", "k") == f"v{number - 1}".ljust(size, ".").encode()
                return
            assert replies == [b"k", value.encode(), 0]
    raise AssertionError("nothing failed")


def test_a_transaction_whose_commit_fails_is_not_told_as_done(tmp_path: Path) -> None:
    """EXEC is answered with the error alone, and nothing of it is there."""
    prefix = traced(tmp_path, "fdatasync,fsync", "fdatasync,fsync:error=EIO:when=30+")
    with serving(tmp_path, prefix=prefix) as server, server.wire() as wire:
        for number in range(60):
            queued = [("SET", "a", f"a{number}"), ("SET", "b", f"b{number}"), ("GET", "a")]
            words = [("MULTI",), *queued, ("EXEC",)]
            wire.send(b"".join(request(*each) for each in words))
            replies = [wire.reply() for _ in words]
            assert replies[:4] == ["OK", "QUEUED", "QUEUED", "QUEUED"]
            if replies[4] == CANNOT:
                assert [wire("GET", "a"), wire("GET", "b")] == [
                    b"a%d" % (number - 1), b"b%d" % (number - 1),
                ]  # fmt: skip
                return
            assert replies[4] == [b"a", b"b", b"a%d" % number]
    raise AssertionError("nothing failed")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.root
def test_a_full_disk_refuses_writes_and_goes_on_when_there_is_room(small_disk: Path) -> None:
    """ENOSPC is an error of that write alone; what was there is read, and room helps at once."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 1024**2)
    with serving(small_disk, "--data-size", "524288") as server, server.wire() as wire:
        written = _fill(wire)
        assert wire("SET", "more", b"y" * 100_000) == CANNOT
        for key in written:
            assert wire("GET", key) == key.encode() * 10_000
        ballast.unlink()
        until = time.monotonic() + 5
        while (reply := wire("SET", "more", b"y" * 100_000)) != b"more":
            assert time.monotonic() < until, reply
        assert wire("GET", "more") == b"y" * 100_000
        server.kill()
    with serving(small_disk, "--data-size", "524288") as server, server.wire() as wire:
        assert wire("GET", "more") == b"y" * 100_000
        for key in written:
            assert wire("GET", key) == key.encode() * 10_000


def _fill(wire: Wire) -> list[str]:
    written: list[str] = []
    for number in range(1000, 2000):
        reply = wire("SET", f"{number}", f"{number}" * 10_000)
        if isinstance(reply, Error):
            assert reply == CANNOT
            return written
        written.append(f"{number}")
    raise AssertionError("the disk has no end")


def test_a_short_write_leaves_no_trace(tmp_path: Path) -> None:
    """A file that may not grow takes part of a record: the write is refused, the rest is whole."""
    prefix = ("prlimit", "--fsize=300000")
    with serving(tmp_path, "--data-size", "524288", prefix=prefix) as server, server.wire() as wire:
        written = _fill(wire)
        assert len(written) >= 5
        for key in written:
            assert wire("GET", key) == key.encode() * 10_000
        assert wire("NSJUMP") == "OK"
        assert wire("SET", "small", "x") == b"small"
        server.kill()
    with serving(tmp_path, "--data-size", "524288") as server, server.wire() as wire:
        assert wire("GET", "small") == b"x"
        for key in written:
            assert wire("GET", key) == key.encode() * 10_000


def _damage(server: Running, file: str, at: int) -> None:
    path = server.folder / "data" / "default" / file
    data = bytearray(path.read_bytes())
    data[at] ^= 0x40
    path.write_bytes(data)


def test_a_flipped_bit_is_named_and_hides_no_neighbour(tmp_path: Path) -> None:
    """GET of a damaged record is an error, CHECK says 0, the log names it, the others are read."""
    with serving(tmp_path, "--sync", "none") as server, server.wire() as wire:
        for number in range(50):
            wire("SET", f"k{number:02}", f"value-{number:02}" * 20)
        path = server.folder / "data" / "default" / "d0"
        at = path.read_bytes().index(b"value-25" * 5)
        _damage(server, "d0", at + 3)
        assert wire("RELOAD", "default") == "OK"
        assert wire("GET", "k25") == Error("Internal Error")
        assert wire("CHECK", "k25") == 0
        assert any(line["event"] == "a record could not be read" for line in server.lines())
        for number in range(50):
            if number != 25:
                assert wire("GET", f"k{number:02}") == f"value-{number:02}".encode() * 20
