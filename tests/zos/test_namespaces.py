"""The primitive alone, on a real network and a real Zero-DB: adopt, change in place, never lose."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.zos.holding import Node, item, network, on_node
from tests.zos.scenes import MIB
from tests.zos.tenants import Tenant
from tfgrid.agents import zos
from tfgrid.agents.zos.core0 import inventory, items
from tfgrid.agents.zos.primitives import network as networks
from tfgrid.agents.zos.primitives import zdb as namespaces
from tfgrid.capacity import zdb, znet
from tfgrid.core import errors, limits, native
from tfgrid.core.ids import FarmId, IdentityId, LedgerId
from tfgrid.core.store import MemoryStore
from tfgrid.ledger import bcdb


@pytest.mark.root
@pytest.mark.slow
def test_made_used_and_removed(tmp_path: Path) -> None:
    """Ensuring twice changes nothing; the facts are read back; removing leaves no file."""

    async def body(here: Node) -> None:
        assert await here.observe() == {}
        made = await here.primitive.ensure(item())
        assert (made.condition, made.facts["disk_bytes"]) == ("running", 100 * MIB)
        assert here.ask("SET", "k", "v") == b"k"
        pids = here.pids()
        again = await here.primitive.ensure(item())
        assert again == await here.seen(item())
        assert again.facts["keys"] == 1 and here.pids() == pids

        await here.primitive.remove(item().key)
        await here.primitive.remove(item().key)
        assert await here.observe() == {} and here.pids() == set()
        assert list(here.disks["ssd"].iterdir()) == []
        assert list(here.store.names("")) == []

    on_node(tmp_path, body)


@pytest.mark.root
@pytest.mark.slow
def test_resized_in_place(tmp_path: Path) -> None:
    """More, then less: same process, same open connection, same data, and the new limits hold."""
    more: dict[str, Any] = {"keys_max": 4, "disk_bytes": 200 * MIB, "history": "last:2"}

    async def body(here: Node) -> None:
        await here.primitive.ensure(item(keys_max=2))
        address, pids = network().services[0].address4, here.pids()
        with Tenant(here.web, address) as tenant:
            for key in ("a", "b"):
                assert tenant("SET", key, key) == key.encode()
            assert "No space left" in tenant.refused("SET", "c", "c")

            larger = await here.primitive.ensure(item(**more))
            assert (larger.facts["keys_max"], larger.facts["disk_bytes"]) == (4, 200 * MIB)
            assert (larger.condition, larger.digest) == ("running", item(**more).digest)
            assert (await here.held()).history == "last:2"
            assert tenant("SET", "c", "c") == b"c"

            smaller = await here.primitive.ensure(item(keys_max=3, disk_bytes=50 * MIB))
            assert (smaller.facts["keys_max"], smaller.facts["disk_bytes"]) == (3, 50 * MIB)
            assert (smaller.condition, smaller.facts["keys"]) == ("running", 3)
            assert (await here.held()).history == "all"
            assert [tenant("GET", key) for key in ("a", "b", "c")] == [b"a", b"b", b"c"]
            assert "No space left" in tenant.refused("SET", "d", "d")
        assert here.pids() == pids

    on_node(tmp_path, body)


@pytest.mark.root
@pytest.mark.slow
def test_a_change_that_cannot_be_is_refused_and_keeps_the_data(tmp_path: Path) -> None:
    """Another mode for a namespace that was written to is an error; what it holds stays."""

    async def body(here: Node) -> None:
        await here.primitive.ensure(item())
        assert here.ask("SET", "k", "v") == b"k"
        with pytest.raises(errors.Conflict) as caught:
            await here.primitive.ensure(item(mode="seq"))
        assert caught.value.code == "TFG-3715"
        seen = await here.seen(item())
        assert (seen.condition, seen.digest) == ("running", item().digest)
        assert here.ask("GET", "k") == b"v"
        assert (await here.primitive.ensure(item())).condition == "running"

    on_node(tmp_path, body)


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.parametrize("served", [True, False], ids=["served", "server dead"])
def test_less_than_it_holds_is_refused(tmp_path: Path, served: bool) -> None:
    """Fewer keys or bytes than are there: nothing changes, with figures; what fits is taken."""

    async def refused(here: Node, what: str, **fields: int) -> None:
        before = await here.held()
        if not served:
            (pid,) = here.pids()
            os.kill(pid, signal.SIGKILL)
            await here.launcher.wait("zdb-ssd", 5)
        with pytest.raises(errors.Conflict) as caught:
            await here.primitive.ensure(item(**fields))
        assert (caught.value.code, caught.value.where) == ("TFG-4026", "data")
        assert what in caught.value.what
        assert await here.held() == before
        seen = await here.seen(item())
        assert (seen.condition, seen.digest) == ("running", item().digest)
        assert here.ask("SET", "k", what) == b"k"

    async def body(here: Node) -> None:
        await here.primitive.ensure(item())
        for key in ("k", "l"):
            here.ask("SET", key, "v")
        await refused(here, "holds 2 keys, and is to hold at most 1", keys_max=1)
        with Tenant(here.web, network().services[0].address4) as tenant:
            for number in range(3):
                tenant("SET", f"large{number}", "x" * MIB)
        less = f"bytes, and is to hold at most {2 * MIB}"
        await refused(here, less, disk_bytes=2 * MIB)

        fits = await here.primitive.ensure(item(keys_max=5, disk_bytes=6 * MIB))
        assert (fits.condition, fits.facts["keys"]) == ("running", 5)
        assert here.ask("GET", "k") == less.encode()

    on_node(tmp_path, body)


@pytest.mark.root
@pytest.mark.slow
def test_more_than_its_disk_has_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It grows into what nobody was promised, to the byte; beyond that all goes on as before."""

    async def body(here: Node) -> None:
        other = zdb.Reservation(name="other", disk_bytes=30 * MIB, places={})
        await here.primitive.ensure(item())
        await here.made[0].device.ensure(other)
        here.ask("SET", "k", "v")
        promised = sum(
            held.disk_bytes_max - held.disk_bytes
            for held in (await here.made[0].device.observe()).values()
        )
        disk = SimpleNamespace(free=promised + 50 * MIB)
        monkeypatch.setattr(shutil, "disk_usage", lambda _path: disk)
        before = await here.held()
        with pytest.raises(errors.Conflict) as caught:
            await here.primitive.ensure(item(disk_bytes=150 * MIB + 1))
        assert (caught.value.code, caught.value.where) == ("TFG-4025", "data")
        assert f"by {50 * MIB + 1} bytes, and its disk has {50 * MIB}" in caught.value.what
        assert await here.held() == before
        seen = await here.seen(item())
        assert (seen.condition, seen.digest) == ("running", item().digest)
        assert here.ask("GET", "k") == b"v"

        assert (await here.primitive.ensure(item(disk_bytes=150 * MIB))).condition == "running"
        disk.free = 0
        assert (await here.primitive.ensure(item(disk_bytes=150 * MIB))).condition == "running"
        assert (await here.primitive.ensure(item(disk_bytes=90 * MIB))).condition == "running"

    on_node(tmp_path, body)


