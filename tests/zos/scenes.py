"""Small worlds for the tests of a node: a proposal over two nodes, and what was observed."""

from __future__ import annotations

from collections.abc import Mapping

from tfgrid.agents.zos.core0 import items, plan
from tfgrid.core import canonical, host
from tfgrid.core.ids import ContractId, Digest, FarmId, IdentityId, LedgerId, NodeId
from tfgrid.core.units import Capacity, Money
from tfgrid.ledger import contract as contracts

__all__ = [
    "CONTRACT",
    "LEDGER",
    "MIB",
    "NODE",
    "OTHER",
    "ROOMY",
    "accepted",
    "case",
    "container",
    "contract_named",
    "endpoints",
    "items_of",
    "key",
    "known",
    "namespace",
    "observed_all",
    "proposal",
    "receipt",
]

MIB = 1024**2


def _hex(word: str) -> str:
    return canonical.digest(word.encode())


NODE = NodeId(IdentityId(_hex("node one")))
OTHER = NodeId(IdentityId(_hex("node two")))
FARM = FarmId(IdentityId(_hex("farm")))
OWNER = IdentityId(_hex("owner"))
LEDGER = LedgerId(_hex("ledger"))
IMAGE = contracts.Image(name="web", digest=Digest(_hex("image")), signer=OWNER)
CONTRACT = ContractId(_hex("contract"))
ROOMY = plan.Offer(
    capacity=Capacity(cpu_millis=4000, memory_bytes=4096 * MIB, ssd_bytes=100_000 * MIB),
    roles=("compute", "gateway"),
    gateway_domains=("grid.localhost",),
)


def contract_named(word: str) -> ContractId:
    """The id of some contract."""
    return ContractId(_hex(word))


def container(name: str = "web", **fields: object) -> contracts.Container:
    """A container of 500 thousandths, 64 MiB and 10 MiB of disk, unless said otherwise."""
    asked: dict[str, object] = {
        "cpu_millis": 500, "memory_bytes": 64 * MIB, "disk_bytes": 10 * MIB,
    }  # fmt: skip
    given = asked | fields | {"name": name, "image": IMAGE, "network": "net"}
    return contracts.Container(**given)  # type: ignore[arg-type]


def namespace(name: str = "data", **fields: object) -> contracts.ZdbNamespace:
    """A namespace of 100 MiB on an SSD for a million keys, unless said otherwise."""
    asked: dict[str, object] = {"disk_bytes": 100 * MIB}
    given = asked | fields | {"name": name, "network": "net"}
    return contracts.ZdbNamespace(**given)  # type: ignore[arg-type]


def _place(node: NodeId, index: int, members: tuple[str, ...]) -> contracts.NetworkPlace:
    return contracts.NetworkPlace(
        network="net", node=node, index=index,
        range4="10.42.0.0/16", range6="fd42::/48",
        subnet4=f"10.42.{index + 1}.0/24", subnet6=f"fd42:0:0:{index + 1}::/64",
        members=tuple(
            contracts.Member(
                workload=name, address4=f"10.42.{index + 1}.{i + 2}",
                address6=f"fd42:0:0:{index + 1}::{i + 2:x}",
            )
            for i, name in enumerate(members)
        ),
    )  # fmt: skip


def proposal(
    *mine: contracts.Inhabitant, route: bool = True, host_name: str = "shop.grid.localhost"
) -> contracts.Proposal:
    """Workloads on this node, a container `far` on the other, their network, and a route here."""
    here = mine or (container(),)
    workloads: list[contracts.Workload] = [
        contracts.Network(name="net"), *here, container("far"),
    ]  # fmt: skip
    places = [(w.name, NODE) for w in here] + [("far", OTHER)]
    if route:
        names = tuple(w.name for w in here if isinstance(w, contracts.Container))
        workloads.append(
            contracts.Route(
                name="page", host=host_name, network="net", containers=(*names, "far"), port=80
            )
        )
        places.append(("page", NODE))
    agreement = contracts.Agreement(
        ledger=LEDGER, owner=OWNER, name="shop", version=1, parent="", salt="A" * 22,
        recipe=contracts.RecipeRef(
            name="shop", version="1", digest=Digest(_hex("recipe")), author=OWNER
        ),
        workloads=tuple(workloads), policy=contracts.Policy(), access=contracts.Access(),
        payment="none", price_cap_per_day=Money(amount="0"), valid_until=2_000_000_000_000,
    )  # fmt: skip
    placement = contracts.Placement(
        agreement=canonical.digest(canonical.encode(agreement)), number=0,
        assignments=tuple(
            contracts.Assignment(workload=w, node=n, farm=FARM, price_per_day=Money(amount="0"))
            for w, n in places
        ),
        networks=(
            _place(NODE, 0, tuple(w.name for w in here)), _place(OTHER, 1, ("far",)),
        ),
        price_per_day=Money(amount="0"),
    )  # fmt: skip
    return contracts.Proposal(agreement=agreement, placement=placement)


def endpoints() -> Mapping[NodeId, tuple[contracts.Endpoint, ...]]:
    """What both nodes said when they accepted."""
    return {
        node: (
            contracts.Endpoint(network="net", public_key=letter * 43, endpoint=f"10.0.0.{n}:51820"),
        )
        for n, (node, letter) in enumerate(((NODE, "A"), (OTHER, "B")), start=1)
    }


def receipt(workload: str, state: contracts.ReceiptState) -> contracts.Receipt:
    """A receipt of this node."""
    return contracts.Receipt(contract=CONTRACT, placement=0, workload=workload, state=state)


accepted = {"": receipt("", "accepted")}


def case(stage: plan.Stage, **fields: object) -> plan.Case:
    """A case of the standard proposal; both nodes' endpoints are known."""
    given: dict[str, object] = {
        "contract": CONTRACT, "proposal": proposal(), "endpoints": endpoints(),
        "said": {} if stage == "admit" else accepted,
    }  # fmt: skip
    return plan.Case(stage=stage, **(given | fields))  # type: ignore[arg-type]


def known(*cases: plan.Case, **fields: object) -> plan.Known:
    """What this node knows: a roomy offer and an empty machine, unless said otherwise."""
    given: dict[str, object] = {"offer": ROOMY, "observed": {}}
    return plan.Known(node=NODE, cases=cases, **(given | fields))  # type: ignore[arg-type]


def observed_all(
    the_case: plan.Case, *, without: tuple[str, ...] = (), **conditions: host.Condition
) -> dict[host.ItemKey, host.Observed]:
    """A machine on which everything of a case runs, but for the workloads or kinds in `without`."""
    found = {}
    for item in items.items_for(the_case.contract, the_case.proposal, NODE, the_case.endpoints):
        workload = item.key.name.rpartition("/")[2]
        if workload in without or item.key.kind in without:
            continue
        condition = conditions.get(workload, "running")
        found[item.key] = host.Observed(key=item.key, digest=item.digest, condition=condition)
    return found


def items_of(the_case: plan.Case, kind: host.ItemKind) -> list[host.Item]:
    """The items of one kind that a case asks of this node."""
    wanted = items.items_for(the_case.contract, the_case.proposal, NODE, the_case.endpoints)
    return [item for item in wanted if item.key.kind == kind]


def key(kind: host.ItemKind, workload: str) -> host.ItemKey:
    """The key of an item of the standard contract."""
    return host.ItemKey(kind, f"{CONTRACT}/{workload}")
