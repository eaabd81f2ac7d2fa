"""What nodes may do in a phase, and which of their receipts are legal.

Admission has two steps. Each node first speaks for its whole part: `accepted` (with a key and an
endpoint for each of its networks) or `refused` (with reasons). Only when all have accepted does any
workload start, and have receipts of its own. At the end each node says `ended` for its part when it
has removed all.

A node asks `receipt_allowed` before it submits: what a phase does not allow is news to nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tfgrid.core import canonical, errors
from tfgrid.core.ids import NodeId
from tfgrid.ledger.contract.model import (
    Container,
    Endpoint,
    NetworkPlace,
    Proposal,
    Receipt,
    ReceiptState,
)
from tfgrid.ledger.contract.phases import PHASES_STARTED, PHASES_STOPPED, Phase, validity_over
from tfgrid.ledger.contract.state import ContractState, ReceiptFact

__all__ = [
    "PART_PHASES",
    "check_receipt",
    "may_start",
    "must_stop",
    "networks_of",
    "receipt_allowed",
    "workloads_of",
]

_PUBLIC_KEY_BYTES: Final = 32

PART_PHASES: Final[dict[ReceiptState, frozenset[Phase]]] = {
    "accepted": frozenset({"approved"}),
    "refused": frozenset({"approved"}),
    "ended": frozenset({"cancelling", "expired", "refused"}),
}
"""In which phases a node may say what of its part."""

WORKLOAD_PHASES: Final[dict[ReceiptState, frozenset[Phase]]] = {
    "running": PHASES_STARTED,
    "failed": PHASES_STARTED,
    "ended": PHASES_STARTED | {"cancelling", "expired"},
}
"""In which phases a node may say what of one workload."""


def may_start(state: ContractState, node: NodeId) -> bool:
    """Whether this node may start workloads: all nodes accepted, and it has a part."""
    return state.phase in PHASES_STARTED and node in state.nodes


def must_stop(state: ContractState, *, clock_ms: int, order_time_ms: int) -> bool:
    """Whether a node must end and remove all that it made for the contract.

    Records end it at once (cancelled, refused, rejected, lapsed); time only when both `clock_ms`,
    the node's own wall clock, and `order_time_ms`, the last verified head's plus the monotonic time
    since, are past validity.
    """
    if state.phase in PHASES_STOPPED:
        return True
    return state.phase not in {"proposed", "approved"} and validity_over(
        state.proposal.agreement.valid_until, clock_ms=clock_ms, order_time_ms=order_time_ms
    )


def workloads_of(proposal: Proposal, node: NodeId) -> tuple[str, ...]:
    """The containers and routes that the placement gives a node, in the order of the placement."""
    return tuple(a.workload for a in proposal.placement.assignments if a.node == node)


def networks_of(proposal: Proposal, node: NodeId) -> tuple[NetworkPlace, ...]:
    """A node's parts of the contract's networks."""
    return tuple(place for place in proposal.placement.networks if place.node == node)


def receipt_allowed(state: ContractState, node: NodeId, receipt: Receipt) -> bool:
    """Whether the ledger would take this receipt now, as far as the contract says."""
    try:
        check_receipt(state, node, receipt, underlay="")
    except errors.GridError:
        return False
    return True


def check_receipt(state: ContractState, node: NodeId, receipt: Receipt, *, underlay: str) -> None:
    """Hold that a receipt is this node's to give, legal now, and says what it must.

    Args:
        state: the contract at the receipt's order time.
        node: the receipt's author.
        receipt: what it says.
        underlay: the address that the node is registered with, or empty if that is not to be
            checked.

    Raises:
        errors.NotAllowed: TFG-2430 not a node of the placement, TFG-2432 not this node's workload.
        errors.Conflict: TFG-2431 another placement, TFG-2433 not legal in this phase or after the
            last receipt.
        errors.BadInput: TFG-2434 to TFG-2439.

    """
    proposal = state.proposal
    if node not in state.nodes:
        raise errors.NotAllowed(
            "TFG-2430", "the author is not a node of this contract's placement", where=node
        )
    if receipt.placement != proposal.placement.number:
        raise errors.Conflict(
            "TFG-2431", f"the contract is at placement {proposal.placement.number}",
            where=str(receipt.placement),
        )  # fmt: skip
    if receipt.workload and not _is_its(proposal, node, receipt.workload):
        raise errors.NotAllowed(
            "TFG-2432", "the placement does not give this workload to this node",
            where=receipt.workload,
        )  # fmt: skip
    _check_order(state, node, receipt)
    _check_words(receipt)
    if receipt.state == "accepted":
        _check_endpoints(state.receipts, networks_of(proposal, node), receipt, underlay)
    elif receipt.endpoints:
        raise errors.BadInput("TFG-2435", "only an accepted receipt has endpoints", where=node)
    _check_image(proposal, receipt)


def _is_its(proposal: Proposal, node: NodeId, workload: str) -> bool:
    joined = (place.network for place in networks_of(proposal, node))
    return workload in (*workloads_of(proposal, node), *joined)


def _check_order(state: ContractState, node: NodeId, receipt: Receipt) -> None:
    phases = WORKLOAD_PHASES if receipt.workload else PART_PHASES
    part = state.receipt(node)
    said = part.receipt.state if part else ""
    if receipt.workload:
        follows = said == "accepted" and _is_news(state.receipt(node, receipt.workload), receipt)
    else:
        follows = said == ("accepted" if receipt.state == "ended" else "")
    if state.phase not in phases.get(receipt.state, ()) or not follows:
        thing = f"workload {receipt.workload}" if receipt.workload else "its part"
        raise errors.Conflict(
            "TFG-2433", f"a node may not say {receipt.state} of {thing} now: the contract is "
            f"{state.phase}, the node has said {said or 'nothing'} of its part",
            where=state.contract,
        )  # fmt: skip


def _is_news(last: ReceiptFact | None, receipt: Receipt) -> bool:
    """Whether this is news of a workload: the same failure or end again is not."""
    if last is None or receipt.state == "running" or last.receipt.state != receipt.state:
        return True
    before = last.receipt
    return (before.reasons, before.exit_code) != (receipt.reasons, receipt.exit_code)


def _check_words(receipt: Receipt) -> None:
    if receipt.state in {"refused", "failed"} and not any(receipt.reasons):
        raise errors.BadInput(
            "TFG-2434", f"a receipt that says {receipt.state} must say why", where="reasons"
        )


def _check_endpoints(
    receipts: Sequence[ReceiptFact],
    places: Sequence[NetworkPlace],
    receipt: Receipt,
    underlay: str,
) -> None:
    if sorted(e.network for e in receipt.endpoints) != sorted(p.network for p in places):
        raise errors.BadInput(
            "TFG-2436", "an accepted receipt has one endpoint for each network of the node's part",
            where="endpoints",
        )  # fmt: skip
    for endpoint in receipt.endpoints:
        _check_endpoint(endpoint, underlay)
    known = {e.public_key for fact in receipts for e in fact.receipt.endpoints}
    keys = [e.public_key for e in receipt.endpoints]
    if len(set(keys)) != len(keys) or known & set(keys):
        raise errors.BadInput(
            "TFG-2438", "a node makes a key of its own for each network", where="endpoints"
        )


def _check_endpoint(endpoint: Endpoint, underlay: str) -> None:
    """Hold that peers can use it: one form of the node's own address, a port, a whole key."""
    host, _, port = endpoint.endpoint.rpartition(":")
    own = f"[{underlay}]" if ":" in underlay else underlay
    if underlay and host != own:
        raise errors.BadInput(
            "TFG-2437", f"the node is registered at {underlay}", where=endpoint.endpoint
        )
    if str(int(port)) != port or not 0 < int(port) < 65_536:
        raise errors.BadInput("TFG-2437", "not a port", where=endpoint.endpoint)
    key = canonical.bytes_from(endpoint.public_key, size=_PUBLIC_KEY_BYTES)
    if not any(key):
        raise errors.BadInput("TFG-2438", "a key of zeros is nobody's", where="endpoints")


def _check_image(proposal: Proposal, receipt: Receipt) -> None:
    agreed = {w.name: w for w in proposal.agreement.workloads}.get(receipt.workload)
    digest = agreed.image.digest if isinstance(agreed, Container) else ""
    missing = receipt.state == "running" and digest and not receipt.image
    if missing or (receipt.image and receipt.image != digest):
        raise errors.BadInput(
            "TFG-2439", "the receipt's image is not the one that was agreed", where=receipt.workload
        )
