"""The people of the simulated grid: the farmer, and consumers with their 3Bots.

A consumer's 3Bot is one process: the real daemon, and orders carried out by the real
`threebot.Ordering`, each person with an own key, an own copy of the ledger and an own way to it. It
may crash at any point; what it has on disk is its followers' stores and its plans, as a person
keeps a plan in a file before registering it.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeVar

from tests.sim.nodes import keyring_of
from tests.sim.virtual import NodeClock
from tests.sim.wires import Wire
from tfgrid.agents import threebot
from tfgrid.agents.threebot import daemon
from tfgrid.core import canonical, errors
from tfgrid.core.ids import ContractId, Digest, FarmId
from tfgrid.core.log import Log
from tfgrid.core.rng import SeededRng
from tfgrid.core.schema import Value
from tfgrid.core.store import MemoryStore
from tfgrid.ledger import bcdb, contract, farm

__all__ = ["Bot", "Expert", "Farmer", "Ground", "image", "recipes", "roles"]

roles = ("budget", "security", "legal")
MIB = 1024**2
started_phases = {"accepted", "running", "degraded"}
_T = TypeVar("_T")


def image(name: str = "web") -> contract.Image:
    """An image that exists by its name only."""
    signer = keyring_of("expert").identity
    return contract.Image(name=name, digest=canonical.digest(name.encode()), signer=signer)


def recipes() -> tuple[contract.Recipe, ...]:
    """Web containers spread over nodes, their network and a route; and the same with namespaces."""
    author = keyring_of("expert").identity
    stored = _RECIPE.replace("name: web\n", "name: store\n", 1) + _NAMESPACES
    return tuple(contract.parse_recipe_yaml(text, author=author) for text in (_RECIPE, stored))


@dataclass(frozen=True)
class Ground:
    """What everybody stands on: the ledger's trust and kinds, time, chance, and new wires."""

    trust: bcdb.Trust
    registry: bcdb.Registry
    clock: NodeClock
    rng: SeededRng
    wire: Callable[[], Wire]
    note: Callable[[str], None]


class _Person:
    """Somebody with a key, a disk and a way to the ledger; `restart` loses what is in memory."""

    def __init__(self, name: str, ground: Ground) -> None:
        self.keyring = keyring_of(name)
        self.wire = ground.wire()
        self.store = MemoryStore()
        self._ground = ground
        self.restart()

    def restart(self) -> None:
        """Begin anew from the disk."""
        ground = self._ground
        self.author = bcdb.Author(
            self.keyring, bcdb.Client(self.wire, ground.trust), ground.clock,
            registry=ground.registry,
        )  # fmt: skip
        self.follower = bcdb.Follower(
            self.wire, ground.trust, registry=ground.registry, store=self.store, clock=ground.clock
        )
        self.ordering = threebot.Ordering(self.follower, self.author, ground.clock)

    async def insist(self, act: Callable[[], Awaitable[_T]]) -> _T:
        """Do it again and again while the ledger does not answer."""
        while True:
            try:
                return await act()
            except errors.GridError as fault:
                if not fault.retry:
                    raise
                await self._ground.clock.sleep(1)

    async def submit(self, kind: str, body: Value) -> None:
        """Write an entry, whatever it takes."""
        await self.insist(lambda: self.author.submit(kind, body))


class Farmer(_Person):
    """Owns every node and admits whatever registers."""

    async def open(self) -> None:
        """Make the farm known, with an offer that costs nothing."""
        await self.author.register()
        await self.submit("farm.create", farm.FarmCreate(name="farm"))
        offer = farm.Offer(country="BE", prices=farm.Prices(), payments=("none",))
        await self.submit("farm.offer", offer)

    @property
    def farm(self) -> FarmId:
        """The farm's id."""
        return FarmId(self.keyring.identity)

    async def admit_all(self, view: bcdb.View, now_ms: int) -> int:
        """Admit every node that is registered and not admitted; returns how many there were."""
        waiting = [n for n in farm.nodes(view, now_ms) if not n.admitted]
        for node in waiting:
            body = farm.NodeAdmit(node=node.node, registration=node.registration)
            await self.submit("node.admit", body)
        return len(waiting)


