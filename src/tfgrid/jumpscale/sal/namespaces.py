"""Namespaces that have a name: made, pinned under a path, entered by descriptor.

A namespace lives as long as a process or a mount holds it; a pin is a bind mount of
/proc/PID/ns/KIND on an empty file. A pinned mount namespace needs a pin whose own mount is private,
or the kernel refuses the loop.

A user namespace and the network namespace inside it are made in one step: the network namespace
then belongs to the user namespace, so that a runtime that is given both mounts the right /sys.
"""

from __future__ import annotations

import errno
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias, TypeVar

from tfgrid.jumpscale.sal import syscalls
from tfgrid.jumpscale.sal.change import Argv, Change, refused

__all__ = ["IdMap", "Kind", "Pin", "Unpin", "apart", "enter", "inside", "is_pinned"]

Kind: TypeAlias = Literal["mnt", "net", "user"]
_T = TypeVar("_T")
_CLONE_FS: Final = 0x200

_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "mnt": ("--mount", "--propagation", "private"),
    "net": ("--net",),
    "user": ("--user",),
}
_PATH: Final = "/usr/sbin:/usr/bin:/sbin:/bin"
# What unshare does not do: pin a user namespace, and map ids from outside without newuidmap.
_USER_SCRIPT: Final = """\
map=$1 flags=$2; shift 2
unshare $flags sleep 5 & pid=$!
until [ "$(cat /proc/$pid/comm)" = sleep ]; do :; done
echo "$map" >/proc/$pid/uid_map && echo "$map" >/proc/$pid/gid_map; code=$?
for pin; do mount --bind "/proc/$pid/ns/${pin%%=*}" "${pin#*=}" || code=1; done
kill $pid; exit $code"""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdMap:
    """Ids 0 to `count` - 1 inside are `base` and up outside; the same for users and groups."""

    base: int
    count: int

    def lines(self) -> str:
        """As /proc/PID/uid_map takes it."""
        return f"0 {self.base} {self.count}\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin(Change):
    """Make new namespaces together and pin each; a fresh network namespace has its loopback down.

    Args:
        mnt, net, user: where to pin a new one of that kind, or None for none of that kind.
        ids: the id map of a new user namespace; required with `user`.

    """

    mnt: Path | None = None
    net: Path | None = None
    user: Path | None = None
    ids: IdMap | None = None

    def _pins(self) -> dict[str, Path]:
        pins = {"user": self.user, "mnt": self.mnt, "net": self.net}
        return {kind: path for kind, path in pins.items() if path}

    def perform(self) -> None:
        """See `Change.perform`; what could not be completed leaves no mount behind."""
        pins = self._pins()
        assert (self.user is None) == (self.ids is None), "a user namespace has an id map"
        for processor in (None, *sorted(os.sched_getaffinity(0))):
            error = self._attempt(processor)
            if error is None:
                return
            # A kernel compares mount namespaces by numbers that it hands out per processor, and
            # takes a younger one made elsewhere for an older one, which would be a loop.
            if error.errno != errno.EINVAL or self.mnt is None:
                break
        assert error is not None
        raise refused("make namespaces", error, where=", ".join(map(str, pins.values()))) from error

    def _attempt(self, processor: int | None) -> OSError | None:
        pins, done = self._pins(), list[Path]()
        try:
            with _holder(tuple(pins), self.ids, processor) as pid:
                for kind, path in pins.items():
                    path.touch(mode=0o600, exist_ok=True)
                    source = f"/proc/{pid}/ns/{kind}"
                    syscalls.mount(source, str(path), None, syscalls.MS_BIND, None)
                    done.append(path)
        except OSError as error:
            for path in done:
                Unpin(path=path).perform()
            return error
        return None

    def argv(self) -> tuple[Argv, ...]:
        """See `Change.argv`; util-linux, and a few lines of shell for a user namespace."""
        pins = self._pins()
        touched = ("touch", *map(str, pins.values()))
        names = {"mnt": "mount", "net": "net", "user": "user"}
        private = ("--propagation", "private") if self.mnt else ()
        if self.ids is None:
            flags = (f"--{names[kind]}={path}" for kind, path in pins.items())
            return (touched, ("unshare", *flags, *private, "true"))
        words = " ".join([*(f"--{names[kind]}" for kind in pins), *private])
        pairs = (f"{kind}={path}" for kind, path in pins.items())
        script = ("sh", "-c", _USER_SCRIPT, "_", self.ids.lines().strip(), words, *pairs)
        return (touched, script)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpin(Change):
    """Let go of a pinned namespace and remove its file; nothing to do is no error."""

    path: Path

    def perform(self) -> None:
        """See `Change.perform`."""
        try:
            while is_pinned(self.path):
                syscalls.umount(str(self.path), syscalls.MNT_DETACH | syscalls.UMOUNT_NOFOLLOW)
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise refused("let go of a namespace", error, where=str(self.path)) from error

    def argv(self) -> tuple[Argv, ...]:
        """See `Change.argv`."""
        return (("umount", "--lazy", str(self.path)), ("rm", "--force", str(self.path)))


