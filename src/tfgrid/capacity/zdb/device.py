"""One Zero-DB process on one physical device, and the namespaces that a node holds there.

The process listens on its admin socket and nowhere else, and runs as a user of its own who owns
nothing but the device's directory. A tenant comes in through an entrance: a socket that was made
listening in the tenant's network namespace and handed over, so that the process has no address
anywhere and whoever comes in that way is in one namespace and nowhere else.

    nothing --ensure--> process, namespace, quota, entrance --remove--> (last one) nothing
                           |  ends: files stay, entrances are gone      ^
                           '--ensure, of each reservation again---------'

The quota is set before the entrance is made: what a crash leaves in between, nobody can write to.

Who observes does not wait for a process that hangs: after a moment it is told what was seen last,
while the question goes on; once that is `silent_seconds` old, it is told that nobody answers.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
from collections.abc import Awaitable, Mapping, Sequence
from pathlib import Path
from typing import Final

from tfgrid.capacity.zdb import reservation
from tfgrid.capacity.zdb.aio import AsyncClient
from tfgrid.capacity.zdb.model import Address, Entrance, Namespace, Refused
from tfgrid.capacity.zdb.reservation import Held, Reservation
from tfgrid.capacity.zdb.server import Server, Settings
from tfgrid.core import errors, limits
from tfgrid.core.clock import Clock
from tfgrid.jumpscale.executors import Launcher
from tfgrid.jumpscale.sal import claims, processes

__all__ = ["Device"]

_DEFAULT: Final = "default"
_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", re.ASCII)
_PLACE: Final = re.compile(r"[!-~]([ -~]*[!-~])?", re.ASCII)
_ANSWER_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.5
_STOP_SECONDS: Final = 20.0


class Device:
    """The namespaces on one device. Every verb may be repeated, from any state, after any crash.

    Args:
        directory: on the device; nothing else is kept there. It belongs to the process's user.
        run: where the admin socket is; in memory, and closed to all but the caller.
        launcher: who starts the process, under `name`.
        ranges: the machine-wide allocator of users, and the owner of the claim.
        cache_bytes: what the process keeps in memory of what was read.

    """

    silent_seconds: Final = _ANSWER_SECONDS

    def __init__(
        self, directory: Path, run: Path, launcher: Launcher, clock: Clock, *,
        ranges: claims.Claims, owner: str, name: str = "zdb",
        cache_bytes: int = limits.zdb_cache_bytes,
    ) -> None:  # fmt: skip
        self._directory = directory
        self._run = run
        self._launcher = launcher
        self._clock = clock
        self._ranges = ranges
        self._owner = f"{owner}/{name}"
        self._name = name
        self._cache_bytes = cache_bytes
        self._address = Address(socket=run / f"{name}.sock")
        self._one_at_a_time = asyncio.Lock()
        self._looking: asyncio.Task[Mapping[str, Held]] | None = None
        self._seen: Mapping[str, Held] | None = None

    async def observe(self) -> Mapping[str, Held]:
        """Every namespace by name, but for the process's own.

        While no process answers, what the files show: nothing of that is served. Takes a moment,
        and only the first time as long as a process may take to answer.
        """
        self._learn()
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
        looking = self._looking
        if self._seen is None:
            self._seen = await asyncio.shield(looking)
        else:
            await asyncio.wait({looking}, timeout=_LOOK_SECONDS)
        self._learn()
        return self._seen

    def _learn(self) -> None:
        """Know what came of a question, if it was answered or given up."""
        if self._looking is not None and self._looking.done():
            looked, self._looking = self._looking, None
            if not looked.cancelled():
                self._seen = looked.result()

    async def _look(self) -> Mapping[str, Held]:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS), await self._connect() as client:
                return await _held(client)
        except TimeoutError:
            silent = True
        except errors.Unreachable as fault:
            silent = isinstance(fault.__cause__, TimeoutError)
        return {name: Held(name=name, serving=False, silent=silent) for name in self._stored()}

    def _changed(self) -> None:
        """What was seen, or is asked for already, is of the time before: ask anew."""
        self._seen = self._looking = None

    async def ensure(self, wanted: Reservation) -> None:
        """Have the namespace as reserved, and its entrance open; starts the process if need be.

        A new quota applies at once; one below what is used stops writing and removes nothing.

        Raises:
            errors.BadInput: TFG-3714, a field is not what its description says.
            errors.Conflict: TFG-3715, the namespace was written to in the other mode.
            errors.Failed: TFG-3710, the process does not come up.
            model.Refused: TFG-3707, the server refused: what it said is in the text.
            OSError: whatever `listen` raises.

        """
        _check(wanted)
        async with self._one_at_a_time, await self._serving() as client:
            await _have_namespace(client, wanted)
            await _have_entrances(client, wanted)
            self._changed()

    async def remove(self, name: str) -> None:
        """Remove a namespace with its entrance and all its data; the process ends with its last.

        Does nothing if it is not there.

        Raises:
            errors.Failed: TFG-3710, the process, which removes it, does not come up.

        """
        async with self._one_at_a_time:
            if not self._directory.exists():
                return
            async with await self._serving() as client:
                names = set(await client.nslist()) - {_DEFAULT}
                if name in names:
                    await client.nsdel(name)
            self._changed()
            # What the process could not open is on the disk all the same, and somebody's.
            if not (names | set(self._stored())) - {name}:
                await self._end()

    async def stop(self) -> None:
        """End the process in order; the data stays."""
        async with self._one_at_a_time:
            await self._stop()

    def _connect(self) -> Awaitable[AsyncClient]:
        return AsyncClient.connect(self._address, timeout_seconds=_ANSWER_SECONDS)

    async def _serving(self) -> AsyncClient:
        """A client of the process, which is started if it does not answer."""
        try:
            return await self._answering()
        except errors.Unreachable:
            await self._start()
            return await self._answering()

    async def _answering(self) -> AsyncClient:
        client = await self._connect()
        try:
            await client.ping()
        except BaseException:
            client.close()
            raise
        return client

    async def _start(self) -> None:
        user = await asyncio.to_thread(self._ranges.uids, self._owner)
        await asyncio.to_thread(_give, self._directory, user)
        self._run.mkdir(mode=0o700, parents=True, exist_ok=True)
        await self._server(user).start()

    def _server(self, user: int | None = None) -> Server:
        # The user may enter its directory, and perhaps none of those above: paths are from there.
        settings = Settings(
            directory=self._directory, data=Path("data"), index=Path("index"),
            admin_socket=self._address.socket, user=user, cache_bytes=self._cache_bytes,
        )  # fmt: skip
        return Server(self._name, settings, self._launcher, self._clock)

    def _stored(self) -> list[str]:
        folder = self._directory / "data"
        found = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
        return sorted(name for name in found if not name.startswith(".") and name != _DEFAULT)

    async def _stop(self) -> None:
        await self._server().stop()
        # A launcher without memory may not know a process that still runs.
        pid = await self._server().pid_that_answers()
        held = processes.Held.open(pid) if pid else None
        if held:
            with held:
                held.signal(signal.SIGTERM)
                if not await asyncio.to_thread(held.wait, _STOP_SECONDS):
                    held.signal(signal.SIGKILL)
                    await asyncio.to_thread(held.wait, _STOP_SECONDS)

    async def _end(self) -> None:
        await self._stop()
        assert self._address.socket is not None
        self._address.socket.unlink(missing_ok=True)
        if self._directory.exists():
            await asyncio.to_thread(shutil.rmtree, self._directory)
        await asyncio.to_thread(self._ranges.release, self._owner)


async def _held(client: AsyncClient) -> dict[str, Held]:
    names = [name for name in await client.nslist() if name != _DEFAULT]
    entrances = await client.entrance_list()
    found = {}
    for name in names:
        try:
            there = await client.nsinfo(name)
        except errors.NotFound:
            continue  # removed since
        found[name] = _seen(there, [e for e in entrances if e.namespace == name])
    return found


def _seen(there: Namespace, entrances: Sequence[Entrance]) -> Held:
    return Held(
        name=there.name, serving=True, mode="seq" if there.sequential else "user",
        disk_bytes_max=there.disk_bytes_max, keys_max=there.entries_max, history=there.history,
        disk_bytes=there.disk_bytes, payload_bytes=there.payload_bytes, keys=there.entries,
        places=frozenset(entrance.name for entrance in entrances),
        connections=sum(entrance.connections for entrance in entrances),
        read_only=there.read_only,
    )  # fmt: skip


async def _have_namespace(client: AsyncClient, wanted: Reservation) -> None:
    try:
        there = await client.nsinfo(wanted.name)
    except errors.NotFound:
        await client.nsnew(wanted.name)
        there = await client.nsinfo(wanted.name)
    seen = _seen(there, ())
    if seen.mode != wanted.mode:
        try:
            await client.nsset(wanted.name, "mode", wanted.mode)
        except Refused as refused:
            raise errors.Conflict(
                "TFG-3715", f"the namespace was written to in mode {seen.mode}", where=wanted.name,
                hint=f"reserve mode {seen.mode}, or another namespace",
            ) from refused  # fmt: skip
    for word, is_now, value in (
        ("maxdisk", str(seen.disk_bytes_max), str(wanted.disk_bytes)),
        ("maxkeys", str(seen.keys_max), str(wanted.keys_max)),
        ("history", seen.history, wanted.history),
    ):
        if is_now != value:
            await client.nsset(wanted.name, word, value)


async def _have_entrances(client: AsyncClient, wanted: Reservation) -> None:
    missing = dict(wanted.places)
    for entrance in await client.entrance_list():
        if entrance.namespace == wanted.name and not missing.pop(entrance.name, None):
            await client.entrance_remove(entrance.name)
    for place, listen in missing.items():
        with listen() as listener:
            await client.entrance_add(place, wanted.name, listener)


def _check(wanted: Reservation) -> None:
    """Hold what goes into commands and paths against its description.

    Raises:
        errors.BadInput: TFG-3714.

    """
    named = _NAME.fullmatch(wanted.name) and wanted.name != _DEFAULT
    for field, fine in (
        ("name", named and len(wanted.name) <= reservation.name_bytes_max),
        ("places", all(map(_is_place, wanted.places))),
        ("disk_bytes", 0 <= wanted.disk_bytes < 2**63),
        ("keys_max", 0 <= wanted.keys_max < 2**63),
    ):
        if not fine:
            value = getattr(wanted, field)
            raise errors.BadInput("TFG-3714", f"{value!r} is no {field} of a reservation")


def _is_place(place: str) -> bool:
    return _PLACE.fullmatch(place) is not None and len(place) <= reservation.place_bytes_max


def _give(directory: Path, user: int) -> None:
    """Make the directory, and let it belong to its user with all that is in it, itself last."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if directory.stat().st_uid == user:
        return
    for _, folders, files, here in os.fwalk(directory):
        for name in (*folders, *files):
            os.chown(name, user, user, dir_fd=here, follow_symlinks=False)
    os.chown(directory, user, user, follow_symlinks=False)
