"""`contract list|show|why|sign|reject|cancel|proof|verify`; `update` is in its own module."""

from __future__ import annotations

import asyncio
import dataclasses
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import click
import msgspec

from tfgrid.core import errors, limits, units
from tfgrid.doors.cli import answers, portrait
from tfgrid.doors.cli.frame import (
    ExitCode,
    Noun,
    Progress,
    Settings,
    complete,
    confirm,
    hints,
    leaf,
    say,
    show,
    show_all,
    write_file,
)
from tfgrid.doors.cli.session import Session
from tfgrid.ledger import bcdb, contract

__all__ = ["COMMANDS", "sign", "write_proof"]

noun: Final = Noun(
    "contract", help="Contracts: list, show, why, sign, reject, update, cancel, proof, verify.",
    examples=(
        "tfgrid contract list", "tfgrid contract why guestbook",
        "tfgrid contract sign guestbook --as budget",
    ),
)  # fmt: skip


@leaf(
    noun, "list", answers=("tfgrid.contract/1",),
    examples=(
        "tfgrid contract list", "tfgrid contract list --phase running",
        "tfgrid contract list --json",
    ),
)  # fmt: skip
@click.option(
    "--phase", type=click.Choice(typing.get_args(contract.Phase)), metavar="PHASE",
    help="Only contracts in this phase, such as running.",
)  # fmt: skip
def list_contracts(settings: Settings, phase: str | None) -> None:
    """List contracts, oldest first; without its ledger, as they were last verified."""
    found, fault = asyncio.run(_list(settings, phase))
    show_all(settings, found, lambda all_: portrait.contracts_text(settings, all_))
    if fault:
        raise fault


async def _list(
    settings: Settings, phase: str | None
) -> tuple[list[answers.Contract], errors.Unreachable | None]:
    with Session(settings) as session:
        fault = await session.recall()
        return [
            portrait.contract_answer(session, state)
            for state in session.contracts()
            if phase in {None, state.phase}
        ], fault


@leaf(
    noun, "show", answers=("tfgrid.contract/1",),
    examples=(
        "tfgrid contract show guestbook", "tfgrid contract show 3fa9c1",
        "tfgrid contract show guestbook --json",
    ),
)  # fmt: skip
@click.argument("name", shell_complete=complete("contract"))
def show_contract(settings: Settings, name: str) -> None:
    """Show what was agreed, who signed, where it runs and what its nodes said."""
    answer, fault = asyncio.run(_show(settings, name))
    show(settings, answer, lambda a: portrait.contract_text(settings, a))
    if fault:
        raise fault


async def _show(
    settings: Settings, word: str
) -> tuple[answers.Contract, errors.Unreachable | None]:
    from tfgrid.doors.cli.nouns import node as nodes

    with Session(settings) as session:
        fault = await session.recall()
        state = session.contract(word)
        answer = portrait.contract_answer(session, state)
        if fault:
            return answer, fault
        silent = _silences(session, state, await nodes.statuses(session))
        told = {line.partition(":")[0]: line.partition(": ")[2] for line in silent}
        rows = [msgspec.structs.replace(row, reason=row.reason or told.get(row.node, ""))
                for row in answer.workloads]  # fmt: skip
        return msgspec.structs.replace(answer, workloads=rows), None


@leaf(
    noun, "why", answers=("tfgrid.why/1",),
    examples=(
        "tfgrid contract why guestbook", "tfgrid contract why 3fa9c1",
        "tfgrid contract why guestbook --json",
    ),
)  # fmt: skip
@click.argument("name", shell_complete=complete("contract"))
def why(settings: Settings, name: str) -> None:
    """Say why a contract is as it is: every reason, and what to do."""
    answer, fault = asyncio.run(_why(settings, name))
    show(settings, answer, _why_text)
    if fault:
        raise fault


def _why_text(answer: answers.Why) -> str:
    reasons = [f"  {reason}" for reason in answer.reasons]
    following = [f"  try: {line}" for line in answer.next]
    return "\n".join([f"{answer.name} is {answer.phase}: {answer.answer}", *reasons, *following])


