"""From nothing to a running container: ours against bare crun and podman, in turns.

    python -m bench.container [ROUNDS]

Each round starts and removes one container with each of them, in rotating order, so that all meet
the same load. What is told is wall time to the first instruction of the workload having run, its
median and spread, the CPU seconds of all processes involved, and the ratio to bare `crun run`. Ours
includes what the others lack: user namespace, idmapped root, a disk with a hard quota and a log
that outlives its maker; so there is a row of where its time goes.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.container.ground import Node, in_node, make_image
from tfgrid.capacity.container import Layout, config_json, rootfs
from tfgrid.jumpscale.sal import mounts

Sample = tuple[float, float]


def _cpu_seconds() -> float:
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def _bare_crun(folder: Path, node: Node) -> Path:
    """A bundle for bare crun: a plain overlay of the same root, and no walls but its defaults."""
    bundle = folder / "bare"
    for name in ("upper", "work", "root"):
        (bundle / name).mkdir(parents=True)
    mounts.Overlay(
        target=bundle / "root", lower=(node.image,), upper=bundle / "upper", work=bundle / "work"
    ).perform()
    layout = Layout(state=bundle, run=bundle)
    config = config_json(
        node.spec(""), layout, uid_base=0, group=f"tfgrid/{node.owner}/bare", open_files_max=1024
    )
    plain = {
        "ociVersion": "1.0.2",
        "root": {"path": str(bundle / "root")},
        "process": {
            "args": ["/bin/true"], "cwd": "/", "user": {"uid": 0, "gid": 0}, "env": ["PATH=/bin"],
        },
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {
            "cgroupsPath": f"/tfgrid/{node.owner}/bare",
            "resources": config["linux"]["resources"],  # type: ignore[index]
            "namespaces": [{"type": t} for t in ("pid", "ipc", "uts", "mount", "network")],
        },
    }  # fmt: skip
    (bundle / "config.json").write_text(json.dumps(plain))
    return bundle


def _told(name: str, samples: list[Sample], base: float) -> None:
    walls = sorted(wall * 1000 for wall, _ in samples)
    cpu = statistics.median(cpu * 1000 for _, cpu in samples)
    middle = statistics.median(walls)
    print(
        f"{name:24} {middle:8.1f} {walls[0]:8.1f} {walls[-1]:8.1f} {cpu:8.1f} {middle / base:7.2f}"
    )


async def _rounds(node: Node, folder: Path, count: int) -> dict[str, list[Sample]]:
    bundle = _bare_crun(folder, node)
    keeper_pid = (await _keeper_pid(folder)) or 0

    async def ours() -> None:
        await node.runtime.create(node.spec("", arguments=("/bin/true",)))
        await node.runtime.start("web")
        await node.launcher.wait("container.web", 10)

    async def crun() -> None:
        line = ["crun", "--root", str(folder / "crun"), "--cgroup-manager", "cgroupfs", "run"]
        await _run([*line, "--bundle", str(bundle), f"bench{os.getpid()}"])

    async def podman() -> None:
        line = ["podman", "--root", str(folder / "podman"), "--runroot", str(folder / "podrun")]
        line += ["--cgroup-manager=cgroupfs", "--runtime=crun", "run", "--rm", "--network=none"]
        line += ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024", "--rootfs"]
        await _run([*line, f"{bundle / 'root'}", "/bin/true"])

    ways: dict[str, Callable[[], Awaitable[None]]] = {"crun run": crun, "tfgrid": ours}
    if shutil.which("podman"):
        ways["podman run"] = podman
    samples: dict[str, list[Sample]] = {name: [] for name in ways}
    for number in range(count + 1):
        order = list(ways)
        for name in order[number % len(order) :] + order[: number % len(order)]:
            cpu, wall = _cpu_seconds() + _of(keeper_pid), time.monotonic()
            await ways[name]()
            wall, cpu = time.monotonic() - wall, _cpu_seconds() + _of(keeper_pid) - cpu
            await node.runtime.remove("web", grace_seconds=0)
            if number:  # the first round warms caches
                samples[name].append((wall, cpu))
    mounts.Unmount(target=bundle / "root").perform()
    return samples


async def _run(argv: list[str]) -> None:
    done = await asyncio.to_thread(subprocess.run, argv, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(f"{argv[0]} failed: {done.stderr.decode()}")


async def _keeper_pid(folder: Path) -> int | None:
    found = await asyncio.to_thread(
        subprocess.run, ["pgrep", "-f", f"keeper {folder}"], capture_output=True, check=False
    )
    return int(found.stdout.split()[0]) if found.stdout.split() else None


def _of(pid: int) -> float:
    """CPU seconds of the keeper with those of its children that it has waited for."""
    if not pid:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _resident_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    return int(status.split("VmRSS:")[1].split()[0])


def _parts(node: Node, rounds: int) -> None:
    """Where the time of `create` goes, change by change."""
    spent: dict[str, list[float]] = {}
    for _ in range(rounds):
        layout = node.runtime.layout("parts")
        spec = node.spec("", name="parts")
        rootfs._make_folders(layout)  # noqa: SLF001 - a part is what is measured
        base = node.claims.uids("parts")
        for change in itertools.chain(*rootfs.plan(spec, layout, base)):
            begun = time.monotonic()
            change.perform()
            spent.setdefault(type(change).__name__, []).append(time.monotonic() - begun)
        begun = time.monotonic()
        rootfs.take_down(layout)
        spent.setdefault("take_down", []).append(time.monotonic() - begun)
    node.claims.release("parts")
    row = "  ".join(f"{n} {statistics.median(s) * 1000:.1f}" for n, s in spent.items())
    print(f"parts of create, ms: {row}")


def compare(rounds: int) -> dict[str, list[Sample]]:
    """Wall and CPU seconds of each start, for `crun run`, `tfgrid` and `podman run`."""
    folder = Path(tempfile.mkdtemp(prefix="tfgrid-bench-"))
    folder.chmod(0o711)
    image = make_image(folder / "image")
    found: dict[str, list[Sample]] = {}

    async def body() -> None:
        node = Node(folder, image)
        await node.with_keeper()
        found.update(await _rounds(node, folder, rounds))
        resident = _resident_kib((await _keeper_pid(folder)) or 0)
        print(f"keeper resident: {resident / 1024:.1f} MiB")
        _parts(node, rounds)
        await node.clean()

    try:
        in_node(body)
    finally:
        for mount in mounts.under(folder):
            mounts.Unmount(target=mount.target, lazy=True).perform()
        shutil.rmtree(folder)
    return found


def main(rounds: int) -> None:
    """Run the comparison and print its table."""
    samples = compare(rounds)
    base = 1000 * statistics.median(wall for wall, _ in samples["crun run"])
    print(f"{rounds} rounds, load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores; ms")
    print(f"{'':24} {'median':>8} {'min':>8} {'max':>8} {'cpu':>8} {'ratio':>7}")
    for name, rows in samples.items():
        _told(name, rows, base)
    ours = 1000 * statistics.median(wall for wall, _ in samples["tfgrid"])
    print(f"tfgrid is {ours - base:.1f} ms behind bare crun run")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
