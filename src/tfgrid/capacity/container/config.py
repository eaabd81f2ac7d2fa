"""The OCI configuration of a container, written whole; nothing in it comes unchecked.

There is no field for a mount, a device, a capability or a namespace in `Spec`; what a container
gets of them is here, the same for all. What is not permitted is absent rather than switched off.
"""

from __future__ import annotations

from typing import Final

from tfgrid.capacity.container import bpf
from tfgrid.capacity.container.model import Layout, Spec
from tfgrid.capacity.container.seccomp import seccomp_profile
from tfgrid.core import limits

__all__ = ["capabilities", "config_json"]

capabilities: Final = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETGID",
    "CAP_SETUID",
)
"""What root inside may do beyond another user, all of it within its own user namespace."""

_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MASKED: Final = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/cmdline",
    "/proc/config.gz",
    "/proc/diskstats",
    "/proc/interrupts",
    "/proc/iomem",
    "/proc/ioports",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/key-users",
    "/proc/keys",
    "/proc/kmsg",
    "/proc/latency_stats",
    "/proc/modules",
    "/proc/partitions",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/slabinfo",
    "/proc/timer_list",
    "/proc/timer_stats",
)
_READ_ONLY: Final = (
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/pressure",
    "/proc/sys",
    "/proc/sysrq-trigger",
)
_SHARED_MEMORY_BYTES_MAX: Final = 64 * 1024**2
_PERIOD_MICROSECONDS: Final = 100_000


def config_json(
    spec: Spec,
    layout: Layout,
    *,
    uid_base: int,
    group: str,
    open_files_max: int,
    seccomp_filter: str = "",
) -> dict[str, object]:
    """The configuration of a container as crun and runc read it. Pure.

    Args:
        spec: what the container shall be.
        layout: where its parts are.
        uid_base: first of its 65536 ids on the host.
        group: its control group, from the root of each tree.
        open_files_max: how many files its processes may have open, at most what the launcher may.
        seccomp_filter: the profile compiled, in base64, to spare the runtime that work.

    """
    ids = [{"containerID": 0, "hostID": uid_base, "size": limits.uids_per_container}]
    return {
        "ociVersion": "1.0.2",
        "annotations": {bpf.annotation: seccomp_filter} if seccomp_filter else {},
        "hostname": spec.hostname,
        "root": {"path": str(layout.root), "readonly": False},
        "process": _process(spec, open_files_max),
        "mounts": _mounts(spec, layout),
        "linux": {
            "cgroupsPath": f"/{group.lstrip('/')}",
            "uidMappings": ids,
            "gidMappings": ids,
            "namespaces": [
                {"type": "user", "path": str(layout.userns)},
                {"type": "network", "path": str(layout.netns)},
                *({"type": kind} for kind in ("pid", "ipc", "uts", "mount", "cgroup")),
            ],
            "resources": _resources(spec),
            "rootfsPropagation": "private",
            "seccomp": seccomp_profile(),
            "maskedPaths": list(_MASKED),
            "readonlyPaths": list(_READ_ONLY),
            "sysctl": {
                "net.ipv4.ip_unprivileged_port_start": "0",
                "net.ipv4.ping_group_range": f"0 {limits.uids_per_container - 1}",
            },
        },
    }


def _process(spec: Spec, open_files_max: int) -> dict[str, object]:
    environment = {"PATH": _PATH, "HOME": "/root" if spec.user == 0 else "/", **spec.environment}
    files = min(open_files_max, 65_536)
    return {
        "terminal": False,
        "user": {"uid": spec.user, "gid": spec.group},
        "args": list(spec.arguments),
        "env": [f"{name}={value}" for name, value in environment.items()],
        "cwd": spec.cwd,
        "noNewPrivileges": True,
        "capabilities": {
            kind: list(capabilities) for kind in ("bounding", "effective", "permitted")
        },
        "rlimits": [
            {"type": "RLIMIT_CORE", "hard": 0, "soft": 0},
            {"type": "RLIMIT_NOFILE", "hard": files, "soft": min(1024, files)},
        ],
    }


def _mounts(spec: Spec, layout: Layout) -> list[dict[str, object]]:
    quiet = ["nosuid", "noexec", "nodev"]
    shared = min(_SHARED_MEMORY_BYTES_MAX, spec.limits.memory_bytes)

    def mount(target: str, kind: str, *options: str) -> dict[str, object]:
        return {"destination": target, "type": kind, "source": kind, "options": list(options)}

    def file(name: str) -> dict[str, object]:
        options = ["bind", "ro", *quiet]
        source = str(layout.etc / name)
        return {
            "destination": f"/etc/{name}",
            "type": "bind",
            "source": source,
            "options": options,
        }

    return [
        mount("/proc", "proc", *quiet),
        mount("/dev", "tmpfs", "nosuid", "noexec", "strictatime", "mode=755", "size=64k"),
        mount("/dev/pts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "max=64"),
        mount("/dev/shm", "tmpfs", *quiet, "mode=1777", f"size={shared}"),  # noqa: S108
        mount("/dev/mqueue", "mqueue", *quiet),
        # An empty folder: sysfs shows the host's devices, and in loop devices other tenants' disks.
        mount("/sys", "tmpfs", *quiet, "ro", "mode=555", "size=4k"),
        file("hosts"),
        file("hostname"),
        file("resolv.conf"),
    ]


def _resources(spec: Spec) -> dict[str, object]:
    memory = spec.limits.memory_bytes
    quota = spec.limits.cpu_millis * _PERIOD_MICROSECONDS // 1000
    return {
        "devices": [{"allow": False, "access": "rwm"}],
        # In v1 the second is memory and swap together, which the runtime translates for v2.
        "memory": {"limit": memory, "swap": memory},
        "pids": {"limit": spec.limits.processes},
        "cpu": {"quota": quota, "period": _PERIOD_MICROSECONDS},
    }
