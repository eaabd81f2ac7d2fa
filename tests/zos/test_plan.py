"""The plan of a node is a pure function; its tables."""

from __future__ import annotations

import dataclasses

import pytest

from tests.zos import scenes
from tests.zos.scenes import (
    CONTRACT,
    MIB,
    NODE,
    OTHER,
    accepted,
    case,
    key,
    known,
    observed_all,
    receipt,
)
from tfgrid.agents.zos.core0 import items, plan
from tfgrid.core import host
from tfgrid.core.units import Capacity
from tfgrid.ledger import contract as contracts

said_running = accepted | {
    "web": receipt("web", "running"), "page": receipt("page", "running"),
}  # fmt: skip


def kinds(steps: tuple[plan.Step, ...]) -> list[str]:
    """Each step as its verb and what it is about."""
    words = []
    for step in steps:
        match step:
            case plan.Ensure():
                words.append(f"ensure {step.item.key.kind}")
            case plan.Remove():
                words.append(f"remove {step.key.kind}")
            case plan.Say():
                words.append(f"say {step.state} {step.workload}".rstrip())
            case plan.Accept():
                words.append("accept")
            case plan.Refuse():
                words.append("refuse")
    return words


def test_admission_prepares_networks_and_starts_nothing() -> None:
    """A node that is asked accepts with its networks to prepare, and ensures nothing."""
    (step,) = plan.plan(known(case("admit"))).steps

    assert isinstance(step, plan.Accept)
    assert [i.key for i in step.networks] == [key("network", "net")]
    assert items.spec_of(step.networks[0], items.NetworkSpec).peers == ()


def test_hold_fetches_images_only() -> None:
    """Between accepting and everyone's acceptance only images are fetched."""
    assert kinds(plan.plan(known(case("hold"))).steps) == ["ensure image"]


@pytest.mark.parametrize(
    ("without", "expected"),
    [
        (("image", "network", "container", "route"), ["ensure image", "ensure network"]),
        (("network", "container", "route"), ["ensure network"]),
        (("image", "container", "route"), ["ensure image", "ensure route"]),
        (("container", "route"), ["ensure container", "ensure route"]),
        (("route",), ["ensure route"]),
        ((), []),
    ],
)
def test_each_step_waits_for_what_it_needs(without: tuple[str, ...], expected: list[str]) -> None:
    """A container waits for its image and network, a route for its network."""
    running = case("run", said=said_running)
    there = observed_all(running, without=without)

    assert kinds(plan.plan(known(running, observed=there)).steps) == expected


def test_a_machine_as_it_should_be_needs_nothing() -> None:
    """The plan for a finished machine is empty: doing it twice changes nothing."""
    running = case("run", said=said_running)

    assert plan.plan(known(running, observed=observed_all(running))).steps == ()


def test_peers_come_from_accepted_receipts() -> None:
    """A network is made with the other node's verified key, endpoint and subnets, not its own."""
    steps = plan.plan(known(case("run"))).steps
    network = next(
        s.item for s in steps if isinstance(s, plan.Ensure) and s.item.key.kind == "network"
    )

    (peer,) = items.spec_of(network, items.NetworkSpec).peers
    assert (peer.node, peer.public_key, peer.endpoint) == (OTHER, "B" * 43, "10.0.0.2:51820")
    assert (peer.subnet4, peer.subnet6) == ("10.42.2.0/24", "fd42:0:0:2::/64")


def test_running_is_said_once() -> None:
    """A workload that runs is told to the ledger when it was not, and not again."""
    running = case("run")
    there = observed_all(running)

    first = plan.plan(known(running, observed=there)).steps
    again = plan.plan(known(dataclasses.replace(running, said=said_running), observed=there)).steps

    assert kinds(first) == ["say running web", "say running page"]
    assert again == ()


def test_an_exit_is_said_and_mended() -> None:
    """A container that exited is reported failed with its exit code and ensured again."""
    running = case("run", said=said_running)
    there = observed_all(running, web="ended")
    there[key("container", "web")] = dataclasses.replace(
        there[key("container", "web")], facts={"exit_code": 3}
    )

    steps = plan.plan(known(running, observed=there)).steps

    assert kinds(steps) == ["say failed web", "ensure container"]
    assert isinstance(steps[0], plan.Say)
    assert steps[0].observed is not None
    assert steps[0].observed.facts == {"exit_code": 3}


