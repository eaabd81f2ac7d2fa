"""A zdb namespace in a contract: how it is written, placed, charged, told and reported."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.contract.stage import GIB, IMAGES, LEDGER, Running, Stage, changed, who
from tfgrid.core import canonical, errors, limits
from tfgrid.core.units import Capacity
from tfgrid.ledger import contract, farm

MIB = 1024**2
NOTES = """\
name: notes
version: 1.0.0
parameters:
  size: {type: size, default: 1GiB}
  keys: {type: integer, default: 100000}
  copies: {type: integer, default: 2}
  class: {type: choice, default: ssd, choices: [ssd, hdd]}
workloads:
  net: {type: network}
  data:
    type: zdb
    replicas: ${copies}
    network: net
    disk: ${size}
    disk_class: ${class}
    keys: ${keys}
    mode: user
    history: last:3
    placement: {spread: node}
  app:
    type: container
    image: redis
    network: net
    cpu: 0.1
    memory: 32MiB
    disk: 16MiB
"""


def _recipe(text: str = NOTES) -> contract.Recipe:
    return contract.parse_recipe_yaml(text, author=who("expert"))


def _data(**fields: Any) -> contract.ZdbNamespace:
    given: dict[str, Any] = {"name": "data", "network": "net", "disk_bytes": GIB}
    return contract.ZdbNamespace(**(given | fields))


def notes_stage(hdd_bytes: int = 0) -> Stage:
    """One farm with three nodes, the third with a hard disk, and the recipe of the notes."""
    stage = Stage()
    stage.join("founder", "expert", "alice")
    prices = farm.Prices(cru=10_000_000, mru=4_000_000, sru=100_000, hru=20_000)
    stage.add_farm("f1", "BE", prices=prices)
    for name in ("n1", "n2", "n3"):
        stage.add_node(name, "f1")
    if hdd_bytes:
        reserve = Capacity(memory_bytes=limits.node_memory_reserve_bytes_min)
        total = Capacity(
            cpu_millis=4000, memory_bytes=4 * GIB, ssd_bytes=4 * GIB, hdd_bytes=hdd_bytes
        )
        stage.write("n3", "node.inventory", farm.NodeInventory(total=total, reserve=reserve))
    stage.write("expert", "recipe.publish", _recipe())
    return stage


def _order(**fields: Any) -> contract.Order:
    given: dict[str, Any] = {
        "ledger": LEDGER, "owner": who("alice"), "name": "notes", "salt": "A" * 22,
    }  # fmt: skip
    return contract.Order(**(given | fields))


def _plan(stage: Stage, **fields: Any) -> contract.Plan:
    return contract.plan(_order(**fields), _recipe(), IMAGES, stage.inventory())


def _propose(stage: Stage) -> Running:
    plan = _plan(stage)
    stage.write("alice", "contract.propose", plan.proposal)
    return Running(stage, plan.proposal)


# Recipes


def test_a_recipe_orders_namespaces() -> None:
    """Sizes as text, replicas, class and history become what an agreement holds."""
    assert contract.lint_recipe_yaml(NOTES) == ()
    asked = contract.render(_recipe(), {"size": "1.5GiB", "class": "hdd"}, IMAGES)
    spread = contract.Constraints(group="data", spread="node")
    expected = _data(
        name="data-1", disk_bytes=1536 * MIB, keys_max=100_000, history="last:3",
        disk_class="hdd", constraints=spread,
    )  # fmt: skip
    assert asked[1:3] == (expected, changed(expected, name="data-2"))


def test_what_is_not_said_has_its_default() -> None:
    """Network and disk are needed; a million keys, chosen by clients, all history, an SSD."""
    text = NOTES.partition("  data:")[0] + "  data: {type: zdb, network: net, disk: 64MiB}\n"
    (_, data) = contract.render(_recipe(text), {}, IMAGES)
    assert isinstance(data, contract.ZdbNamespace)
    assert data == _data(disk_bytes=64 * MIB)
    assert (data.keys_max, data.mode, data.history, data.disk_class) == (
        1_000_000, "user", "all", "ssd",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after", "code"),
    [
        ("mode: user", "mode: mixed", "TFG-2328"),
        ("history: last:3", "history: last:0", "TFG-2328"),
        ("history: last:3", "history: since:yesterday", "TFG-2328"),
        ("history: last:3", "history: since:4294967296", "TFG-2328"),
        ("history: last:3", "history: last:3 ", ""),
        ("    disk: ${size}\n", "", "TFG-2328"),
        ("    network: net\n    disk", "    disk", "TFG-2328"),
        ("disk: ${size}", "disk: lots", "TFG-2328"),
        ("disk: ${size}", "disk: 1023KiB", "TFG-2328"),
        ("keys: ${keys}", "keys: 0", "TFG-2328"),
        ("keys: ${keys}", "keys: many", "TFG-2328"),
        ("keys: ${keys}", "keyes: 7", "TFG-2325"),
        ("disk_class: ${class}", "disk_class: tape", "TFG-2328"),
        ("mode: user", "password: x", "TFG-2325"),
        ("mode: user", "path: /data", "TFG-2325"),
        ("replicas: ${copies}", "replicas: many", "TFG-2328"),
    ],
)
def test_a_namespace_that_makes_no_sense_is_found(before: str, after: str, code: str) -> None:
    """Each odd value is a finding, also of a record that was not made from YAML."""
    assert before in NOTES
    found = contract.lint_recipe_yaml(NOTES.replace(before, after))
    assert [finding.code for finding in found] == ([code] if code else [])


def test_a_misspelt_key_names_the_nearest() -> None:
    """`keyes` is answered with `keys`."""
    (finding,) = contract.lint_recipe_yaml(NOTES.replace("keys: ${keys}", "keyes: 7"))
    assert finding.hint == "did you mean keys?"


# Charging


@pytest.mark.parametrize(
    ("namespace", "asked"),
    [
        (_data(), Capacity(memory_bytes=40_000_000, ssd_bytes=GIB)),
        (_data(disk_class="hdd"), Capacity(memory_bytes=40_000_000, hdd_bytes=GIB)),
        (_data(keys_max=10), Capacity(memory_bytes=400, ssd_bytes=GIB)),
        (_data(mode="seq"), Capacity(ssd_bytes=GIB)),
    ],
)
def test_a_reservation_is_charged_whole(namespace: contract.ZdbNamespace, asked: Capacity) -> None:
    """Its disk in its class and the memory of all its keys, though nothing is in it yet."""
    assert contract.asked(namespace) == asked


def test_a_namespace_is_priced_and_reserved_like_a_container() -> None:
    """The row has price, memory, disk and address; after the quorum the node has that much less."""
    stage = notes_stage()
    plan = _plan(stage)
    rows = {row.workload: row for row in plan.rows}
    data = rows["data-1"]
    assert (data.kind, data.disk_bytes, data.memory_bytes) == ("zdb", GIB, 4_000_000)
    assert int(data.price_per_day) == 100_000 + -(-4_000_000 * 4_000_000 // GIB)
    assert len(data.addresses) == 2 and data.image == ""
    before = {n.node: n.free for n in stage.inventory().nodes}
    _propose(stage)
    after = {n.node: n.free for n in stage.inventory().nodes}
    for row in (rows["data-1"], rows["data-2"]):
        gone = before[row.node].minus(after[row.node])
        assert gone.ssd_bytes >= GIB and gone.memory_bytes >= 4_000_000


# Placing


def test_replicas_are_kept_apart_and_named() -> None:
    """Two copies are on two nodes, each a member of the network beside the container."""
    plan = _plan(notes_stage())
    where = {row.workload: row.node_name for row in plan.rows}
    assert where["data-1"] != where["data-2"]
    members = [m.workload for p in plan.proposal.placement.networks for m in p.members]
    assert sorted(members) == ["app", "data-1", "data-2"]


def test_the_class_of_the_disk_decides_the_node() -> None:
    """A namespace on a hard disk goes where there is one, at that price; the others say why not."""
    stage = notes_stage(hdd_bytes=100 * GIB)
    plan = _plan(stage, parameters={"class": "hdd", "copies": 1})
    row = next(row for row in plan.rows if row.workload == "data-1")
    assert row.node_name == "n3"
    assert "n1: hdd: 1 GiB asked, 0 B free" in row.reason
    assert int(row.price_per_day) == 20_000 + -(-4_000_000 * 4_000_000 // GIB)


def _no_fit(stage: Stage, **parameters: Any) -> errors.NoFit:
    with pytest.raises(errors.NoFit) as caught:
        _plan(stage, parameters=parameters)
    return caught.value


def test_no_fit_says_what_would() -> None:
    """Too large a namespace is refused by every node with figures, and the most that fits said."""
    fault = _no_fit(notes_stage(), size="50GiB", copies=1)
    reasons: Any = fault.details["reasons"]
    assert len(reasons) == 3
    assert all("data-1: disk: 50 GiB asked, 40 GiB free" in said for said in reasons.values())
    changes: Any = fault.details["changes"]
    change = next(c for c in changes if c.field == "disk_bytes")
    assert change.parameters == {"size": "40GiB"}
    assert _plan(notes_stage(), parameters={"copies": 1} | change.parameters)


def test_too_many_keys_are_memory_that_nobody_has() -> None:
    """The index of a billion keys does not fit; fewer keys do, and how many is said."""
    fault = _no_fit(notes_stage(), keys=1_000_000_000, copies=1)
    changes: Any = fault.details["changes"]
    change = next(c for c in changes if c.field == "keys_max")
    keys = int(change.parameters["keys"])
    assert 0 < 4 * GIB - keys * limits.zdb_key_memory_bytes < 2000 * limits.zdb_key_memory_bytes
    assert _plan(notes_stage(), parameters={"copies": 1} | change.parameters)


def test_a_gateway_node_holds_no_namespace() -> None:
    """A namespace goes where containers go."""
    stage = notes_stage()
    stage.add_node("n4", "f1", roles=("gateway",))
    fault = _no_fit(stage, size="50GiB")
    reasons: Any = fault.details["reasons"]
    assert any("data-1: not a compute node" in said for said in reasons[who("n4")])


# The ledger


def test_a_placement_without_its_address_is_refused() -> None:
    """A namespace is a member of its network on its node, or the placement is not sound."""
    stage = notes_stage()
    proposal = _plan(stage).proposal
    places = tuple(
        changed(p, members=tuple(m for m in p.members if m.workload != "data-1"))
        for p in proposal.placement.networks
    )
    broken = changed(proposal, placement=changed(proposal.placement, networks=places))
    stage.refused("TFG-2368", "alice", "contract.propose", broken)


def test_a_namespace_cannot_be_had_for_less() -> None:
    """A placement that leaves the memory of the keys out of the price is refused."""
    stage = notes_stage()
    proposal = _plan(stage).proposal
    cheap = farm.Prices(sru=100_000).of(Capacity(ssd_bytes=GIB))
    assignments = tuple(
        changed(a, price_per_day=cheap) if a.workload == "data-1" else a
        for a in proposal.placement.assignments
    )
    broken = changed(proposal, placement=changed(proposal.placement, assignments=assignments))
    stage.refused("TFG-2369", "alice", "contract.propose", broken)


def test_a_route_leads_to_no_namespace() -> None:
    """What a gateway carries is HTTP for containers; a namespace is no backend."""
    route = "type: route, host: n.grid.localhost, network: net, containers: [data], port: 9900"
    text = f"{NOTES}  page: {{{route}}}\n"
    with pytest.raises(errors.BadInput) as caught:
        contract.plan(_order(), _recipe(text), IMAGES, notes_stage().inventory())
    assert caught.value.code == "TFG-2318"


def test_receipts_say_what_is_set() -> None:
    """A running namespace is told with its limits, and the contract runs when all of it does."""
    stage = notes_stage()
    running = _propose(stage).accept()
    nodes = {node.node: node.name for node in stage.inventory().nodes}
    for assignment in running.proposal.placement.assignments:
        name = assignment.workload
        held = contract.Usage(disk_bytes=GIB, keys_max=100_000)
        usage = {"limits": held} if name.startswith("data") else {}
        running.report(nodes[assignment.node], "running", name, **usage)
    assert running.phase == "running"
    data = next(a for a in running.proposal.placement.assignments if a.workload == "data-1")
    fact = running.state.receipt(data.node, "data-1")
    assert fact is not None
    assert (fact.receipt.limits.disk_bytes, fact.receipt.limits.keys_max) == (GIB, 100_000)
    assert fact.receipt.image == ""


def test_a_receipt_without_them_keeps_its_bytes() -> None:
    """Limits of a namespace that are not said are not written; a zero that is written stays."""
    plain = canonical.encode(contract.Usage(cpu_millis=1))
    assert plain == b'{"cpu_millis":1,"memory_bytes":0,"processes":0}'
    assert canonical.parse(plain, contract.Usage) == contract.Usage(cpu_millis=1)
    zero = b'{"cpu_millis":1,"disk_bytes":0,"memory_bytes":0,"processes":0}'
    assert canonical.parse(zero, contract.Usage).disk_bytes == 0
    assert canonical.parse(plain, contract.Usage).disk_bytes is msgspec.UNSET


@pytest.mark.parametrize(
    ("history", "kept"),
    [
        ("all", "all versions kept"),
        ("last:3", "the last 3 versions of each kept"),
        ("since:1750000000", "versions since 2025-06-15T15:06:40Z kept"),
    ],
)
def test_words_for_people(history: str, kept: str) -> None:
    """What a namespace may hold is said in words; of other workloads the columns say it."""
    assert contract.asks_text(_data(mode="seq", history=history)) == (
        f"1 GiB on ssd, at most 1,000,000 keys chosen by the server, {kept}"
    )
    assert contract.asks_text(contract.Network(name="net")) == ""


def test_a_proof_says_it_in_words() -> None:
    """The verdict on a contract has what was agreed of each namespace."""
    stage = notes_stage()
    running = _propose(stage)
    verdict = contract.verdict(stage.view, running.id, stage.now_ms)
    said = {part.workload: part.asks for part in verdict.parts}
    assert said["data-1"].startswith("1 GiB on ssd, at most 100,000 keys")
    assert said["app"] == ""
