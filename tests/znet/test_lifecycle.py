"""Networks over restarts, kills and removal: promises are kept, and nothing is left."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import msgspec
import pytest

from tests.znet.ground import Box, Ground, mesh, network_id, play, spec
from tests.znet.probes import connects, echoes, greeting, hears, run_in
from tfgrid.core import errors
from tfgrid.jumpscale.executors import Spawn
from tfgrid.jumpscale.sal import namespaces, topology

pytestmark = [pytest.mark.root, pytest.mark.slow]


def traces(box: Box) -> dict[str, object]:
    """Everything a network could leave behind on a node."""
    return {
        "links": sorted(topology.read(box.netns).links),
        "rules": run_in(box.netns, "nft", "list", "ruleset"),
        "sockets": run_in(box.netns, "ss", "-Hlntu"),
        "files": sorted(
            str(p.relative_to(box.folder))
            for name in ("netns", "wireguard", "state/networks")
            for p in (box.folder / name).rglob("*")
        ),
    }


def test_remove_leaves_nothing(tmp_path: Path) -> None:
    """After removal links, rules, sockets, files and processes are as before; again is nothing."""

    async def story(ground: Ground) -> None:
        network = network_id()
        boxes = [ground.node(), ground.node()]
        before = [traces(box) for box in boxes]
        await mesh(network, boxes, [("web",), ("db",)], gateway=True)
        await boxes[0].networks.forward(network, "10.99.0.2", 80)
        assert traces(boxes[0]) != before[0]
        for box in boxes:
            await box.networks.remove(network)
            await box.networks.remove(network)
        assert [traces(box) for box in boxes] == before
        assert await boxes[0].launcher.list() == {}
        assert "eth0" not in topology.read(boxes[0].inside(network, "web")).links
        assert await boxes[0].networks.observe() == {}

    play(tmp_path, story)


def test_keys_and_ports_are_stable_and_distinct(tmp_path: Path) -> None:
    """A restarted node promises the same key and port; another network gets others."""

    async def story(ground: Ground) -> None:
        box = ground.node()
        one, two = network_id(), network_id()
        first, second = await box.networks.prepare(one), await box.networks.prepare(two)
        assert first.port == 51_820 and second.port == 51_821
        assert first.public_key != second.public_key
        assert await box.again().prepare(one) == first
        assert oct((box.folder / "state" / "networks" / one).stat().st_mode)[-3:] == "600"
        await box.networks.remove(one)
        again = await box.networks.prepare(one)
        assert again.port == 51_820 and again.public_key != first.public_key

    play(tmp_path, story)


def test_a_killed_tunnel_is_mended_by_the_next_ensure(tmp_path: Path) -> None:
    """After kill -9 of wireguard-go the network is seen as broken, and ensure mends it."""

    async def story(ground: Ground) -> None:
        network = network_id()
        boxes = [ground.node(), ground.node()]
        await mesh(network, boxes, [("web",), ("db",)])
        web = boxes[0].inside(network, "web")
        assert echoes(web, "10.99.1.2", seconds=8)
        assert (await boxes[0].networks.observe())[network].whole
        (name,) = await boxes[0].launcher.list()
        await boxes[0].launcher.signal(name, signal.SIGKILL)
        await boxes[0].launcher.wait(name, 5)
        assert not (await boxes[0].networks.observe())[network].whole
        assert await boxes[0].again().ensure(boxes[0].specs[network])
        assert await boxes[0].networks.ensure(boxes[0].specs[network]) == ()
        assert any(echoes(web, "10.99.1.2", seconds=1) for _ in range(10))

    play(tmp_path, story)


def test_a_restarted_node_process_touches_nothing(tmp_path: Path) -> None:
    """A new node process over a running network has nothing to change and sees what is there."""

    async def story(ground: Ground) -> None:
        network = network_id()
        boxes = [ground.node(), ground.node()]
        await mesh(network, boxes, [("web",), ("db",)], gateway=True)
        forward = await boxes[0].networks.forward(network, "10.99.1.2", 80)
        wanted = boxes[0].specs[network]
        again = boxes[0].again()
        assert await again.changes(wanted) == ()
        assert await again.attach(network, wanted.members[0], boxes[0].inside(network, "web")) == ()
        seen = (await again.observe())[network]
        assert seen.whole and seen.label == "test" and seen.forwards == (forward,)
        assert len(seen.ports) == 1 and len(seen.latest_handshakes) == 1

    play(tmp_path, story)


def test_what_was_damaged_is_mended_and_nothing_else(tmp_path: Path) -> None:
    """Flushed rules, a lost route, a stray address and a lost link are mended by ensure."""

    async def story(ground: Ground) -> None:
        network = network_id()
        boxes = [ground.node(), ground.node()]
        await mesh(network, boxes, [("web",), ("db",)])
        tenant, wanted = boxes[0].tenant(network), boxes[0].specs[network]
        tunnel, bridge = f"wg-{network[:12]}", f"br-{network[:12]}"
        for damage, count in (
            (("nft", "flush", "ruleset"), 2),
            (("ip", "route", "del", "10.99.1.0/24"), 1),
            (("ip", "addr", "add", "10.99.0.9/24", "dev", bridge), 1),
            (("ip", "link", "set", tunnel, "mtu", "1400"), 1),
            (("sysctl", "-qw", "net.ipv4.ip_forward=0"), 1),
            (("ip", "link", "del", tunnel), 0),
        ):
            run_in(tenant, *damage)
            assert len(await boxes[0].networks.ensure(wanted)) >= (count or 1), damage
            assert await boxes[0].networks.ensure(wanted) == (), damage
        web = boxes[0].inside(network, "web")
        assert any(echoes(web, "10.99.1.2", seconds=1) for _ in range(10))

    play(tmp_path, story)


def test_a_container_that_comes_back_is_attached_again(tmp_path: Path) -> None:
    """A member with a new namespace gets a new link; the old namespace has lost its own."""

    async def story(ground: Ground) -> None:
        network = network_id()
        box = ground.node()
        await mesh(network, [box], [("web", "db")])
        member = box.specs[network].members[0]
        fresh = box.container("fresh")
        assert await box.networks.attach(network, member, fresh)
        assert await box.networks.attach(network, member, fresh) == ()
        assert "eth0" not in topology.read(box.inside(network, "web")).links
        assert echoes(fresh, "10.99.0.3")
        await box.networks.detach(network, "web")
        await box.networks.detach(network, "web")
        assert "eth0" not in topology.read(fresh).links

    play(tmp_path, story)


def test_members_and_peers_that_go_are_forgotten(tmp_path: Path) -> None:
    """A specification with fewer members and peers takes their links, routes and keys away."""

    async def story(ground: Ground) -> None:
        network = network_id()
        boxes = [ground.node(), ground.node()]
        await mesh(network, boxes, [("web", "old"), ("db",)])
        await boxes[0].networks.ensure(spec(network, 0, "web"))
        tenant = topology.read(boxes[0].tenant(network))
        assert len([link for link in tenant.links.values() if link.master]) == 1
        assert tenant.routes == frozenset()
        seen = (await boxes[0].networks.observe())[network]
        assert seen.latest_handshakes == {}
        assert not echoes(boxes[0].inside(network, "web"), "10.99.1.2", seconds=0.3)

    play(tmp_path, story)


def test_gateway_ports_reach_members_here_and_on_peers(tmp_path: Path) -> None:
    """A link port leads to one member's port; others are refused at once."""

    async def story(ground: Ground) -> None:
        network = network_id()
        boxes = [ground.node(), ground.node()]
        await mesh(network, boxes, [("web",), ("db",)], gateway=True)
        networks, node = boxes[0].networks, boxes[0].netns
        near = await networks.forward(network, "10.99.0.2", 80)
        far = await networks.forward(network, "10.99.1.2", 80)
        assert await networks.forward(network, "10.99.0.2", 80) == near
        assert (near.link_address, near.link_port, far.link_port) == ("100.64.0.2", 20_000, 20_001)
        with (
            greeting(boxes[0].inside(network, "web"), 80, "near") as at_near,
            greeting(boxes[1].inside(network, "db"), 80, "far") as at_far,
        ):
            assert hears(node, near.link_address, near.link_port) == "near"
            assert hears(node, far.link_address, far.link_port, seconds=8) == "far"
            assert connects(node, "100.64.0.2", 20_002) == "refused"
            await networks.unforward(network, "10.99.0.2", 80)
            assert connects(node, near.link_address, near.link_port) == "refused"
            assert hears(node, far.link_address, far.link_port) == "far"
        assert at_near == ["10.99.0.1"] and set(at_far) == {"10.99.0.1"}

    play(tmp_path, story)


