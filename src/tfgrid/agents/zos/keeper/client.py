"""Talking to the keeper, and starting one where none answers."""

from __future__ import annotations

import asyncio
import os
import signal as signals
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from tfgrid.agents.zos.keeper import logs, wire
from tfgrid.core import errors, limits
from tfgrid.jumpscale.executors import Launched, Spawn

__all__ = ["Client", "ensure"]

_REPLY_SECONDS: Final = 10.0
_START_SECONDS: Final = 5.0
_ERRORS: Final[dict[str, type[errors.GridError]]] = {
    "TFG-3020": errors.Conflict,
    "TFG-3021": errors.Failed,
    "TFG-3022": errors.BadInput,
    "TFG-3023": errors.NotFound,
    "TFG-3024": errors.Conflict,
    "TFG-4203": errors.Busy,
}


class Client:
    """A `Launcher` whose processes belong to the keeper that listens in `run_dir`.

    Every verb raises errors.Unreachable (TFG-4201) if no keeper answers; `tail` needs none.
    """

    def __init__(self, run_dir: Path, state_dir: Path) -> None:
        self._run_dir = run_dir
        self._state_dir = state_dir

    async def _ask(self, request: dict[str, object], seconds: float = _REPLY_SECONDS) -> object:
        packet = wire.encode(request)
        if len(packet) > wire.packet_bytes_max:
            what = f"a request of {len(packet)} bytes is too long for the keeper"
            raise errors.BadInput("TFG-3022", what, where=str(request.get("name", "")))
        try:
            reply = wire.decode(await self._exchange(packet, seconds))
        except (OSError, ValueError, TimeoutError) as error:
            raise errors.Unreachable(
                "TFG-4201", "the keeper does not answer", where=str(self._run_dir)
            ) from error
        if "ok" in reply:
            return reply["ok"]
        raise _error(reply, where=str(request.get("name", "")))

    async def _exchange(self, packet: bytes, seconds: float) -> bytes:
        loop = asyncio.get_running_loop()
        with wire.connect(str(self._run_dir)) as connection:
            await loop.sock_sendall(connection, packet)
            answer = loop.sock_recv(connection, wire.packet_bytes_max * 4)
            return await asyncio.wait_for(answer, seconds)

    async def spawn(self, spawn: Spawn) -> Launched:
        """See `Launcher.spawn`."""
        request: dict[str, object] = {
            "verb": "spawn",
            "name": spawn.name,
            "argv": list(spawn.argv),
            "env": dict(spawn.env),
            "cwd": str(spawn.cwd),
            "netns": str(spawn.netns) if spawn.netns else None,
            "pid_file": str(spawn.pid_file) if spawn.pid_file else None,
            "log_owner": spawn.log_owner,
            "settle_seconds": spawn.settle_seconds,
        }
        seconds = _REPLY_SECONDS + (spawn.settle_seconds if spawn.pid_file else 0)
        return _launched(await self._ask(request, seconds))

    async def list(self) -> dict[str, Launched]:
        """See `Launcher.list`."""
        rows = await self._ask({"verb": "list"})
        assert isinstance(rows, list)
        return {launched.name: launched for launched in map(_launched, rows)}

    async def wait(self, name: str, timeout_seconds: float) -> Launched:
        """See `Launcher.wait`."""
        request: dict[str, object] = {
            "verb": "wait",
            "name": name,
            "timeout_ms": max(0, round(timeout_seconds * 1000)),
        }
        return _launched(await self._ask(request, timeout_seconds + _REPLY_SECONDS))

    async def signal(self, name: str, signal: int) -> None:
        """See `Launcher.signal`."""
        await self._ask({"verb": "signal", "name": name, "signal": signal})

    async def tail(self, name: str, bytes_max: int) -> bytes:
        """See `Launcher.tail`; reads the files, so it works while no keeper runs."""
        path = self._state_dir / "logs" / name
        bounded = min(bytes_max, limits.log_file_bytes_max)
        return await asyncio.to_thread(logs.tail, str(path), bounded)

    async def forget(self, name: str) -> None:
        """See `Launcher.forget`."""
        await self._ask({"verb": "forget", "name": name})

    async def stop(self, name: str, timeout_seconds: float) -> None:
        """See `Launcher.stop`."""
        try:
            await self.signal(name, signals.SIGTERM)
            if not (await self.wait(name, timeout_seconds)).ended:
                await self.signal(name, signals.SIGKILL)
                await self.wait(name, timeout_seconds=5)
        except errors.NotFound:
            return
        await self.forget(name)

    async def quit(self) -> int:
        """End the keeper, whose pid is returned; what it started runs on."""
        pid = await self._ask({"verb": "quit"})
        assert isinstance(pid, int)
        return pid


def _launched(row: object) -> Launched:
    assert isinstance(row, dict)
    return Launched(**row)


def _error(reply: dict[str, object], where: str) -> errors.GridError:
    said = reply.get("error")
    assert isinstance(said, dict)
    kind = _ERRORS.get(str(said["code"]), errors.Failed)
    return kind(str(said["code"]), str(said["what"]), where=where, **said["details"])


async def ensure(run_dir: Path, state_dir: Path) -> Client:
    """The client of the keeper in `run_dir`; starts one here if none answers.

    Raises:
        errors.Unreachable: TFG-4202, a keeper was started and does not answer within five seconds.

    """
    client = Client(run_dir, state_dir)
    if _answers(run_dir):
        return client
    await asyncio.to_thread(_start, run_dir, state_dir)
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until:
        if _answers(run_dir):
            return client
        await asyncio.sleep(0.01)
    raise errors.Unreachable(
        "TFG-4202",
        "a keeper was started and does not answer",
        where=str(run_dir),
        hint=f"see {state_dir / 'keeper.log'}",
    )


def _answers(run_dir: Path) -> bool:
    try:
        wire.connect(str(run_dir)).close()
    except OSError:
        return False
    return True


def _start(run_dir: Path, state_dir: Path) -> None:
    run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    # -P: no module is taken from the folder that somebody happened to be in.
    module = "tfgrid.agents.zos.keeper"
    argv = [sys.executable, "-P", "-m", module, str(run_dir), str(state_dir)]
    # It belongs to nobody: a double fork, so that it is not the node's child and leaves no zombie.
    with (state_dir / "keeper.log").open("wb") as log:
        subprocess.run(
            ["setsid", "--fork", *argv],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            check=True,
            timeout=_START_SECONDS,
            env={"PATH": os.environ.get("PATH", os.defpath), "MALLOC_ARENA_MAX": "1"},
        )
