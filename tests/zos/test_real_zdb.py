"""A real node that holds a namespace for a container: reserved, used, cut off, kept, removed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.zos.ground import Ground, ground
from tests.zos.tenants import Tenant, answer
from tfgrid.agents import zos
from tfgrid.capacity import zdb
from tfgrid.core.ids import ContractId
from tfgrid.ledger import contract

pytestmark = [pytest.mark.root, pytest.mark.slow]

MIB = 1024**2
SALT = "A" * 22
STORED = """\
name: stored
version: "1.0"
policy:
  deploy: {roles: {one: 1, two: 1}, weight: 2}
  delete: {roles: {one: 1, two: 1}, weight: 2}
workloads:
  net:
    type: network
  data:
    type: zdb
    network: net
    disk: 32MiB
    keys: 100
  app:
    type: container
    image: page
    network: net
    cpu: 0.1
    memory: 32MiB
    disk: 16MiB
    arguments: ["sleep 100000"]
"""

# Without approvers, so that the owner's signature suffices for each version.
OWNED = re.sub(r"policy:\n(  .*\n)+", "", STORED).replace("name: stored", "name: owned")


class Stored:
    """One contract with a namespace and a container beside it, on a node that runs it."""

    def __init__(self, here: Ground, identifier: ContractId, container: int) -> None:
        self.here = here
        self.id = identifier
        self.container = Path(f"/proc/{container}")
        placement = here.state(identifier).proposal.placement
        members = {m.workload: m for p in placement.networks for m in p.members}
        self.address = members["data"].address4

    @property
    def netns(self) -> Path:
        """The network namespace of the container."""
        return self.container / "ns/net"

    def ask(self, *words: str | bytes) -> object:
        """The namespace's reply to the container."""
        return answer(self.netns, self.address, *words)

    def set(self, *keys: str) -> None:
        """Write keys that are their own values; each is acknowledged."""
        for key in keys:
            assert self.ask("SET", key, key) == key.encode()

    async def holds(self, *keys: str) -> None:
        """Wait until the namespace answers; then hold that all these keys are in it."""

        def answers() -> bool:
            with contextlib.suppress(OSError, EOFError):
                return self.ask("PING") == "PONG"
            return False

        await self.here.until(answers, "the namespace answers")
        for key in keys:
            assert self.ask("GET", key) == key.encode()

    def receipt(self) -> contract.Receipt:
        """What the node last said of the namespace."""
        fact = self.here.state(self.id).receipt(self.here.status().node, "data")
        assert fact is not None
        return fact.receipt


async def stored(here: Ground, text: str = STORED, *, name: str = "stored") -> Stored:
    """Order a namespace with a container, and wait until both run."""
    before = here.workload_pids()
    identifier = await here.order_of(text, {}, name=name, salt=SALT)
    await here.phase(identifier, "running")
    (container,) = here.workload_pids() - before
    return Stored(here, identifier, container)


def on_ground(
    directory: Path, body: Callable[[Ground, Stored], Awaitable[None]], text: str = STORED
) -> None:
    """Run a test on a node with one contract that runs; nothing of it is left afterwards."""

    async def run() -> None:
        async with ground(directory) as here:
            here.spawn()
            await here.open_farm()
            await body(here, await stored(here, text))
        assert here.residue() == []
        assert servers(here) == set()

    asyncio.run(run())


