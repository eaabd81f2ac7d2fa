"""The machine, read and never changed: /proc, /sys and /dev, and the programs on the path."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

__all__ = ["PROGRAMS", "CgroupLayout", "Readings", "state_directory", "take"]

CgroupLayout: TypeAlias = Literal["v2", "hybrid", "v1", "none"]

PROGRAMS: Final[dict[str, str]] = {
    "crun": "crun",
    "wireguard-go": "wireguard-go",
    "wg": "wireguard-tools",
    "nft": "nftables",
    "haproxy": "haproxy",
    "ip": "iproute2",
    "mmdebstrap": "mmdebstrap",
    "mkfs.ext4": "e2fsprogs",
}
"""Each program that is started by a grid, and the Debian package that has it."""

edge_port: Final = 8443
_CAP_NET_ADMIN: Final = 12
_CAP_SYS_ADMIN: Final = 21


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """What was read; sizes in bytes. `programs` are the names that were found on the path."""

    system: str
    kernel: tuple[int, int]
    python: tuple[int, int]
    root: bool
    capabilities: bool
    programs: frozenset[str]
    cgroups: CgroupLayout
    cgroup_kill: bool
    user_namespaces: int
    overlay: bool
    state_filesystem: str
    wireguard_kernel: bool
    tun: bool
    loop: bool
    netfilter: bool
    edge_port_free: bool
    disk_free_bytes: int
    memory_available_bytes: int
    cores: int


def take() -> Readings:
    """Read this machine."""
    state = state_directory()
    return Readings(
        system=platform.system(),
        kernel=_two_numbers(platform.release()),
        python=sys.version_info[:2],
        root=os.geteuid() == 0,
        capabilities=_has_capabilities(),
        programs=frozenset(name for name in PROGRAMS if _found(name)),
        cgroups=_cgroup_layout(),
        cgroup_kill=_cgroup_kill(),
        user_namespaces=int(_text("/proc/sys/user/max_user_namespaces") or 0),
        overlay=_filesystem_known("overlay"),
        state_filesystem=_filesystem_of(state),
        wireguard_kernel=_module_known("wireguard"),
        tun=Path("/dev/net/tun").exists(),
        loop=Path("/dev/loop-control").exists(),
        netfilter=_module_known("nf_tables") or Path("/proc/net/netfilter").exists(),
        edge_port_free=not _listening(edge_port),
        disk_free_bytes=shutil.disk_usage(state).free,
        memory_available_bytes=_memory_available(),
        cores=len(os.sched_getaffinity(0)),
    )


def state_directory() -> Path:
    """The nearest directory that exists of where grids are kept."""
    home = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    path = Path(home) / "tfgrid"
    while not path.exists():
        path = path.parent
    return path


def _text(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _two_numbers(release: str) -> tuple[int, int]:
    parts = release.replace("-", ".").split(".")
    first, second = (int(p) if p.isdecimal() else 0 for p in (*parts, "0", "0")[:2])
    return first, second


def _found(program: str) -> bool:
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    return shutil.which(program, path=path) is not None


def _has_capabilities() -> bool:
    for line in _text("/proc/self/status").splitlines():
        if line.startswith("CapEff:"):
            held = int(line.split()[1], 16)
            return bool(held >> _CAP_SYS_ADMIN & 1 and held >> _CAP_NET_ADMIN & 1)
    return False


def _cgroup_layout() -> CgroupLayout:
    root = Path("/sys/fs/cgroup")
    if (root / "cgroup.controllers").exists():
        return "v2"
    if (root / "unified").is_dir():
        return "hybrid"
    return "v1" if (root / "memory").is_dir() else "none"


def _cgroup_kill() -> bool:
    unified = Path("/sys/fs/cgroup/unified")
    root = unified if unified.is_dir() else Path("/sys/fs/cgroup")
    return any(root.glob("*/cgroup.kill")) or _two_numbers(platform.release()) >= (5, 14)


def _filesystem_known(name: str) -> bool:
    words = {line.split()[-1] for line in _text("/proc/filesystems").splitlines() if line}
    return name in words or _module_known(name)


def _module_known(name: str) -> bool:
    if Path("/sys/module", name).exists():
        return True
    folder = Path("/lib/modules", platform.release())
    lists = (_text(folder / "modules.builtin"), _text(folder / "modules.dep"))
    return any(f"/{name}.ko" in text for text in lists)


def _filesystem_of(path: Path) -> str:
    best, kind = "", ""
    for line in _text("/proc/self/mounts").splitlines():
        _, point, this, *_ = line.split()
        inside = str(path) == point or str(path).startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, this
    return kind


def _listening(port: int) -> bool:
    lines = _text("/proc/net/tcp").splitlines()[1:] + _text("/proc/net/tcp6").splitlines()[1:]
    return any(
        fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port
        for fields in (line.split() for line in lines)
    )


def _memory_available() -> int:
    for line in _text("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0
