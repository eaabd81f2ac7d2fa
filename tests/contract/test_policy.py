"""Weighted quorums: what can be met, and how votes count."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.stage import who
from tfgrid.core import errors
from tfgrid.ledger import contract
from tfgrid.ledger.contract import policy


def _rule(weight: int, *rows: tuple[str, str, int]) -> contract.Rule:
    approvers = (contract.Approver(identity=who(n), role=r, weight=w) for n, r, w in rows)
    return contract.Rule(approvers=tuple(approvers), weight=weight)


def _vote(name: str, role: str, weight: int, decision: Any = "approve") -> contract.Vote:
    return contract.Vote(
        identity=who(name), role=role, weight=weight, decision=decision, reason="", at=0, position=0
    )


THREE = (("ann", "budget", 1), ("bob", "security", 1), ("cas", "legal", 1))


@pytest.mark.parametrize(
    ("code", "rule"),
    [
        ("TFG-2310", _rule(0, *THREE)),
        ("TFG-2311", _rule(4, *THREE)),
        ("TFG-2311", _rule(1)),
        ("TFG-2311", _rule(5, ("ann", "budget", 3), ("ann", "legal", 2), ("bob", "security", 1))),
        ("TFG-2312", _rule(2, ("ann", "budget", 1), ("ann", "budget", 1))),
        ("TFG-2313", _rule(1, ("ann", "budget", 1), ("ann", "legal", 1), ("bob", "legal", 1))),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(code: str, rule: contract.Rule) -> None:
    """Nobody needed, more than there is, listed twice, one in every role: each has its code."""
    with pytest.raises(errors.BadInput) as caught:
        policy.check_rule(rule, action="deploy")
    assert caught.value.code == code


@pytest.mark.parametrize(
    "rule",
    [
        _rule(0),
        _rule(2, *THREE),
        _rule(3, *THREE),
        _rule(1, ("ann", "budget", 1)),
        _rule(4, ("ann", "budget", 3), ("ann", "legal", 2), ("bob", "security", 1)),
        _rule(32_000, *((f"p{n}", f"r{n}", 1000) for n in range(32))),
    ],
)
def test_a_rule_that_can_be_met_is_taken(rule: contract.Rule) -> None:
    """The owner alone, some of many, all of many, and the largest weights there may be."""
    policy.check_rule(rule, action="deploy")


def test_an_identity_counts_once() -> None:
    """A second vote of the same identity, even in another role, adds nothing."""
    rule = _rule(2, ("ann", "budget", 1), ("ann", "legal", 1), ("bob", "security", 1))
    votes = (_vote("ann", "budget", 1), _vote("ann", "legal", 1))
    counted = policy.tally(rule, votes, until=1)
    assert (counted.approved, counted.reached) == (1, False)
    assert counted.waiting == (who("bob"),)


def test_an_absent_signer_never_blocks() -> None:
    """Two of three are enough while the third says nothing."""
    counted = policy.tally(
        _rule(2, *THREE), (_vote("ann", "budget", 1), _vote("cas", "legal", 1)), until=1
    )
    assert counted.reached
    assert counted.waiting == (who("bob"),)


def test_rejections_end_it_when_the_rest_is_too_light() -> None:
    """One of three may say no; with two the quorum of two cannot be reached any more."""
    rule = _rule(2, *THREE)
    one = _vote("ann", "budget", 1, "reject")
    assert not policy.hopeless(rule, (one,))
    assert policy.hopeless(rule, (one, _vote("bob", "security", 1, "reject")))


def test_a_heavy_rejection_ends_it_alone() -> None:
    """A stakeholder without whose weight the quorum cannot be reached has a veto."""
    rule = _rule(3, ("ann", "budget", 2), ("bob", "security", 1), ("cas", "legal", 1))
    assert policy.hopeless(rule, (_vote("ann", "budget", 2, "reject"),))


def test_silence_means_the_owner() -> None:
    """A rule without approvers is the owner with weight one of one."""
    rule = policy.effective(contract.Rule(), who("alice"))
    assert rule.weight == 1
    assert policy.weight_of(rule, who("alice"), "owner") == 1
    assert policy.weight_of(rule, who("mallory"), "owner") is None
