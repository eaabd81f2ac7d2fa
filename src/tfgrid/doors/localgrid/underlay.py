"""The network that the grid's processes share: a bridge, with a range that no other grid has.

    tgGRID8  10.A.B.1/24      ledger :8100, chunk server :8101
      |- n1  10.A.B.11        a veth into the node's own network namespace, made by the node
      `- n2  10.A.B.12

Range and edge port are claimed machine-wide and kept until `down --purge`, so that addresses in
records stay true.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from tfgrid.doors.localgrid.model import GridFile, Paths, edge_port_first, write
from tfgrid.jumpscale.sal import claims, links

__all__ = ["claim", "exists", "make", "release", "remove"]


def claim(paths: Paths, grid: GridFile) -> GridFile:
    """The grid with its range and edge port; claimed at its first start, the same ever after."""
    table = claims.Claims()
    network = table.underlay(grid.grid, _networks_in_use(grid.bridge))
    port = grid.edge_port if grid.underlay else table.port(grid.grid, edge_port_first)
    claimed = msgspec.structs.replace(grid, underlay=network.rpartition(".")[0], edge_port=port)
    if claimed != grid:
        write(paths, claimed)
    return claimed


def _networks_in_use(own_bridge: str) -> set[str]:
    """Every /24 below 10.0.0.0/8 that this machine has a route into already."""
    used = set()
    lines = Path("/proc/net/route").read_text(encoding="ascii").splitlines()[1:]
    for fields in (line.split() for line in lines):
        numbers = bytes.fromhex(fields[1])[::-1]
        if fields[0] != own_bridge and numbers[0] == 10:
            used.add(f"10.{numbers[1]}.{numbers[2]}.0/24")
    return used


def exists(grid: GridFile) -> bool:
    """Whether the bridge stands."""
    return Path("/sys/class/net", grid.bridge).exists()


def make(grid: GridFile) -> None:
    """Make the bridge with the grid's own address; does nothing if it stands."""
    if exists(grid):
        return
    links.LinkAdd(name=grid.bridge, kind="bridge").perform()
    links.AddressAdd(link=grid.bridge, address=f"{grid.gateway_address}/24").perform()
    links.LinkSet(name=grid.bridge, up=True).perform()


def remove(grid: GridFile) -> None:
    """Remove the bridge; does nothing if it is gone."""
    if exists(grid):
        links.LinkRemove(name=grid.bridge).perform()


def release(grid: GridFile) -> None:
    """Give back range and port, and whatever else the grid's nodes still hold."""
    claims.Claims().release(grid.grid)
