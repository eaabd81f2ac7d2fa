"""`node list`, `node show`, `farm list`: who offers what, and how it fares.

What a node says of itself is its latest signed heartbeat; no command reaches a node.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Final

import click

from tfgrid.core import ids, limits, units
from tfgrid.doors.cli import answers, render
from tfgrid.doors.cli.frame import Noun, Settings, complete, leaf, show, show_all
from tfgrid.doors.cli.session import Session
from tfgrid.ledger import farm

__all__ = ["COMMANDS"]

node_noun: Final = Noun(
    "node", help="Nodes: list, show.",
    examples=("tfgrid node list", "tfgrid node show n1", "tfgrid node list --json"),
)  # fmt: skip
farm_noun: Final = Noun(
    "farm", help="Farms: list.",
    examples=("tfgrid farm list", "tfgrid farm list --json", "tfgrid farm list --plain"),
)  # fmt: skip


@leaf(
    node_noun, "list", answers=("tfgrid.node/1",),
    examples=("tfgrid node list", "tfgrid node list --json", "tfgrid node list --grid /srv/grid"),
)  # fmt: skip
def list_nodes(settings: Settings) -> None:
    """List every node with its capacity and what it says of itself."""
    found = asyncio.run(_nodes(settings))
    columns = ("node", "farm", "roles", "state", "cores free", "memory free", "disk free")
    show_all(
        settings, found,
        lambda nodes: render.table(settings, columns, [_node_row(node) for node in nodes]),
    )  # fmt: skip


def _node_row(node: answers.Node) -> tuple[str, ...]:
    cores = f"{render.cores(node.free.cpu_millis)} of {render.cores(node.total.cpu_millis)}"
    return (
        node.name, node.farm, " ".join(node.roles), node.state, cores,
        units.bytes_text(node.free.memory_bytes), units.bytes_text(node.free.ssd_bytes),
    )  # fmt: skip


@leaf(
    node_noun, "show", answers=("tfgrid.node/1",),
    examples=("tfgrid node show n1", "tfgrid node show 3fa9c1", "tfgrid node show n1 --json"),
)  # fmt: skip
@click.argument("name", shell_complete=complete("node"))
def show_node(settings: Settings, name: str) -> None:
    """Show one node, by name or id prefix."""
    found = asyncio.run(_nodes(settings, name))
    show(settings, found[0], lambda node: _node_text(settings, node))


def _node_text(settings: Settings, node: answers.Node) -> str:
    def size(capacity: units.Capacity) -> str:
        memory, disk = capacity.memory_bytes, capacity.ssd_bytes + capacity.hdd_bytes
        cores = render.cores(capacity.cpu_millis)
        return f"{cores} cores, {units.bytes_text(memory)}, {units.bytes_text(disk)} disk"

    facts = render.field_list(
        [
            ("node", f"{node.name}  {node.node}"),
            ("farm", f"{node.farm} ({node.country})"),
            ("address", node.address),
            ("roles", " ".join(node.roles)),
            ("trust", node.trust),
            ("admitted", "yes" if node.admitted else "no"),
            ("state", f"{node.state} {node.reason}".strip()),
            ("heard", node.seen_at or "not lately"),
            ("total", size(node.total)),
            ("reserved", size(node.reserved)),
            ("free", size(node.free)),
        ]
    )
    columns = ("contract", "kind", "name", "condition", "reason")
    rows = [[str(item.get(column, "")) for column in columns] for item in node.items]
    rows = [[ids.short(row[0]), *row[1:]] for row in rows]
    return f"{facts}\n\n{render.table(settings, columns, rows)}" if rows else facts


async def _nodes(settings: Settings, word: str = "") -> list[answers.Node]:
    with Session(settings) as session:
        await session.look()
        said = await statuses(session)
        chosen = (session.node(word),) if word else session.nodes()
        return [_answer(info, said, session.now_ms) for info in chosen]


async def statuses(session: Session) -> dict[str, tuple[int, dict[str, Any]]]:
    """Each node's latest heartbeat: when, and what it said.

    One answer has all of them on a quiet grid. Strangers may fill it, so a node that is not in it
    is asked for by itself.
    """
    view, known = session.follower.view, {node.node for node in session.nodes()}
    messages = await session.client.messages("status:", view=view)
    for node in known - {message.author for message in messages}:
        messages += await session.client.messages(f"status:{node}", author=node, view=view)
    return {
        message.author: (message.at, _status_in(message.payload))
        for message in messages
        if message.author in known and message.box == f"status:{message.author}"
    }


def _status_in(payload: str) -> dict[str, Any]:
    """The status in a heartbeat, which is a signed status of its own; empty if there is none."""
    try:
        told = json.loads(payload)
    except (ValueError, RecursionError):
        return {}
    status = told.get("status", told) if isinstance(told, dict) else {}
    if not isinstance(status, dict):
        return {}
    items = status.get("items")
    named = [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    words = ("kind", "name", "condition", "reason")
    said = [item | {word: str(item.get(word, "")) for word in words} for item in named]
    return status | {"items": said}


def _answer(
    info: farm.NodeInfo, said: Mapping[str, tuple[int, dict[str, Any]]], now_ms: int
) -> answers.Node:
    at, status = said.get(info.node, (0, {}))
    silent = now_ms - at > limits.heartbeat_silent_seconds * 1000
    state = "silent" if silent else str(status.get("phase", "unknown"))
    return answers.Node(
        name=info.name, node=info.node, farm=info.farm_name, country=info.country,
        address=info.endpoint, roles=list(info.roles), trust=info.trust, admitted=info.admitted,
        state=state if info.admitted else "not admitted", reason=str(status.get("reason", "")),
        seen_at=render.moment(at), total=info.total, reserved=info.reserved, free=info.free,
        items=list(status.get("items", [])),
    )  # fmt: skip


@leaf(
    farm_noun, "list", answers=("tfgrid.farm/1",),
    examples=("tfgrid farm list", "tfgrid farm list --json", "tfgrid farm list --plain"),
)  # fmt: skip
def list_farms(settings: Settings) -> None:
    """List every farm with its offer."""
    found = asyncio.run(_farms(settings))
    columns = ("farm", "country", "nodes", "core/day", "GiB memory/day", "GiB ssd/day", "payment")
    show_all(
        settings, found,
        lambda farms: render.table(settings, columns, [_farm_row(one) for one in farms]),
    )  # fmt: skip


def _farm_row(one: answers.Farm) -> tuple[str, ...]:
    prices = [
        units.money_text(units.Money(amount=str(one.prices_per_day[unit])))
        for unit in ("cru", "mru", "sru")
    ]
    return (one.name, one.country or "no offer", str(one.nodes), *prices, " ".join(one.payments))


async def _farms(settings: Settings) -> list[answers.Farm]:
    with Session(settings) as session:
        view = await session.look()
        nodes = session.nodes()
        return [
            answers.Farm(
                name=info.name, farm=info.farm, country=info.country, payments=list(info.payments),
                prices_per_day={
                    "cru": info.prices.cru, "mru": info.prices.mru,
                    "sru": info.prices.sru, "hru": info.prices.hru,
                },
                nodes=sum(node.farm == info.farm for node in nodes),
            )
            for info in sorted(farm.farms(view), key=lambda info: info.name)
        ]  # fmt: skip


COMMANDS: Final[dict[str, Noun]] = {"node": node_noun, "farm": farm_noun}