class Expert(_Person):
    """Publishes what others order."""

    async def open(self) -> None:
        """Make the recipes known."""
        await self.author.register()
        for recipe in recipes():
            await self.submit("recipe.publish", recipe)


@dataclass
class Wish:
    """One order as a consumer has it in mind; `plan` is on disk from when it was shown.

    Its namespaces become of each of `sizes`, one after the other.
    """

    order: contract.Order
    pause_seconds: float
    signers: int
    cancel: bool
    recipe: str
    sizes: tuple[int, ...] = ()
    plan: contract.Plan | None = None


class Bot:
    """A consumer's 3Bot with the keys of consumer and stakeholders; `start`, `crash`, again."""

    def __init__(self, number: int, contracts: int, ground: Ground) -> None:
        self.people = {n: _Person(f"{n}{number}", ground) for n in ("consumer", *roles)}
        self.wire = ground.wire()
        self.store = MemoryStore()
        self.task: asyncio.Task[None] | None = None
        self.log = io.StringIO()
        self._keyring = keyring_of(f"bot{number}")
        self._ground = ground
        self.wishes = [self._wish(f"shop{number}-{i}") for i in range(contracts)]

    async def open(self) -> None:
        """Make everybody known."""
        for person in self.people.values():
            await person.author.register()

    def start(self) -> None:
        """Start the process."""
        for person in self.people.values():
            person.restart()
        self.task = self._ground.clock.loop.create_task(self._run())

    async def crash(self) -> None:
        """Kill the process, wherever it is."""
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
        self.task = None

    def report(self) -> threebot.Report | None:
        """The daemon's newest report."""
        data = self.store.read(daemon.report_file)
        return None if data is None else canonical.parse(data, threebot.Report)

    def _wish(self, name: str) -> Wish:
        rng = self._ground.rng
        order = contract.Order(
            ledger=self._ground.trust.ledger, owner=self.people["consumer"].keyring.identity,
            name=name, salt=canonical.text_from(rng.token(16)),
            parameters={"replicas": 1 + rng.below(3), "host": f"{name}.grid.test"},
            approvers={r: (self.people[r].keyring.identity,) for r in roles},
            valid_seconds=80 if rng.chance(0.2) else 86_400,
        )  # fmt: skip
        signers = 1 if rng.chance(0.2) else 2
        cancel = signers == 2 and rng.chance(0.4)
        recipe = "store" if rng.chance(0.5) else "web"
        sizes = ((), (96 * MIB,), (32 * MIB,), (96 * MIB, 32 * MIB))[rng.below(4)]
        return Wish(
            order, rng.below(8000) / 1000, signers, cancel, recipe,
            sizes if recipe == "store" else (),
        )  # fmt: skip

    async def _run(self) -> None:
        ground = self._ground
        watcher = daemon.Daemon(
            threebot.Settings(
                name="bot", trust=ground.trust, ledger_url="-", unlock_key_path="-",
                owner=self.people["consumer"].keyring.identity,
            ),
            self._keyring, transport=self.wire, store=self.store, clock=ground.clock,
            registry=ground.registry,
        )  # fmt: skip
        log = Log("threebot", level="info", stream=self.log)
        async with asyncio.TaskGroup() as group:
            group.create_task(daemon.attend(watcher, log, asyncio.Event()))
            group.create_task(self._trade())

    async def _trade(self) -> None:
        while self.wishes:
            wish = self.wishes[0]
            try:
                await self._carry_out(wish)
            except (errors.NoFit, errors.Conflict) as fault:
                if fault.code not in {"TFG-2350", "TFG-2386", "TFG-2417", "TFG-2418", "TFG-4512"}:
                    raise  # Nothing but no room and the end of a contract may stop an order.
                self._ground.note(f"{wish.order.name} given up: {fault.code} {fault.what}")
            self.wishes.pop(0)

    async def _carry_out(self, wish: Wish) -> None:
        consumer, sleep = self.people["consumer"], self._ground.clock.sleep
        await sleep(wish.pause_seconds)
        which = await self._propose(wish)
        for role in roles[: wish.signers]:
            await sleep(wish.pause_seconds / 8)
            await self._sign(role, which, "deploy")
        if wish.signers == 1:
            return
        await consumer.insist(lambda: self._wait(which, {"running", "degraded"}, 30))
        await self._resize(which, wish)
        if wish.cancel:
            await sleep(wish.pause_seconds)
            for role in roles[1:]:
                await self._sign(role, which, "delete")
            await consumer.insist(lambda: self._wait(which, {"ended"}, 10))

    async def _propose(self, wish: Wish) -> ContractId:
        consumer = self.people["consumer"]
        while True:
            await consumer.insist(consumer.ordering.look)
            if wish.plan is None:
                chosen = contract.read_recipe(consumer.follower.view, wish.recipe)
                wish.plan = consumer.ordering.plan(wish.order, chosen, {"web": image()})
            plan = wish.plan
            try:
                state = await consumer.insist(partial(consumer.ordering.propose, plan))
            except errors.Conflict as fault:
                if fault.code != "TFG-2352":
                    raise
                wish.plan = None  # The world moved on: the order is planned and shown anew.
                continue
            return state.contract

    async def _sign(
        self, role: str, which: ContractId, action: Literal["deploy", "delete"]
    ) -> None:
        person = self.people[role]
        state = await person.insist(lambda: person.ordering.approve(which, action=action))
        self._ground.note(f"{role} signs to {action} {state.proposal.agreement.name}")

    async def _resize(self, which: ContractId, wish: Wish) -> None:
        """Propose and sign a later version for each size that is not in force yet."""
        consumer, sleep = self.people["consumer"], self._ground.clock.sleep
        while True:
            state = await consumer.insist(lambda: consumer.ordering.state(which))
            version = state.proposal.agreement.version
            if version > len(wish.sizes) or state.phase not in started_phases:
                return
            await sleep(wish.pause_seconds / 4)
            if state.update is None:
                update = _resized(consumer.follower, state, wish.sizes[version - 1])
                await consumer.submit("contract.propose", update.proposal)
            for role in roles[1:]:
                await sleep(wish.pause_seconds / 8)
                await self._sign_update(role, which)

    async def _sign_update(self, role: str, which: ContractId) -> None:
        person = self.people[role]
        state = await person.insist(lambda: person.ordering.state(which))
        update, me = state.update, person.keyring.identity
        if update is None or any(vote.identity == me for vote in update.tally.votes):
            return
        body = contract.Approval(
            contract=which, subject=Digest(update.subject), action="update", role=role,
            decision="approve",
        )  # fmt: skip
        await person.submit("contract.approve", body)
        self._ground.note(f"{role} signs to update {state.proposal.agreement.name}")

    async def _wait(self, which: ContractId, until: set[contract.Phase], seconds: int) -> None:
        steps: AsyncIterator[threebot.Step] = self.people["consumer"].ordering.wait(
            which, until=until, timeout_seconds=seconds
        )
        try:
            async for _step in steps:
                pass
        except errors.StillGoing:
            self._ground.note(f"{which[-7:]} takes its time")


