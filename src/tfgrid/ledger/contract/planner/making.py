"""From order to plan, and whether a plan still holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network

from tfgrid.core import errors
from tfgrid.core.ids import NodeId
from tfgrid.core.units import Money, money_text
from tfgrid.ledger import bcdb
from tfgrid.ledger.contract import addresses
from tfgrid.ledger.contract.checks import (
    check_workloads,
    funding_check,
    joined_networks,
)
from tfgrid.ledger.contract.model import (
    Agreement,
    Approver,
    Assignment,
    Container,
    Image,
    Network,
    NetworkPlace,
    Placement,
    Policy,
    Proposal,
    Rule,
    Workload,
    agreement_digest,
    asked,
)
from tfgrid.ledger.contract.planner.changes import find_changes
from tfgrid.ledger.contract.planner.fewer import fewer
from tfgrid.ledger.contract.planner.order import Order, Plan, PlanRow
from tfgrid.ledger.contract.planner.search import Found, Refused, search
from tfgrid.ledger.contract.policy import check_rule
from tfgrid.ledger.contract.recipe import Recipe, RuleTemplate, recipe_ref, render
from tfgrid.ledger.contract.updates import check_version
from tfgrid.ledger.farm import Inventory, NodeInfo

__all__ = ["check_plan", "plan"]


def plan(order: Order, recipe: Recipe, images: Mapping[str, Image], inventory: Inventory) -> Plan:
    """Plan an order; the same arguments give the same bytes.

    Raises:
        errors.NoFit: TFG-2350. In the details, `reasons` maps each refused node's id to its
            reasons, `names` the ids to names, `grid` what no node could mend, and `changes` lists
            what would fit, the smallest first, as documents of `Change`.
        errors.BadInput: what `render` and `check_rule` raise; TFG-2351, a role has no approver.
        errors.NotAllowed: TFG-2381, a payment that is not carried out yet.

    """
    workloads = render(recipe, order.parameters, images)
    check_workloads(workloads)
    funding_check(order.payment, ())
    policy = order.policy or Policy(
        deploy=_rule(recipe.deploy, order), delete=_rule(recipe.delete, order)
    )
    check_rule(policy.deploy, action="deploy")
    check_rule(policy.delete, action="delete")
    cap = order.price_cap_per_day
    found = search(
        workloads, inventory.nodes, payment=order.payment, cap=None if cap is None else int(cap)
    )
    if isinstance(found, Refused):
        raise _no_fit(found, order, recipe, workloads, images, inventory)
    proposal = _proposal(order, recipe, workloads, policy, found, inventory)
    rows = _rows(proposal, found)
    return Plan(proposal=proposal, rows=rows, order_time=inventory.order_time, size=inventory.size)


def _rule(template: RuleTemplate, order: Order) -> Rule:
    """A rule of the recipe with the order's stakeholders in its roles."""
    approvers: list[Approver] = []
    for role in template.roles:
        people = order.approvers.get(role.role, ())
        if not people:
            raise errors.BadInput(
                "TFG-2351", f"nobody is named for the role {role.role}", where=role.role,
                hint=f"name an identity for {role.role} in the order",
            )  # fmt: skip
        approvers.extend(Approver(identity=p, role=role.role, weight=role.weight) for p in people)
    return Rule(
        approvers=tuple(approvers), weight=template.weight, expires_seconds=template.expires_seconds
    )


def _no_fit(
    refused: Refused,
    order: Order,
    recipe: Recipe,
    workloads: Sequence[Workload],
    images: Mapping[str, Image],
    inventory: Inventory,
) -> errors.NoFit:
    changes = find_changes(order, recipe, workloads, inventory)
    proposed = changes[0].text if changes else fewer(order, recipe, images, inventory)
    gave_up = "" if refused.complete else "; the search gave up, a place may still exist"
    return errors.NoFit(
        "TFG-2350", f"no node fits {refused.workload}{gave_up}", where=order.name,
        hint=proposed or "ask for less, or add nodes",
        reasons={node: list(reasons) for node, reasons in refused.reasons.items()},
        names={node.node: node.name for node in inventory.nodes if node.node in refused.reasons},
        grid=list(refused.grid), changes=list(changes),
    )  # fmt: skip


