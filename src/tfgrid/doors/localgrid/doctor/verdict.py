"""Readings -> checks, pure: what was found, what that costs, the one command that mends it.

ok: as it should be; note: works, with what it costs; blocking: a grid cannot run here until it is
mended.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from tfgrid.doors.localgrid.doctor.readings import PROGRAMS, Readings, edge_port

__all__ = ["Check", "Level", "examine", "packages_missing"]

Level: TypeAlias = Literal["ok", "note", "blocking"]

kernel_min: Final = (5, 14)
python_min: Final = (3, 11)
disk_free_bytes_min: Final = 4 * 1024**3
disk_free_bytes_wanted: Final = 10 * 1024**3
memory_bytes_min: Final = 1024**3
memory_bytes_wanted: Final = 2 * 1024**3
_IDMAPPED: Final = frozenset({"ext4", "xfs", "btrfs", "f2fs", "tmpfs"})
_INSTALL: Final = "apt-get install -y --no-install-recommends"
_BOOT_V2: Final = (
    "sed -i 's/^GRUB_CMDLINE_LINUX=\"/&systemd.unified_cgroup_hierarchy=1 /' /etc/default/grub"
    " && update-grub && reboot"
)
_OPTIONAL: Final = frozenset({"wireguard-go"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line: what was looked at, what was found, what it means and the command that mends it."""

    name: str
    level: Level
    finding: str
    means: str = ""
    cure: str = ""


def examine(readings: Readings) -> list[Check]:
    """Judge everything that was read; blocking checks first, then notes."""
    order: dict[Level, int] = {"blocking": 0, "note": 1, "ok": 2}
    checks = [*_system(readings), *_programs(readings), *_kernel(readings), *_room(readings)]
    return sorted(checks, key=lambda check: order[check.level])


def packages_missing(readings: Readings) -> list[str]:
    """The Debian packages whose programs are not there, sorted."""
    return sorted({package for name, package in PROGRAMS.items() if name not in readings.programs})


def _pick(name: str, good: bool, finding: str, bad: Check) -> Check:
    return Check(name=name, level="ok", finding=finding) if good else bad


def _system(r: Readings) -> Iterator[Check]:
    release = f"{r.system} {r.kernel[0]}.{r.kernel[1]}"
    yield _pick(
        "kernel", r.system == "Linux" and r.kernel >= kernel_min, release,
        Check(
            name="kernel", level="blocking", finding=release,
            means=f"a grid needs Linux {kernel_min[0]}.{kernel_min[1]} or newer",
            cure="apt-get install -y linux-image-amd64 && reboot",
        ),
    )  # fmt: skip
    yield _pick(
        "root", r.root and r.capabilities, "root, may make namespaces, mounts and links",
        Check(
            name="root", level="blocking",
            finding="root without CAP_SYS_ADMIN or CAP_NET_ADMIN" if r.root else "not root",
            means="nodes need namespaces, mounts and links of their own",
            cure="run on a machine or a privileged container" if r.root else "sudo tfgrid up",
        ),
    )  # fmt: skip
    version = f"{r.python[0]}.{r.python[1]}"
    yield _pick(
        "python", r.python >= python_min, f"Python {version}",
        Check(
            name="python", level="blocking", finding=f"Python {version}",
            means="tfgrid needs Python 3.11 or newer",
            cure=f"{_INSTALL} python3.11 python3.11-venv",
        ),
    )  # fmt: skip


_NEEDED_FOR: Final[dict[str, str]] = {
    "crun": "containers cannot be started",
    "wg": "private networks cannot be set up",
    "nft": "gateways cannot reach private networks",
    "haproxy": "nothing can be reached over HTTPS",
    "ip": "links cannot be looked at when something is wrong",
    "mmdebstrap": "images cannot be built from Debian packages",
    "mkfs.ext4": "containers cannot be given a disk with a limit",
}


def _programs(r: Readings) -> Iterator[Check]:
    for name, package in PROGRAMS.items():
        if name in _OPTIONAL:
            continue
        yield _pick(
            name, name in r.programs, "installed",
            Check(
                name=name, level="note" if name == "ip" else "blocking", finding="not installed",
                means=_NEEDED_FOR[name], cure=f"{_INSTALL} {package}",
            ),
        )  # fmt: skip


