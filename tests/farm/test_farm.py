"""Farms and nodes: who may write what, and what is read from it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contract.stage import GIB, PRICES, Stage, farm_id, node_id, who
from tfgrid.core import canonical, errors, limits
from tfgrid.core.ids import ContractId
from tfgrid.core.units import Capacity
from tfgrid.ledger import farm

CONTRACT = ContractId("c" * 64)
RESERVE = Capacity(memory_bytes=limits.node_memory_reserve_bytes_min)


def _stage() -> Stage:
    stage = Stage()
    stage.join("mallory", "dave")
    stage.add_farm("f1")
    stage.add_farm("f2", "DE")
    stage.add_node("n1", "f1")
    return stage


def _registration(home: str = "f1", **fields: Any) -> farm.NodeRegister:
    known: dict[str, Any] = {
        "farm": farm_id(home), "endpoint": "10.9.9.50", "trust": "hosted", "roles": ("compute",),
    }  # fmt: skip
    return farm.NodeRegister(**(known | fields))


def test_a_node_is_read_with_its_farm() -> None:
    """What a node says, what its farm offers and what is free stand side by side."""
    stage = _stage()
    (node,) = farm.nodes(stage.view, stage.now_ms)
    assert node == farm.node(stage.view, node_id("n1"), stage.now_ms)
    assert (node.name, node.farm_name, node.country, node.admitted) == ("n1", "f1", "BE", True)
    assert node.free == node.capacity == node.total.minus(RESERVE)
    assert [f.name for f in sorted(farm.farms(stage.view), key=lambda f: f.name)] == ["f1", "f2"]
    assert farm.farm(stage.view, farm_id("f2")).country == "DE"


def test_what_is_not_there_is_not_found() -> None:
    """Unknown farms and nodes have their codes."""
    stage = _stage()
    with pytest.raises(errors.NotFound) as caught:
        farm.farm(stage.view, farm_id("nobody"))
    assert caught.value.code == "TFG-2601"
    with pytest.raises(errors.NotFound) as caught:
        farm.node(stage.view, node_id("nobody"), 0)
    assert caught.value.code == "TFG-2602"
    assert farm.positions(stage.view, node_id("nobody")) == ()


def test_a_farmer_has_one_farm_with_a_name_of_its_own() -> None:
    """A second farm, a taken name, and a node as farmer are refused."""
    stage = _stage()
    stage.refused("TFG-2610", "f1", "farm.create", farm.FarmCreate(name="other"))
    stage.refused("TFG-2612", "dave", "farm.create", farm.FarmCreate(name="f1"))
    stage.refused("TFG-2611", "n1", "farm.create", farm.FarmCreate(name="other"))


def test_an_offer_is_a_farmers() -> None:
    """Without a farm there is nothing to offer; a payment listed twice is refused."""
    stage = _stage()
    offer = farm.Offer(country="BE", prices=PRICES, payments=("none",))
    stage.refused("TFG-2613", "mallory", "farm.offer", offer)
    twice = farm.Offer(country="BE", prices=PRICES, payments=("none", "none"))
    stage.refused("TFG-2614", "f1", "farm.offer", twice)


@pytest.mark.parametrize(
    ("code", "fields"),
    [
        ("TFG-2601", {"farm": farm_id("nobody")}),
        ("TFG-2616", {"endpoint": "10.9.9.256"}),
        ("TFG-2616", {"endpoint": "10.9.9.01"}),
        ("TFG-2616", {"endpoint": "fe80:0::1"}),
        ("TFG-2616", {"endpoint": "0.0.0.0"}),
        ("TFG-2616", {"endpoint": "224.0.0.1"}),
        ("TFG-2617", {"roles": ("compute", "compute")}),
        ("TFG-2618", {"roles": ("gateway",)}),
        ("TFG-2618", {"domains": ("grid.localhost",)}),
    ],
)
def test_a_registration_that_is_not_sound_is_refused(code: str, fields: dict[str, Any]) -> None:
    """Farm, endpoint, roles and domains are looked at."""
    _stage().refused(code, "dave", "node.register", _registration(**fields))


def test_a_farmer_is_no_node() -> None:
    """Each needs an identity of its own."""
    _stage().refused("TFG-2611", "f1", "node.register", _registration("f2"))


def test_only_its_farmer_admits_a_node() -> None:
    """Neither the node itself, nor another farmer, nor a stranger."""
    stage = _stage()
    registration = farm.node(stage.view, node_id("n1"), 0).registration
    body = farm.NodeAdmit(node=node_id("n1"), registration=registration)
    for name in ("n1", "f2", "mallory"):
        stage.refused("TFG-2620", name, "node.admit", body)
    unknown = farm.NodeAdmit(node=node_id("dave"), registration=registration)
    stage.refused("TFG-2602", "f1", "node.admit", unknown)


def test_an_admission_is_of_one_registration() -> None:
    """A node that says otherwise later is not admitted any more, until its farmer has seen it."""
    stage = _stage()
    old = farm.node(stage.view, node_id("n1"), 0).registration
    stage.write("n1", "node.register", _registration(trust="booted"))
    assert not farm.node(stage.view, node_id("n1"), 0).admitted
    body = farm.NodeAdmit(node=node_id("n1"), registration=old)
    stage.refused("TFG-2621", "f1", "node.admit", body)
    new = farm.node(stage.view, node_id("n1"), 0).registration
    stage.write("f1", "node.admit", farm.NodeAdmit(node=node_id("n1"), registration=new))
    assert farm.node(stage.view, node_id("n1"), 0).admitted


def test_a_node_that_only_moves_stays_admitted() -> None:
    """Its endpoint is not part of what a farmer admits."""
    stage = _stage()
    stage.write("n1", "node.register", _registration(endpoint="10.9.9.99"))
    node = farm.node(stage.view, node_id("n1"), 0)
    assert (node.admitted, node.endpoint) == (True, "10.9.9.99")


def test_a_farmer_may_withdraw_a_node() -> None:
    """With `admitted` false it gets no new work."""
    stage = _stage()
    registration = farm.node(stage.view, node_id("n1"), 0).registration
    body = farm.NodeAdmit(node=node_id("n1"), registration=registration, admitted=False)
    stage.write("f1", "node.admit", body)
    assert not farm.node(stage.view, node_id("n1"), 0).admitted


def test_a_node_that_holds_contracts_keeps_its_farm() -> None:
    """It may change its farm when nothing is reserved on it."""
    stage = _stage()
    farm.reserve(stage.view, node_id("n1"), CONTRACT, Capacity(cpu_millis=1), stage.now_ms)
    stage.refused("TFG-2619", "n1", "node.register", _registration("f2"))
    farm.release(stage.view, node_id("n1"), CONTRACT)
    stage.write("n1", "node.register", _registration("f2"))
    assert farm.node(stage.view, node_id("n1"), 0).farm_name == "f2"


def test_an_inventory_is_a_registered_nodes_with_a_reserve() -> None:
    """A stranger's, and one with too large or too small a reserve, are refused."""
    stage = _stage()
    total = Capacity(cpu_millis=1000, memory_bytes=GIB)
    good = farm.NodeInventory(total=total, reserve=RESERVE)
    stage.refused("TFG-2602", "mallory", "node.inventory", good)
    large = farm.NodeInventory(total=total, reserve=Capacity(memory_bytes=2 * GIB))
    stage.refused("TFG-2622", "n1", "node.inventory", large)
    small = farm.NodeInventory(total=total, reserve=Capacity(memory_bytes=1))
    stage.refused("TFG-2623", "n1", "node.inventory", small)


