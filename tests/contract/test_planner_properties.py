"""The planner against brute force: on small grids it finds a place whenever there is one."""

from __future__ import annotations

from itertools import combinations, product

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contract.stage import changed, image
from tfgrid.core.ids import Digest, FarmId, IdentityId, LedgerId, NodeId
from tfgrid.core.units import Capacity, Money
from tfgrid.ledger import contract, farm
from tfgrid.ledger.contract.checks import placing_faults, together
from tfgrid.ledger.contract.planner import Found, Refused, search
from tfgrid.ledger.contract.planner.changes import apply_change, find_changes

MIB = 1024**2
TEXT = """
name: any
version: 1.0.0
workloads:
  net: {type: network}
"""


def _id(kind: str, number: int) -> IdentityId:
    return IdentityId(f"{kind}{number:x}".rjust(64, "0"))


@st.composite
def small_nodes(draw: st.DrawFn) -> tuple[farm.NodeInfo, ...]:
    """Up to four nodes of up to three farms, some full, some not admitted, some gateways."""
    nodes = []
    for number in range(draw(st.integers(1, 4))):
        home = draw(st.integers(0, 2))
        gateway = draw(st.booleans())
        nodes.append(
            farm.NodeInfo(
                node=NodeId(_id("a", number)), name=f"n{number}",
                farm=FarmId(_id("f", home)), farm_name=f"f{home}", country="BE" if home else "DE",
                prices=farm.Prices(cru=1000 * (home + 1), mru=1000),
                payments=("none",) if draw(st.integers(0, 5)) else ("tft",),
                trust=draw(st.sampled_from(["hosted", "booted"])),
                roles=("compute", "gateway") if gateway else ("compute",),
                endpoint="10.0.0.1", domains=("grid.localhost",) if gateway else (),
                registration=Digest(_id("e", number)), admitted=bool(draw(st.integers(0, 7))),
                total=Capacity(
                    cpu_millis=100 * draw(st.integers(0, 6)),
                    memory_bytes=64 * MIB * draw(st.integers(0, 6)), ssd_bytes=10 * MIB,
                ),
                reserve=Capacity(), reserved=Capacity(cpu_millis=100 * draw(st.integers(0, 1))),
            )
        )  # fmt: skip
    return tuple(nodes)


@st.composite
def small_orders(draw: st.DrawFn) -> tuple[contract.Workload, ...]:
    """Up to four containers, some alike, and perhaps a route."""
    workloads: list[contract.Workload] = [contract.Network(name="net")]
    for number in range(draw(st.integers(1, 2))):
        asks = contract.Constraints(
            farms=draw(st.sampled_from([(), (FarmId(_id("f", 1)),)])),
            countries=draw(st.sampled_from([(), ("BE",)])),
            trust=draw(st.sampled_from([(), ("booted",)])),
            group="g",
            spread=draw(st.sampled_from(["", "node", "farm", "country"])),
        )
        cpu = 100 * draw(st.integers(1, 4))
        memory = 64 * MIB * draw(st.integers(1, 4))
        workloads.extend(
            contract.Container(
                name=f"w{number}-{copy}", image=image("redis"), network="net", cpu_millis=cpu,
                memory_bytes=memory, disk_bytes=MIB, constraints=asks,
            )
            for copy in range(draw(st.integers(1, 2)))
        )  # fmt: skip
    if draw(st.booleans()):
        workloads.append(
            contract.Route(
                name="page", host="x.grid.localhost", network="net", containers=("w0-0",), port=80
            )
        )
    return tuple(workloads)


def _permits(workloads: tuple[contract.Workload, ...], chosen: dict[str, farm.NodeInfo]) -> bool:
    """Whether an arrangement keeps every rule; written without the planner's search."""
    left: dict[str, Capacity] = {}
    placed = [w for w in workloads if not isinstance(w, contract.Network)]
    for workload in placed:
        node = chosen[workload.name]
        if placing_faults(workload, node) or "none" not in node.payments:
            return False
        before = left.get(node.node, node.free)
        if before.lacks(contract.asked(workload)):
            return False
        left[node.node] = before.minus(contract.asked(workload))
    return not any(
        together(a.constraints, b.constraints, chosen[a.name], chosen[b.name])
        for a, b in combinations(placed, 2)
    )


def _price(workloads: tuple[contract.Workload, ...], chosen: dict[str, farm.NodeInfo]) -> int:
    placed = [w for w in workloads if not isinstance(w, contract.Network)]
    return sum(int(chosen[w.name].prices.of(contract.asked(w))) for w in placed)


