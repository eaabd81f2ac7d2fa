"""`logs CONTRACT/WORKLOAD`: what a workload wrote, if its agreement lets the owner see.

No command reaches a node: nodes put a bounded tail into the owner's mailbox, and this reads it
there.
"""

from __future__ import annotations

import asyncio
import json
from typing import Final

import click

from tfgrid.core import errors
from tfgrid.doors.cli import answers
from tfgrid.doors.cli.frame import Leaf, Settings, complete, leaf, stream
from tfgrid.doors.cli.session import Session
from tfgrid.ledger import contract

__all__ = ["COMMANDS"]

_group = click.Group()
_POLL_SECONDS: Final = 1.0


@leaf(
    _group, "logs", answers=("tfgrid.log/1",),
    examples=("tfgrid logs guestbook/web-1", "tfgrid logs guestbook/redis -f",
              "tfgrid logs guestbook/web-1 --json"),
)  # fmt: skip
@click.argument("workload", metavar="CONTRACT/WORKLOAD", shell_complete=complete("workload"))
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes.")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=100,
    help="How many lines at first (default: 100).",
)
def logs(settings: Settings, workload: str, follow: bool, limit: int) -> None:
    """Show the end of what a workload wrote; with -f until interrupted, or until --timeout."""
    asyncio.run(_logs(settings, workload, follow=follow, limit=limit))


async def _logs(settings: Settings, path: str, *, follow: bool, limit: int) -> None:
    with Session(settings) as session:
        await session.look()
        state, workload = _find(session, path)
        known: list[str] = []
        first = True
        bounded = "timeout" in settings.given
        until = session.clock.monotonic_ms() + settings.timeout * 1000
        while True:
            lines = await _tail(session, state, workload)
            fresh = new_lines(known, lines)
            if first:
                fresh, first = fresh[max(0, len(fresh) - limit) :], False
            stream(
                settings,
                [_line(state.contract, workload, text) for text in fresh],
                lambda line: line.text or " ",
            )
            known = lines or known
            if not follow or (bounded and session.clock.monotonic_ms() > until):
                return
            await session.clock.sleep(_POLL_SECONDS)


def _line(contract_id: str, workload: str, text: str) -> answers.LogLine:
    return answers.LogLine(contract=contract_id, workload=workload, type="line", text=text)


def _find(session: Session, path: str) -> tuple[contract.ContractState, str]:
    name, _, workload = path.partition("/")
    state = session.contract(name)
    agreement = state.proposal.agreement
    known = [w.name for w in agreement.workloads if isinstance(w, contract.Container)]
    if not workload and len(known) == 1:
        workload = known[0]
    if not workload and known:
        raise errors.BadInput(
            "TFG-5001", f"{name} has several containers: {', '.join(known)}", where=path,
            hint=f"tfgrid logs {name}/{known[0] if known else 'WORKLOAD'}",
        )  # fmt: skip
    if workload not in known:
        raise errors.NotFound(
            "TFG-5019", f"{name} has no container {workload!r}, but {', '.join(known)}", where=path,
            hint=f"tfgrid logs {name}/{known[0] if known else 'WORKLOAD'}",
        )  # fmt: skip
    if not agreement.access.logs:
        raise errors.NotAllowed(
            "TFG-5020", f"the agreement of {name} lets nobody see its logs", where=path,
            hint="order it anew from a recipe whose access says logs: true",
        )  # fmt: skip
    return state, workload


async def _tail(session: Session, state: contract.ContractState, workload: str) -> list[str]:
    """The newest lines by the node that runs the workload; anybody may write into the same box."""
    box, view = f"logs:{state.contract}/{workload}", session.follower.view
    places = {a.workload: a.node for a in state.proposal.placement.assignments}
    found = await session.client.messages(box, author=places[workload], view=view)
    told = (m for m in found if m.box == box)
    newest = max(told, key=lambda message: message.at, default=None)
    return log_text(newest.payload).splitlines() if newest else []


def log_text(payload: str) -> str:
    """The text in a log message: as it is, or in the field `text` of a JSON object."""
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError):
        return payload
    return str(value["text"]) if isinstance(value, dict) and "text" in value else payload


def new_lines(known: list[str], lines: list[str]) -> list[str]:
    """The lines of a tail that come after an earlier one; all, when the two do not overlap."""
    for start in range(len(known)):
        tail = known[start:]
        if lines[: len(tail)] == tail:
            return lines[len(tail) :]
    return lines


COMMANDS: Final[dict[str, Leaf]] = {"logs": logs}
