"""Changes on a real kernel: what a change performs is what its rendered command does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tfgrid.core import errors
from tfgrid.jumpscale import executors
from tfgrid.jumpscale.executors import Commands, Native
from tfgrid.jumpscale.sal import cgroups, disks, mounts, namespaces, processes, syscalls
from tfgrid.jumpscale.sal.change import Change

pytestmark = pytest.mark.root

_BASE = 0x7000_0000
Executor = Native | Commands
both = pytest.mark.parametrize("executor", [Native(), Commands()], ids=["native", "argv"])


def _scratch(body: Callable[[], None]) -> None:
    """Run `body` in a thread with a private mount namespace of its own."""
    faults: list[BaseException] = []

    def thread() -> None:
        try:
            syscalls.unshare(syscalls.CLONE_NEWNS)
            mounts.Propagation(target=Path("/"), mode="private", recursive=True).perform()
            body()
        except BaseException as fault:  # noqa: BLE001 - carried to the caller's thread
            faults.append(fault)

    runner = threading.Thread(target=thread)
    runner.start()
    runner.join()
    if faults:
        raise faults[0]


def _seen(root: Path) -> list[tuple[str, str, tuple[str, ...], tuple[str, ...]]]:
    """The mounts below a folder, without what differs from one mount to the next."""
    noise = ("uuid", "shmid", "index", "inode64")
    return [
        (
            str(entry.target.relative_to(root)),
            entry.kind,
            entry.options,
            tuple(o.replace(str(root), "") for o in entry.super_options if not o.startswith(noise)),
        )
        for entry in mounts.under(root)
    ]


def _mount_changes(root: Path) -> tuple[Change, ...]:
    return (
        mounts.Tmpfs(target=root / "t", size_bytes=1024**2, mode=0o750),
        mounts.Bind(source=root / "a", target=root / "b"),
        mounts.Bind(source=root / "a", target=root / "c", recursive=True, read_only=True),
        mounts.Propagation(target=root / "b", mode="shared"),
        mounts.Overlay(
            target=root / "o",
            lower=(root / "a",),
            upper=root / "up",
            work=root / "work",
            flags=("nosuid", "nodev"),
        ),
        mounts.Mount(kind="proc", source="proc", target=root / "p", flags=("ro", "noexec")),
    )


def test_mounts_are_the_same_either_way(tmp_path: Path) -> None:
    """The mount table after native changes equals the one after the rendered commands."""
    tables = []

    def body() -> None:
        executors_tried: tuple[Executor, ...] = (Native(), Commands())
        for number, executor in enumerate(executors_tried):
            root = tmp_path / str(number)
            for name in ("a", "b", "c", "o", "p", "t", "up", "work"):
                (root / name).mkdir(parents=True)
            (root / "a/file").write_text("x")
            executor.apply(_mount_changes(root))
            assert (root / "o/file").read_text() == "x"
            tables.append(_seen(root))

    _scratch(body)

    assert len(tables[0]) == 5
    assert tables[0] == tables[1]


@both
def test_unmount_takes_a_mount_away(tmp_path: Path, executor: Executor) -> None:
    """A busy mount is kept by a plain unmount and detached by a lazy one."""

    def body() -> None:
        mounts.Tmpfs(target=tmp_path, size_bytes=4096).perform()
        with (tmp_path / "open").open("w"):
            with pytest.raises(errors.Failed):
                executor.apply([mounts.Unmount(target=tmp_path)])
            executor.apply([mounts.Unmount(target=tmp_path, lazy=True)])
        assert mounts.under(tmp_path) == ()

    _scratch(body)


@both
def test_namespaces_are_pinned_and_let_go(tmp_path: Path, executor: Executor) -> None:
    """A pinned network namespace is a new one, has only loopback, and is gone after letting go."""

    def body() -> None:
        pin = tmp_path / "net"
        executor.apply([namespaces.Pin(net=pin)])
        with namespaces.inside(pin):
            links = executors.run(["ls", "/sys/class/net"], check=False)
            found = Path("/proc/thread-self/net/dev").read_text().splitlines()[2:]
        assert links.exit_code == 0
        assert [line.split(":")[0].strip() for line in found] == ["lo"]
        assert namespaces.is_pinned(pin)
        executor.apply([namespaces.Unpin(path=pin)])
        assert not pin.exists()

    _scratch(body)


def test_mount_namespaces_are_the_same_either_way(tmp_path: Path) -> None:
    """A pinned mount namespace is private either way."""
    seen = []

    def body() -> None:
        # The rendered command has no answer to kernels that number namespaces by processor.
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        syscalls.unshare(syscalls.CLONE_NEWNS)
        mounts.Bind(source=tmp_path, target=tmp_path).perform()
        mounts.Propagation(target=tmp_path).perform()
        for name, executor in (("n", Native()), ("c", Commands())):
            pin = tmp_path / name
            executor.apply([namespaces.Pin(mnt=pin)])
            line = ["nsenter", f"--mount={pin}", "sh", "-c", "cat /proc/self/mountinfo"]
            text = executors.run(line).stdout
            seen.append("shared:" in text)
            namespaces.Unpin(path=pin).perform()

    _scratch(body)

    assert seen == [False, False]


def test_a_user_namespace_owns_the_network_namespace_made_with_it(tmp_path: Path) -> None:
    """Root of a user namespace may change its network namespace, and the map is as asked."""

    def body() -> None:
        for name, executor in (("n", Native()), ("c", Commands())):
            ids = namespaces.IdMap(base=_BASE, count=65_536)
            user, net = tmp_path / name, tmp_path / f"{name}-net"
            executor.apply([namespaces.Pin(user=user, net=net, ids=ids)])
            line = ["nsenter", f"--user={user}", f"--net={net}", "--setuid", "0", "--"]
            text = executors.run([*line, "cat", "/proc/self/uid_map", "/proc/self/gid_map"])
            assert text.stdout.split() == ["0", str(_BASE), "65536"] * 2
            executors.run([*line, "ip", "link", "set", "lo", "up"])
            for pin in (net, user):
                executor.apply([namespaces.Unpin(path=pin)])

    _scratch(body)


def test_a_pin_that_fails_leaves_no_mount(tmp_path: Path) -> None:
    """If the second of two pins cannot be made, the first is let go."""

    def body() -> None:
        ids = namespaces.IdMap(base=_BASE, count=65_536)
        missing = tmp_path / "none/net"
        with pytest.raises(errors.Failed, match="TFG-3001"):
            namespaces.Pin(user=tmp_path / "user", net=missing, ids=ids).perform()
        assert mounts.under(tmp_path) == ()

    _scratch(body)


def test_an_idmapped_clone_shifts_owners_and_changes_nothing(tmp_path: Path) -> None:
    """Root's files appear as the range's first id through the clone, and as root's beside it."""

    def body() -> None:
        source, target, user = tmp_path / "s", tmp_path / "t", tmp_path / "user"
        source.mkdir()
        target.mkdir()
        (source / "f").write_text("x")
        os.chown(source / "f", 5, 7)
        namespaces.Pin(user=user, ids=namespaces.IdMap(base=_BASE, count=65_536)).perform()
        mounts.IdmappedClone(
            source=source, target=target, userns=user, base=_BASE, count=65_536, read_only=True
        ).perform()
        through, beside = (target / "f").stat(), (source / "f").stat()
        assert (through.st_uid, through.st_gid) == (_BASE + 5, _BASE + 7)
        assert (beside.st_uid, beside.st_gid) == (5, 7)
        with pytest.raises(OSError, match="Read-only"):
            (target / "g").write_text("x")
        mounts.Unmount(target=target).perform()
        namespaces.Unpin(path=user).perform()

    _scratch(body)