def test_a_reservation_ends_at_its_moment() -> None:
    """Until then the capacity is taken, afterwards it is free without a record."""
    stage = _stage()
    held = Capacity(cpu_millis=500, memory_bytes=GIB)
    farm.reserve(stage.view, node_id("n1"), CONTRACT, held, 1000)
    farm.reserve(stage.view, node_id("n1"), ContractId("d" * 64), held, 2000)
    reserved = [farm.node(stage.view, node_id("n1"), now).reserved for now in (1000, 1001, 2001)]
    assert reserved == [held.plus(held), held, Capacity()]
    assert farm.nodes(stage.view, 1001)[0].reserved == held


def test_sources_are_their_authors() -> None:
    """Each identity announces its own, may withdraw them, and not too many."""
    stage = _stage()
    stage.write("f1", "image.source", farm.ImageSource(url="http://10.9.9.1:8101"))
    stage.write("mallory", "image.source", farm.ImageSource(url="http://10.6.6.6"))
    assert farm.image_sources(stage.view, who("f1")) == ("http://10.9.9.1:8101",)
    assert farm.image_sources(stage.view, who("f2")) == ()
    stage.write("f1", "image.source", farm.ImageSource(url="http://10.9.9.1:8101", active=False))
    assert farm.image_sources(stage.view, who("f1")) == ()
    for number in range(16):
        stage.write("f1", "image.source", farm.ImageSource(url=f"http://10.9.9.1:{number + 1}"))
    extra = farm.ImageSource(url="http://10.9.9.1:99")
    stage.refused("TFG-2624", "f1", "image.source", extra)
    again = farm.ImageSource(url="http://10.9.9.1:1")
    stage.write("f1", "image.source", again)


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "http://", "http://a b", "http://u:p@h/", "ftp://h", "http://h/?q", ""],
)
def test_only_plain_web_addresses_are_sources(url: str) -> None:
    """A source has no credentials, query or other scheme."""
    data = canonical.encode(farm.ImageSource(url=url))
    with pytest.raises(errors.BadInput):
        canonical.parse(data, farm.ImageSource)


@given(st.integers(0, 10**6), st.integers(0, 2**45), st.integers(0, 2**45))
def test_a_price_is_rounded_up_once_per_dimension(cpu: int, memory: int, disk: int) -> None:
    """No workload costs less than its exact price, nor three units more."""
    asked = Capacity(cpu_millis=cpu, memory_bytes=memory, ssd_bytes=disk)
    price = int(PRICES.of(asked))
    scaled = PRICES.cru * cpu * GIB + (PRICES.mru * memory + PRICES.sru * disk) * 1000
    assert scaled <= price * 1000 * GIB < scaled + 3 * 1000 * GIB
