"""The records by which a grid's people, farms, offers, nodes and image sources become known.

Each is written once: what the verified view already says is left alone, so that `up` may be
repeated and be cut anywhere. A node registers itself; its farmer admits it only when it is the node
that was provisioned here.
"""

from __future__ import annotations

from typing import Final

from tfgrid.agents import zos
from tfgrid.core.clock import SystemClock
from tfgrid.core.store import MemoryStore
from tfgrid.doors.localgrid import create, kinds
from tfgrid.doors.localgrid.model import FarmEntry, GridFile, Paths
from tfgrid.jumpscale import clients
from tfgrid.ledger import bcdb, farm

__all__ = ["Registrar"]

PRICES: Final = farm.Prices(cru=40_000_000, mru=10_000_000, sru=500_000, hru=100_000)
"""Per day: 4 TFT for a core, 1 TFT for a GiB of memory, 0.05 for a GiB of SSD, 0.01 of HDD."""


class Registrar:
    """Writes what is missing, with the identities that this grid keeps."""

    def __init__(self, paths: Paths, grid: GridFile) -> None:
        self._paths = paths
        self._grid = grid
        self._clock = SystemClock()
        self._registry = kinds.registry()
        self._transport = clients.HttpTransport(grid.ledger_url)
        self._client = bcdb.Client(self._transport, grid.trust)
        self._authors: dict[str, bcdb.Author] = {}
        self.follower = bcdb.Follower(
            self._transport, grid.trust, registry=self._registry, store=MemoryStore(),
            clock=self._clock,
        )  # fmt: skip

    async def look(self) -> bcdb.View:
        """The verified state of the ledger now."""
        await self.follower.sync()
        return self.follower.view

    async def author(self, name: str) -> bcdb.Author:
        """One of the grid's identities as a writer, registered."""
        if name not in self._authors:
            ring = create.keyring(self._paths, self._grid, name)
            author = bcdb.Author(ring, self._client, self._clock, registry=self._registry)
            await author.register()
            self._authors[name] = author
        return self._authors[name]

    async def people(self) -> None:
        """Everybody's identity, the farms with their offers, and where the images are."""
        for name in create.PEOPLE:
            if name not in {"admin", "ledger"}:
                await self.author(name)
        for entry in self._grid.farms:
            await self._farm(entry)
        view = await self.look()
        expert = self._grid.identities["expert"]
        if self._grid.chunks_url not in farm.image_sources(view, expert):
            author = await self.author("expert")
            await author.submit("image.source", farm.ImageSource(url=self._grid.chunks_url))

    async def _farm(self, entry: FarmEntry) -> None:
        author = await self.author(entry.name)
        known = {info.farm: info for info in farm.farms(await self.look())}
        if entry.farm not in known:
            await author.submit("farm.create", farm.FarmCreate(name=entry.name))
        if entry.farm not in known or not known[entry.farm].country:
            offer = farm.Offer(country=entry.country, prices=PRICES, payments=("none",))
            await author.submit("farm.offer", offer)

    async def admit(self) -> set[str]:
        """Admit every node of this grid that has registered; returns the names of the admitted."""
        view = await self.look()
        known = {info.node: info for info in farm.nodes(view, self.follower.order_time_ms())}
        admitted = set()
        for node in self._grid.nodes:
            status = zos.read_status(self._paths.node(node.name), ledger=self._grid.ledger)
            info = known.get(status.node) if status else None
            if info is None:
                continue
            if not info.admitted:
                author = await self.author(node.farm)
                body = farm.NodeAdmit(node=info.node, registration=info.registration)
                await author.submit("node.admit", body)
            elif info.total.memory_bytes:
                admitted.add(node.name)
        return admitted
