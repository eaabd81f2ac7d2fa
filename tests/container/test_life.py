"""The life of a container on a real kernel, of which nothing is left from any state."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.container.ground import Node, in_node, make_image
from tfgrid.capacity import container
from tfgrid.core import errors
from tfgrid.jumpscale.sal import mounts

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny image."""
    return make_image(tmp_path_factory.mktemp("image"))


@pytest.fixture
def ground() -> Iterator[Path]:
    """A folder that container ids may pass through, which pytest's own are not."""
    folder = Path(tempfile.mkdtemp(prefix="tfgrid-container-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


def test_a_container_is_created_started_and_removed(ground: Path, image: Path) -> None:
    """Nothing runs before `start`, limits hold as asked, and `remove` leaves nothing."""

    async def body() -> None:
        node = Node(ground, image)
        spec = node.spec("echo hello; sleep 60")
        created = await node.runtime.create(spec)
        before = await node.runtime.tail("web", 100)
        running = await node.runtime.start("web")
        seen = await node.runtime.observe()

        assert (created.phase, running.phase, before) == ("created", "running", b"")
        assert created.netns == node.runtime.netns("web")
        assert running.limits == spec.limits
        assert seen == {"web": running}
        await node.runtime.remove("web", grace_seconds=0)
        await node.clean()

    in_node(body)


def test_the_exit_code_and_the_log_are_kept(ground: Path, image: Path) -> None:
    """A container that has ended stays, with its exit code and log, until it is removed."""

    async def body() -> None:
        node = Node(ground, image)
        await node.run("echo out; echo err >&2; exit 3")
        ended = await node.ended()

        assert ended.exit_code == 3
        assert await node.runtime.tail("web", 100) == b"out\nerr\n"
        assert (await node.runtime.start("web")).phase == "ended", "it is not started again"
        await node.clean()

    in_node(body)


def test_create_again_does_nothing_and_another_digest_replaces(ground: Path, image: Path) -> None:
    """The same specification leaves the process alone; another one takes its place."""

    async def body() -> None:
        node = Node(ground, image)
        first = await node.run("sleep 60")
        again = await node.runtime.create(node.spec("sleep 60"))
        other = await node.runtime.create(node.spec("sleep 60", digest="01"))

        assert again == first
        assert (other.phase, other.digest) == ("created", "01")
        assert other.pid != first.pid
        await node.clean()

    in_node(body)


def test_owners_are_shifted_both_ways(ground: Path, image: Path) -> None:
    """The image is root's inside, files made inside are the range's outside, the image stays."""

    async def body() -> None:
        node = Node(ground, image)
        script = "stat -c %u:%g /bin/busybox /etc; echo x > /etc/new; rm /etc/passwd; sleep 60"
        await node.run(script)
        made_path = node.runtime.layout("web").root / "etc/new"
        for _ in range(200):
            await asyncio.sleep(0.01)
            if made_path.exists() and not (made_path.parent / "passwd").exists():
                break
        base = node.claims.held()[0].value
        made = made_path.stat()

        assert await node.runtime.tail("web", 100) == b"0:0\n0:0\n"
        assert (made.st_uid, made.st_gid) == (base, base)
        assert (image / "etc/passwd").exists()
        assert not (image / "etc/new").exists()
        await node.clean()

    in_node(body)


def test_two_containers_share_no_ids(ground: Path, image: Path) -> None:
    """Each has a range of its own, and neither could open the other's disk even if it saw it."""

    async def body() -> None:
        node = Node(ground, image)
        await node.run("echo secret > /tmp/s; chmod 600 /tmp/s; sleep 60", name="a")
        await node.run("sleep 60", name="b")
        ranges = sorted(claim.value for claim in node.claims.held())

        assert ranges[1] - ranges[0] >= 65_536
        assert (ground / "state/a").stat().st_mode & 0o077 == 0
        await node.clean()

    in_node(body)


def test_the_disk_is_bounded(ground: Path, image: Path) -> None:
    """Writing beyond the quota, in bytes or in files, fails inside and takes nothing outside."""

    async def body() -> None:
        node = Node(ground, image)
        script = (
            "dd if=/dev/zero of=/big bs=64k 2>&1 | grep -o 'No space left on device'; rm /big;"
            "i=0; while touch /tmp/f$i 2>/dev/null; do i=$((i+1)); done;"
            "[ $i -lt 5000 ] && echo bounded"
        )

        said = await node.said(script)

        assert said.splitlines() == ["No space left on device", "bounded"]
        await node.clean()

    in_node(body)


def test_who_ignores_sigterm_is_removed_in_time(ground: Path, image: Path) -> None:
    """The grace is given, then the container is killed; one that listens ends at once."""

    async def body() -> None:
        node = Node(ground, image)
        await node.run("trap '' TERM; while :; do sleep 1; done", name="deaf")
        await node.run("trap 'exit 0' TERM; while :; do sleep 0.05; done", name="polite")
        await asyncio.sleep(0.2)
        begun = time.monotonic()
        await node.runtime.remove("deaf", grace_seconds=0.5)
        deaf, begun = time.monotonic() - begun, time.monotonic()
        await node.runtime.remove("polite", grace_seconds=20)
        polite = time.monotonic() - begun

        assert 0.5 <= deaf < 3
        assert polite < 3
        await node.clean()

    in_node(body)


def test_what_is_not_there_cannot_be_started_and_is_removed_already(
    ground: Path, image: Path
) -> None:
    """Starting an unknown name is an error, removing it is none."""

    async def body() -> None:
        node = Node(ground, image)
        with pytest.raises(errors.NotFound, match="TFG-3104"):
            await node.runtime.start("web")
        await node.runtime.remove("web")
        await node.clean()

    in_node(body)


def test_a_program_that_is_not_there_leaves_nothing(ground: Path, image: Path) -> None:
    """The error says which program, and whatever was begun is removed."""

    async def body() -> None:
        node = Node(ground, image)
        spec = node.spec("", arguments=("no-such-program",))
        with pytest.raises(errors.Failed, match="no-such-program"):
            await node.runtime.create(spec)
        node.assert_nothing_left()
        with pytest.raises(errors.BadInput, match="TFG-3102"):
            await node.runtime.create(node.spec("", image=ground / "none"))
        await node.clean()

    in_node(body)


class Cut(Exception):
    """The node process was killed here."""


def _cut_points() -> Iterator[str]:
    yield from ("Pin", "LinkSet", "IdmappedClone", "DiskCopy", "DiskMount", "Overlay")


@pytest.mark.parametrize("point", list(_cut_points()))
@pytest.mark.parametrize("after", [False, True])
def test_half_made_things_are_found_and_removed(
    ground: Path, image: Path, point: str, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A creation that is cut anywhere leaves something broken, seen and removed by the next."""
    from tfgrid.jumpscale.sal import disks, links, mounts, namespaces

    homes = {"LinkSet": links, "Pin": namespaces, "DiskCopy": disks, "DiskMount": disks}
    kind = getattr(homes.get(point, mounts), point)
    original = kind.perform

    def cut(change: object) -> None:
        if after:
            original(change)
        raise Cut

    async def body() -> None:
        node = Node(ground, image)
        monkeypatch.setattr(kind, "perform", cut)
        spec = node.spec("sleep 60")
        with pytest.raises(Cut):
            node.runtime._prepare(spec, node.runtime.layout("web"), None)
        monkeypatch.undo()
        found = await node.restarted(node.launcher).observe()
        with pytest.raises(errors.NotFound, match="TFG-3104"):
            await node.runtime.start("web")
        await node.runtime.create(spec)

        assert found["web"].phase == "broken"
        assert (await node.runtime.start("web")).phase == "running"
        await node.clean()

    in_node(body)


def test_ensuring_in_parallel_makes_one(ground: Path, image: Path) -> None:
    """Creations of one name at once make one container; of several names, each its own."""

    async def body() -> None:
        node = Node(ground, image)
        specs = [node.spec("sleep 60", name=name) for name in ("a", "a", "b", "c")]
        made = await asyncio.gather(*(node.runtime.create(spec) for spec in specs))

        assert made[0] == made[1]
        assert len({status.pid for status in made}) == 3
        await node.clean()

    in_node(body)


def test_a_room_is_made_while_the_image_is_checked(ground: Path, image: Path) -> None:
    """Namespaces and disk are made beside the check; nothing of the image before it has passed."""

    async def body() -> None:
        node = Node(ground, image)
        passed = asyncio.Event()
        spec = node.spec("sleep 60")
        layout = node.runtime.layout("web")

        async def checked() -> container.Spec:
            await passed.wait()
            return spec

        disk_bytes = spec.limits.disk_bytes
        making = asyncio.create_task(node.runtime.create_checked("web", disk_bytes, checked()))
        while not (layout.disk_mount / "work").is_dir():  # noqa: ASYNC110 - a folder sends no event
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        beside = {entry.target for entry in mounts.under(layout.run)}
        waits = not making.done()
        passed.set()
        made = await making

        assert waits
        assert beside == {layout.userns, layout.netns, layout.disk_mount}
        assert made.phase == "created"
        assert (await node.runtime.start("web")).limits == spec.limits
        await node.clean()

    in_node(body)


@pytest.mark.parametrize("ending", ["refused", "cancelled"])
def test_a_check_that_does_not_pass_leaves_nothing(ground: Path, image: Path, ending: str) -> None:
    """Whatever was made beside a check that is refused or cut off is removed."""

    async def body() -> None:
        node = Node(ground, image)
        layout = node.runtime.layout("web")

        async def checked() -> container.Spec:
            while not (layout.disk_mount / "work").is_dir():  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            if ending == "cancelled":
                making.cancel()
                await asyncio.sleep(60)
            raise errors.VerificationFailed("TFG-3231", "the image has other bytes")

        making = asyncio.create_task(node.runtime.create_checked("web", 8 * 1024**2, checked()))
        with pytest.raises((errors.VerificationFailed, asyncio.CancelledError)):
            await making
        node.assert_nothing_left()
        assert await node.runtime.observe() == {}
        await node.clean()

    in_node(body)


def test_a_check_that_does_not_pass_leaves_what_runs(ground: Path, image: Path) -> None:
    """A container that is there is not touched for a new one whose image is refused."""

    async def body() -> None:
        node = Node(ground, image)
        running = await node.run("sleep 60")

        async def checked() -> container.Spec:
            raise errors.VerificationFailed("TFG-3231", "the image has other bytes")

        with pytest.raises(errors.VerificationFailed, match="TFG-3231"):
            await node.runtime.create_checked("web", 8 * 1024**2, checked())

        assert await node.runtime.observe() == {"web": running}
        again = await node.runtime.create_checked("web", 8 * 1024**2, _answer(node.spec("")))
        assert again == running
        await node.clean()

    in_node(body)


async def _answer(spec: container.Spec) -> container.Spec:
    return spec


def test_a_changed_limit_stops_the_start(ground: Path, image: Path) -> None:
    """If the kernel enforces something else than was asked, the workload does not run."""

    async def body() -> None:
        node = Node(ground, image)
        await node.runtime.create(node.spec("echo ran"))
        from tfgrid.jumpscale.sal import cgroups

        cgroups.GroupLimits(
            tree=cgroups.detect(), name=node.runtime.group("web"), processes=1000
        ).perform()
        with pytest.raises(errors.Failed, match="TFG-3105"):
            await node.runtime.start("web")

        assert await node.runtime.tail("web", 10) == b""
        await node.clean()

    in_node(body)
