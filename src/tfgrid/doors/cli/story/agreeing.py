"""Steps 4 and 5: plan, registration, approvals, and that nothing runs before the quorum."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Final

from tfgrid.agents import threebot
from tfgrid.core import errors
from tfgrid.core.ids import ContractId
from tfgrid.doors import localgrid
from tfgrid.doors.cli import portrait
from tfgrid.doors.cli.frame import Progress, Settings
from tfgrid.doors.cli.nouns import contract as contracts
from tfgrid.doors.cli.nouns import order as orders
from tfgrid.doors.cli.session import Session, grid_directory
from tfgrid.doors.cli.story.telling import Teller
from tfgrid.ledger import contract

__all__ = ["approve", "order"]

_NAME: Final = "guestbook"
_LOOK_SECONDS: Final = 3.0


async def order(teller: Teller) -> ContractId:
    """Show the plan and register it, unless a contract of that name lives already."""
    with Session(teller.settings) as session:
        await session.look()
        living = [
            state for state in session.contracts()
            if state.proposal.agreement.name == _NAME and state.phase not in contract.PHASES_FINAL
            and state.phase not in {"cancelling", "expired"}
        ]  # fmt: skip
        if living:
            teller.say(f"   {_NAME} is there already: {living[-1].phase}")
            return living[-1].contract
        request = orders.Request(what=_NAME, settings={}, approvers={})
        plan = orders.make_plan(session, request)
        text = portrait.plan_text(teller.settings, portrait.plan_answer(session, plan))
        # A table for a terminal is as wide as the terminal already.
        margin = "" if teller.settings.colour else "   "
        teller.say("\n".join(f"{margin}{line}".rstrip() for line in text.splitlines()))
        state = await orders.register(session, plan, 0)
        teller.say(
            f"\n   registered: record {state.position} of the ledger, inclusion proof ok,"
            f" {state.phase}"
        )
        return state.contract


def approve(teller: Teller, which: ContractId) -> None:
    """One signature, and nothing runs; a second, and the nodes take it up."""
    state = asyncio.run(_state(teller.settings, which))
    asked = [a.role for a in state.proposal.agreement.policy.deploy.approvers]
    signed = {vote.role for vote in state.deploy.votes}
    for role in [role for role in asked if role not in signed]:
        if state.phase != "proposed":
            break
        _sign(teller, which, role)
        state = asyncio.run(_state(teller.settings, which))
        if state.phase == "proposed":
            _hold_nothing_runs(teller, which)
    if state.phase == "running":
        teller.say("   every workload runs")
        return
    with Progress(teller.settings, "") as progress:
        asyncio.run(_follow(teller.settings, which, progress))
    teller.say("   every workload runs")


def _sign(teller: Teller, which: ContractId, role: str) -> None:
    settings = replace(teller.settings, identity=role)
    answer = asyncio.run(contracts.sign(settings, which, action="deploy"))
    teller.say(
        f"   {role} approves: {answer.approved}/{answer.needed}"
        "    [a demo key, kept in this grid's directory]"
    )


def _hold_nothing_runs(teller: Teller, which: ContractId) -> None:
    """Give the nodes time to do what they must not, then look at the machine itself.

    Raises:
        errors.Failed: TFG-5023, something runs without a quorum.

    """
    time.sleep(_LOOK_SECONDS)
    grid = localgrid.read(localgrid.find(grid_directory(teller.settings)))
    others = asyncio.run(_others_run(teller.settings, which))
    found = localgrid.contained(grid)
    if others:
        teller.say(f"   {others} other contracts run here, so their containers are not counted")
        return
    running = {node: count for node, count in found.items() if count}
    if running:
        raise errors.Failed(
            "TFG-5023", f"containers run without a quorum: {running}", where=which,
            hint="tfgrid node list",
        )  # fmt: skip
    nodes = ", ".join(found)
    teller.say(f"   looked on {nodes}: no container process runs, as it should be")


async def _state(settings: Settings, which: ContractId) -> contract.ContractState:
    with Session(settings) as session:
        await session.look()
        return session.contract(which)


async def _others_run(settings: Settings, which: ContractId) -> int:
    with Session(settings) as session:
        await session.look()
        started = {"accepted", "running", "degraded", "cancelling"}
        return sum(s.phase in started for s in session.contracts() if s.contract != which)


async def _follow(settings: Settings, which: ContractId, progress: Progress) -> None:
    with Session(settings) as session:
        await session.look()
        ordering = threebot.Ordering(session.follower, None, session.clock)
        began = session.clock.monotonic_ms()
        async for step in ordering.wait(which, until={"running"}, timeout_seconds=settings.timeout):
            seconds = (session.clock.monotonic_ms() - began) / 1000
            thing = f"{step.node} {step.workload}".strip() or "contract"
            reasons = f": {'; '.join(step.reasons)}" if step.reasons else ""
            progress.change(thing, f"{step.state}{reasons}  {seconds:.1f} s")
        state = await ordering.state(which)
        if state.phase != "running":
            raise errors.Failed(
                "TFG-5024", f"the contract is {state.phase}: {session.named(state.reason)}",
                where=which,
                hint=f"tfgrid contract why {which[:10]}",
            )  # fmt: skip
