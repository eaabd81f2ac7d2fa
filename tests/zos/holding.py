"""A node that holds namespaces, for tests: the primitive alone, its network and Zero-DB real."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from tests.znet.ground import Box, Ground, play
from tests.zos import scenes
from tests.zos.tenants import answer
from tfgrid.agents.zos.primitives import network as networks
from tfgrid.agents.zos.primitives import zdb as namespaces
from tfgrid.capacity import zdb, znet
from tfgrid.core import host
from tfgrid.core.clock import SystemClock
from tfgrid.core.rng import SystemRng
from tfgrid.core.store import MemoryStore
from tfgrid.jumpscale.executors import DirectLauncher
from tfgrid.jumpscale.sal import claims

__all__ = ["Node", "item", "network", "on_node"]


def item(**fields: Any) -> host.Item:
    """The item of a namespace of the standard contract."""
    case = scenes.case(
        "run", proposal=scenes.proposal(scenes.container(), scenes.namespace(**fields))
    )
    return scenes.items_of(case, "zdb")[0]


def network() -> znet.NetworkSpec:
    """The network of that contract, as the network primitive would make it, without its peer."""
    shop = scenes.proposal(scenes.container(), scenes.namespace())
    case = scenes.case("run", proposal=shop, endpoints={})
    return networks.network_spec(scenes.items_of(case, "network")[0])


class Node:
    """The primitive over its parts; `again` is the next node process on the same machine."""

    def __init__(self, box: Box, folder: Path) -> None:
        self.box = box
        self.folder = folder
        self.store = MemoryStore()
        self.launcher = DirectLauncher(folder / "logs")
        self.owner = f"zostest{SystemRng().token(4).hex()}"
        self.disks = {"ssd": folder / "ssd", "hdd": folder / "hdd"}
        for path in (*self.disks.values(), folder / "logs"):
            path.mkdir(parents=True)
        self.web = box.container("web")
        self.again()

    def again(self, *, disks: tuple[str, ...] = ("ssd",)) -> None:
        """A new primitive that knows nothing but what is kept."""
        self.made = tuple(
            namespaces.Disk(
                path=self.disks[kind], disk_class=kind,  # type: ignore[arg-type]
                device=zdb.Device(
                    self.disks[kind] / "zdb", self.folder / "run", self.launcher, SystemClock(),
                    ranges=claims.Claims(), owner=self.owner, name=f"zdb-{kind}",
                ),
            )
            for kind in disks
        )  # fmt: skip
        self.primitive = namespaces.NamespacesOfNode(self.made, self.box.networks, self.store)

    async def networked(self) -> None:
        """Make the contract's network, with a container in it."""
        await self.box.networks.ensure(network())
        (member,) = network().members
        await self.box.networks.attach(network().id, member, self.web)

    async def observe(self) -> Mapping[host.ItemKey, host.Observed]:
        """What the primitive sees."""
        return await self.primitive.observe(await self.box.networks.observe())

    async def seen(self, which: host.Item) -> host.Observed:
        """What it sees of one namespace."""
        return (await self.observe())[which.key]

    async def held(self) -> zdb.Held:
        """What the server of the first disk has of the standard namespace."""
        return (await self.made[0].device.observe())[namespaces.namespace_label(item().key.name)]

    def ask(self, *words: str) -> object:
        """What the namespace answers to the container."""
        return answer(self.web, network().services[0].address4, *words)

    def pids(self) -> set[int]:
        """The processes that serve this node's disks."""
        found = set()
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                words = path.read_bytes().split(b"\0")
                if os.fsencode(zdb.PROGRAM[-1]) in words and str(self.folder).encode() in b" ".join(
                    words
                ):
                    found.add(int(path.parent.name))
        return found

    async def close(self) -> None:
        """End what was started."""
        for disk in self.made:
            await disk.device.stop()
        claims.Claims().release(self.owner)


@contextlib.asynccontextmanager
async def node(ground: Ground, folder: Path) -> AsyncIterator[Node]:
    """A node with the contract's network, and nothing of it afterwards."""
    made = Node(ground.node(), folder / "zdbs")
    try:
        await made.networked()
        yield made
    finally:
        await made.close()


def on_node(folder: Path, body: Callable[[Node], Awaitable[None]]) -> None:
    """Run a test on such a node."""

    async def story(ground: Ground) -> None:
        async with node(ground, folder) as here:
            await body(here)

    play(folder, story)
