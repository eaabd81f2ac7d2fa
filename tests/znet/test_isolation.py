"""What a member cannot do: be someone else, reach the node, another tenant, or the world."""

from __future__ import annotations

import contextlib
import socket
import struct
from pathlib import Path

import pytest

from tests.znet.ground import Ground, mesh, network_id, play
from tests.znet.probes import connects, echoes, greeting, hears, open_socket, run_in
from tfgrid.jumpscale.sal import links

pytestmark = [pytest.mark.root, pytest.mark.slow]


def test_two_tenants_with_the_same_ranges_never_meet(tmp_path: Path) -> None:
    """Two networks with equal addresses on the same nodes reach their own and no other."""

    async def story(ground: Ground) -> None:
        boxes = [ground.node(), ground.node()]
        red, blue = network_id(), network_id()
        await mesh(red, boxes, [("web",), ("db",)])
        await mesh(blue, boxes, [("web",), ("db",)])
        with (
            greeting(boxes[1].inside(red, "db"), 80, "red") as at_red,
            greeting(boxes[1].inside(blue, "db"), 80, "blue"),
        ):
            for _ in range(3):
                assert hears(boxes[0].inside(red, "web"), "10.99.1.2", 80, seconds=8) == "red"
                assert hears(boxes[0].inside(blue, "web"), "10.99.1.2", 80, seconds=8) == "blue"
                assert hears(boxes[0].inside(blue, "web"), "fd99:0:0:2::2", 80) == "blue"
            assert set(at_red) == {"10.99.0.2"}

    play(tmp_path, story)


def test_a_member_cannot_reach_the_node_or_beyond(tmp_path: Path) -> None:
    """Underlay, other nodes, the gateway link and foreign addresses are silent."""

    async def story(ground: Ground) -> None:
        network = network_id()
        boxes = [ground.node(), ground.node()]
        await mesh(network, boxes, [("web",), ("db",)], gateway=True)
        web, node = boxes[0].inside(network, "web"), boxes[0].netns
        with greeting(node, 22, "node"), greeting(boxes[0].tenant(network), 23, "tenant"):
            assert hears(node, boxes[0].address, 22) == "node"
            foreign = (boxes[0].address, boxes[1].address, "100.64.0.1", "100.64.0.2", "192.0.2.1")
            for address in (*foreign, "fd70::11", "2001:db8::1"):
                assert connects(web, address, 22, seconds=0.2) == "silence", address
                assert not echoes(web, address, seconds=0.2), address
            for address in ("10.99.0.1", "fd99:0:0:1::1"):
                assert echoes(web, address)
                assert connects(web, address, 23, seconds=0.2) == "silence"
                assert connects(web, address, 9, seconds=0.2) == "silence"

    play(tmp_path, story)


def test_a_member_uses_its_own_addresses_only(tmp_path: Path) -> None:
    """Packets with another's address or MAC do not pass the port."""

    async def story(ground: Ground) -> None:
        network = network_id()
        boxes = [ground.node(), ground.node()]
        await mesh(network, boxes, [("evil", "good"), ("db",)])
        evil, good = boxes[0].inside(network, "evil"), boxes[0].inside(network, "good")
        assert echoes(evil, "10.99.0.3", source="10.99.0.2")
        links.AddressAdd(netns=evil, link="eth0", address="fd99:0:0:1::77/128").perform()
        with open_socket(good, socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(("10.99.0.3", 5353))
            server.settimeout(0.3)
            for stolen in ("10.99.0.1", "10.99.1.2", "10.99.0.77"):
                _say(evil, stolen, "10.99.0.3")
            with pytest.raises(TimeoutError):
                server.recv(100)
            _say(evil, "10.99.0.2", "10.99.0.3")
            assert server.recvfrom(100)[1][0] == "10.99.0.2"
            run_in(evil, "ip", "link", "set", "eth0", "address", "02:74:0a:63:00:03")
            _say(evil, "10.99.0.2", "10.99.0.3")
            with pytest.raises(TimeoutError):
                server.recv(100)
        assert not echoes(evil, "fd99:0:0:1::1", source="fd99:0:0:1::77", seconds=0.3)

    play(tmp_path, story)


def _say(netns: Path, source: str, target: str) -> None:
    with open_socket(netns, socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.IPPROTO_IP, 19, 1)  # IP_TRANSPARENT: any source address
        sender.bind((source, 0))
        sender.sendto(b"x", (target, 5353))


def heard_by(listening: socket.socket) -> list[str]:
    """The senders of all frames until it is silent."""
    heard = []
    with contextlib.suppress(TimeoutError):
        while True:
            heard.append(listening.recv(2048)[6:12].hex())
    return heard


def test_neighbours_hear_no_frames_of_each_other(tmp_path: Path) -> None:
    """A forged ARP answer or any other frame reaches no other member and changes nothing."""

    async def story(ground: Ground) -> None:
        network = network_id()
        boxes = [ground.node()]
        await mesh(network, boxes, [("evil", "good")])
        evil, good = boxes[0].inside(network, "evil"), boxes[0].inside(network, "good")
        forged = bytes.fromhex("ffffffffffff" + "02740a630002" + "0806" + "0001080006040002")
        forged += bytes.fromhex("02740a630002") + socket.inet_aton("10.99.0.1")
        forged += bytes.fromhex("02740a630003") + socket.inet_aton("10.99.0.3")
        with (
            open_socket(good, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as listening,
            open_socket(evil, socket.AF_PACKET, socket.SOCK_RAW) as sender,
        ):
            listening.bind(("eth0", 0))
            sender.bind(("eth0", 0))
            listening.settimeout(0.3)
            sender.send(forged)
            sender.send(bytes.fromhex("02740a630003" + "02740a630002" + "88b5") + b"hello" * 12)
            assert "02740a630002" not in heard_by(listening)
        assert "02:74:0a:63:00:01" in run_in(good, "ip", "neigh", "show", "10.99.0.1")
        assert echoes(good, "10.99.0.1")

    play(tmp_path, story)


def test_the_tunnel_is_silent_to_strangers(tmp_path: Path) -> None:
    """Whatever a stranger sends to the UDP port, no byte comes back."""

    async def story(ground: Ground) -> None:
        network = network_id()
        boxes = [ground.node(), ground.node()]
        await mesh(network, boxes, [("web",), ("db",)])
        port = (await boxes[0].networks.prepare(network)).port
        handshake = struct.pack("<I", 1) + bytes(144)
        with open_socket(boxes[1].netns, socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.settimeout(0.2)
            for packet in (b"", b"x", bytes(1400), handshake, struct.pack("<I", 4) + bytes(60)):
                stranger.sendto(packet, (boxes[0].address, port))
                with pytest.raises(TimeoutError):
                    stranger.recv(2048)

    play(tmp_path, story)


def test_only_tunnel_ports_are_open_on_a_node(tmp_path: Path) -> None:
    """In the node's namespace nothing listens but the UDP port that was promised."""

    async def story(ground: Ground) -> None:
        network = network_id()
        boxes = [ground.node(), ground.node()]
        await mesh(network, boxes, [("web",), ("db",)], gateway=True)
        port = (await boxes[0].networks.prepare(network)).port
        lines = [line.split() for line in run_in(boxes[0].netns, "ss", "-Hlntu").splitlines()]
        assert {(words[0], words[4].rpartition(":")[2]) for words in lines} == {("udp", str(port))}
        assert run_in(boxes[0].tenant(network), "ss", "-Hlntu") == ""

    play(tmp_path, story)
