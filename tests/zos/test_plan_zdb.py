"""The plan of a node that holds namespaces: what waits, what is told, and that no data goes."""

from __future__ import annotations

import asyncio
import dataclasses
import io
from collections.abc import Mapping
from typing import cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.zos import scenes
from tests.zos.scenes import CONTRACT, MIB, NODE, OTHER, case, key, known, observed_all, receipt
from tfgrid.agents.zos.core0 import items, plan
from tfgrid.agents.zos.core0.outbox import Outbox
from tfgrid.agents.zos.core0.steps import Hands
from tfgrid.agents.zos.core0.view import Times, cases
from tfgrid.core import host, limits
from tfgrid.core.clock import SystemClock
from tfgrid.core.host import ItemKey, MemoryHost, Observed
from tfgrid.core.log import Log
from tfgrid.core.store import MemoryStore
from tfgrid.core.units import Capacity
from tfgrid.ledger import bcdb
from tfgrid.ledger import contract as contracts

SHOP = scenes.proposal(scenes.container(), scenes.namespace())
SAID = scenes.accepted | {
    name: receipt(name, "running") for name in ("web", "page", "data")
}  # fmt: skip
DATA = key("zdb", "data")
LARGER = scenes.proposal(scenes.container(), scenes.namespace(disk_bytes=200 * MIB))
WAS = {"disk_bytes": 100 * MIB, "keys_max": 1_000_000}
IS = {"disk_bytes": 200 * MIB, "keys_max": 1_000_000}
TROUBLES = {f"item zdb {DATA.name}": "TFG-4025 there is no room"}


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
    there = observed_all(_running())
    before = scenes.items_of(_running(), "zdb")[0].digest

    steps = _steps(_running(proposal=LARGER), there)

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
    assert _note(_running(), there) == ("broken", "no disk")
    assert _note(_updated(), observed_all(_running())) == ("running", "is not yet as agreed last")


def _note(the_case: plan.Case, there: Mapping[ItemKey, Observed]) -> tuple[str, str]:
    notes = plan.plan(known(the_case, observed=there)).notes
    ((condition, reason),) = ((n.condition, n.reason) for n in notes if n.key == DATA)
    return condition, reason


# What is told of an update


def _updated(said: contracts.ReceiptState | None = "running", **fields: object) -> plan.Case:
    """The case once a larger namespace is in force; the ledger waits to hear of it."""
    words = {name: word for name, word in SAID.items() if name != "data"}
    if said is not None:
        words["data"] = receipt("data", said)
    given = {"proposal": LARGER, "said": words, "unsettled": frozenset({"data"})} | fields
    return _running(**given)  # type: ignore[arg-type]


def _says(steps: tuple[plan.Step, ...]) -> list[plan.Say]:
    return [step for step in steps if isinstance(step, plan.Say)]


@pytest.mark.parametrize("said", [None, "running", "failed"])
@pytest.mark.parametrize("condition", ["running", "broken"])
def test_while_it_is_changed_nothing_is_told(
    said: contracts.ReceiptState | None, condition: host.Condition
) -> None:
    """Neither that it runs as it was, nor that it is broken for a moment; it is ensured."""
    facts = WAS | {"reason": "its limits are not those agreed"}
    there = _changed(observed_all(_running()), condition=condition, facts=facts)

    (step,) = _steps(_updated(said), there)

    assert isinstance(step, plan.Ensure)
    assert items.spec_of(step.item, items.ZdbSpec).workload.disk_bytes == 200 * MIB


@pytest.mark.parametrize("condition", ["running", "broken"])
def test_a_change_that_fails_is_told_once(condition: host.Condition) -> None:
    """The reason is told with the limits that are set, though it may run; the node tries on."""
    there = _changed(observed_all(_running()), condition=condition, facts=WAS)

    steps = _steps(_updated(), there, troubles=TROUBLES)

    (told,) = _says(steps)
    assert (told.workload, told.state, told.reasons) == ("data", "failed", tuple(TROUBLES.values()))
    assert told.observed is not None and told.observed.facts == WAS
    assert _ensured(steps) == {DATA}
    again = _steps(_updated("failed"), there, troubles=TROUBLES)
    assert _says(again) == [] and _ensured(again) == {DATA}


@pytest.mark.parametrize("said", ["running", "failed"])
def test_as_agreed_is_told_with_the_new_limits(said: contracts.ReceiptState) -> None:
    """Once it is as agreed the ledger hears that it runs, also if it heard so before."""
    there = _changed(observed_all(_updated()), facts=IS)

    (step,) = _steps(_updated(said), there)

    assert isinstance(step, plan.Say) and step.observed is not None
    assert (step.workload, step.state, step.observed.facts) == ("data", "running", IS)
    assert _steps(_updated(unsettled=frozenset()), there) == ()


def test_what_would_not_settle_is_not_told() -> None:
    """A receipt with other limits leaves the update open, so it would be said for ever."""
    for facts in (WAS, IS | {"keys_max": 5}, {}):
        there = _changed(observed_all(_updated()), facts=facts)
        assert _steps(_updated(), there) == ()


def test_an_update_is_settled_with_one_receipt(monkeypatch: pytest.MonkeyPatch) -> None:
    """From open over waiting in the outbox to settled in the ledger: said once, by the view."""
    outbox = Outbox(MemoryStore(), Log("zos", stream=io.StringIO()))
    hands = Hands(host=MemoryHost(Capacity()), outbox=outbox, clock=SystemClock())
    there = _changed(observed_all(_updated()), facts=IS)
    state = _state(*SAID.values(), unsettled=("data", "far"))

    def steps() -> tuple[plan.Step, ...]:
        monkeypatch.setattr(contracts, "contracts_of_node", lambda *_: (state,))
        times = Times(clock_ms=1, head_ms=1, order_time_ms=1)
        (the_case,) = cases(cast("bcdb.View", None), NODE, times, outbox)
        assert the_case.unsettled <= {"data"}
        return _steps(dataclasses.replace(the_case, endpoints=scenes.endpoints()), there)

    outbox.put(receipt("data", "running"))  # It was to say so of the version before.
    assert steps() == ()
    outbox._forget(*outbox._waiting)
    (step,) = steps()
    asyncio.run(hands.do(step))
    (waiting,) = outbox
    assert (waiting.limits.disk_bytes, waiting.limits.keys_max) == tuple(IS.values())
    assert steps() == ()

    outbox._forget(*outbox._waiting)
    state = _state(*{**SAID, "data": waiting}.values(), unsettled=("far",))
    assert steps() == ()


def _state(*said: contracts.Receipt, unsettled: tuple[str, ...]) -> contracts.ContractState:
    """A contract that runs at its second version."""
    tally = contracts.Tally(needed=0, approved=0, rejected=0, votes=(), waiting=(), until=0)
    agreement = msgspec.structs.replace(LARGER.agreement, version=2)
    return contracts.ContractState(
        contract=CONTRACT, position=0, subject=scenes.IMAGE.digest, phase="running", since=0,
        proposal=msgspec.structs.replace(LARGER, agreement=agreement), reason="", proposed_at=0,
        approved_at=0, accepted_at=0, admission_deadline=0, deploy=tally, delete=tally,
        receipts=tuple(
            contracts.ReceiptFact(node=NODE, receipt=r, at=0, position=0) for r in said
        ),
        unsettled=unsettled,
    )  # fmt: skip


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
