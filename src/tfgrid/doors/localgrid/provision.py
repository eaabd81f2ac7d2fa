"""What each process is told before it starts: `node.json`, `bot.json`, certificates, HAProxy's.

A node and the bot each get an unlock key of their own, so that none of them can open another's
identity. The edge is a listener on 127.0.0.1 in front of the gateway that passes bytes and leaves
TLS untouched; it belongs to `tfgrid up` and not to the grid, because on real machines the gateway's
own address is public.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from tfgrid.agents import threebot, zos
from tfgrid.capacity import zgw
from tfgrid.core import identity, keys, limits
from tfgrid.core.clock import SystemClock
from tfgrid.core.rng import SystemRng
from tfgrid.core.store import DirectoryStore
from tfgrid.core.units import Capacity
from tfgrid.doors.localgrid import create, doctor
from tfgrid.doors.localgrid.model import GridFile, NodeEntry, Paths, gateway_domain, gateway_port

__all__ = ["bot", "edge", "edge_configuration", "edge_file", "node"]

_LEAF_DAYS: Final = 90
_LEAF_MS: Final = _LEAF_DAYS * 86_400_000
_RENEW_BEFORE_MS: Final = 30 * 86_400_000
_KEPT_MEMORY_BYTES: Final = 2 * 1024**3


def node(paths: Paths, grid: GridFile, entry: NodeEntry) -> None:
    """Write a node's `node.json`, its unlock key and, for a gateway, its certificate."""
    directory = paths.node(entry.name)
    gateway = "gateway" in entry.roles
    certificate = directory / "tls" / "gateway.pem"
    if gateway:
        _certificate(paths, grid, certificate)
    farm = next(farm.farm for farm in grid.farms if farm.name == entry.farm)
    config = zos.Config(
        grid=grid.grid, name=entry.name, trust=grid.trust, ledger_url=grid.ledger_url,
        farm=farm, underlay_bridge=grid.bridge, underlay4=f"{grid.address(entry)}/24",
        roles=entry.roles, gateway_domains=(gateway_domain,) if gateway else (),
        unlock_key_path=str(_unlock_key(grid, entry.name)),
        certificate_path=str(certificate) if gateway else "",
        capacity=_share(paths, len(grid.nodes)),
    )  # fmt: skip
    zos.write_config(directory, config)


def _share(paths: Paths, nodes: int) -> Capacity:
    """One node's share of this machine: an equal part of memory and disk, and at least one core.

    Cores are shared out by the kernel as they are needed, so a small machine may offer more than it
    has.
    """
    machine = doctor.take()
    memory = max(machine.memory_available_bytes - _KEPT_MEMORY_BYTES, 0) // nodes
    least = 2 * limits.node_memory_reserve_bytes_min + limits.zdb_cache_bytes
    disk = shutil.disk_usage(paths.root).free // 2 // nodes
    return Capacity(
        cpu_millis=max(1000, machine.cores * 1000 // nodes),
        memory_bytes=max(memory, least), ssd_bytes=disk, hdd_bytes=disk,
    )  # fmt: skip


def _unlock_key(grid: GridFile, name: str) -> Path:
    path = Paths.unlock_key(f"{grid.grid}-{name}")
    if not path.exists():
        DirectoryStore(path.parent).write(path.name, SystemRng().token(keys.unlock_key_bytes))
    return path


def _certificate(paths: Paths, grid: GridFile, path: Path) -> None:
    """A certificate for the gateway's own domain, made anew when less than a month of it is left.

    Its authority may vouch for that domain only, and its key is forgotten here, so the gateway
    holds a leaf and no more.
    """
    clock = SystemClock()
    age_ms = clock.now_ms() - path.stat().st_mtime * 1000 if path.exists() else _LEAF_MS
    if age_ms < _LEAF_MS - _RENEW_BEFORE_MS:
        return
    certificate, key = create.authority_pems(paths, grid)
    root = zgw.Authority(certificate_pem=certificate, key_pem=key, root_pem=certificate)
    now = clock.now_ms()
    gateway = root.intermediate(f"tfgrid {grid.grid} gateway", (gateway_domain,), now_ms=now)
    leaf = gateway.leaf((f"*.{gateway_domain}",), now_ms=now, validity_days=_LEAF_DAYS)
    DirectoryStore(path.parent).write(path.name, leaf.pem)


def bot(paths: Paths, grid: GridFile) -> None:
    """Give the 3Bot its settings and its own sealed identity."""
    key_path = _unlock_key(grid, "bot")
    store = DirectoryStore(paths.bot)
    if store.read("identities/bot") is None:
        ring = create.keyring(paths, grid, "bot")
        identity.save_keyring(ring, store, unlock_key=key_path.read_bytes(), rng=SystemRng())
    settings = threebot.Settings(
        name="bot", trust=grid.trust, ledger_url=grid.ledger_url,
        unlock_key_path=str(key_path), owner=grid.identities["alice"],
    )  # fmt: skip
    threebot.write_settings(paths.bot, settings)


def edge_file(paths: Paths) -> Path:
    """Where the edge's configuration is."""
    return paths.edge / "haproxy.cfg"


def edge(paths: Paths, grid: GridFile) -> None:
    """Write the edge's configuration."""
    path = edge_file(paths)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.write_text(edge_configuration(grid), encoding="ascii")


def edge_configuration(grid: GridFile) -> str:
    """HAProxy's configuration: one TCP listener, gateway nodes behind it, dead ones left out."""
    servers = [
        f"    server {node.name} {grid.address(node)}:{gateway_port} check inter 1s fall 2 rise 1"
        for node in grid.nodes
        if "gateway" in node.roles
    ]
    return "\n".join(
        [
            "global",
            "    maxconn 1024",
            "defaults",
            "    mode tcp",
            "    timeout connect 3s",
            "    timeout client 1h",
            "    timeout server 1h",
            "    retries 2",
            "    option redispatch",
            "frontend edge",
            f"    bind 127.0.0.1:{grid.edge_port}",
            "    default_backend gateways",
            "backend gateways",
            *servers,
            "",
        ]
    )
