"""The planner: deterministic, explained, exact where it matters."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest

from tests.contract.stage import GIB, IMAGES, RECIPE_TEXT, farm_id, guestbook_stage, node_id, who
from tfgrid.core import canonical, errors
from tfgrid.core.ids import FarmId, IdentityId, NodeId
from tfgrid.core.units import Capacity, Money
from tfgrid.ledger import contract, farm


def _recipe(text: str) -> contract.Recipe:
    return contract.parse_recipe_yaml(text, author=who("expert"))


def _where(plan: contract.Plan) -> dict[str, str]:
    return {row.workload: row.node_name for row in plan.rows}


def test_the_same_arguments_give_the_same_bytes() -> None:
    """A plan depends on nothing but its arguments, not even on the order of the inventory."""
    stage = guestbook_stage()
    inventory = stage.inventory()
    backwards = msgspec.structs.replace(inventory, nodes=inventory.nodes[::-1])
    recipe = contract.read_recipe(stage.view, "guestbook")
    plans = [contract.plan(stage.order(), recipe, IMAGES, i) for i in (inventory, backwards)]
    assert canonical.encode(plans[0]) == canonical.encode(plans[1])
    assert contract.plan_digest(plans[0]) == contract.plan_digest(plans[1])


def test_a_plan_survives_its_file() -> None:
    """What is written to a file is read back as the same plan."""
    plan = guestbook_stage().plan()
    assert canonical.parse(canonical.encode(plan), contract.Plan) == plan


def test_the_guestbook_is_spread_as_its_recipe_asks() -> None:
    """Web containers in different farms, redis on a node of its own, the route on the gateway."""
    where = _where(guestbook_stage().plan())
    assert where == {"redis": "n1", "web-1": "n2", "web-2": "n3", "page": "n4"}


def test_the_cheapest_farm_is_taken_and_the_reason_said() -> None:
    """Price decides before name; the row says so."""
    stage = guestbook_stage()
    stage.write(
        "f2", "farm.offer",
        farm.Offer(country="DE", prices=farm.Prices(cru=1), payments=("none",)),
    )  # fmt: skip
    plan = stage.plan()
    assert _where(plan)["redis"] in {"n3", "n4"}
    reasons = {row.workload: row.reason for row in plan.rows}
    assert reasons["redis"].startswith("cheapest of 4 that fit")
    assert "n1: not a gateway node" in reasons["page"]


def test_the_least_reserved_breaks_a_tie() -> None:
    """Of nodes that cost the same, the emptier one is taken."""
    stage = guestbook_stage()
    stage.propose(parameters={"memory": "1GiB"}).approve("budget", "legal")
    plan = stage.plan(salt="B" * 22, parameters={"host": "b.grid.localhost"})
    assert _where(plan)["redis"] == "n4"


def test_addresses_follow_from_the_salt() -> None:
    """Two orders have different ranges; members follow their subnet's gateway."""
    stage = guestbook_stage()
    one, two = stage.plan(), stage.plan(salt="B" * 22)
    parts = one.proposal.placement.networks
    assert parts[0].range4 != two.proposal.placement.networks[0].range4
    assert [part.index for part in parts] == [0, 1, 2, 3]
    assert len({part.subnet4 for part in parts}) == len({part.subnet6 for part in parts}) == 4
    for part in parts:
        base = part.subnet4.removesuffix(".0/24")
        assert [m.address4 for m in part.members] == [f"{base}.2" for _ in part.members]


def test_the_cap_is_the_price_unless_it_is_given() -> None:
    """An order without a cap agrees to the planned price and not a unit more."""
    stage = guestbook_stage()
    free = stage.plan().proposal
    assert free.agreement.price_cap_per_day == free.placement.price_per_day
    cap = Money(amount="99999999999")
    assert stage.plan(price_cap_per_day=cap).proposal.agreement.price_cap_per_day == cap


def _no_fit(**changed: Any) -> errors.NoFit:
    stage = changed.pop("stage", None) or guestbook_stage()
    with pytest.raises(errors.NoFit) as caught:
        stage.plan(**changed)
    return caught.value