def _arrangements(
    workloads: tuple[contract.Workload, ...], nodes: tuple[farm.NodeInfo, ...]
) -> list[dict[str, farm.NodeInfo]]:
    names = [w.name for w in workloads if not isinstance(w, contract.Network)]
    every = (dict(zip(names, pick, strict=True)) for pick in product(nodes, repeat=len(names)))
    return [chosen for chosen in every if _permits(workloads, chosen)]


@settings(max_examples=300, deadline=None)
@given(small_orders(), small_nodes(), st.none() | st.integers(0, 3000))
def test_a_place_is_found_if_and_only_if_there_is_one(
    workloads: tuple[contract.Workload, ...], nodes: tuple[farm.NodeInfo, ...], cap: int | None
) -> None:
    """What is found keeps every rule; trying everything confirms each refusal."""
    found = search(workloads, nodes, payment="none", cap=cap)
    all_ways = _arrangements(workloads, nodes)
    ways = [way for way in all_ways if cap is None or _price(workloads, way) <= cap]
    if isinstance(found, Found):
        assert dict(found.nodes) in ways
    else:
        assert found.complete
        assert ways == []


@st.composite
def tight(draw: st.DrawFn) -> tuple[tuple[contract.Workload, ...], tuple[farm.NodeInfo, ...]]:
    """One farm of nodes that differ only in what they have, and containers that barely fit."""
    model = draw(small_nodes())[0]
    nodes = tuple(
        changed(
            model, node=NodeId(_id("a", number)), name=f"n{number}", admitted=True,
            payments=("none",), reserved=Capacity(),
            total=Capacity(
                cpu_millis=100 * draw(st.integers(1, 5)),
                memory_bytes=64 * MIB * draw(st.integers(1, 5)), ssd_bytes=10 * MIB,
            ),
        )
        for number in range(draw(st.integers(2, 4)))
    )  # fmt: skip
    asks = contract.Constraints(group="g", spread=draw(st.sampled_from(["", "node"])))
    workloads = tuple(
        contract.Container(
            name=f"w{number}", image=image("redis"), network="net", disk_bytes=MIB,
            cpu_millis=100 * draw(st.integers(1, 3)),
            memory_bytes=64 * MIB * draw(st.integers(1, 3)), constraints=asks,
        )
        for number in range(draw(st.integers(2, 5)))
    )  # fmt: skip
    return (contract.Network(name="net"), *workloads), nodes


@settings(max_examples=400, deadline=None)
@given(tight())
def test_what_barely_fits_is_found(
    case: tuple[tuple[contract.Workload, ...], tuple[farm.NodeInfo, ...]],
) -> None:
    """Where only going back and trying another node helps, the search goes back."""
    workloads, nodes = case
    found = search(workloads, nodes, payment="none")
    assert isinstance(found, Found) == bool(_arrangements(workloads, nodes))


@settings(max_examples=100, deadline=None)
@given(small_orders(), small_nodes(), st.randoms(use_true_random=False))
def test_the_order_of_the_inventory_does_not_matter(
    workloads: tuple[contract.Workload, ...], nodes: tuple[farm.NodeInfo, ...], chance: object
) -> None:
    """Shuffled nodes give the same places and the same reasons."""
    shuffled = list(nodes)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    one = search(workloads, nodes, payment="none")
    two = search(workloads, shuffled, payment="none")
    assert one == two


@settings(max_examples=200, deadline=None)
@given(small_orders(), small_nodes())
def test_every_refused_node_has_a_reason(
    workloads: tuple[contract.Workload, ...], nodes: tuple[farm.NodeInfo, ...]
) -> None:
    """A refusal has a reason for each node, by itself or in the arrangement."""
    found = search(workloads, nodes, payment="none")
    if isinstance(found, Refused):
        for node in nodes:
            assert found.reasons[node.node]


@settings(max_examples=150, deadline=None)
@given(small_orders(), small_nodes(), st.none() | st.integers(0, 3000))
def test_what_is_suggested_fits(
    workloads: tuple[contract.Workload, ...], nodes: tuple[farm.NodeInfo, ...], cap: int | None
) -> None:
    """Every change that is suggested turns the refusal into places."""
    if isinstance(search(workloads, nodes, payment="none", cap=cap), Found):
        return
    inventory = farm.Inventory(order_time=0, size=0, nodes=nodes)
    money = None if cap is None else Money(amount=str(cap))
    order = contract.Order(
        ledger=LedgerId("b" * 64), owner=_id("c", 0), name="x", salt="A" * 22,
        price_cap_per_day=money,
    )  # fmt: skip
    recipe = contract.parse_recipe_yaml(TEXT, author=_id("d", 0))
    for change in find_changes(order, recipe, workloads, inventory):
        after = apply_change(workloads, change)
        limit = int(str(change.value)) if change.field == "price_cap_per_day" else cap
        assert isinstance(search(after, nodes, payment="none", cap=limit), Found), change
