"""The simulated grid: a ledger, its people, many nodes, and the faults that a seed brings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from tests.sim.books import Books
from tests.sim.nodes import SimNode
from tests.sim.oracle import Broken, Facts, Oracle, halt_grace_seconds
from tests.sim.people import Bot, Expert, Farmer, Ground, image
from tests.sim.virtual import NodeClock, VirtualLoop, remembered, run
from tests.sim.wires import Wire
from tfgrid.core import errors
from tfgrid.core.ids import ContractId
from tfgrid.core.rng import SeededRng
from tfgrid.core.transport import Handler
from tfgrid.ledger import bcdb, contract, farm

__all__ = ["Plan", "World", "simulate"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How large and long a run is, and whether nodes are shown a rewritten history."""

    seed: int
    nodes: int = 5
    bots: int = 1
    contracts: int = 3
    seconds: int = 60
    calm_seconds: int = 400
    rewrites: bool = False


class World:
    """One run."""

    def __init__(self, plan: Plan, loop: VirtualLoop) -> None:
        self.plan = plan
        self.loop = loop
        self.rng = SeededRng(plan.seed)
        self.registry = bcdb.registry(farm.kinds(), contract.kinds())
        self.clock = NodeClock(loop)
        self.books = Books(self.registry, self.clock)
        self.liar = Books(self.registry, self.clock)
        self.trust = self.books.ledger.trust
        self.oracle = Oracle(self.books, loop)
        self.down = False
        ground = Ground(
            trust=self.trust, registry=self.registry, clock=self.clock, rng=self.rng,
            wire=self._wire, note=self.oracle.note,
        )  # fmt: skip
        self.farmer = Farmer("farmer", ground)
        self.expert = Expert("expert", ground)
        self.bots = [Bot(n, plan.contracts, ground) for n in range(plan.bots)]
        self.nodes = [self._node(index) for index in range(plan.nodes)]
        self._tasks: list[asyncio.Task[None]] = []
        self._troubles: list[asyncio.Task[None]] = []

    def _wire(self) -> Wire:
        return Wire(self._serving, self.rng, self.oracle.answered)

    def _serving(self) -> Handler | None:
        return None if self.down or not self.books.up else self.books.handle

    def _node(self, index: int) -> SimNode:
        node = SimNode(
            f"n{index + 1}", f"192.0.2.{index + 1}", loop=self.loop, rng=self.rng,
            wire=self._wire(), trust=self.trust, registry=self.registry, judge=self.oracle,
            farm_id=self.farmer.farm, gateway=index % 4 == 0,
        )  # fmt: skip
        node.wire.loss, node.wire.repeat = 0.05, 0.3
        return node

    # The run

    async def live(self) -> None:
        """Set up, let people order while faults strike, then let it calm down and judge the end."""
        await self.farmer.open()
        await self.expert.open()
        for bot in self.bots:
            await bot.open()
        for node in self.nodes:
            node.start()
        await self._until(self._all_admitted, 300, "every node is admitted")
        for bot in self.bots:
            bot.start()
        self._tasks = [self.loop.create_task(part) for part in (self._trouble(), self._watch())]
        if self.plan.rewrites:
            self._tasks.append(self.loop.create_task(self._betray()))
        await asyncio.wait(
            self._tasks[:2], timeout=self.plan.seconds, return_when=asyncio.FIRST_EXCEPTION
        )
        self._judge()
        self._tasks[0].cancel()
        await self._heal()
        await self._until(self._settled, self.plan.calm_seconds, "what was agreed runs")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for bot in self.bots:
            await bot.crash()
        self._judge()
        self.oracle.check_log()
        self.books.ledger.audit()

    async def _all_admitted(self) -> bool:
        view, now = self.books.ledger.reader().view, self.clock.now_ms()
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
            self.oracle.check_data(node)
            fault = node.fault()
            if fault is not None:
                raise fault
            if node.halted and node.name not in self.oracle.halted_at:
                if node.name not in self.oracle.excused:
                    raise Broken(f"4: {node.name} halted although nobody lied to it")
                self.oracle.halted_at[node.name] = self.loop.seconds
                self._tasks.append(self.loop.create_task(self._provoke(node)))
        for task in (*self._tasks, *self._troubles, *(b.task for b in self.bots if b.task)):
            if task.done() and not task.cancelled() and task.exception():
                raise task.exception() or AssertionError

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(1)
            self._judge()

    # Faults

    async def _trouble(self) -> None:
        faults = [
            self._crash, self._crash, self._reboot, self._cut, self._jump, self._outage,
            self._exit, self._exit, self._server_dies, self._lossy, self._sick, self._disk_full,
            self._ledger_dies, self._ledger_dies, self._bot_dies, self._people_lose,
        ]  # fmt: skip
        if self.plan.rewrites:
            faults.append(self._rewrite)
        while True:
            await asyncio.sleep(self.rng.below(4000) / 1000)
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

    async def _ledger_dies(self, _node: SimNode, seconds: float) -> None:
        """The ledger's machine loses power between two of its acts, and comes back."""
        if not self.books.up or self.books.fuse.left:
            return
        self.books.fuse.left = 1 + self.rng.below(40)
        await asyncio.sleep(seconds / 8)
        if self.books.up:
            self.books.die()
        self.oracle.note("ledger lost power")
        await asyncio.sleep(seconds / 8)
        self._restart_ledger()

    def _restart_ledger(self) -> None:
        if self.books.up:
            return
        if not self.books.refuses_backup():
            raise Broken("4: the ledger opened an older copy of itself")
        try:
            self.books.restart()
        except errors.VerificationFailed as fault:
            raise Broken(f"4: the ledger does not open: {fault}") from fault
        self.books.keep_backup()
        self.oracle.note(f"ledger is back with {self.books.ledger.head[1].size} entries")
        self.oracle.check_log()

    async def _bot_dies(self, _node: SimNode, seconds: float) -> None:
        bot = self.bots[self.rng.below(len(self.bots))]
        if bot.task is None:
            return
        self.oracle.note("3Bot dies")
        await bot.crash()
        await asyncio.sleep(seconds * (10 if self.rng.chance(0.1) else 0.25))
        bot.start()

    async def _people_lose(self, _node: SimNode, seconds: float) -> None:
        bot = self.bots[self.rng.below(len(self.bots))]
        wires = [bot.wire, *(p.wire for p in bot.people.values())]
        for wire in wires:
            wire.loss, wire.repeat = self.rng.below(40) / 100, self.rng.below(50) / 100
        await asyncio.sleep(seconds)
        for wire in wires:
            wire.loss = 0.0

    async def _exit(self, node: SimNode, _seconds: float) -> None:
        containers = sorted(k for k in node.running if k.kind == "container")
        if containers:
            key = containers[self.rng.below(len(containers))]
            self.oracle.note(f"{node.name} {key.name[-8:]} exits")
            self.oracle.lost(node, [key])
            node.host.exit(key, self.rng.below(3))

    async def _server_dies(self, node: SimNode, _seconds: float) -> None:
        served = node.host.unserve()
        self.oracle.lost(node, served)
        for key in served:
            self.oracle.note(f"{node.name} {key.name[-8:]} lost its server")

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
        if node.core is None or node.core.follower.size < 4 or node.name in self.oracle.excused:
            return
        self.oracle.excused.add(node.name)
        self.oracle.note(f"{node.name} is lied to")
        node.wire.server = lambda: self.liar.handle
        node.wire.answered = lambda _request, _response: None

    async def _betray(self) -> None:
        """Lie to a node that has something to lose, once there is one."""
        await asyncio.sleep(self.rng.below(self.plan.seconds))
        while True:
            await asyncio.sleep(1)
            for node in self.nodes:
                if any(key.kind == "container" for key in node.running):
                    return await self._rewrite(node, 0)

    async def _provoke(self, node: SimNode) -> None:
        """Let containers of a node that halted end; it must not start them again."""
        await asyncio.sleep(2 * halt_grace_seconds)
        for _container in range(3):
            await self._exit(node, 0)

    async def _heal(self) -> None:
        self.oracle.note("calm")
        for task in self._troubles:
            task.cancel()
        await asyncio.gather(*self._troubles, return_exceptions=True)
        self.down = False
        self.books.fuse.left = 0
        self._restart_ledger()
        for bot in self.bots:
            for wire in (bot.wire, *(p.wire for p in bot.people.values())):
                wire.loss, wire.repeat = 0.0, 0.0
            if bot.task is None:
                bot.start()
        for node in self.nodes:
            node.wire.cut, node.wire.loss, node.wire.repeat = False, 0.0, 0.0
            node.host.fail, node.store.fail_writes = 0.0, False
            node.host.bad_images.clear()
            node.clock.offset_ms = 0
            if node.task is None:
                node.start()

    # The end

    def _settled(self) -> bool:
        """Whether all is ordered and as the records say, and whoever was lied to has halted."""
        self.oracle.refresh()
        return (
            not any(bot.wishes for bot in self.bots)
            and all(self._has_halted(name) for name in self.oracle.excused)
            and all(self._is_so(name, facts) for name, facts in self.oracle.contracts.items())
            and all(self._is_told(bot) for bot in self.bots)
        )

    def _has_halted(self, name: str) -> bool:
        """Whether a node has stopped obeying for long enough to be judged by it."""
        since = self.oracle.halted_at.get(name)
        return since is not None and self.loop.seconds > since + 3 * halt_grace_seconds

    def _is_so(self, name: str, facts: Facts) -> bool:
        """Whether every node does what a contract's records ask, and has said so."""
        nodes = [n for n in self.nodes if n.id in facts.nodes]
        if any(n.name in self.oracle.excused for n in nodes):
            return True
        here = {n.id: {k for k in n.running if k.name.startswith(name)} for n in nodes}
        if facts.over(self.clock.now_ms()):
            accepted = [n for n in nodes if facts.answers.get(n.id) == "accepted"]
            return not any(
                k.name.startswith(name)
                for n in self.nodes
                for k in (*n.host.prepared, *n.host.data, *n.running)
            ) and all(facts.has_said(n.id, "", "ended") for n in accepted)
        if not facts.quorum("deploy"):
            return not any(here.values())
        return facts.in_force and all(
            {k.name.partition("/")[2] for k in here[n.id]} == facts.parts(n.id)
            and all(
                facts.has_said_so(n.id, k.name.partition("/")[2])
                for k in here[n.id] if k.kind != "network"
            )
            for n in nodes
        ) and not self._read(name).unsettled  # fmt: skip

    def _read(self, name: str) -> contract.ContractState:
        """How the ledger has a contract."""
        view = self.books.ledger.reader().view
        return contract.read(view, ContractId(name), self.clock.now_ms())

    def _is_told(self, bot: Bot) -> bool:
        """Whether a 3Bot's report is what the records and the machines say."""
        report = bot.report()
        lied = bool(self.oracle.excused)
        now = self.clock.now_ms()
        running = sum(f.in_force and not f.over(now) for f in self.oracle.contracts.values())
        return report is not None and (
            lied or (report.contracts_running == running and report.nodes_silent == 0)
        )


def simulate(plan: Plan) -> World:
    """Run one seed to its end.

    Raises:
        Broken: a promise was broken; the message names the seed and ends with the story.

    """
    loop = VirtualLoop()
    world = World(plan, loop)
    try:
        with remembered():
            run(world.live(), loop)
    except BaseException as fault:
        story = "\n".join(world.oracle.story[-40:])
        raise Broken(f"{fault!r}\nseed={plan.seed} nodes={plan.nodes}\n{story}") from fault
    return world