def _kernel(r: Readings) -> Iterator[Check]:
    yield _cgroups(r)
    yield _wireguard(r)
    yield _pick(
        "user namespaces", r.user_namespaces > 0, f"{r.user_namespaces} allowed",
        Check(
            name="user namespaces", level="blocking", finding="switched off",
            means="a container's root would be the machine's root",
            cure="sysctl -w user.max_user_namespaces=15000",
        ),
    )  # fmt: skip
    yield _pick(
        "overlay", r.overlay, "images start without a copy",
        Check(
            name="overlay", level="blocking", finding="no overlay file system",
            means="containers cannot share an image", cure="modprobe overlay",
        ),
    )  # fmt: skip
    yield _pick(
        "idmapped mounts", r.state_filesystem in _IDMAPPED, f"{r.state_filesystem} can",
        Check(
            name="idmapped mounts", level="blocking",
            finding=f"{r.state_filesystem or 'this file system'} cannot",
            means="containers cannot see one image each under their own users",
            cure="export XDG_STATE_HOME=/a/directory/on/ext4",
        ),
    )  # fmt: skip
    yield _pick(
        "loop devices", r.loop, "disks can have a limit",
        Check(
            name="loop devices", level="blocking", finding="no /dev/loop-control",
            means="containers cannot be given a disk with a limit", cure="modprobe loop",
        ),
    )  # fmt: skip
    yield _pick(
        "packet filter", r.netfilter, "nftables in the kernel",
        Check(
            name="packet filter", level="blocking", finding="no nftables in the kernel",
            means="gateways cannot reach private networks", cure="modprobe nf_tables",
        ),
    )  # fmt: skip


def _cgroups(r: Readings) -> Check:
    if r.cgroups == "v2":
        return Check(name="cgroups", level="ok", finding="version 2")
    if r.cgroups == "hybrid" and r.cgroup_kill:
        return Check(
            name="cgroups", level="note", finding="versions 1 and 2 together",
            means="limits are set through version 1: the same limits, one more mount to hide",
            cure=_BOOT_V2,
        )  # fmt: skip
    return Check(
        name="cgroups", level="blocking", finding=f"layout {r.cgroups}",
        means="nothing limits what containers take, or ends a node whole",
        cure=_BOOT_V2,
    )  # fmt: skip


def _wireguard(r: Readings) -> Check:
    if r.wireguard_kernel:
        return Check(name="wireguard", level="ok", finding="in the kernel")
    if "wireguard-go" in r.programs and r.tun:
        return Check(
            name="wireguard", level="note", finding="not in the kernel, wireguard-go is here",
            means="private networks work, with more processor time per byte",
            cure="apt-get install -y linux-image-amd64 && reboot",
        )  # fmt: skip
    lacks = "no /dev/net/tun" if not r.tun else "no wireguard-go"
    cure = "modprobe tun" if not r.tun else f"{_INSTALL} wireguard-go"
    return Check(
        name="wireguard", level="blocking", finding=f"not in the kernel, and {lacks}",
        means="private networks cannot be set up", cure=cure,
    )  # fmt: skip


def _room(r: Readings) -> Iterator[Check]:
    yield _amount(
        "disk", r.disk_free_bytes, disk_free_bytes_min, disk_free_bytes_wanted,
        "images and containers may not fit", "apt-get clean",
    )  # fmt: skip
    yield _amount(
        "memory", r.memory_available_bytes, memory_bytes_min, memory_bytes_wanted,
        "four nodes and their containers may not fit", "tfgrid up --nodes 2 --farms 2",
    )  # fmt: skip
    plural = "core" if r.cores == 1 else "cores"
    yield _pick(
        "processor", r.cores > 1, f"{r.cores} {plural}",
        Check(
            name="processor", level="note", finding="1 core",
            means="everything works, and takes turns", cure="give the machine a second core",
        ),
    )  # fmt: skip
    yield _pick(
        "edge port", r.edge_port_free, f"127.0.0.1:{edge_port} is free",
        Check(
            name="edge port", level="note", finding=f"127.0.0.1:{edge_port} is taken",
            means="a grid that is started now takes the next free port",
            cure=f"ss -ltnp 'sport = :{edge_port}'",
        ),
    )  # fmt: skip


def _amount(name: str, have: int, least: int, wanted: int, means: str, cure: str) -> Check:
    finding = f"{have / 1024**3:.1f} GiB free"
    if have >= wanted:
        return Check(name=name, level="ok", finding=finding)
    level: Level = "note" if have >= least else "blocking"
    return Check(
        name=name, level=level, finding=f"{finding}, {wanted / 1024**3:.0f} GiB wanted",
        means=means, cure=cure,
    )  # fmt: skip
