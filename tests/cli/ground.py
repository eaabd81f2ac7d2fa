"""A grid whose ledger is in this process: real records, and nodes that only say they exist."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from tfgrid.core.clock import SystemClock
from tfgrid.core.identity import Keyring
from tfgrid.core.ids import NodeId
from tfgrid.core.rng import SeededRng
from tfgrid.core.transport import MemoryTransport
from tfgrid.core.units import Capacity
from tfgrid.doors.cli.root import root
from tfgrid.doors.localgrid import create, kinds, model, register, serve
from tfgrid.jumpscale import clients
from tfgrid.ledger import bcdb, farm

__all__ = ["RECIPE", "Ground", "ground", "run"]

GIB = 1024**3

RECIPE = """\
name: hello
version: 1.0.0
description: One container behind a name.
parameters:
  host: {type: string, default: hello.grid.localhost, maximum: 253}
  memory: {type: size, default: 64MiB, minimum: 32MiB, maximum: 64GiB}
policy:
  deploy: {roles: {budget: 1, security: 1, legal: 1}, weight: 2, expires: 1d}
  delete: {roles: {budget: 1, security: 1, legal: 1}, weight: 2, expires: 1d}
access: {logs: true}
workloads:
  net:
    type: network
  web:
    type: container
    image: hello
    network: net
    cpu: 0.25
    memory: ${memory}
    disk: 128MiB
  page:
    type: route
    host: ${host}
    network: net
    containers: [web]
    port: 8080
"""


def run(*arguments: str, typed: str = "") -> Result:
    """Run `tfgrid` with these arguments, in this process."""
    return CliRunner().invoke(root, arguments, input=typed)


class Ground:
    """A grid in a directory, its ledger served in memory; `cut` makes it unreachable."""

    def __init__(self, directory: Path) -> None:
        self.paths = model.Paths(directory)
        made = create.create(
            self.paths, nodes=4, farms=2, clock=SystemClock(), rng=SeededRng(str(directory))
        )
        self.grid = msgspec.structs.replace(made, underlay="10.255.255")
        model.write(self.paths, self.grid)
        self.ledger = serve.open_ledger(self.paths, self.grid)
        self.transport = MemoryTransport(bcdb.Service(self.ledger).handle)

    def furnish(self) -> None:
        """Register people, farms and nodes."""
        asyncio.run(self._furnish())

    async def _furnish(self) -> None:
        registrar = register.Registrar(self.paths, self.grid)
        await registrar.people()
        client = bcdb.Client(self.transport, self.grid.trust)
        for entry in self.grid.nodes:
            ring = Keyring.new(entry.name, SeededRng(f"{self.paths.root}{entry.name}"))
            node = bcdb.Author(ring, client, SystemClock(), registry=kinds.registry())
            await node.register()
            body = farm.NodeRegister(
                farm=next(f.farm for f in self.grid.farms if f.name == entry.farm),
                endpoint=self.grid.address(entry), trust="hosted", roles=entry.roles,
                domains=("grid.localhost",) if "gateway" in entry.roles else (),
            )  # fmt: skip
            await node.submit("node.register", body)
            total = Capacity(cpu_millis=2000, memory_bytes=2 * GIB, ssd_bytes=10 * GIB)
            inventory = farm.NodeInventory(total=total, reserve=Capacity(memory_bytes=GIB // 4))
            await node.submit("node.inventory", inventory)
            admit = farm.NodeAdmit(
                node=NodeId(ring.identity), registration=farm.registration_digest(body)
            )
            await (await registrar.author(entry.farm)).submit("node.admit", admit)

    def run(self, *arguments: str, typed: str = "") -> Result:
        """Run `tfgrid` on this grid; `typed` is what the person types."""
        return run(*arguments, "--grid", str(self.paths.root), typed=typed)


@contextmanager
def ground(directory: Path) -> Iterator[Ground]:
    """A furnished grid; nothing of it is left in the environment afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(directory / "state"))
        patch.setenv("XDG_CONFIG_HOME", str(directory / "config"))
        made = Ground(directory / "grid")
        patch.setattr(clients, "HttpTransport", lambda _url: made.transport)
        try:
            made.furnish()
            yield made
        finally:
            made.ledger.close()
