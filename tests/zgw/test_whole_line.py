"""The whole line: client, HAProxy, link, rules, tunnel, container; and a node that is unplugged."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.zgw.edge import Edge, Web, domain, serving
from tests.znet import ground as grounds
from tfgrid.capacity import zgw, znet
from tfgrid.core.clock import SystemClock
from tfgrid.jumpscale.executors import DirectLauncher
from tfgrid.jumpscale.sal import links

pytestmark = [pytest.mark.root, pytest.mark.slow]

name = f"guestbook.{domain}"


def edge_of(box: grounds.Box) -> Edge:
    """A gateway in the namespace of a node."""
    now = SystemClock().now_ms()
    authority = zgw.Authority.create("test", now_ms=now).intermediate("gw", (domain,), now_ms=now)
    settings = zgw.Settings(
        address=box.address, domains=(domain,), certificate=box.folder / "gateway.pem",
        directory=box.folder / "gateway", routes_max=8, check_interval_ms=300, netns=box.netns,
        backend_range4=str(znet.link_range4),
    )  # fmt: skip
    settings.certificate.write_bytes(authority.leaf((f"*.{domain}",), now_ms=now).pem)
    launcher = DirectLauncher(box.folder / "gateway-logs")
    gateway = zgw.Gateway(settings=settings, launcher=launcher, clock=SystemClock())
    return Edge(box.netns, settings, gateway, launcher, authority)


def test_a_page_goes_on_answering_when_a_node_is_unplugged(tmp_path: Path) -> None:
    """Two containers on two nodes answer one name in turn, and one alone without the other."""

    async def story(ground: grounds.Ground) -> None:
        network = grounds.network_id()
        gate, one, two = ground.node(), ground.node(), ground.node()
        await grounds.mesh(network, [gate, one, two], [(), ("web",), ("web",)], gateway=True)
        webs = [Web("one", "10.99.1.2", 8080), Web("two", "10.99.2.2", 8080)]
        edge = edge_of(gate)
        try:
            with (
                serving(one.inside(network, "web"), webs[0]),
                serving(two.inside(network, "web"), webs[1]),
            ):
                ends = [await gate.networks.forward(network, w.address, w.port) for w in webs]
                backends = tuple(
                    zgw.Backend(address=e.link_address, port=e.link_port) for e in ends
                )
                await edge.gateway.ensure(zgw.Route(host=name, backends=backends))
                answers = {await edge.aget(name) for _ in range(8)}
                assert {status for status, _ in answers} == {200}
                await healthy(edge, 2)
                assert {await edge.aget(name) for _ in range(4)} == {(200, "one"), (200, "two")}
                links.LinkSet(netns=ground.switch, name="p3", up=False).perform()
                assert [await edge.aget(name) for _ in range(10)] == [(200, "one")] * 10
                await healthy(edge, 1)
                links.LinkSet(netns=ground.switch, name="p3", up=True).perform()
                await healthy(edge, 2)
                assert (200, "two") in {await edge.aget(name) for _ in range(4)}
        finally:
            await edge.gateway.stop()

    grounds.play(tmp_path, story)


async def healthy(edge: Edge, count: int) -> None:
    """Return when so many backends are up; fail after a while."""
    for _ in range(300):
        health = (await edge.gateway.observe())[name].backends
        if sum(each == "up" for each in health.values()) == count:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(health)
