"""Receipts: whose, when, and what they must say."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.stage import Running, Stage, changed, guestbook_stage, node_id
from tfgrid.ledger import contract

KIND = "contract.receipt"


def _approved() -> tuple[Stage, Running]:
    stage = guestbook_stage()
    return stage, stage.propose().approve("budget", "legal")


def test_only_a_node_of_the_placement_reports() -> None:
    """A person, and a node without a part, are refused."""
    stage, running = _approved()
    stage.add_node("n5", "f1")
    stage.refused("TFG-2430", "mallory", KIND, running.receipt("n1", "accepted"))
    stage.refused("TFG-2430", "n5", KIND, running.receipt("n1", "accepted"))


def test_a_receipt_for_another_placement_is_refused() -> None:
    """There is no placement but the first."""
    stage, running = _approved()
    body = changed(running.receipt("n1", "accepted"), placement=1)
    stage.refused("TFG-2431", "n1", KIND, body)


def test_a_node_reports_its_own_workloads_only() -> None:
    """web-1 is on n2, so n1 has nothing to say of it."""
    stage, running = _approved()
    running.accept()
    stage.refused("TFG-2432", "n1", KIND, running.receipt("n1", "running", "web-1"))
    stage.refused("TFG-2432", "n1", KIND, running.receipt("n1", "running", "nothing"))


@pytest.mark.parametrize(
    ("state", "workload"),
    [("running", "redis"), ("failed", "redis"), ("ended", "redis"), ("ended", "")],
)
def test_nothing_runs_before_all_accepted(state: Any, workload: str) -> None:
    """Between quorum and the last acceptance no workload has anything to report."""
    stage, running = _approved()
    running.report("n1", "accepted")
    stage.refused("TFG-2433", "n1", KIND, running.receipt("n1", state, workload))


def test_nothing_is_accepted_before_the_quorum() -> None:
    """One approval of two leaves nodes nothing to accept."""
    stage = guestbook_stage()
    running = stage.propose().approve("budget")
    stage.refused("TFG-2433", "n1", KIND, running.receipt("n1", "accepted"))


def test_a_node_accepts_once() -> None:
    """A second acceptance, and a refusal after it, are refused."""
    stage, running = _approved()
    running.report("n1", "accepted")
    stage.refused("TFG-2433", "n1", KIND, running.receipt("n1", "accepted"))
    stage.refused("TFG-2433", "n1", KIND, running.receipt("n1", "refused"))


def test_an_acceptance_after_the_deadline_is_refused() -> None:
    """Order time decides, so all nodes agree on it."""
    stage, running = _approved()
    stage.later(61)
    stage.refused("TFG-2433", "n1", KIND, running.receipt("n1", "accepted"))
    assert running.phase == "refused"


@pytest.mark.parametrize("state", ["refused", "failed"])
def test_saying_no_needs_a_reason(state: Any) -> None:
    """A refusal or failure without reasons helps nobody."""
    stage, running = _approved()
    workload = ""
    if state == "failed":
        running.accept()
        workload = "redis"
    body = running.receipt("n1", state, workload, reasons=())
    stage.refused("TFG-2434", "n1", KIND, body)


def test_endpoints_match_the_networks() -> None:
    """An acceptance names each network once, at the node's own address, with a new key."""
    stage, running = _approved()
    body = running.receipt("n1", "accepted")
    (endpoint,) = body.endpoints
    stage.refused("TFG-2436", "n1", KIND, changed(body, endpoints=()))
    stage.refused("TFG-2436", "n1", KIND, changed(body, endpoints=(endpoint, endpoint)))
    other = changed(endpoint, network="other")
    stage.refused("TFG-2436", "n1", KIND, changed(body, endpoints=(other,)))
    moved = changed(endpoint, endpoint="10.1.1.1:51820")
    stage.refused("TFG-2437", "n1", KIND, changed(body, endpoints=(moved,)))
    running.report("n2", "accepted")
    known = running.receipt("n2", "accepted").endpoints[0].public_key
    copied = changed(endpoint, public_key=known)
    stage.refused("TFG-2438", "n1", KIND, changed(body, endpoints=(copied,)))
    stage.refused("TFG-2435", "n1", KIND, changed(body, state="refused", reasons=("no",)))


def test_what_runs_is_the_agreed_image() -> None:
    """A container's receipt names its image; another one, or none, is refused."""
    stage, running = _approved()
    running.accept()
    body = running.receipt("n1", "running", "redis")
    stage.refused("TFG-2439", "n1", KIND, changed(body, image=""))
    stage.refused("TFG-2439", "n1", KIND, changed(body, image="0" * 64))
    route = running.receipt("n4", "running", "page")
    stage.refused("TFG-2439", "n4", KIND, changed(route, image=body.image))


def test_repeated_failures_are_news_only_if_they_differ() -> None:
    """A workload that fails again and again for one cause does not fill the log."""
    stage, running = _approved()
    running.accept()
    running.report("n1", "failed", "redis", exit_code=1)
    stage.refused(
        "TFG-2433", "n1", KIND, running.receipt("n1", "failed", "redis", exit_code=1, at=99)
    )
    running.report("n1", "failed", "redis", exit_code=2)
    running.report("n1", "running", "redis")
    running.report("n1", "running", "redis")
    assert running.phase == "degraded"


def test_nodes_ask_before_they_submit() -> None:
    """`receipt_allowed` says what the ledger would say."""
    _, running = _approved()
    body = running.receipt("n1", "accepted")
    assert contract.receipt_allowed(running.state, node_id("n1"), body)
    assert not contract.receipt_allowed(running.state, node_id("nobody"), body)
    running.report("n1", "accepted")
    assert not contract.receipt_allowed(running.state, node_id("n1"), body)


def test_a_node_ends_its_part_once() -> None:
    """After its `ended` a node has nothing more to say."""
    stage, running = _approved()
    running.accept().run().approve("budget", "legal", action="delete")
    running.report("n1", "ended", "redis", exit_code=0)
    running.report("n1", "ended")
    stage.refused("TFG-2433", "n1", KIND, running.receipt("n1", "ended"))
    stage.refused("TFG-2433", "n1", KIND, running.receipt("n1", "running", "redis"))


def test_what_a_node_removed_runs_no_more() -> None:
    """Once a node's part has ended, none of its workloads is told to be running, in a proof too."""
    stage, running = _approved()
    running.accept().run().approve("budget", "legal", action="delete")
    running.report("n2", "ended")
    standing = running.state.standing(node_id("n2"), "web-1")
    assert standing is not None
    assert standing.receipt.state == "ended"
    told = contract.verdict(stage.view, running.id, stage.now_ms)
    states = {part.workload: part.state for part in told.parts}
    assert (states["web-1"], states["web-2"]) == ("ended", "running")
    assert next(part.image for part in told.parts if part.workload == "web-1")


def test_a_node_finds_its_contracts() -> None:
    """Each node sees the contracts that give it a part, in the order of their proposals."""
    stage, running = _approved()
    other = stage.propose(salt="D" * 22, parameters={"host": "other.grid.localhost"})
    found = contract.contracts_of_node(stage.view, node_id("n4"), stage.now_ms)
    assert [state.contract for state in found] == [running.id, other.id]
    assert contract.contracts_of_node(stage.view, node_id("nobody"), stage.now_ms) == ()
    assert found == contract.contracts(stage.view, stage.now_ms)
