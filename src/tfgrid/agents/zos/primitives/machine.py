"""The real machine: the host that Core-0 works on, put together from its parts."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tfgrid.agents.zos import boot
from tfgrid.agents.zos.config import Config
from tfgrid.agents.zos.core0 import inventory
from tfgrid.agents.zos.primitives.container import ContainersOfNode
from tfgrid.agents.zos.primitives.image import Images, Sources
from tfgrid.agents.zos.primitives.network import NetworksOfNode
from tfgrid.agents.zos.primitives.route import RoutesOfNode
from tfgrid.agents.zos.primitives.zdb import Disk, NamespacesOfNode
from tfgrid.capacity import container, flist, zdb, zgw, znet
from tfgrid.core import errors, host
from tfgrid.core.clock import Clock
from tfgrid.core.rng import Rng
from tfgrid.core.store import Store
from tfgrid.core.units import Capacity
from tfgrid.jumpscale.executors import Launcher
from tfgrid.jumpscale.sal import claims

__all__ = ["Machine", "Parts", "open_parts"]

wait_seconds: Final = 25.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a machine is put together from."""

    images: flist.ImageStore
    runtime: container.Runtime
    networks: znet.Networks
    disks: tuple[Disk, ...]
    gateway: zgw.Gateway | None
    launcher: Launcher


def open_parts(
    config: Config, directory: Path, store: Store, launcher: Launcher, rng: Rng, clock: Clock
) -> Parts:
    """The parts of a node, for a process inside its namespaces.

    `store` is sealed: it holds the private keys of networks.
    """
    run = boot.runtime_directory(config)
    gateway = None
    if "gateway" in config.roles:
        settings = zgw.Settings(
            address=config.underlay_address, domains=config.gateway_domains,
            certificate=Path(config.certificate_path), directory=run / "gateway",
        )  # fmt: skip
        gateway = zgw.Gateway(settings=settings, launcher=launcher, clock=clock)
    return Parts(
        images=flist.ImageStore(directory / "images"),
        runtime=container.Runtime(
            state_dir=directory / "containers", run_dir=run / "containers", launcher=launcher,
            ranges=claims.Claims(), owner=boot.owner(config),
        ),
        networks=znet.Networks(
            site=znet.Site(), store=store, rng=rng, launcher=launcher, clock=clock
        ),
        disks=_open_disks(config, directory, launcher, clock),
        gateway=gateway,
        launcher=launcher,
    )  # fmt: skip


def _open_disks(
    config: Config, directory: Path, launcher: Launcher, clock: Clock
) -> tuple[Disk, ...]:
    """The disks for namespaces: those configured, each under the node's own name, and this one.

    This one is for the class that it is of, if no other is.
    """
    run, ranges, owner = boot.runtime_directory(config) / "zdb", claims.Claims(), boot.owner(config)

    def device(folder: Path, name: str) -> zdb.Device:
        return zdb.Device(folder, run, launcher, clock, ranges=ranges, owner=owner, name=name)

    kind = inventory.disk_class(directory)
    own = Disk(path=directory, disk_class=kind, device=device(directory / "zdb", "zdb"))
    return (own,) * (kind not in {disk.disk_class for disk in config.devices}) + tuple(
        Disk(
            path=Path(disk.path), disk_class=disk.disk_class,
            device=device(
                Path(disk.path) / f"zdb-{config.grid}-{config.name}",
                f"zdb-{hashlib.sha256(disk.path.encode()).hexdigest()[:12]}",
            ),
        )
        for disk in config.devices
    )  # fmt: skip


class Machine:
    """One machine's hands; see `core.host.Host`.

    `revive` starts a keeper where none answers; it is called when one should have.
    """

    def __init__(
        self,
        config: Config,
        directory: Path,
        store: Store,
        parts: Parts,
        sources: Sources,
        *,
        revive: Callable[[], Awaitable[object]],
    ) -> None:
        self._revive = revive
        self._config = config
        self._directory = directory
        self._parts = parts
        self._images = Images(parts.images, sources)
        self._networks = NetworksOfNode(parts.networks, store, config.underlay_address)
        self._containers = ContainersOfNode(parts.runtime, parts.networks, self._images, store)
        self._routes = RoutesOfNode(parts.gateway, parts.networks, store)
        self._namespaces = NamespacesOfNode(parts.disks, parts.networks, store)
        self._touched = asyncio.Event()

    async def capacity(self) -> Capacity:
        """See `Host.capacity`: this node's share of the machine."""
        disks = [(Path(disk.path), disk.disk_class) for disk in self._config.devices]
        machine = inventory.machine_capacity(self._directory, disks)
        return inventory.share(machine, self._config.capacity)

    async def lacks(self) -> Mapping[host.ItemKind, str]:
        """See `Host.lacks`."""
        return inventory.machine_lacks()

    async def observe(self) -> Mapping[host.ItemKey, host.Observed]:
        """See `Host.observe`."""
        seen = await self._parts.networks.observe()
        return {
            **await self._images.observe(),
            **await self._networks.observe(seen),
            **await self._namespaces.observe(seen),
            **await self._containers.observe(),
            **await self._routes.observe(seen),
        }

    async def prepare(self, item: host.Item) -> Mapping[str, str]:
        """See `Host.prepare`."""
        return await self._networks.prepare(item) if item.key.kind == "network" else {}

    async def ensure(self, item: host.Item) -> host.Observed:
        """See `Host.ensure`."""
        try:
            match item.key.kind:
                case "image":
                    return await self._images.ensure(item)
                case "network":
                    return await self._networks.ensure(item)
                case "zdb":
                    return await self._namespaces.ensure(item)
                case "container":
                    return await self._containers.ensure(item)
                case "route":
                    return await self._routes.ensure(item)
        finally:
            self._touched.set()

    async def remove(self, key: host.ItemKey) -> None:
        """See `Host.remove`."""
        match key.kind:
            case "image":
                await self._images.remove(key)
            case "network":
                await self._networks.remove(key)
            case "zdb":
                await self._namespaces.remove(key)
            case "container":
                await self._containers.remove(key)
            case "route":
                await self._routes.remove(key)

    async def changed(self) -> None:
        """See `Host.changed`: when a process that the keeper parents has ended."""
        while True:
            self._touched.clear()
            try:
                known = await self._parts.launcher.list()
            except errors.Unreachable:
                await self._revive()
                return
            if await self._one_ended([n for n, p in known.items() if not p.ended]):
                return

    async def _one_ended(self, names: list[str]) -> bool:
        """Wait until one of these ends; False when others started, or the time is over."""
        touched = asyncio.ensure_future(self._touched.wait())
        waits = [asyncio.ensure_future(self._ended(name)) for name in names]
        try:
            done, _ = await asyncio.wait(
                [touched, *waits], timeout=wait_seconds, return_when=asyncio.FIRST_COMPLETED
            )
            return any(task in done and task.result() for task in waits)
        finally:
            for task in (touched, *waits):
                task.cancel()
            await asyncio.gather(touched, *waits, return_exceptions=True)

    async def _ended(self, name: str) -> bool:
        try:
            return (await self._parts.launcher.wait(name, wait_seconds)).ended
        except errors.GridError:
            return True

    async def log_tail(self, key: host.ItemKey, bytes_max: int) -> bytes:
        """See `Host.log_tail`."""
        return await self._containers.log_tail(key, bytes_max)
