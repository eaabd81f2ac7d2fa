"""The keeper on a real kernel: what it starts, how it tells of the end, and what outlives whom."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tfgrid.agents.zos import keeper
from tfgrid.agents.zos.keeper import wire
from tfgrid.core import errors, limits
from tfgrid.jumpscale.executors import Spawn
from tfgrid.jumpscale.sal import processes

# Signals 32 and 33, which the C library keeps to itself: no program can set them.
_OF_THE_C_LIBRARY = 0b11 << 31

pytestmark = pytest.mark.root


def _keeper_pid(run: Path) -> int:
    with wire.connect(str(run)) as connection:
        size = 12
        credentials = connection.getsockopt(1, 17, size)
    return int.from_bytes(credentials[:4], "little")


def _run(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, check=True, text=True).stdout


def _resident_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


class Ground:
    """Folders of one test, and a way to end all that was started in it."""

    def __init__(self, root: Path) -> None:
        self.run = root / "run"
        self.state = root / "state"

    async def client(self) -> keeper.Client:
        """The keeper's client; a keeper is started if none runs."""
        return await keeper.ensure(self.run, self.state)

    async def kill_keeper(self) -> None:
        """End the keeper as a crash does."""
        pid = _keeper_pid(self.run)
        held = processes.Held.open(pid)
        assert held
        with held:
            held.signal(signal.SIGKILL)
            assert held.wait(5)

    def clean(self) -> None:
        """End every process and the keeper."""

        async def end() -> None:
            client = await self.client()
            for name in await client.list():
                with contextlib.suppress(errors.GridError):
                    await client.signal(name, signal.SIGKILL)
                    await client.wait(name, 5)
                    await client.forget(name)
            pid = await client.quit()
            held = processes.Held.open(pid)
            if held:
                with held:
                    held.wait(5)

        asyncio.run(end())


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    """A keeper's folders; everything in them is ended afterwards."""
    here = Ground(tmp_path)
    yield here
    here.clean()


async def _until(condition: Callable[[], Awaitable[bool]], seconds: float = 5.0) -> None:
    for _ in range(int(seconds / 0.01)):
        if await condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come true in time")


def test_a_process_runs_logs_and_tells_its_exit_code(ground: Ground) -> None:
    """Both outputs land in the log in the order written, and the exit code is kept."""

    async def body() -> None:
        client = await ground.client()
        await client.spawn(Spawn(name="a", argv=["sh", "-c", "echo out; echo err >&2; exit 7"]))
        ended = await client.wait("a", 5)

        assert (ended.ended, ended.exit_code) == (True, 7)
        assert await client.tail("a", 100) == b"out\nerr\n"
        assert json.loads((ground.state / "records/a.json").read_text())["exit_code"] == 7

    asyncio.run(body())


def test_a_signal_shows_as_128_and_its_number(ground: Ground) -> None:
    """A process that was killed has exit code 137."""

    async def body() -> None:
        client = await ground.client()
        await client.spawn(Spawn(name="a", argv=["sleep", "60"]))
        await client.signal("a", signal.SIGKILL)

        assert (await client.wait("a", 5)).exit_code == 137

    asyncio.run(body())


def test_a_name_is_used_once(ground: Ground) -> None:
    """A known name is refused until it is forgotten, and a running one cannot be forgotten."""

    async def body() -> None:
        client = await ground.client()
        await client.spawn(Spawn(name="a", argv=["sleep", "60"]))
        with pytest.raises(errors.Conflict, match="TFG-3020"):
            await client.spawn(Spawn(name="a", argv=["true"]))
        with pytest.raises(errors.Conflict, match="TFG-3024"):
            await client.forget("a")
        await client.stop("a", 5)

        assert await client.list() == {}
        assert await client.tail("a", 10) == b""
        assert not list((ground.run / "pipes").iterdir())
        assert not list((ground.state / "records").iterdir())

    asyncio.run(body())


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a" * 129, "a\0b", "a\nb"])
def test_a_bad_name_is_refused(ground: Ground, name: str) -> None:
    """A name that could leave its folder, or hide in it, starts nothing."""

    async def body() -> None:
        client = await ground.client()
        with pytest.raises(errors.BadInput, match="TFG-3022"):
            await client.spawn(Spawn(name=name, argv=["true"]))

        assert await client.list() == {}

    asyncio.run(body())


