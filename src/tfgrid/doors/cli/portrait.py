"""Contracts as answers: what was agreed, who signed, where it runs, what its nodes said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import msgspec

from tfgrid.core import ids, units
from tfgrid.doors.cli import answers, render
from tfgrid.doors.cli.frame import Settings
from tfgrid.doors.cli.session import Session
from tfgrid.ledger import contract

_Workloads: TypeAlias = Mapping[str, contract.Workload]

__all__ = [
    "approvers",
    "contract_answer",
    "contract_text",
    "contracts_text",
    "plan_answer",
    "plan_text",
    "update_text",
    "updated_answer",
    "updating_text",
    "urls",
]


def urls(session: Session, proposal: contract.Proposal) -> list[str]:
    """Where a contract's routes answer on this machine."""
    routes = (w for w in proposal.agreement.workloads if isinstance(w, contract.Route))
    return [session.url(route.host) for route in routes]


def approvers(
    session: Session, rule: contract.Rule, votes: Sequence[contract.Vote] = ()
) -> list[answers.Approver]:
    """Who is asked, and what each has said."""
    said = {vote.identity: vote for vote in votes}
    found = []
    for approver in rule.approvers:
        vote = said.get(approver.identity)
        found.append(
            answers.Approver(
                name=session.person(approver.identity), identity=approver.identity,
                role=approver.role, weight=approver.weight,
                decision=vote.decision if vote else "", at=render.moment(vote.at if vote else 0),
            )
        )  # fmt: skip
    return found


def contract_answer(session: Session, state: contract.ContractState) -> answers.Contract:
    """A contract as `contract show` gives it."""
    agreement = state.proposal.agreement
    deleting = state.phase == "cancelling" or bool(state.delete.votes)
    rule = agreement.policy.delete if deleting else agreement.policy.deploy
    tally = state.delete if deleting else state.deploy
    return answers.Contract(
        contract=state.contract, name=agreement.name, owner=session.person(agreement.owner),
        phase=state.phase, since=render.moment(state.since), reason=session.named(state.reason),
        recipe=f"{agreement.recipe.name}@{agreement.recipe.version}",
        price_per_day=state.proposal.placement.price_per_day,
        valid_until=render.moment(agreement.valid_until),
        approved=tally.approved, needed=tally.needed,
        approvers=approvers(session, rule, tally.votes),
        workloads=_workloads(session, state), receipts=_receipts(session, state),
        urls=[] if state.phase in contract.PHASES_FINAL else urls(session, state.proposal),
        version=agreement.version,
        update=updated_answer(session, state, state.update.proposal, state.proposal)
        if state.update
        else None,
    )  # fmt: skip


def _workloads(session: Session, state: contract.ContractState) -> list[answers.WorkloadRow]:
    names = session.node_names()
    farms = {str(node.node): node.farm_name for node in session.nodes()}
    agreed = {w.name: w for w in state.proposal.agreement.workloads}
    addresses = _addresses(state.proposal.placement, agreed)
    rows = []
    for assignment in state.proposal.placement.assignments:
        latest = state.standing(assignment.node, assignment.workload)
        rows.append(
            answers.WorkloadRow(
                workload=assignment.workload, kind=_kind(agreed[assignment.workload]),
                node=names.get(assignment.node, ids.short(assignment.node)),
                farm=farms.get(assignment.node, ""),
                state=latest.receipt.state if latest else "waiting",
                address=addresses.get(assignment.workload, ""),
                reason=_reason(state, assignment.workload, latest),
                asks=contract.asks_text(agreed[assignment.workload]),
            )
        )  # fmt: skip
    return rows


def _reason(
    state: contract.ContractState, workload: str, latest: contract.ReceiptFact | None
) -> str:
    """What its node said of a workload, or that it has not followed an update yet."""
    told = "; ".join(latest.receipt.reasons) if latest else ""
    changing = workload in state.unsettled and state.phase not in contract.PHASES_FINAL
    return told or ("its node has not changed it yet" if changing else "")


def _addresses(placement: contract.Placement, agreed: _Workloads) -> dict[str, str]:
    """Where members of a network are reached: of a namespace with its port, which is always one."""
    found = {}
    for member in (m for place in placement.networks for m in place.members):
        namespace = isinstance(agreed[member.workload], contract.ZdbNamespace)
        port = f":{contract.ZDB_PORT}" if namespace else ""
        found[member.workload] = f"{member.address4}{port}"
    return found


def _kind(workload: contract.Workload) -> str:
    return str(workload.__struct_config__.tag)