def _proposal(
    order: Order,
    recipe: Recipe,
    workloads: tuple[Workload, ...],
    policy: Policy,
    found: Found,
    inventory: Inventory,
) -> Proposal:
    assignments = tuple(
        Assignment(
            workload=w.name, node=found.nodes[w.name].node, farm=found.nodes[w.name].farm,
            price_per_day=found.nodes[w.name].prices.of(asked(w)),
        )
        for w in workloads if not isinstance(w, Network)
    )  # fmt: skip
    price = Money(amount=str(sum(int(a.price_per_day) for a in assignments)))
    agreement = Agreement(
        ledger=order.ledger, owner=order.owner, name=order.name, version=1, parent="",
        salt=order.salt, recipe=recipe_ref(recipe), workloads=workloads, policy=policy,
        access=order.access or recipe.access, payment=order.payment,
        price_cap_per_day=order.price_cap_per_day or price,
        valid_until=inventory.order_time + order.valid_seconds * 1000,
    )  # fmt: skip
    placement = Placement(
        agreement=agreement_digest(agreement), number=0,
        assignments=assignments, networks=(), price_per_day=price,
    )  # fmt: skip
    bare = Proposal(agreement=agreement, placement=placement)
    networks = _networks(bare, {info.node: info for info in found.nodes.values()})
    return Proposal(
        agreement=agreement,
        placement=Placement(
            agreement=placement.agreement, number=0,
            assignments=assignments, networks=networks, price_per_day=price,
        ),
    )  # fmt: skip


def _networks(proposal: Proposal, nodes: Mapping[NodeId, NodeInfo]) -> tuple[NetworkPlace, ...]:
    """Each node's part of each network, numbered by node name."""
    joined = joined_networks(proposal)
    parts: list[NetworkPlace] = []
    taken: list[IPv4Network] = []
    for network in [w.name for w in proposal.agreement.workloads if isinstance(w, Network)]:
        here = sorted(
            (node for name, node in joined if name == network),
            key=lambda node: (nodes[node].name, node),
        )
        within = addresses.ranges(proposal.agreement.salt, network, taken)
        taken.append(within[0])
        parts.extend(
            addresses.place(network, node, index, joined[network, node], within)
            for index, node in enumerate(here)
        )
    return tuple(parts)


def _rows(proposal: Proposal, found: Found) -> tuple[PlanRow, ...]:
    workloads = {w.name: w for w in proposal.agreement.workloads}
    homes = {
        member.workload: (member.address4, member.address6)
        for part in proposal.placement.networks
        for member in part.members
    }
    rows = []
    for assignment in proposal.placement.assignments:
        workload, node = workloads[assignment.workload], found.nodes[assignment.workload]
        needs = asked(workload)
        rows.append(
            PlanRow(
                workload=workload.name, kind=str(workload.__struct_config__.tag),
                node=node.node, node_name=node.name, farm=node.farm, farm_name=node.farm_name,
                cpu_millis=needs.cpu_millis, memory_bytes=needs.memory_bytes,
                disk_bytes=needs.ssd_bytes + needs.hdd_bytes,
                image=workload.image.digest if isinstance(workload, Container) else "",
                addresses=homes.get(workload.name, ()), price_per_day=assignment.price_per_day,
                reason=_reason(found, workload.name),
            )
        )  # fmt: skip
    return tuple(rows)


def _reason(found: Found, workload: str) -> str:
    count = found.fitting[workload]
    chosen = "the only one that fits" if count == 1 else f"cheapest of {count} that fit"
    return "; ".join((chosen, *found.skipped[workload]))


def check_plan(plan: Plan, view: bcdb.View, now_ms: int) -> None:
    """Hold that a plan can be registered now, exactly as it is.

    Raises:
        errors.Conflict: TFG-2352, the world moved since it was made; the cause says how.

    """
    agreement = plan.proposal.agreement
    try:
        check_version(
            view, plan.proposal, author=agreement.owner, ledger=agreement.ledger, now_ms=now_ms
        )
    except errors.GridError as fault:
        price = money_text(plan.proposal.placement.price_per_day)
        raise errors.Conflict(
            "TFG-2352", f"the plan was made at record {plan.size} and holds no more: {fault.what}",
            where=agreement.name, hint=fault.hint or "plan again", cause=fault.code,
            price_per_day=price,
        ) from fault  # fmt: skip
