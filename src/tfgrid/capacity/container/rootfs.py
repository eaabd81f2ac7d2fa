"""A container's root file system and namespaces: planned as changes, taken down from any state.

It is made in two steps: a room, which does not depend on the image and can be made while that is
checked, and then the root in it, of the image that was found good.

The image is shared and stays root's; the lower is a clone of its mount in which every owner is
shifted into the container's range. The upper lies on a file system of its own whose size is the
quota. It is owned by the range and not idmapped: the kernel makes an overlay's work folder as the
mounting root, whom such a map leaves out.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tfgrid.capacity.container.model import Layout, Spec
from tfgrid.core import errors, limits
from tfgrid.jumpscale.executors import Native
from tfgrid.jumpscale.sal import disks, links, mounts, namespaces
from tfgrid.jumpscale.sal.change import Change

__all__ = ["Room", "furnish", "make_room", "open_way", "plan", "take_down"]

_LOOP_SECONDS_MAX: Final = 2.0
_TEMPLATES_MAX: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What a container needs whatever its image is: a range of ids, namespaces, and a disk."""

    uid_base: int
    disk_bytes: int


def plan(
    spec: Spec, layout: Layout, uid_base: int
) -> tuple[tuple[Change, ...], tuple[Change, ...], tuple[Change, ...]]:
    """Three lines of changes: namespaces beside the disk, and after both the root. Pure."""
    return (
        _namespaces(layout, uid_base),
        _disk(layout, spec.limits.disk_bytes),
        _root(spec, layout, uid_base),
    )


def _namespaces(layout: Layout, uid_base: int) -> tuple[Change, ...]:
    ids = namespaces.IdMap(base=uid_base, count=limits.uids_per_container)
    return (
        namespaces.Pin(user=layout.userns, net=layout.netns, ids=ids),
        links.LinkSet(netns=layout.netns, name="lo", up=True),
    )


def _disk(layout: Layout, disk_bytes: int) -> tuple[Change, ...]:
    return (
        disks.DiskCopy(template=layout.template(disk_bytes), path=layout.disk),
        disks.DiskMount(path=layout.disk, target=layout.disk_mount),
    )


def _root(spec: Spec, layout: Layout, uid_base: int) -> tuple[Change, ...]:
    return (
        mounts.IdmappedClone(
            source=spec.image,
            target=layout.lower,
            userns=layout.userns,
            base=uid_base,
            count=limits.uids_per_container,
            read_only=True,
        ),
        mounts.Overlay(
            target=layout.root,
            lower=(layout.lower,),
            upper=layout.disk_mount / "upper",
            work=layout.disk_mount / "work",
            flags=("nosuid", "nodev"),
        ),
    )


def make_room(layout: Layout, disk_bytes: int, claim: Callable[[], int]) -> Room:
    """Make all that does not depend on the image; a fault leaves remnants for `take_down`.

    Args:
        layout: where the container's parts are.
        disk_bytes: the quota of its disk.
        claim: takes a range of ids for it; returns the first.

    Raises:
        errors.Failed, errors.MachineLacks: as the changes do.

    """
    _make_folders(layout)
    # Side by side: each takes some milliseconds, most of it waiting.
    with ThreadPoolExecutor(max_workers=1) as aside:
        made = aside.submit(_make_disk, layout, disk_bytes)
        try:
            uid_base = claim()
            Native().apply(_namespaces(layout, uid_base))
        finally:
            wait([made])
        made.result()
    upper, work = layout.disk_mount / "upper", layout.disk_mount / "work"
    upper.mkdir(mode=0o755)
    work.mkdir(mode=0o700)
    os.chown(upper, uid_base, uid_base)
    return Room(uid_base=uid_base, disk_bytes=disk_bytes)


def furnish(spec: Spec, layout: Layout, room: Room) -> None:
    """Mount a verified image in a room and write the files in /etc; a fault leaves remnants.

    Raises:
        errors.BadInput: TFG-3102, the image's directory is not there.
        errors.Failed: as the changes do.

    """
    if not spec.image.is_dir():
        raise errors.BadInput("TFG-3102", "the image's directory is missing", where=str(spec.image))
    Native().apply(_root(spec, layout, room.uid_base))
    _write_files(spec, layout)


def _make_disk(layout: Layout, disk_bytes: int) -> None:
    _make_template(layout.template(disk_bytes), disk_bytes)
    Native().apply(_disk(layout, disk_bytes))


def _write_files(spec: Spec, layout: Layout) -> None:
    files = {"hosts": spec.hosts, "hostname": spec.hostname + "\n", "resolv.conf": spec.resolv}
    for name, text in files.items():
        (layout.etc / name).write_text(text, "utf-8")
        (layout.etc / name).chmod(0o644)


def _make_folders(layout: Layout) -> None:
    layout.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    layout.run.mkdir(exist_ok=True)
    for folder in (layout.run, layout.root, layout.etc, layout.lower, layout.disk_mount):
        folder.mkdir(exist_ok=True)
        folder.chmod(0o711)
    layout.bundle.mkdir(mode=0o700, exist_ok=True)


def _make_template(path: Path, size_bytes: int) -> None:
    """Make an empty disk to copy from, if there is none of that size; the oldest make room."""
    if path.exists():
        return
    path.parent.mkdir(mode=0o700, exist_ok=True)
    others = sorted(path.parent.iterdir(), key=lambda other: other.stat().st_mtime)
    for other in others[: max(0, len(others) - _TEMPLATES_MAX + 1)]:
        other.unlink(missing_ok=True)
    fresh = path.with_suffix(f".{threading.get_ident()}")
    fresh.unlink(missing_ok=True)
    disks.DiskMake(path=fresh, size_bytes=size_bytes).perform()
    fresh.replace(path)


def open_way(run_dir: Path) -> None:
    """Let container ids pass through, not list, the folder of containers and the one above it.

    A runtime works on the root file system from inside the user namespace, as a user who owns none
    of the folders on the way to it.

    Raises:
        errors.MachineLacks: TFG-3107, a folder further up lets nobody else through.

    """
    run_dir.mkdir(parents=True, exist_ok=True)
    for folder in (run_dir, run_dir.parent):
        folder.chmod(folder.stat().st_mode | 0o011)
    for folder in run_dir.parent.parents:
        if not folder.stat().st_mode & 0o001:
            raise errors.MachineLacks(
                "TFG-3107",
                "containers cannot reach their root: a folder lets only its owner through",
                where=str(folder),
                hint=f"chmod o+x {folder}",
            )


def take_down(layout: Layout) -> None:
    """Remove mounts, namespaces and files in whatever state they are.

    Raises:
        errors.StillGoing: TFG-3103, the disk is still in use by a process that has not ended.
        errors.Failed: TFG-3001, the kernel refused.

    """
    for entry in mounts.under(layout.run):
        if entry.target not in {layout.userns, layout.netns}:
            mounts.Unmount(target=entry.target, lazy=True).perform()
    for pin in (layout.netns, layout.userns):
        if pin.exists():
            namespaces.Unpin(path=pin).perform()
    until = time.monotonic() + _LOOP_SECONDS_MAX
    while layout.disk.exists() and disks.loops_of(layout.disk):
        if time.monotonic() > until:
            raise errors.StillGoing(
                "TFG-3103",
                "the container's disk is still in use",
                where=str(layout.disk),
                hint="it is removed when the last process that uses it has ended",
            )
        time.sleep(0.005)
    for folder in (layout.state, layout.run):
        _remove(folder)


def _remove(folder: Path) -> None:
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return
