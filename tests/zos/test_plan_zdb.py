"""The plan of a node that holds namespaces: what waits, what is told, and that no data goes."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.zos import scenes
from tests.zos.scenes import CONTRACT, MIB, NODE, OTHER, case, key, known, observed_all, receipt
from tfgrid.agents.zos.core0 import items, plan
from tfgrid.core import host, limits
from tfgrid.core.host import ItemKey, MemoryHost, Observed
from tfgrid.core.units import Capacity
from tfgrid.ledger import contract as contracts

SHOP = scenes.proposal(scenes.container(), scenes.namespace())
SAID = scenes.accepted | {
    name: receipt(name, "running") for name in ("web", "page", "data")
}  # fmt: skip
DATA = key("zdb", "data")


def _running(stage: plan.Stage = "run", **fields: object) -> plan.Case:
    return case(stage, **({"proposal": SHOP, "said": SAID} | fields))


def _steps(
    the_case: plan.Case, there: Mapping[ItemKey, Observed], **fields: object
) -> tuple[plan.Step, ...]:
    return plan.plan(known(the_case, observed=there, **fields)).steps


def _changed(there: dict[ItemKey, Observed], **fields: object) -> dict[ItemKey, Observed]:
    return there | {DATA: dataclasses.replace(there[DATA], **fields)}  # type: ignore[arg-type]


def _ensured(steps: tuple[plan.Step, ...]) -> set[ItemKey]:
    return {step.item.key for step in steps if isinstance(step, plan.Ensure)}


def _removed(steps: tuple[plan.Step, ...]) -> set[ItemKey]:
    return {step.key for step in steps if isinstance(step, plan.Remove)}


# What is made of a placement


def test_a_namespace_is_an_item_with_its_address() -> None:
    """Its specification has quota and member; its network knows that the node answers for it."""
    (item,) = scenes.items_of(_running(), "zdb")
    spec = items.spec_of(item, items.ZdbSpec)
    assert (spec.workload, spec.member.workload) == (scenes.namespace(), "data")
    assert spec.member.address4 == "10.42.1.3"
    (network,) = scenes.items_of(_running(), "network")
    assert items.spec_of(network, items.NetworkSpec).services == ("data",)


def test_containers_know_it_by_name() -> None:
    """The hosts of a container have the namespace, as they have other containers."""
    (web,) = scenes.items_of(_running(), "container")
    names = {h.name: h.address4 for h in items.spec_of(web, items.ContainerSpec).hosts}
    assert names["data"] == "10.42.1.3"


def test_a_network_without_namespaces_is_the_item_that_it_was() -> None:
    """No network is made anew on a node that learned of namespaces: its digest is as before."""
    (network,) = scenes.items_of(case("run"), "network")
    assert b"services" not in network.spec


def test_order_of_need_and_of_end() -> None:
    """Items come after what they need, and go in the opposite order."""
    wanted = items.items_for(CONTRACT, SHOP, NODE, scenes.endpoints())
    assert [i.key.kind for i in wanted] == ["image", "network", "zdb", "container", "route"]

    over = case("remove", proposal=SHOP, owes_end=True)
    there, went = observed_all(over), list[str]()
    while there:
        gone = _removed(_steps(over, there))
        went += sorted({k.kind for k in gone})
        there = {k: o for k, o in there.items() if k not in gone}
    assert went == ["route", "container", "zdb", "network", "image"]


def test_it_waits_for_its_network_and_nothing_for_it() -> None:
    """Without a network no namespace; a container does not wait for the namespace beside it."""
    steps = _steps(_running(), observed_all(_running(), without=("network", "zdb", "container")))
    assert _ensured(steps) == {key("network", "net")}
    steps = _steps(_running(), observed_all(_running(), without=("zdb", "container")))
    assert _ensured(steps) == {DATA, key("container", "web")}


# No data goes


def test_a_changed_specification_is_changed_in_place() -> None:
    """A larger quota is an Ensure of the same item: never a Remove, never a Remove and a make."""
    larger = scenes.proposal(scenes.container(), scenes.namespace(disk_bytes=200 * MIB))
    there = observed_all(_running())
    before = scenes.items_of(_running(), "zdb")[0].digest

    steps = _steps(_running(proposal=larger), there)

    (step,) = (s for s in steps if isinstance(s, plan.Ensure) and s.item.key == DATA)
    assert items.spec_of(step.item, items.ZdbSpec).workload.disk_bytes == 200 * MIB
    assert step.item.digest != before
    assert DATA not in _removed(steps)


@pytest.mark.parametrize("stage", ["none", "admit", "hold", "run", "keep"])
@pytest.mark.parametrize("condition", ["prepared", "running", "ended", "broken"])
@pytest.mark.parametrize("digest", ["same", "another", "none"])
def test_while_a_contract_is_not_over_no_plan_removes_data(
    stage: plan.Stage, condition: host.Condition, digest: str
) -> None:
    """Whatever its state and whatever it was made from: without the contract's end it stays."""
    there = observed_all(_running())
    given = {"same": there[DATA].digest, "another": "0" * 64, "none": ""}[digest]
    there = _changed(there, digest=given, condition=condition)

    assert DATA not in _removed(_steps(_running(stage=stage), there))


def test_data_of_nobody_stays() -> None:
    """A namespace whose contract the ledger does not have is not this node's to judge."""
    stray = ItemKey("zdb", f"{scenes.contract_named('nobody')}/data")
    lost = ItemKey("zdb", "0123456789abcdef0123456789abcdef")
    there = {k: Observed(key=k, digest="", condition="broken") for k in (stray, lost)}

    assert plan.plan(known(observed=there)).steps == ()


