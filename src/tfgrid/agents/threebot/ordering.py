"""Order, approve, cancel and wait, with an owner's or approver's own key.

The same library serves the command line, where a person decides, and a bot that has a mandate.
Planning is pure and has no writer within reach; registering takes a plan as it was shown and
refuses it if the world has moved.

    Ordering.plan(...) -> Plan        nothing is written
    Ordering.plan_update(...) -> Plan the next version of a contract; nothing is written
    await Ordering.propose(plan)      contract.propose
    await Ordering.approve(...)       contract.approve: deploy, update or delete, yes or no
    async for step in Ordering.wait(contract, ...)    each change, as the ledger tells it
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from tfgrid.core import errors
from tfgrid.core.clock import Clock
from tfgrid.core.ids import ContractId
from tfgrid.ledger import bcdb, contract, farm

__all__ = ["Ordering", "Step"]

_POLL_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One change: of the contract (no `workload`, no `node`), of a node's part, or of a workload.

    `state` is a phase, or the state of a receipt; `node` is the node's name.
    """

    state: str
    node: str = ""
    workload: str = ""
    reasons: tuple[str, ...] = ()
    at: int = 0
    phase: contract.Phase = "proposed"


class Ordering:
    """Acts on contracts of one ledger with one identity.

    Args:
        follower: a verified copy of the ledger; it is brought up to date before each decision.
        author: writes with the owner's or approver's key; None where nothing will be written.
        clock: for deadlines.

    """

    def __init__(self, follower: bcdb.Follower, author: bcdb.Author | None, clock: Clock) -> None:
        self._follower = follower
        self._author = author
        self._clock = clock

    async def look(self) -> bcdb.View:
        """The verified view, brought up to date.

        Raises:
            errors.Unreachable: the ledger does not answer.

        """
        await self._follower.sync()
        return self._follower.view

    def plan(
        self, order: contract.Order, recipe: contract.Recipe,
        images: Mapping[str, contract.Image],
    ) -> contract.Plan:  # fmt: skip
        """What an order would become now; nothing is written.

        Raises:
            errors.NoFit: TFG-2350, with every reason and the smallest change.
            errors.BadInput: the order does not fit the recipe.

        """
        now = self._follower.order_time_ms()
        size = self._follower.head.size if self._follower.head else 0
        inventory = farm.inventory(self._follower.view, now, size)
        return contract.plan(order, recipe, images, inventory)

    def plan_update(self, which: ContractId, *resizes: contract.Resize) -> contract.Plan:
        """The next version of a contract with these namespaces changed; nothing is written.

        Raises:
            errors.GridError: what `contract.plan_update` raises, with the ledger's own reasons.

        """
        now = self._follower.order_time_ms()
        size = self._follower.head.size if self._follower.head else 0
        return contract.plan_update(self._follower.view, which, *resizes, now_ms=now, size=size)

    async def propose(self, plan: contract.Plan) -> contract.ContractState:
        """Register exactly this plan; a plan that is registered already is found and not repeated.

        Raises:
            errors.Conflict: TFG-2352, the world moved since it was made.
            errors.NotAllowed: the author is not its owner.

        """
        view = await self.look()
        wanted = contract.contract_id(plan.proposal.agreement)
        if not any(_is_written(plan.proposal, state) for state in self._contracts(view)):
            contract.check_plan(plan, view, self._follower.order_time_ms())
            await self._writer().submit("contract.propose", plan.proposal)
        return await self.state(wanted)

    async def approve(
        self, which: ContractId, *, action: Literal["deploy", "update", "delete"],
        decision: Literal["approve", "reject"] = "approve", reason: str = "",
    ) -> contract.ContractState:  # fmt: skip
        """Sign for one action of a contract, in the role in which its policy lists this identity.

        Raises:
            errors.NotAllowed: TFG-4511, the policy does not list this identity for the action.
            errors.Conflict: TFG-4512, it has signed already, or the contract no longer waits for
            it.

        """
        state = await self.state(which)
        ballot = state.ballot(action)
        me = self._writer().keyring.identity
        for vote in ballot.tally.votes:
            if vote.identity == me and vote.decision == decision:
                return state
        if not ballot.open:
            raise errors.Conflict(
                "TFG-4512",
                f"the contract is {state.phase} and waits for no signature to {action} it",
                where=which, hint=f"tfgrid contract show {which[:10]}",
            )  # fmt: skip
        body = contract.Approval(
            contract=which, action=action, decision=decision, reason=reason,
            role=_role(state, action, me), subject=ballot.subject,
        )  # fmt: skip
        await self._writer().submit("contract.approve", body)
        return await self.state(which)

    async def state(self, which: ContractId) -> contract.ContractState:
        """How a contract stands now.

        Raises:
            errors.NotFound: TFG-2401.

        """
        view = await self.look()
        return contract.read(view, which, self._follower.order_time_ms())

    async def wait(
        self, which: ContractId, *, until: Collection[contract.Phase], timeout_seconds: float,
        seen: Collection[Step] = (),
    ) -> AsyncIterator[Step]:  # fmt: skip
        """Every change of a contract until its phase is in `until` or final, oldest first.

        Steps in `seen` are not told again.

        Raises:
            errors.StillGoing: TFG-4513, the time was over first.

        """
        deadline = self._clock.monotonic_ms() + round(timeout_seconds * 1000)
        told = set(seen)
        while True:
            view = self._follower.view
            state = contract.read(view, which, self._follower.order_time_ms())
            for step in steps(state, _names(view, self._follower.order_time_ms())):
                if step not in told:
                    told.add(step)
                    yield step
            if state.phase in until or state.phase in contract.PHASES_FINAL:
                return
            left = (deadline - self._clock.monotonic_ms()) / 1000
            if left <= 0:
                raise errors.StillGoing(
                    "TFG-4513", f"the contract is {state.phase} after {timeout_seconds:.0f} s",
                    where=which, phase=state.phase,
                    hint=f"repeat the command to go on, or tfgrid contract why {which[:10]}",
                )  # fmt: skip
            await self._follower.sync(wait_seconds=max(1, round(min(_POLL_SECONDS, left))))

    async def wait_settled(
        self, which: ContractId, *, timeout_seconds: float
    ) -> AsyncIterator[Step]:
        """Every word of nodes until each namespace of an update is as agreed, or one failed.

        Raises:
            errors.StillGoing: TFG-4513, the time was over first.

        """
        state = await self.state(which)
        told = max((fact.position for fact in state.receipts), default=-1)
        deadline = self._clock.monotonic_ms() + round(timeout_seconds * 1000)
        while True:
            names = _names(self._follower.view, self._follower.order_time_ms())
            news = sorted(
                (fact for fact in state.receipts if fact.position > told), key=lambda f: f.position
            )
            for fact in news:
                told = fact.position
                yield _told(fact, names)
            failed = {f.receipt.workload for f in news if f.receipt.state == "failed"}
            if failed & set(state.unsettled) or not state.unsettled:
                return
            left = (deadline - self._clock.monotonic_ms()) / 1000
            if left <= 0:
                raise errors.StillGoing(
                    "TFG-4513", f"{', '.join(state.unsettled)} not changed yet after "
                    f"{timeout_seconds:.0f} s",
                    where=which, phase=state.phase, hint=f"tfgrid contract why {which[:10]}",
                )  # fmt: skip
            await self._follower.sync(wait_seconds=max(1, round(min(_POLL_SECONDS, left))))
            now = self._follower.order_time_ms()
            state = contract.read(self._follower.view, which, now)

    def _contracts(self, view: bcdb.View) -> tuple[contract.ContractState, ...]:
        return contract.contracts(view, self._follower.order_time_ms())

    def _writer(self) -> bcdb.Author:
        assert self._author is not None, "this ordering was made without an author"
        return self._author


