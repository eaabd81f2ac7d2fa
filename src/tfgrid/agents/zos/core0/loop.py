"""The loop that makes a machine match the ledger: look, plan, do the next steps, look again.

    feed (long poll) --.
    host.changed() ----+--> wake --> observe --> plan --> a task per step, none waiting for another
    back-off, timer ---'                                    `--> outbox --> ledger

Four tasks that never wait for one another: `follow` reads the ledger, `work` plans and starts
steps, `tell` writes what waits in the outbox, `beat` reports. Each step is a task of its own with
its own back-off, so one workload that fails or hangs delays no other. Nothing polls: the loop wakes
when the log grew, the machine says that something changed, a back-off is due, or
`look_again_seconds` have gone by (validity and deadlines need no finer clock).

What is kept over the end of the process is the follower's state and the outbox; everything else is
observed anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from tfgrid.agents.zos import status
from tfgrid.agents.zos.core0.backoff import Backoff, Delay
from tfgrid.agents.zos.core0.outbox import Outbox, Submits, Verdict
from tfgrid.agents.zos.core0.plan import Ensure, Known, Offer, Plan, Step, plan
from tfgrid.agents.zos.core0.steps import Hands, key_of
from tfgrid.agents.zos.core0.view import Times, cases
from tfgrid.core import errors, limits
from tfgrid.core.clock import Clock
from tfgrid.core.host import Host, ItemKey, Observed
from tfgrid.core.ids import NodeId
from tfgrid.core.log import Log
from tfgrid.core.rng import Rng
from tfgrid.core.store import Store
from tfgrid.ledger import bcdb
from tfgrid.ledger import contract as contracts

__all__ = ["Core0", "Report", "Seams"]

look_again_seconds: Final = 10.0
follow_retry_seconds_max: Final = 10.0
steps_at_once_max: Final = 16
step_seconds_max: Final = 60
fetches_at_once_max: Final = 4
fetch_seconds_max: Final = 900
settle_seconds: Final = 0.02
news_seconds_min: Final = 0.5
part_retry_seconds: Final = 5.0


class Introduces(Protocol):
    """Makes the node known: identity, registration, inventory; True once the ledger has all."""

    async def __call__(self, view: bcdb.View, size: int) -> bool:
        """Write what the ledger does not have yet."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the loop knows of itself, for the status file and the heartbeat."""

    plan: Plan
    phase: status.Phase
    reason: str
    delays: dict[str, Delay]
    receipts_waiting: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Seams:
    """Everything outside the loop."""

    host: Host
    clock: Clock
    store: Store
    rng: Rng
    log: Log
    author: Submits
    introduce: Introduces
    report: Callable[[Report], Awaitable[None]]


