"""The machine as an argument: what Core-0 may see and do.

Core-0 decides in plain values. A `Host` turns them into containers, networks and routes (or, in a
simulation, into entries of a dictionary). Three verbs, each safe to repeat: observe, ensure, remove.
An item's `digest` covers its whole specification; an item that runs under another digest is another item.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

from tfgrid.core.units import Capacity

__all__ = ["Condition", "Host", "Item", "ItemKey", "MemoryHost", "Observed"]

Condition: TypeAlias = Literal["running", "ended", "broken"]
"""running: as specified; ended: ran and exited; broken: partly there, to be removed or ensured again."""


@dataclass(frozen=True, slots=True, order=True)
class ItemKey:
    """Names one item on one machine: `kind` is container, network or route; `name` is unique in its kind."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One thing that should exist, with its specification as canonical bytes."""

    key: ItemKey
    digest: str
    spec: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """One thing that exists; `facts` are what was read back (pid, limits, addresses, exit code)."""

    key: ItemKey
    digest: str
    condition: Condition
    facts: Mapping[str, str | int] = field(default_factory=dict)


class Host(Protocol):
    """One machine's hands."""

    async def capacity(self) -> Capacity:
        """What the machine has in all, before any reserve."""
        ...

    async def observe(self) -> Mapping[ItemKey, Observed]:
        """Everything of ours that exists, read from the machine and not from memory."""
        ...

    async def prepare(self, item: Item) -> Mapping[str, str]:
        """Reserve what must be named before others can be told (keys, ports); repeatable, no workload starts.

        Returns public facts for the accepted receipt, such as a WireGuard public key and its port.
        """
        ...

    async def ensure(self, item: Item) -> Observed:
        """Make the item exist as specified; does nothing if it does.

        Raises:
            errors.GridError: what stood in the way; whatever was begun is removed or will be seen as broken.

        """
        ...

    async def remove(self, key: ItemKey) -> None:
        """Make the item not exist, with all that was made for it; does nothing if it does not."""
        ...


class MemoryHost:
    """A machine in a dictionary, for simulation; survives `crash` of the node process as a machine would."""

    def __init__(self, total: Capacity) -> None:
        self.total = total
        self.items: dict[ItemKey, Observed] = {}
        self.starts: list[Item] = []

    async def capacity(self) -> Capacity:
        """See `Host.capacity`."""
        return self.total

    async def observe(self) -> Mapping[ItemKey, Observed]:
        """See `Host.observe`."""
        return dict(self.items)

    async def prepare(self, item: Item) -> Mapping[str, str]:
        """See `Host.prepare`."""
        return (
            {"public_key": item.digest[:43], "port": "51820"} if item.key.kind == "network" else {}
        )

    async def ensure(self, item: Item) -> Observed:
        """See `Host.ensure`."""
        there = self.items.get(item.key)
        if there and there.digest == item.digest and there.condition == "running":
            return there
        self.starts.append(item)
        made = Observed(key=item.key, digest=item.digest, condition="running")
        self.items[item.key] = made
        return made

    async def remove(self, key: ItemKey) -> None:
        """See `Host.remove`."""
        self.items.pop(key, None)

    def reboot(self) -> None:
        """Lose everything that runs, as a power cut does."""
        self.items.clear()
