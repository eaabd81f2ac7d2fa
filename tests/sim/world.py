"""The simulated grid: a ledger, its people, many nodes, and the faults that a seed brings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from tests.sim.nodes import SimNode, keyring_of
from tests.sim.oracle import Broken, Oracle
from tests.sim.people import Farmer, Orderer, image, roles
from tests.sim.virtual import NodeClock, VirtualLoop, remember_pure_functions, run
from tests.sim.wires import Wire
from tfgrid.agents.zos.core0.loop import Core0
from tfgrid.core.ids import NodeId
from tfgrid.core.rng import SeededRng
from tfgrid.core.store import MemoryStore
from tfgrid.core.transport import Handler
from tfgrid.ledger import bcdb, contract, farm

__all__ = ["Plan", "World", "simulate"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How large and long a run is. `tamper` spoils each node, to prove that it is seen."""

    seed: int
    nodes: int = 5
    contracts: int = 3
    seconds: int = 90
    calm_seconds: int = 200
    rewrites: bool = False
    tamper: Callable[[Core0], None] = lambda _core: None


class World:
    """One run."""

    def __init__(self, plan: Plan, loop: VirtualLoop) -> None:
        self.plan = plan
        self.loop = loop
        self.rng = SeededRng(plan.seed)
        self.registry = bcdb.registry(farm.kinds(), contract.kinds())
        self.clock = NodeClock(loop)
        self.ledger = self._found()
        self.liar = self._found()
        self.trust = self.ledger.trust
        self.oracle = Oracle(self.ledger, loop)
        self.down = False
        self._server = bcdb.Service(self.ledger).handle
        self._false_server = bcdb.Service(self.liar).handle
        self.farmer = Farmer("farmer", self._wire(), self.trust, self.registry, self.clock)
        self.orderer = Orderer(self._wire(), self.trust, self.registry, self.clock, self.rng)
        self.nodes = [self._node(index) for index in range(plan.nodes)]
        self.cancelled: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._troubles: list[asyncio.Task[None]] = []

    def _found(self) -> bcdb.SoloLedger:
        return bcdb.SoloLedger.create(
            None, founder=keyring_of("founder"), checkpoint_keyrings=[keyring_of("notary")],
            registry=self.registry, clock=self.clock, signed=MemoryStore(),
        )  # fmt: skip

    def _wire(self) -> Wire:
        return Wire(self._serving, self.rng, self.oracle.answered)

    def _serving(self) -> Handler | None:
        return None if self.down else self._server

    def _node(self, index: int) -> SimNode:
        node = SimNode(
            f"n{index + 1}", f"192.0.2.{index + 1}", loop=self.loop, rng=self.rng,
            wire=self._wire(), trust=self.trust, registry=self.registry, judge=self.oracle,
            farm_id=self.farmer.farm, gateway=index % 4 == 0,
        )  # fmt: skip
        node.tamper = self.plan.tamper
        return node

    # The run

    async def live(self) -> None:
        """Set up, let people order while faults strike, then let it calm down and judge the end."""
        await self.farmer.open()
        await self.orderer.open()
        for node in self.nodes:
            node.start()
        await self._until(self._all_admitted, 60, "every node is admitted")
        self._tasks = [
            self.loop.create_task(part) for part in (self._trade(), self._trouble(), self._watch())
        ]
        await asyncio.wait(
            self._tasks, timeout=self.plan.seconds, return_when=asyncio.FIRST_EXCEPTION
        )
        self._judge()
        self._tasks[1].cancel()
        await self._heal()
        await self._until(self._settled, self.plan.calm_seconds, "what was agreed runs")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._judge()
        self.oracle.check_log()

    async def _all_admitted(self) -> bool:
        view, now = self.ledger.reader().view, self.clock.now_ms()
        known = farm.nodes(view, now)
        await self.farmer.admit_all(view, now)
        return len(known) == len(self.nodes) and all(
            n.admitted and n.free.cpu_millis for n in known
        )

    async def _until(self, done: Callable[[], object], seconds: float, what: str) -> None:
        deadline = self.loop.seconds + seconds
        while True:
            self._judge()
            answer = done()
            if await answer if asyncio.iscoroutine(answer) else answer:
                return
            if self.loop.seconds > deadline:
                raise Broken(f"liveness: {what}, but not after {seconds} s")
            await asyncio.sleep(1)

    def _judge(self) -> None:
        self.oracle.judge()
        for node in self.nodes:
            fault = node.fault()
            if fault is not None:
                raise fault
            if node.halted and node.name not in self.oracle.halted_at:
                if node.name not in self.oracle.excused:
                    raise Broken(f"4: {node.name} halted although nobody lied to it")
                self.oracle.halted_at[node.name] = self.loop.seconds
        for task in (*self._tasks, *self._troubles):
            if task.done() and not task.cancelled() and task.exception():
                raise task.exception() or AssertionError

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(1)
            self._judge()

    # People

    async def _trade(self) -> None:
        for number in range(self.plan.contracts):
            await asyncio.sleep(self.rng.below(15_000) / 1000)
            reader, size = self.ledger.reader(), self.ledger.head[1].size
            inventory = farm.inventory(reader.view, self.clock.now_ms(), size)
            proposal = await self.orderer.order(
                f"shop{number}", inventory, replicas=1 + self.rng.below(3),
                valid_seconds=120 if self.rng.chance(0.2) else 86_400,
            )  # fmt: skip
            if proposal is not None:
                self.oracle.note(f"proposed shop{number}")
                await self._sign(proposal)

    async def _sign(self, proposal: contract.Proposal) -> None:
        signers = 1 if self.rng.chance(0.2) else 2
        for role in roles[:signers]:
            await asyncio.sleep(self.rng.below(3000) / 1000)
            await self.orderer.approve(proposal, "deploy", role)
        if signers == 2 and self.rng.chance(0.4):
            await asyncio.sleep(self.rng.below(60_000) / 1000)
            self.oracle.note(f"cancel {proposal.agreement.name}")
            for role in roles[1:]:
                await self.orderer.approve(proposal, "delete", role)

    # Faults

    async def _trouble(self) -> None:
        faults = [
            self._crash, self._crash, self._reboot, self._cut, self._jump, self._outage,
            self._exit, self._exit, self._lossy, self._sick, self._disk_full,
        ]  # fmt: skip
        if self.plan.rewrites:
            faults.append(self._rewrite)
        while True:
            await asyncio.sleep(self.rng.below(5000) / 1000)
            node = self.nodes[self.rng.below(len(self.nodes))]
            fault = faults[self.rng.below(len(faults))]
            task = self.loop.create_task(fault(node, self.rng.below(40_000) / 1000))
            self._troubles = [t for t in self._troubles if not t.done()] + [task]

    async def _crash(self, node: SimNode, seconds: float) -> None:
        if node.task is None:
            return
        self.oracle.note(f"{node.name} process dies")
        await node.crash()
        await asyncio.sleep(seconds / 8)
        self._restart(node)

    async def _reboot(self, node: SimNode, seconds: float) -> None:
        self.oracle.note(f"{node.name} loses power")
        await node.crash()
        self.oracle.lost(node, node.running)
        node.host.reboot()
        await asyncio.sleep(seconds / 2)
        self._restart(node)

    def _restart(self, node: SimNode) -> None:
        if node.task is None:
            self.oracle.note(f"{node.name} process starts")
            node.start()

    async def _cut(self, node: SimNode, seconds: float) -> None:
        self.oracle.note(f"{node.name} link cut for {seconds} s")
        node.wire.cut = True
        await asyncio.sleep(seconds * (4 if self.rng.chance(0.3) else 1))
        node.wire.cut = False

    async def _jump(self, node: SimNode, _seconds: float) -> None:
        hours = self.rng.below(300) - 60
        node.clock.offset_ms = hours * 3_600_000 if self.rng.chance(0.7) else 0
        self.oracle.note(f"{node.name} clock is off by {node.clock.offset_ms} ms")

    async def _outage(self, _node: SimNode, seconds: float) -> None:
        self.oracle.note(f"ledger down for {seconds} s")
        self.down = True
        await asyncio.sleep(seconds * (3 if self.rng.chance(0.2) else 1))
        self.down = False

    async def _exit(self, node: SimNode, _seconds: float) -> None:
        containers = sorted(k for k in node.running if k.kind == "container")
        if containers:
            key = containers[self.rng.below(len(containers))]
            self.oracle.note(f"{node.name} {key.name[-8:]} exits")
            self.oracle.lost(node, [key])
            node.host.exit(key, self.rng.below(3))

    async def _lossy(self, node: SimNode, seconds: float) -> None:
        node.wire.loss = self.rng.below(30) / 100
        node.wire.repeat = self.rng.below(50) / 100
        await asyncio.sleep(seconds)
        node.wire.loss = 0.0

    async def _sick(self, node: SimNode, seconds: float) -> None:
        node.host.fail = self.rng.below(60) / 100
        if self.rng.chance(0.3):
            node.host.bad_images.add(image().digest)
            bad = [k for k in node.host.items if k.name[:64] in node.host.bad_images]
            self.oracle.lost(node, bad)
            for key in bad:
                del node.host.items[key]
        await asyncio.sleep(seconds)
        node.host.fail = 0.0
        node.host.bad_images.clear()

    async def _disk_full(self, node: SimNode, seconds: float) -> None:
        self.oracle.note(f"{node.name} disk full for {seconds} s")
        node.store.fail_writes = True
        await asyncio.sleep(seconds)
        node.store.fail_writes = False

    async def _rewrite(self, node: SimNode, _seconds: float) -> None:
        """From now on this node is shown another history that the ledger's own keys signed."""
        if node.core is None or node.core.follower.size < 4:
            return
        self.oracle.excused.add(node.name)
        self.oracle.note(f"{node.name} is lied to")
        node.wire.server = lambda: self._false_server

    async def _heal(self) -> None:
        self.oracle.note("calm")
        for task in self._troubles:
            task.cancel()
        await asyncio.gather(*self._troubles, return_exceptions=True)
        self.down = False
        for node in self.nodes:
            node.wire.cut, node.wire.loss, node.wire.repeat = False, 0.0, 0.0
            node.host.fail, node.store.fail_writes = 0.0, False
            node.host.bad_images.clear()
            node.clock.offset_ms = 0
            if node.task is None:
                node.start()

    # The end

    def _settled(self) -> bool:
        """Whether every contract is as its records say, on every node that is not lied to."""
        self.oracle.refresh()
        now, view = self.clock.now_ms(), self.ledger.reader().view
        by_id = {n.id: n for n in self.nodes}
        for name in self.oracle.contracts:
            state = contract.read(
                view, contract.contract_id(self.oracle.contracts[name].proposal.agreement), now
            )
            if any(by_id[n].name in self.oracle.excused for n in state.nodes):
                continue
            if state.phase in {"proposed", "rejected", "lapsed"}:
                continue
            if state.phase == "running":
                if not all(self._runs(by_id[n], n, state) for n in state.nodes):
                    return False
            elif state.phase in {"ended", "refused"}:
                if any(k.name.startswith(name) for n in self.nodes for k in n.running):
                    return False
            else:
                return False
        return True

    def _runs(self, node: SimNode, node_id: NodeId, state: contract.ContractState) -> bool:
        placement = state.proposal.placement
        wanted = {a.workload for a in placement.assignments if a.node == node_id}
        wanted |= {p.network for p in placement.networks if p.node == node_id}
        there = {
            k.name.partition("/")[2] for k in node.running if k.name.startswith(state.contract)
        }
        return there == wanted


def simulate(plan: Plan) -> World:
    """Run one seed to its end.

    Raises:
        Broken: a promise was broken; the message names the seed and ends with the story.

    """
    remember_pure_functions()
    loop = VirtualLoop()
    world = World(plan, loop)
    try:
        run(world.live(), loop)
    except BaseException as fault:
        story = "\n".join(world.oracle.story[-40:])
        raise Broken(f"{fault!r}\nseed={plan.seed} nodes={plan.nodes}\n{story}") from fault
    return world
