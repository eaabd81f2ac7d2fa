"""The kinds of contract records: who may write which, and what is checked.

| kind | author | what is checked besides the author |
|---|---|---|
| `recipe.publish` | its author | it renders; name@version is new, the name is the author's own |
| `contract.propose` | the owner | all of `checks`; of a later version all of `updates` |
| `contract.approve` | a listed approver | role, subject, first vote, phase; room if it decides |
| `contract.receipt` | a node of the placement | all of `receipts` |

What a record does to a contract is an event of the phase table (`phases.TRANSITIONS`), found here.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tfgrid.core import canonical, errors, limits
from tfgrid.core.ids import NodeId, short
from tfgrid.ledger import bcdb, farm
from tfgrid.ledger.contract import checks, updates
from tfgrid.ledger.contract.model import (
    Approval,
    Proposal,
    Receipt,
    Rule,
    contract_id,
    proposal_digest,
)
from tfgrid.ledger.contract.phases import PHASES_STARTED, PHASES_STOPPED
from tfgrid.ledger.contract.policy import Vote, effective, hopeless, owner_role, tally, weight_of
from tfgrid.ledger.contract.receipts import check_receipt
from tfgrid.ledger.contract.recipe import Recipe, check_recipe
from tfgrid.ledger.contract.state import (
    Pending,
    ReceiptFact,
    RecipeRow,
    Row,
    facts_of,
    nodes_of,
    pending_of,
    put_row,
    read,
    recipe_row,
    row_of,
    stepped,
)

__all__ = ["kinds"]


def kinds() -> tuple[bcdb.Kind[Any], ...]:
    """recipe.publish, contract.propose, contract.approve, contract.receipt."""
    return (
        bcdb.Kind(
            name="recipe.publish", body_type=Recipe,
            check=_publish_check, apply=_publish_apply, tags=lambda body: (f"recipe:{body.name}",),
        ),
        bcdb.Kind(
            name="contract.propose", body_type=Proposal,
            check=_propose_check, apply=_propose_apply, tags=_propose_tags,
        ),
        bcdb.Kind(
            name="contract.approve", body_type=Approval,
            check=_approve_check, apply=_approve_apply,
            tags=lambda body: (f"contract:{body.contract}",),
        ),
        bcdb.Kind(
            name="contract.receipt", body_type=Receipt,
            check=_receipt_check, apply=_receipt_apply,
            tags=lambda body: (f"contract:{body.contract}",),
        ),
    )  # fmt: skip


def _publish_check(view: bcdb.View, entry: bcdb.Entry, body: Recipe) -> None:
    if body.author != entry.header.author:
        raise errors.NotAllowed(
            "TFG-2340", "a recipe is published by the author that it names", where=body.author
        )
    known = recipe_row(view, body.name, body.version)
    if known is not None:
        same = known.recipe == body
        raise errors.Conflict(
            "TFG-2342" if same else "TFG-2341",
            f"{body.name}@{body.version} is published{'' if same else ' and says otherwise'}",
            where=f"{body.name}@{body.version}", hint="" if same else "give it a new version",
        )  # fmt: skip
    owner = view.get("recipe-name", body.name)
    if owner not in {None, body.author.encode()}:
        raise errors.NotAllowed(
            "TFG-2343", f"recipes named {body.name} belong to another author", where=body.name,
            hint="choose another name",
        )  # fmt: skip
    check_recipe(body)


def _publish_apply(view: bcdb.View, entry: bcdb.Entry, body: Recipe) -> None:
    row = RecipeRow(recipe=body, position=entry.position)
    view.put("recipe", f"{body.name}@{body.version}", canonical.encode(row))
    view.put("recipe-name", body.name, body.author.encode())


def _propose_tags(body: Proposal) -> tuple[str, ...]:
    nodes = nodes_of(body.placement)
    return (f"contract:{contract_id(body.agreement)}", *(f"node:{node}" for node in nodes))


def _propose_check(view: bcdb.View, entry: bcdb.Entry, body: Proposal) -> None:
    header = entry.header
    updates.check_version(
        view, body, author=header.author, ledger=header.ledger, now_ms=entry.order_time
    )


def _propose_apply(view: bcdb.View, entry: bcdb.Entry, body: Proposal) -> None:
    if body.agreement.version > 1:
        _update_apply(view, entry, body)
        return
    agreement, now_ms = body.agreement, entry.order_time
    contract = contract_id(agreement)
    nodes = nodes_of(body.placement)
    published = recipe_row(view, agreement.recipe.name, agreement.recipe.version)
    assert published is not None
    leans_on = {entry.position, published.position}
    leans_on.update(position for node in nodes for position in farm.positions(view, node))
    window = now_ms + agreement.policy.deploy.expires_seconds * 1000
    row = Row(
        position=entry.position, phase="proposed", since=now_ms, proposed_at=now_ms,
        window=min(window, agreement.valid_until), leans_on=tuple(sorted(leans_on)),
    )  # fmt: skip
    view.put("contract-proposal", contract, canonical.encode(body))
    for node in nodes:
        view.put("contract-node", f"{node}/{contract}", b"")
    if not agreement.policy.deploy.approvers:
        row = _with_deploy_vote(view, row, body, _owners_vote(entry, body))
    put_row(view, contract, row)


def _owners_vote(entry: bcdb.Entry, body: Proposal) -> Vote:
    """What a proposal says where the owner's signature suffices."""
    return Vote(
        identity=body.agreement.owner, role=owner_role, weight=1, decision="approve",
        reason="", at=entry.order_time, position=entry.position,
    )  # fmt: skip


