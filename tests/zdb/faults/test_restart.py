"""What survives: restarts, kill -9 under load, and quiet at rest."""

from __future__ import annotations

import contextlib
import random
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.zdb.ground import Error, Running, Wire, request, serving
from tfgrid.capacity import zdb


def test_properties_survive_restarts(tmp_path: Path) -> None:
    """Mode, quota, password, public, worm, lock, freeze and history are there after a kill."""
    with serving(tmp_path) as server, server.wire() as wire:
        for name in ("seq", "user"):
            assert wire("NSNEW", name) == "OK"
        for words in (("seq", "mode", "seq"), ("user", "maxsize", "1000"),
                      ("user", "password", "pw"),
                      ("user", "public", "0"), ("user", "worm", "1"), ("user", "lock", "1"),
                      ("seq", "freeze", "1"), ("user", "history", "last:3")):  # fmt: skip
            assert wire("NSSET", *words) == "OK"
        server.kill()
    with serving(tmp_path) as server, server.client() as client:
        user, seq = client.nsinfo("user"), client.nsinfo("seq")
        assert (user.payload_bytes_max, user.password, user.public) == (1000, True, False)
        assert (user.worm, user.locked, user.sequential) == (True, True, False)
        assert user.fields["history"] == "last:3"
        assert (seq.sequential, seq.fields["frozen"]) == (True, "yes")
        client.select("user", "pw")


def test_an_orderly_end_keeps_everything(tmp_path: Path) -> None:
    """SIGTERM ends with code 0, and without group commit too all is there afterwards."""
    with serving(tmp_path, "--sync", "none") as server:
        with server.wire() as wire:
            wire.send(b"".join(request("SET", f"k{n}", f"v{n}") for n in range(5000)))
            assert [wire.reply() for _ in range(5000)][-1] == b"k4999"
        assert server.stop() == 0
        assert server.lines()[-1]["event"] == "stopped"
    with serving(tmp_path) as server, server.wire() as wire:
        assert wire("DBSIZE") == 5000
        assert wire("GET", "k4321") == b"v4321"


