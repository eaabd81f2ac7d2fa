"""A simulated node: the real Core-0 around a machine in memory. It may crash and come back."""

from __future__ import annotations

import asyncio
import dataclasses
import io
from collections.abc import Mapping
from functools import cache, partial
from typing import Protocol

from tests.sim.virtual import NodeClock, VirtualLoop
from tests.sim.wires import Wire
from tfgrid.agents.zos.core0 import items, plan
from tfgrid.agents.zos.core0.introduce import Introduction
from tfgrid.agents.zos.core0.loop import Core0, Report, Seams
from tfgrid.agents.zos.core0.view import LedgerClock
from tfgrid.core import errors, host, limits
from tfgrid.core.host import Item, ItemKey, MemoryHost, Observed
from tfgrid.core.identity import Keyring
from tfgrid.core.ids import FarmId, NodeId
from tfgrid.core.log import Log
from tfgrid.core.rng import SeededRng
from tfgrid.core.store import MemoryStore
from tfgrid.core.units import Capacity
from tfgrid.ledger import bcdb, contract, farm

__all__ = ["Judge", "SimHost", "SimNode", "keyring_of"]

GIB = 1024**3
total = Capacity(cpu_millis=4000, memory_bytes=8 * GIB, ssd_bytes=64 * GIB)
reserve = Capacity(memory_bytes=GIB)


@cache
def keyring_of(name: str) -> Keyring:
    """The same identity for the same name in every seed; deriving keys is slow on purpose."""
    return Keyring.new(name, SeededRng(name))


class Judge(Protocol):
    """Who is told of everything that happens on a machine: the oracle."""

    def started(self, node: SimNode, item: Item) -> None:
        """An item was really started."""
        ...

    def changed(self, node: SimNode, key: ItemKey) -> None:
        """A namespace that was served got other limits."""
        ...

    def vanished(self, node: SimNode, key: ItemKey) -> None:
        """The node removed an item that ran."""
        ...

    def recalled(
        self, node: SimNode, before: list[contract.Receipt], after: list[contract.Receipt]
    ) -> None:
        """A new process holds `after` of the receipts that the one before had yet to write."""
        ...


class SimHost(MemoryHost):
    """A machine that is slow and fails as the seed says, and tells the judge what happened."""

    def __init__(self, node: SimNode, rng: SeededRng, address: str) -> None:
        super().__init__(total, address=address)
        self.fail = 0.0
        self.bad_images: set[str] = set()
        self._node = node
        self._rng = rng

    async def prepare(self, item: Item) -> Mapping[str, str]:
        """See `Host.prepare`; the answer takes its time."""
        await self._fault("prepare", item.key)
        told = await super().prepare(item)
        await asyncio.sleep(self._rng.below(300) / 1000)
        return told

    async def ensure(self, item: Item) -> Observed:
        """See `Host.ensure`; between the last check and the start no time goes by."""
        await self._fault("ensure", item.key)
        if item.key.kind == "container":
            self._recheck(items.spec_of(item, items.ContainerSpec).workload.image)
        before, count = self.items.get(item.key), len(self.starts)
        made = await super().ensure(item)
        if len(self.starts) == count:
            return made
        if item.key.kind == "zdb":
            made = self.items[item.key] = dataclasses.replace(made, facts=_limits(item))
        if item.key.kind == "zdb" and before is not None and before.condition == "running":
            self._node.judge.changed(self._node, item.key)
        else:
            self._node.judge.started(self._node, item)
        return made

    async def remove(self, key: ItemKey) -> None:
        """See `Host.remove`."""
        await self._fault("remove", key)
        runs = key in self.items and self.items[key].condition == "running"
        if key in self.prepared or key in self.data or runs:
            self._node.judge.vanished(self._node, key)
        self.items.pop(key, None)
        self.prepared.pop(key, None)
        self.keys.pop(key, None)
        self.data.discard(key)

    def _recheck(self, image: contract.Image) -> None:
        """As the real machine does before each start."""
        present = ItemKey("image", f"{image.digest}/{image.signer}") in self.items
        if not present or image.digest in self.bad_images:
            raise errors.VerificationFailed("TFG-3231", "a chunk differs", where=image.digest)

    async def _fault(self, verb: host.Verb, key: ItemKey) -> None:
        await asyncio.sleep(self._rng.below(300) / 1000)
        if verb == "ensure" and key.kind == "image" and key.name[:64] in self.bad_images:
            raise errors.VerificationFailed("TFG-3231", "a chunk differs", where=key.name)
        if self._rng.chance(self.fail):
            raise errors.Failed("TFG-3001", f"the machine would not {verb}", where=key.name)