class Core0:
    """One node's mind. `run` until it is cancelled; the machine keeps what runs."""

    def __init__(self, node: NodeId, offer: Offer, follower: bcdb.Follower, seams: Seams) -> None:
        self.node = node
        self.offer = offer
        self.follower = follower
        self.outbox = Outbox(seams.store, seams.log)
        self.caught_up = False
        self.last_plan = Plan()
        self._seams = seams
        self._hands = Hands(host=seams.host, outbox=self.outbox, clock=seams.clock)
        self._backoff = Backoff(seams.rng)
        self._running: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(steps_at_once_max)
        self._images = asyncio.Semaphore(fetches_at_once_max)
        self._wake = asyncio.Event()
        self._tell = asyncio.Event()
        self._news = asyncio.Event()
        self._unreachable = ""
        self._blind = ""

    async def run(self) -> None:
        """Follow, work, tell and beat until cancelled. Cancelling leaves the machine as it is."""
        try:
            async with asyncio.TaskGroup() as group:
                for part in (self._follow, self._watch, self._work, self._talk, self._beat):
                    group.create_task(self._lasting(part))
        finally:
            steps = list(self._running.values())
            for task in steps:
                task.cancel()
            await asyncio.gather(*steps, return_exceptions=True)

    async def _lasting(self, part: Callable[[], Awaitable[None]]) -> None:
        """Begin a part anew after a fault that nobody foresaw.

        What strangers write reaches every part; none of it may end the node for all its tenants.
        """
        while True:
            try:
                return await part()
            except Exception as fault:  # noqa: BLE001 - the last line before the node would end
                name = getattr(part, "__name__", "")
                self._seams.log.write("error", "part broke", which=name, fault=repr(fault)[:500])
            await self._seams.clock.sleep(part_retry_seconds)

    # What is known

    @property
    def phase(self) -> status.Phase:
        """The word for how the node stands to its ledger, as in `status.Phase`."""
        if self.follower.halted is not None:
            return "halted"
        if not self.caught_up:
            return "starting"
        return "following" if self._fresh() else "stale"

    def _fresh(self) -> bool:
        return self.follower.stale_seconds() <= limits.checkpoint_age_seconds_max

    def report(self) -> Report:
        """How the node fares now."""
        reasons = {
            "halted": self.follower.halted.reason if self.follower.halted else "",
            "starting": self._unreachable or "reads to the head of the ledger",
            "following": self._blind,
            "stale": f"no fresh head: {self._unreachable or 'the ledger stands still'}",
        }
        return Report(
            plan=self.last_plan, phase=self.phase, reason=reasons.get(self.phase, ""),
            delays=self._backoff.delays(), receipts_waiting=len(self.outbox),
        )  # fmt: skip

    def known(self, observed: Mapping[ItemKey, Observed]) -> Known:
        """Everything the plan depends on, as of now."""
        head = self.follower.head
        times = Times(
            clock_ms=self._seams.clock.now_ms(),
            head_ms=head.order_time if head else 0,
            order_time_ms=self.follower.order_time_ms(),
        )
        return Known(
            node=self.node, offer=self.offer, observed=observed,
            cases=cases(self.follower.view, self.node, times, self.outbox),
            troubles={k: d.reason for k, d in self._backoff.delays().items() if d.failures > 1},
            caught_up=self.caught_up, fresh=self._fresh(),
            halted=self.follower.halted is not None,
        )  # fmt: skip

    # Reading the ledger

    async def _follow(self) -> None:
        wait, failures = 0, 0
        while self.follower.halted is None:
            began = self._seams.clock.monotonic_ms()
            try:
                entries = await self.follower.sync(wait_seconds=wait)
            except errors.GridError as fault:
                wait, failures = 0, failures + 1
                self._unreachable = f"{fault.code} {fault.what}"
                await self._seams.clock.sleep(self._retry_seconds(failures))
                continue
            wait, failures, self._unreachable = limits.feed_wait_seconds_max, 0, ""
            self._read(bool(entries))
            if not entries and self._seams.clock.monotonic_ms() - began < 1000:
                await self._seams.clock.sleep(1)
        self._seams.log.error("halted", reason=self.follower.halted.reason)
        self._wake.set()
        self._news.set()
        await asyncio.Event().wait()

    def _read(self, grew: bool) -> None:
        if not self.caught_up and self._fresh():
            self.caught_up = True
            self._seams.log.info(
                "caught up", size=self.follower.head.size if self.follower.head else 0
            )
            grew = True
            self._news.set()
        if grew:
            self._wake.set()
            self._tell.set()

    def _retry_seconds(self, failures: int) -> float:
        longest = min(follow_retry_seconds_max, 0.5 * float(1 << min(failures, 10)))
        return longest * (0.75 + self._seams.rng.below(250) / 1000)

    async def _watch(self) -> None:
        while True:
            await self._seams.host.changed()
            self._wake.set()
            await self._seams.clock.sleep(settle_seconds)

    # Making it so

    async def _work(self) -> None:
        while True:
            try:
                self._plan(await self._seams.host.observe())
                self._blind = ""
            except errors.GridError as fault:
                self._blind = f"cannot look at its machine: {fault.what}"
                self._seams.log.warning("cannot look", code=fault.code, reason=fault.what)
            await self._nap(self._wake, self._seconds_to_next())
            await self._seams.clock.sleep(settle_seconds)

    def _seconds_to_next(self) -> float:
        due = self._backoff.next_due_ms(set(self._running))
        if due is None:
            return look_again_seconds
        left = (due - self._seams.clock.monotonic_ms()) / 1000
        return min(look_again_seconds, max(settle_seconds, left))

    def _plan(self, observed: Mapping[ItemKey, Observed]) -> None:
        before, self.last_plan = self.last_plan, plan(self.known(observed))
        if before.notes != self.last_plan.notes:
            self._news.set()
        now = self._seams.clock.monotonic_ms()
        steps: dict[str, Step] = {}
        for step in self.last_plan.steps:
            steps.setdefault(key_of(step), step)
        self._backoff.keep_only(set(steps) | set(self._running), now)
        for key, step in steps.items():
            if isinstance(step, Ensure):
                self._backoff.plan(key, step.item.digest)
            if key not in self._running and self._backoff.ready(key, now):
                task = asyncio.get_running_loop().create_task(self._do(key, step))
                self._running[key] = task
                task.add_done_callback(partial(self._finished, key))

    def _finished(self, key: str, _task: asyncio.Task[None]) -> None:
        self._running.pop(key, None)
        self._wake.set()

    async def _do(self, key: str, step: Step) -> None:
        image = isinstance(step, Ensure) and step.item.key.kind == "image"
        try:
            async with self._images if image else self._slots:
                if step not in self.last_plan.steps:
                    return
                began = self._seams.clock.monotonic_ms()
                async with asyncio.timeout(fetch_seconds_max if image else step_seconds_max):
                    await self._hands.do(step)
        except errors.GridError as fault:
            self._failed(key, f"{fault.code} {fault.what}")
        except TimeoutError:
            self._failed(key, "did not finish in time")
        except Exception as fault:  # noqa: BLE001 - a fault in one step must not end the others
            self._seams.log.write("error", "step broke", step=key, fault=repr(fault))
            self._failed(key, f"unexpected {type(fault).__name__}")
        else:
            self._backoff.succeeded(key)
            if isinstance(step, Ensure) and step.item.key.kind in {"zdb", "container"}:
                self._backoff.started(key, self._seams.clock.monotonic_ms())
            self._tell.set()
            took = self._seams.clock.monotonic_ms() - began
            self._seams.log.info("step done", step=key, milliseconds=took)

    def _failed(self, key: str, reason: str) -> None:
        delay = self._backoff.failed(key, reason, self._seams.clock.monotonic_ms())
        if delay.failures in {1, 2, 4} or delay.failures % 16 == 0:
            self._seams.log.warning("step failed", step=key, tries=delay.failures, reason=reason)

    # Telling

    async def _talk(self) -> None:
        failures = 0
        while True:
            try:
                await self._tell_all()
                failures = 0
            except errors.GridError as fault:
                failures += 1
                self._seams.log.debug("cannot tell", code=fault.code, reason=fault.what)
            wait = self._retry_seconds(failures) if failures else look_again_seconds
            if failures:
                await self._seams.clock.sleep(wait)
            else:
                await self._nap(self._tell, wait)

    async def _tell_all(self) -> None:
        if self.follower.halted is not None or not self.caught_up:
            return
        if await self._seams.introduce(self.follower.view, self.follower.size):
            await self.outbox.send(self._seams.author, self._verdict)

    def _verdict(self, receipt: contracts.Receipt) -> Verdict:
        head = self.follower.head
        state = contracts.read(self.follower.view, receipt.contract, head.order_time if head else 0)
        fact = state.receipt(self.node, receipt.workload)
        if fact is not None and fact.receipt == receipt:
            return "written"
        return "send" if contracts.receipt_allowed(state, self.node, receipt) else "void"

    async def _beat(self) -> None:
        while True:
            try:
                await self._seams.report(self.report())
            except errors.GridError as fault:
                self._seams.log.debug("heartbeat not delivered", code=fault.code)
            await self._nap(self._news, limits.heartbeat_seconds)
            await self._seams.clock.sleep(news_seconds_min)

    async def _nap(self, event: asyncio.Event, seconds: float) -> None:
        """Until the event, or so many seconds; the event is taken."""
        loop = asyncio.get_running_loop()
        both = {loop.create_task(event.wait()), loop.create_task(self._sleep(seconds))}
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in both:
                task.cancel()
            event.clear()

    async def _sleep(self, seconds: float) -> None:
        await self._seams.clock.sleep(seconds)