def test_a_dry_run_means_what_is_done(tmp_path: Path) -> None:
    """The command lines of every change, run by hand, make what needs no further change."""

    async def story(ground: Ground) -> None:
        network = network_id()
        box = ground.node()
        other = await box.networks.prepare(network_id())
        peer = {
            "public_key": other.public_key,
            "endpoint": "10.70.0.99:51820",
            "allowed": ["10.99.1.0/24", "fd99:0:0:2::/64"],
        }
        from tfgrid.capacity import znet

        wanted = spec(network, 0, "web", peers=(msgspec.convert(peer, znet.Peer),), gateway=True)
        for step in await box.networks.changes(wanted):
            if isinstance(step, Spawn):
                await box.networks._tunnels.start(step)
                continue
            assert "private" not in repr(step).replace("private-key", "")
            for line in step.argv():
                await by_hand(box, network, line)
        left = await box.networks.changes(wanted)
        # `wg` reads the key from standard input, which a dry run does not have.
        assert [type(step).__name__ for step in left] == ["DeviceSet"]
        member = wanted.members[0]
        netns = box.container("web")
        tenant = topology.read(box.tenant(network))
        from tfgrid.capacity.znet.plan import plan_attachment

        for step in plan_attachment(
            network, member, ("10.99.0.1", "fd99:0:0:1::1"), tenant, topology.read(netns),
            box.tenant(network), netns,
        ):  # fmt: skip
            assert not isinstance(step, Spawn)
            for line in step.argv():
                await by_hand(box, network, line)
        assert await box.networks.attach(network, member, netns) == ()
        assert namespaces.is_pinned(netns)

    play(tmp_path, story)