def _update_apply(view: bcdb.View, entry: bcdb.Entry, body: Proposal) -> None:
    """A later version: it waits for approvals, in place of another that did."""
    agreement, now_ms = body.agreement, entry.order_time
    contract = contract_id(agreement)
    row, current = row_of(view, contract, now_ms)
    window = now_ms + agreement.policy.deploy.expires_seconds * 1000
    pending = Pending(
        position=entry.position, proposal=body, window=min(window, agreement.valid_until)
    )
    if agreement.policy.deploy.approvers:
        view.put("contract-update", contract, canonical.encode(pending))
    else:
        _with_update_vote(view, row, current, pending, _owners_vote(entry, body))


def _approve_check(view: bcdb.View, entry: bcdb.Entry, body: Approval) -> None:
    row, proposal = row_of(view, body.contract, entry.order_time)
    vote = _vote(proposal, entry, body)
    votes = row.votes
    if body.action == "deploy":
        _check_deploy(row, proposal, body)
        if tally(_rule(proposal, "deploy"), (*votes, vote), until=row.window).reached:
            checks.check_room(view, proposal, entry.order_time)
    elif body.action == "update":
        pending = _update_open(view, row, body, entry.order_time)
        votes = pending.votes
        if tally(_rule(proposal, "update"), (*votes, vote), until=pending.window).reached:
            checks.check_room(view, pending.proposal, entry.order_time)
    else:
        _check_delete(row, proposal, body)
        votes = _open_votes(row, entry.order_time)
    if any(known.identity == vote.identity for known in votes):
        raise errors.Conflict(
            "TFG-2412", f"this identity has voted on {body.action} already", where=vote.identity
        )


def _rule(proposal: Proposal, action: str) -> Rule:
    policy = proposal.agreement.policy
    rule = policy.delete if action == "delete" else policy.deploy
    return effective(rule, proposal.agreement.owner)


def _vote(proposal: Proposal, entry: bcdb.Entry, body: Approval) -> Vote:
    author = entry.header.author
    if body.action not in {"deploy", "update", "delete"}:
        raise errors.NotAllowed(
            "TFG-2413", f"approvals for {body.action} are not carried out yet", where=body.action
        )
    rule = _rule(proposal, body.action)
    weight = weight_of(rule, author, body.role)
    if weight is None:
        listed = any(approver.identity == author for approver in rule.approvers)
        raise errors.NotAllowed(
            "TFG-2411" if listed else "TFG-2410",
            f"the author is not listed {f'as {body.role} ' if listed else ''}for {body.action}",
            where=author, hint="see who may: tfgrid contract show",
        )  # fmt: skip
    return Vote(
        identity=author, role=body.role, weight=weight, decision=body.decision,
        reason=body.reason, at=entry.order_time, position=entry.position,
    )  # fmt: skip


def _check_deploy(row: Row, proposal: Proposal, body: Approval) -> None:
    if body.subject != proposal_digest(proposal):
        raise _other_subject(body)
    if row.phase != "proposed":
        raise errors.Conflict(
            "TFG-2415", f"the contract is {row.phase}, there is nothing to decide any more",
            where=body.contract,
        )  # fmt: skip


def _update_open(view: bcdb.View, row: Row, body: Approval, now_ms: int) -> Pending:
    """The later version that an approval speaks of."""
    pending = pending_of(view, body.contract, row, now_ms)
    if pending is None:
        raise errors.Conflict(
            "TFG-2418", f"no later version waits for approvals, and the contract is {row.phase}",
            where=body.contract, hint="look at the contract again",
        )  # fmt: skip
    if body.subject != proposal_digest(pending.proposal):
        raise _other_subject(body)
    return pending