@pytest.mark.root
@pytest.mark.slow
def test_a_change_cut_before_it_was_written_down_is_mended(tmp_path: Path) -> None:
    """With the device changed and the note missing it is seen as what it was, until ensured."""

    async def body(here: Node) -> None:
        larger = item(disk_bytes=200 * MIB)
        await here.primitive.ensure(item())
        here.ask("SET", "k", "v")
        here.store.fail_writes = True
        with pytest.raises(errors.Failed):
            await here.primitive.ensure(larger)
        here.store.fail_writes = False
        here.again()
        seen = await here.seen(item())
        assert (seen.digest, seen.facts["disk_bytes"]) == (item().digest, 200 * MIB)
        assert (seen.condition, seen.facts["reason"]) == (
            "broken", "its limits are not those agreed",
        )  # fmt: skip
        mended = await here.primitive.ensure(larger)
        assert (mended.condition, mended.digest) == ("running", larger.digest)
        assert here.ask("GET", "k") == b"v"

    on_node(tmp_path, body)


@pytest.mark.root
@pytest.mark.slow
def test_adopted_by_the_next_process(tmp_path: Path) -> None:
    """A new node process sees what runs as it runs, and ensures it without touching it."""

    async def body(here: Node) -> None:
        await here.primitive.ensure(item())
        with Tenant(here.web, network().services[0].address4) as tenant:
            tenant("SET", "k", "v")
            before, pids = await here.seen(item()), here.pids()
            here.again()
            here.box.again()
            here.again()
            assert (await here.seen(item())).condition == before.condition == "running"
            await here.primitive.ensure(item())
            assert tenant("GET", "k") == b"v"
            assert here.pids() == pids

    on_node(tmp_path, body)