def servers(here: Ground) -> set[int]:
    """The Zero-DB processes of the node."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if os.fsencode(zdb.PROGRAM[-1]) in words and here.config.name.encode() in b" ".join(
                words
            ):
                found.add(int(path.parent.name))
    return found


def owner_of(pid: int) -> int:
    """The user of a process."""
    return Path(f"/proc/{pid}").stat().st_uid


def test_reserved_used_and_removed(tmp_path: Path) -> None:
    """Limits are told, the container reaches it, the quota holds; the end leaves nothing."""

    async def body(here: Ground, mine: Stored) -> None:
        told = mine.receipt()
        assert (told.state, told.image) == ("running", "")
        assert (told.limits.disk_bytes, told.limits.keys_max) == (32 * MIB, 100)
        assert here.nodes()[0].reserved.memory_bytes == 32 * MIB + 100 * 40
        assert here.nodes()[0].reserved.ssd_bytes == (32 + 16) * MIB

        assert f"{mine.address} data" in (mine.container / "root/etc/hosts").read_text()
        mine.set("one", "two")
        await mine.holds("one", "two")
        with Tenant(mine.netns, mine.address) as tenant:
            assert "denied" in tenant.refused("NSNEW", "mine").lower()
            assert "not found" in tenant.refused("SELECT", "default").lower()
            for number in range(98):
                assert tenant("SET", f"key{number}", "x") == f"key{number}".encode()
            assert tenant.refused("SET", "more", "x") == "No space left on this namespace"

        assert here.listening() == {"udp:51820"}
        (server,) = servers(here)
        assert owner_of(server) != 0

        await here.sign(mine.id, "delete")
        await here.phase(mine.id, "ended")
        assert servers(here) == set()
        assert not (here.node_directory / "zdb").exists()
        assert list((here.node_directory / "state/items").glob("*/*")) == []
        assert list((here.node_directory / "state/zdb").glob("**/*.*")) == []

    on_ground(tmp_path, body)


def test_grows_and_shrinks_in_place(tmp_path: Path) -> None:
    """Each later version is carried out under the open connection, and told with its limits."""

    async def resized(here: Ground, mine: Stored, disk_bytes: int) -> list[contract.Receipt]:
        before = len(here.receipts(mine.id, "data"))
        view, now_ms, size = (
            here.ledger.reader().view,
            here.ledger.now_ms(),
            here.ledger.head[1].size,
        )
        resize = contract.Resize(workload="data", disk_bytes=disk_bytes)
        update = contract.plan_update(view, mine.id, resize, now_ms=now_ms, size=size)
        await here.submit("a", "contract.propose", update.proposal)
        assert here.state(mine.id).proposal == update.proposal
        await here.until(lambda: len(here.receipts(mine.id, "data")) > before, "something is told")
        return here.receipts(mine.id, "data")[before:]

    async def body(here: Ground, mine: Stored) -> None:
        servers_before = servers(here)
        with Tenant(mine.netns, mine.address) as tenant:
            assert tenant("SET", "kept", "kept") == b"kept"
            for disk_bytes in (64 * MIB, 16 * MIB):
                (told,) = await resized(here, mine, disk_bytes)
                assert (told.state, told.limits.disk_bytes) == ("running", disk_bytes)
                assert (told.limits.keys_max, told.reasons) == (100, ())
                assert here.state(mine.id).unsettled == ()
                assert here.nodes()[0].reserved.ssd_bytes == disk_bytes + 16 * MIB
                assert tenant("GET", "kept") == b"kept"
            for number in range(5):
                assert tenant("SET", f"large{number}", "x" * MIB) == f"large{number}".encode()

            (told,) = await resized(here, mine, 4 * MIB)
            assert (told.state, told.limits.disk_bytes) == ("failed", 16 * MIB)
            assert "TFG-4026" in told.reasons[0]
            assert here.state(mine.id).unsettled == ("data",)
            assert here.nodes()[0].reserved.ssd_bytes == (16 + 16) * MIB
            assert tenant("SET", "more", "more") == b"more"

            (told,) = await resized(here, mine, 8 * MIB)
            assert (told.state, told.limits.disk_bytes) == ("running", 8 * MIB)
            assert tenant("GET", "kept") == b"kept"
        await asyncio.sleep(1)
        assert len(here.receipts(mine.id, "data")) == 5
        assert here.state(mine.id).phase == "running"
        assert servers(here) == servers_before

    on_ground(tmp_path, body, OWNED)


def test_the_server_dies_and_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    """After kill -9 of Zero-DB another serves the same data, and the ledger knows that it runs."""

    async def body(here: Ground, mine: Stored) -> None:
        mine.set("before")
        (first,) = servers(here)
        os.kill(first, signal.SIGKILL)
        await here.until(lambda: servers(here) not in (set(), {first}), "another server runs")
        await mine.holds("before")
        mine.set("after")
        await here.until(lambda: len(here.receipts(mine.id, "data")) > 1, "something is told")
        await here.phase(mine.id, "running")
        # Only the newest word waits: with a slow ledger, what was mended meanwhile goes unsaid.
        states = [r.state for r in here.receipts(mine.id, "data")]
        assert states in (["running", "failed", "running"], ["running", "running"])
        assert (mine.receipt().limits.disk_bytes, mine.receipt().limits.keys_max) == (32 * MIB, 100)

    on_ground(tmp_path, body)


def test_killed_node_process_leaves_it_serving(tmp_path: Path) -> None:
    """After kill -9 of the node process tenants are served on; the next one adopts the server."""

    async def body(here: Ground, mine: Stored) -> None:
        before = servers(here)
        with Tenant(mine.netns, mine.address) as connected:
            assert connected("SET", "early", "early") == b"early"
            here.end(signal.SIGKILL)
            assert connected("SET", "alone", "alone") == b"alone"
            mine.set("anew")

            here.spawn()
            await here.until(lambda: here.log.count("caught up") == 2, "the node comes back")
            await asyncio.sleep(0.5)
            assert connected("GET", "anew") == b"anew"
        assert servers(here) == before
        await mine.holds("early", "alone", "anew")
        assert here.state(mine.id).phase == "running"

    on_ground(tmp_path, body)


def test_killed_keeper_leaves_it_serving(tmp_path: Path) -> None:
    """After kill -9 of the keeper the server runs on under a new one, which can replace it."""

    async def body(here: Ground, mine: Stored) -> None:
        mine.set("before")
        (first,), keeper = servers(here), here.keeper_pid()
        assert keeper
        os.kill(keeper, signal.SIGKILL)
        mine.set("meanwhile")
        await here.until(
            lambda: here.keeper_pid() not in {0, keeper}, "a new keeper answers", seconds=40
        )
        assert servers(here) == {first}
        await mine.holds("before", "meanwhile")

        os.kill(first, signal.SIGKILL)
        await here.until(lambda: servers(here) not in (set(), {first}), "another server runs")
        await mine.holds("before", "meanwhile")

        await here.sign(mine.id, "delete")
        await here.phase(mine.id, "ended")
        assert servers(here) == set()

    on_ground(tmp_path, body)


def test_after_a_power_cut_the_data_is_there(tmp_path: Path) -> None:
    """A node that lost all it ran serves the same data again, at the same address."""

    async def body(here: Ground, mine: Stored) -> None:
        mine.set("one", "two")
        zos.destroy(here.config)
        assert here.process is not None
        here.process.wait(10)
        assert servers(here) == set() and here.workload_pids() == set()

        here.spawn()
        await here.until(lambda: bool(here.workload_pids()), "the container runs again")
        (container,) = here.workload_pids()
        mine.container = Path(f"/proc/{container}")
        await mine.holds("one", "two")
        mine.set("three")
        assert here.listening() == {"udp:51820"}

    on_ground(tmp_path, body)


def test_two_contracts_with_the_same_addresses_never_meet(tmp_path: Path) -> None:
    """Equal ranges and addresses on one node and one server: each container sees its own keys."""

    async def body(here: Ground, mine: Stored) -> None:
        theirs = await stored(here, name="theirs")
        assert theirs.address == mine.address
        assert len(servers(here)) == 1
        mine.set("mine")
        theirs.set("theirs")
        assert mine.ask("GET", "theirs") is None
        assert theirs.ask("GET", "mine") is None
        assert mine.ask("DBSIZE") == 1

        await here.sign(mine.id, "delete")
        await here.phase(mine.id, "ended")
        await theirs.holds("theirs")
        assert theirs.ask("DBSIZE") == 1

    on_ground(tmp_path, body)


def test_a_disk_that_went_is_told_and_nothing_empty_made(tmp_path: Path) -> None:
    """Without its data the contract is degraded, with the reason; when it is back all is served."""

    async def body(here: Ground, mine: Stored) -> None:
        mine.set("kept")
        data, away = here.node_directory / "zdb", here.node_directory / "away"
        (first,) = servers(here)
        data.rename(away)
        os.kill(first, signal.SIGKILL)
        await here.until(
            lambda: any("TFG-4023" in i.reason for i in here.status().items), "it is told"
        )
        await here.phase(mine.id, "degraded")
        assert not data.exists()

        away.rename(data)
        await mine.holds("kept")
        await here.phase(mine.id, "running")

    on_ground(tmp_path, body)
