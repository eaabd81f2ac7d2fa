"""A launcher inside this process: for tests, and for programs whose processes need not outlive it.

Logs are plain files, bounded only when they are read; the keeper is what a node uses.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal as signals
import subprocess
from pathlib import Path
from typing import Final

from tfgrid.core import errors
from tfgrid.jumpscale.executors.launcher import Launched, Spawn
from tfgrid.jumpscale.sal import namespaces, processes

__all__ = ["DirectLauncher"]

_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class _Entry:
    """One process: held by pidfd, and as a child where it is one."""

    def __init__(self, held: processes.Held, child: subprocess.Popen[bytes] | None) -> None:
        self.held = held
        self.child = child
        self.exit_code: int | None = None

    def ended(self) -> bool:
        if not self.held.ended():
            return False
        if self.exit_code is None:
            if self.child:
                code = self.child.wait()
                self.exit_code = code if code >= 0 else 128 - code
            else:
                self._reap()
        return True

    def _reap(self) -> None:
        try:
            _, status = os.waitpid(self.held.pid, os.WNOHANG)
            self.exit_code = processes.exit_code_of_status(status)
        except ChildProcessError:
            self.exit_code = self.held.exit_code()


class DirectLauncher:
    """Implements `Launcher` with children of this process; log files are in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._entries: dict[str, _Entry] = {}

    async def spawn(self, spawn: Spawn) -> Launched:
        """See `Launcher.spawn`."""
        if not _NAME.fullmatch(spawn.name) or not spawn.argv or "\0" in "".join(spawn.argv):
            raise errors.BadInput(
                "TFG-3022", "a name or an argument is malformed", where=spawn.name
            )
        if spawn.name in self._entries:
            raise errors.Conflict("TFG-3020", "that name is known already", where=spawn.name)
        self._folder.mkdir(parents=True, exist_ok=True)
        child = self._start(spawn)
        entry = await self._settle(spawn, child) if spawn.pid_file else self._keep(child)
        self._entries[spawn.name] = entry
        return self._told(spawn.name)

    def _start(self, spawn: Spawn) -> subprocess.Popen[bytes]:
        environment = {"PATH": _PATH, **spawn.env}
        net = spawn.netns
        try:
            with (self._folder / spawn.name).open("ab") as log:
                return subprocess.Popen(
                    list(spawn.argv),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=environment,
                    cwd=spawn.cwd,
                    start_new_session=True,
                    preexec_fn=(lambda: namespaces.enter(net)) if net else None,  # noqa: PLW1509
                )
        except (OSError, subprocess.SubprocessError) as error:
            raise _not_started(spawn, str(error)) from error

    def _keep(self, child: subprocess.Popen[bytes]) -> _Entry:
        held = processes.Held.open(child.pid, unreaped=True)
        assert held, "a child is there until it is waited for"
        return _Entry(held, child)

    async def _settle(self, spawn: Spawn, child: subprocess.Popen[bytes]) -> _Entry:
        assert spawn.pid_file
        try:
            code = await asyncio.to_thread(child.wait, spawn.settle_seconds)
        except subprocess.TimeoutExpired as error:
            child.kill()
            child.wait()
            raise _not_started(spawn, "it did not leave in time") from error
        if code:
            raise _not_started(spawn, self._last_words(spawn), exit_code=code)
        try:
            held = processes.Held.open(int(spawn.pid_file.read_text("ascii")))
        except (OSError, ValueError) as error:
            raise _not_started(spawn, "it wrote no pid") from error
        if held is None:
            raise _not_started(spawn, "its process has gone")
        return _Entry(held, None)

    def _last_words(self, spawn: Spawn) -> str:
        text = (self._folder / spawn.name).read_bytes()[-500:]
        return text.decode("utf-8", "replace").strip()

    def _told(self, name: str) -> Launched:
        entry = self._entries[name]
        ended = entry.ended()
        return Launched(
            name=name,
            pid=entry.held.pid,
            start_ticks=entry.held.start_ticks,
            ended=ended,
            exit_code=entry.exit_code,
        )

    def _known(self, name: str) -> _Entry:
        if name not in self._entries:
            raise errors.NotFound("TFG-3023", "no process has that name", where=name)
        return self._entries[name]

    async def list(self) -> dict[str, Launched]:
        """See `Launcher.list`."""
        return {name: self._told(name) for name in self._entries}

    async def wait(self, name: str, timeout_seconds: float) -> Launched:
        """See `Launcher.wait`."""
        entry = self._known(name)
        await asyncio.to_thread(entry.held.wait, timeout_seconds)
        return self._told(name)

    async def signal(self, name: str, signal: int) -> None:
        """See `Launcher.signal`."""
        self._known(name).held.signal(signal)

    async def tail(self, name: str, bytes_max: int) -> bytes:
        """See `Launcher.tail`."""
        path = self._folder / name
        if not _NAME.fullmatch(name) or not path.exists():
            return b""
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - bytes_max))
            return file.read(bytes_max)

    async def forget(self, name: str) -> None:
        """See `Launcher.forget`."""
        entry = self._entries.get(name)
        if entry is None:
            return
        if not entry.ended():
            raise errors.Conflict("TFG-3024", "the process still runs", where=name)
        del self._entries[name]
        entry.held.close()
        (self._folder / name).unlink(missing_ok=True)

    async def stop(self, name: str, timeout_seconds: float) -> None:
        """See `Launcher.stop`."""
        if name not in self._entries:
            return
        await self.signal(name, signals.SIGTERM)
        if not (await self.wait(name, timeout_seconds)).ended:
            await self.signal(name, signals.SIGKILL)
            await self.wait(name, timeout_seconds=5)
        await self.forget(name)


def _not_started(spawn: Spawn, why: str, exit_code: int | None = None) -> errors.Failed:
    return errors.Failed(
        "TFG-3021", f"{spawn.argv[0]} was not started: {why}", where=spawn.name, exit_code=exit_code
    )
