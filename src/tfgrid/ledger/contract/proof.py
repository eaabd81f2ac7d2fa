"""Which entries prove a contract, and the verdict on a bundle of them.

`positions` is asked of a whole view and names every entry that the contract leans on. A bundle of
these, replayed offline by `bcdb.verify_bundle`, gives a view of which `verdict` tells the story.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from tfgrid.core import ids
from tfgrid.core.ids import ContractId, IdentityId
from tfgrid.core.schema import Count, Integer, Moment, Text, Value
from tfgrid.core.units import Money, time_text
from tfgrid.ledger import bcdb
from tfgrid.ledger.contract.model import Assignment, RecipeRef
from tfgrid.ledger.contract.phases import Phase
from tfgrid.ledger.contract.policy import Vote
from tfgrid.ledger.contract.state import ContractState, facts_of, read, row_of
from tfgrid.ledger.contract.wording import asks_text

__all__ = ["Part", "Signer", "Verdict", "positions", "verdict"]


class Signer(Value, frozen=True):
    """Somebody who signed, by name, and what."""

    identity: ids.Author
    name: str
    role: str
    decision: Literal["approve", "reject"]
    action: str
    at: Moment
    position: Count


class Part(Value, frozen=True):
    """One workload, where it was placed, and what its node last said of it; -1 for no receipt.

    `asks` has in words what was agreed of a zdb namespace.
    """

    workload: str
    node: ids.Node
    node_name: str
    state: str
    image: str
    position: Integer
    asks: str = ""


class Verdict(Value, frozen=True):
    """What a bundle proves."""

    contract: ids.Contract
    name: str
    position: Count
    owner: ids.Author
    owner_name: str
    recipe: RecipeRef
    phase: Phase
    quorum: str
    signers: tuple[Signer, ...]
    parts: tuple[Part, ...]
    price_per_day: Money
    order_time: Moment
    summary: Text
    version: Count = 1


def positions(view: bcdb.View, contract: ContractId) -> tuple[int, ...]:
    """The positions of all entries that prove the contract, ascending.

    These are the recipe, the farms and nodes as they were when it was proposed, the proposal and
    its later versions, the votes, what nodes said of their parts and last of their workloads, and
    the identity of everyone named in any of them.

    Raises:
        errors.NotFound: TFG-2401.

    """
    row, proposal = row_of(view, contract, 0)
    agreement = proposal.agreement
    found = {*row.leans_on, *(fact.position for fact in facts_of(view, contract))}
    named = {agreement.owner, agreement.recipe.author}
    for rule in (agreement.policy.deploy, agreement.policy.delete):
        named.update(approver.identity for approver in rule.approvers)
    for assignment in proposal.placement.assignments:
        named.update((assignment.node, assignment.farm))
    latest = max(found)
    for identity in named:
        events = (int(at) for _, at in view.scan("identity-event", f"{identity}/"))
        found.update(at for at in events if at <= latest)
    return tuple(sorted(found))


def verdict(view: bcdb.View, contract: ContractId, order_time_ms: int) -> Verdict:
    """What a replayed view proves about a contract, as of an order time.

    Raises:
        errors.NotFound: TFG-2401.

    """
    state = read(view, contract, order_time_ms)
    agreement, placement = state.proposal.agreement, state.proposal.placement
    signers = (
        *_signers(view, state.deploy.votes, "deploy"),
        *_signers(view, state.updated, "update"),
        *_signers(view, state.delete.votes, "delete"),
    )
    quorum = f"{state.deploy.approved} of {state.deploy.needed} needed"
    roles = ", ".join(s.role for s in signers if (s.action, s.decision) == ("deploy", "approve"))
    owner = _name(view, agreement.owner)
    version = f", version {agreement.version}" if agreement.version > 1 else ""
    return Verdict(
        contract=contract, name=agreement.name, position=state.position,
        owner=agreement.owner, owner_name=owner, recipe=agreement.recipe, phase=state.phase,
        quorum=quorum, signers=signers,
        parts=tuple(_part(view, state, a) for a in placement.assignments),
        price_per_day=placement.price_per_day, order_time=order_time_ms,
        version=agreement.version,
        summary=f"record {state.position}{version}, owner {owner}, quorum {quorum}"
        f"{f' ({roles})' if roles else ''}, {state.phase} at {time_text(order_time_ms)}",
    )  # fmt: skip


def _name(view: bcdb.View, identity: IdentityId) -> str:
    state = bcdb.identity_state(view, identity)
    return state.name if state else ids.short(identity)


def _signers(view: bcdb.View, votes: Iterable[Vote], action: str) -> tuple[Signer, ...]:
    return tuple(
        Signer(
            identity=vote.identity, name=_name(view, vote.identity), role=vote.role,
            decision=vote.decision, action=action, at=vote.at, position=vote.position,
        )
        for vote in votes
    )  # fmt: skip


def _part(view: bcdb.View, state: ContractState, assignment: Assignment) -> Part:
    fact = state.receipt(assignment.node, assignment.workload) or state.receipt(assignment.node)
    workloads = state.proposal.agreement.workloads
    agreed = next(w for w in workloads if w.name == assignment.workload)
    return Part(
        workload=assignment.workload, node=assignment.node,
        node_name=_name(view, assignment.node),
        state=_standing(state, assignment),
        image=fact.receipt.image if fact else "",
        position=fact.position if fact else -1,
        asks=asks_text(agreed),
    )  # fmt: skip


def _standing(state: ContractState, assignment: Assignment) -> str:
    said = state.standing(assignment.node, assignment.workload)
    return said.receipt.state if said else "no receipt"
