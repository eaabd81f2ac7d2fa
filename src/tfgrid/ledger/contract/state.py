"""Contracts as the view keeps them, and reading them at a moment of order time.

| table | key | value |
|---|---|---|
| `contract` | contract id | `Row`: how far it has come |
| `contract-proposal` | contract id | the proposal in force, as it was signed |
| `contract-update` | contract id | `Pending`: a later version that waits for approvals |
| `contract-receipt` | contract id/node id/workload | `ReceiptFact`, the latest |
| `contract-node` | node id/contract id | nothing; the index of a node's contracts |
| `contract-host` | host name | the contract id that last held it |
| `recipe` | name@version | `RecipeRow` |
| `recipe-name` | name | its author's id |

A row holds the phase as of its last record. What time alone has done since (a window closed, a
deadline or the validity passed) is worked out by `advanced` whenever a row is read.
"""

from __future__ import annotations

from typing import Literal, TypeVar

import msgspec

from tfgrid.core import canonical, errors, ids
from tfgrid.core.ids import ContractId, Digest, NodeId
from tfgrid.core.schema import Count, Moment, Name, Text, Value
from tfgrid.ledger import bcdb
from tfgrid.ledger.contract.model import (
    Placement,
    Proposal,
    Receipt,
    ZdbNamespace,
    proposal_digest,
)
from tfgrid.ledger.contract.phases import PHASES_FINAL, PHASES_STARTED, Event, Phase, step
from tfgrid.ledger.contract.policy import Tally, Vote, effective, tally
from tfgrid.ledger.contract.recipe import Recipe, recipe_digest

__all__ = [
    "Ballot",
    "ContractState",
    "Pending",
    "ReceiptFact",
    "RecipeRow",
    "Row",
    "advanced",
    "contracts",
    "contracts_of_node",
    "facts_of",
    "nodes_of",
    "pending_of",
    "put_row",
    "read",
    "read_recipe",
    "recipe_row",
    "recipes",
    "row_of",
    "stepped",
]

_T = TypeVar("_T")


class ReceiptFact(Value, frozen=True):
    """The latest receipt for a node's part or one workload, and its place in the log."""

    node: ids.Node
    receipt: Receipt
    at: Moment
    position: Count


class Row(Value, frozen=True):
    """How far a contract has come; `parts` are nodes that accepted, `removed` those that ended.

    `leans_on` are the positions of the records that the proposal needed to be valid, of the votes,
    and of what nodes said of their parts. Together with the latest receipt of each workload they
    prove the contract. `update_votes` put the version in force there, if it is a later one.
    `unsettled` are namespaces that it changed, as large as they may still be: their nodes have not
    said that they are as agreed.
    """

    position: Count
    phase: Phase
    since: Moment
    proposed_at: Moment
    window: Moment
    leans_on: tuple[Count, ...]
    reason: Text = ""
    approved_at: Moment = 0
    accepted_at: Moment = 0
    deadline: Moment = 0
    votes: tuple[Vote, ...] = ()
    delete_votes: tuple[Vote, ...] = ()
    delete_until: Moment = 0
    parts: tuple[ids.Node, ...] = ()
    removed: tuple[ids.Node, ...] = ()
    update_votes: tuple[Vote, ...] = ()
    unsettled: tuple[ZdbNamespace, ...] = ()


class Pending(Value, frozen=True):
    """A later version that waits for approvals until `window`."""

    position: Count
    proposal: Proposal
    window: Moment
    votes: tuple[Vote, ...] = ()


class RecipeRow(Value, frozen=True):
    """A published recipe, and where."""

    recipe: Recipe
    position: Count

    @property
    def digest(self) -> Digest:
        """The hash that an agreement names."""
        return recipe_digest(self.recipe)


class Ballot(Value, frozen=True):
    """What one action of a contract asks of its approvers: what they would sign, and the count.

    `open` says whether a vote can still change something.
    """

    proposal: Proposal
    subject: ids.Digested
    tally: Tally
    open: bool


