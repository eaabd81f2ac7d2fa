"""Outbox, back-off, share of the machine, and the loop on a machine in memory."""

from __future__ import annotations

import asyncio
import contextlib
import io
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.zos import scenes
from tests.zos.scenes import CONTRACT, receipt
from tfgrid.agents.zos.core0 import inventory
from tfgrid.agents.zos.core0.backoff import Backoff, first_delay_ms
from tfgrid.agents.zos.core0.loop import Core0
from tfgrid.agents.zos.core0.outbox import Outbox, refusals_max
from tfgrid.core import errors, host, limits
from tfgrid.core.clock import SystemClock
from tfgrid.core.host import ItemKey, MemoryHost, Observed
from tfgrid.core.ids import IdentityId, NodeId
from tfgrid.core.log import Log
from tfgrid.core.rng import SeededRng
from tfgrid.core.schema import Value
from tfgrid.core.store import MemoryStore
from tfgrid.core.units import Capacity
from tfgrid.ledger import bcdb
from tfgrid.ledger import contract as contracts


def _log() -> Log:
    return Log("zos", stream=io.StringIO())


class Ledger:
    """Takes receipts, or fails as it is told."""

    def __init__(self) -> None:
        self.taken: list[Value] = []
        self.fault: errors.GridError | None = None

    async def submit(self, kind: str, body: Value) -> bcdb.Entry:
        """Take one receipt."""
        assert kind == "contract.receipt"
        if self.fault is not None:
            raise self.fault
        self.taken.append(body)
        return None  # type: ignore[return-value]


def test_receipts_survive_the_process() -> None:
    """What was put in the outbox waits for the next process, in the same order."""
    store = MemoryStore()
    first = Outbox(store, _log())
    first.put(receipt("", "accepted"))
    first.put(receipt("web", "running"))

    assert [r.state for r in Outbox(store, _log())] == ["accepted", "running"]


def test_nothing_is_said_that_was_not_kept() -> None:
    """With a full disk a receipt is neither kept nor counted as said."""
    store = MemoryStore()
    outbox = Outbox(store, _log())
    store.fail_writes = True

    with pytest.raises(errors.Failed):
        outbox.put(receipt("", "accepted"))
    assert outbox.latest(CONTRACT) == {}


def test_only_the_newest_word_about_a_workload_waits() -> None:
    """A workload that fails and runs by turns while the ledger is away fills no disk."""
    outbox = Outbox(MemoryStore(), _log())
    for _ in range(100):
        outbox.put(receipt("web", "failed"))
        outbox.put(receipt("web", "running"))

    assert len(outbox) == 1
    assert outbox.latest(CONTRACT)["web"].state == "running"


def test_a_receipt_is_kept_until_the_ledger_answers() -> None:
    """An unreachable ledger keeps all waiting; then each receipt is written once, in order."""
    ledger, outbox = Ledger(), Outbox(MemoryStore(), _log())
    outbox.put(receipt("", "accepted"))
    outbox.put(receipt("web", "running"))
    ledger.fault = errors.Unreachable("TFG-1301", "no answer")

    with pytest.raises(errors.Unreachable):
        asyncio.run(outbox.send(ledger, lambda _r: "send"))
    assert len(outbox) == 2

    ledger.fault = None
    assert asyncio.run(outbox.send(ledger, lambda _r: "send")) == 2
    assert ledger.taken == [receipt("", "accepted"), receipt("web", "running")]
    assert asyncio.run(outbox.send(ledger, lambda _r: "send")) == 0


def test_what_was_written_counts_as_said_until_it_is_shown() -> None:
    """While the node's copy lags a receipt is neither sent again nor forgotten."""
    ledger, store = Ledger(), MemoryStore()
    outbox = Outbox(store, _log())
    outbox.put(receipt("web", "running"))

    counts = [asyncio.run(outbox.send(ledger, lambda _r: "send")) for _ in range(3)]
    assert (counts, len(ledger.taken)) == ([1, 0, 0], 1)
    assert outbox.latest(CONTRACT)["web"].state == "running"

    asyncio.run(outbox.send(ledger, lambda _r: "written"))
    assert (len(outbox), list(store.names(""))) == (0, [])


def test_what_the_ledger_holds_is_not_written_again() -> None:
    """A receipt whose answer was lost is found in the ledger and not sent twice."""
    ledger, outbox = Ledger(), Outbox(MemoryStore(), _log())
    outbox.put(receipt("", "accepted"))

    asyncio.run(outbox.send(ledger, lambda _r: "written"))

    assert (len(outbox), ledger.taken) == (0, [])


def test_a_refused_receipt_holds_up_no_other() -> None:
    """A receipt that the ledger refuses is tried a few times, and those behind it are written."""
    ledger, outbox = Ledger(), Outbox(MemoryStore(), _log())
    outbox.put(receipt("", "accepted"))
    ledger.fault = errors.NotAllowed("TFG-2430", "no")
    for _ in range(refusals_max - 1):
        asyncio.run(outbox.send(ledger, lambda _r: "send"))
        assert len(outbox) == 1
    asyncio.run(outbox.send(ledger, lambda _r: "send"))

    assert len(outbox) == 0