def _role(state: contract.ContractState, action: str, me: str) -> str:
    policy = state.proposal.agreement.policy
    rule = policy.delete if action == "delete" else policy.deploy
    for approver in rule.approvers:
        if approver.identity == me:
            return approver.role
    if not rule.approvers and state.proposal.agreement.owner == me:
        return "owner"
    raise errors.NotAllowed(
        "TFG-4511", f"the contract's policy does not list you for {action}",
        where=state.contract,
        hint=f"tfgrid contract show {state.contract[:10]}, and --as one of them",
    )  # fmt: skip


def _names(view: bcdb.View, now_ms: int) -> dict[str, str]:
    return {str(info.node): info.name for info in farm.nodes(view, now_ms)}


def _told(fact: contract.ReceiptFact, names: Mapping[str, str]) -> Step:
    return Step(
        state=fact.receipt.state, node=names.get(fact.node, fact.node[:10]),
        workload=fact.receipt.workload, reasons=fact.receipt.reasons, at=fact.at,
    )  # fmt: skip


def _is_written(proposal: contract.Proposal, state: contract.ContractState) -> bool:
    """Whether a contract is this proposal's: of a later version, in force or waiting."""
    if contract.contract_id(proposal.agreement) != state.contract:
        return False
    known = (state.proposal, state.update.proposal if state.update else None)
    return proposal.agreement.version == 1 or proposal in known


def steps(state: contract.ContractState, names: Mapping[str, str]) -> tuple[Step, ...]:
    """A contract's latest changes in the order of the log: receipts, and the phase it is in."""
    # A cancelled contract tells only what came after: nobody waits to hear again that it ran.
    since = state.since if state.phase in {"cancelling", "expired", "ended"} else 0
    receipts = sorted(state.receipts, key=lambda fact: fact.position)
    told = [
        _told(fact, names) for fact in receipts if fact.at >= since or fact.receipt.state == "ended"
    ]
    told.append(Step(state=state.phase, at=state.since, phase=state.phase))
    # What made a contract reach its phase comes before the phase.
    return tuple(sorted(told, key=lambda step: (step.at, not step.node)))
