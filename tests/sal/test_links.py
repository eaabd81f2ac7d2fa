"""Links, addresses and routes: netlink does what the rendered lines do, and it is read back."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tfgrid.core import errors
from tfgrid.jumpscale.sal import links, namespaces, netlink, topology
from tfgrid.jumpscale.sal.change import Change

mac, other = "02:74:00:00:00:01", "02:74:00:00:00:02"


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """Two empty namespaces."""
    pins = (tmp_path / "a", tmp_path / "b")
    for pin in pins:
        namespaces.Pin(net=pin).perform()
    yield pins
    for pin in pins:
        namespaces.Unpin(path=pin).perform()


def story(a: Path, b: Path) -> tuple[Change, ...]:
    """One of each kind of change, in an order that works."""
    return (
        links.LinkSet(netns=a, name="lo", up=True),
        links.LinkAdd(netns=a, name="br0", kind="bridge", mac=mac),
        links.VethAdd(
            netns=a, name="v0", mac=mac, peer="eth0", peer_mac=other, peer_netns=b, mtu_bytes=1400
        ),
        links.LinkSet(netns=a, name="v0", master="br0", isolated=True, link_local=False),
        links.LinkSet(netns=a, name="v0", up=True, mtu_bytes=1300),
        links.LinkSet(netns=a, name="br0", up=True, link_local=False),
        links.LinkSet(netns=b, name="eth0", up=True, link_local=False),
        links.AddressAdd(netns=a, link="br0", address="10.9.0.1/24"),
        links.AddressAdd(netns=a, link="br0", address="10.9.9.1/24"),
        links.AddressRemove(netns=a, link="br0", address="10.9.9.1/24"),
        links.AddressAdd(netns=b, link="eth0", address="10.9.0.2/32"),
        links.AddressAdd(netns=b, link="eth0", address="fd09::2/128"),
        links.RouteAdd(netns=b, destination="10.9.0.1/32", link="eth0"),
        links.RouteAdd(netns=b, destination="0.0.0.0/0", link="eth0", via="10.9.0.1"),
        links.RouteAdd(netns=b, destination="fd09::1/128", link="eth0"),
        links.RouteAdd(netns=b, destination="::/0", link="eth0", via="fd09::1"),
        links.RouteAdd(netns=b, destination="10.8.0.0/16", link="eth0"),
        links.RouteRemove(netns=b, destination="10.8.0.0/16", link="eth0"),
        links.NeighbourAdd(netns=b, link="eth0", address="10.9.0.1", mac=mac),
        links.NeighbourAdd(netns=b, link="eth0", address="fd09::1", mac=mac),
        links.VethAdd(
            netns=a, name="w0", mac=mac, peer="w1", peer_mac=other, peer_netns=a, mtu_bytes=1400
        ),
        links.LinkMove(netns=a, name="w1", to=b),
        links.VethAdd(
            netns=a, name="x0", mac=mac, peer="x1", peer_mac=other, peer_netns=b, mtu_bytes=1400
        ),
        links.LinkRemove(netns=a, name="x0"),
        links.Setting(netns=a, key="net.ipv4.ip_forward", value="1"),
    )


def without_numbers(netns: Path) -> object:
    """A namespace as it was read, but for what the kernel numbers as it likes."""
    seen = topology.read(netns)
    named = {
        (n.name, n.kind, n.mac, n.mtu_bytes, n.up, n.master, n.isolated, n.link_local)
        for n in seen.links.values()
    }
    return named, seen.addresses, seen.routes, seen.neighbours


@pytest.mark.root
def test_rendered_lines_do_what_netlink_does(
    scratch: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The same story, performed in one pair of namespaces and run by hand in another, ends so."""
    twins = [tmp_path_factory.mktemp("twin") / name for name in "ab"]
    for pin in twins:
        namespaces.Pin(net=pin).perform()
    try:
        for change in story(*scratch):
            change.perform()
        for change in story(*twins):
            for line in change.argv():
                done = subprocess.run(line, capture_output=True, text=True, check=False)
                assert done.returncode == 0, (line, done.stderr)
        assert [without_numbers(p) for p in scratch] == [without_numbers(p) for p in twins]
    finally:
        for pin in twins:
            namespaces.Unpin(path=pin).perform()


@pytest.mark.root
def test_what_was_made_is_read_back(scratch: tuple[Path, Path]) -> None:
    """Addresses, routes by way and by link, permanent neighbours and isolation are all told."""
    for change in story(*scratch):
        change.perform()
    a, b = (topology.read(pin) for pin in scratch)
    assert a.links["v0"].master == "br0" and a.links["v0"].isolated
    assert a.links["v0"].mtu_bytes == 1300 and not a.links["v0"].link_local
    assert a.links["br0"].kind == "bridge" and a.links["br0"].mac == mac
    assert topology.Address("br0", "10.9.9.1/24") not in a.addresses
    assert {each.address for each in b.addresses if each.link == "eth0"} == {
        "10.9.0.2/32",
        "fd09::2/128",
    }
    assert topology.Route("0.0.0.0/0", "eth0", "10.9.0.1") in b.routes
    assert topology.Route("::/0", "eth0", "fd09::1") in b.routes
    assert b.neighbours == {
        topology.Neighbour("eth0", "10.9.0.1", mac),
        topology.Neighbour("eth0", "fd09::1", mac),
    }
    assert "w1" in b.links and "x1" not in b.links


@pytest.mark.root
def test_refusals_say_what_was_refused(scratch: tuple[Path, Path]) -> None:
    """A name that is taken, a lost link and a lost namespace carry errno and line."""
    a, _ = scratch
    add = links.LinkAdd(netns=a, name="br0", kind="bridge")
    add.perform()
    with pytest.raises(errors.Failed, match="ip link add name br0") as refused:
        add.perform()
    assert (refused.value.code, refused.value.details["errno"]) == ("TFG-3601", 17)
    with pytest.raises(errors.Failed) as refused:
        links.LinkRemove(netns=a, name="nothing").perform()
    assert refused.value.details["errno"] == 19
    with pytest.raises(errors.Failed):
        links.LinkSet(netns=a.with_name("gone"), name="lo", up=True).perform()


@pytest.mark.root
def test_two_hundred_links_are_read_whole(scratch: tuple[Path, Path]) -> None:
    """A dump that needs many packets is read to its end."""
    a, b = scratch
    for number in range(200):
        links.VethAdd(
            netns=a, name=f"v{number}", mac=mac, peer=f"p{number}", peer_mac=other,
            peer_netns=b, mtu_bytes=1400,
        ).perform()  # fmt: skip
    assert len(topology.read(a).links) == 201


def test_attributes_that_are_cut_short_end_the_reading() -> None:
    """Lengths of zero and beyond the end neither loop nor raise."""
    whole = netlink.attribute(1, b"abc") + netlink.text(2, "x")
    assert netlink.attributes(whole) == {1: b"abc", 2: b"x\0"}
    assert netlink.attributes(whole + bytes(8)) == {1: b"abc", 2: b"x\0"}
    assert netlink.attributes(whole[:5])[1] == b"a"
    assert netlink.attributes(b"\xff") == {}
