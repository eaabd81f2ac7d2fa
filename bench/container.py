"""From nothing to a running container: ours, bare `crun run` and `podman run` of the same root.

Each round starts and removes one container with each of them, in rotating order, so that all meet
the same load. Time ends when `/bin/true` has run. Ours is what a node does between an accepted
contract and a running workload: the image checked again byte by byte, then a user namespace, an
idmapped root, a disk with a hard quota and a log that outlives its maker, none of which the others
have here. Attaching its network is told apart, since the others are given none.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import statistics
import subprocess
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final, TypeVar

from bench.figures import Bound, Report, Sample, Table, judged, timed
from bench.ground import Ground
from bench.meters import cpu_seconds, own_cpu_seconds, turns
from tests.container.ground import Node, in_node, make_image
from tests.znet import ground as znet_ground
from tfgrid.capacity import flist, znet
from tfgrid.capacity.container import Layout, Spec, config_json, rootfs
from tfgrid.core.identity import Keyring
from tfgrid.core.ids import Digest
from tfgrid.core.rng import SeededRng
from tfgrid.core.transport import MemoryTransport
from tfgrid.jumpscale.sal import links, mounts, namespaces

__all__ = ["measure"]

_T = TypeVar("_T")

_NETWORK: Final = "bench" + "0" * 27
_ARGUMENTS: Final = ("/bin/true",)


def _bare_bundle(folder: Path, node: Node) -> Path:
    """A bundle for bare crun: the same root by a plain overlay, no walls but its defaults."""
    bundle = folder / "bare"
    for name in ("upper", "work", "root"):
        (bundle / name).mkdir(parents=True)
    mounts.Overlay(
        target=bundle / "root", lower=(node.image,), upper=bundle / "upper", work=bundle / "work"
    ).perform()
    layout = Layout(state=bundle, run=bundle)
    group = f"tfgrid/{node.owner}/bare"
    config = config_json(node.spec(""), layout, uid_base=0, group=group, open_files_max=1024)
    plain = {
        "ociVersion": "1.0.2",
        "root": {"path": str(bundle / "root")},
        "process": {
            "args": list(_ARGUMENTS), "cwd": "/", "user": {"uid": 0, "gid": 0},
            "env": ["PATH=/bin"],
        },
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {
            "cgroupsPath": f"/{group}",
            "resources": config["linux"]["resources"],  # type: ignore[index]
            "namespaces": [{"type": t} for t in ("pid", "ipc", "uts", "mount", "network")],
        },
    }  # fmt: skip
    (bundle / "config.json").write_text(json.dumps(plain))
    return bundle


class _Ours:
    """A node's container and network parts, and where their time goes."""

    def __init__(
        self, node: Node, images: flist.ImageStore, digest: Digest, box: znet_ground.Box
    ) -> None:
        self._node, self._images, self._digest, self._box = node, images, digest, box
        self._member = znet.Member(name="web", address4="10.99.0.2", address6="fd99:0:0:1::2")
        self.parts: dict[str, list[float]] = defaultdict(list)

    async def run(self) -> None:
        """What a node's ensure of a container does, without its network."""
        await self._timed("image recheck and create", self._create())
        await self._timed("start", self._node.runtime.start("web"))
        await self._timed("exit seen", self._node.launcher.wait("container.web", 10))

    async def run_attached(self) -> None:
        """The same with its network, as it is in a contract."""
        await self._create()
        netns = self._node.runtime.netns("web")
        networks = self._box.networks
        await self._timed("network attach", networks.attach(_NETWORK, self._member, netns))
        await self._node.runtime.start("web")
        await self._node.launcher.wait("container.web", 10)

    async def _create(self) -> None:
        disk_bytes = self._node.spec("").limits.disk_bytes
        await self._node.runtime.create_checked("web", disk_bytes, self._checked())

    async def _checked(self) -> Spec:
        image = await self._timed("  of these: image recheck", self._images.recheck(self._digest))
        return self._node.spec("", arguments=_ARGUMENTS, image=image.path)

    async def clear(self) -> None:
        """Remove what was made."""
        await self._box.networks.detach(_NETWORK, "web")
        await self._node.runtime.remove("web", grace_seconds=0)

    async def _timed(self, part: str, work: Awaitable[_T]) -> _T:
        began = time.perf_counter()
        result = await work
        self.parts[part].append(time.perf_counter() - began)
        return result


def measure(ground: Ground, repeat: int) -> Report:
    """Run containers in turns; the node's mount namespace is this thread's own for the time."""
    folder = ground.folder / "container"
    folder.mkdir()
    folder.chmod(0o711)
    found: list[tuple[dict[str, list[Sample]], dict[str, list[float]]]] = []

    Path("/run/wireguard").mkdir(exist_ok=True)

    async def body() -> None:
        found.append(await _measured(folder, max(20, repeat)))

    try:
        in_node(body)
    finally:
        for mount in mounts.under(folder):
            mounts.Unmount(target=mount.target, lazy=True).perform()
        shutil.rmtree(folder)
    return _report(*found[0])


