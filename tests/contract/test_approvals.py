"""Approvals: who may, for what, once, in time; each refusal stores nothing."""

from __future__ import annotations

import pytest

from tests.contract.stage import GIB, Running, Stage, changed, guestbook_stage, who
from tfgrid.core import errors
from tfgrid.ledger import bcdb, contract

KIND = "contract.approve"


def _stage() -> tuple[Stage, Running]:
    stage = guestbook_stage()
    return stage, stage.propose()


def test_somebody_not_listed_is_refused() -> None:
    """A stranger's approval does not count, and neither does the owner's."""
    stage, running = _stage()
    stage.refused("TFG-2410", "mallory", KIND, running.approval("budget"))
    stage.refused("TFG-2410", "alice", KIND, running.approval("owner"))


def test_another_role_is_refused() -> None:
    """A listed approver signs in its own role only."""
    stage, running = _stage()
    stage.refused("TFG-2411", "budget", KIND, running.approval("security"))
    stage.refused("TFG-2411", "budget", KIND, running.approval("treasurer"))


def test_the_same_approver_twice_is_refused() -> None:
    """An identity counts once, whatever it says the second time."""
    stage, running = _stage()
    running.approve("budget")
    stage.refused("TFG-2412", "budget", KIND, running.approval("budget"))
    stage.refused("TFG-2412", "budget", KIND, running.approval("budget", decision="reject"))
    assert running.state.deploy.approved == 1


def test_a_delete_approval_does_not_deploy() -> None:
    """What was signed for delete counts for delete alone."""
    stage, running = _stage()
    running.approve("budget", action="delete")
    assert running.state.deploy.approved == 0
    swapped = running.approval("security", subject=running.proposal.placement.agreement)
    stage.refused("TFG-2414", "security", KIND, swapped)


def test_a_deploy_approval_does_not_delete() -> None:
    """The subject of a deploy approval is no subject for delete."""
    stage, running = _stage()
    running.approve("budget", "security").accept()
    body = running.approval("legal", "delete", subject=running.state.subject)
    stage.refused("TFG-2414", "legal", KIND, body)
    assert running.state.delete.approved == 0


@pytest.mark.parametrize("action", ["accept", "refund"])
def test_actions_that_are_not_carried_out_are_refused(action: contract.Action) -> None:
    """The format knows more actions than this release."""
    stage, running = _stage()
    body = running.approval("budget", subject=running.state.subject)
    stage.refused("TFG-2413", "budget", KIND, changed(body, action=action))


def test_an_agreement_altered_after_approval_does_not_count() -> None:
    """An approval names the bytes that were seen; others have another hash."""
    stage, running = _stage()
    running.approve("budget")
    agreement = changed(running.proposal.agreement, name="other")
    altered = changed(running.proposal, agreement=agreement)
    body = running.approval("legal", subject=contract.proposal_digest(altered))
    stage.refused("TFG-2414", "legal", KIND, body)
    elsewhere = running.approval("legal", contract=contract.contract_id(agreement))
    stage.refused("TFG-2401", "legal", KIND, elsewhere)


def test_a_placement_altered_after_approval_does_not_count() -> None:
    """Agreement and placement are approved together."""
    stage, running = _stage()
    placement = changed(running.proposal.placement, number=1)
    altered = changed(running.proposal, placement=placement)
    body = running.approval("legal", subject=contract.proposal_digest(altered))
    stage.refused("TFG-2414", "legal", KIND, body)


def test_an_approval_after_its_time_is_refused() -> None:
    """When the window has closed the contract has lapsed, by order time alone."""
    stage, running = _stage()
    running.approve("budget")
    stage.later(86_401)
    stage.refused("TFG-2415", "legal", KIND, running.approval("legal"))
    assert running.phase == "lapsed"