@pytest.mark.root
@pytest.mark.slow
def test_a_dead_server_is_seen_and_another_serves(tmp_path: Path) -> None:
    """After kill -9 it is broken, with the reason; ensured, it has everything acknowledged."""

    async def body(here: Node) -> None:
        await here.primitive.ensure(item())
        here.ask("SET", "k", "v")
        (pid,) = here.pids()
        os.kill(pid, signal.SIGKILL)
        await here.launcher.wait("zdb-ssd", 5)
        seen = await here.seen(item())
        assert (seen.condition, seen.facts["reason"]) == ("broken", "nobody serves its disk")
        assert seen.digest == item().digest
        assert (await here.primitive.ensure(item())).condition == "running"
        assert here.ask("GET", "k") == b"v"

    on_node(tmp_path, body)


@pytest.mark.root
@pytest.mark.slow
def test_a_network_made_anew_gets_another_entrance(tmp_path: Path) -> None:
    """When its network is removed and made again it is broken until it listens in the new one."""

    async def body(here: Node) -> None:
        await here.primitive.ensure(item())
        here.ask("SET", "k", "v")
        await here.box.networks.remove(network().id)
        assert (await here.seen(item())).condition == "broken"
        with pytest.raises(errors.NotFound):
            await here.primitive.ensure(item())
        await here.box.networks.prepare(network().id)
        await here.networked()
        seen = await here.seen(item())
        assert (seen.condition, seen.facts["reason"]) == (
            "broken", "nobody listens at its address",
        )  # fmt: skip
        await here.primitive.ensure(item())
        assert here.ask("GET", "k") == b"v"

    on_node(tmp_path, body)


@pytest.mark.root
@pytest.mark.slow
def test_data_that_is_not_where_it_was_is_not_made_anew(tmp_path: Path) -> None:
    """With another, empty disk in the old one's place nothing is made; with the old one all is."""

    async def body(here: Node) -> None:
        await here.primitive.ensure(item())
        here.ask("SET", "k", "v")
        await here.made[0].device.stop()
        stored = here.disks["ssd"] / "zdb"
        stored.rename(here.folder / "away")
        for _ in range(2):
            with pytest.raises(errors.NotFound) as caught:
                await here.primitive.ensure(item())
            assert caught.value.code == "TFG-4023"
            here.again()
        seen = await here.seen(item())
        assert (seen.condition, seen.facts["reason"]) == ("broken", "its disk does not have it")
        assert not stored.exists() and here.pids() == set()

        (here.folder / "away").rename(stored)
        await here.primitive.ensure(item())
        assert here.ask("GET", "k") == b"v"

    on_node(tmp_path, body)