async def _why(settings: Settings, word: str) -> tuple[answers.Why, errors.Unreachable | None]:
    from tfgrid.doors.cli.nouns import node as nodes

    with Session(settings) as session:
        fault = await session.recall()
        state = session.contract(word)
        said = {} if fault else await nodes.statuses(session)
        names = session.node_names()
        reasons = [] if fault else _silences(session, state, said)
        reasons += [
            f"{names.get(node, node[:10])}: {status.get('phase', '')}, {status['reason']}"
            for node, (_, status) in said.items()
            if node in state.nodes and status.get("reason")
        ]
        reasons += [
            f"{names.get(node, node[:10])}: {item.get('name', '')} {item.get('condition', '')}"
            f": {item.get('reason', '')}".rstrip(": ")
            for node, (_, status) in said.items()
            for item in status.get("items", [])
            if item.get("contract") == state.contract and item.get("condition") != "running"
        ]
        told = explain(state, names, reasons)
        return msgspec.structs.replace(told, answer=session.named(told.answer)), fault


def _silences(
    session: Session, state: contract.ContractState, said: Mapping[str, tuple[int, Any]]
) -> list[str]:
    """The contract's nodes that have not been heard of lately, while it should run."""
    if state.phase in contract.PHASES_FINAL:
        return []
    names = session.node_names()
    heard = {node: said[node][0] if node in said else 0 for node in state.nodes}
    return [
        f"{names.get(node, node[:10])}: silent for more than {limits.heartbeat_silent_seconds} s; "
        "what it runs may run on"
        for node, at in heard.items()
        if session.now_ms - at > limits.heartbeat_silent_seconds * 1000
    ]


_ANSWERS: Final[dict[str, str]] = {
    "proposed": "it waits for approvals",
    "approved": "its nodes are asked whether they accept",
    "accepted": "its nodes are starting it",
    "running": "every workload runs",
    "degraded": "a workload failed or ended",
    "cancelling": "its nodes are removing it",
    "expired": "its time is over, and its nodes are removing it",
    "ended": "its nodes have removed all they had made for it",
    "rejected": "too many said no for the quorum to be reached",
    "lapsed": "its quorum was not reached in time",
    "refused": "a node refused it, or did not accept in time",
}


def explain(
    state: contract.ContractState, names: dict[str, str], reasons: Sequence[str]
) -> answers.Why:
    """Why a contract is as it is, from its state and what its nodes say of their items."""
    agreement = state.proposal.agreement
    rule = {a.identity: a.role for a in agreement.policy.deploy.approvers}
    told = [
        f"{names.get(fact.node, fact.node[:10])}: {fact.receipt.workload or 'its part'}"
        f" {fact.receipt.state}: {'; '.join(fact.receipt.reasons)}"
        for fact in state.receipts
        if fact.receipt.reasons
    ]
    silent = [
        f"{names.get(node, node[:10])}: has not answered yet"
        for node in state.nodes
        if state.phase == "approved" and state.receipt(node) is None
    ]
    ballot = state.ballot("update" if state.update else "deploy")
    open_ = ballot.tally.waiting if ballot.open else ()
    what = " the update that waits" if state.update else ""
    pending = [f"{rule.get(who, 'somebody')} has not signed{what}" for who in open_]
    pending += [
        f"{name}: its node has not said that it is as the update says"
        for name in state.unsettled
        if state.phase not in contract.PHASES_FINAL
    ]
    following = [f"tfgrid contract show {agreement.name}"]
    if ballot.open:
        roles = [rule[who] for who in open_ if who in rule]
        following = [f"tfgrid contract sign {agreement.name} --as {role}" for role in roles]
    elif state.phase in contract.PHASES_FINAL:
        following = [f"tfgrid deploy {agreement.recipe.name}"]
    return answers.Why(
        contract=state.contract, name=agreement.name, phase=state.phase,
        answer=(state.reason or _ANSWERS[state.phase])
        + (", by what its nodes said last" if reasons and state.phase == "running" else ""),
        reasons=[*pending, *told, *silent, *reasons], next=following,
    )  # fmt: skip


_SIGN_EXAMPLES: Final = (
    "tfgrid contract sign guestbook --as budget", "tfgrid contract sign guestbook --as legal --yes",
    "tfgrid contract sign 3fa9c1 --as security --reason 'checked the images'",
)  # fmt: skip


@leaf(noun, "sign", answers=("tfgrid.signed/1",), examples=_SIGN_EXAMPLES)
@click.argument("name", shell_complete=complete("contract"))
@click.option("--reason", default="", help="Kept with the signature.")
def sign_contract(settings: Settings, name: str, reason: str) -> None:
    """Approve a contract, or an update of it that waits, as --as; its hash is shown before."""
    _sign(settings, name, "deploy", "approve", reason, question="Sign it?")


