"""Two nodes, one network: what reaches whom, and that doing it twice changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.znet.ground import Ground, mesh, network_id, play
from tests.znet.probes import echoes, greeting, hears

pytestmark = [pytest.mark.root, pytest.mark.slow]


def test_members_meet_over_the_tunnel_in_both_families(tmp_path: Path) -> None:
    """Members of one network reach each other on one node and between nodes, by IPv4 and IPv6."""

    async def story(ground: Ground) -> None:
        network = network_id()
        boxes = [ground.node(), ground.node()]
        await mesh(network, boxes, [("web", "cache"), ("db",)])
        web = boxes[0].inside(network, "web")
        for address in ("10.99.0.1", "10.99.0.3", "10.99.1.2", "fd99:0:0:1::3", "fd99:0:0:2::2"):
            assert echoes(web, address, seconds=8), address
        with greeting(boxes[1].inside(network, "db"), 6379, "redis") as seen:
            assert hears(web, "10.99.1.2", 6379) == "redis"
            assert hears(web, "fd99:0:0:2::2", 6379) == "redis"
        assert seen == ["10.99.0.2", "fd99:0:0:1::2"]
        for box in boxes:
            assert await box.networks.ensure(box.specs[network]) == ()

    play(tmp_path, story)


def test_an_ipv6_underlay_carries_both_families(tmp_path: Path) -> None:
    """Nodes that know each other by IPv6 addresses only join a network all the same."""

    async def story(ground: Ground) -> None:
        network = network_id()
        boxes = [ground.node(), ground.node()]
        await mesh(network, boxes, [("web",), ("db",)], six=True)
        web = boxes[0].inside(network, "web")
        assert echoes(web, "10.99.1.2", seconds=8) and echoes(web, "fd99:0:0:2::2")
        assert await boxes[0].networks.ensure(boxes[0].specs[network]) == ()

    play(tmp_path, story)