@pytest.mark.root
@pytest.mark.slow
def test_each_class_of_disk_has_its_own_server(tmp_path: Path) -> None:
    """A namespace goes to a disk of its class and stays on the one it was made on."""

    async def body(here: Node) -> None:
        with pytest.raises(errors.MachineLacks) as caught:
            await here.primitive.ensure(item(disk_class="hdd"))
        assert caught.value.code == "TFG-4024"
        here.again(disks=("ssd", "hdd"))
        await here.primitive.ensure(item(disk_class="hdd"))
        here.ask("SET", "k", "v")
        assert (here.disks["hdd"] / "zdb").is_dir() and not (here.disks["ssd"] / "zdb").exists()
        moved = await here.primitive.ensure(item(disk_class="ssd"))
        assert moved.condition == "running" and here.ask("GET", "k") == b"v"
        assert not (here.disks["ssd"] / "zdb").exists()

    on_node(tmp_path, body)


@pytest.mark.root
@pytest.mark.slow
def test_nobody_is_served_while_nothing_was_written_down(tmp_path: Path) -> None:
    """With a full disk under the node's own state nothing is made that could not be named."""

    async def body(here: Node) -> None:
        here.store.fail_writes = True
        with pytest.raises(errors.Failed):
            await here.primitive.ensure(item())
        here.store.fail_writes = False
        assert await here.observe() == {} and here.pids() == set()

        await here.primitive.ensure(item())
        here.ask("SET", "k", "v")
        here.store = MemoryStore()
        here.again()
        ((key, seen),) = (await here.observe()).items()
        assert items.contract_of(key) == key.name
        assert seen.facts["reason"] == "nobody wrote down whose it is"

    on_node(tmp_path, body)


@pytest.mark.root
@pytest.mark.slow
def test_the_last_one_takes_nothing_of_others_along(tmp_path: Path) -> None:
    """What the server could not open stays when the last namespace that it serves goes."""

    async def body(here: Node) -> None:
        await here.primitive.ensure(item())
        stranger = here.disks["ssd"] / "zdb/data/somebodys"
        stranger.mkdir()
        (stranger / "file").write_bytes(b"data")
        await here.primitive.remove(item().key)
        assert (stranger / "file").read_bytes() == b"data"

    on_node(tmp_path, body)


# Without a machine


def test_a_node_without_the_native_server_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the native module lacks Zero-DB, or is not there, the inventory lacks namespaces."""
    assert native.has("zdb_main") and not native.has("nothing")
    assert "zdb" not in inventory.machine_lacks()
    monkeypatch.setattr(native, "has", lambda _name: False)
    assert inventory.machine_lacks()["zdb"] == "Zero-DB in the native module"


GIB = 1024**3


def usage(sizes: Mapping[Path, int]) -> Callable[[Path], SimpleNamespace]:
    """`shutil.disk_usage` of a machine with these disks."""
    return lambda path: SimpleNamespace(free=sizes[Path(path)])


def test_no_more_is_offered_than_one_disk_can_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several devices of a class the largest counts; the node's own disk has the containers."""
    paths = [tmp_path / name for name in ("own", "a", "b", "c")]
    own, *devices = paths
    for path in paths:
        path.mkdir()
    sizes = dict(zip(paths, (50 * GIB, 10 * GIB, 30 * GIB, 80 * GIB), strict=True))
    monkeypatch.setattr(shutil, "disk_usage", usage(sizes))

    def offered(kind: str, *classes: str) -> tuple[int, int]:
        monkeypatch.setattr(inventory, "disk_class", lambda _: kind)
        more: list[Any] = list(zip(devices, classes, strict=False))
        found = inventory.machine_capacity(own, more)
        return found.ssd_bytes // GIB, found.hdd_bytes // GIB

    assert offered("ssd") == (50, 0)
    assert offered("hdd") == (0, 50)
    assert offered("ssd", "hdd", "hdd") == (50, 30)
    assert offered("hdd", "hdd", "hdd") == (0, 30)
    assert offered("ssd", "ssd", "ssd") == (30, 0)
    assert offered("ssd", "ssd", "ssd", "ssd") == (50, 0)
    assert offered("hdd", "ssd", "ssd") == (30, 50)
    devices[0].rmdir()
    assert offered("ssd", "hdd") == (50, 0)