@given(st.lists(st.sampled_from(["none", "admit", "hold", "run", "keep", "remove"]), max_size=4))
def test_only_the_contract_itself_ends_its_data(stages: list[plan.Stage]) -> None:
    """Others may be in any stage: data goes exactly for the contracts that are over."""
    cases = [
        _running(contract=scenes.contract_named(str(number)), stage=stage)
        for number, stage in enumerate(stages)
    ]
    there: dict[ItemKey, Observed] = {}
    for one in cases:
        there |= {k: o for k, o in observed_all(one).items() if k.kind == "zdb"}

    gone = _removed(plan.plan(known(*cases, observed=there)).steps)

    over = {c.contract for c in cases if c.stage == "remove"}
    assert {items.contract_of(k) for k in gone} == over


def test_a_machine_in_memory_changes_in_place() -> None:
    """The simulated machine keeps a namespace's data over a change and a power cut, too."""
    machine = MemoryHost(Capacity())
    (item,) = scenes.items_of(_running(), "zdb")
    other = dataclasses.replace(item, digest="0" * 64)

    async def body() -> None:
        await machine.ensure(item)
        await machine.ensure(other)
        assert (await machine.observe())[DATA].digest == "0" * 64
        machine.reboot()
        assert (await machine.observe())[DATA].condition == "broken"
        assert machine.data == {DATA}
        await machine.remove(DATA)
        assert machine.data == set()

    asyncio.run(body())


# What is told


def test_running_is_told_with_what_was_set() -> None:
    """The first word is `running`, with the limits that were read back; then nothing more."""
    said = {k: v for k, v in SAID.items() if k != "data"}
    facts = {"disk_bytes": 100 * MIB, "keys_max": 1_000_000}
    there = _changed(observed_all(_running()), facts=facts)

    (step,) = _steps(_running(said=said), there)

    assert isinstance(step, plan.Say) and step.observed is not None
    assert (step.workload, step.state, step.image) == ("data", "running", "")
    assert step.observed.facts == facts
    assert _steps(_running(), there) == ()


def test_what_is_not_served_is_told_once_and_mended() -> None:
    """A namespace that lost its server is reported failed with the reason, and ensured."""
    there = _changed(
        observed_all(_running()), condition="broken", facts={"reason": "nobody serves its disk"}
    )

    told, mended = _steps(_running(), there)
    failed = {**SAID, "data": receipt("data", "failed")}

    assert isinstance(told, plan.Say)
    assert (told.state, told.reasons) == ("failed", ("nobody serves its disk",))
    assert isinstance(mended, plan.Ensure) and mended.item.key == DATA
    assert not any(isinstance(s, plan.Say) for s in _steps(_running(said=failed), there))


def test_a_trouble_is_told_with_its_reason() -> None:
    """One that cannot be made is told with the reason, once it failed more than once."""
    said = {k: v for k, v in SAID.items() if k != "data"}
    there = observed_all(_running(), without=("zdb",))
    troubles = {f"item zdb {DATA.name}": "TFG-4023 its disk does not have it"}

    told, _ = _steps(_running(said=said), there, troubles=troubles)

    assert isinstance(told, plan.Say)
    assert (told.state, told.reasons) == ("failed", ("TFG-4023 its disk does not have it",))


def test_the_note_says_why() -> None:
    """The status of a node has the reason why a namespace is not as agreed."""
    there = _changed(observed_all(_running()), condition="broken", facts={"reason": "no disk"})
    notes = plan.plan(known(_running(), observed=there)).notes
    assert [(n.condition, n.reason) for n in notes if n.key == DATA] == [("broken", "no disk")]


# Admission


def test_it_is_charged_by_the_node_too() -> None:
    """What a node reserves is what the ledger reserved: disk in its class, memory of all keys."""
    asked = items.demand(SHOP, NODE)
    keys = 1_000_000 * limits.zdb_key_memory_bytes
    assert asked == Capacity(cpu_millis=500, memory_bytes=64 * MIB + keys, ssd_bytes=110 * MIB)
    assert items.demand(SHOP, OTHER).memory_bytes == 64 * MIB
    assert plan.plan(known(_running())).reserved == asked


@pytest.mark.parametrize(
    ("namespace", "offer", "word"),
    [
        ({"disk_class": "hdd"}, {}, "hdd_bytes: 104857600 asked, 0 free"),
        ({"disk_bytes": 10**15}, {}, "ssd_bytes"),
        ({"keys_max": 10**10}, {}, "memory_bytes"),
        ({}, {"roles": ("gateway",)}, "data: this node holds no namespaces"),
        ({}, {"lacks": {"zdb": "Zero-DB in the native module"}}, "lacks Zero-DB in the native"),
        ({"constraints": contracts.Constraints(trust=("booted",))}, {}, "demands a booted node"),
    ],
)
def test_a_node_refuses_what_it_cannot_hold(
    namespace: dict[str, object], offer: dict[str, object], word: str
) -> None:
    """The node is the last word on its own capacity, role, trust class and programs."""
    wanted = scenes.proposal(scenes.namespace("data", **namespace), route=False)
    changed = dataclasses.replace(scenes.ROOMY, **offer)  # type: ignore[arg-type]
    (step,) = _steps(case("admit", proposal=wanted), {}, offer=changed)

    assert isinstance(step, plan.Refuse)
    assert any(word in reason for reason in step.reasons)
