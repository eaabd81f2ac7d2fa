"""Routes change while requests flow, HAProxy is killed, certificates are renewed."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import pytest

from tests.zgw.edge import Edge, Web, domain, play, serving
from tests.zgw.test_routes import name, route
from tfgrid.core import errors
from tfgrid.core.clock import SystemClock

pytestmark = [pytest.mark.root, pytest.mark.slow]


def test_routes_come_and_go_under_load_and_beside_a_long_connection(tmp_path: Path) -> None:
    """While a hundred routes come and go no request fails and a long connection stays up."""

    async def story(edge: Edge) -> None:
        web = Web("one", "100.64.0.2", 20_000)
        failures: list[object] = []
        served = 0

        async def load(until: asyncio.Event) -> None:
            nonlocal served
            while not until.is_set():
                answer = await edge.aget(name)
                served += 1
                if answer != (200, "one"):
                    failures.append(answer)

        with serving(edge.netns, web):
            await edge.gateway.ensure(route(web))
            pid = (await edge.launcher.list())["haproxy"].pid
            done = asyncio.Event()
            workers = [asyncio.create_task(load(done)) for _ in range(3)]
            with edge.connect(name) as long:
                request = f"GET /long HTTP/1.1\r\nHost: {name}\r\n\r\n".encode()
                for number in range(100):
                    # Often enough that a slow machine does not meet the keep-alive timeout.
                    if number % 10 == 0:
                        long.sendall(request)
                        assert b"200" in long.recv(4096)
                    host = f"r{number}.{domain}"
                    await edge.gateway.ensure(route(web, host=host))
                    await edge.gateway.remove(host)
                long.sendall(request)
                assert b"200" in long.recv(4096)
            done.set()
            await asyncio.gather(*workers)
            assert failures == [] and served > 20
            assert (await edge.launcher.list())["haproxy"].pid == pid

    play(tmp_path, story)


def test_doing_it_twice_touches_nothing_and_changing_backends_keeps_those_that_stay(
    tmp_path: Path,
) -> None:
    """The same route again changes nothing, and a new backend leaves the old one alone."""

    async def story(edge: Edge) -> None:
        one, two = Web("one", "100.64.0.2", 20_000), Web("two", "100.64.0.6", 20_000)
        with serving(edge.netns, one, two):
            first = await edge.gateway.ensure(route(one))
            runtime = edge.gateway._runtime
            told: list[str] = []
            tell = runtime.tell

            async def listening(commands: list[str]) -> None:
                told.extend(commands)
                await tell(commands)

            runtime.tell = listening  # type: ignore[method-assign,assignment]
            assert set((await edge.gateway.ensure(route(one))).backends) == set(first.backends)
            assert told == []
            await edge.gateway.ensure(route(one, two))
            assert not any("20000" in t and "100.64.0.2" in t for t in told)
            await edge.gateway.ensure(route(two, label="l2"))
            seen = (await edge.gateway.observe())[name]
            assert set(seen.backends) == {"100.64.0.6:20000"} and seen.label == "l2"
            assert await edge.aget(name) == (200, "two")

    play(tmp_path, story)


def test_killed_haproxy_comes_back_and_routes_are_repaired(tmp_path: Path) -> None:
    """After kill -9 nothing is claimed, and ensuring the routes again mends it."""

    async def story(edge: Edge) -> None:
        web = Web("one", "100.64.0.2", 20_000)
        with serving(edge.netns, web):
            await edge.gateway.ensure(route(web))
            await edge.launcher.signal("haproxy", signal.SIGKILL)
            await edge.launcher.wait("haproxy", 5)
            assert await edge.gateway.observe() == {}
            await edge.again().ensure(route(web))
            assert await edge.aget(name) == (200, "one")

    play(tmp_path, story)


def test_a_gateway_that_its_launcher_forgot_goes_on_and_can_be_stopped(tmp_path: Path) -> None:
    """A launcher without memory starts no second HAProxy, and stop ends the one that runs."""

    async def story(edge: Edge) -> None:
        web = Web("one", "100.64.0.2", 20_000)
        with serving(edge.netns, web):
            await edge.gateway.ensure(route(web))
            old, edge.launcher = edge.launcher, type(edge.launcher)(tmp_path / "other-logs")
            assert not await edge.again().start()
            assert set(await edge.gateway.observe()) == {name}
            assert await edge.launcher.list() == {}
            await edge.gateway.stop()
            assert (await old.list())["haproxy"].ended

    play(tmp_path, story)


def test_a_half_made_route_is_cleared_away(tmp_path: Path) -> None:
    """Servers that a crash left without a name are removed when their slot is wanted."""

    async def story(edge: Edge) -> None:
        web = Web("one", "100.64.0.2", 20_000)
        with serving(edge.netns, web):
            left = [
                f"add server slot{n}/left{n} 100.64.0.6:1 check" for n in range(edge.settings.slots)
            ]
            await edge.gateway._runtime.tell(left)
            await edge.gateway.ensure(route(web))
            assert set((await edge.gateway.observe())[name].backends) == {"100.64.0.2:20000"}
            assert await edge.aget(name) == (200, "one")

    play(tmp_path, story)


def test_a_full_gateway_says_so(tmp_path: Path) -> None:
    """When every slot is taken the next route is refused by name of the limit."""

    async def story(edge: Edge) -> None:
        web = Web("one", "100.64.0.2", 20_000)
        for number in range(edge.settings.slots):
            await edge.gateway.ensure(route(web, host=f"r{number}.{domain}"))
        with pytest.raises(errors.NoFit) as refused:
            await edge.gateway.ensure(route(web))
        assert refused.value.code == "TFG-3505"
        assert name not in await edge.gateway.observe()

    play(tmp_path, story, routes_max=2)


def test_a_thousand_routes_are_added_quickly(tmp_path: Path) -> None:
    """Adding the last of a thousand routes takes about as long as adding the first."""

    async def story(edge: Edge) -> None:
        web = Web("one", "100.64.0.2", 20_000)
        with serving(edge.netns, web):
            times = []
            for number in range(1000):
                began = time.perf_counter()
                await edge.gateway.ensure(route(web, host=f"r{number}.{domain}"))
                times.append(time.perf_counter() - began)
            first, last = sorted(times[:200])[100], sorted(times[800:])[100]
            print(f"median ms of the first 200 {first * 1e3:.2f}, of the last 200 {last * 1e3:.2f}")
            assert last < 5 * first
            assert len(await edge.gateway.observe()) == 1000
            assert (await edge.aget(f"r999.{domain}"))[0] == 200

    play(tmp_path, story, routes_max=1000, check_interval_ms=60_000)


def test_a_renewed_certificate_is_served_without_a_restart(tmp_path: Path) -> None:
    """The next handshake sees the new certificate; HAProxy is the same process."""

    async def story(edge: Edge) -> None:
        def serial() -> object:
            with edge.connect(name) as tls:
                certificate = tls.getpeercert()
                assert certificate
                return certificate["serialNumber"]

        before = await asyncio.to_thread(serial)
        leaf = edge.authority.leaf((f"*.{domain}",), now_ms=SystemClock().now_ms())
        await edge.gateway.renew(leaf.pem)
        assert await asyncio.to_thread(serial) != before
        assert edge.settings.certificate.read_bytes() == leaf.pem
        with pytest.raises(errors.Failed):
            await edge.gateway.renew(
                b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
            )
        assert edge.settings.certificate.read_bytes() == leaf.pem

    play(tmp_path, story)


def test_stop_leaves_no_file_and_no_process(tmp_path: Path) -> None:
    """After `stop` HAProxy, its socket, maps and configuration are gone."""

    async def story(edge: Edge) -> None:
        await edge.gateway.stop()
        await edge.gateway.stop()
        assert list(edge.settings.directory.iterdir()) == []
        assert await edge.launcher.list() == {}

    play(tmp_path, story)