@leaf(
    noun, "reject", answers=("tfgrid.signed/1",),
    examples=(
        "tfgrid contract reject guestbook --as legal",
        "tfgrid contract reject guestbook --as legal --reason 'wrong country'",
        "tfgrid contract reject guestbook --as legal --dry-run",
    ),
)  # fmt: skip
@click.argument("name", shell_complete=complete("contract"))
@click.option("--reason", default="", help="Kept with the signature.")
def reject_contract(settings: Settings, name: str, reason: str) -> None:
    """Say no to a contract, or to an update of it that waits, as --as."""
    _sign(settings, name, "deploy", "reject", reason, question="Reject it?")


@leaf(
    noun, "cancel", answers=("tfgrid.signed/1",),
    examples=(
        "tfgrid contract cancel guestbook --as budget --yes", "tfgrid contract cancel 3fa9c1",
        "tfgrid contract cancel guestbook --dry-run",
    ),
)  # fmt: skip
@click.argument("name", shell_complete=complete("contract"))
@click.option("--reason", default="", help="Kept with the signature.")
@click.option("--wait/--no-wait", default=True, help="Wait until all is removed (default: wait).")
def cancel_contract(settings: Settings, name: str, reason: str, wait: bool) -> None:
    """Sign the deletion of a contract as --as; with its quorum, nodes remove all they made."""
    question = f"Remove {name} and what its containers hold?"
    answer = _sign(settings, name, "delete", "approve", reason, question=question)
    if settings.dry_run:
        return
    if answer.approved < answer.needed:
        hints(settings, *(f"tfgrid contract cancel {answer.name} --as {who}"
                          for who in answer.waiting[:3]))  # fmt: skip
        click.get_current_context().exit(int(ExitCode.WAITING))
    if wait and answer.phase == "cancelling":
        asyncio.run(_wait_ended(settings, answer.contract))
        say(settings, f"{answer.name} has ended: every node has removed what it made for it")
        hints(settings, f"its records stay: tfgrid contract proof {answer.name} -o FILE")


def _sign(
    settings: Settings, name: str, action: Literal["deploy", "delete"],
    decision: Literal["approve", "reject"], reason: str, *, question: str,
) -> answers.Signed:  # fmt: skip
    if not settings.dry_run and not settings.yes:
        only_look = dataclasses.replace(settings, dry_run=True)
        before = asyncio.run(sign(only_look, name, action=action, decision=decision))
        say(settings, _unsigned_text(before))
        confirm(settings, question)
        # The very contract that was shown, whatever is called so meanwhile.
        name = before.contract
    answer = asyncio.run(sign(settings, name, action=action, decision=decision, reason=reason))
    show(settings, answer, lambda a: _signed_text(a, signed=not settings.dry_run))
    if settings.dry_run:
        return answer
    waits = answer.phase == "proposed" or answer.action == "update"
    if action == "deploy" and waits and answer.approved < answer.needed:
        hints(settings, *(f"tfgrid contract sign {answer.name} --as {who}"
                          for who in answer.waiting[:2]),
              f"tfgrid contract show {answer.name}")  # fmt: skip
    elif action == "deploy":
        hints(settings, f"tfgrid contract show {answer.name}", f"tfgrid contract why {answer.name}")
    return answer


def _signed_text(answer: answers.Signed, *, signed: bool) -> str:
    if not signed:
        return _unsigned_text(answer, "; nothing was signed")
    done = "approves" if answer.decision == "approve" else "rejects"
    count = f"{answer.approved}/{answer.needed}"
    return (
        f"{answer.identity} ({answer.role}) {done} {_DOING[answer.action]} {answer.name}: "
        f"{count}, {answer.phase}\n{_subject_text(answer)}"
    )


def _unsigned_text(answer: answers.Signed, end: str = "") -> str:
    return (
        f"{answer.identity} ({answer.role}) would {answer.decision} {_DOING[answer.action]} "
        f"{answer.name}, which is {answer.phase} with {answer.approved}/{answer.needed}{end}\n"
        f"{_subject_text(answer)}"
    )


def _subject_text(answer: answers.Signed) -> str:
    price = f", {units.money_text(answer.price_per_day)} per day" if answer.price_per_day else ""
    return f"  sha256:{answer.subject}\n  {', '.join(answer.places)}{price}"


_DOING: Final = {"deploy": "deploying", "update": "updating", "delete": "deleting"}


