"""Weighted quorums: whether a rule can ever be met, and how votes are counted.

A rule lists approvers by identity, role and weight, and names the weight that is needed. An identity counts
once, in the role in which it voted first. A rule with no approvers and weight 0 leaves the action to the
owner alone, in the role `owner`.
"""

from __future__ import annotations

from typing import Literal

from tfgrid.core import ids
from tfgrid.core.schema import Count, Moment, Name, Text, Value
from tfgrid.ledger.contract.model import Rule

__all__ = ["Tally", "Vote", "check_rule", "tally"]


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
    """How an action stands: `approved` of `needed`; `waiting` are those listed who have not voted."""

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
        errors.BadInput: TFG-2310 to TFG-2314.

    """


def tally(rule: Rule, votes: tuple[Vote, ...], *, until: int) -> Tally:
    """Count votes under a rule."""
    return Tally(needed=rule.weight, approved=0, rejected=0, votes=votes, waiting=(), until=until)
