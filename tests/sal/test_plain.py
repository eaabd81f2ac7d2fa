"""What changes render and reading functions parse, and claims on plain files."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import socket
from pathlib import Path

import pytest

from tfgrid.core import errors, limits
from tfgrid.jumpscale import executors
from tfgrid.jumpscale.sal import cgroups, claims, disks, mounts, namespaces

_V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
_HYBRID = (
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "39 31 0:36 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"
    "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n"
    "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
)
_TREE_V2 = cgroups.Tree(
    layout="v2",
    unified=Path("/cg"),
    controllers=dict.fromkeys(("memory", "pids", "cpu"), Path("/cg")),
)


def test_the_layout_is_recognised() -> None:
    """One v2 mount is v2; controllers beside a v2 mount are hybrid; without it they are v1."""
    hybrid = cgroups.detect(_HYBRID)

    assert cgroups.detect(_V2).layout == "v2"
    assert hybrid.layout == "hybrid"
    assert hybrid.unified == Path("/sys/fs/cgroup/unified")
    assert hybrid.folder("a/b", "cpuacct") == Path("/sys/fs/cgroup/cpu,cpuacct/a/b")
    assert set(hybrid.controllers) == {"cpu", "cpuacct", "memory", "pids"}
    assert cgroups.detect(_HYBRID.replace("cgroup2", "tmpfs")).layout == "v1"


def test_v2_limits_are_rendered() -> None:
    """On v2 the same bounds go to the v2 files, with swap switched off."""
    change = cgroups.GroupLimits(
        tree=_TREE_V2, name="/g/n", memory_bytes=4096, processes=5, cpu_millis=1500
    )

    assert {line[-1]: line[-2] for line in change.argv()} == {
        "/cg/g/n/memory.max": "4096",
        "/cg/g/n/memory.swap.max": "0",
        "/cg/g/n/pids.max": "5",
        "/cg/g/n/cpu.max": "150000 100000",
    }


def test_v2_delegation_reaches_from_the_root_to_the_group() -> None:
    """Controllers are enabled in every group on the way, and in the group for those below."""
    change = cgroups.GroupMake(tree=_TREE_V2, name="g/n", delegate=True)
    lines = change.argv()

    assert lines[0] == ("mkdir", "--parents", "/cg/g/n")
    assert [line[-1] for line in lines[1:]] == [
        "/cg/cgroup.subtree_control",
        "/cg/g/cgroup.subtree_control",
        "/cg/g/n/cgroup.subtree_control",
    ]
    assert {line[-2] for line in lines[1:]} == {"+memory +pids +cpu"}


def test_v2_files_are_performed_and_read_back(tmp_path: Path) -> None:
    """What is written to v2 files is what is read from them."""
    group = tmp_path / "g"
    group.mkdir()
    for name in ("memory.max", "memory.swap.max", "pids.max", "cpu.max"):
        (group / name).touch()
    tree = cgroups.Tree(
        layout="v2",
        unified=tmp_path,
        controllers=dict.fromkeys(("memory", "pids", "cpu"), tmp_path),
    )
    asked = cgroups.GroupLimits(
        tree=tree, name="g", memory_bytes=2**30, processes=7, cpu_millis=333
    )
    asked.perform()

    assert cgroups.read_limits(tree, "g") == {
        "memory_bytes": 2**30, "swap_bytes": 0, "processes": 7, "cpu_millis": 333,
    }  # fmt: skip
    (group / "memory.max").write_text("max")
    assert cgroups.read_limits(tree, "g")["memory_bytes"] is None


def test_a_group_stays_below_the_root() -> None:
    """A name that climbs is a programmer's fault."""
    with pytest.raises(AssertionError):
        _TREE_V2.folders("a/../../b")


def test_commands_read_as_a_person_would_type_them() -> None:
    """A change prints as its command lines, quoted for a shell."""
    change = mounts.Bind(source=Path("/a b"), target=Path("/c"), read_only=True)

    assert executors.script([change, mounts.Unmount(target=Path("/c"), lazy=True)]) == (
        "mount --bind '/a b' /c\nmount --options remount,bind,ro /c\numount --lazy /c\n"
    )


def test_an_idmapped_clone_renders_its_map() -> None:
    """The rendered command carries the map that the native change takes from the namespace."""
    change = mounts.IdmappedClone(
        source=Path("/s"), target=Path("/t"), userns=Path("/u"), base=100, count=7, read_only=True
    )

    assert change.argv() == (
        ("mount", "--bind", "--options", "X-mount.idmap=0:100:7,ro,nodev", "/s", "/t"),
    )


def test_an_overlay_path_cannot_add_options() -> None:
    """A colon is escaped and a comma refused, so that a path stays a path."""
    lower = (Path("/a:b"), Path("/c"))

    assert mounts.overlay_options(lower, None, None) == "lowerdir=/a\\:b:/c"
    with pytest.raises(ValueError, match="comma"):
        mounts.overlay_options((Path("/a,upperdir=/etc"),), None, None)