def _limits(item: Item) -> Mapping[str, int]:
    """What is read back of a namespace that was made or changed."""
    wanted = items.spec_of(item, items.ZdbSpec).workload
    return {"disk_bytes": wanted.disk_bytes, "keys_max": wanted.keys_max}


class _Strict(io.StringIO):
    """A log in which a fault that nobody foresaw ends the run: a node would only begin anew."""

    def write(self, text: str) -> int:
        """Take a line, unless it tells of such a fault."""
        assert '"event":"part broke"' not in text, text
        return super().write(text)


class SimNode:
    """One node. `start` and `crash` its process, `reboot` its machine."""

    def __init__(
        self,
        name: str,
        address: str,
        *,
        loop: VirtualLoop,
        rng: SeededRng,
        wire: Wire,
        trust: bcdb.Trust,
        registry: bcdb.Registry,
        judge: Judge,
        farm_id: FarmId,
        gateway: bool,
    ) -> None:
        self.name = name
        self.keyring = keyring_of(name)
        self.id = NodeId(self.keyring.identity)
        self.clock = NodeClock(loop)
        self.wire = wire
        self.store = MemoryStore()
        self.judge = judge
        self.host = SimHost(self, rng, address)
        self.core: Core0 | None = None
        self.task: asyncio.Task[None] | None = None
        self.log = _Strict()
        self._loop = loop
        self._rng = rng
        self._unsaid: list[contract.Receipt] = []
        self._trust = trust
        self._registry = registry
        self._registration = farm.NodeRegister(
            farm=farm_id, endpoint=address, trust="simulated",
            roles=("compute", "gateway") if gateway else ("compute",),
            domains=("grid.test",) if gateway else (),
        )  # fmt: skip

    @property
    def halted(self) -> bool:
        """Whether the node obeys its ledger no more."""
        return self.core is not None and self.core.follower.halted is not None

    @property
    def running(self) -> Mapping[ItemKey, Observed]:
        """What runs on the machine, images aside."""
        return {
            k: o for k, o in self.host.items.items()
            if k.kind != "image" and o.condition == "running"
        }  # fmt: skip

    def start(self) -> None:
        """Start the node process."""
        assert self.task is None or self.task.done()
        follower = bcdb.Follower(
            self.wire, self._trust, registry=self._registry, store=self.store, clock=self.clock
        )
        author = bcdb.Author(
            self.keyring, bcdb.Client(self.wire, self._trust), LedgerClock(follower, self.clock),
            registry=self._registry,
        )  # fmt: skip
        offer = plan.Offer(
            capacity=total.minus(reserve), roles=self._registration.roles,
            gateway_domains=self._registration.domains, trust_class="simulated",
        )  # fmt: skip
        inventory = farm.NodeInventory(total=total, reserve=reserve)
        seams = Seams(
            host=self.host, clock=self.clock, store=self.store, rng=self._rng,
            log=Log("zos", level="info", stream=self.log, node=self.name), author=author,
            introduce=Introduction(self.id, author, self._registration, inventory),
            report=partial(self._beat, author, follower),
        )  # fmt: skip
        self.core = Core0(self.id, offer, follower, seams)
        self.judge.recalled(self, self._unsaid, list(self.core.outbox))
        self.task = self._loop.create_task(self.core.run())

    async def crash(self) -> None:
        """Kill the node process; what runs on the machine runs on."""
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
        self.task = None
        self._unsaid = [] if self.core is None else list(self.core.outbox)

    async def reboot(self) -> None:
        """Cut the machine's power: process and everything that ran are gone, disk and keys stay."""
        await self.crash()
        self.host.reboot()

    async def _beat(self, author: bcdb.Author, follower: bcdb.Follower, _report: Report) -> None:
        """Let the 3Bots hear that the node lives, as the real node's `Reporter` does."""
        if bcdb.identity_state(follower.view, self.id) is not None:
            at, seconds = follower.order_time_ms(), limits.heartbeat_silent_seconds
            await author.post(f"status:{self.id}", "{}", ttl_seconds=seconds, at_ms=at)

    def fault(self) -> BaseException | None:
        """Why the process died by itself, if it did."""
        if self.task is None or not self.task.done() or self.task.cancelled():
            return None
        return self.task.exception()
