"""Weighted quorums: whether a rule can ever be met, and how votes are counted.

A rule lists approvers by identity, role and weight, and names the weight that is needed. An
identity counts once, in the role in which it voted; its first vote stands. Somebody listed who does
not vote never blocks. A rule with no approvers and weight 0 leaves the action to the owner alone,
in the role `owner`; for deploy the signature under the proposal is that vote.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final, Literal

import msgspec

from tfgrid.core import errors, ids
from tfgrid.core.ids import IdentityId
from tfgrid.core.schema import Count, Moment, Name, Text, Value
from tfgrid.ledger.contract.model import Approver, Rule

__all__ = [
    "Tally",
    "Vote",
    "check_rule",
    "effective",
    "hopeless",
    "owner_role",
    "tally",
    "weight_of",
]

owner_role: Final = "owner"
"""The role in which an owner acts alone under a rule without approvers."""


class Vote(Value, frozen=True):
    """One identity's decision, as it counts."""

    identity: ids.Author
    role: Name
    weight: Count
    decision: Literal["approve", "reject"]
    reason: Text
    at: Moment
    position: Count


class Tally(Value, frozen=True):
    """How an action stands: `approved` of `needed`; `waiting` have not voted."""

    needed: Count
    approved: Count
    rejected: Count
    votes: tuple[Vote, ...]
    waiting: tuple[ids.Author, ...]
    until: Moment

    @property
    def reached(self) -> bool:
        """Whether the quorum is there."""
        return self.approved >= self.needed


def check_rule(rule: Rule, *, action: str) -> None:
    """Hold that the rule can be met, and not by one identity alone where it names several roles.

    Raises:
        errors.BadInput: TFG-2310 a weight of zero among approvers, TFG-2311 more weight than there
            is, TFG-2312 an identity listed twice in a role, TFG-2313 one identity in every role.

    """
    pairs = [(approver.identity, approver.role) for approver in rule.approvers]
    if rule.approvers and rule.weight == 0:
        raise errors.BadInput(
            "TFG-2310", f"{action} lists approvers and needs none of them",
            where=f"policy.{action}", hint="name the weight that is needed, or list nobody",
        )  # fmt: skip
    if len(set(pairs)) != len(pairs):
        raise errors.BadInput(
            "TFG-2312", f"{action} lists an identity twice in a role", where=f"policy.{action}"
        )
    roles = {role for _, role in pairs}
    for identity in {identity for identity, _ in pairs}:
        if len(roles) > 1 and {role for who, role in pairs if who == identity} == roles:
            raise errors.BadInput(
                "TFG-2313", f"one identity fills every role of {action}", where=identity,
                hint="give each role to another stakeholder",
            )  # fmt: skip
    reachable = _reachable(rule, ())
    if reachable < rule.weight:
        raise errors.BadInput(
            "TFG-2311", f"{action} needs weight {rule.weight} and all approvers together have "
            f"{reachable}", where=f"policy.{action}",
        )  # fmt: skip


def effective(rule: Rule, owner: IdentityId) -> Rule:
    """The rule with its silence spelled out: without approvers it is the owner alone."""
    if rule.approvers or rule.weight:
        return rule
    alone = Approver(identity=owner, role=owner_role)
    return msgspec.structs.replace(rule, approvers=(alone,), weight=1)


def weight_of(rule: Rule, identity: IdentityId, role: str) -> int | None:
    """The weight of an identity in a role, or None if it is not listed so."""
    for approver in rule.approvers:
        if (approver.identity, approver.role) == (identity, role):
            return approver.weight
    return None


def tally(rule: Rule, votes: tuple[Vote, ...], *, until: int) -> Tally:
    """Count votes under a rule; each identity's first vote counts."""
    counted = _first_votes(votes)
    voted = {vote.identity for vote in counted}
    listed = dict.fromkeys(approver.identity for approver in rule.approvers)
    return Tally(
        needed=rule.weight,
        approved=sum(vote.weight for vote in counted if vote.decision == "approve"),
        rejected=sum(vote.weight for vote in counted if vote.decision == "reject"),
        votes=counted,
        waiting=tuple(identity for identity in listed if identity not in voted),
        until=until,
    )


def hopeless(rule: Rule, votes: Sequence[Vote]) -> bool:
    """Whether the quorum cannot be reached any more, because too much weight said no."""
    approved = sum(vote.weight for vote in votes if vote.decision == "approve")
    return approved + _reachable(rule, {vote.identity for vote in votes}) < rule.weight


def _reachable(rule: Rule, without: Collection[IdentityId]) -> int:
    """The most weight of approvers other than `without`, each in its heaviest role."""
    heaviest: dict[IdentityId, int] = {}
    for approver in rule.approvers:
        if approver.identity not in without:
            known = heaviest.get(approver.identity, 0)
            heaviest[approver.identity] = max(known, approver.weight)
    return sum(heaviest.values())


def _first_votes(votes: Iterable[Vote]) -> tuple[Vote, ...]:
    first: dict[IdentityId, Vote] = {}
    for vote in votes:
        first.setdefault(vote.identity, vote)
    return tuple(first.values())