def test_a_user_namespace_renders_with_its_map() -> None:
    """User and network namespace are made by one command."""
    ids = namespaces.IdMap(base=100, count=10)
    change = namespaces.Pin(user=Path("/u"), net=Path("/n"), ids=ids)

    touched, made = change.argv()

    assert touched == ("touch", "/u", "/n")
    assert made[-4:] == ("0 100 10", "--user --net", "user=/u", "net=/n")


def test_a_disk_has_inodes_by_its_size() -> None:
    """A small disk has one inode per 8 KiB, so that many files fit and metadata stays small."""
    lines = disks.DiskMake(path=Path("/d"), size_bytes=8 * 1024**2).argv()

    assert lines[1][lines[1].index("-N") + 1] == "1024"


def test_a_command_is_bounded_in_time_and_told_apart() -> None:
    """A missing program, a slow one and a failing one are three errors."""
    with pytest.raises(errors.MachineLacks, match="TFG-3002"):
        executors.run(["no-such-program"])
    with pytest.raises(errors.StillGoing, match="TFG-3003"):
        executors.run(["sleep", "5"], timeout_seconds=0.05)
    with pytest.raises(errors.Failed, match=r"TFG-3004.*why") as caught:
        executors.run(["sh", "-c", "echo why >&2; exit 3"])

    assert caught.value.details["exit_code"] == 3
    assert executors.run(["cat"], stdin="x").stdout == "x"


def test_commands_go_through_a_prefix(tmp_path: Path) -> None:
    """A prefix such as ssh gets the line as arguments, or quoted as one."""
    target = tmp_path / "a b"
    change = cgroups.GroupMake(
        tree=cgroups.Tree(layout="v2", unified=tmp_path, controllers={}), name="a b"
    )
    executors.Commands(("sh", "-c"), quoting=True).apply([change])

    assert target.is_dir()


def test_a_claim_is_repeated_and_nobody_elses(tmp_path: Path) -> None:
    """The same owner gets the same answer, another owner another one, also after a restart."""
    first = claims.Claims(tmp_path).uids("g/n1/a")
    second = claims.Claims(tmp_path).uids("g/n1/b")

    assert claims.Claims(tmp_path).uids("g/n1/a") == first
    assert second == first + limits.uids_per_container
    assert claims.Claims(tmp_path).underlay("g") == "10.100.0.0/24"
    assert claims.Claims(tmp_path).underlay("h", taken=["10.100.1.0/24"]) == "10.100.2.0/24"


def test_release_is_by_owner_and_all_below(tmp_path: Path) -> None:
    """Releasing a node releases its containers, and not a node whose name begins alike."""
    allocator = claims.Claims(tmp_path)
    for owner in ("g/n1/a", "g/n1", "g/n10/a", "h/n1"):
        allocator.uids(owner)
    gone = allocator.release("g/n1")

    assert {claim.owner for claim in gone} == {"g/n1", "g/n1/a"}
    assert {claim.owner for claim in allocator.held()} == {"g/n10/a", "h/n1"}
    assert allocator.release("g/n1") == ()
    assert allocator.uids("new") == gone[0].value or allocator.uids("new") == gone[1].value


def test_a_port_in_use_is_passed_over(tmp_path: Path) -> None:
    """A port on which somebody listens, or that is claimed, is not handed out."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        allocator = claims.Claims(tmp_path)

        assert allocator.port("a", port) > port
        assert allocator.port("b", port) > allocator.port("a", port)


def test_when_nothing_is_left_it_is_said(tmp_path: Path) -> None:
    """The last range is handed out, and the next asker is told what to do."""
    allocator = claims.Claims(tmp_path)
    allocator.uids("first")
    rows = [["uids", 0x7000_0000 + n * 65_536, f"o{n}"] for n in range(4095)]
    (tmp_path / "claims.json").write_text(json.dumps(rows))
    with pytest.raises(errors.Failed, match="TFG-3010"):
        allocator.uids("late")
    assert allocator.uids("o7") == rows[7][1]


@pytest.mark.parametrize("text", ["", "{", '{"a":1}', "[[1]]", '[["uids","x","o"]]'])
def test_a_damaged_file_hands_out_nothing(tmp_path: Path, text: str) -> None:
    """Rather than hand out what may be taken, the allocator stops and says so."""
    (tmp_path / "claims.json").write_text(text)
    with pytest.raises(errors.VerificationFailed, match="TFG-3012"):
        claims.Claims(tmp_path).uids("a")


@pytest.mark.parametrize("text", ["", "{", '[["uids","x","o"]]'])
def test_a_damaged_file_of_ranges_hands_out_none(tmp_path: Path, text: str) -> None:
    """The same for the file of this boot."""
    claims.Claims(tmp_path).uids("a")
    next(tmp_path.glob("uids.*.json")).write_text(text)
    with pytest.raises(errors.VerificationFailed, match="TFG-3012"):
        claims.Claims(tmp_path).uids("b")


def test_ranges_of_another_boot_are_free_again(tmp_path: Path) -> None:
    """What ran under a range ended with its boot; even a file that a power cut left half counts."""
    (tmp_path / "uids.5f1f9f3e-0000-4000-8000-000000000000.json").write_text("")
    port = claims.Claims(tmp_path).port("a", 20_000)
    first = claims.Claims(tmp_path).uids("a")

    assert len(list(tmp_path.glob("uids.*"))) == 1
    assert {c.value for c in claims.Claims(tmp_path).held()} == {port, first}


def test_only_what_outlives_a_boot_is_forced_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taking and giving back a range waits for no disk; a network and a port are on it."""
    forced: list[int] = []
    monkeypatch.setattr("os.fsync", forced.append)
    allocator = claims.Claims(tmp_path)
    allocator.underlay("g")
    before = len(forced)
    allocator.uids("g/a")
    allocator.release("g/a")

    assert before == 2
    assert len(forced) == before
    assert [c.owner for c in claims.Claims(tmp_path).held()] == ["g"]