def test_a_program_that_is_not_there_is_named(ground: Ground) -> None:
    """A failed exec is told to the asker with its errno, and leaves nothing."""

    async def body() -> None:
        client = await ground.client()
        with pytest.raises(errors.Failed, match="TFG-3021 no-such-program") as caught:
            await client.spawn(Spawn(name="a", argv=["no-such-program"]))

        assert caught.value.details["errno"] == 2
        assert await client.list() == {}

    asyncio.run(body())


def test_an_unknown_name_is_not_found(ground: Ground) -> None:
    """Waiting for or signalling an unknown name is an error; forgetting and stopping it is none."""

    async def body() -> None:
        client = await ground.client()
        for verb in (client.wait("x", 0), client.signal("x", 9)):
            with pytest.raises(errors.NotFound, match="TFG-3023"):
                await verb
        await client.forget("x")
        await client.stop("x", 0)

    asyncio.run(body())


def test_a_starter_with_a_pid_file_hands_over_its_process(ground: Ground, tmp_path: Path) -> None:
    """The process in the pid file is kept when its starter has left, exit code included."""

    async def body() -> None:
        client = await ground.client()
        pid_file = tmp_path / "pid"
        script = f"(sleep 0.2; echo child; exit 5) & echo $! > {pid_file}"
        spawn = Spawn(name="a", argv=["sh", "-c", script], pid_file=pid_file)
        started = await client.spawn(spawn)
        ended = await client.wait("a", 5)

        assert started.pid == int(pid_file.read_text())
        assert ended.exit_code == 5
        assert await client.tail("a", 100) == b"child\n"

    asyncio.run(body())


def test_a_starter_that_fails_says_why(ground: Ground, tmp_path: Path) -> None:
    """A failed starter's last words and exit code are in the error, and its name is free."""

    async def body() -> None:
        client = await ground.client()
        argv = ["sh", "-c", "echo no such image >&2; exit 9"]
        with pytest.raises(errors.Failed, match="no such image") as caught:
            await client.spawn(Spawn(name="a", argv=argv, pid_file=tmp_path / "pid"))

        assert caught.value.details["exit_code"] == 9
        assert await client.list() == {}

    asyncio.run(body())


def test_a_starter_that_hangs_is_killed_and_blocks_nobody(ground: Ground, tmp_path: Path) -> None:
    """A starter over its time is killed; meanwhile other requests are answered."""

    async def body() -> None:
        client = await ground.client()
        slow = Spawn(
            name="slow", argv=["sleep", "60"], pid_file=tmp_path / "pid", settle_seconds=0.5
        )
        hanging = asyncio.create_task(client.spawn(slow))
        await asyncio.sleep(0.05)
        begun = time.monotonic()
        await client.spawn(Spawn(name="b", argv=["true"]))
        took = time.monotonic() - begun
        with pytest.raises(errors.Failed, match="TFG-3021"):
            await hanging

        assert took < 0.45

    asyncio.run(body())


def test_processes_and_logs_outlive_the_keeper(ground: Ground) -> None:
    """After kill -9 of the keeper a writer waits, and the next has every line and the code."""

    async def body() -> None:
        client = await ground.client()
        go = ground.state / "go"
        lines = "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done"
        script = f"{lines}; until [ -e {go} ]; do sleep 0.02; done; exit 3"
        started = await client.spawn(Spawn(name="a", argv=["sh", "-c", script]))
        await ground.kill_keeper()
        with pytest.raises(errors.Unreachable, match="TFG-4201"):
            await client.list()
        client = await ground.client()
        adopted = (await client.list())["a"]
        go.touch()
        ended = await client.wait("a", 10)
        text = await client.tail("a", 100_000)

        assert (adopted.pid, adopted.start_ticks) == (started.pid, started.start_ticks)
        assert ended.exit_code == 3
        assert text == b"".join(b"line %d\n" % n for n in range(3000))

    asyncio.run(body())