async def _measured(
    folder: Path, repeat: int
) -> tuple[dict[str, list[Sample]], dict[str, list[float]]]:
    tree = make_image(folder / "tree")
    images, digest = await _image(folder, tree)
    (folder / "net").mkdir()
    switch = folder / "net" / "switch"
    namespaces.Pin(net=switch).perform()
    links.LinkAdd(netns=switch, name="sw", kind="bridge").perform()
    ground = znet_ground.Ground(folder / "net", switch)
    path = (await images.recheck(digest)).path
    (folder / "node").mkdir(mode=0o711)
    node = Node(folder / "node", path)
    try:
        box = ground.node()
        await znet_ground.mesh(_NETWORK, [box], [()])
        spec = znet_ground.spec(_NETWORK, 0, "web")
        await box.networks.ensure(spec)
        await node.with_keeper()
        ours = _Ours(node, images, digest, box)
        samples = await _rounds(folder, node, ours, repeat)
        for name, spent in _changes(node, repeat).items():
            ours.parts[f"  of create: {name}"] = spent
    finally:
        await node.clean()
        await ground.close()
    return samples, ours.parts


async def _image(folder: Path, tree: Path) -> tuple[flist.ImageStore, Digest]:
    """The tree as a node keeps it: packed, published, fetched and materialised."""
    keyring = Keyring.new("publisher", SeededRng("publisher"))
    origin = flist.ChunkStore(folder / "origin")
    config = flist.Config(arguments=_ARGUMENTS)
    packed = flist.pack(tree, origin)
    digest, _ = flist.publish(packed, origin, name="bench", keyring=keyring, config=config)
    images = flist.ImageStore(folder / "images")
    (folder / "images").chmod(0o711)
    source = MemoryTransport(flist.Service(origin).handle)
    await images.ensure(digest, keyring.identity, [source])
    return images, digest


async def _rounds(
    folder: Path, node: Node, ours: _Ours, repeat: int
) -> dict[str, list[Sample]]:  # fmt: skip
    bundle = _bare_bundle(folder, node)
    keeper_pid = await _keeper_pid(node.root)

    async def crun() -> None:
        line = ["crun", "--root", str(folder / "crun"), "--cgroup-manager", "cgroupfs", "run"]
        await _program([*line, "--bundle", str(bundle), f"bench{os.getpid()}"])

    async def podman() -> None:
        line = ["podman", "--root", str(folder / "podman"), "--runroot", str(folder / "podrun")]
        line += ["--cgroup-manager=cgroupfs", "--runtime=crun", "run", "--rm", "--network=none"]
        line += ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024", "--rootfs"]
        await _program([*line, f"{bundle / 'root'}", *_ARGUMENTS])

    ways: dict[str, Callable[[], Awaitable[None]]] = {
        "crun": crun, "ours": ours.run, "podman": podman, "attached": ours.run_attached,
    }  # fmt: skip
    samples: dict[str, list[Sample]] = {name: [] for name in ways}
    for counted, name in turns(list(ways), repeat):
        cpu, wall = own_cpu_seconds() + _of(keeper_pid), time.perf_counter()
        await ways[name]()
        wall = time.perf_counter() - wall
        cpu = own_cpu_seconds() + _of(keeper_pid) - cpu
        await ours.clear()
        if counted:
            samples[name].append(Sample(value=wall, cpu_seconds=cpu))
    mounts.Unmount(target=bundle / "root").perform()
    return samples


async def _program(argv: list[str]) -> None:
    done = await asyncio.to_thread(subprocess.run, argv, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(f"{argv[0]} failed: {done.stderr.decode()}")


async def _keeper_pid(folder: Path) -> int:
    found = await asyncio.to_thread(
        subprocess.run, ["pgrep", "-f", f"keeper {folder}"], capture_output=True, check=True
    )
    return int(found.stdout.split()[0])


def _of(keeper_pid: int) -> float:
    return cpu_seconds(keeper_pid, with_waited=True)


def _changes(node: Node, rounds: int) -> dict[str, list[float]]:
    """Where `create` spends time on the root, change by change, each alone."""
    spent: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        layout = node.runtime.layout("parts")
        rootfs._make_folders(layout)  # noqa: SLF001 - a part is what is measured
        base = node.claims.uids("parts")
        namespaced, disk, root = rootfs.plan(node.spec("", name="parts"), layout, base)
        for change in (*namespaced, *disk, *root):
            if change is root[-1]:
                for folder in ("upper", "work"):
                    (layout.disk_mount / folder).mkdir()
            began = time.perf_counter()
            change.perform()
            spent[type(change).__name__].append(time.perf_counter() - began)
        began = time.perf_counter()
        rootfs.take_down(layout)
        spent["take down"].append(time.perf_counter() - began)
    node.claims.release("parts")
    return spent


def _report(samples: dict[str, list[Sample]], parts: Mapping[str, list[float]]) -> Report:
    crun = timed("crun run", samples["crun"])
    podman = timed("podman run", samples["podman"])
    ours = timed("container, image checked to exit", samples["ours"])
    whole = timed("container, with its network", samples["attached"])
    rows = tuple(
        (part, *(f"{x * 1000:.1f}" for x in (statistics.median(s), min(s), max(s))))
        for part, s in parts.items()
    )
    table = Table(
        title="where the time of our container goes, ms", columns=("part", "median", "min", "max"),
        rows=rows,
    )  # fmt: skip
    return Report(
        figures=(
            crun,
            judged(ours, crun, Bound(at_most=40, of="distance")),
            judged(ours, podman, Bound(at_most=0.25, of="ratio")),
            judged(podman, crun),
            judged(whole, crun),
        ),
        tables=(table,),
    )