def test_a_trouble_is_said_with_its_reason() -> None:
    """An image that cannot be had makes its container fail in the ledger, with the reason, once."""
    running = case("run")
    image = items.image_item(scenes.IMAGE)
    troubles = {f"item image {image.key.name}": "TFG-3231 chunk 7 differs"}
    there = observed_all(running, without=("image", "container", "route"))

    steps = plan.plan(known(running, observed=there, troubles=troubles)).steps
    said = accepted | {"web": receipt("web", "failed")}
    again = plan.plan(
        known(dataclasses.replace(running, said=said), observed=there, troubles=troubles)
    ).steps

    assert "say failed web" in kinds(steps)
    assert [s.reasons for s in steps if isinstance(s, plan.Say)] == [("TFG-3231 chunk 7 differs",)]
    assert "say failed web" not in kinds(again)


def test_another_specification_is_another_item() -> None:
    """What runs under another digest is removed before it is made anew."""
    running = case("run", said=said_running)
    there = observed_all(running)
    there[key("container", "web")] = dataclasses.replace(
        there[key("container", "web")], digest="0" * 64
    )

    steps = plan.plan(known(running, observed=there)).steps

    assert steps == (plan.Remove(key("container", "web")),)


def test_a_prepared_network_keeps_its_key() -> None:
    """A network that was only prepared is made and never removed first: its key is published."""
    running = case("run", said=said_running)
    there = observed_all(running, without=("container", "route"))
    there[key("network", "net")] = host.Observed(
        key=key("network", "net"), digest="f" * 64, condition="prepared"
    )

    assert kinds(plan.plan(known(running, observed=there)).steps) == ["ensure network"]


@pytest.mark.parametrize("stage", ["admit", "hold"])
def test_what_is_prepared_stays_while_admission_lasts(stage: plan.Stage) -> None:
    """A prepared network is not cleared away between its key being made and being told."""
    there = {
        key("network", "net"): host.Observed(
            key=key("network", "net"), digest="f" * 64, condition="prepared"
        )
    }

    assert "remove network" not in kinds(plan.plan(known(case(stage), observed=there)).steps)


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        ((), ["remove route"]),
        (("route",), ["remove container"]),
        (("route", "container"), ["remove network"]),
        (("route", "container", "network"), ["remove image"]),
    ],
)
def test_removal_goes_backwards(left: tuple[str, ...], expected: list[str]) -> None:
    """A contract that is over is taken down from its route to its network, its image last."""
    over = case("remove", owes_end=True)
    there = observed_all(over, without=left)
    steps = plan.plan(known(over, observed=there)).steps

    assert [w for w in kinds(steps) if w.startswith("remove")][-1:] == expected[-1:]
    assert expected[0] in kinds(steps)


def test_the_end_is_said_when_nothing_is_left() -> None:
    """`ended` is said once nothing of it is observed, and only if the ledger waits for it."""
    over = case("remove", owes_end=True, why="cancelled")

    assert plan.plan(known(over)).steps == (
        plan.Say(CONTRACT, "", "ended", reasons=("cancelled",)),
    )
    assert plan.plan(known(dataclasses.replace(over, owes_end=False))).steps == ()


def test_what_no_record_asks_for_goes() -> None:
    """An item of a contract that the ledger does not have is removed."""
    stray = host.ItemKey("container", f"{scenes.contract_named('nobody')}/x")
    there = {stray: host.Observed(key=stray, digest="0" * 64, condition="running")}

    assert plan.plan(known(observed=there)).steps == (plan.Remove(stray),)


def test_keep_neither_starts_nor_ends() -> None:
    """A contract that is over by one clock only keeps what runs and starts nothing."""
    one_clock = case("keep", said=said_running)
    there = observed_all(one_clock, without=("web",))

    assert plan.plan(known(one_clock, observed=there)).steps == ()


@pytest.mark.parametrize("fields", [{"halted": True}, {"caught_up": False}])
@pytest.mark.parametrize("stage", ["admit", "hold", "run", "remove"])
def test_nothing_is_done_unread(stage: plan.Stage, fields: dict[str, bool]) -> None:
    """A halted node, or one that has not read to the head, does nothing and says nothing."""
    the_case = case(stage, owes_end=True)
    there = observed_all(the_case) if stage == "remove" else {}

    assert plan.plan(known(the_case, observed=there, **fields)).steps == ()


def test_a_stale_node_accepts_nothing_and_mends() -> None:
    """Without a fresh head nothing new is accepted, and what was agreed is kept running."""
    new = case("admit", contract=scenes.contract_named("new"))
    running = case("run", said=said_running)
    there = observed_all(running, without=("container",))

    steps = plan.plan(known(new, running, observed=there, fresh=False)).steps

    assert kinds(steps) == ["ensure container"]


