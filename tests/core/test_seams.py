"""Time, chance and network are arguments; the in-memory ones do what they are told."""

from __future__ import annotations

import asyncio
import time

import pytest

from tfgrid.core import errors, host, transport, units
from tfgrid.core.clock import Clock, ManualClock, SystemClock
from tfgrid.core.rng import Rng, SeededRng, SystemRng
from tfgrid.core.transport import MemoryTransport, Request, Response


def test_a_manual_clock_stands_still() -> None:
    """No time passes by itself; what passes, passes on both clocks."""
    clock = ManualClock(now_ms=1000)
    assert (clock.now_ms(), clock.monotonic_ms()) == (1000, 0)
    clock.advance(1.5)
    assert (clock.now_ms(), clock.monotonic_ms()) == (2500, 1500)


def test_a_jump_moves_the_wall_clock_alone() -> None:
    """Setting the wall clock back or forward lets no monotonic time pass."""
    clock = ManualClock(now_ms=10_000)
    clock.jump(-5)
    assert (clock.now_ms(), clock.monotonic_ms()) == (5000, 0)
    clock.jump(7)
    assert (clock.now_ms(), clock.monotonic_ms()) == (12_000, 0)


def test_sleepers_wake_in_order_as_time_passes() -> None:
    """Each sleeper wakes when its own time has come, the earlier first, and a jump wakes nobody."""

    async def run() -> list[str]:
        clock, woken = ManualClock(), list[str]()

        async def sleeper(name: str, seconds: float) -> None:
            await clock.sleep(seconds)
            woken.append(name)

        tasks = [asyncio.create_task(sleeper(n, s)) for n, s in (("b", 2), ("a", 1), ("c", 3))]
        await asyncio.sleep(0)
        clock.jump(100)
        await asyncio.sleep(0)
        assert woken == []
        clock.advance(2)
        await asyncio.sleep(0)
        assert woken == ["a", "b"]
        clock.advance(1)
        await asyncio.gather(*tasks)
        return woken

    assert asyncio.run(run()) == ["a", "b", "c"]


def test_a_cancelled_sleeper_is_forgotten() -> None:
    """Time passes over a sleeper that was cancelled."""

    async def run() -> None:
        clock = ManualClock()
        task = asyncio.create_task(clock.sleep(1))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        clock.advance(5)

    asyncio.run(run())


def test_sleeping_for_nothing_returns() -> None:
    """No time at all has passed already, on every clock."""

    async def run(clock: Clock) -> None:
        await asyncio.wait_for(clock.sleep(0), timeout=1)
        await asyncio.wait_for(clock.sleep(-1), timeout=1)

    asyncio.run(run(ManualClock()))
    asyncio.run(run(SystemClock()))


def test_the_system_clock_is_the_machines() -> None:
    """Wall time is the machine's, and monotonic time never goes back."""
    clock = SystemClock()
    assert abs(clock.now_ms() - time.time() * 1000) < 1000
    readings = [clock.monotonic_ms() for _ in range(100)]
    assert readings == sorted(readings)


@pytest.mark.parametrize("rng", [SystemRng(), SeededRng(7)], ids=["system", "seeded"])
def test_chance_keeps_its_bounds(rng: Rng) -> None:
    """A token has the size that was asked, and a number is below its bound."""
    assert [len(rng.token(n)) for n in (0, 1, 32)] == [0, 1, 32]
    assert {rng.below(3) for _ in range(200)} == {0, 1, 2}
    assert len({rng.token(16) for _ in range(100)}) == 100


def test_a_seed_replays() -> None:
    """The same seed gives the same chances, another seed others."""
    one, same, other = SeededRng("s"), SeededRng("s"), SeededRng("t")
    first = [(one.token(4), one.below(100), one.chance(0.5)) for _ in range(20)]
    assert first == [(same.token(4), same.below(100), same.chance(0.5)) for _ in range(20)]
    assert first != [(other.token(4), other.below(100), other.chance(0.5)) for _ in range(20)]
    assert not any(one.chance(0) for _ in range(50))
    assert all(one.chance(1) for _ in range(50))


