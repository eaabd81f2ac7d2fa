"""What a ledger asks of a first proposal before it stores one; `updates` asks of later ones.

The order is from the outside in: the agreement by itself, its policy, its workloads, where the
placement puts them, what that costs, whether there is room. The same functions tell the planner
which node a workload may have, so that what is planned is what is accepted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from types import MappingProxyType
from typing import Final

import msgspec

from tfgrid.core import errors, ids, limits
from tfgrid.core.ids import ContractId, IdentityId, NodeId
from tfgrid.core.units import Capacity, Money, bytes_text, money_text
from tfgrid.ledger import bcdb, farm
from tfgrid.ledger.contract import addresses
from tfgrid.ledger.contract.model import (
    Agreement,
    Constraints,
    Container,
    Network,
    Proposal,
    Route,
    Workload,
    agreement_digest,
    asked,
    contract_id,
)
from tfgrid.ledger.contract.phases import PHASES_HOLDING
from tfgrid.ledger.contract.policy import check_rule
from tfgrid.ledger.contract.state import nodes_of, recipe_row, row_of
from tfgrid.ledger.farm import NodeInfo, Payment

__all__ = [
    "admitted_nodes",
    "apart_by",
    "asked_by_node",
    "check_binding",
    "check_price",
    "check_proposal",
    "check_room",
    "check_workloads",
    "funding_check",
    "gap_text",
    "hosts_of",
    "joined_networks",
    "placing_faults",
    "together",
]


_NOTHING: Final[Mapping[str, Money]] = MappingProxyType({})


def check_proposal(
    view: bcdb.View, proposal: Proposal, *, author: IdentityId, ledger: str, now_ms: int
) -> None:
    """Hold that a first proposal may be stored at this moment of order time.

    Raises:
        errors.GridError: codes TFG-2301 to TFG-2319 (agreement, policy, workloads), TFG-2360 to
            TFG-2381 (placement, price, room), TFG-2601 and TFG-2602.

    """
    agreement = proposal.agreement
    check_binding(proposal)
    _check_origin(view, agreement, author=author, ledger=ledger, now_ms=now_ms)
    _check_policy(view, agreement)
    check_workloads(agreement.workloads)
    nodes = admitted_nodes(view, proposal, now_ms)
    _check_assignments(proposal, nodes)
    addresses.check_networks(proposal, joined_networks(proposal))
    check_price(proposal, nodes)
    funding_check(agreement.payment, tuple(nodes.values()))
    check_room(view, proposal, now_ms)


def check_binding(proposal: Proposal) -> None:
    """Hold that version, parent, contract and placement belong together.

    Raises:
        errors.BadInput: TFG-2301 a first version with a past or a later one without, TFG-2303 the
            placement of another agreement.
        errors.NotAllowed: TFG-2302, a placement above 0.

    """
    agreement, placement = proposal.agreement, proposal.placement
    first = agreement.version == 1
    if first != (not agreement.parent) or first != (agreement.contract is msgspec.UNSET):
        raise errors.BadInput(
            "TFG-2301", "a first version names no contract and no parent, a later one names both",
            where=str(agreement.version), hint="plan again",
        )  # fmt: skip
    if placement.number != 0:
        raise errors.NotAllowed(
            "TFG-2302", "placements above 0 are not carried out yet", where=str(placement.number)
        )
    if placement.agreement != agreement_digest(agreement):
        raise errors.BadInput(
            "TFG-2303", "the placement was made for another agreement", where=placement.agreement
        )


def _check_origin(
    view: bcdb.View, agreement: Agreement, *, author: IdentityId, ledger: str, now_ms: int
) -> None:
    if agreement.owner != author:
        raise errors.NotAllowed(
            "TFG-2304", "only the owner whom an agreement names may propose it", where=author
        )
    contract = contract_id(agreement)
    if view.get("contract", contract) is not None:
        raise errors.Conflict("TFG-2305", "this contract is proposed already", where=contract)
    if agreement.ledger != ledger:
        raise errors.BadInput("TFG-2306", "made for another ledger", where=agreement.ledger)
    if agreement.valid_until <= now_ms:
        raise errors.BadInput(
            "TFG-2307", "the agreement's validity is over", where="valid_until",
            hint="order again",
        )  # fmt: skip
    if agreement.valid_until > now_ms + limits.contract_validity_seconds_max * 1000:
        raise errors.BadInput(
            "TFG-2308", "valid for longer than contract_validity_seconds_max", where="valid_until"
        )
    ref = agreement.recipe
    published = recipe_row(view, ref.name, ref.version)
    if published is None or (published.digest, published.recipe.author) != (ref.digest, ref.author):
        raise errors.NotFound(
            "TFG-2309", "the recipe that the agreement names is not published here",
            where=f"{ref.name}@{ref.version}", hint="tfgrid recipe publish",
        )  # fmt: skip


def _check_policy(view: bcdb.View, agreement: Agreement) -> None:
    """Hold that both rules can be met by identities that exist and share no key."""
    rules = {"deploy": agreement.policy.deploy, "delete": agreement.policy.delete}
    holders: dict[str, IdentityId] = {}
    for action, rule in rules.items():
        check_rule(rule, action=action)
        for identity in {approver.identity for approver in rule.approvers}:
            state = bcdb.identity_state(view, identity)
            if state is None:
                raise errors.BadInput(
                    "TFG-2314", f"an approver for {action} is not an identity of this ledger",
                    where=identity, hint="the approver registers its identity first",
                )  # fmt: skip
            for key in state.keys:
                if holders.setdefault(key, identity) != identity:
                    raise errors.BadInput(
                        "TFG-2315", "two approvers have the same key and would count twice",
                        where=identity,
                    )  # fmt: skip


def check_workloads(workloads: Sequence[Workload]) -> None:
    """Hold that names differ, references lead somewhere and constraints make sense.

    Raises:
        errors.BadInput: TFG-2316 to TFG-2319.

    """
    twice = [name for name, count in Counter(w.name for w in workloads).items() if count > 1]
    if twice:
        raise errors.BadInput("TFG-2317", "two workloads have this name", where=twice[0])
    networks = {w.name for w in workloads if isinstance(w, Network)}
    homes = {w.name: w.network for w in workloads if isinstance(w, Container)}
    for workload in workloads:
        if isinstance(workload, Network):
            continue
        if workload.network not in networks:
            raise errors.BadInput(
                "TFG-2318", f"{workload.name} names a network that is not there",
                where=workload.network,
            )  # fmt: skip
        if isinstance(workload, Route):
            _check_route(workload, homes)
        if (
            isinstance(workload, Container)
            and _environment_bytes(workload) > limits.environment_bytes_max
        ):
            raise errors.BadInput(
                "TFG-2319", "arguments and environment exceed environment_bytes_max",
                where=workload.name,
            )  # fmt: skip
        if workload.constraints.spread and not workload.constraints.group:
            raise errors.BadInput(
                "TFG-2316", "spread needs a group: the workloads to keep apart", where=workload.name
            )
    routes = [w.host for w in workloads if isinstance(w, Route)]
    if len(routes) > limits.routes_max or len(set(routes)) != len(routes):
        raise errors.BadInput(
            "TFG-2375", f"a host name is used twice, or there are more than {limits.routes_max} "
            "routes (routes_max)", where="routes",
        )  # fmt: skip


def _check_route(route: Route, homes: Mapping[str, str]) -> None:
    if len(set(route.containers)) != len(route.containers):
        raise errors.BadInput(
            "TFG-2318", f"route {route.name} lists a container twice", where=route.name
        )
    for name in route.containers:
        if homes.get(name) != route.network:
            raise errors.BadInput(
                "TFG-2318", f"route {route.name} leads to no container of network {route.network}",
                where=name,
            )  # fmt: skip


def _environment_bytes(container: Container) -> int:
    pairs = (len(k.encode()) + len(v.encode()) + 2 for k, v in container.environment.items())
    return sum(pairs) + sum(len(a.encode()) + 1 for a in container.arguments)


def admitted_nodes(view: bcdb.View, proposal: Proposal, now_ms: int) -> dict[NodeId, NodeInfo]:
    """The nodes of the placement, each known and admitted.

    Raises:
        errors.BadInput: TFG-2372, too many.
        errors.NotFound: TFG-2602.
        errors.NotAllowed: TFG-2361.

    """
    names = nodes_of(proposal.placement)
    if len(names) > limits.nodes_per_contract_max:
        raise errors.BadInput(
            "TFG-2372", f"a contract may use {limits.nodes_per_contract_max} nodes "
            "(nodes_per_contract_max)", where=str(len(names)),
        )  # fmt: skip
    found = {name: farm.node(view, name, now_ms) for name in names}
    for name, node in found.items():
        if not node.admitted:
            raise errors.NotAllowed(
                "TFG-2361", "the node is not admitted to its farm", where=name,
                hint="plan again",
            )  # fmt: skip
    return found


def _check_assignments(proposal: Proposal, nodes: Mapping[NodeId, NodeInfo]) -> None:
    agreement = proposal.agreement
    by_name = {w.name: w for w in agreement.workloads if not isinstance(w, Network)}
    placed = Counter(a.workload for a in proposal.placement.assignments)
    if placed != Counter(by_name.keys()):
        odd = sorted((placed - Counter(by_name.keys())) | (Counter(by_name.keys()) - placed))
        raise errors.BadInput(
            "TFG-2360", "each workload but networks is assigned exactly once", where=", ".join(odd)
        )
    chosen: dict[str, NodeInfo] = {}
    for assignment in proposal.placement.assignments:
        workload, node = by_name[assignment.workload], nodes[assignment.node]
        if assignment.farm != node.farm:
            raise errors.BadInput(
                "TFG-2362", "the node is not of the farm that the assignment names",
                where=assignment.workload,
            )  # fmt: skip
        faults = placing_faults(workload, node)
        if faults:
            raise errors.NotAllowed(
                "TFG-2364",
                f"{workload.name} may not be placed on {node.name}: {'; '.join(faults)}",
                where=assignment.workload,
            )  # fmt: skip
        chosen[workload.name] = node
    for one, other in combinations(by_name.values(), 2):
        why = together(one.constraints, other.constraints, chosen[one.name], chosen[other.name])
        if why:
            raise errors.NotAllowed(
                "TFG-2365", f"{one.name} and {other.name} share a {why} (spread={why})",
                where=other.name,
            )  # fmt: skip


def placing_faults(workload: Workload, node: NodeInfo) -> tuple[str, ...]:
    """Why a workload may not be on a node, whatever room there is; empty if it may."""
    return tuple(_placing_faults(workload, node))


def _placing_faults(workload: Workload, node: NodeInfo) -> Iterable[str]:
    if not node.admitted:
        yield "not admitted to its farm"
    if not node.country:
        yield f"farm {node.farm_name} has no offer"
    if isinstance(workload, Network):
        return
    role = "gateway" if isinstance(workload, Route) else "compute"
    if role not in node.roles:
        yield f"not a {role} node"
    elif isinstance(workload, Route) and not _in_domain(workload.host, node.domains):
        yield f"{workload.host} is in none of its domains ({', '.join(node.domains)})"
    asks = workload.constraints
    if asks.farms and node.farm not in asks.farms:
        yield f"farm {node.farm_name} is not among those asked for"
    if asks.countries and node.country not in asks.countries:
        yield f"country {node.country} is not among {', '.join(asks.countries)}"
    if asks.nodes and node.node not in asks.nodes:
        yield "not among the nodes asked for"
    if asks.trust and node.trust not in asks.trust:
        yield f"trust class {node.trust} is not among {', '.join(asks.trust)}"


def _in_domain(host: str, domains: Iterable[str]) -> bool:
    return any(host.endswith(f".{domain}") for domain in domains)


_WIDTHS: Final = {"": 0, "node": 1, "farm": 2, "country": 3}


def apart_by(one: Constraints, other: Constraints) -> str:
    """By what two workloads are kept apart: as far as both ask, if they share a group; or empty."""
    if not one.group or one.group != other.group:
        return ""
    return min(one.spread, other.spread, key=_WIDTHS.__getitem__)


def together(one: Constraints, other: Constraints, first: NodeInfo, second: NodeInfo) -> str:
    """What two workloads share against their spread: node, farm or country; or empty."""
    apart = apart_by(one, other)
    if apart and getattr(first, apart) == getattr(second, apart):
        return apart
    return ""


def joined_networks(proposal: Proposal) -> dict[tuple[str, NodeId], list[str]]:
    """For each network and node that must meet, the workloads that are its members there."""
    workloads = {w.name: w for w in proposal.agreement.workloads}
    joined: dict[tuple[str, NodeId], list[str]] = {}
    for assignment in proposal.placement.assignments:
        workload = workloads[assignment.workload]
        assert not isinstance(workload, Network)
        members = joined.setdefault((workload.network, assignment.node), [])
        if not isinstance(workload, Route):
            members.append(workload.name)
    return joined


def check_price(
    proposal: Proposal, nodes: Mapping[NodeId, NodeInfo], *, kept: Mapping[str, Money] = _NOTHING
) -> None:
    """Hold that each workload costs what its farm offers, and all together no more than the cap.

    Args:
        proposal: what is to be stored.
        nodes: the nodes of its placement.
        kept: prices that were agreed before and stay, by workload.

    Raises:
        errors.Conflict: TFG-2369, another price.
        errors.BadInput: TFG-2370, a wrong sum.
        errors.NotAllowed: TFG-2371, above the cap.

    """
    workloads = {w.name: w for w in proposal.agreement.workloads}
    placement = proposal.placement
    for assignment in placement.assignments:
        offered = kept.get(assignment.workload) or nodes[assignment.node].prices.of(
            asked(workloads[assignment.workload])
        )
        if assignment.price_per_day != offered:
            raise errors.Conflict(
                "TFG-2369", f"{assignment.workload} costs {money_text(offered)} a day by the "
                f"farm's offer, not {money_text(assignment.price_per_day)}",
                where=assignment.workload, hint="plan again",
            )  # fmt: skip
    total = sum(int(assignment.price_per_day) for assignment in placement.assignments)
    if int(placement.price_per_day) != total:
        raise errors.BadInput(
            "TFG-2370", "the placement's price is not the sum of its assignments",
            where=placement.price_per_day.amount,
        )  # fmt: skip
    cap = proposal.agreement.price_cap_per_day
    if total > int(cap):
        raise errors.NotAllowed(
            "TFG-2371", f"{money_text(placement.price_per_day)} a day is above the cap of "
            f"{money_text(cap)}", where="price_cap_per_day",
        )  # fmt: skip


def funding_check(payment: Payment, nodes: Sequence[NodeInfo]) -> None:
    """Hold that every farm offers the payment method and that it is carried out.

    Raises:
        errors.NotAllowed: TFG-2380 a farm does not offer it, TFG-2381 it is not carried out yet.

    """
    for node in nodes:
        if payment not in node.payments:
            raise errors.NotAllowed(
                "TFG-2380", f"farm {node.farm_name} does not offer payment {payment}",
                where=node.farm, hint=f"it offers: {', '.join(node.payments) or 'nothing'}",
            )  # fmt: skip
    if payment != "none":
        raise errors.NotAllowed(
            "TFG-2381", f"payment {payment} is not carried out yet", where=payment
        )


def asked_by_node(proposal: Proposal) -> dict[NodeId, Capacity]:
    """What the placement asks of each node; a node that only joins a network gives nothing."""
    workloads = {w.name: w for w in proposal.agreement.workloads}
    needs: dict[NodeId, Capacity] = {}
    for assignment in proposal.placement.assignments:
        before = needs.get(assignment.node, Capacity())
        needs[assignment.node] = before.plus(asked(workloads[assignment.workload]))
    return needs


def hosts_of(proposal: Proposal) -> tuple[str, ...]:
    """The host names of the contract's routes."""
    return tuple(w.host for w in proposal.agreement.workloads if isinstance(w, Route))