def test_a_process_that_ended_while_no_keeper_ran_is_ended(ground: Ground) -> None:
    """The next keeper says that it ended and does not touch whoever has its pid now."""

    async def body() -> None:
        client = await ground.client()
        started = await client.spawn(Spawn(name="a", argv=["sleep", "60"]))
        await ground.kill_keeper()
        os.kill(started.pid, signal.SIGKILL)
        record = ground.state / "records/a.json"
        told = json.loads(record.read_text())
        told["pid"] = os.getpid()
        record.write_text(json.dumps(told))
        client = await ground.client()
        now = (await client.list())["a"]
        await client.signal("a", signal.SIGKILL)

        assert (now.ended, now.exit_code) == (True, None)

    asyncio.run(body())


def test_a_damaged_or_foreign_record_adopts_nothing(ground: Ground) -> None:
    """A torn record is removed; one of another boot is an ended process."""

    async def body() -> None:
        client = await ground.client()
        mine = {"pid": os.getpid(), "start_ticks": processes.start_ticks(os.getpid())}
        await client.quit()
        await _until(lambda: _gone(client))
        folder = ground.state / "records"
        (folder / "torn.json").write_text('{"pid": 1')
        (folder / "other.json").write_text(json.dumps({**mine, "boot": "another", "ended": False}))
        client = await ground.client()
        known = await client.list()

        assert set(known) == {"other"}
        assert known["other"].ended

    asyncio.run(body())


async def _gone(client: keeper.Client) -> bool:
    try:
        await client.list()
    except errors.Unreachable:
        return True
    return False


def test_exit_codes_survive_the_keeper(ground: Ground) -> None:
    """An exit code that was told before kill -9 of the keeper is told after it too."""

    async def body() -> None:
        client = await ground.client()
        await client.spawn(Spawn(name="a", argv=["sh", "-c", "exit 42"]))
        await client.wait("a", 5)
        await ground.kill_keeper()
        client = await ground.client()

        assert (await client.list())["a"].exit_code == 42

    asyncio.run(body())


def test_only_one_keeper_has_a_folder(ground: Ground) -> None:
    """Many that ask for a keeper at once get the same one."""

    async def body() -> None:
        await asyncio.gather(*(ground.client() for _ in range(4)))
        await asyncio.sleep(0.3)
        found = _run("pgrep", "-f", f"keeper {ground.run} ")

        assert len(found.split()) == 1

    asyncio.run(body())


def test_a_flood_is_bounded_and_blocks_nobody(ground: Ground) -> None:
    """A flood costs the keeper no memory, no disk beyond its files, no neighbour's time."""

    async def body() -> None:
        client = await ground.client()
        await client.spawn(Spawn(name="flood", argv=["sh", "-c", "cat /dev/zero"]))
        await client.spawn(
            Spawn(name="quiet", argv=["sh", "-c", "while :; do echo tick; sleep 0.05; done"])
        )
        worst = 0.0
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            begun = time.monotonic()
            await client.list()
            worst = max(worst, time.monotonic() - begun)
            await asyncio.sleep(0.01)
        files = [ground.state / "logs" / name for name in ("flood", "flood.1")]
        resident = _resident_kib(_keeper_pid(ground.run))

        assert all(file.stat().st_size <= limits.log_file_bytes_max for file in files)
        assert files[1].stat().st_size == limits.log_file_bytes_max
        assert len(await client.tail("quiet", 10_000)) >= 5 * 10
        assert worst < 0.5
        assert resident <= 20 * 1024

    asyncio.run(body())


