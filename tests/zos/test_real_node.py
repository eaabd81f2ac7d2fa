"""A real node in its own namespaces, with a real ledger, real containers, network and gateway."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.zos.ground import Ground, ground
from tfgrid.agents import zos
from tfgrid.core import canonical
from tfgrid.core.clock import ManualClock, SystemClock
from tfgrid.core.ids import ContractId
from tfgrid.core.store import MemoryStore
from tfgrid.core.transport import MemoryTransport
from tfgrid.ledger import bcdb, contract

pytestmark = [pytest.mark.root, pytest.mark.slow]


def on_ground(directory: Path, body: Callable[[Ground, ContractId], Awaitable[None]]) -> None:
    """Run a test on a node with one contract that runs and whose page answers."""

    async def run() -> None:
        async with ground(directory) as here:
            here.spawn()
            await here.open_farm()
            identifier = await here.order()
            await here.phase(identifier, "running")
            await _page(here)
            await body(here, identifier)
        assert here.residue() == []

    asyncio.run(run())


async def _page(here: Ground) -> None:
    for _ in range(150):
        if await here.page() == "the page\n":
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"the page does not answer\n{here.log}")


def test_from_contract_to_page_and_back(tmp_path: Path) -> None:
    """Only ports of placements listen; a cancelled contract leaves nothing, nor does its node."""

    async def body(here: Ground, identifier: ContractId) -> None:
        assert here.listening() == {"udp:51820", "tcp:443"}
        assert len(here.workload_pids()) >= 1

        await here.sign(identifier, "delete")
        await here.phase(identifier, "ended")

        assert here.listening() == set()
        assert here.workload_pids() == set()
        state = here.node_directory
        left = [p for p in (state / "containers").glob("*") if p.name[0] not in "._"]
        assert left == []
        await here.until(lambda: not list((state / "images/trees").glob("*")), "images go last")
        assert list((state / "state/items").glob("*/*")) == []

    on_ground(tmp_path, body)


def test_logs_and_heartbeats_reach_the_mailbox(tmp_path: Path) -> None:
    """The owner's mailbox gets the end of a log where the agreement allows it, and the status."""

    async def run() -> None:
        async with ground(tmp_path) as here:
            here.spawn()
            node = await here.open_farm()
            identifier = await here.order("echo hello from inside; exec httpd -f -p 80 -h /www")
            await here.phase(identifier, "running")
            client = bcdb.Client(MemoryTransport(here.service.handle), here.ledger.trust)
            for _ in range(100):
                logs = await client.messages(f"logs:{identifier}/web", author=node)
                beats = await client.messages(f"status:{node}", author=node)
                if logs and beats and zos.heartbeat_status(beats[0].payload).items:
                    break
                await asyncio.sleep(0.1)

            assert logs[0].payload == "hello from inside\n"
            told = zos.heartbeat_status(beats[0].payload)
            assert (told.node, told.phase) == (node, "following")
            assert {i.name for i in told.items} == {"net", "web", "name"}

    asyncio.run(run())


def test_nothing_listens_before_there_is_a_contract(tmp_path: Path) -> None:
    """A node that follows its ledger has no listening socket of any kind in its namespace."""

    async def run() -> None:
        async with ground(tmp_path) as here:
            here.spawn()
            await here.open_farm()
            assert here.listening() == set()
            assert here.status().phase in {"starting", "following"}

    asyncio.run(run())


def test_killed_node_process_adopts_what_runs(tmp_path: Path) -> None:
    """After kill -9 of the node process workloads run on, and the next one adopts them."""

    async def body(here: Ground, identifier: ContractId) -> None:
        before = here.workload_pids()
        here.end(signal.SIGKILL)
        assert here.workload_pids() == before
        assert await here.page() == "the page\n"

        here.spawn()
        await here.until(lambda: here.log.count("caught up") == 2, "the node comes back")
        await asyncio.sleep(0.5)
        assert here.workload_pids() == before
        assert here.state(identifier).phase == "running"

    on_ground(tmp_path, body)


def test_an_exit_while_nobody_looked_is_told_with_its_code(tmp_path: Path) -> None:
    """What ends while the node process is dead is told with its exit code, and mended."""

    async def body(here: Ground, identifier: ContractId) -> None:
        here.end(signal.SIGKILL)
        for pid in here.workload_pids():
            os.kill(pid, signal.SIGKILL)
        here.spawn()
        codes: list[int] = []

        def told() -> bool:
            fact = here.state(identifier).receipt(here.status().node, "web")
            if fact is not None and fact.receipt.state == "failed":
                codes.append(fact.receipt.exit_code)
            return bool(codes)

        await here.until(told, "the failure is told")
        assert codes[0] == 128 + signal.SIGKILL
        await here.phase(identifier, "running")
        await _page(here)

    on_ground(tmp_path, body)


