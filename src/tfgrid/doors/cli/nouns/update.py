"""`contract update`: what a namespace of a contract may hold becomes another, in place.

It shows what changes, asks, and registers the next version of the agreement; who signed the first
one signs this one, with `contract sign`. Then it waits until the node has said that it is so.
Whoever loads this module has the noun `contract` with all of its verbs.
"""

from __future__ import annotations

import asyncio

import click

from tfgrid.core import errors, units
from tfgrid.doors.cli import answers, portrait
from tfgrid.doors.cli.frame import (
    ExitCode,
    Progress,
    Settings,
    complete,
    confirm,
    hints,
    leaf,
    say,
    show,
)
from tfgrid.doors.cli.nouns.contract import COMMANDS, noun
from tfgrid.doors.cli.session import Session
from tfgrid.ledger import contract

__all__ = ["COMMANDS"]


@leaf(
    noun, "update", answers=("tfgrid.updated/1",),
    examples=(
        "tfgrid contract update notes data --disk 20GiB",
        "tfgrid contract update notes data --keys 5000000 --history last:3 --yes",
        "tfgrid contract update 3fa9c1 data --disk 2GiB --dry-run",
    ),
)  # fmt: skip
@click.argument("name", shell_complete=complete("contract"))
@click.argument("workload")
@click.option("--disk", default="", metavar="SIZE", help="The most that its files may take.")
@click.option("--keys", type=click.IntRange(min=1), metavar="N", help="The most live keys.")
@click.option("--history", default="", metavar="KEPT", help="all, last:N or since:UNIXTIME.")
@click.option("--wait/--no-wait", default=True, help="Wait until it is so (default: wait).")
def update(
    settings: Settings, name: str, workload: str, disk: str, keys: int | None, history: str,
    wait: bool,
) -> None:  # fmt: skip
    """Change what a zdb namespace of a running contract may hold; what is in it stays.

    All who must approve the contract must approve this: until then it goes on as it is.
    """
    resize = contract.Resize(
        workload=workload, disk_bytes=units.parse_bytes(disk) if disk else None, keys_max=keys,
        history=history or None,
    )  # fmt: skip
    answer = asyncio.run(_update(settings, name, resize, wait=wait))
    if settings.dry_run:
        show(settings, answer, lambda a: portrait.updating_text(settings, a))
        say(settings, "this is what would be registered; nothing was")
        return
    show(settings, answer, portrait.update_text)
    if answer.state == "waiting":
        hints(settings, *(f"tfgrid contract sign {answer.name} --as {who}"
                          for who in answer.asked[:2]))  # fmt: skip
        click.get_current_context().exit(int(ExitCode.WAITING))
    hints(settings, f"tfgrid contract show {answer.name}")


async def _update(
    settings: Settings, name: str, resize: contract.Resize, *, wait: bool
) -> answers.Updated:
    from tfgrid.agents import threebot

    with Session(settings) as session:
        await session.look()
        before = session.contract(name)
        planning = threebot.Ordering(session.follower, None, session.clock)
        plan = planning.plan_update(before.contract, resize)
        made = plan.proposal
        planned = portrait.updated_answer(session, before, made, before.proposal)
        if settings.dry_run:
            return planned
        if not settings.json and not settings.quiet:
            say(settings, portrait.updating_text(settings, planned))
        confirm(settings, "Register it?")
        ordering = threebot.Ordering(session.follower, await session.author(), session.clock)
        state = await ordering.propose(plan)
        if wait and state.unsettled and state.proposal == made:
            state = await _settle(session, state)
        return portrait.updated_answer(session, state, made, before.proposal)


async def _settle(session: Session, state: contract.ContractState) -> contract.ContractState:
    """Wait until the nodes have changed what an update changes.

    Raises:
        errors.Failed: TFG-5031, a node said why it cannot.
        errors.StillGoing: TFG-4513, it is not so in time.

    """
    from tfgrid.agents import threebot

    ordering = threebot.Ordering(session.follower, None, session.clock)
    with Progress(session.settings, "waiting for the nodes") as progress:
        async for step in ordering.wait_settled(
            state.contract, timeout_seconds=session.settings.timeout
        ):
            reasons = f": {'; '.join(step.reasons)}" if step.reasons else ""
            progress.change(f"{step.node} {step.workload}".strip(), f"{step.state}{reasons}")
    after = await ordering.state(state.contract)
    if after.unsettled:
        said = (after.standing(a.node, a.workload) for a in after.proposal.placement.assignments
                if a.workload in after.unsettled)  # fmt: skip
        why = "; ".join(reason for fact in said if fact for reason in fact.receipt.reasons)
        raise errors.Failed(
            "TFG-5031", f"{', '.join(after.unsettled)} could not be changed: {why}",
            where=state.contract,
            hint=f"update it to what is possible; tfgrid contract why {state.contract[:10]}",
        )  # fmt: skip
    return after