def test_a_full_disk_stops_no_workload(ground: Ground) -> None:
    """When the log's disk takes no more, the writer goes on and what it says is lost."""

    async def body() -> None:
        client = await ground.client()
        _run("mount", "-t", "tmpfs", "-o", "size=64k", "none", str(ground.state / "logs"))
        try:
            await client.spawn(Spawn(name="a", argv=["sh", "-c", "head -c 3000000 /dev/zero"]))
            ended = await client.wait("a", 10)
        finally:
            _run("umount", "-l", str(ground.state / "logs"))

        assert ended.exit_code == 0

    asyncio.run(body())


def test_what_is_set_for_a_child_is_not_left_on_the_next(ground: Ground, tmp_path: Path) -> None:
    """Working directory and network namespace are the child's own, even if it is not started."""
    script = ["sh", "-c", "pwd; readlink /proc/self/ns/net"]
    said = {}

    async def body(netns: Path) -> None:
        client = await ground.client()
        inside = Spawn(name="a", argv=script, cwd=tmp_path, netns=netns)
        await client.spawn(inside)
        for faulty in ({"argv": ["not-a-program"]}, {"cwd": tmp_path / "none"}):
            with pytest.raises(errors.Failed):
                await client.spawn(replace(inside, name="b", **faulty))
        await client.spawn(Spawn(name="c", argv=script))
        for name in ("a", "c"):
            await client.wait(name, 5)
            said[name] = (await client.tail(name, 400)).decode().split()

    with subprocess.Popen(
        ["unshare", "--net", "sh", "-c", "echo; exec sleep 60"], stdout=subprocess.PIPE
    ) as other:
        assert other.stdout
        other.stdout.readline()
        netns = Path(f"/proc/{other.pid}/ns/net")
        there, own = str(netns.readlink()), str(Path("/proc/self/ns/net").readlink())
        try:
            asyncio.run(body(netns))
        finally:
            other.kill()

    assert said == {"a": [str(tmp_path), there], "c": ["/", own]}
    assert there != own


def test_a_child_inherits_nothing(ground: Ground) -> None:
    """Descriptors are 0, 1 and 2, the environment is as asked, signals are at their defaults."""

    async def body() -> None:
        client = await ground.client()
        script = "ls /proc/self/fd; cat /proc/self/environ; echo; grep SigIgn /proc/self/status"
        await client.spawn(Spawn(name="a", argv=["sh", "-c", script], env={"X": "1"}))
        await client.wait("a", 5)
        lines = (await client.tail("a", 4000)).decode().splitlines()

        assert lines[:4] == ["0", "1", "2", "3"], "3 is ls reading the folder"
        names = {entry.partition("=")[0] for entry in lines[4].split("\0") if entry}
        assert names - {"PWD"} == {"PATH", "X"}
        ignored = int(lines[5].removeprefix("SigIgn:"), 16)
        assert ignored & ~_OF_THE_C_LIBRARY == 0

    asyncio.run(body())


def test_garbage_is_answered_and_forgotten(ground: Ground) -> None:
    """A request that is no request gets an error, and the keeper goes on."""

    async def body() -> None:
        client = await ground.client()
        for packet in (b"{", b"[]", b'{"verb":"no"}', b'{"verb":"spawn"}', b"x" * 200_000):
            with wire.connect(str(ground.run)) as connection, contextlib.suppress(OSError):
                connection.setblocking(True)
                connection.send(packet)
                assert b"TFG-3022" in connection.recv(4096)
        assert await client.list() == {}

    asyncio.run(body())


def test_another_user_is_not_served(ground: Ground) -> None:
    """The socket may be opened by root alone."""

    async def body() -> None:
        await ground.client()

        assert (ground.run / "keeper.sock").stat().st_mode & 0o777 == 0o600
        assert ground.run.stat().st_mode & 0o077 == 0

    asyncio.run(body())
