"""Containers on one node: four verbs, each of which may be repeated and may be cut anywhere.

A container is made afresh each time: its upper does not outlive it. What is there is read from the
machine: the launcher's processes, the kernel's control groups and mounts, and one record per
container that says which specification it was made from. What is only partly there is `broken`, and
`remove` takes any state.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

from tfgrid.capacity.container import bpf, crun, rootfs
from tfgrid.capacity.container.config import config_json
from tfgrid.capacity.container.model import Layout, Limits, Spec, Status
from tfgrid.core import errors
from tfgrid.jumpscale.executors import Launched, Launcher, Spawn
from tfgrid.jumpscale.sal import cgroups, claims, namespaces

__all__ = ["Runtime"]

_KILL_SECONDS_MAX: Final = 5.0
_CREATE_SECONDS_MAX: Final = 20.0
_PREFIX: Final = "container."
_CRUN_ROOT: Final = "_crun"
_FOLDER: Final = "containers"
_PAGE_BYTES: Final = resource.getpagesize()


class Runtime:
    """The containers of one node.

    Runs inside the node's mount namespace: all mounts are made there and die with it. Where the
    machine is hybrid that namespace must not show the v2 tree, which crun refuses.

    Args:
        state_dir: folder that lasts (`NODE_DIR/containers`); a folder per container.
        run_dir: folder that need not (`/run/tfgrid/GRID8/NODE/containers`).
        launcher: who parents the containers' first processes.
        ranges: the machine-wide allocator of uid ranges.
        owner: this node in claims and control groups, such as `0f3a9c11/n1`.

    """

    def __init__(
        self,
        *,
        state_dir: Path,
        run_dir: Path,
        launcher: Launcher,
        ranges: claims.Claims,
        owner: str,
    ) -> None:
        self._state_dir = state_dir
        self._run_dir = run_dir
        self._launcher = launcher
        self._ranges = ranges
        self._owner = owner
        self._crun_root = run_dir / _CRUN_ROOT
        self._tree = cgroups.detect()
        self._locks: dict[str, asyncio.Lock] = {}

    def layout(self, name: str) -> Layout:
        """Where the parts of a container are."""
        return Layout(state=self._state_dir / name, run=self._run_dir / name)

    def netns(self, name: str) -> Path:
        """Where the network namespace of a container is pinned once it is created."""
        return self.layout(name).netns

    def group(self, name: str) -> str:
        """The control group of a container, from the root of each tree."""
        return f"tfgrid/{self._claimant(name)}"

    def _claimant(self, name: str) -> str:
        return f"{self._owner}/{_FOLDER}/{name}"

    @asynccontextmanager
    async def _alone(self, name: str) -> AsyncIterator[None]:
        lock = self._locks.setdefault(name, asyncio.Lock())
        async with lock:
            yield

    async def create(self, spec: Spec) -> Status:
        """Make everything up to the workload's first instruction; does nothing if that is there.

        Remnants, and a container of the same name from another specification or that has ended, are
        removed first.

        Raises:
            errors.GridError: what stood in the way; what was begun is removed.

        """
        async with self._alone(spec.name):
            with cgroups.moving(self._tree):
                return await self._ensure(spec, None)

    async def create_checked(self, name: str, disk_bytes: int, spec: Awaitable[Spec]) -> Status:
        """As `create`, while whoever is awaited for the specification still checks the image.

        What does not depend on the image is made beside that check; nothing of the image is mounted
        before `spec` has answered.

        Raises:
            errors.GridError: what stood in the way, the check's refusal among it; what was begun is
                removed.

        """
        async with self._alone(name):
            with cgroups.moving(self._tree):
                checked = asyncio.ensure_future(spec)
                try:
                    room = await self._room_if_free(name, disk_bytes)
                    found = await checked
                    assert (found.name, found.limits.disk_bytes) == (name, disk_bytes)
                    return await self._ensure(found, room)
                except BaseException:
                    checked.cancel()
                    await asyncio.gather(checked, return_exceptions=True)
                    if (there := await self._status(name)) and there.phase == "broken":
                        await asyncio.shield(self._remove(name, grace_seconds=0))
                    raise

    async def _room_if_free(self, name: str, disk_bytes: int) -> rootfs.Room | None:
        if await self._status(name) is not None:
            return None
        return await asyncio.to_thread(self._make_room, name, disk_bytes)

    def _make_room(self, name: str, disk_bytes: int) -> rootfs.Room:
        rootfs.open_way(self._run_dir)
        self._crun_root.mkdir(mode=0o700, exist_ok=True)
        claimant = self._claimant(name)
        return rootfs.make_room(self.layout(name), disk_bytes, lambda: self._ranges.uids(claimant))

    async def _ensure(self, spec: Spec, room: rootfs.Room | None) -> Status:
        if room is None:
            there = await self._status(spec.name)
            if there and there.digest == spec.digest and there.phase in {"created", "running"}:
                return there
            if there:
                await self._remove(spec.name, grace_seconds=0)
        try:
            launched = await self._create(spec, room)
        except BaseException:
            await asyncio.shield(self._remove(spec.name, grace_seconds=0))
            raise
        made = self._read(spec.name, {launched.name: launched})
        assert made, "what was just made is there"
        return made

    async def _create(self, spec: Spec, room: rootfs.Room | None) -> Launched:
        layout = self.layout(spec.name)
        base = await asyncio.to_thread(self._prepare, spec, layout, room)
        line = crun.create_line(self._crun_root, spec.name, layout.bundle, layout.pid_file)
        return await self._launcher.spawn(
            Spawn(
                name=_PREFIX + spec.name,
                argv=line,
                pid_file=layout.pid_file,
                log_owner=base,
                settle_seconds=_CREATE_SECONDS_MAX,
            )
        )

    def _prepare(self, spec: Spec, layout: Layout, room: rootfs.Room | None) -> int:
        room = room or self._make_room(spec.name, spec.limits.disk_bytes)
        rootfs.furnish(spec, layout, room)
        config = config_json(
            spec,
            layout,
            uid_base=room.uid_base,
            group=self.group(spec.name),
            open_files_max=resource.getrlimit(resource.RLIMIT_NOFILE)[1],
            seccomp_filter=bpf.node_filter(),
        )
        record = {"name": spec.name, "digest": spec.digest, "limits": asdict(spec.limits)}
        _write(layout.bundle / "config.json", config)
        _write(layout.record, record)
        return room.uid_base

    async def start(self, name: str) -> Status:
        """Read the limits back and let a container run; does nothing if it runs or has run.

        Raises:
            errors.NotFound: TFG-3104, it is not there or only partly.
            errors.Failed: TFG-3105, the kernel enforces other limits than asked; it was not
                started.

        """
        async with self._alone(name):
            there = await self._status(name)
            if there is None or there.phase == "broken":
                what = there.reason if there else "no container has that name"
                raise errors.NotFound("TFG-3104", what, where=name, hint="create it first")
            if there.phase == "created":
                _check_limits(there, self.layout(name))
                crun.start(self._crun_root, name)
                there = replace(there, phase="running")
            return there

    async def observe(self) -> dict[str, Status]:
        """Every container of this node and every remnant of one, read from the machine."""
        launched = await self._launcher.list()
        found: dict[str, Status] = {}
        for name in self._names(launched):
            status = self._read(name, launched)
            if status:
                found[name] = status
        return found

    async def remove(self, name: str, *, grace_seconds: float = 5.0) -> None:
        """Remove a container with all that was made for it, from any state.

        It has `grace_seconds` after SIGTERM, then it is killed. Ends within `grace_seconds` and
        some ten more.

        Raises:
            errors.StillGoing: TFG-3106 or TFG-3103, a process does not end even when killed; repeat
                later.

        """
        async with self._alone(name):
            await self._remove(name, grace_seconds=grace_seconds)

    async def tail(self, name: str, bytes_max: int) -> bytes:
        """The end of the container's log."""
        return await self._launcher.tail(_PREFIX + name, bytes_max)

    # Reading

    def _names(self, launched: dict[str, Launched]) -> list[str]:
        names = {n.removeprefix(_PREFIX) for n in launched if n.startswith(_PREFIX)}
        for folder in (self._state_dir, self._run_dir, self._crun_root):
            if folder.is_dir():
                names.update(e.name for e in os.scandir(folder) if e.name[0] not in "._")
        prefix = f"{self._owner}/{_FOLDER}"
        held = self._ranges.held(prefix)
        names.update(claim.owner.removeprefix(prefix + "/") for claim in held)
        return sorted(names)

    async def _status(self, name: str) -> Status | None:
        return self._read(name, await self._launcher.list())

    def _read(self, name: str, launched: dict[str, Launched]) -> Status | None:
        """What is there of a container; None if nothing is."""
        layout = self.layout(name)
        process = launched.get(_PREFIX + name)
        record = _record(layout.record)
        if record is None:
            if process is None and not self._remnants(name, layout):
                return None
            return Status(name=name, digest="", phase="broken", reason="it was only partly made")
        digest = str(record["digest"])
        if process is None:
            reason = "nobody keeps its process"
            return Status(name=name, digest=digest, phase="broken", reason=reason)
        if process.ended:
            return Status(
                name=name,
                digest=digest,
                phase="ended",
                pid=process.pid,
                exit_code=process.exit_code,
                netns=layout.netns,
            )
        lacking = self._lacking(layout)
        waits = crun.waits_for_start(self._crun_root, name)
        return Status(
            name=name,
            digest=digest,
            phase="broken" if lacking else "created" if waits else "running",
            pid=process.pid,
            netns=layout.netns,
            limits=self._limits(name, layout),
            reason=lacking,
        )

    def _remnants(self, name: str, layout: Layout) -> bool:
        held = self._ranges.held(self._claimant(name))
        paths = (layout.state, layout.run, self._crun_root / name)
        groups = self._tree.folders(self.group(name))
        return bool(held) or any(path.exists() for path in (*paths, *groups))

    def _lacking(self, layout: Layout) -> str:
        if not namespaces.is_pinned(layout.netns) or not namespaces.is_pinned(layout.userns):
            return "its namespaces are not pinned"
        if not os.path.ismount(layout.root):
            return "its root file system is not mounted here"
        return ""

    def _limits(self, name: str, layout: Layout) -> Limits | None:
        read = cgroups.read_limits(self._tree, self.group(name))
        memory, cpu, count = read["memory_bytes"], read["cpu_millis"], read["processes"]
        if memory is None or cpu is None or count is None or read["swap_bytes"]:
            return None
        disk = layout.disk.stat().st_size if layout.disk.exists() else 0
        return Limits(cpu_millis=cpu, memory_bytes=memory, disk_bytes=disk, processes=count)

    # Removing

    async def _remove(self, name: str, *, grace_seconds: float) -> None:
        launched = (await self._launcher.list()).get(_PREFIX + name)
        if launched and not launched.ended:
            await self._end(name, grace_seconds)
        await asyncio.to_thread(crun.delete, self._crun_root, name)
        left = await self._kill_stragglers(name)
        await asyncio.to_thread(self._clear, name)
        if launched:
            await self._launcher.forget(_PREFIX + name)
        if left:
            raise errors.StillGoing(
                "TFG-3106", "a process of the container does not end", where=name, pids=str(left)
            )
        await asyncio.to_thread(self._ranges.release, self._claimant(name))

    async def _end(self, name: str, grace_seconds: float) -> None:
        kept = _PREFIX + name
        if grace_seconds > 0 and not crun.waits_for_start(self._crun_root, name):
            await self._launcher.signal(kept, signal.SIGTERM)
            if (await self._launcher.wait(kept, grace_seconds)).ended:
                return
        await self._launcher.signal(kept, signal.SIGKILL)
        if not (await self._launcher.wait(kept, _KILL_SECONDS_MAX)).ended:
            raise errors.StillGoing("TFG-3106", "its first process does not end", where=name)

    async def _kill_stragglers(self, name: str) -> tuple[int, ...]:
        """Kill what is left in the container's groups; what would not end."""
        left: tuple[int, ...] = ()
        for _ in range(50):
            left = cgroups.processes(self._tree, self.group(name))
            if not left:
                return ()
            for pid in left:
                _kill(pid)
            await asyncio.sleep(0.02)
        return left

    def _clear(self, name: str) -> None:
        if not cgroups.processes(self._tree, self.group(name)):
            cgroups.GroupRemove(tree=self._tree, name=self.group(name)).perform()
        rootfs.take_down(self.layout(name))
        if (self._crun_root / name).exists():
            shutil.rmtree(self._crun_root / name)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _write(path: Path, value: object) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(value, separators=(",", ":")), "utf-8")
    temporary.replace(path)


def _record(path: Path) -> dict[str, object] | None:
    try:
        value = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return value if isinstance(value, dict) and "digest" in value else None


def _check_limits(status: Status, layout: Layout) -> None:
    record = _record(layout.record) or {}
    asked = record.get("limits")
    assert isinstance(asked, dict), "a record that names a digest has limits"
    # The kernel counts memory in pages.
    asked["memory_bytes"] -= asked["memory_bytes"] % _PAGE_BYTES
    if status.limits is None or asdict(status.limits) != asked:
        raise errors.Failed(
            "TFG-3105",
            "the kernel enforces other limits than were asked",
            where=status.name,
            asked=str(asked),
            enforced=str(status.limits),
        )
