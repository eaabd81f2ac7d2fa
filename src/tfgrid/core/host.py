"""The machine as an argument: what Core-0 may see and do.

Core-0 decides in plain values. A `Host` turns them into images, networks, containers and routes
(or, in a simulation, into entries of a dictionary). Three verbs, each safe to repeat: observe,
ensure, remove. An item's `digest` covers its whole specification; an item that runs under another
digest is another item, unless it holds data: a zdb namespace is changed in place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

from tfgrid.core import canonical
from tfgrid.core.units import Capacity

__all__ = ["Condition", "Host", "Item", "ItemKey", "ItemKind", "MemoryHost", "Observed", "Verb"]

Condition: TypeAlias = Literal["prepared", "running", "ended", "broken"]
"""prepared: only reserved, nothing of it works yet; running: as specified; ended: ran and exited;
broken: partly there, to be removed or ensured again."""

ItemKind: TypeAlias = Literal["image", "network", "zdb", "container", "route"]
"""In the order in which they need one another."""

Verb: TypeAlias = Literal["prepare", "ensure", "remove"]


@dataclass(frozen=True, slots=True, order=True)
class ItemKey:
    """Names one item on one machine; `name` is unique in its kind, such as `<contract id>/web`."""

    kind: ItemKind
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

    async def lacks(self) -> Mapping[ItemKind, str]:
        """The kinds of item that this machine cannot carry, each with the reason."""
        ...

    async def observe(self) -> Mapping[ItemKey, Observed]:
        """Everything of ours that exists, read from the machine and not from memory."""
        ...

    async def prepare(self, item: Item) -> Mapping[str, str]:
        """Reserve what must be named before others can be told (keys, ports); starts no workload.

        Returns public facts for the accepted receipt: of a network `public_key` and `endpoint`.
        """
        ...

    async def ensure(self, item: Item) -> Observed:
        """Make the item exist as specified; does nothing if it does.

        A zdb namespace that exists under another digest is changed, with its data.

        Raises:
            errors.GridError: what stood in the way; whatever was begun is removed or will be seen
            as broken.

        """
        ...

    async def remove(self, key: ItemKey) -> None:
        """Make the item not exist, nor what was made or prepared for it; safe to repeat."""
        ...

    async def changed(self) -> None:
        """Return when something of ours may have changed by itself, as when a container exits."""
        ...

    async def log_tail(self, key: ItemKey, bytes_max: int) -> bytes:
        """The end of what a container wrote, at most `bytes_max`; empty if it wrote nothing."""
        ...


class MemoryHost:
    """A machine in a dictionary, for simulation; it survives the end of the node process.

    `before` is called before each verb takes effect; it may wait or raise, as a busy or failing
    machine does.
    """

    def __init__(
        self,
        total: Capacity,
        *,
        address: str = "192.0.2.1",
        before: Callable[[Verb, ItemKey], Awaitable[None]] | None = None,
    ) -> None:
        self.address = address
        self.total = total
        self.before = before
        self.items: dict[ItemKey, Observed] = {}
        self.prepared: dict[ItemKey, Observed] = {}
        self.keys: dict[ItemKey, str] = {}
        self.starts: list[Item] = []
        self.data: set[ItemKey] = set()
        self._keys_made = 0
        self._changed: asyncio.Event | None = None

    async def capacity(self) -> Capacity:
        """See `Host.capacity`."""
        return self.total

    async def lacks(self) -> Mapping[ItemKind, str]:
        """See `Host.lacks`."""
        return {}

    async def observe(self) -> Mapping[ItemKey, Observed]:
        """See `Host.observe`."""
        return self.prepared | self.items

    async def prepare(self, item: Item) -> Mapping[str, str]:
        """See `Host.prepare`."""
        await self._before("prepare", item.key)
        self.prepared[item.key] = Observed(key=item.key, digest=item.digest, condition="prepared")
        return {"public_key": self._key(item), "endpoint": f"{self.address}:51820"}

    async def ensure(self, item: Item) -> Observed:
        """See `Host.ensure`; what really started is kept in `starts`."""
        await self._before("ensure", item.key)
        there = self.items.get(item.key)
        if there and there.digest == item.digest and there.condition == "running":
            return there
        if item.key.kind == "network":
            self._key(item)
        self.starts.append(item)
        if item.key.kind == "zdb":
            self.data.add(item.key)
        made = Observed(key=item.key, digest=item.digest, condition="running")
        self.items[item.key] = made
        return made

    async def remove(self, key: ItemKey) -> None:
        """See `Host.remove`."""
        await self._before("remove", key)
        self.items.pop(key, None)
        self.prepared.pop(key, None)
        self.keys.pop(key, None)
        self.data.discard(key)

    async def changed(self) -> None:
        """See `Host.changed`."""
        self._changed = asyncio.Event()
        await self._changed.wait()

    async def log_tail(self, key: ItemKey, bytes_max: int) -> bytes:
        """See `Host.log_tail`."""
        return f"{key.name}\n".encode()[-bytes_max:]

    def exit(self, key: ItemKey, code: int) -> None:
        """Let a container end by itself, as a program that crashed does."""
        there = self.items[key]
        self.items[key] = Observed(
            key=key, digest=there.digest, condition="ended", facts={"exit_code": code}
        )
        if self._changed is not None:
            self._changed.set()

    def unserve(self) -> list[ItemKey]:
        """Let the server of the namespaces end, as one that is killed does; which were served."""
        served = [k for k, o in self.items.items() if k.kind == "zdb" and o.condition == "running"]
        self.items |= {key: _unserved(self.items[key]) for key in served}
        if self._changed is not None:
            self._changed.set()
        return served

    def reboot(self) -> None:
        """Lose everything that runs, as a power cut does; what is on disk stays.

        That is images, keys, and the data of namespaces, which nobody serves for now.
        """
        kept = {k: o for k, o in self.items.items() if k.kind in {"image", "zdb"}}
        self.items = {k: _unserved(o) if k.kind == "zdb" else o for k, o in kept.items()}

    def _key(self, item: Item) -> str:
        """The public key of a network; once removed, another is made, as on a real machine."""
        if item.key not in self.keys:
            self._keys_made += 1
            made = canonical.sha256(f"{self.address} {item.digest} {self._keys_made}".encode())
            self.keys[item.key] = canonical.text_from(made)
        return self.keys[item.key]

    async def _before(self, verb: Verb, key: ItemKey) -> None:
        if self.before is not None:
            await self.before(verb, key)


def _unserved(namespace: Observed) -> Observed:
    return Observed(key=namespace.key, digest=namespace.digest, condition="broken")