def _check_delete(row: Row, proposal: Proposal, body: Approval) -> None:
    if body.subject != proposal.placement.agreement:
        raise _other_subject(body)
    if row.phase in PHASES_STOPPED or row.phase == "expired":
        raise errors.Conflict(
            "TFG-2417", f"the contract is {row.phase}, it cannot be cancelled", where=body.contract
        )


def _other_subject(body: Approval) -> errors.GridError:
    return errors.Conflict(
        "TFG-2414", f"what was signed for {body.action} is not what was proposed",
        where=body.subject, hint="look at the contract again and sign what it says",
    )  # fmt: skip


def _approve_apply(view: bcdb.View, entry: bcdb.Entry, body: Approval) -> None:
    row, proposal = row_of(view, body.contract, entry.order_time)
    vote = _vote(proposal, entry, body)
    if body.action == "update":
        pending = _update_open(view, row, body, entry.order_time)
        _with_update_vote(view, row, proposal, pending, vote)
        return
    row = msgspec.structs.replace(row, leans_on=(*row.leans_on, entry.position))
    if body.action == "deploy":
        row = _with_deploy_vote(view, row, proposal, vote)
    else:
        row = _with_delete_vote(view, row, proposal, vote)
    put_row(view, body.contract, row)


def _with_deploy_vote(view: bcdb.View, row: Row, proposal: Proposal, vote: Vote) -> Row:
    rule, votes = _rule(proposal, "deploy"), (*row.votes, vote)
    row = msgspec.structs.replace(row, votes=votes)
    if hopeless(rule, votes):
        why = f": {vote.reason}" if vote.reason else ""
        return stepped(row, "rejection", at_ms=vote.at, reason=f"rejected by {vote.role}{why}")
    if not tally(rule, votes, until=row.window).reached:
        return row
    deadline = vote.at + limits.admission_deadline_seconds * 1000
    deadline = min(deadline, proposal.agreement.valid_until)
    _hold(view, proposal, deadline)
    row = msgspec.structs.replace(row, approved_at=vote.at, deadline=deadline)
    return stepped(row, "quorum", at_ms=vote.at)


def _with_update_vote(
    view: bcdb.View, row: Row, current: Proposal, pending: Pending, vote: Vote
) -> None:
    """Count a vote for a later version: it waits on, is gone, or is in force."""
    contract = contract_id(current.agreement)
    rule, votes = _rule(current, "update"), (*pending.votes, vote)
    pending = msgspec.structs.replace(pending, votes=votes)
    if hopeless(rule, votes):
        view.remove("contract-update", contract)
        return
    if not tally(rule, votes, until=pending.window).reached:
        view.put("contract-update", contract, canonical.encode(pending))
        return
    proposal = pending.proposal
    leans_on = {*row.leans_on, pending.position, *(one.position for one in votes)}
    for node in nodes_of(proposal.placement):
        leans_on.update(farm.positions(view, node))
    row = msgspec.structs.replace(
        row, leans_on=tuple(sorted(leans_on)), update_votes=votes,
        unsettled=updates.unsettled(row, current, proposal),
    )  # fmt: skip
    view.put("contract-proposal", contract, canonical.encode(proposal))
    view.remove("contract-update", contract)
    put_row(view, contract, row)
    _hold(view, updates.at_largest(row, proposal), proposal.agreement.valid_until)


def _open_votes(row: Row, now_ms: int) -> tuple[Vote, ...]:
    return row.delete_votes if now_ms <= row.delete_until else ()


def _with_delete_vote(view: bcdb.View, row: Row, proposal: Proposal, vote: Vote) -> Row:
    """The row after a delete vote; a round that was refused or ran out leaves room for another."""
    rule = _rule(proposal, "delete")
    before = _open_votes(row, vote.at)
    until = row.delete_until if before else vote.at + rule.expires_seconds * 1000
    votes = (*before, vote)
    if hopeless(rule, votes):
        votes, until = (), 0
    row = msgspec.structs.replace(row, delete_votes=votes, delete_until=until)
    if not tally(rule, votes, until=until).reached:
        return row
    nodes = nodes_of(proposal.placement)
    _release(view, proposal, *(node for node in nodes if node not in row.parts))
    row = stepped(row, "cancelled", at_ms=vote.at, reason="cancelled")
    return _when_removed(row, vote.at)