@both
def test_a_disk_is_a_hard_quota(tmp_path: Path, executor: Executor) -> None:
    """A disk fills up at its size, takes what is used, and its loop device goes with its mount."""

    def body() -> None:
        disk, target = tmp_path / "d.ext4", tmp_path / "m"
        target.mkdir()
        empty = tmp_path / "empty"
        executor.apply([disks.DiskMake(path=empty, size_bytes=8 * 1024**2)])
        executor.apply([disks.DiskCopy(template=empty, path=disk)])
        fresh = disk.stat().st_blocks * 512
        executor.apply([disks.DiskMount(path=disk, target=target)])
        assert len(disks.loops_of(disk)) == 1
        with pytest.raises(OSError, match="No space left"):
            (target / "big").write_bytes(bytes(9 * 1024**2))
        assert (target / "big").stat().st_size > 5 * 1024**2
        mounts.Unmount(target=target).perform()
        for _ in range(100):
            if not disks.loops_of(disk):
                break
            time.sleep(0.01)
        assert disks.loops_of(disk) == ()
        assert fresh < 1024**2
        assert disk.stat().st_size == 8 * 1024**2

    _scratch(body)


def test_a_process_that_lets_moves_pass_stays_where_it_is() -> None:
    """Inside `moving` a child moves to another group; this process never leaves its own."""
    tree = cgroups.detect()
    name = f"tfgrid-test-{os.getpid()}"
    here = Path("/proc/self/cgroup").read_text("ascii")
    before = threading.active_count()
    with cgroups.moving(tree):
        assert threading.active_count() == before + 1
        cgroups.GroupMake(tree=tree, name=name).perform()
        with subprocess.Popen(["sleep", "60"]) as child:
            cgroups.GroupJoin(tree=tree, name=name, pid=child.pid).perform()
            found = cgroups.processes(tree, name)
            child.kill()
        assert found == (child.pid,)
        assert Path("/proc/self/cgroup").read_text("ascii") == here
    cgroups.GroupRemove(tree=tree, name=name).perform()
    until = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < until:
        time.sleep(0.01)
    assert threading.active_count() == before
    with cgroups.moving(cgroups.Tree(layout="v1", unified=None, controllers={})):
        assert threading.active_count() == before