async def by_hand(box: Box, network: str, line: tuple[str, ...]) -> None:
    """Run a rendered line; `wg` sees the node's own socket folder."""
    if "wg" in line:
        if "private-key" in line:
            return
        script = 'mkdir -p /run/wireguard; mount --bind "$0" /run/wireguard && exec "$@"'
        line = ("unshare", "--mount", "sh", "-c", script, str(box.folder / "wireguard"), *line)
    process = await asyncio.create_subprocess_exec(*line, stderr=asyncio.subprocess.PIPE)
    _, said = await process.communicate()
    assert process.returncode == 0, (line, said)


def test_contradictions_are_refused_before_anything_is_touched(tmp_path: Path) -> None:
    """Foreign subnets, doubled or foreign members and peers with our ranges: nothing is made."""

    async def story(ground: Ground) -> None:
        box = ground.node()
        good = spec(network_id(), 0, "web", "db")
        web, db = good.members
        for change in (
            {"subnet4": "10.98.0.0/24"},
            {"subnet6": "10.99.0.0/24"},
            {"range4": "10.99.0.1/16"},
            {"members": (web, msgspec.structs.replace(db, address4=web.address4))},
            {"members": (msgspec.structs.replace(web, address4="10.99.0.1"),)},
            {"members": (msgspec.structs.replace(web, address4="10.99.1.9"),)},
            {"members": (msgspec.structs.replace(web, address6="fd99:0:0:1:0::2"),)},
        ):
            with pytest.raises(errors.BadInput) as refused:
                await box.networks.ensure(msgspec.structs.replace(good, **change))
            assert refused.value.code == "TFG-3402"
        assert await box.networks.observe() == {}

    play(tmp_path, story)


def test_a_tunnel_that_its_launcher_forgot_goes_on_and_can_be_removed(tmp_path: Path) -> None:
    """A launcher without memory doubles no tunnel, and removal ends the one that runs."""

    async def story(ground: Ground) -> None:
        network = network_id()
        boxes = [ground.node(), ground.node()]
        await mesh(network, boxes, [("web",), ("db",)])
        box, old = boxes[0], boxes[0].launcher
        forgetful = type(old)(box.folder / "logs")
        forgetful.directory = old.directory
        box.launcher = forgetful
        assert await box.again().changes(box.specs[network]) == ()
        assert (await box.networks.observe())[network].whole
        assert echoes(box.inside(network, "web"), "10.99.1.2", seconds=8)
        await box.networks.remove(network)
        (launched,) = (await old.list()).values()
        assert launched.ended
        assert "net-" not in str(list((box.folder / "netns").iterdir()))

    play(tmp_path, story)
