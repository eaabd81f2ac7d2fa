"""A server as a process: how it is to run, and starting, watching and stopping it.

Whoever starts processes is handed in as a `Launcher`: the keeper on a node, so that the server
outlives the node process, and a direct launcher in tests. One server owns one pair of directories,
which is one physical device.

    no process --start--> starting --answers PING--> serving --stop--> no process
                             |                          |
                             '--- ends: its log says why '-- ends: start again
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from tfgrid.capacity.zdb.aio import AsyncClient
from tfgrid.capacity.zdb.launch import PROGRAM, environment
from tfgrid.capacity.zdb.model import Address
from tfgrid.core import errors
from tfgrid.core.clock import Clock
from tfgrid.jumpscale.executors import Launched, Launcher, Spawn

__all__ = ["Mode", "Server", "Settings", "arguments"]

Mode: TypeAlias = Literal["user", "seq", "mixed"]
"""Who chooses keys: clients, the server, or each namespace as it says."""

_POLL_SECONDS: Final = 0.05
_START_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 20.0
_TAIL_BYTES: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a server is to run.

    Args:
        data: directory of data files.
        index: directory of index files.
        listen: where clients come to; None for the admin socket alone.
        admin_socket: the private unix socket that alone has admin commands; None makes every
            client admin unless `admin_file` holds a password.
        admin_file: the admin's password in a file, never in an argument.
        mode: who chooses keys.
        sync: `group`, `always`, `interval=MS` or `none`.
        data_size_bytes: size of a data file.
        cache_bytes: memory to keep what was read in, all namespaces together; 0 for none.
        metrics: where to answer Prometheus.
        hook: a program to tell of events.
        user: the user and group, by number, that the process becomes once its sockets are made and
            before it opens a file; None to stay who starts it.
        directory: where the process stands; relative paths begin there, so that `user` needs no
            right in the folders above.

    """

    data: Path
    index: Path
    listen: Address | None = None
    admin_socket: Path | None = None
    admin_file: Path | None = None
    mode: Mode = "mixed"
    sync: str = "group"
    data_size_bytes: int = 256 * 1024**2
    cache_bytes: int = 64 * 1024**2
    metrics: Address | None = None
    hook: Path | None = None
    user: int | None = None
    directory: Path = Path("/")

    @property
    def control(self) -> Address:
        """Where its keeper speaks to it.

        Raises:
            errors.BadInput: TFG-3709, it listens nowhere.

        """
        if self.admin_socket is not None:
            return Address(socket=self.admin_socket)
        if self.listen is None:
            raise errors.BadInput(
                "TFG-3709", "a server without a socket serves nobody",
                hint="set listen or admin_socket",
            )  # fmt: skip
        return self.listen


def arguments(settings: Settings) -> list[str]:
    """The options of the native server; no secret is among them."""
    words = ["--data", str(settings.data), "--index", str(settings.index)]
    words += ["--mode", settings.mode, "--sync", settings.sync]
    words += ["--data-size", str(settings.data_size_bytes)]
    words += ["--cache", str(settings.cache_bytes)]
    listen = settings.listen
    if listen is None:
        words += ["--private"]
    elif listen.socket is not None:
        words += ["--socket", str(listen.socket)]
    else:
        words += ["--listen", listen.host, "--port", str(listen.port)]
    for name, value in (
        ("--admin-socket", settings.admin_socket),
        ("--admin-file", settings.admin_file),
        ("--hook", settings.hook),
        ("--user", settings.user),
    ):
        words += [] if value is None else [name, str(value)]
    if settings.metrics is not None:
        host = settings.metrics.host
        shown = f"[{host}]" if ":" in host else host
        words += ["--metrics", f"{shown}:{settings.metrics.port}"]
    return words


class Server:
    """One server under a launcher, known there by `name`."""

    def __init__(self, name: str, settings: Settings, launcher: Launcher, clock: Clock) -> None:
        self.name = name
        self.settings = settings
        self._launcher = launcher
        self._clock = clock

    async def running(self) -> Launched | None:
        """The process, if there is one that runs."""
        known = (await self._launcher.list()).get(self.name)
        return known if known is not None and not known.ended else None

    async def start(self) -> Launched:
        """Start it unless it runs, and wait until it answers.

        Raises:
            errors.Failed: TFG-3710, it ended or did not answer in time; its log is in the text.

        """
        launched = await self.running()
        if launched is None:
            if self.name in await self._launcher.list():
                await self._launcher.forget(self.name)
            spawn = Spawn(
                name=self.name, argv=[*PROGRAM, *arguments(self.settings)],
                env=environment({}), cwd=self.settings.directory,
            )  # fmt: skip
            launched = await self._launcher.spawn(spawn)
        await self._answers(launched)
        return launched

    async def _answers(self, launched: Launched) -> None:
        until = self._clock.monotonic_ms() + _START_SECONDS * 1000
        while self._clock.monotonic_ms() < until:
            if await self.running() is None:
                break
            if await self.pid_that_answers() == launched.pid:
                return
            await self._clock.sleep(_POLL_SECONDS)
        raise errors.Failed(
            "TFG-3710", f"the server does not serve: {await self._last_words()}",
            where=str(self.settings.data), hint=f"tfgrid zdb check {self.settings.data}",
        )  # fmt: skip

    async def pid_that_answers(self) -> int | None:
        """Who listens where its admins are, which may be another server; None if nobody does."""
        try:
            client = await AsyncClient.connect(self.settings.control, timeout_seconds=5)
            async with client:
                return int((await client.info())["process_id"])
        except errors.Unreachable:
            return None

    async def _last_words(self) -> str:
        tail = await self._launcher.tail(self.name, _TAIL_BYTES)
        return tail.decode("utf-8", "replace").strip().rpartition("\n")[2] or "it said nothing"

    async def connect(self) -> AsyncClient:
        """A client with all rights.

        Raises:
            errors.Unreachable: TFG-3708.

        """
        return await AsyncClient.connect(self.settings.control)

    async def stop(self) -> None:
        """End it in order; what it acknowledged is on the disk in any case."""
        await self._launcher.stop(self.name, _STOP_SECONDS)
