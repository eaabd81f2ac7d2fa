"""What somebody who writes records himself, without our planner, tries on nodes through a contract.

A proposal and a receipt are the only words of an enemy that reach a node's machine.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.stage import Stage, changed, guestbook_stage
from tfgrid.core import canonical
from tfgrid.ledger import contract

HOSTILE_PATHS = (
    "/x; clear map /run/tfgrid/0f3a9c11/n4/gateway/routes.map",
    "/x\nset map routes.map guestbook.grid.localhost slot0",
    "/x\r\nHost: other",
    "/ HTTP/1.0",
    "/x\\;y",
    "/x<<",
    "/%[env(PATH)]",
    "/" + "a" * 256,
    "x",
    "",
)


def _with_path(stage: Stage, path: str) -> contract.Proposal:
    """The guestbook's proposal with another health path of its route."""
    proposal = stage.plan().proposal
    workloads = tuple(
        changed(w, health_path=path) if isinstance(w, contract.Route) else w
        for w in proposal.agreement.workloads
    )
    agreement = changed(proposal.agreement, workloads=workloads)
    placement = changed(proposal.placement, agreement=contract.agreement_digest(agreement))
    return contract.Proposal(agreement=agreement, placement=placement)


@pytest.mark.parametrize("path", HOSTILE_PATHS)
def test_a_health_path_cannot_carry_a_gateways_commands(path: str) -> None:
    """It is put into commands for HAProxy: whatever could end one is no path for the ledger."""
    stage = guestbook_stage()
    stage.refused("TFG-1103", "alice", "contract.propose", _with_path(stage, path))


def test_a_plain_health_path_is_taken() -> None:
    """The same proposal with a usual path is stored, so it was the path that was refused."""
    stage = guestbook_stage()
    stage.write("alice", "contract.propose", _with_path(stage, "/healthz/v1.0_a-b~c"))


@pytest.mark.parametrize(
    "form",
    ["{}:0", "{}:65536", "{}:99999", "{}:05182", "[{}]:51820", "[[{}:51820", "{}]:51820"],
)
def test_an_endpoint_has_one_form_and_a_port(form: str) -> None:
    """What a peer could not use, or could read in two ways, is not taken from a node."""
    stage = guestbook_stage()
    running = stage.propose().approve("budget", "legal")
    good = running.receipt("n1", "accepted")
    address = good.endpoints[0].endpoint.rpartition(":")[0]
    ends = tuple(changed(e, endpoint=form.format(address)) for e in good.endpoints)
    stage.refused("TFG-2437", "n1", "contract.receipt", changed(good, endpoints=ends))


@pytest.mark.parametrize(
    ("key", "code"),
    [
        ("A" * 43, "TFG-2438"),
        (canonical.text_from(bytes(31) + b"\x01")[:-1] + "F", "TFG-1105"),
    ],
    ids=["zeros", "not base64url"],
)
def test_a_public_key_is_32_bytes_of_somebodys(key: str, code: str) -> None:
    """A key that names no bytes, or the one that every secret agrees with, is refused."""
    stage = guestbook_stage()
    running = stage.propose().approve("budget", "legal")
    good = running.receipt("n1", "accepted")
    ends: Any = tuple(changed(e, public_key=key) for e in good.endpoints)
    stage.refused(code, "n1", "contract.receipt", changed(good, endpoints=ends))