def is_pinned(path: Path) -> bool:
    """Whether a namespace is pinned at `path`, as this mount namespace shows it."""
    try:
        return path.stat().st_dev == Path("/proc/self/ns/net").stat().st_dev
    except FileNotFoundError:
        return False


def enter(*paths: Path) -> None:
    """Move the calling thread into pinned namespaces, in the order given (user namespaces first).

    A process does this before it starts its first thread. All are opened before any is entered,
    because a mount namespace hides the paths of the others.

    Raises:
        errors.Failed: TFG-3001.

    """
    descriptors: list[int] = []
    try:
        descriptors.extend(os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in paths)
        for descriptor in descriptors:
            syscalls.setns(descriptor, 0)
    except OSError as error:
        where = ", ".join(map(str, paths))
        raise refused("enter a namespace", error, where=where) from error
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def apart(pin: Path, make: Callable[[], _T]) -> _T:
    """What `make` returns in a pinned namespace, called by a thread that lives no longer than it.

    For what is made there and used elsewhere, such as a socket: the caller's own namespace is never
    another one, whatever `make` does or how it fails.

    Raises:
        errors.Failed: TFG-3001, the namespace could not be entered.

    """
    made: list[_T] = []
    faults: list[BaseException] = []

    def body() -> None:
        try:
            # A mount namespace admits nobody who shares root and working directory with others.
            syscalls.unshare(_CLONE_FS)
            enter(pin)
            made.append(make())
        except BaseException as fault:  # noqa: BLE001 - carried to the caller's thread
            faults.append(fault)

    thread = threading.Thread(target=body, name="apart")
    thread.start()
    thread.join()
    if faults:
        raise faults[0]
    return made[0]


@contextmanager
def inside(netns: Path) -> Iterator[None]:
    """Run a short block of this thread in a pinned network namespace, and come back."""
    back = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        enter(netns)
        try:
            yield
        finally:
            syscalls.setns(back, syscalls.CLONE_NEWNET)
    finally:
        os.close(back)


@contextmanager
def _holder(kinds: tuple[str, ...], ids: IdMap | None, processor: int | None) -> Iterator[int]:
    """The pid of a process in new namespaces, for as long as the block lasts.

    It is a `cat`, which answers once it is there and ends when this process closes its input or
    dies. A fork of this one would cost ten times as much, and only the forking thread would live.
    """
    words = [word for kind in kinds for word in _WORDS[kind]]
    with _on(processor):
        process = subprocess.Popen(
            ["unshare", *words, "cat"],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PATH": _PATH, "LC_ALL": "C"},
        )
    with process:
        assert process.stdin and process.stdout and process.stderr  # noqa: PT018 - for the types
        with suppress(BrokenPipeError):
            process.stdin.write(b"\n")
        if process.stdout.read(1) != b"\n":
            said = process.stderr.read(300).decode("utf-8", "replace").strip()
            raise OSError(_errno_in(said), said)
        if ids:
            Path(f"/proc/{process.pid}/uid_map").write_text(ids.lines(), "ascii")
            Path(f"/proc/{process.pid}/gid_map").write_text(ids.lines(), "ascii")
        yield process.pid


def _errno_in(said: str) -> int:
    """The number whose text ends what a program said."""
    found = (number for number in errno.errorcode if said.endswith(os.strerror(number)))
    return next(found, errno.EIO)


@contextmanager
def _on(processor: int | None) -> Iterator[None]:
    """Let what this thread starts in the block run on one processor only."""
    if processor is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {processor})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