class Shelf:
    """A device without a process: it keeps what it is asked to hold."""

    def __init__(self) -> None:
        self.held: dict[str, zdb.Held] = {}

    async def observe(self) -> Mapping[str, zdb.Held]:
        """What it was asked to hold."""
        return self.held

    async def ensure(self, wanted: zdb.Reservation) -> None:
        """Hold it; nobody writes to it."""
        self.held[wanted.name] = zdb.Held(
            name=wanted.name, serving=True, disk_bytes_max=wanted.disk_bytes
        )


def test_whatever_is_offered_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reservations up to what is offered fit on the disks, in any order and of any sizes."""

    async def story(sizes: Mapping[Path, int], asked: list[int]) -> None:
        shelves = {path: Shelf() for path in sizes}
        disks = [
            namespaces.Disk(path=path, disk_class="ssd", device=shelf)  # type: ignore[arg-type]
            for path, shelf in shelves.items()
        ]
        seen = SimpleNamespace(id=network().id, inode=1, services=())
        spec = items.spec_of(item(), items.ZdbSpec)
        label = networks.network_label(f"{spec.contract}/{spec.place.network}")
        nets = SimpleNamespace(
            observe=lambda: asyncio.sleep(0, {label: seen}), listen=lambda *_: None
        )
        primitive = namespaces.NamespacesOfNode(disks, cast("znet.Networks", nets), MemoryStore())
        for number, disk_bytes in enumerate(asked):
            await primitive.ensure(item(name=f"data{number}", disk_bytes=disk_bytes))
        for path, shelf in shelves.items():
            assert sum(held.disk_bytes_max for held in shelf.held.values()) <= sizes[path]

    dice = random.Random(7)
    for _ in range(50):
        count = dice.randrange(1, 5)
        sizes = {tmp_path / str(n): dice.randrange(1, 100) << 20 for n in range(count)}
        monkeypatch.setattr(shutil, "disk_usage", usage(sizes))
        left, asked = max(sizes.values()), list[int]()
        while left >= 1 << 20:
            asked.append(dice.randrange(1 << 20, left + 1))
            left -= asked[-1]
        asyncio.run(story(sizes, asked))


def test_node_json_lists_devices(tmp_path: Path) -> None:
    """`devices` is optional; each has a path and a class, and nothing else."""
    trust = bcdb.Trust(
        ledger=LedgerId("0" * 64), origin="tfgrid/test", keys=("A" * 43,), threshold=1
    )
    config = zos.Config(
        grid="0" * 8, name="n1", trust=trust, ledger_url="http://10.0.0.1:8100",
        farm=FarmId(IdentityId("0" * 64)), underlay_bridge="b", underlay4="10.0.0.2/24",
    )  # fmt: skip
    zos.write_config(tmp_path, config)
    path = tmp_path / "node.json"
    plain = json.loads(path.read_text())
    assert zos.read_config(tmp_path).devices == ()
    plain.pop("devices")
    path.write_text(json.dumps(plain))
    assert zos.read_config(tmp_path) == config
    path.write_text(json.dumps(plain | {"devices": [{"path": "/mnt/hdd1", "class": "hdd"}]}))
    (device,) = zos.read_config(tmp_path).devices
    assert (device.path, device.disk_class) == ("/mnt/hdd1", "hdd")
    both = zos.read_config(tmp_path).kept.memory_bytes - config.kept.memory_bytes
    assert both == limits.zdb_cache_bytes
    assert config.kept.memory_bytes - config.reserve.memory_bytes == limits.zdb_cache_bytes
    for odd in ({"path": "mnt", "class": "hdd"}, {"path": "/mnt", "class": "tape"}, {"path": "/m"}):
        path.write_text(json.dumps(plain | {"devices": [odd]}))
        with pytest.raises(errors.BadInput) as caught:
            zos.read_config(tmp_path)
        assert caught.value.code == "TFG-4002"