def test_a_refusal_has_every_reason() -> None:
    """A node that cannot take its part says all reasons at once, each with figures."""
    greedy = scenes.proposal(
        scenes.container(cpu_millis=9000, memory_bytes=8192 * MIB, disk_bytes=200_000 * MIB),
        host_name="shop.elsewhere.example",
    )
    offer = dataclasses.replace(scenes.ROOMY, lacks={"container": "the program crun"})
    (step,) = plan.plan(known(case("admit", proposal=greedy), offer=offer)).steps

    assert isinstance(step, plan.Refuse)
    text = "\n".join(step.reasons)
    for word in ("9000 asked, 4000 free", "memory_bytes", "ssd_bytes", "under none", "crun"):
        assert word in text
    assert len(step.reasons) == 5


@pytest.mark.parametrize(
    ("offer", "word"),
    [
        ({"roles": ("gateway",)}, "runs no containers"),
        ({"roles": ("compute",)}, "is no gateway"),
        ({"trust_class": "simulated"}, "demands a booted node"),
    ],
)
def test_role_and_trust_are_checked_by_the_node(offer: dict[str, object], word: str) -> None:
    """The node itself refuses what its role or trust class does not allow."""
    strict = scenes.proposal(scenes.container(constraints=contracts.Constraints(trust=("booted",))))
    asked = case("admit", proposal=strict if "trust_class" in offer else scenes.proposal())
    changed = dataclasses.replace(scenes.ROOMY, **offer)  # type: ignore[arg-type]
    (step,) = plan.plan(known(asked, offer=changed)).steps

    assert isinstance(step, plan.Refuse)
    assert any(word in reason for reason in step.reasons)


def test_capacity_is_counted_across_admissions() -> None:
    """Two contracts that fit one by one and not together: the earlier in the log is accepted."""
    offer = dataclasses.replace(
        scenes.ROOMY,
        capacity=Capacity(cpu_millis=700, memory_bytes=4096 * MIB, ssd_bytes=4096 * MIB),
    )
    first = case("admit", contract=scenes.contract_named("first"))
    second = case("admit", contract=scenes.contract_named("second"))

    assert kinds(plan.plan(known(first, second, offer=offer)).steps) == ["accept", "refuse"]


@pytest.mark.parametrize("stage", ["hold", "run", "keep"])
def test_what_is_accepted_stays_reserved(stage: plan.Stage) -> None:
    """Accepted capacity is counted until the contract is over, running or not."""
    offer = dataclasses.replace(
        scenes.ROOMY,
        capacity=Capacity(cpu_millis=700, memory_bytes=4096 * MIB, ssd_bytes=4096 * MIB),
    )
    held = case(stage, contract=scenes.contract_named("held"))
    made = plan.plan(known(held, case("admit"), offer=offer))

    assert "refuse" in kinds(made.steps)
    assert made.reserved.cpu_millis == 500


def test_removed_but_not_gone_is_still_reserved() -> None:
    """Capacity of a contract that is over counts until its items are gone."""
    over = case("remove")

    assert plan.plan(known(over, observed=observed_all(over))).reserved.cpu_millis == 500
    assert plan.plan(known(over)).reserved.cpu_millis == 0


def test_one_troubled_contract_delays_no_other() -> None:
    """Steps of different contracts stand side by side in one plan."""
    one = case("run", contract=scenes.contract_named("one"), said=said_running)
    two = case("run", contract=scenes.contract_named("two"), said=said_running)
    there = observed_all(one, without=("image",)) | observed_all(two, without=("container",))

    steps = plan.plan(known(one, two, observed=there)).steps

    assert "ensure image" in kinds(steps) or "ensure container" in kinds(steps)
    assert {s.item.key.name.partition("/")[0] for s in steps if isinstance(s, plan.Ensure)}


def test_every_wanted_item_has_a_note() -> None:
    """Whatever is wanted and is not an image says how it is, or what it waits for."""
    waiting = plan.plan(known(case("run"))).notes

    assert {(n.key.kind, n.condition) for n in waiting} == {
        ("network", "waiting"), ("container", "waiting"), ("route", "waiting"),
    }  # fmt: skip
    assert any("needs image" in n.reason for n in waiting)


def test_demand_is_of_this_node_alone() -> None:
    """What a placement asks of a node counts that node's containers and no others."""
    assert items.demand(scenes.proposal(), NODE).cpu_millis == 500
    assert items.demand(scenes.proposal(), OTHER).cpu_millis == 500