def test_killed_keeper_is_replaced(tmp_path: Path) -> None:
    """After kill -9 of the keeper workloads run on under a new one, and can still be ended."""

    async def body(here: Ground, identifier: ContractId) -> None:
        before, keeper = here.workload_pids(), here.keeper_pid()
        assert keeper
        os.kill(keeper, signal.SIGKILL)
        await here.until(
            lambda: here.keeper_pid() not in {0, keeper}, "a new keeper answers", seconds=40
        )
        assert here.workload_pids() == before
        assert await here.page() == "the page\n"

        await here.sign(identifier, "delete")
        await here.phase(identifier, "ended")
        assert here.workload_pids() == set()

    on_ground(tmp_path, body)


def test_after_a_power_cut_it_is_made_again(tmp_path: Path) -> None:
    """A node that lost all it ran makes it again from the records, with the same key and port."""

    async def body(here: Ground, identifier: ContractId) -> None:
        zos.destroy(here.config)
        assert here.process is not None
        here.process.wait(10)
        assert here.workload_pids() == set()

        here.spawn()
        await _page(here)
        assert here.listening() == {"udp:51820", "tcp:443"}
        assert here.state(identifier).phase in {"running", "degraded"}

    on_ground(tmp_path, body)


def test_sigterm_ends_the_process_and_nothing_else(tmp_path: Path) -> None:
    """SIGTERM ends the node process with 0, its workloads stay, and the status file says so."""

    async def body(here: Ground, _identifier: ContractId) -> None:
        before = here.workload_pids()
        assert here.end(signal.SIGTERM) == 0
        assert here.workload_pids() == before
        assert await here.page() == "the page\n"
        assert here.status().phase == "stopping"

    on_ground(tmp_path, body)


def test_a_rewritten_history_is_obeyed_no_more(tmp_path: Path) -> None:
    """A node shown another history keeps what runs, signs why, and stays so after a restart."""

    async def body(here: Ground, identifier: ContractId) -> None:
        before, honest = here.workload_pids(), here.service
        row = here.ledger.reader().row(0)
        assert row is not None
        began_ms = canonical.parse(row[0], bcdb.Leaf).order_time
        clock = ManualClock(now_ms=began_ms)
        liar = bcdb.SoloLedger.create(
            None, founder=here.people["founder"], checkpoint_keyrings=[here.people["notary"]],
            registry=here.registry, clock=clock, signed=MemoryStore(),
        )  # fmt: skip
        assert liar.trust == here.ledger.trust
        clock.advance((SystemClock().now_ms() - began_ms) / 1000 + 30)
        here.swap(bcdb.Service(liar).handle)
        await here.until(lambda: here.status().phase == "halted", "the node halts", seconds=60)
        status = here.status()
        assert len(status.evidence) == 2
        assert "ledger" in status.reason
        assert here.workload_pids() == before

        here.end(signal.SIGTERM)
        here.swap(honest.handle)
        here.spawn()
        await here.sign(identifier, "delete")
        await here.until(lambda: here.status().phase == "halted", "it is halted again")
        await asyncio.sleep(2)
        assert here.status().phase == "halted"
        assert here.workload_pids() == before
        assert await here.page() == "the page\n"

    on_ground(tmp_path, body)


def test_a_changed_image_is_never_started(tmp_path: Path) -> None:
    """A changed byte on the node's disk is found before the next start, and fetched anew."""

    async def body(here: Ground, identifier: ContractId) -> None:
        (page,) = here.node_directory.glob("images/trees/*/root/www/index.html")
        times = page.stat()
        page.chmod(0o644)
        page.write_text("the pagE\n")
        os.utime(page, ns=(times.st_atime_ns, times.st_mtime_ns))
        for pid in here.workload_pids():
            os.kill(pid, signal.SIGKILL)
        await here.until(lambda: bool(here.workload_pids()), "it runs again")
        await _page(here)
        assert here.state(identifier).phase in {"running", "degraded"}

    on_ground(tmp_path, body)


def test_a_damaged_chunk_is_told_and_never_run(tmp_path: Path) -> None:
    """With changed chunks on the only server nothing starts, and the ledger holds the reason."""

    async def run() -> None:
        async with ground(tmp_path) as here:
            for chunk in (p for p in (tmp_path / "chunks").rglob("*") if p.is_file()):
                data = bytearray(chunk.read_bytes())
                data[-1] ^= 1
                chunk.chmod(0o644)
                chunk.write_bytes(data)
            here.spawn()
            node = await here.open_farm()
            identifier = await here.order()

            def told() -> contract.ReceiptFact | None:
                return here.state(identifier).receipt(node, "web")

            await here.until(lambda: told() is not None, "the failure is told")
            fact = told()
            assert fact is not None
            assert fact.receipt.state == "failed"
            assert "TFG-32" in fact.receipt.reasons[0]
            assert here.workload_pids() == set()
        assert here.residue() == []

    asyncio.run(run())
