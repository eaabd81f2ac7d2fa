"""Later versions of an agreement: what an update may change, and what is held until it is there.

    running, version n --contract.propose (n + 1)--> waits, n goes on --approvals--> n + 1 in force
    nodes change what they have in place --contract.receipt, limits as agreed--> settled

An update changes what can be changed without a move: how much a zdb namespace may hold (disk, keys)
and what history it keeps, with the price that follows and its cap. Everything else stays, to the
byte: owner, recipe, policy, other workloads, nodes, addresses, validity. Who had to sign the first
version has to sign a later one, by the same rule. What is not changed keeps its price; what is
changed costs what the farm offers now.

A node may not be able to follow at once. So the ledger reserves the larger of both versions until
the node has said that the namespace is as agreed.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from tfgrid.core import errors, limits
from tfgrid.core.ids import ContractId, IdentityId
from tfgrid.ledger import bcdb
from tfgrid.ledger.contract.checks import (
    admitted_nodes,
    check_binding,
    check_price,
    check_proposal,
    check_room,
    funding_check,
)
from tfgrid.ledger.contract.model import (
    Placement,
    Proposal,
    Receipt,
    Workload,
    ZdbNamespace,
    agreement_digest,
    contract_id,
)
from tfgrid.ledger.contract.phases import PHASES_STARTED
from tfgrid.ledger.contract.state import Row, row_of

__all__ = ["at_largest", "check_version", "settled", "unsettled"]


def check_version(
    view: bcdb.View, proposal: Proposal, *, author: IdentityId, ledger: str, now_ms: int
) -> None:
    """Hold that a proposal may be stored now: a first version by `checks`, a later one by this.

    Raises:
        errors.GridError: what `check_proposal` raises; of a later version TFG-2401 (no such
            contract), TFG-2304, TFG-2385 to TFG-2389 and what its parts raise.

    """
    agreement = proposal.agreement
    if agreement.version == 1:
        check_proposal(view, proposal, author=author, ledger=ledger, now_ms=now_ms)
        return
    check_binding(proposal)
    contract = contract_id(agreement)
    row, current = row_of(view, contract, now_ms)
    if author != current.agreement.owner:
        raise errors.NotAllowed(
            "TFG-2304", "only the owner whom an agreement names may propose it", where=author
        )
    _check_time(row, agreement.version, contract)
    before = (current.agreement.version + 1, agreement_digest(current.agreement))
    if (agreement.version, agreement.parent) != before:
        raise errors.Conflict(
            "TFG-2385", f"the contract is at version {current.agreement.version}, and this is "
            f"version {agreement.version} of another one",
            where=contract, hint="plan again",
        )  # fmt: skip
    changed = _changed(current, proposal)
    nodes = admitted_nodes(view, proposal, now_ms)
    kept = {
        a.workload: a.price_per_day
        for a in current.placement.assignments
        if a.workload not in changed
    }
    check_price(proposal, nodes, kept=kept)
    funding_check(agreement.payment, tuple(nodes.values()))
    check_room(view, proposal, now_ms)


def _check_time(row: Row, version: int, contract: ContractId) -> None:
    if row.phase not in PHASES_STARTED:
        raise errors.Conflict(
            "TFG-2386", f"the contract is {row.phase}: only one that its nodes accepted, and that "
            "is not over, is updated",
            where=contract, hint=f"tfgrid contract show {contract[:10]}",
        )  # fmt: skip
    records_max = limits.bundle_entries_max // 2
    if version > limits.agreement_versions_max or len(row.leans_on) > records_max:
        raise errors.NotAllowed(
            "TFG-2389", f"a contract has at most {limits.agreement_versions_max} versions "
            f"(agreement_versions_max), and {records_max} records that prove it",
            where=contract, hint="cancel the contract and order another",
        )  # fmt: skip


def _changed(current: Proposal, proposal: Proposal) -> frozenset[str]:
    """The namespaces that an update changes, if it changes nothing else."""
    was, agreement = current.agreement, proposal.agreement
    restored = msgspec.structs.replace(
        agreement, version=was.version, parent=was.parent, contract=was.contract,
        workloads=was.workloads, price_cap_per_day=was.price_cap_per_day,
    )  # fmt: skip
    pairs = list(zip(was.workloads, agreement.workloads, strict=False))
    same_length = len(was.workloads) == len(agreement.workloads)
    odd = next((new.name for old, new in pairs if not _is_in_place(old, new)), "")
    moved = _places(current.placement) != _places(proposal.placement)
    if odd or moved or not same_length or restored != was:
        raise errors.NotAllowed(
            "TFG-2387", "an update changes disk, keys and history of zdb namespaces and the price "
            "cap, nothing else",
            where=odd or ("placement" if moved else contract_id(agreement)),
            hint="cancel the contract and order another",
        )  # fmt: skip
    changed = frozenset(new.name for old, new in pairs if old != new)
    if not changed:
        raise errors.BadInput(
            "TFG-2388", "the update changes nothing", where=contract_id(agreement)
        )
    return changed


def _is_in_place(old: Workload, new: Workload) -> bool:
    if not isinstance(old, ZdbNamespace) or not isinstance(new, ZdbNamespace):
        return old == new
    return old == msgspec.structs.replace(
        new, disk_bytes=old.disk_bytes, keys_max=old.keys_max, history=old.history
    )


def _places(placement: Placement) -> tuple[object, ...]:
    where = tuple((a.workload, a.node, a.farm) for a in placement.assignments)
    return where, placement.networks


def unsettled(row: Row, current: Proposal, proposal: Proposal) -> tuple[ZdbNamespace, ...]:
    """What an update leaves to be said by nodes: each namespace that it or one before it changed.

    Each is as large as the largest version that its node may still have.
    """
    open_ = {namespace.name: namespace for namespace in row.unsettled}
    was = {w.name: w for w in current.agreement.workloads}
    found = []
    for new in proposal.agreement.workloads:
        old = was[new.name]
        if isinstance(new, ZdbNamespace) and isinstance(old, ZdbNamespace):
            largest = _larger(_larger(new, old), open_.get(new.name, old))
            if new != old or new.name in open_:
                found.append(largest)
    return tuple(found)


def _larger(one: ZdbNamespace, other: ZdbNamespace) -> ZdbNamespace:
    return msgspec.structs.replace(
        one,
        disk_bytes=max(one.disk_bytes, other.disk_bytes),
        keys_max=max(one.keys_max, other.keys_max),
    )


def settled(row: Row, proposal: Proposal, receipt: Receipt) -> bool:
    """Whether a receipt says of an unsettled namespace that it is as agreed now."""
    agreed: Mapping[str, Workload] = {w.name: w for w in proposal.agreement.workloads}
    namespace = agreed.get(receipt.workload)
    return (
        isinstance(namespace, ZdbNamespace)
        and receipt.state == "running"
        and any(namespace.name == one.name for one in row.unsettled)
        and receipt.limits.disk_bytes == namespace.disk_bytes
        and receipt.limits.keys_max == namespace.keys_max
    )


def at_largest(row: Row, proposal: Proposal) -> Proposal:
    """A proposal with each unsettled namespace as large as it may still be: what is reserved."""
    larger = {namespace.name: namespace for namespace in row.unsettled}
    workloads = tuple(larger.get(w.name, w) for w in proposal.agreement.workloads)
    agreement = msgspec.structs.replace(proposal.agreement, workloads=workloads)
    return msgspec.structs.replace(proposal, agreement=agreement)
