"""Two or more nodes as namespaces on one bridge, each with its own socket folder and launcher."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from tfgrid.capacity import znet
from tfgrid.core.clock import SystemClock
from tfgrid.core.rng import SystemRng
from tfgrid.core.store import DirectoryStore
from tfgrid.jumpscale.executors import DirectLauncher, Launched, Spawn
from tfgrid.jumpscale.sal import links, namespaces


class PrivateSockets(DirectLauncher):
    """A launcher whose processes see `directory` as /run/wireguard.

    As in a node's own mount namespace.
    """

    directory: Path

    async def spawn(self, spawn: Spawn) -> Launched:
        """See `Launcher.spawn`."""
        script = 'mkdir -p /run/wireguard; mount --bind "$0" /run/wireguard && exec "$@"'
        words = ("unshare", "--mount", "sh", "-c", script, str(self.directory), *spawn.argv)
        return await super().spawn(replace(spawn, argv=words))


@dataclass
class Box:
    """A node: its namespace, its networks, and the containers' namespaces that were made on it."""

    folder: Path
    address: str
    launcher: PrivateSockets
    networks: znet.Networks
    netns: Path
    pins: list[Path] = field(default_factory=list)
    specs: dict[str, znet.NetworkSpec] = field(default_factory=dict)

    def container(self, name: str) -> Path:
        """A namespace as a container would have it."""
        path = self.folder / f"container-{name}"
        namespaces.Pin(net=path).perform()
        self.pins.append(path)
        return path

    def again(self) -> znet.Networks:
        """The node process anew, with the machine and the store as they are."""
        self.networks = networks_of(self.folder, self.netns, self.launcher)
        return self.networks

    def endpoint(self, *, six: bool) -> str:
        """The underlay address as an endpoint has it."""
        return f"[fd70::{self.address.rpartition('.')[2]}]" if six else self.address

    def inside(self, network: str, name: str) -> Path:
        """The namespace of a member that `mesh` made."""
        return self.folder / f"container-{network[:6]}{name}"

    def tenant(self, network: str) -> Path:
        """The namespace of a network."""
        return self.folder / "netns" / f"net-{network[:16]}"


def networks_of(folder: Path, netns: Path, launcher: DirectLauncher) -> znet.Networks:
    """The networks of the node in this folder."""
    site = znet.Site(
        node_netns=netns, netns_directory=folder / "netns", uapi_directory=folder / "wireguard",
        user_space=None,
    )  # fmt: skip
    return znet.Networks(
        site=site, store=DirectoryStore(folder / "state"), rng=SystemRng(), clock=SystemClock(),
        launcher=launcher,
    )  # fmt: skip


@dataclass
class Ground:
    """The switch that nodes hang on, and the nodes."""

    folder: Path
    switch: Path
    boxes: list[Box] = field(default_factory=list)

    def node(self) -> Box:
        """One more node on the switch."""
        number = len(self.boxes) + 1
        folder = self.folder / f"n{number}"
        for name in ("netns", "wireguard", "logs"):
            (folder / name).mkdir(parents=True)
        netns = folder / "node"
        namespaces.Pin(net=netns).perform()
        address, mac = f"10.70.0.{10 + number}", f"02:70:00:00:00:{number:02x}"
        links.LinkSet(netns=netns, name="lo", up=True).perform()
        links.VethAdd(
            netns=netns, name="u0", mac=mac, peer=f"p{number}",
            peer_mac="06" + mac[2:], peer_netns=self.switch, mtu_bytes=1500,
        ).perform()  # fmt: skip
        links.LinkSet(netns=netns, name="u0", up=True).perform()
        links.LinkSet(netns=self.switch, name=f"p{number}", master="sw", up=True).perform()
        links.AddressAdd(netns=netns, link="u0", address=f"{address}/24").perform()
        links.AddressAdd(netns=netns, link="u0", address=f"fd70::{10 + number}/64").perform()
        launcher = PrivateSockets(folder / "logs")
        launcher.directory = folder / "wireguard"
        box = Box(folder, address, launcher, networks_of(folder, netns, launcher), netns)
        self.boxes.append(box)
        return box

    async def close(self) -> None:
        """Remove all that was made."""
        for box in self.boxes:
            for network in await box.networks.observe():
                await box.networks.remove(network)
            for pin in (*box.pins, box.netns):
                namespaces.Unpin(path=pin).perform()
        namespaces.Unpin(path=self.switch).perform()


def play(folder: Path, story: Callable[[Ground], Awaitable[None]]) -> None:
    """Run a story on fresh ground; whatever happens, nothing is left."""
    Path("/run/wireguard").mkdir(exist_ok=True)

    async def whole() -> None:
        switch = folder / "switch"
        namespaces.Pin(net=switch).perform()
        links.LinkAdd(netns=switch, name="sw", kind="bridge").perform()
        links.LinkSet(netns=switch, name="sw", up=True).perform()
        ground = Ground(folder, switch)
        try:
            await story(ground)
        finally:
            await ground.close()

    asyncio.run(whole())


def network_id() -> str:
    """A network that no other test has."""
    return secrets.token_hex(32)


def spec(
    network: str, index: int, *names: str, peers: tuple[znet.Peer, ...] = (), gateway: bool = False
) -> znet.NetworkSpec:
    """Node `index`'s part of a network whose ranges every test uses: they may overlap."""
    members = tuple(
        znet.Member(name=name, address4=f"10.99.{index}.{n}", address6=f"fd99:0:0:{index + 1}::{n}")
        for n, name in enumerate(names, 2)
    )
    return znet.NetworkSpec(
        id=network, label="test", range4="10.99.0.0/16", range6="fd99::/48",
        subnet4=f"10.99.{index}.0/24", subnet6=f"fd99:0:0:{index + 1}::/64",
        members=members, peers=peers, gateway=gateway,
    )  # fmt: skip


async def mesh(
    network: str, boxes: list[Box], names: list[tuple[str, ...]], **options: bool
) -> None:
    """Have the network on all boxes, everyone with everyone, with these containers attached."""
    prepared = [await box.networks.prepare(network) for box in boxes]
    six = options.get("six", False)
    for index, box in enumerate(boxes):
        peers = tuple(
            znet.Peer(
                public_key=prepared[other].public_key,
                endpoint=f"{boxes[other].endpoint(six=six)}:{prepared[other].port}",
                allowed=(f"10.99.{other}.0/24", f"fd99:0:0:{other + 1}::/64"),
            )
            for other in range(len(boxes)) if other != index
        )  # fmt: skip
        wanted = spec(
            network, index, *names[index], peers=peers, gateway=options.get("gateway", False)
        )
        box.specs[network] = wanted
        await box.networks.ensure(wanted)
        for member in wanted.members:
            await box.networks.attach(network, member, box.container(network[:6] + member.name))