def test_no_fit_names_every_node_and_why() -> None:
    """Four nodes, four reasons, and the change that would help with its setting."""
    stage = guestbook_stage()
    stage.write(
        "n2", "node.inventory",
        farm.NodeInventory(
            total=Capacity(cpu_millis=4000, memory_bytes=GIB, ssd_bytes=GIB),
            reserve=Capacity(memory_bytes=GIB // 2),
        ),
    )  # fmt: skip
    stage.add_node("n5", "f1", admitted=False)
    fault = _no_fit(stage=stage, parameters={"memory": "4GiB", "replicas": 3})
    assert "f1 already used" in str(fault.details["reasons"]) or fault.details["grid"]
    names: Any = fault.details["names"]
    assert {"n2", "n5"} <= set(names.values())
    reasons: Any = fault.details["reasons"]
    assert "web-1: memory: 4 GiB asked, 512 MiB free" in reasons[node_id("n2")]
    assert "web-1: not admitted to its farm" in reasons[node_id("n5")]


def test_a_spread_wider_than_the_grid_is_said_to_be_so() -> None:
    """Three farms are asked for, two are there; a weaker spread would fit."""
    fault = _no_fit(parameters={"replicas": 3})
    assert fault.details["grid"] == ["app: spread=farm needs 3 different, 2 fit"]
    assert "spread=node" in fault.hint


def test_less_memory_is_suggested_with_its_setting() -> None:
    """The most memory that fits, as the parameter that decides it."""
    stage = guestbook_stage()
    stage.write(
        "n1", "node.inventory",
        farm.NodeInventory(
            total=Capacity(cpu_millis=4000, memory_bytes=GIB, ssd_bytes=40 * GIB),
            reserve=Capacity(memory_bytes=GIB // 2),
        ),
    )  # fmt: skip
    stage.write(
        "n2", "node.inventory",
        farm.NodeInventory(
            total=Capacity(cpu_millis=4000, memory_bytes=2 * GIB, ssd_bytes=40 * GIB),
            reserve=Capacity(memory_bytes=GIB),
        ),
    )  # fmt: skip
    fault = _no_fit(stage=stage, parameters={"memory": "4GiB"})
    assert fault.hint == "lower memory of web-1, web-2 to 1GiB (--set memory=1GiB)"
    stage.plan(parameters={"memory": "1GiB"})


def test_another_farm_is_suggested() -> None:
    """Where the order's constraint stands in the way, what it lacks is named."""
    stage = guestbook_stage()
    text = RECIPE_TEXT.replace(
        "{group: app, spread: node}", f"{{group: app, spread: node, farms: {farm_id('f1')}}}"
    ).replace("memory: 64MiB\n    disk", "memory: 5GiB\n    disk")
    stage.add_farm("f3")
    stage.add_node("n5", "f3", memory_bytes=8 * GIB)
    with pytest.raises(errors.NoFit) as caught:
        contract.plan(stage.order(), _recipe(text), IMAGES, stage.inventory())
    changes: Any = caught.value.details["changes"]
    assert "allow farm f3 for redis" in {change.text for change in changes}


def test_a_price_cap_is_suggested() -> None:
    """A cap that is a little too low names the price that is enough."""
    price = guestbook_stage().plan().proposal.placement.price_per_day
    low = Money(amount=str(int(price) - 1))
    fault = _no_fit(price_cap_per_day=low)
    assert "raise the price cap" in fault.hint
    guestbook_stage().plan(price_cap_per_day=price)


def test_a_role_without_a_stakeholder_is_refused() -> None:
    """The recipe's policy names legal, the order nobody for it."""
    with pytest.raises(errors.BadInput) as caught:
        guestbook_stage().plan(approvers={"budget": (who("budget"),)})
    assert caught.value.code == "TFG-2351"


def test_payment_that_is_not_carried_out_is_refused() -> None:
    """TFT is in the format and not in this release."""
    with pytest.raises(errors.NotAllowed) as caught:
        guestbook_stage().plan(payment="tft")
    assert caught.value.code == "TFG-2381"


def test_a_stale_plan_is_refused() -> None:
    """A plan is applied exactly, or not at all."""
    stage = guestbook_stage()
    plan = stage.plan()
    contract.check_plan(plan, stage.view, stage.now_ms)
    stage.propose(salt="B" * 22).approve("budget", "legal")
    with pytest.raises(errors.Conflict) as caught:
        contract.check_plan(plan, stage.view, stage.now_ms)
    assert (caught.value.code, caught.value.details["cause"]) == ("TFG-2352", "TFG-2374")


def test_an_empty_grid_fits_nothing() -> None:
    """Without nodes there is no place, and the reason is said."""
    stage = guestbook_stage()
    empty = farm.Inventory(order_time=0, size=0, nodes=())
    with pytest.raises(errors.NoFit) as caught:
        contract.plan(stage.order(), contract.read_recipe(stage.view, "guestbook"), IMAGES, empty)
    assert "there are no nodes" in str(caught.value.details["grid"])


def crowd(count: int) -> farm.Inventory:
    """Many nodes of many farms, all different."""
    model = guestbook_stage().inventory().nodes
    gateway = next(node for node in model if "gateway" in node.roles)
    made = []
    for number in range(count):
        tag = f"{number:08x}"
        home = f"{number % (count // 20 or 1):08x}"
        made.append(
            msgspec.structs.replace(
                gateway if number % 50 == 0 else model[0],
                node=NodeId(IdentityId(tag * 8)), name=f"n{number}",
                farm=FarmId(IdentityId(home * 8)), farm_name=f"f{int(home, 16)}",
                country=("BE", "DE", "FR", "NL")[int(home, 16) % 4],
                roles=("compute", "gateway") if number % 50 == 0 else ("compute",),
                domains=("grid.localhost",) if number % 50 == 0 else (),
                total=Capacity(
                    cpu_millis=1000 + number % 7000, memory_bytes=GIB + number * 1024**2 % (8 *
                    GIB), ssd_bytes=20 * GIB + number,
                ),
                prices=farm.Prices(cru=10_000_000 + int(home, 16), mru=4_000_000),
            )
        )  # fmt: skip
    return farm.Inventory(order_time=0, size=count, nodes=tuple(made))


@pytest.mark.slow
def test_ten_thousand_nodes_are_planned_for() -> None:
    """A plan over ten thousand nodes, and a refusal with its changes, end soon."""
    stage, inventory = guestbook_stage(), crowd(10_000)
    recipe = contract.read_recipe(stage.view, "guestbook")
    began = time.perf_counter()
    plan = contract.plan(stage.order(parameters={"replicas": 8}), recipe, IMAGES, inventory)
    planned = time.perf_counter()
    assert len({row.farm for row in plan.rows if row.workload.startswith("web")}) == 8
    text = RECIPE_TEXT.replace("maximum: 4GiB", "maximum: 400GiB")
    with pytest.raises(errors.NoFit) as caught:
        contract.plan(
            stage.order(parameters={"memory": "100GiB"}), _recipe(text), IMAGES, inventory
        )
    refused = time.perf_counter()
    reasons: Any = caught.value.details["reasons"]
    assert len(reasons) == 10_000
    assert "--set memory=" in caught.value.hint
    print(f"planned {planned - began:.2f} s, refused {refused - planned:.2f} s")


# The guestbook, without its own bound on memory.
_UNBOUNDED = contract.parse_recipe_yaml(
    RECIPE_TEXT.replace("maximum: 4GiB", "maximum: 1TiB"), author=who("expert")
)


def _unbounded(**parameters: str) -> contract.Plan:
    stage = guestbook_stage()
    return contract.plan(stage.order(parameters=parameters), _UNBOUNDED, IMAGES, stage.inventory())


def _hint(**parameters: str) -> str:
    with pytest.raises(errors.NoFit) as refused:
        _unbounded(**parameters)
    return refused.value.hint


def test_the_most_replicas_that_fit_are_proposed_and_do_fit() -> None:
    """Eight web containers on two farms, each on its own: two is what fits."""
    assert _hint(memory="1GiB", replicas="8") == "lower replicas to 2 (--set replicas=2)"
    _unbounded(memory="1GiB", replicas="2")


def test_where_fewer_is_not_enough_the_rest_is_said_too() -> None:
    """More memory than any node has and more replicas than farms: both must give."""
    hint = _hint(memory="64GiB", replicas="8")
    assert hint.startswith("lower replicas to 1 (--set replicas=1) and lower memory of web")
    setting = hint.rpartition("--set memory=")[2].rstrip(")")
    _unbounded(memory=setting, replicas="1")


def test_a_smaller_change_goes_before_fewer_replicas() -> None:
    """Where less memory alone would do, the number of containers is left alone."""
    assert "replicas" not in _hint(memory="64GiB")