def test_a_transport_reaches_its_handler_until_it_is_cut() -> None:
    """The handler's answer comes back as it is; a cut way is unreachable and asks nobody."""
    asked: list[Request] = []

    async def handler(request: Request) -> Response:
        asked.append(request)
        return Response(status=404, body=request.body)

    way = MemoryTransport(handler)
    request = Request(method="POST", path="/x", query={"a": "b"}, body=b"data")
    response = asyncio.run(way.send(request))
    assert (response.status, response.body, asked) == (404, b"data", [request])
    way.cut = True
    with pytest.raises(errors.Unreachable, match="TFG-1301") as caught:
        asyncio.run(way.send(request))
    assert caught.value.retry
    assert len(asked) == 1


@pytest.mark.parametrize("name", errors.__all__)
def test_an_error_crosses_the_wire(name: str) -> None:
    """The client raises the class, code, text and details that the server raised."""
    raised = getattr(errors, name)("TFG-1001", "it broke", where="here", hint="mend it", count=3)
    answer = transport.problem(raised)
    told = transport.fault_in(answer)
    assert answer.status >= 400
    assert (type(told), str(told), told.details) == (type(raised), str(raised), {"count": 3})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"null",
        b'{"code":"TFG-1"}',
        b'{"code":"x","detail":"y"}',
        b"\xff",
        b"[" * 100000,
        b'{"code":"TFG-1001","detail":"' + b"x" * 100000 + b'"}',
    ],
)
def test_an_answer_that_is_no_problem_is_named_by_its_status(body: bytes) -> None:
    """Whatever a broken server sends, the client has an error with a code of its own."""
    told = transport.fault_in(Response(status=500, body=body))
    assert (type(told), told.code) == (errors.Failed, "TFG-1302")
    told = transport.fault_in(Response(status=503, body=body))
    assert (type(told), told.code) == (errors.Unreachable, "TFG-1301")


def test_a_server_names_no_class_of_its_own() -> None:
    """An error class that the tree does not have becomes a plain failure."""
    body = b'{"code":"TFG-1001","detail":"x","error":"SystemExit"}'
    assert type(transport.fault_in(Response(status=500, body=body))) is errors.Failed


def test_a_memory_host_does_nothing_twice() -> None:
    """Ensuring what runs starts nothing, another digest is another item, removing is repeatable."""

    async def run() -> None:
        machine = host.MemoryHost(units.Capacity(cpu_millis=1000))
        key = host.ItemKey(kind="container", name="c/web")
        first, second = (host.Item(key=key, digest=d * 64, spec=b"{}") for d in "ab")
        for _ in range(2):
            await machine.ensure(first)
        assert machine.starts == [first]
        await machine.ensure(second)
        assert (await machine.observe())[key].digest == second.digest
        machine.exit(key, 3)
        assert (await machine.observe())[key].facts == {"exit_code": 3}
        await machine.ensure(second)
        assert len(machine.starts) == 3
        machine.reboot()
        assert await machine.observe() == {}
        for _ in range(2):
            await machine.remove(key)

    asyncio.run(run())


def test_a_memory_host_can_be_made_to_fail() -> None:
    """What is raised before a verb keeps the verb from having any effect."""

    async def refuse(verb: host.Verb, key: host.ItemKey) -> None:
        raise errors.Failed("TFG-1201", f"no {verb}", where=key.name)

    async def run() -> None:
        machine = host.MemoryHost(units.Capacity(), before=refuse)
        item = host.Item(key=host.ItemKey(kind="network", name="c/net"), digest="a" * 64, spec=b"")
        for verb in (machine.prepare(item), machine.ensure(item), machine.remove(item.key)):
            with pytest.raises(errors.Failed):
                await verb
        assert await machine.observe() == {}

    asyncio.run(run())