def _receipts(session: Session, state: contract.ContractState) -> list[answers.ReceiptRow]:
    names = session.node_names()
    return [
        answers.ReceiptRow(
            node=names.get(fact.node, ids.short(fact.node)), workload=fact.receipt.workload,
            state=fact.receipt.state, at=render.moment(fact.at), position=fact.position,
            reasons=list(fact.receipt.reasons), digest=fact.receipt.image,
            cpu_millis=fact.receipt.limits.cpu_millis,
            memory_bytes=fact.receipt.limits.memory_bytes,
            processes=fact.receipt.limits.processes,
            disk_bytes=_count(fact.receipt.limits.disk_bytes),
            keys_max=_count(fact.receipt.limits.keys_max),
        )
        for fact in sorted(state.receipts, key=lambda fact: fact.position)
    ]  # fmt: skip


def _count(said: int | msgspec.UnsetType) -> int:
    return 0 if isinstance(said, msgspec.UnsetType) else said


def contracts_text(settings: Settings, found: Sequence[answers.Contract]) -> str:
    """A table of contracts."""
    rows = [
        (c.name, ids.short(c.contract), c.phase, f"{c.approved}/{c.needed}", c.recipe,
         units.money_text(c.price_per_day), c.valid_until[:10])
        for c in found
    ]  # fmt: skip
    columns = ("contract", "id", "phase", "approvals", "recipe", "price/day", "until")
    return render.table(settings, columns, rows)


def contract_text(settings: Settings, answer: answers.Contract) -> str:
    """One contract in full."""
    unsaid = "not yet" if answer.approved < answer.needed else "not needed"
    signatures = ", ".join(f"{a.name} {a.decision or unsaid}" for a in answer.approvers)
    facts = render.field_list(
        [
            ("contract", f"{answer.name}  {answer.contract}"),
            ("phase", f"{answer.phase} since {answer.since}  {answer.reason}".rstrip()),
            ("version", str(answer.version) if answer.version > 1 else ""),
            ("recipe", answer.recipe),
            ("owner", answer.owner),
            ("approvals", f"{answer.approved}/{answer.needed}  {signatures}".rstrip()),
            ("price", f"{units.money_text(answer.price_per_day)} per day"),
            ("valid", f"until {answer.valid_until}"),
            ("answers at", "  ".join(answer.urls)),
            ("update", _waiting_text(answer.update) if answer.update else ""),
        ]
    )
    rows = [
        (w.workload, w.kind, w.node, w.farm, w.address, w.state, _said(w.asks, w.reason))
        for w in answer.workloads
    ]
    columns = ("workload", "kind", "node", "farm", "address", "state", "")
    return f"{facts}\n\n{render.table(settings, columns, rows)}"


def _waiting_text(update: answers.Updated) -> str:
    asked = ", ".join(f"{a.name} {a.decision or 'not yet'}" for a in update.approvers)
    changes = "\n".join(f"{row.workload}: {row.asks}" for row in update.rows)
    head = f"version {update.version} waits for approvals: {update.approved}/{update.needed}"
    return f"{head}  {asked}\n{changes}"


def updated_answer(
    session: Session,
    state: contract.ContractState,
    proposal: contract.Proposal,
    was: contract.Proposal,
) -> answers.Updated:
    """An update as `contract update` gives it, from what it changes and how far it has come."""
    agreement, ballot = proposal.agreement, state.ballot("update")
    known = ballot.proposal == proposal
    if not known:
        word = "planned"
    elif ballot.open:
        word = "waiting"
    else:
        word = "in force" if state.unsettled else "settled"
    rule = agreement.policy.deploy
    waiting = ballot.tally.waiting if known else [a.identity for a in rule.approvers]
    return answers.Updated(
        contract=state.contract, name=agreement.name, version=agreement.version, state=word,
        subject=contract.proposal_digest(proposal), rows=_update_rows(session, proposal, was),
        price_per_day=proposal.placement.price_per_day,
        price_cap_per_day=agreement.price_cap_per_day,
        approved=ballot.tally.approved if known else 0, needed=ballot.tally.needed,
        approvers=approvers(session, rule, ballot.tally.votes if known else ()),
        asked=[session.person(who) for who in waiting],
    )  # fmt: skip


def _update_rows(
    session: Session, proposal: contract.Proposal, was: contract.Proposal
) -> list[answers.UpdateRow]:
    before = {w.name: w for w in was.agreement.workloads}
    agreed = {w.name: w for w in proposal.agreement.workloads}
    names, rows = session.node_names(), []
    for assignment in proposal.placement.assignments:
        new, old = agreed[assignment.workload], before[assignment.workload]
        if isinstance(new, contract.ZdbNamespace) and new != old:
            rows.append(
                answers.UpdateRow(
                    workload=new.name, was=contract.asks_text(old), asks=contract.asks_text(new),
                    node=names.get(assignment.node, ids.short(assignment.node)),
                    disk_bytes=new.disk_bytes, keys_max=new.keys_max, history=new.history,
                    price_per_day=assignment.price_per_day,
                )
            )  # fmt: skip
    return rows


