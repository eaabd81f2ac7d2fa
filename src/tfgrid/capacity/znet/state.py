"""Reading what a network is on this machine; nothing here changes anything."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tfgrid.capacity.znet import model, rules
from tfgrid.capacity.znet.model import Site
from tfgrid.jumpscale.sal import links, namespaces, nftables, topology, wireguard

__all__ = ["State", "nothing", "read_state", "wanted_settings"]

nothing: Final = topology.Topology(
    links={}, addresses=frozenset(), routes=frozenset(), neighbours=frozenset()
)

wanted_settings: Final = {
    "net.ipv4.ip_forward": "1",
    "net.ipv4.conf.all.rp_filter": "1",
    "net.ipv4.conf.all.send_redirects": "0",
    "net.ipv4.conf.default.send_redirects": "0",
    "net.ipv4.conf.all.accept_redirects": "0",
    "net.ipv6.conf.all.forwarding": "1",
    "net.ipv6.conf.all.accept_redirects": "0",
    "net.ipv6.conf.default.accept_ra": "0",
    "net.bridge.bridge-nf-call-iptables": "0",
    "net.bridge.bridge-nf-call-ip6tables": "0",
    "net.bridge.bridge-nf-call-arptables": "0",
}
"""Settings of a tenant's namespace.

Those of `net.bridge` are absent where the kernel has no such filter.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """One network as it is.

    `kernel` says whose WireGuard is used, `process` whether a user-space one lives.
    """

    exists: bool
    kernel: bool
    process: bool
    tenant: topology.Topology
    node: topology.Topology
    tables: dict[tuple[str, str], str]
    settings: dict[str, str]
    device: wireguard.Device | None
    forwards: dict[str, str]


def read_state(site: Site, network: str, *, kernel: bool, process: bool) -> State:
    """Read one network."""
    path = site.netns_directory / model.namespace_name(network)
    exists = namespaces.is_pinned(path)
    tenant = topology.read(path) if exists else nothing
    tables = nftables.read_comments(path) if exists else {}
    tunnel = model.tunnel_name(network)
    forwards: dict[str, str] = {}
    if ("ip", rules.gateway_table) in tables:
        forwards = nftables.read_ports(path, rules.gateway_table, rules.forwards_map)
    device = None
    if tunnel in tenant.links and (kernel or process):
        uapi = None if kernel else site.uapi_directory / f"{tunnel}.sock"
        device = wireguard.read(tunnel, uapi=uapi, netns=path if kernel else None)
    return State(
        exists=exists, kernel=kernel, process=process, tenant=tenant, tables=tables, device=device,
        node=topology.read(site.node_netns), forwards=forwards,
        settings=_settings(path if exists else None),
    )  # fmt: skip


def _settings(netns: Path | None) -> dict[str, str]:
    """Settings of a namespace, or of one to be made; what this kernel lacks is as it should be."""
    found = {}
    with namespaces.inside(netns) if netns else nullcontext():
        for key, wanted in wanted_settings.items():
            path = links.Setting(key=key, value="").path
            if not path.exists():
                found[key] = wanted
            else:
                found[key] = path.read_text("ascii").strip() if netns else ""
    return found
