"""From sizes to a later version of a contract: where it is, changed in place.

Unlike an order this needs no search, for nothing moves. What would be refused is refused here
already, with the ledger's own reasons: `check_version` is asked before a plan is returned.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tfgrid.core import errors
from tfgrid.core.ids import ContractId
from tfgrid.core.schema import Count, Name, Text, Value
from tfgrid.core.units import Money
from tfgrid.ledger import bcdb, farm
from tfgrid.ledger.contract.model import (
    Agreement,
    Assignment,
    Proposal,
    Workload,
    ZdbNamespace,
    agreement_digest,
    asked,
)
from tfgrid.ledger.contract.planner.order import Plan, PlanRow
from tfgrid.ledger.contract.state import read
from tfgrid.ledger.contract.updates import check_version
from tfgrid.ledger.contract.wording import asks_text

__all__ = ["Resize", "plan_update"]


class Resize(Value, frozen=True):
    """What a zdb namespace is to hold; what is not said stays."""

    workload: Name
    disk_bytes: Count | None = None
    keys_max: Count | None = None
    history: Text | None = None


def plan_update(
    view: bcdb.View, contract: ContractId, *resizes: Resize, now_ms: int, size: int
) -> Plan:
    """The next version of a contract, with these namespaces changed; its rows are what changes.

    The price cap is raised where the new price is above it: it is signed with the rest.

    Args:
        view: verified records.
        contract: which contract.
        resizes: what changes.
        now_ms: order time.
        size: how many records the view is made of.

    Raises:
        errors.BadInput: TFG-2354, what a namespace cannot be; TFG-2388, nothing changes.
        errors.NotFound: TFG-2401 no such contract, TFG-2353 no such workload in it.
        errors.GridError: what `check_version` raises: no room, another phase.

    """
    current = read(view, contract, now_ms).proposal
    changed = _changed(current, resizes)
    assignments = tuple(_priced(view, a, changed, now_ms) for a in current.placement.assignments)
    price = Money(amount=str(sum(int(a.price_per_day) for a in assignments)))
    was = current.agreement
    agreement = msgspec.structs.replace(
        was, version=was.version + 1, parent=agreement_digest(was), contract=contract,
        workloads=tuple(changed.get(w.name, w) for w in was.workloads),
        price_cap_per_day=max(was.price_cap_per_day, price, key=int),
    )  # fmt: skip
    placement = msgspec.structs.replace(
        current.placement, agreement=agreement_digest(_valid(agreement)), assignments=assignments,
        price_per_day=price,
    )  # fmt: skip
    proposal = Proposal(agreement=agreement, placement=placement)
    check_version(view, proposal, author=was.owner, ledger=was.ledger, now_ms=now_ms)
    before = {w.name: w for w in was.workloads}
    rows = tuple(
        _row(view, a, before[a.workload], changed[a.workload], now_ms)
        for a in assignments
        if a.workload in changed
    )
    return Plan(proposal=proposal, rows=rows, order_time=now_ms, size=size)


def _changed(current: Proposal, resizes: Sequence[Resize]) -> dict[str, ZdbNamespace]:
    """The namespaces that become others, as they will be."""
    was = {w.name: w for w in current.agreement.workloads}
    new: dict[str, ZdbNamespace] = {}
    for resize in resizes:
        workload = new.get(resize.workload) or was.get(resize.workload)
        if workload is None:
            raise errors.NotFound(
                "TFG-2353", "the contract has no workload of this name", where=resize.workload,
                hint=f"tfgrid contract show {current.agreement.name}",
            )  # fmt: skip
        new[resize.workload] = _resized(workload, resize)
    return {name: namespace for name, namespace in new.items() if namespace != was[name]}


def _resized(workload: Workload, resize: Resize) -> ZdbNamespace:
    if not isinstance(workload, ZdbNamespace):
        kind = workload.__struct_config__.tag
        raise errors.BadInput(
            "TFG-2354", f"{workload.name} is a {kind}: only zdb namespaces are changed in place",
            where=workload.name, hint="cancel the contract and order another",
        )  # fmt: skip
    said = {"disk_bytes": resize.disk_bytes, "keys_max": resize.keys_max, "history": resize.history}
    given = {name: value for name, value in said.items() if value is not None}
    return msgspec.structs.replace(workload, **given)


def _valid(agreement: Agreement) -> Agreement:
    """The agreement, if its values are of the format: sizes within limits, a known history."""
    try:
        return msgspec.convert(msgspec.to_builtins(agreement), Agreement)
    except msgspec.ValidationError as fault:
        what, _, where = str(fault).partition(" - at `$.")
        raise errors.BadInput(
            "TFG-2354", f"a namespace cannot be so: {what}", where=where.rstrip("`")
        ) from fault


def _priced(
    view: bcdb.View, assignment: Assignment, changed: dict[str, ZdbNamespace], now_ms: int
) -> Assignment:
    namespace = changed.get(assignment.workload)
    if namespace is None:
        return assignment
    prices = farm.node(view, assignment.node, now_ms).prices
    return msgspec.structs.replace(assignment, price_per_day=prices.of(asked(namespace)))


def _row(
    view: bcdb.View, assignment: Assignment, old: Workload, new: ZdbNamespace, now_ms: int
) -> PlanRow:
    node, needs = farm.node(view, assignment.node, now_ms), asked(new)
    return PlanRow(
        workload=new.name, kind="zdb", node=node.node, node_name=node.name, farm=node.farm,
        farm_name=node.farm_name, cpu_millis=0, memory_bytes=needs.memory_bytes,
        disk_bytes=new.disk_bytes, image="", addresses=(),
        price_per_day=assignment.price_per_day, reason=f"was {asks_text(old)}",
    )  # fmt: skip