def test_a_disk_is_not_made_twice(tmp_path: Path) -> None:
    """A disk that is there is never formatted again."""
    disk = tmp_path / "d"
    disks.DiskMake(path=disk, size_bytes=4 * 1024**2).perform()
    with pytest.raises(errors.Failed, match="TFG-3032"):
        disks.DiskMake(path=disk, size_bytes=4 * 1024**2).perform()


@both
def test_a_group_limits_kills_and_goes(executor: Executor) -> None:
    """A group's bounds are read back, its processes killed at once, and it is removed."""
    tree = cgroups.detect()
    name = f"tfgrid-sal-test-{os.getpid()}"
    executor.apply([cgroups.GroupMake(tree=tree, name=f"{name}/below")])
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        executor.apply(
            [
                cgroups.GroupLimits(
                    tree=tree, name=name, memory_bytes=2**26, processes=9, cpu_millis=250
                ),
                cgroups.GroupJoin(tree=tree, name=f"{name}/below", pid=child.pid),
            ]
        )
        bounds = cgroups.read_limits(tree, name)
        inside = cgroups.processes(tree, name)
        executor.apply([cgroups.GroupKill(tree=tree, name=name)])
        if tree.unified is None:
            child.kill()
        code = child.wait(5)
    finally:
        child.kill()
        child.wait()
        executor.apply([cgroups.GroupRemove(tree=tree, name=name)])

    assert bounds == {
        "memory_bytes": 2**26, "swap_bytes": 0, "processes": 9, "cpu_millis": 250,
    }  # fmt: skip
    assert inside == (child.pid,)
    assert code == -9
    assert not any(folder.exists() for folder in tree.folders(name))


def test_a_refusal_has_the_kernels_reason(tmp_path: Path) -> None:
    """The error names what was done, where, and why the kernel refused."""
    with pytest.raises(errors.Failed, match="TFG-3001 the kernel refused to mount nofs") as caught:
        mounts.Mount(kind="nofs", source="x", target=tmp_path).perform()

    assert caught.value.details["errno"] == 19
    assert caught.value.where == str(tmp_path)


def test_a_held_process_is_itself_and_nobody_else() -> None:
    """A pid with another start time is not held; signals and codes are of the held one."""
    child = subprocess.Popen(["sleep", "60"])
    ticks = processes.start_ticks(child.pid)
    assert ticks is not None
    assert processes.Held.open(child.pid, ticks + 1) is None
    with processes.Held.open(child.pid, ticks) or pytest.fail("not held") as held:
        assert not held.ended()
        assert held.exit_code() is None
        assert held.signal(15)
        assert held.wait(5)
        assert held.exit_code() == 143, "while it waits to be reaped"
        child.wait()
        assert not held.signal(15)
        assert held.exit_code() in {143, None}, "None on kernels before 6.15"
    assert processes.start_ticks(child.pid) is None


def test_the_start_time_of_an_oddly_named_process_is_read(tmp_path: Path) -> None:
    """Brackets and spaces in a program's name do not shift the fields."""
    odd = tmp_path / ") S 1 (x"
    shutil.copy("/bin/sleep", odd)
    child = subprocess.Popen([odd, "60"])
    try:
        ticks = processes.start_ticks(child.pid)
        mine = processes.start_ticks(os.getpid())
    finally:
        child.kill()
        child.wait()

    assert ticks is not None
    assert mine is not None
    assert ticks >= mine


def test_a_mount_namespace_is_pinned_whichever_processor_made_the_last(tmp_path: Path) -> None:
    """Nested namespaces made on any processor are pinned, however the kernel numbers them."""

    def body() -> None:
        everywhere = os.sched_getaffinity(0)
        for number, processor in enumerate([*sorted(everywhere), min(everywhere)]):
            os.sched_setaffinity(0, {processor})
            syscalls.unshare(syscalls.CLONE_NEWNS)
            os.sched_setaffinity(0, everywhere)
            pin = tmp_path / str(number)
            mounts.Bind(source=tmp_path, target=tmp_path).perform()
            mounts.Propagation(target=tmp_path).perform()
            namespaces.Pin(mnt=pin).perform()
            namespaces.Unpin(path=pin).perform()
            mounts.Unmount(target=tmp_path).perform()

    _scratch(body)