def check_room(view: bcdb.View, proposal: Proposal, now_ms: int) -> None:
    """Hold that there is room for a placement now: capacity and host names are free.

    What the contract itself holds by a version before is free to it.

    Raises:
        errors.Conflict: TFG-2374 a host name is held, TFG-2376 a node has less than is asked.

    """
    contract = contract_id(proposal.agreement)
    for node_id, needs in asked_by_node(proposal).items():
        node = farm.node(view, node_id, now_ms, without=contract)
        gaps = node.free.lacks(needs)
        if gaps:
            raise errors.Conflict(
                "TFG-2376", f"node {node.name} has less free than is asked: "
                + "; ".join(gap_text(field, needs, node) for field in gaps),
                where=node_id, hint="plan again",
            )  # fmt: skip
    for host in hosts_of(proposal):
        holder = view.get("contract-host", host)
        if holder in {None, contract.encode()}:
            continue
        if holder and _holds(view, ContractId(holder.decode()), now_ms):
            raise errors.Conflict(
                "TFG-2374", f"{host} is held by another contract",
                where=ids.short(holder.decode()), hint="choose another host name",
            )  # fmt: skip


def _holds(view: bcdb.View, contract: ContractId, now_ms: int) -> bool:
    row, proposal = row_of(view, contract, now_ms)
    return row.phase in PHASES_HOLDING and now_ms <= proposal.agreement.valid_until


_LABELS: Final = {
    "cpu_millis": "cpu",
    "memory_bytes": "memory",
    "ssd_bytes": "disk",
    "hdd_bytes": "hdd",
}


def gap_text(field: str, needs: Capacity, node: NodeInfo) -> str:
    """One dimension that does not fit, for people: `memory: 2 GiB asked, 1.1 GiB free`."""
    wants, free = getattr(needs, field), getattr(node.free, field)
    if field == "cpu_millis":
        return f"cpu: {wants / 1000:g} asked, {free / 1000:g} free"
    return f"{_LABELS[field]}: {bytes_text(wants)} asked, {bytes_text(free)} free"