def test_back_off_doubles_to_its_cap_and_forgets() -> None:
    """Delays double up to the limit, vary by at most a quarter, and start small after a success."""
    backoff = Backoff(SeededRng(1))
    spans = [backoff.failed("step", "no", 0).due_ms for _ in range(20)]

    assert first_delay_ms * 0.75 <= spans[0] <= first_delay_ms
    assert max(spans) <= limits.step_backoff_seconds_max * 1000
    assert spans[-1] >= limits.step_backoff_seconds_max * 750
    assert not backoff.ready("step", 0)
    assert backoff.ready("step", spans[-1])
    assert backoff.ready("another", 0)

    backoff.succeeded("step")
    assert backoff.failed("step", "no", 0).due_ms <= first_delay_ms


def test_the_next_version_of_what_failed_starts_without_its_failures() -> None:
    """A corrected size does not wait for what the wrong one deserved; the same one goes on."""
    backoff = Backoff(SeededRng(1))
    for _ in range(6):
        backoff.plan("item", "too large")
        backoff.failed("item", "no room", 0)
    backoff.plan("item", "too large")
    assert not backoff.ready("item", 5000)
    backoff.plan("item", "corrected")
    assert backoff.ready("item", 0) and backoff.delays() == {}


def test_a_share_is_capped_dimension_by_dimension() -> None:
    """A node offers the machine's capacity or its cap if less; a zero cap caps nothing."""
    machine = Capacity(cpu_millis=2000, memory_bytes=8000, ssd_bytes=100, hdd_bytes=7)
    caps = Capacity(cpu_millis=500, memory_bytes=9000, ssd_bytes=0, hdd_bytes=3)

    shared = inventory.share(machine, caps)

    assert shared == Capacity(cpu_millis=500, memory_bytes=8000, ssd_bytes=100, hdd_bytes=3)


def test_a_machine_in_memory_keeps_the_host_s_promises() -> None:
    """Ensuring twice starts once; removing twice is no error; a reboot keeps images and keys."""
    machine = MemoryHost(Capacity())
    case = scenes.case("run")
    network, image = (scenes.items_of(case, kind)[0] for kind in ("network", "image"))

    async def body() -> None:
        await machine.prepare(network)
        assert (await machine.observe())[network.key].condition == "prepared"
        for item in (network, image, network, image):
            await machine.ensure(item)
        assert [i.key.kind for i in machine.starts] == ["network", "image"]
        machine.reboot()
        seen = await machine.observe()
        assert seen[network.key].condition == "prepared"
        assert seen[image.key].condition == "running"
        await machine.remove(network.key)
        await machine.remove(network.key)
        assert network.key not in await machine.observe()

    asyncio.run(body())


def test_an_exit_is_told_to_whoever_waits() -> None:
    """`changed` returns when a container ends by itself, with its exit code in the facts."""
    machine = MemoryHost(Capacity())
    container = scenes.items_of(scenes.case("run"), "container")[0]

    async def body() -> host.Observed:
        await machine.ensure(container)
        waiting = asyncio.ensure_future(machine.changed())
        await asyncio.sleep(0)
        machine.exit(container.key, 3)
        await asyncio.wait_for(waiting, 1)
        return (await machine.observe())[container.key]

    seen = asyncio.run(body())
    assert (seen.condition, seen.facts) == ("ended", {"exit_code": 3})


def test_receipts_are_of_the_ledger_s_types() -> None:
    """A receipt in the outbox is the canonical body that the ledger parses."""
    outbox = Outbox(MemoryStore(), _log())
    outbox.put(receipt("web", "running"))

    (waiting,) = outbox
    assert isinstance(waiting, contracts.Receipt)
    assert ItemKey("container", f"{waiting.contract}/web").kind == "container"


def test_a_node_that_cannot_look_says_so() -> None:
    """While its machine cannot be looked at, what a node tells has the reason; then no more."""

    class Host:
        """A machine that can be looked at when `fault` is empty."""

        fault = "the sealed thing does not open"

        async def observe(self) -> dict[ItemKey, Observed]:
            """What there is, or the fault."""
            if self.fault:
                raise errors.VerificationFailed("TFG-1402", self.fault)
            return {}

    host = Host()
    follower = SimpleNamespace(halted=None, stale_seconds=lambda: 0)
    seams = SimpleNamespace(
        host=host, store=MemoryStore(), log=_log(), clock=SystemClock(), rng=SeededRng("x")
    )
    node = Core0(NodeId(IdentityId("a" * 64)), cast("Any", None), cast("Any", follower),
                       cast("Any", seams))  # fmt: skip
    node.caught_up = True
    cast("Any", node)._plan = lambda _observed: None

    async def turn() -> str:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.01):
                await node._work()
        return str(node.report().reason)

    assert "does not open" in asyncio.run(turn())
    host.fault = ""
    assert asyncio.run(turn()) == ""
