"""Routes on a real HAProxy: who answers what, before, during and after changes."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from tests.zgw.edge import Edge, Web, play, serving
from tfgrid.capacity import zgw
from tfgrid.core import errors

pytestmark = [pytest.mark.root, pytest.mark.slow]

name = "guestbook.grid.localhost"


def route(*webs: Web, host: str = name, label: str = "l1") -> zgw.Route:
    backends = tuple(zgw.Backend(address=web.address, port=web.port) for web in webs)
    return zgw.Route(host=host, backends=backends, health_path="/health", label=label)


def test_a_route_answers_over_https_and_an_unknown_name_gets_421(tmp_path: Path) -> None:
    """A client that trusts the root reaches the container; any other name below the domain gets 421."""

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