async def sign(
    settings: Settings, name: str, *, action: Literal["deploy", "delete"],
    decision: Literal["approve", "reject"] = "approve", reason: str = "",
) -> answers.Signed:  # fmt: skip
    """Sign for an action of a contract as `--as`; with `--dry-run` sign nothing.

    Whoever would deploy what runs already signs the update that waits.
    """
    from tfgrid.agents import threebot

    with Session(settings) as session:
        await session.look()
        state = session.contract(name)
        asked = "update" if action == "deploy" and state.update else action
        ballot, ring = state.ballot(asked), session.keyring()
        if not settings.dry_run:
            ordering = threebot.Ordering(session.follower, await session.author(), session.clock)
            state = await ordering.approve(
                state.contract, action=asked, decision=decision, reason=reason
            )
        # An update that enough said no to is gone; what was asked is still told.
        after = state.ballot(asked)
        ballot = after if after.subject == ballot.subject else ballot
        agreement, placement = ballot.proposal.agreement, ballot.proposal.placement
        rule = agreement.policy.delete if asked == "delete" else agreement.policy.deploy
        roles = [a.role for a in rule.approvers if a.identity == ring.identity]
        return answers.Signed(
            contract=state.contract, name=agreement.name, action=asked, decision=decision,
            identity=ring.name, role=roles[0] if roles else "owner", phase=state.phase,
            approved=ballot.tally.approved, needed=ballot.tally.needed,
            waiting=[session.person(who) for who in ballot.tally.waiting],
            subject=ballot.subject, places=_places(session, ballot.proposal),
            price_per_day=placement.price_per_day,
        )  # fmt: skip


def _places(session: Session, proposal: contract.Proposal) -> list[str]:
    names = session.node_names()
    asks = {w.name: contract.asks_text(w) for w in proposal.agreement.workloads}
    return [
        f"{one.workload} on {names.get(one.node, one.node[:10])}"
        + (f" ({asks[one.workload]})" if asks[one.workload] else "")
        for one in proposal.placement.assignments
    ]


async def _wait_ended(settings: Settings, which: str) -> None:
    from tfgrid.agents import threebot

    with Session(settings) as session:
        await session.look()
        state = session.contract(which)
        ordering = threebot.Ordering(session.follower, None, session.clock)
        with Progress(settings, "waiting for the nodes") as progress:
            async for step in ordering.wait(
                state.contract, until={"ended"}, timeout_seconds=settings.timeout
            ):
                progress.change(step.workload or step.node or "contract", step.state)


@leaf(
    noun, "proof", answers=("tfgrid.proof/1",),
    examples=(
        "tfgrid contract proof guestbook -o guestbook.proof",
        "tfgrid contract proof 3fa9c1 -o contract.proof",
        "tfgrid contract proof guestbook -o guestbook.proof --json",
    ),
)  # fmt: skip
@click.argument("name", shell_complete=complete("contract"))
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="The file to write."
)
def proof(settings: Settings, name: str, output: Path) -> None:
    """Write everything that proves a contract into one file, for anybody to check offline."""
    answer = asyncio.run(write_proof(settings, name, output))
    would = ", not written" if settings.dry_run else ""
    show(settings, answer, lambda a: f"{a.file}: {a.entries} records, {a.size_bytes} bytes{would}")
    if settings.dry_run:
        return
    hints(settings, f"tfgrid contract verify {answer.file}")


async def write_proof(settings: Settings, name: str, output: Path) -> answers.Proof:
    """Write the proof of a contract."""
    with Session(settings) as session:
        view = await session.look()
        state = session.contract(name)
        positions = contract.positions(view, state.contract)
        data = await session.client.bundle(positions)
        proven = bcdb.verify_bundle(data, ledger=session.grid.ledger, registry=session.registry)
    if not settings.dry_run:
        write_file(output, data)
    return answers.Proof(
        contract=state.contract, file=str(output), size_bytes=len(data),
        entries=len(proven.entries),
    )  # fmt: skip


@leaf(
    noun, "verify", offline=True, answers=("tfgrid.verified/1",),
    examples=(
        "tfgrid contract verify guestbook.proof",
        "tfgrid contract verify guestbook.proof --plain",
        "tfgrid contract verify guestbook.proof --json",
    ),
)  # fmt: skip
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--ledger", default="", help="The ledger's id, if you know which it must be.")
@click.option("--offline", is_flag=True, hidden=True, help="It always is.")
def verify(settings: Settings, file: Path, ledger: str, offline: bool) -> None:
    """Check a proof file: signatures, inclusions, quorum. Needs neither network nor grid."""
    from tfgrid.doors.cli import offline as checking

    del offline
    answer = checking.verify(file, ledger)
    show(settings, answer, checking.text)


COMMANDS: Final[dict[str, Noun]] = {"contract": noun}
