"""The ordering library: plan, propose, approve, wait, against a ledger in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.cli.ground import RECIPE, Ground, ground
from tfgrid.agents import threebot
from tfgrid.core import canonical, errors
from tfgrid.core.clock import SystemClock
from tfgrid.core.ids import IdentityId
from tfgrid.core.store import MemoryStore
from tfgrid.doors.localgrid import create, kinds
from tfgrid.ledger import bcdb, contract

pytestmark = pytest.mark.slow

IMAGE = contract.Image(name="hello", digest=canonical.digest(b"image"), signer=IdentityId("e" * 64))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """A furnished grid whose ledger is in this process, with the recipe published."""
    with ground(tmp_path_factory.mktemp("ordering")) as grid:
        file = grid.paths.root / "hello.yaml"
        file.write_text(RECIPE)
        assert grid.run("recipe", "publish", str(file)).exit_code == 0
        yield grid


def _ordering(made: Ground, name: str) -> threebot.Ordering:
    registry, clock = kinds.registry(), SystemClock()
    client = bcdb.Client(made.transport, made.grid.trust)
    ring = create.keyring(made.paths, made.grid, name)
    follower = bcdb.Follower(
        made.transport, made.grid.trust, registry=registry, store=MemoryStore(), clock=clock
    )
    author = bcdb.Author(ring, client, clock, registry=registry)
    return threebot.Ordering(follower, author, clock)


async def _plan(made: Ground, ordering: threebot.Ordering, name: str) -> contract.Plan:
    view = await ordering.look()
    people = made.grid.identities
    order = contract.Order(
        ledger=made.grid.ledger, owner=people["alice"], name=name, salt="A" * 22,
        parameters={"host": f"{name}.grid.localhost"},
        approvers={role: (people[role],) for role in ("budget", "security", "legal")},
    )  # fmt: skip
    return ordering.plan(order, contract.read_recipe(view, "hello"), {"hello": IMAGE})


def test_the_same_order_gives_the_same_places(made: Ground) -> None:
    """Planning is pure: nothing is written, and the same order goes to the same nodes."""

    async def scene() -> None:
        ordering = _ordering(made, "alice")
        before = made.ledger.head[1].size
        one, two = await _plan(made, ordering, "same"), await _plan(made, ordering, "same")
        assert [row.node for row in one.rows] == [row.node for row in two.rows]
        assert made.ledger.head[1].size == before

    asyncio.run(scene())


def test_proposing_twice_registers_once(made: Ground) -> None:
    """A plan that is registered is found again; only its owner may register it."""

    async def scene() -> None:
        alice, budget = _ordering(made, "alice"), _ordering(made, "budget")
        plan = await _plan(made, alice, "once")
        with pytest.raises(errors.GridError):
            await budget.propose(plan)
        first = await alice.propose(plan)
        assert (await alice.propose(plan)).position == first.position
        assert (await budget.propose(plan)).position == first.position

    asyncio.run(scene())


async def _phases(
    ordering: threebot.Ordering, state: contract.ContractState, until: contract.Phase
) -> list[str]:
    steps = ordering.wait(state.contract, until={until}, timeout_seconds=5)
    return [step.phase async for step in steps if not step.node]


def test_waiting_tells_each_change_once(made: Ground) -> None:
    """The phase that was waited for is told once, when it is there."""

    async def scene() -> None:
        alice = _ordering(made, "alice")
        state = await alice.propose(await _plan(made, alice, "told"))
        assert await _phases(alice, state, "proposed") == ["proposed"]
        waiting = asyncio.create_task(_phases(alice, state, "approved"))
        await asyncio.sleep(0)
        for role in ("budget", "legal"):
            await _ordering(made, role).approve(state.contract, action="deploy")
        told = await waiting
        assert told[0] == "proposed"
        assert told[-1] == "approved"
        assert len(told) == len(set(told))

    asyncio.run(scene())


def test_waiting_ends_when_its_time_is_over(made: Ground) -> None:
    """TFG-4513 names the phase; it may be tried again."""

    async def scene() -> None:
        alice = _ordering(made, "alice")
        state = await alice.propose(await _plan(made, alice, "late"))
        with pytest.raises(errors.StillGoing) as over:
            async for _ in alice.wait(state.contract, until={"running"}, timeout_seconds=0):
                pass
        assert over.value.code == "TFG-4513"
        assert over.value.details["phase"] == "proposed"

    asyncio.run(scene())


def test_a_delete_signature_is_no_deploy_signature(made: Ground) -> None:
    """What budget signed for deleting counts for deleting alone."""

    async def scene() -> None:
        alice, budget = _ordering(made, "alice"), _ordering(made, "budget")
        state = await alice.propose(await _plan(made, alice, "apart"))
        after = await budget.approve(state.contract, action="delete")
        assert (after.deploy.approved, after.delete.approved) == (0, 1)

    asyncio.run(scene())
