"""The gateway of a node: HAProxy under the launcher, and its routes through the runtime socket."""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from tfgrid.capacity.zgw import config
from tfgrid.capacity.zgw.model import Backend, Health, Route, RouteSeen, Settings
from tfgrid.capacity.zgw.runtime import Runtime, Server
from tfgrid.core import canonical, errors
from tfgrid.core.clock import Clock
from tfgrid.jumpscale.executors import Launcher, Spawn
from tfgrid.jumpscale.sal import processes

__all__ = ["Gateway"]

_NAME: Final = "haproxy"
_START_SECONDS: Final = 10.0
_STOP_SECONDS: Final = 3.0
_POLL_SECONDS: Final = 0.02
_DRAIN_SECONDS: Final = 5.0
_LOG_BYTES: Final = 2048


class Gateway:
    """HAProxy on this node and the routes in it. Every verb may be repeated."""

    def __init__(self, *, settings: Settings, launcher: Launcher, clock: Clock) -> None:
        self._settings = settings
        self._launcher = launcher
        self._clock = clock
        self._runtime = Runtime(config.socket_path(settings))
        self._one_at_a_time = asyncio.Lock()
        self._draining: set[str] = set()

    async def start(self) -> bool:
        """Have HAProxy run with its generic configuration.

        True if it had to be started (so without routes).

        Raises:
            errors.Failed: TFG-3501, it does not come up; the end of its log is in the text.
            errors.NotFound: TFG-3502, there is no certificate.

        """
        async with self._one_at_a_time:
            return await self._start()

    async def stop(self) -> None:
        """End HAProxy and remove its files; does nothing if it is not there."""
        async with self._one_at_a_time:
            await self._end()
            directory = self._settings.directory
            for path in (*self._files(), config.socket_path(self._settings)):
                path.unlink(missing_ok=True)
            if (directory / "empty").is_dir():
                (directory / "empty").rmdir()

    async def ensure(self, route: Route) -> RouteSeen:
        """Have the name answered by exactly these backends; starts HAProxy if it does not run.

        Backends that stay are not touched, so their connections live on; those that go are given
        time to finish.

        Raises:
            errors.BadInput: TFG-3503, the name is not one label below a domain of this gateway;
                TFG-3504, a backend outside the range of links (loopback, underlay, metadata,
                another service).
            errors.NoFit: TFG-3505, all slots are taken.
            errors.BadInput: TFG-3509, a field is not what its type says.
            errors.Unreachable: TFG-3506, the runtime socket does not answer.

        """
        self._check(route)
        async with self._one_at_a_time:
            await self._start()
            slot, there = await self._slot_for(route.host)
            wanted = {_server_name(slot, backend): backend for backend in route.backends}
            added = [name for name in wanted if name not in {server.name for server in there}]
            gone = [server for server in there if server.name not in wanted]
            commands = [self._adding(slot, name, wanted[name]) for name in added]
            for name in wanted:
                commands += await self._entry("paths", name, route.health_path)
                commands += await self._entry("names", name, route.host)
            commands += [line for name in added for line in _enabling(slot, name)]
            commands += await self._entry("labels", route.host, route.label or "-")
            commands += await self._entry("routes", route.host, slot)
            await self._runtime.tell(commands)
        if gone:
            await self._retire(gone)
        return _seen(route.host, route.label, route.health_path, await self._runtime.servers(slot))

    async def remove(self, host: str) -> None:
        """Answer the name with 421 from now on; requests under way finish.

        Does nothing if it is not there.
        """
        async with self._one_at_a_time:
            if not await self._running():
                return
            slot = await self._lookup("routes", host)
            if slot is None:
                return
            servers = await self._runtime.servers(slot)
            self._draining.add(slot)
            await self._runtime.tell([self._forget("routes", host), self._forget("labels", host)])
        try:
            await self._retire(servers)
        finally:
            self._draining.discard(slot)

    async def observe(self) -> dict[str, RouteSeen]:
        """The routes that HAProxy holds now, by name; empty if it does not run."""
        if not await self._running():
            return {}
        maps = {
            name: await self._runtime.map(config.map_path(self._settings, name))
            for name in ("routes", "labels", "paths")
        }
        servers: dict[str, list[Server]] = {}
        for server in await self._runtime.servers():
            servers.setdefault(server.slot, []).append(server)
        found = {}
        for host, slot in maps["routes"].items():
            there = servers.get(slot, [])
            path = maps["paths"].get(there[0].name, "/") if there else "/"
            found[host] = _seen(host, maps["labels"].get(host, ""), path, there)
        return found

    async def renew(self, pem: bytes) -> None:
        """Serve a new certificate (chain and key) from the next connection on.

        Those that stand are kept.

        Raises:
            errors.Failed: TFG-3508, HAProxy refused it; the old one goes on serving.

        """
        path = self._settings.certificate
        async with self._one_at_a_time:
            if await self._running():
                body = pem.decode("ascii").strip()
                answers = await self._runtime.ask(f"set ssl cert {path} <<\n{body}\n")
                answers += await self._runtime.ask(f"commit ssl cert {path}")
                if "Success" not in answers:
                    raise errors.Failed(
                        "TFG-3508", "HAProxy refused the certificate", where=str(path)
                    )
            beside = path.with_name(f".{path.name}.new")
            beside.touch(mode=0o600)
            beside.write_bytes(pem)
            beside.replace(path)

    async def _start(self) -> bool:
        text = config.text(self._settings)
        path = self._settings.directory / "haproxy.cfg"
        same = path.exists() and path.read_text("ascii") == text
        if same and await self._running() and await self._answers():
            return False
        if not self._settings.certificate.exists():
            raise errors.NotFound(
                "TFG-3502", "the gateway has no certificate", where=str(self._settings.certificate)
            )
        await self._end()
        (self._settings.directory / "empty").mkdir(parents=True, exist_ok=True, mode=0o700)
        self._settings.directory.chmod(0o700)
        for each in self._files():
            each.touch(mode=0o600)
            each.write_text(text if each == path else "", "ascii")
        await self._spawn()
        return True

    async def _spawn(self) -> None:
        path = self._settings.directory / "haproxy.cfg"
        argv = ("haproxy", "-db", "-f", str(path))
        await self._launcher.spawn(Spawn(name=_NAME, argv=argv, netns=self._settings.netns))
        until = self._clock.monotonic_ms() + int(_START_SECONDS * 1000)
        while self._clock.monotonic_ms() < until and await self._running():
            if await self._answers():
                return
            await self._clock.sleep(_POLL_SECONDS)
        said = (await self._launcher.tail(_NAME, _LOG_BYTES)).decode("utf-8", "replace")
        await self._launcher.stop(_NAME, _STOP_SECONDS)
        raise errors.Failed(
            "TFG-3501", f"HAProxy does not come up: {said.strip()[-600:]}",
            where=str(path), hint=f"see what listens on {self._settings.address} already",
        )  # fmt: skip

    async def _running(self) -> bool:
        launched = (await self._launcher.list()).get(_NAME)
        if launched is not None and not launched.ended:
            return True
        return await self._answers()  # A launcher without memory may not know one that still runs.

    async def _answers(self) -> bool:
        return await self._runtime.pid() is not None

    async def _end(self) -> None:
        await self._launcher.stop(_NAME, _STOP_SECONDS)
        pid = await self._runtime.pid()
        held = processes.Held.open(pid) if pid else None
        if held:
            with held:
                held.signal(signal.SIGKILL)
                held.wait(_STOP_SECONDS)

    def _files(self) -> Iterable[Path]:
        yield self._settings.directory / "haproxy.cfg"
        for name in config.map_names:
            yield config.map_path(self._settings, name)

    def _check(self, route: Route) -> None:
        _held(route)
        _, _, parent = route.host.partition(".")
        if parent not in self._settings.domains:
            raise errors.BadInput(
                "TFG-3503", f"{route.host} is not one label below a domain of this gateway",
                where=route.host, hint="use a name below " + " or ".join(self._settings.domains),
            )  # fmt: skip
        allowed = ipaddress.IPv4Network(self._settings.backend_range4)
        for backend in route.backends:
            if not _inside(backend.address, allowed):
                raise errors.BadInput(
                    "TFG-3504", f"{backend.address} is no link address of this node",
                    where=route.host, hint="backends are reached over links of networks only",
                )  # fmt: skip

    async def _slot_for(self, host: str) -> tuple[str, list[Server]]:
        """The slot of a name with its servers, or a free one near the name's hash."""
        slot = await self._lookup("routes", host)
        if slot is not None:
            return slot, await self._runtime.servers(slot)
        count = self._settings.slots
        first = int.from_bytes(hashlib.sha256(host.encode()).digest()[:8], "big") % count
        for step in range(count):
            slot = config.slot_name((first + step) % count)
            if slot in self._draining:
                continue
            servers = await self._runtime.servers(slot)
            if servers and await self._owned(slot, servers[0]):
                continue
            await self._purge(servers)
            return slot, []
        raise errors.NoFit("TFG-3505", f"all {count} routes of this gateway are taken", where=host)

    async def _owned(self, slot: str, server: Server) -> bool:
        """Whether a slot with servers serves a name; if not, it is what a crash left half made."""
        owner = await self._lookup("names", server.name)
        return owner is not None and await self._lookup("routes", owner) == slot

    async def _lookup(self, name: str, key: str) -> str | None:
        return await self._runtime.lookup(config.map_path(self._settings, name), key)

    async def _entry(self, name: str, key: str, value: str) -> list[str]:
        """The commands after which a map says `value` for `key`; none if it does."""
        there = await self._lookup(name, key)
        if there == value:
            return []
        verb = "add" if there is None else "set"
        return [f"{verb} map {config.map_path(self._settings, name)} {key} {value}"]

    def _forget(self, name: str, key: str) -> str:
        return f"del map {config.map_path(self._settings, name)} {key}"

    def _adding(self, slot: str, name: str, backend: Backend) -> str:
        where = f"{backend.address}:{backend.port}"
        return f"add server {slot}/{name} {where} {config.server_options(self._settings)}"

    async def _retire(self, servers: list[Server]) -> None:
        """Let servers finish what they have, for a while, then forget them."""
        await self._runtime.tell([f"set server {s.slot}/{s.name} state drain" for s in servers])
        until = self._clock.monotonic_ms() + int(_DRAIN_SECONDS * 1000)
        names = {server.name for server in servers}
        slot = servers[0].slot if servers else ""
        while servers and self._clock.monotonic_ms() < until:
            now = await self._runtime.servers(slot)
            if not any(server.sessions for server in now if server.name in names):
                break
            await self._clock.sleep(_POLL_SECONDS)
        await self._purge(servers)

    async def _purge(self, servers: list[Server]) -> None:
        for server in servers:
            where = f"{server.slot}/{server.name}"
            await self._runtime.tell(
                [f"set server {where} state maint", f"shutdown sessions server {where}"]
            )
            await self._runtime.tell([f"del server {where}"])
            for name in ("paths", "names"):
                if await self._lookup(name, server.name) is not None:
                    await self._runtime.tell([self._forget(name, server.name)])


def _held(route: Route) -> None:
    """Hold every field against its type: a constructor does not, and commands are made of them."""
    try:
        canonical.parse(canonical.encode(route), Route)
    except errors.BadInput as fault:
        raise errors.BadInput("TFG-3509", f"not a route: {fault.what}", where="route") from fault


def _inside(address: str, allowed: ipaddress.IPv4Network) -> bool:
    try:
        return ipaddress.IPv4Address(address) in allowed
    except ValueError:
        return False


def _server_name(slot: str, backend: Backend) -> str:
    return f"{slot}-{backend.address}-{backend.port}"


def _enabling(slot: str, name: str) -> list[str]:
    return [f"enable health {slot}/{name}", f"enable server {slot}/{name}"]


def _seen(host: str, label: str, path: str, servers: Iterable[Server]) -> RouteSeen:
    return RouteSeen(
        host=host, label="" if label == "-" else label, health_path=path,
        backends={server.address: _health(server) for server in servers},
    )  # fmt: skip


def _health(server: Server) -> Health:
    if server.status.startswith("UP"):
        return "starting" if server.check in {"INI", "UNK", ""} else "up"
    return "down"
