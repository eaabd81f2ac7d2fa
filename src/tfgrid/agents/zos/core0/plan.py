"""What a node should do next: a pure function of verified records and of what was observed.

    Known (cases, observed items, offer, said) --plan()--> Plan (steps, why each item is as it is)

A **case** is one contract as this node sees it, reduced to a stage by `view.cases`:

    admit --accept--> hold --all accepted--> run --over by records or both clocks--> remove
      `-----refuse--> none                    `---over by one clock---> keep

Invariants, each with its test:
  - an `Ensure` of a network, zdb namespace, container or route exists only for a case in stage run;
  - a zdb namespace is removed only for a case in stage remove, and never to be made anew: another
    specification changes it in place;
  - while a namespace is changed nothing is said of it, but that the change fails, once; when it is
    as agreed that is said, once, if the ledger waits for it;
  - nothing is accepted, started or said by a node that halted or has not read to the head;
  - nothing is accepted by a node whose head is stale;
  - a refusal carries every reason, not the first;
  - a step exists only when what it needs is there, so that steps of one plan may run side by side;
  - the plan for a machine that is as it should be has no steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from tfgrid.agents.zos.core0 import items as itemsof
from tfgrid.core.host import Item, ItemKey, ItemKind, Observed
from tfgrid.core.ids import ContractId, NodeId
from tfgrid.core.units import Capacity
from tfgrid.ledger import contract as contracts

__all__ = [
    "Accept",
    "Case",
    "Ensure",
    "Known",
    "Note",
    "Offer",
    "Plan",
    "Refuse",
    "Remove",
    "Say",
    "Stage",
    "Step",
    "plan",
]

Stage: TypeAlias = Literal["none", "admit", "hold", "run", "keep", "remove"]
"""none: nothing to do with it; admit: asked, not answered; hold: accepted, others have not all;
run: every node accepted and it is in force; keep: over by one clock only, so nothing is started and
nothing ended; remove: over for any reason, everything made for it goes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One contract as this node sees it.

    `owes_end` says that the ledger waits for this node to say that it removed all. `said` is the
    latest receipt of this node for each workload ("" for its part as a whole), those still in the
    outbox included. `unsettled` are its namespaces that an update changed, and of which the ledger
    waits to hear, as nothing in the outbox will tell it, that they are as agreed. `endpoints` are
    of every node that accepted. `why` explains the stage to people.
    """

    contract: ContractId
    proposal: contracts.Proposal
    stage: Stage
    why: str = ""
    owes_end: bool = False
    said: Mapping[str, contracts.Receipt] = field(default_factory=dict)
    unsettled: frozenset[str] = frozenset()
    endpoints: Mapping[NodeId, tuple[contracts.Endpoint, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What this node offers: capacity after the reserve, roles, names, what it lacks."""

    capacity: Capacity
    roles: tuple[str, ...] = ("compute",)
    gateway_domains: tuple[str, ...] = ()
    trust_class: str = "hosted"
    lacks: Mapping[ItemKind, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Everything a plan may depend on. `cases` are in the order of the log.

    `troubles` says of items whose steps failed more than once why, by `item KIND NAME`.
    """

    node: NodeId
    offer: Offer
    cases: tuple[Case, ...]
    observed: Mapping[ItemKey, Observed]
    troubles: Mapping[str, str] = field(default_factory=dict)
    caught_up: bool = True
    fresh: bool = True
    halted: bool = False


@dataclass(frozen=True, slots=True)
class Accept:
    """Prepare the networks, then say accepted with their endpoints."""

    contract: ContractId
    networks: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Refuse:
    """Say refused, with every reason."""

    contract: ContractId
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ensure:
    """Make an item exist."""

    item: Item


@dataclass(frozen=True, slots=True)
class Remove:
    """Make an item not exist."""

    key: ItemKey


@dataclass(frozen=True, slots=True)
class Say:
    """Write a receipt about a workload; `workload` is empty for the node's part as a whole."""

    contract: ContractId
    workload: str
    state: contracts.ReceiptState
    observed: Observed | None = None
    image: str = ""
    reasons: tuple[str, ...] = ()


Step: TypeAlias = Accept | Refuse | Ensure | Remove | Say


@dataclass(frozen=True, slots=True)
class Note:
    """Why an item is as it is: running, or waiting for something named."""

    key: ItemKey
    contract: ContractId
    condition: Literal["waiting", "prepared", "running", "ended", "broken"]
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The next steps in the order of the log; what is reserved; a note for each item."""

    steps: tuple[Step, ...] = ()
    reserved: Capacity = field(default_factory=Capacity)
    notes: tuple[Note, ...] = ()
    images: frozenset[str] = frozenset()


_holding = frozenset({"hold", "run", "keep"})


def plan(known: Known) -> Plan:
    """The next steps of one node. Pure."""
    wanted = {
        case.contract: itemsof.items_for(case.contract, case.proposal, known.node, case.endpoints)
        for case in known.cases
        if case.stage in _holding
    }
    reserved = _reserved(known)
    images = frozenset(i.key.name for w in wanted.values() for i in w if i.key.kind == "image")
    notes = tuple(n for c in known.cases for n in _notes(c, wanted.get(c.contract, ()), known))
    if known.halted or not known.caught_up:
        return Plan(reserved=reserved, notes=notes, images=images)
    steps = [
        *_removals(known, wanted, images),
        *_admissions(known, reserved),
        *(s for c in known.cases for s in _works(c, wanted.get(c.contract, ()), known)),
    ]
    return Plan(steps=tuple(steps), reserved=reserved, notes=notes, images=images)


# Admission


def _reserved(known: Known) -> Capacity:
    """What accepted contracts hold, until this node has said that it removed all of them."""
    total = Capacity()
    for case in known.cases:
        if case.stage in _holding or (case.stage == "remove" and _exists(case, known)):
            total = total.plus(itemsof.demand(case.proposal, known.node))
    return total


def _exists(case: Case, known: Known) -> bool:
    return any(itemsof.contract_of(key) == case.contract for key in known.observed)


def _admissions(known: Known, reserved: Capacity) -> Iterator[Step]:
    for case in known.cases:
        if case.stage != "admit" or not known.fresh:
            continue
        left = known.offer.capacity.minus(reserved)
        reasons = _objections(case.proposal, known, left)
        if reasons:
            yield Refuse(case.contract, reasons)
            continue
        reserved = reserved.plus(itemsof.demand(case.proposal, known.node))
        networks = itemsof.networks_for(case.contract, case.proposal, known.node)
        yield Accept(case.contract, networks)


def _objections(proposal: contracts.Proposal, known: Known, left: Capacity) -> tuple[str, ...]:
    """Every reason why this node cannot take its part."""
    asked = itemsof.demand(proposal, known.node)
    reasons = [
        f"{dimension}: {getattr(asked, dimension)} asked, {getattr(left, dimension)} free"
        for dimension in left.lacks(asked)
    ]
    mine = {a.workload for a in proposal.placement.assignments if a.node == known.node}
    here = {p.network for p in proposal.placement.networks if p.node == known.node}
    kinds: set[ItemKind] = {"network"} if here else set()
    for workload in proposal.agreement.workloads:
        if workload.name in mine:
            reasons += _workload_objections(workload, here, known.offer)
            if isinstance(workload, contracts.Container):
                kinds |= {"image", "container"}
            elif isinstance(workload, contracts.Route):
                kinds.add("route")
            elif isinstance(workload, contracts.ZdbNamespace):
                kinds.add("zdb")
    reasons += [
        f"this machine lacks {known.offer.lacks[k]}" for k in sorted(kinds & set(known.offer.lacks))
    ]
    return tuple(reasons)


def _workload_objections(
    workload: contracts.Workload, here: set[str], offer: Offer
) -> Iterator[str]:
    if isinstance(workload, contracts.Network):
        return
    trust = workload.constraints.trust
    if trust and offer.trust_class not in trust:
        wanted = " or ".join(trust)
        yield f"{workload.name}: demands a {wanted} node, this one is {offer.trust_class}"
    if workload.network not in here:
        yield f"{workload.name}: its network {workload.network} has no place on this node"
    if isinstance(workload, contracts.Container) and "compute" not in offer.roles:
        yield f"{workload.name}: this node runs no containers"
    if isinstance(workload, contracts.ZdbNamespace) and "compute" not in offer.roles:
        yield f"{workload.name}: this node holds no namespaces"
    if isinstance(workload, contracts.Route):
        if "gateway" not in offer.roles:
            yield f"{workload.name}: this node is no gateway"
        elif not any(workload.host.endswith(f".{d}") for d in offer.gateway_domains):
            yield f"{workload.name}: {workload.host} is under none of this gateway's domains"


# Removal


def _removals(
    known: Known, wanted: Mapping[ContractId, Iterable[Item]], images: frozenset[str]
) -> Iterator[Step]:
    """What no record asks for: of contracts that are over, and of those that never were.

    A contract goes backwards, routes first; images go when nothing else is going that might still
    use them. A namespace holds what cannot be made again, so it goes only if the ledger says of its
    own contract that it is over.
    """
    keep = {i.key for c in known.cases if c.stage in {"run", "keep"} for i in wanted[c.contract]}
    # A network is prepared before the receipt that names its key is kept, so admission counts too.
    held = {c.contract for c in known.cases if c.stage in {"admit", "hold"}}
    over = {c.contract for c in known.cases if c.stage == "remove"}
    going: dict[ContractId | None, list[ItemKey]] = {}
    for key in sorted(known.observed, key=lambda k: (_backwards[k.kind], k.name)):
        contract = itemsof.contract_of(key)
        prepared = contract in held and key.kind == "network"
        precious = key.kind == "zdb" and contract not in over
        if key.kind != "image" and key not in keep and not prepared and not precious:
            going.setdefault(contract, []).append(key)
    for keys in going.values():
        first = keys[0].kind
        yield from (Remove(key) for key in keys if key.kind == first)
    if not going:
        unused = (k for k in known.observed if k.kind == "image" and k.name not in images)
        yield from map(Remove, sorted(unused))


_backwards: Mapping[ItemKind, int] = {
    "route": 0, "container": 1, "zdb": 2, "network": 3, "image": 4,
}  # fmt: skip


# Running


def _works(case: Case, wanted: tuple[Item, ...], known: Known) -> Iterator[Step]:
    """Steps for one case in stage hold, run or remove."""
    observed = known.observed
    if case.stage == "hold":
        yield from (Ensure(i) for i in wanted if i.key.kind == "image" and _absent(i, observed))
    elif case.stage == "run":
        for item in wanted:
            yield from _run_item(case, item, wanted, known)
    elif case.stage == "remove" and case.owes_end and not _exists(case, known):
        yield Say(case.contract, "", "ended", reasons=(case.why,) if case.why else ())


def _absent(item: Item, observed: Mapping[ItemKey, Observed]) -> bool:
    there = observed.get(item.key)
    return there is None or there.digest != item.digest or there.condition != "running"


def _run_item(case: Case, item: Item, wanted: tuple[Item, ...], known: Known) -> Iterator[Step]:
    there = known.observed.get(item.key)
    another = there is not None and there.digest != item.digest
    if there and another and there.condition != "prepared" and item.key.kind != "zdb":
        yield Remove(item.key)
        return
    trouble = _trouble(item, wanted, known)
    if there and another and item.key.kind == "zdb":
        yield from _tell_changing(case, item, there, trouble)
    else:
        yield from _tell(case, item, there, trouble)
    running = there is not None and there.condition == "running"
    if (another or not running) and not _waits_for(item, wanted, known.observed):
        yield Ensure(item)


def _tell(case: Case, item: Item, there: Observed | None, trouble: str) -> Iterator[Step]:
    """What the ledger should know of a workload: each turn once."""
    if item.key.kind not in {"zdb", "container", "route"}:
        return
    workload, said = _said(case, item)
    settles = there is not None and workload in case.unsettled and _as_agreed(item, there)
    if there and there.condition == "running" and (said != "running" or settles):
        yield Say(case.contract, workload, "running", there, image=_image_of(item))
    elif there and there.condition == "ended" and said == "running":
        code = there.facts.get("exit_code", "unknown")
        reasons = (f"it exited with code {code}",)
        yield Say(case.contract, workload, "failed", there, _image_of(item), reasons)
    elif there and there.condition == "broken" and item.key.kind == "zdb" and said == "running":
        reasons = (str(there.facts.get("reason", "it is not served")),)
        yield Say(case.contract, workload, "failed", reasons=reasons)
    elif trouble and said != "failed" and not (there and there.condition == "running"):
        yield Say(case.contract, workload, "failed", reasons=(trouble,))


def _tell_changing(case: Case, item: Item, there: Observed, trouble: str) -> Iterator[Step]:
    """What the ledger should know of a namespace that is not yet as agreed: that it will not be.

    It may run on as it was, so the limits that are set are told with the reason.
    """
    workload, said = _said(case, item)
    if trouble and said != "failed":
        yield Say(case.contract, workload, "failed", there, reasons=(trouble,))


def _said(case: Case, item: Item) -> tuple[str, str]:
    """An item's workload, and the last word on it, if there was any."""
    workload = item.key.name.partition("/")[2]
    return workload, case.said[workload].state if workload in case.said else ""


def _as_agreed(item: Item, there: Observed) -> bool:
    """Whether a namespace's limits, as read back, are those of its specification.

    Only with these a receipt settles an update; another would be said again and again.
    """
    agreed = itemsof.spec_of(item, itemsof.ZdbSpec).workload
    limits_set = (there.facts.get("disk_bytes"), there.facts.get("keys_max"))
    return limits_set == (agreed.disk_bytes, agreed.keys_max)


def _trouble(item: Item, wanted: tuple[Item, ...], known: Known) -> str:
    """Why an item, or what it needs, failed more than once."""
    keys = (item.key, *_waits_for(item, wanted, known.observed))
    reasons = (known.troubles.get(f"item {key.kind} {key.name}", "") for key in keys)
    return next(filter(None, reasons), "")


def _image_of(item: Item) -> str:
    if item.key.kind != "container":
        return ""
    return itemsof.spec_of(item, itemsof.ContainerSpec).workload.image.digest


def _waits_for(
    item: Item, wanted: tuple[Item, ...], observed: Mapping[ItemKey, Observed]
) -> tuple[ItemKey, ...]:
    """What an item needs that is not there yet: its image and its network."""
    if item.key.kind == "container":
        container = itemsof.spec_of(item, itemsof.ContainerSpec)
        image = itemsof.image_item(container.workload.image)
        needs = {image.key.name, f"{container.contract}/{container.place.network}"}
    elif item.key.kind == "zdb":
        namespace = itemsof.spec_of(item, itemsof.ZdbSpec)
        needs = {f"{namespace.contract}/{namespace.place.network}"}
    elif item.key.kind == "route":
        route = itemsof.spec_of(item, itemsof.RouteSpec)
        needs = {f"{route.contract}/{route.place.network}"}
    else:
        return ()
    return tuple(
        i.key
        for i in wanted
        if i.key.kind in {"image", "network"} and i.key.name in needs and _absent(i, observed)
    )


def _notes(case: Case, wanted: tuple[Item, ...], known: Known) -> Iterator[Note]:
    for item in wanted:
        if item.key.kind == "image":
            continue
        there = known.observed.get(item.key)
        if there and there.digest == item.digest:
            reason = str(there.facts.get("reason", "")) if there.condition == "broken" else ""
            yield Note(item.key, case.contract, there.condition, reason)
            continue
        if there and item.key.kind == "zdb":
            yield Note(item.key, case.contract, there.condition, "is not yet as agreed last")
            continue
        missing = _waits_for(item, wanted, known.observed)
        reason = f"needs {', '.join(f'{k.kind} {k.name[:10]}' for k in missing)}" if missing else ""
        if case.stage == "hold":
            reason = "waits until every node has accepted"
        yield Note(item.key, case.contract, "waiting", reason)