class ContractState(Value, frozen=True):
    """A contract as of a moment of order time. `reason` says why it ended as it did, for people.

    `update` is a later version that waits for approvals; `updated` are the votes for the version in
    force, if it is a later one; `unsettled` names the namespaces that it changed and whose nodes
    have not said that they are as agreed.
    """

    contract: ids.Contract
    position: Count
    proposal: Proposal
    subject: ids.Digested
    phase: Phase
    since: Moment
    reason: Text
    proposed_at: Moment
    approved_at: Moment
    accepted_at: Moment
    admission_deadline: Moment
    deploy: Tally
    delete: Tally
    receipts: tuple[ReceiptFact, ...]
    update: Ballot | None = None
    updated: tuple[Vote, ...] = ()
    unsettled: tuple[Name, ...] = ()

    @property
    def nodes(self) -> tuple[NodeId, ...]:
        """The nodes of the placement: of workloads and of networks, each once, by id."""
        return nodes_of(self.proposal.placement)

    @property
    def delete_subject(self) -> Digest:
        """What a delete approval names: the agreement's hash."""
        return self.proposal.placement.agreement

    def ballot(self, action: Literal["deploy", "update", "delete"]) -> Ballot:
        """What an action asks now; of an update that is in force, what it asked."""
        if action == "delete":
            alive = self.phase not in PHASES_FINAL
            return Ballot(
                proposal=self.proposal, subject=self.delete_subject, tally=self.delete, open=alive
            )
        if action == "deploy":
            waits = self.phase == "proposed"
            return Ballot(
                proposal=self.proposal, subject=self.subject, tally=self.deploy, open=waits
            )
        if self.update is not None:
            return self.update
        rule = effective(self.proposal.agreement.policy.deploy, self.proposal.agreement.owner)
        counted = tally(rule, self.updated, until=0)
        return Ballot(proposal=self.proposal, subject=self.subject, tally=counted, open=False)

    def receipt(self, node: NodeId, workload: str = "") -> ReceiptFact | None:
        """The latest receipt of a node for its part (no workload) or for one workload."""
        for fact in self.receipts:
            if fact.node == node and fact.receipt.workload == workload:
                return fact
        return None

    def standing(self, node: NodeId, workload: str) -> ReceiptFact | None:
        """What a node last said of a workload: of it alone, unless its whole part has ended."""
        part = self.receipt(node)
        if part is not None and part.receipt.state == "ended":
            return part
        return self.receipt(node, workload) or part


def nodes_of(placement: Placement) -> tuple[NodeId, ...]:
    """The nodes of a placement: of workloads and of networks, each once, by id."""
    used = {a.node for a in placement.assignments} | {p.node for p in placement.networks}
    return tuple(sorted(used))


def stepped(row: Row, event: Event, *, at_ms: int, reason: str = "") -> Row:
    """A row after an event; what the phase table does not know is an error (TFG-2402)."""
    return msgspec.structs.replace(
        row, phase=step(row.phase, event), since=at_ms, reason=reason or row.reason
    )


def advanced(row: Row, proposal: Proposal, now_ms: int) -> Row:
    """A row after what time alone has done to it."""
    valid_until = proposal.agreement.valid_until
    if row.phase == "proposed" and now_ms > row.window:
        return stepped(
            row, "window closed", at_ms=row.window, reason="the approvals did not come in time"
        )
    if row.phase == "approved" and now_ms > row.deadline:
        silent = [n for n in nodes_of(proposal.placement) if n not in row.parts]
        names = ", ".join(map(ids.short, silent))
        return stepped(
            row, "deadline passed", at_ms=row.deadline, reason=f"no answer in time from {names}"
        )
    if row.phase in PHASES_STARTED and now_ms > valid_until:
        return stepped(row, "validity over", at_ms=valid_until, reason="its validity is over")
    return row


def row_of(view: bcdb.View, contract: ContractId, now_ms: int) -> tuple[Row, Proposal]:
    """A contract's row at a moment, and its proposal.

    Raises:
        errors.NotFound: TFG-2401.

    """
    data, signed = view.get("contract", contract), view.get("contract-proposal", contract)
    if data is None or signed is None:
        raise errors.NotFound(
            "TFG-2401", "no such contract in this ledger", where=contract,
            hint="tfgrid contract list",
        )  # fmt: skip
    proposal = _load(signed, Proposal)
    return advanced(_load(data, Row), proposal, now_ms), proposal


def put_row(view: bcdb.View, contract: ContractId, row: Row) -> None:
    """Keep a row."""
    view.put("contract", contract, canonical.encode(row))


