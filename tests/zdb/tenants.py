"""Networks of tenants on this machine: namespaces that never meet, all with the same address."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.zdb.ground import Running, Wire, serving
from tfgrid.capacity import zdb
from tfgrid.jumpscale.sal import namespaces

ADDRESS: Final = "10.20.0.5"
PORT: Final = 9900


class Network:
    """One tenant's network namespace with the address that everybody has."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.pin = folder / f"net-{name}"
        namespaces.Pin(net=self.pin).perform()
        for words in (["link", "set", "lo", "up"], ["addr", "add", f"{ADDRESS}/32", "dev", "lo"]):
            subprocess.run(["nsenter", f"--net={self.pin}", "ip", *words], check=True)

    @property
    def place(self) -> str:
        """What names this namespace and the address in it."""
        there = self.pin.stat()
        return f"{there.st_dev}:{there.st_ino} {ADDRESS}:{PORT}"

    def listen(self) -> socket.socket:
        """A socket that listens here."""
        with namespaces.inside(self.pin):
            return socket.create_server((ADDRESS, PORT), backlog=128)

    def wire(self) -> Wire:
        """A connection from a container here."""
        with namespaces.inside(self.pin):
            return Wire(zdb.Address(ADDRESS, PORT))

    def remove(self) -> None:
        """Let go of it."""
        namespaces.Unpin(path=self.pin).perform()


@contextmanager
def networks(folder: Path, *names: str) -> Iterator[list[Network]]:
    """Networks that are there inside the `with` statement."""
    made: list[Network] = []
    try:
        made.extend(Network(folder, name) for name in names)
        yield made
    finally:
        for network in made:
            network.remove()


@contextmanager
def private(folder: Path, *options: str) -> Iterator[tuple[Running, zdb.Client]]:
    """A server that listens on its admin socket alone, and an admin."""
    path = folder / "admin.sock"
    with (
        serving(folder, "--admin-socket", str(path), "--private", *options) as running,
        zdb.Client(zdb.Address(socket=path)) as admin,
    ):
        yield running, admin


def admit(admin: zdb.Client, network: Network) -> None:
    """Make a namespace that is named as the network, and its entrance."""
    admin.nsnew(network.name)
    with network.listen() as listener:
        admin.entrance_add(network.name, network.name, listener)


def descriptors(pid: int) -> int:
    """How many files a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - names alone are counted