def _resized(
    follower: bcdb.Follower, state: contract.ContractState, disk_bytes: int
) -> contract.Plan:
    """The later version in which every namespace of a contract may hold so much."""
    names = [
        w.name for w in state.proposal.agreement.workloads if isinstance(w, contract.ZdbNamespace)
    ]
    resizes = [contract.Resize(workload=name, disk_bytes=disk_bytes) for name in names]
    assert follower.head is not None
    return contract.plan_update(
        follower.view, state.contract, *resizes,
        now_ms=follower.order_time_ms(), size=follower.head.size,
    )  # fmt: skip


_RECIPE = """\
name: web
version: "1.0"
description: Web containers behind a name.
parameters:
  replicas: {type: integer, default: 2, minimum: 1, maximum: 8}
  host: {type: string}
policy:
  deploy:
    roles: {budget: 1, security: 1, legal: 1}
    weight: 2
  delete:
    roles: {budget: 1, security: 1, legal: 1}
    weight: 2
workloads:
  net:
    type: network
  web:
    type: container
    replicas: ${replicas}
    image: web
    network: net
    cpu: 0.5
    memory: 64MiB
    disk: 16MiB
    placement: {spread: node, group: web}
  page:
    type: route
    host: ${host}
    network: net
    containers: [web]
    port: 80
"""
_NAMESPACES = """\
  data:
    type: zdb
    replicas: ${replicas}
    network: net
    disk: 64MiB
    keys: 1000
    placement: {spread: node, group: data}
"""