def test_a_server_starts_without_the_rest_of_python() -> None:
    """What its process loads of Python is the way to the native module, and no more."""
    python, *words = zdb.PROGRAM
    done = subprocess.run(
        [python, "-X", "importtime", *words, "--help"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    ours = {name for name in loaded if name.startswith("tfgrid")}
    assert ours == {"tfgrid", "tfgrid._native"}
    assert not loaded & {"typing", "dataclasses", "inspect", "pathlib", "re", "asyncio", "runpy"}


@pytest.mark.parametrize(
    ("given", "tunables"),
    [
        ({}, "glibc.malloc.hugetlb=1"),
        ({"GLIBC_TUNABLES": "glibc.malloc.arena_max=1"},
         "glibc.malloc.arena_max=1:glibc.malloc.hugetlb=1"),
        ({"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}, "glibc.malloc.hugetlb=0"),
    ],
)  # fmt: skip
def test_the_environment_asks_for_large_pages_once(given: dict[str, str], tunables: str) -> None:
    """What else is tuned stays, and so does what an operator says of pages."""
    assert zdb.environment({**given, "A": "b"}) == {"GLIBC_TUNABLES": tunables, "A": "b"}


def test_the_index_is_in_large_pages(tmp_path: Path) -> None:
    """Where the kernel has large pages for who asks, memory of many keys is in them."""
    choice = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not choice.exists() or "[never]" in choice.read_text():
        pytest.skip("this kernel gives no large pages: see transparent_hugepage/enabled")
    with serving(tmp_path, "--sync", "none") as server:
        keys = 200_000
        with zdb.Client(server.address) as client:
            for first in range(0, keys, 5000):
                client.call([(b"SET", b"%d" % key, b"v") for key in range(first, first + 5000)])
        rollup = Path(f"/proc/{server.process.pid}/smaps_rollup").read_text()
        large_kib = int(rollup.partition("AnonHugePages:")[2].split()[0])
        # How many it finds depends on what else is in memory.
        assert large_kib > 0


class Writer(threading.Thread):
    """Writes without pause until the server dies, and remembers what was acknowledged."""

    def __init__(self, server: Running, seed: int) -> None:
        super().__init__()
        self.server = server
        self.seed = seed
        self.sure: dict[bytes, bytes | None] = {}
        self.unsure: dict[bytes, set[bytes | None]] = {}

    def run(self) -> None:
        """Pipelines of random length, each acknowledged before the next."""
        rng = random.Random(self.seed)
        with contextlib.suppress(OSError, EOFError), self.server.wire() as wire:
            while True:
                batch = [self._operation(rng) for _ in range(rng.randrange(1, 20))]
                for key, value in batch:
                    self.unsure.setdefault(key, set()).add(value)
                wire.send(b"".join(
                    request("DEL", key) if value is None else request("SET", key, value)
                    for key, value in batch
                ))  # fmt: skip
                for key, value in batch:
                    wire.reply()
                    self.sure[key] = value
                self.unsure.clear()

    def _operation(self, rng: random.Random) -> tuple[bytes, bytes | None]:
        key = b"%d-%d" % (self.seed, rng.randrange(300))
        if rng.random() < 0.15:
            return key, None
        return key, rng.randbytes(rng.choice((1, 30, 4000)))


@pytest.mark.slow
@pytest.mark.parametrize("sync", ["group", "always"])
def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path, sync: str) -> None:
    """Killed under load again and again, every acknowledged write and delete is there."""
    sure: dict[bytes, set[bytes | None]] = {}
    for turn in range(3):
        with serving(tmp_path, "--sync", sync, "--data-size", "1048576") as server:
            with server.wire() as wire:
                _compare(wire, sure)
            writers = [Writer(server, number) for number in range(4)]
            for writer in writers:
                writer.start()
            time.sleep(0.25 + turn * 0.11)
            server.kill()
            for writer in writers:
                writer.join(20)
                for key, value in writer.sure.items():
                    sure[key] = {value}
                for key, values in writer.unsure.items():
                    sure.setdefault(key, {None}).update(values)
    assert len(sure) > 200
    with serving(tmp_path) as server, server.wire() as wire:
        _compare(wire, sure)


def _compare(wire: Wire, sure: dict[bytes, set[bytes | None]]) -> None:
    """Read everything back; what is found becomes the only possibility."""
    for key, values in sure.items():
        found = wire("GET", key)
        assert found is None or isinstance(found, bytes)
        assert found in values, key
        sure[key] = {found}


@pytest.mark.parametrize("sync", ["group", "always", "interval=50", "none"])
def test_at_rest_it_makes_no_system_calls(tmp_path: Path, sync: str) -> None:
    """After writes have settled the server waits in one call, whatever memory holds."""
    with contextlib.ExitStack() as stack:
        options = ("--sync", sync, "--metrics", "127.0.0.1:0")
        server = stack.enter_context(serving(tmp_path, *options))
        wire, idle = (stack.enter_context(server.wire()) for _ in range(2))
        assert wire("NSNEW", "other") == wire("NSSET", "other", "history", "last:1") == "OK"
        for name in ("other", "default"):
            assert wire("SELECT", name) == "OK"
            for number in range(100):
                wire("SET", f"k{number}", "v")
        assert idle("PING") == "PONG"
        with Wire(_address(server.addresses[1])) as http:
            http.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            assert http.socket.recv(65536).startswith(b"HTTP/1.1 200")
        time.sleep(2.5)  # longer than a closed connection lingers
        counted = subprocess.run(
            ["timeout", "-s", "INT", "1", "strace", "-f", "-p", str(server.pid)],
            capture_output=True, text=True, check=False,
        ).stderr  # fmt: skip
        assert wire("GET", "k5") == b"v"
    calls = [
        line for line in counted.splitlines() if "(" in line and not line.startswith("strace:")
    ]
    # The loop waits, and beside it the thread that syncs waits for work.
    assert len(calls) <= 2, calls
    assert all("epoll" in line or "FUTEX_WAIT" in line for line in calls)


def test_metrics_are_answered_over_http(tmp_path: Path) -> None:
    """Prometheus reads what happened; other paths and methods are refused; nobody writes there."""
    with serving(tmp_path, "--metrics", "127.0.0.1:0") as server:
        with server.wire() as wire:
            wire("SET", "k", "value")
            wire("NOTHING")
        where = server.addresses[1]
        answers = {}
        for line in ("GET /metrics", "GET /", "POST /metrics", "GET /" + "x" * 9000):
            with Wire(_address(where)) as http:
                http.send(f"{line} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                data = b""
                while part := http.socket.recv(65536):
                    data += part
            answers[line[:12]] = data.decode()
    assert [text.split(" ")[1] for text in answers.values()] == ["200", "404", "405", "431"]
    text = answers["GET /metrics"]
    for line in ('zdb_commands_total{command="SET"} 1', "zdb_requests_unknown_total 1",
                 'zdb_keys{namespace="default"} 1', 'zdb_payload_bytes{namespace="default"} 5',
                 'zdb_read_only{namespace="default"} 0'):  # fmt: skip
        assert f"\n{line}\n" in text, line
    for line in text.partition("\r\n\r\n")[2].splitlines():
        assert line.startswith("# ") or len(line.rsplit(" ", 1)) == 2


def _address(text: str) -> zdb.Address:
    return zdb.Address.parse(text)


def test_compaction_gives_space_back_while_serving(tmp_path: Path) -> None:
    """With `history last:1` old versions go by themselves, and every current value stays."""
    with serving(tmp_path, "--data-size", "524288", "--sync", "none") as server:
        with server.wire() as wire:
            values = {}
            for turn in range(12):
                for number in range(40):
                    values[number] = random.Random(turn * 40 + number).randbytes(8000)
                    assert wire("SET", f"k{number}", values[number])
            assert wire("NSSET", "default", "history", "last:1") == "OK"
            before = _data_bytes(wire)
            until = time.monotonic() + 20
            while _data_bytes(wire) > before // 2 and time.monotonic() < until:
                assert wire("PING") == "PONG"
                time.sleep(0.1)
            assert _data_bytes(wire) < before // 2
            for number, value in values.items():
                assert wire("GET", f"k{number}") == value
        server.kill()
    with serving(tmp_path) as server, server.wire() as wire:
        for number, value in values.items():
            assert wire("GET", f"k{number}") == value
        assert wire("NSSET", "default", "history", "never") == Error(
            "Invalid property value (expected: all, last:N, since:TIME)"
        )


def _data_bytes(wire: Wire) -> int:
    shown = wire("NSINFO", "default")
    assert isinstance(shown, bytes)
    fields = dict(line.split(": ", 1) for line in shown.decode().splitlines() if ": " in line)
    return int(fields["data_file_bytes"])
