"""What a container shall be, what it is, and where its parts are: plain, checked values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final, Literal, TypeAlias

from tfgrid.core import errors, limits

__all__ = ["Layout", "Limits", "Phase", "Spec", "Status"]

Phase: TypeAlias = Literal["created", "running", "ended", "broken"]
"""created: waits for `start`; ended: ran and exited; broken: partly there, to be removed."""

_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,98}[a-z0-9])?", re.ASCII)
_HOSTNAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII)
_DIGEST: Final = re.compile(r"[0-9a-f]{1,64}", re.ASCII)
_DISK_BYTES_MIN: Final = 1024**2
_MEMORY_BYTES_MIN: Final = 4 * 1024**2
_CPU_MILLIS_MIN: Final = 10
_FILE_BYTES_MAX: Final = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the kernel enforces; `cpu_millis` in thousandths of a core; there is no swap."""

    cpu_millis: int
    memory_bytes: int
    disk_bytes: int
    processes: int = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What a container shall be.

    Args:
        name: unique on the node: lower case, digits, `.` and `-`, at most 100.
        digest: covers the whole specification; kept, and told by `observe`.
        image: directory of the verified image, root-owned, never written.
        arguments: program and arguments, at least one.
        environment: variables; `PATH` is set if absent.
        cwd: absolute and inside the root.
        user, group: ids inside the container.
        hostname: a DNS label.
        limits: what to enforce.
        hosts, resolv: text of /etc/hosts and /etc/resolv.conf.

    Raises:
        errors.BadInput: TFG-3101, a field is malformed; `where` names it.

    """

    name: str
    digest: str
    image: Path
    arguments: tuple[str, ...]
    limits: Limits
    environment: Mapping[str, str] = field(default_factory=dict)
    cwd: str = "/"
    user: int = 0
    group: int = 0
    hostname: str = "container"
    hosts: str = "127.0.0.1 localhost\n::1 localhost\n"
    resolv: str = ""

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What is there now.

    `limits` are read back from the kernel while the container is created or running; `reason` says
    in words why it is broken.
    """

    name: str
    digest: str
    phase: Phase
    pid: int = 0
    exit_code: int | None = None
    netns: Path | None = None
    limits: Limits | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where a container's parts are.

    `state` lasts over a reboot (the upper's file); `run` does not (mount points, namespaces,
    bundle).
    """

    state: Path
    run: Path

    @property
    def disk(self) -> Path:
        """The file whose size is the disk quota."""
        return self.state / "disk.ext4"

    def template(self, size_bytes: int) -> Path:
        """An empty disk of a size, from which those of containers are copied."""
        return self.state.parent / "_disks" / f"{size_bytes}.ext4"

    @property
    def lower(self) -> Path:
        """Mount point of the idmapped clone of the image."""
        return self.run / "lower"

    @property
    def disk_mount(self) -> Path:
        """Mount point of the quota'd file system, idmapped; holds `upper` and `work`."""
        return self.run / "disk"

    @property
    def root(self) -> Path:
        """Mount point of the overlay: the container's root file system."""
        return self.run / "root"

    @property
    def userns(self) -> Path:
        """The pinned user namespace."""
        return self.run / "userns"

    @property
    def netns(self) -> Path:
        """The pinned network namespace, owned by the user namespace."""
        return self.run / "netns"

    @property
    def etc(self) -> Path:
        """Folder with hosts, hostname and resolv.conf, bound read-only into the container."""
        return self.run / "etc"

    @property
    def bundle(self) -> Path:
        """Folder with the OCI configuration."""
        return self.run / "bundle"

    @property
    def pid_file(self) -> Path:
        """Where the runtime writes the pid of the first process."""
        return self.run / "pid"

    @property
    def record(self) -> Path:
        """What this container is, for the next node process."""
        return self.run / "container.json"


def _refuse(where: str, what: str) -> errors.BadInput:
    return errors.BadInput("TFG-3101", what, where=where)


def _check(spec: Spec) -> None:
    if not _NAME.fullmatch(spec.name) or ".." in spec.name:
        raise _refuse("name", "a container's name is lower case, digits, dots and hyphens")
    if not _DIGEST.fullmatch(spec.digest):
        raise _refuse("digest", "a digest is hexadecimal")
    if not _HOSTNAME.fullmatch(spec.hostname):
        raise _refuse("hostname", "a host name is one DNS label")
    if not spec.image.is_absolute():
        raise _refuse("image", "the image directory is an absolute path")
    for name in ("user", "group"):
        if not 0 <= getattr(spec, name) < limits.uids_per_container - 1:
            raise _refuse(name, "a user or group id lies within the container's range")
    for name in ("hosts", "resolv"):
        if len(getattr(spec, name).encode()) > _FILE_BYTES_MAX or "\0" in getattr(spec, name):
            raise _refuse(name, "the file is too long or holds a zero byte")
    _check_command(spec)
    _check_limits(spec.limits)


def _check_command(spec: Spec) -> None:
    if not 1 <= len(spec.arguments) <= limits.arguments_max or not spec.arguments[0]:
        raise _refuse("arguments", f"there are 1 to {limits.arguments_max} arguments")
    if any("\0" in a or len(a) > limits.text_chars_max for a in spec.arguments):
        raise _refuse("arguments", "an argument is too long or holds a zero byte")
    if len(spec.environment) > limits.environment_entries_max:
        raise _refuse("environment", "there are too many variables")
    for name, value in spec.environment.items():
        if not _VARIABLE.fullmatch(name):
            raise _refuse("environment", f"{name[:40]!r} is not a variable's name")
        if "\0" in value or len(value) > limits.text_chars_max:
            raise _refuse(f"environment.{name}", "the value is too long or holds a zero byte")
    if sum(len(k) + len(v) for k, v in spec.environment.items()) > limits.environment_bytes_max:
        raise _refuse("environment", "the environment is too large in all")
    path = PurePosixPath(spec.cwd)
    outside = (".." in path.parts) or path.parts[1:2] in {("proc",), ("sys",), ("dev",)}
    if not path.is_absolute() or "\0" in spec.cwd or outside or len(spec.cwd) > 4096:
        raise _refuse("cwd", "the working directory is absolute, without .., /proc, /sys and /dev")


def _check_limits(asked: Limits) -> None:
    if asked.cpu_millis < _CPU_MILLIS_MIN:
        raise _refuse("limits.cpu_millis", f"the least is {_CPU_MILLIS_MIN}")
    if asked.memory_bytes < _MEMORY_BYTES_MIN:
        raise _refuse("limits.memory_bytes", f"the least is {_MEMORY_BYTES_MIN}")
    if asked.disk_bytes < _DISK_BYTES_MIN:
        raise _refuse("limits.disk_bytes", f"the least is {_DISK_BYTES_MIN}")
    if not 1 <= asked.processes <= limits.container_processes_max:
        raise _refuse("limits.processes", f"1 to {limits.container_processes_max}")
