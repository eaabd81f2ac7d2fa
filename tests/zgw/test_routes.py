"""Routes on a real HAProxy: who answers what, before, during and after changes."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from tests.zgw.edge import Edge, Web, play, serving
from tfgrid.capacity import zgw
from tfgrid.jumpscale.sal import nftables

pytestmark = [pytest.mark.root, pytest.mark.slow]

name = "guestbook.grid.localhost"


def route(*webs: Web, host: str = name, label: str = "l1") -> zgw.Route:
    """A route to these servers."""
    backends = tuple(zgw.Backend(address=web.address, port=web.port) for web in webs)
    return zgw.Route(host=host, backends=backends, health_path="/health", label=label)


def vanish(edge: Edge, address: str) -> None:
    """Let packets to and from an address disappear, as when a node is unplugged."""
    chain = "chain c { type filter hook input priority 0; ip daddr A drop; ip saddr A drop; }"
    body = chain.replace("A", address)
    nftables.TableSet(netns=edge.netns, family="ip", table="gone", body=body).perform()


def test_a_route_answers_over_https_and_an_unknown_name_gets_421(tmp_path: Path) -> None:
    """A client that trusts the root gets the page, and 421 for any name that has no route."""

    async def story(edge: Edge) -> None:
        web = Web("one", "100.64.0.2", 20_000)
        with serving(edge.netns, web):
            assert await edge.aget(name) == (421, "no such name here")
            seen = await edge.gateway.ensure(route(web))
            assert set(seen.backends) == {"100.64.0.2:20000"}
            assert await edge.aget(name) == (200, "one")
            assert (await edge.aget("other.grid.localhost"))[0] == 421
            assert (await edge.aget(name, host="other.grid.localhost"))[0] == 421
            await asyncio.sleep(0.5)
            assert await edge.gateway.observe() == {
                name: zgw.RouteSeen(
                    host=name, label="l1", health_path="/health",
                    backends={"100.64.0.2:20000": "up"},
                )
            }  # fmt: skip
            checks = [r for r in web.requests if r.startswith("GET /health HTTP/1.1")]
            assert checks and f"host: {name}" in checks[0].lower()
            await edge.gateway.remove(name)
            assert await edge.gateway.observe() == {}
            assert (await edge.aget(name))[0] == 421

    play(tmp_path, story)


def test_a_dead_backend_fails_no_request(tmp_path: Path) -> None:
    """When one of two containers stops listening, every request is answered by the other."""

    async def story(edge: Edge) -> None:
        one, two = Web("one", "100.64.0.2", 20_000), Web("two", "100.64.0.6", 20_000)
        with serving(edge.netns, two):
            with serving(edge.netns, one):
                await edge.gateway.ensure(route(one, two))
                answers = {(await edge.aget(name))[1] for _ in range(6)}
                assert answers == {"one", "two"}
            assert [await edge.aget(name) for _ in range(20)] == [(200, "two")] * 20
            await asyncio.sleep(0.6)
            health = (await edge.gateway.observe())[name].backends
            assert health == {"100.64.0.2:20000": "down", "100.64.0.6:20000": "up"}

    play(tmp_path, story)


def test_a_backend_that_begins_late_is_found_soon(tmp_path: Path) -> None:
    """One that was down is asked again long before the interval of those that are up is over."""

    async def story(edge: Edge) -> None:
        one = Web("one", "100.64.0.2", 20_000)
        await edge.gateway.ensure(route(one))
        for _ in range(200):
            health = (await edge.gateway.observe())[name].backends
            if health == {"100.64.0.2:20000": "down"}:
                break
            await asyncio.sleep(0.05)
        assert health == {"100.64.0.2:20000": "down"}
        with serving(edge.netns, one):
            began = time.monotonic()
            for _ in range(200):
                if (await edge.aget(name))[0] == 200:
                    break
                await asyncio.sleep(0.05)
            assert time.monotonic() - began < 2

    play(tmp_path, story, check_interval_ms=4000)


def test_a_vanished_node_fails_no_request(tmp_path: Path) -> None:
    """When packets to one backend disappear, every request is answered by the other."""

    async def story(edge: Edge) -> None:
        one, two = Web("one", "100.64.0.2", 20_000), Web("two", "100.64.0.6", 20_000)
        with serving(edge.netns, one, two):
            await edge.gateway.ensure(route(one, two))
            assert (await edge.aget(name))[0] == 200
            vanish(edge, "100.64.0.2")
            answers = await asyncio.gather(*(edge.aget(name) for _ in range(20)))
            assert answers == [(200, "two")] * 20

    play(tmp_path, story)


def test_a_request_under_way_is_asked_again_elsewhere(tmp_path: Path) -> None:
    """A GET whose node vanishes before it answers is asked again on the other container."""

    async def story(edge: Edge) -> None:
        one, two = Web("one", "100.64.0.2", 20_000), Web("two", "100.64.0.6", 20_000)
        one.hang = True
        with serving(edge.netns, one, two):
            await edge.gateway.ensure(route(one))
            waiting = asyncio.create_task(edge.aget(name))
            while not any(r.startswith("GET / ") for r in one.requests):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            await edge.gateway.ensure(route(one, two))
            vanish(edge, "100.64.0.2")
            assert await waiting == (200, "two")

    play(tmp_path, story)
