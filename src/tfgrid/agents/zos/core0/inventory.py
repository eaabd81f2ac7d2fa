"""What the machine has, what it lacks, and what of it this node offers.

Where many nodes share one machine, `node.json` caps each one's share; the ledger is told the share,
never the machine.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from tfgrid.core import native
from tfgrid.core.host import ItemKind
from tfgrid.core.units import Capacity
from tfgrid.ledger import contract

__all__ = ["disk_class", "machine_capacity", "machine_lacks", "share"]

_PROGRAMS: Final[Mapping[ItemKind, tuple[str, ...]]] = {
    "container": ("crun",),
    "network": ("nft",),
    "route": ("haproxy",),
}
_FILE_SYSTEMS: Final[Mapping[ItemKind, tuple[str, ...]]] = {"container": ("overlay", "ext4")}


def machine_capacity(disk: Path, more: Iterable[tuple[Path, contract.DiskClass]] = ()) -> Capacity:
    """Cores, memory, and the free space beneath `disk`, as SSD or HDD by what it says it is.

    `more` are the devices for namespaces, with the class that they are configured as; a class that
    has none has its namespaces beneath `disk`. Space is told as one number for each class, and
    nothing may be promised of it that no single disk can hold. So it is what the largest device
    of the class has free, and never their sum; and no more than `disk`, which has the containers.
    """
    import psutil

    own, free = disk_class(disk), {"ssd": 0, "hdd": 0}
    devices = list(more)
    for path, kind in devices:
        if path.is_dir():
            free[kind] = max(free[kind], shutil.disk_usage(path).free)
    beneath = shutil.disk_usage(disk).free
    if own not in {kind for _, kind in devices}:
        free[own] = beneath
    return Capacity(
        cpu_millis=len(os.sched_getaffinity(0)) * 1000,
        memory_bytes=psutil.virtual_memory().total,
        ssd_bytes=min(free["ssd"], beneath),
        hdd_bytes=free["hdd"],
    )


def disk_class(path: Path) -> contract.DiskClass:
    """The class of the disk beneath a folder, by what the disk says of itself."""
    return "hdd" if _rotates(path) else "ssd"


def _rotates(path: Path) -> bool:
    device = path.stat().st_dev
    queue = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")
    for place in (queue / "queue/rotational", queue / "../queue/rotational"):
        try:
            return place.read_text("ascii").strip() == "1" and _is_disk(queue)
        except OSError:
            continue
    return False


def _is_disk(device: Path) -> bool:
    """Whether the kernel's word on rotation counts: virtual disks say they rotate and do not."""
    return not device.resolve().name.startswith("vd")


def machine_lacks() -> dict[ItemKind, str]:
    """The kinds of item this machine cannot carry, each with what is missing."""
    known = Path("/proc/filesystems").read_text("ascii").split()
    lacks: dict[ItemKind, str] = {}
    for kind, programs in _PROGRAMS.items():
        missing = [f"the program {p}" for p in programs if shutil.which(p) is None]
        missing += [f"the file system {f}" for f in _FILE_SYSTEMS.get(kind, ()) if f not in known]
        if kind == "container" and not Path("/proc/self/ns/user").exists():
            missing.append("user namespaces")
        if missing:
            lacks[kind] = " and ".join(missing)
    if not native.has("zdb_main"):
        lacks["zdb"] = "Zero-DB in the native module"
    return lacks


def share(machine: Capacity, caps: Capacity) -> Capacity:
    """What of the machine is this node's: the machine, dimension by dimension no more than its cap.

    A cap of zero caps nothing.
    """
    fields = {
        name: min(has, cap) if (cap := getattr(caps, name)) else has
        for name in machine.__struct_fields__
        for has in (getattr(machine, name),)
    }
    return Capacity(**fields)
