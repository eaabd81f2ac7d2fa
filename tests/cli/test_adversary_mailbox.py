"""Anybody with an identity may write into the mailbox; nobody may speak for a node there."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.cli.ground import Ground
from tests.contract.stage import guestbook_stage
from tfgrid.core.clock import SystemClock
from tfgrid.core.identity import Keyring
from tfgrid.core.rng import SeededRng
from tfgrid.doors.cli.nouns.logs import _tail, log_text
from tfgrid.doors.cli.nouns.node import _status_in
from tfgrid.doors.localgrid import kinds
from tfgrid.ledger import bcdb

ODD = (
    '{"status":{"items":[{}, 5, {"kind":[], "name":{}}]}}',
    "[]",
    "5",
    '"x"',
    "null",
    "[" * 60_000,
    '{"status":5}',
    '{"status":{"items":5,"phase":[]}}',
)


def _author(ground: Ground, name: str) -> bcdb.Author:
    ring = Keyring.new(name, SeededRng(f"{ground.paths.root}{name}"))
    client = bcdb.Client(ground.transport, ground.grid.trust)
    return bcdb.Author(ring, client, SystemClock(), registry=kinds.registry())


def _states(ground: Ground) -> dict[str, str]:
    answer = ground.run("node", "list", "--json")
    assert answer.exit_code == 0, answer.output
    return {node["name"]: node["state"] for node in json.loads(answer.stdout)}


def test_a_flood_of_strangers_letters_hides_no_node(ground: Ground) -> None:
    """A page full of boxes that sort before the nodes' own: each node is heard all the same."""

    async def body() -> None:
        mallory = _author(ground, "mallory")
        await mallory.register()
        for number in range(256):
            await mallory.post(f"status:0{number:03}", "{}", ttl_seconds=60)
        for name in ("n1", "n2", "n3", "n4"):
            node = _author(ground, name)
            told = json.dumps({"phase": "following"})
            await node.post(f"status:{node.keyring.identity}", told, ttl_seconds=60)

    asyncio.run(body())
    assert _states(ground) == dict.fromkeys(("n1", "n2", "n3", "n4"), "following")


@pytest.mark.parametrize("payload", ODD, ids=range(len(ODD)))
def test_an_odd_heartbeat_spoils_no_list(ground: Ground, payload: str) -> None:
    """A node, and a stranger, that say nonsense are shown as saying nothing."""

    async def body() -> None:
        for name in ("n1", "eve"):
            author = _author(ground, name)
            await author.register()
            await author.post(f"status:{author.keyring.identity}", payload, ttl_seconds=60)

    asyncio.run(body())
    assert set(_states(ground)) == {"n1", "n2", "n3", "n4"}
    assert ground.run("node", "show", "n1").exit_code == 0


@pytest.mark.parametrize("payload", ODD, ids=range(len(ODD)))
def test_odd_payloads_are_read_as_text_or_nothing(payload: str) -> None:
    """Neither a heartbeat nor a log tail that nests without end is a fault of the reader."""
    assert isinstance(_status_in(payload), dict)
    assert isinstance(log_text(payload), str)


def test_only_its_node_speaks_for_a_workload() -> None:
    """The box of a workload's log is asked for letters of the node that runs it, nobody else's."""
    running = guestbook_stage().propose()
    place = next(a for a in running.proposal.placement.assignments if a.workload == "redis")
    asked: list[tuple[str, str]] = []

    async def messages(box: str, *, author: str = "", view: object = None) -> list[object]:
        del view
        asked.append((box, author))
        letter = SimpleNamespace(box=box, at=1, payload=f"by {author[:8]}\n")
        longer = SimpleNamespace(box=f"{box}-2", at=2, payload="of another workload\n")
        return [letter, longer]

    session = SimpleNamespace(
        client=SimpleNamespace(messages=messages), follower=SimpleNamespace(view=None)
    )
    lines = asyncio.run(_tail(cast("Any", session), running.state, "redis"))
    assert asked == [(f"logs:{running.id}/redis", place.node)]
    assert lines == [f"by {place.node[:8]}"]