def update_text(answer: answers.Updated) -> str:
    """How far an update has come."""
    head = f"{answer.name} is at version {answer.version}"
    if answer.state == "waiting":
        count = f"{answer.approved}/{answer.needed}"
        head = f"{answer.name}: version {answer.version} waits for approvals, {count}, and the "
        return f"{head}version before goes on\n  sha256:{answer.subject}"
    if answer.state == "settled":
        return f"{head}, and its nodes have changed what it changes"
    return f"{head}; its nodes have not all changed what it changes yet"


def updating_text(settings: Settings, answer: answers.Updated) -> str:
    """An update before it is registered: each namespace as it will be, and below as it was."""
    rows = []
    for row in answer.rows:
        rows.append((f"~ {row.workload}", row.node, units.money_text(row.price_per_day), row.asks))
        rows.append(("", "", "", f"was {row.was}"))
    asked = ", ".join(f"{a.name} {a.decision}".rstrip() for a in answer.approvers)
    price, cap = map(units.money_text, (answer.price_per_day, answer.price_cap_per_day))
    facts = render.field_list(
        [
            ("price", f"{price} per day for the whole contract, cap {cap}"),
            ("needs", f"{answer.approved}/{answer.needed}  {asked}" if asked else "the owner"),
            ("update", f"sha256:{answer.subject}"),
        ]
    )
    head = f"UPDATE  {answer.name}  to version {answer.version}"
    columns = ("workload", "node", "price/day", "may hold")
    return f"{head}\n{render.table(settings, columns, rows)}\n\n{facts}"


def _said(*parts: str) -> str:
    return "; ".join(filter(None, parts))


def plan_answer(
    session: Session, plan: contract.Plan, file: str = "", obstacle: str = ""
) -> answers.Plan:
    """A plan as `plan` gives it."""
    agreement, placement = plan.proposal.agreement, plan.proposal.placement
    asks = {w.name: contract.asks_text(w) for w in agreement.workloads}
    return answers.Plan(
        name=agreement.name, recipe=f"{agreement.recipe.name}@{agreement.recipe.version}",
        signed_by=session.person(agreement.recipe.author),
        subject=contract.proposal_digest(plan.proposal),
        rows=[
            answers.PlanRow(
                workload=row.workload, kind=row.kind, node=row.node_name, farm=row.farm_name,
                cpu_millis=row.cpu_millis, memory_bytes=row.memory_bytes, digest=row.image,
                price_per_day=row.price_per_day, why=row.reason,
                disk_bytes=row.disk_bytes, asks=asks[row.workload],
            )
            for row in plan.rows
        ],
        price_per_day=placement.price_per_day, price_cap_per_day=agreement.price_cap_per_day,
        needed=agreement.policy.deploy.weight,
        approvers=approvers(session, agreement.policy.deploy), file=file,
        obstacle=obstacle,
    )  # fmt: skip


def plan_text(settings: Settings, plan: answers.Plan) -> str:
    """The table that people are shown before anything is registered."""
    rows = [
        (f"+ {row.workload}", row.kind, row.node, row.farm,
         render.cores(row.cpu_millis) if row.cpu_millis else "",
         units.bytes_text(row.memory_bytes) if row.memory_bytes else "",
         ids.short(row.digest), units.money_text(row.price_per_day), _said(row.asks, row.why))
        for row in plan.rows
    ]  # fmt: skip
    columns = (
        "workload",
        "kind",
        "node",
        "farm",
        "cpu",
        "memory",
        "digest",
        "price/day",
        "why there",
    )
    asked = ", ".join(a.name for a in plan.approvers)
    price, cap = map(units.money_text, (plan.price_per_day, plan.price_cap_per_day))
    facts = render.field_list(
        [
            ("price", f"{price} per day, cap {cap}"),
            ("needs", f"{plan.needed} of {len(plan.approvers)}: {asked}" if asked else "the owner"),
            ("plan", f"sha256:{plan.subject}"),
            ("file", plan.file),
            ("obstacle", plan.obstacle),
        ]
    )  # fmt: skip
    head = f"PLAN  {plan.name}  (recipe {plan.recipe} by {plan.signed_by})"
    return f"{head}\n{render.table(settings, columns, rows)}\n\n{facts}"