@pytest.mark.parametrize("owner", ["", "/", "a//b", "a/", "../x y", "a\nb", "a" * 300])
def test_a_malformed_owner_is_refused(tmp_path: Path, owner: str) -> None:
    """An owner that could release others by accident never claims."""
    with pytest.raises(errors.BadInput, match="TFG-3011"):
        claims.Claims(tmp_path).uids(owner)
    with pytest.raises(errors.BadInput, match="TFG-3011"):
        claims.Claims(tmp_path).release(owner)


def _claim_many(folder: str, worker: int) -> None:
    allocator = claims.Claims(Path(folder))
    for n in range(10):
        allocator.uids(f"w{worker}/{n}")


def test_many_processes_never_share(tmp_path: Path) -> None:
    """Processes that claim at once all get ranges of their own."""
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_claim_many, args=(str(tmp_path), n)) for n in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    held = claims.Claims(tmp_path).held()

    assert len(held) == 30
    assert len({claim.value for claim in held}) == 30


def test_with_the_last_claim_the_files_go(tmp_path: Path) -> None:
    """Nothing is left when nothing is held, looking makes nothing, and claiming begins anew."""
    allocator = claims.Claims(tmp_path / "claims")
    first = allocator.uids("g/n1")
    assert allocator.release("g")[0].value == first

    assert not (tmp_path / "claims").exists()
    assert allocator.held() == allocator.release("g") == ()
    assert not (tmp_path / "claims").exists()
    assert allocator.uids("h") == first


def _claim_and_release(folder: str, worker: int) -> None:
    allocator = claims.Claims(Path(folder) / "claims")
    for n in range(100):
        mark = Path(folder) / str(allocator.uids(f"w{worker}/{n}"))
        mark.touch(exist_ok=False)  # fails if another process holds the same range
        mark.unlink()
        allocator.release(f"w{worker}")


def test_a_lock_that_was_removed_guards_nobody(tmp_path: Path) -> None:
    """Processes whose claims come and go, and the files with them, still never share a range."""
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=_claim_and_release, args=(str(tmp_path), n)) for n in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert [worker.exitcode for worker in workers] == [0] * 4
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_goes_while_it_is_made_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found there and gone a moment later is no error; what is no directory in its place is."""
    real, calls = Path.mkdir, []

    def mkdir(path: Path, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        calls.append(path)
        if len(calls) == 1:
            raise FileExistsError(path)
        real(path, mode, parents, exist_ok)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    assert claims.Claims(tmp_path / "claims").uids("g") > 0
    assert len(calls) == 2
    (tmp_path / "file").touch()
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    for wrong in ("file", "nowhere", "nowhere/below"):
        with pytest.raises(FileExistsError):
            claims.Claims(tmp_path / wrong).uids("g")


def test_the_mount_table_is_unescaped() -> None:
    """Spaces and backslashes in a mount point come back as they are."""
    assert mounts._unescape("/a\\040b\\134c") == "/a b\\c"


def test_the_direct_launcher_keeps_the_protocol(tmp_path: Path) -> None:
    """A launcher in this process runs, logs, refuses a known name, and forgets."""

    async def body() -> None:
        launcher = executors.DirectLauncher(tmp_path)
        await launcher.spawn(executors.Spawn(name="a", argv=["sh", "-c", "echo x; exit 5"]))
        ended = await launcher.wait("a", 5)

        assert (ended.ended, ended.exit_code) == (True, 5)
        assert await launcher.tail("a", 10) == b"x\n"
        with pytest.raises(errors.Conflict, match="TFG-3020"):
            await launcher.spawn(executors.Spawn(name="a", argv=["true"]))
        await launcher.forget("a")
        assert await launcher.list() == {}
        await launcher.spawn(executors.Spawn(name="b", argv=["sleep", "60"]))
        with pytest.raises(errors.Conflict, match="TFG-3024"):
            await launcher.forget("b")
        await launcher.stop("b", 5)
        with pytest.raises(errors.NotFound, match="TFG-3023"):
            await launcher.wait("b", 0)

    asyncio.run(body())