def _hold(view: bcdb.View, proposal: Proposal, until_ms: int) -> None:
    """Reserve on every node what the placement puts there, and hold the host names."""
    contract = contract_id(proposal.agreement)
    for node, capacity in checks.asked_by_node(proposal).items():
        farm.reserve(view, node, contract, capacity, until_ms)
    for host in checks.hosts_of(proposal):
        view.put("contract-host", host, contract.encode())


def _release(view: bcdb.View, proposal: Proposal, *nodes: NodeId) -> None:
    contract = contract_id(proposal.agreement)
    for node in nodes:
        farm.release(view, node, contract)


def _receipt_check(view: bcdb.View, entry: bcdb.Entry, body: Receipt) -> None:
    state = read(view, body.contract, entry.order_time)
    author = NodeId(entry.header.author)
    underlay = farm.node(view, author, entry.order_time).endpoint if author in state.nodes else ""
    check_receipt(state, author, body, underlay=underlay)


def _receipt_apply(view: bcdb.View, entry: bcdb.Entry, body: Receipt) -> None:
    node, now_ms = NodeId(entry.header.author), entry.order_time
    row, proposal = row_of(view, body.contract, now_ms)
    fact = ReceiptFact(node=node, receipt=body, at=now_ms, position=entry.position)
    key = f"{body.contract}/{node}/{body.workload}"
    view.put("contract-receipt", key, canonical.encode(fact))
    if body.workload:
        row = _when_settled(view, row, proposal, fact)
        put_row(view, body.contract, _after_workload(view, row, proposal, fact))
    else:
        row = msgspec.structs.replace(row, leans_on=(*row.leans_on, entry.position))
        put_row(view, body.contract, _after_part(view, row, proposal, fact))


def _after_workload(view: bcdb.View, row: Row, proposal: Proposal, fact: ReceiptFact) -> Row:
    """The row after a workload's receipt: running when all are, degraded when one is not."""
    facts = facts_of(view, fact.receipt.contract)
    bad = [f.receipt for f in facts if f.receipt.workload and f.receipt.state != "running"]
    up = {f.receipt.workload for f in facts if f.receipt.state == "running"}
    whole = all(a.workload in up for a in proposal.placement.assignments)
    if whole and not bad and row.phase in {"accepted", "degraded"}:
        return stepped(row, "all running", at_ms=fact.at, reason="every workload runs")
    if bad and row.phase in {"accepted", "running"}:
        why = f": {bad[0].reasons[0]}" if bad[0].reasons else ""
        reason = f"{bad[0].workload} {bad[0].state}{why}"
        return stepped(row, "workload failed", at_ms=fact.at, reason=reason)
    return row


def _when_settled(view: bcdb.View, row: Row, proposal: Proposal, fact: ReceiptFact) -> Row:
    """The row, with a namespace that its node has as agreed; what it held beyond is given back."""
    if not updates.settled(row, proposal, fact.receipt):
        return row
    left = tuple(one for one in row.unsettled if one.name != fact.receipt.workload)
    row = msgspec.structs.replace(row, unsettled=left)
    if row.phase in PHASES_STARTED:
        _hold(view, updates.at_largest(row, proposal), proposal.agreement.valid_until)
    return row


def _after_part(view: bcdb.View, row: Row, proposal: Proposal, fact: ReceiptFact) -> Row:
    """The row after a node spoke for its part."""
    nodes, node = nodes_of(proposal.placement), fact.node
    if fact.receipt.state == "refused":
        _release(view, proposal, *nodes)
        reason = f"refused by {short(node)}: {'; '.join(fact.receipt.reasons)}"
        return stepped(row, "node refused", at_ms=fact.at, reason=reason[: limits.text_chars_max])
    if fact.receipt.state == "ended":
        _release(view, proposal, node)
        row = msgspec.structs.replace(row, removed=(*row.removed, node))
        return _when_removed(row, fact.at)
    row = msgspec.structs.replace(row, parts=(*row.parts, node))
    if set(row.parts) != set(nodes):
        return row
    _hold(view, proposal, proposal.agreement.valid_until)
    row = msgspec.structs.replace(row, accepted_at=fact.at)
    return stepped(row, "all accepted", at_ms=fact.at, reason="every node accepted")


def _when_removed(row: Row, at_ms: int) -> Row:
    """The row, ended if every node that had accepted has removed its part."""
    if row.phase in {"cancelling", "expired"} and set(row.parts) <= set(row.removed):
        return stepped(row, "all removed", at_ms=at_ms)
    return row
