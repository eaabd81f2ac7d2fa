"""A node's ground for container tests: an image, private mounts, and a check of what is left."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from tfgrid.agents.zos import keeper
from tfgrid.capacity import container
from tfgrid.jumpscale import executors
from tfgrid.jumpscale.sal import cgroups, claims, mounts, syscalls

_COUNT = itertools.count()
_FOLDERS = ("bin", "dev", "etc", "home", "proc", "root", "sys", "tmp", "usr", "var")


def make_image(folder: Path) -> Path:
    """A tiny image: busybox, its names, and the probe; owned by root as every image."""
    for name in _FOLDERS:
        (folder / name).mkdir(parents=True)
    (folder / "tmp").chmod(0o1777)
    (folder / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n")
    names = executors.run(["/bin/busybox", "--list"]).stdout.split()
    for name in names:
        if name != "busybox":
            (folder / "bin" / name).symlink_to("busybox")
    shutil.copy("/bin/busybox", folder / "bin/busybox")
    (folder / "bin/su").unlink(missing_ok=True)
    shutil.copy("/bin/busybox", folder / "bin/su")
    (folder / "bin/su").chmod(0o4755)
    source = Path(__file__).with_name("probe.c")
    executors.run(["cc", "-static", "-O1", "-o", str(folder / "bin/probe"), str(source)])
    return folder


def in_node(body: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `body` in a thread with a mount namespace of its own, furnished as a node's."""
    faults: list[BaseException] = []

    def thread() -> None:
        try:
            syscalls.unshare(syscalls.CLONE_NEWNS)
            mounts.Propagation(target=Path("/"), mode="private", recursive=True).perform()
            tree = cgroups.detect()
            if tree.layout == "hybrid" and tree.unified:
                mounts.Unmount(target=tree.unified, lazy=True).perform()
            asyncio.run(body())
        except BaseException as fault:  # noqa: BLE001 - carried to the caller's thread
            faults.append(fault)

    runner = threading.Thread(target=thread)
    runner.start()
    runner.join()
    if faults:
        raise faults[0]


class Node:
    """Folders, a launcher and a runtime."""

    def __init__(self, root: Path, image: Path, launcher: executors.Launcher | None = None) -> None:
        self.image = image
        self.root = root
        self.owner = f"test{os.getpid()}/n{next(_COUNT)}"
        self.claims = claims.Claims(root / "claims")
        self.launcher = launcher or executors.DirectLauncher(root / "logs")
        self.runtime = self.restarted(self.launcher)

    def restarted(self, launcher: executors.Launcher) -> container.Runtime:
        """The runtime of a node process that has just started."""
        self.launcher = launcher
        self.runtime = container.Runtime(
            state_dir=self.root / "state",
            run_dir=self.root / "run",
            launcher=launcher,
            ranges=self.claims,
            owner=self.owner,
        )
        return self.runtime

    def spec(self, script: str, name: str = "web", **changes: Any) -> container.Spec:
        """A container that runs a shell script."""
        asked: dict[str, Any] = {
            "name": name,
            "digest": "00",
            "image": self.image,
            "arguments": ("sh", "-c", script),
            "limits": container.Limits(
                cpu_millis=1000, memory_bytes=64 * 1024**2, disk_bytes=8 * 1024**2, processes=64
            ),
        }
        return container.Spec(**{**asked, **changes})

    async def run(self, script: str, name: str = "web", **changes: Any) -> container.Status:
        """Create and start a container."""
        await self.runtime.create(self.spec(script, name, **changes))
        return await self.runtime.start(name)

    async def ended(self, name: str = "web", seconds: float = 20) -> container.Status:
        """The container's status once it has ended."""
        await self.launcher.wait(f"container.{name}", seconds)
        status = (await self.runtime.observe())[name]
        assert status.phase == "ended", status
        return status

    async def said(self, script: str, **changes: Any) -> str:
        """What a script prints in a container of its own, which is removed afterwards."""
        await self.run(script, **changes)
        await self.ended()
        text = (await self.runtime.tail("web", 100_000)).decode("utf-8", "replace")
        await self.runtime.remove("web")
        return text

    async def with_keeper(self) -> keeper.Client:
        """Let a real keeper, started if there is none, be the launcher of a restarted runtime."""
        client = await keeper.ensure(self.root / "keeper-run", self.root / "keeper")
        self.restarted(client)
        return client

    async def clean(self) -> None:
        """Remove every container and assert that nothing is left of any."""
        for name in await self.runtime.observe():
            await self.runtime.remove(name, grace_seconds=0)
        assert await self.runtime.observe() == {}
        self.assert_nothing_left()
        if isinstance(self.launcher, keeper.Client):
            await self.launcher.quit()
        tree = cgroups.detect()
        cgroups.GroupRemove(tree=tree, name=f"tfgrid/{self.owner}").perform()
        for folder in tree.folders(f"tfgrid/{self.owner.partition('/')[0]}"):
            if folder.exists() and not any(entry.is_dir() for entry in folder.iterdir()):
                folder.rmdir()

    def assert_nothing_left(self) -> None:
        """No mount, namespace, group, loop device, claim or file of any container is left."""
        tree = cgroups.detect()
        assert mounts.under(self.root) == ()
        assert cgroups.processes(tree, f"tfgrid/{self.owner}") == ()
        assert cgroups.subgroups(tree, f"tfgrid/{self.owner}/containers") == ()
        assert self.claims.held() == ()
        for folder in ("state", "run"):
            left = [
                p for p in (self.root / folder).glob("**/*") if p.name not in {"_crun", "_disks"}
            ]
            left = [p for p in left if p.parent.name != "_disks"]
            assert left == []
        losetup = subprocess.run(["losetup", "-a"], capture_output=True, check=True, text=True)
        assert str(self.root) not in losetup.stdout


__all__ = ["Node", "in_node", "make_image"]