def test_an_approval_at_the_last_moment_counts() -> None:
    """The end of the window belongs to it."""
    stage, running = _stage()
    running.approve("budget")
    stage.later(86_400)
    assert running.approve("legal").phase == "approved"


def test_nothing_is_decided_after_the_quorum() -> None:
    """A late vote is told that the contract goes on without it."""
    stage, running = _stage()
    running.approve("budget", "legal")
    stage.refused("TFG-2415", "security", KIND, running.approval("security"))


def test_rejections_end_it_with_their_reason() -> None:
    """Two of three say no; the third need not say anything."""
    stage, running = _stage()
    running.approve("budget", decision="reject", reason="no money")
    assert running.phase == "proposed"
    running.approve("legal", decision="reject", reason="no licence")
    assert running.phase == "rejected"
    assert running.state.reason == "rejected by legal: no licence"
    stage.refused("TFG-2415", "security", KIND, running.approval("security"))


def test_rejecting_and_then_approving_is_refused() -> None:
    """The first vote stands."""
    stage, running = _stage()
    running.approve("budget", decision="reject")
    stage.refused("TFG-2412", "budget", KIND, running.approval("budget"))


def test_a_delete_that_was_refused_may_be_asked_for_again() -> None:
    """A round of delete votes that fails leaves the contract as it was, and room for another."""
    _, running = _stage()
    running.approve("budget", "legal").accept().run()
    running.approve("budget", "security", action="delete", decision="reject")
    assert running.phase == "running"
    assert running.approve("budget", "legal", action="delete").phase == "cancelling"
    assert running.state.delete.approved == 2


def test_delete_approvals_expire() -> None:
    """Votes of different days do not add up."""
    stage, running = _stage()
    running.approve("budget", "legal").accept().run()
    running.approve("budget", action="delete")
    stage.later(86_401)
    running.approve("security", action="delete")
    assert running.phase == "running"
    assert running.approve("budget", action="delete").phase == "cancelling"


def test_what_has_ended_cannot_be_cancelled() -> None:
    """Cancelling twice is refused."""
    stage, running = _stage()
    running.approve("budget", "legal", action="delete")
    assert running.phase == "ended"
    stage.refused("TFG-2417", "security", KIND, running.approval("security", "delete"))


def test_the_vote_that_decides_finds_no_room() -> None:
    """Of two contracts that fit alone, the second quorum is refused."""
    stage = guestbook_stage()
    big = {"memory": "3GiB"}
    first = stage.propose(parameters=big, salt="B" * 22)
    second = stage.propose(parameters=big | {"host": "b.grid.localhost"}, salt="C" * 22)
    first.approve("budget", "legal")
    second.approve("budget")
    stage.refused("TFG-2376", "legal", KIND, second.approval("legal"))
    assert second.phase == "proposed"
    assert min(node.free.memory_bytes for node in stage.inventory().nodes) < 3 * GIB


def test_the_vote_that_decides_finds_the_name_taken() -> None:
    """Two contracts want one host name: the first quorum has it until it ends."""
    stage = guestbook_stage()
    first = stage.propose(salt="B" * 22).approve("budget")
    second = stage.propose(salt="C" * 22).approve("budget")
    first.approve("legal")
    stage.refused("TFG-2374", "legal", KIND, second.approval("legal"))
    first.approve("budget", "legal", action="delete")
    assert second.approve("legal").phase == "approved"


def test_a_vote_on_nothing_is_refused() -> None:
    """A contract that is not there cannot be approved."""
    stage, running = _stage()
    body = changed(running.approval("budget"), contract=who("mallory"))
    stage.refused("TFG-2401", "budget", KIND, body)


def test_reading_what_is_not_there_says_so() -> None:
    """An unknown contract is an error, an unknown node has no contracts."""
    view = bcdb.MemoryView()
    with pytest.raises(errors.NotFound):
        contract.read(view, contract.ContractState.__name__, 0)  # type: ignore[arg-type]
    assert contract.contracts(view, 0) == ()