def read(view: bcdb.View, contract: ContractId, now_ms: int) -> ContractState:
    """How a contract stands at a moment of order time.

    Raises:
        errors.NotFound: TFG-2401.

    """
    row, proposal = row_of(view, contract, now_ms)
    policy, owner = proposal.agreement.policy, proposal.agreement.owner
    carried = row.phase in {"cancelling", "ended"}
    open_votes = row.delete_votes if carried or now_ms <= row.delete_until else ()
    return ContractState(
        contract=contract,
        position=row.position,
        proposal=proposal,
        subject=proposal_digest(proposal),
        phase=row.phase,
        since=row.since,
        reason=row.reason,
        proposed_at=row.proposed_at,
        approved_at=row.approved_at,
        accepted_at=row.accepted_at,
        admission_deadline=row.deadline,
        deploy=tally(effective(policy.deploy, owner), row.votes, until=row.window),
        delete=tally(effective(policy.delete, owner), open_votes, until=row.delete_until),
        receipts=facts_of(view, contract),
        update=_update(pending_of(view, contract, row, now_ms), proposal),
        updated=row.update_votes,
        unsettled=tuple(namespace.name for namespace in row.unsettled),
    )


def _update(pending: Pending | None, proposal: Proposal) -> Ballot | None:
    if pending is None:
        return None
    rule = effective(proposal.agreement.policy.deploy, proposal.agreement.owner)
    return Ballot(
        proposal=pending.proposal, subject=proposal_digest(pending.proposal),
        tally=tally(rule, pending.votes, until=pending.window), open=True,
    )  # fmt: skip


def pending_of(view: bcdb.View, contract: ContractId, row: Row, now_ms: int) -> Pending | None:
    """The later version of a contract that waits for approvals, if one does at this moment."""
    data = view.get("contract-update", contract)
    if data is None or row.phase not in PHASES_STARTED:
        return None
    pending = _load(data, Pending)
    return pending if now_ms <= pending.window else None


def facts_of(view: bcdb.View, contract: ContractId) -> tuple[ReceiptFact, ...]:
    """The latest receipt of each node and workload, by node, the part before its workloads."""
    rows = view.scan("contract-receipt", f"{contract}/")
    return tuple(_load(data, ReceiptFact) for _, data in rows)


def contracts(view: bcdb.View, now_ms: int) -> tuple[ContractState, ...]:
    """All contracts, in the order in which they were proposed."""
    found = [read(view, ContractId(key), now_ms) for key, _ in view.scan("contract")]
    return tuple(sorted(found, key=lambda state: state.position))


def contracts_of_node(view: bcdb.View, node: NodeId, now_ms: int) -> tuple[ContractState, ...]:
    """The contracts that give this node a part, in the order in which they were proposed."""
    keys = (key.partition("/")[2] for key, _ in view.scan("contract-node", f"{node}/"))
    found = [read(view, ContractId(key), now_ms) for key in keys]
    return tuple(sorted(found, key=lambda state: state.position))


def recipe_row(view: bcdb.View, name: str, version: str) -> RecipeRow | None:
    """A published recipe with its position, or None."""
    data = view.get("recipe", f"{name}@{version}")
    return None if data is None else _load(data, RecipeRow)


def read_recipe(view: bcdb.View, name: str, version: str = "") -> Recipe:
    """A published recipe; without a version the one published last.

    Raises:
        errors.NotFound: TFG-2403.

    """
    if version:
        found = recipe_row(view, name, version)
    else:
        rows = [_load(data, RecipeRow) for _, data in view.scan("recipe", f"{name}@")]
        found = max(rows, key=lambda row: row.position, default=None)
    if found is None:
        raise errors.NotFound(
            "TFG-2403", f"no recipe {name}{'@' if version else ''}{version} is published",
            where=name, hint="tfgrid recipe list",
        )  # fmt: skip
    return found.recipe


def recipes(view: bcdb.View) -> tuple[Recipe, ...]:
    """All published recipes, by name, then in the order of publication."""
    rows = [_load(data, RecipeRow) for _, data in view.scan("recipe")]
    ordered = sorted(rows, key=lambda row: (row.recipe.name, row.position))
    return tuple(row.recipe for row in ordered)


def _load(data: bytes, kind: type[_T]) -> _T:
    return msgspec.json.decode(data, type=kind)
