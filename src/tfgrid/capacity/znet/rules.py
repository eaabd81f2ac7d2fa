"""What may pass in a tenant's namespace, as nftables tables.

Everything that is not said here is dropped.

    bridge  who a member says it is: port, MAC and address belong together. No ARP and no neighbour
            discovery is let through at all: both sides know each other's MAC addresses for good.
    inet    who may talk to whom: members, peers, and what came in through the gateway link; and the
            services of the node in this network, each one address and one port.
    ip      the gateway's ports (`forwards`), filled element by element and never flushed.

The bridge's own addresses answer echo requests and nothing else.
"""

from __future__ import annotations

from typing import Final

from tfgrid.capacity.znet import model
from tfgrid.capacity.znet.model import NetworkSpec
from tfgrid.jumpscale.sal.nftables import TableSet

__all__ = ["forwards_map", "gateway_table", "name", "tables"]

name: Final = "tfgrid"
forwards_map: Final = "forwards"
gateway_table: Final = "tfgrid-gateway"


def tables(spec: NetworkSpec, link: int) -> tuple[TableSet, ...]:
    """The tables of a network; `netns` is left to the caller."""
    made = [
        TableSet(family="bridge", table=name, body=_members(spec)),
        TableSet(family="inet", table=name, body=_filter(spec), label=spec.label),
    ]
    if spec.gateway:
        made.append(TableSet(family="ip", table=gateway_table, body=_gateway(spec, link)))
    return tuple(made)


def _set(kind: str, typed: str, elements: list[str]) -> str:
    listed = f"  elements = {{ {', '.join(elements)} }}\n" if elements else ""
    return f"set {kind} {{\n  type {typed}\n{listed}}}"


def _members(spec: NetworkSpec) -> str:
    own4, own6 = [], []
    for member in spec.members:
        who = f'"{model.port_name(spec.id, member.name)}" . {model.mac_address(member.address4)}'
        own4.append(f"{who} . {member.address4}")
        own6.append(f"{who} . {member.address6}")
    sets = [
        _set("own4", "ifname . ether_addr . ipv4_addr", own4),
        _set("own6", "ifname . ether_addr . ipv6_addr", own6),
    ]
    return "\n".join(sets) + (
        "\nchain prerouting {\n"
        "  type filter hook prerouting priority -300; policy drop;\n"
        "  iifname . ether saddr . ip saddr @own4 accept\n"
        "  iifname . ether saddr . ip6 saddr @own6 accept\n"
        "}"
    )


def _services(spec: NetworkSpec) -> tuple[str, str]:
    """The sets of what the node answers for, and who may come to it; empty without any."""
    if not spec.services:
        return "", ""
    bridge, tunnel = model.bridge_name(spec.id), model.tunnel_name(spec.id)
    sets = [
        _set("services4", "ipv4_addr . inet_service",
             [f"{service.address4} . {service.port}" for service in spec.services]),
        _set("services6", "ipv6_addr . inet_service",
             [f"{service.address6} . {service.port}" for service in spec.services]),
    ]  # fmt: skip
    allowed = [
        f'  iifname "{link}" {family} saddr {source} {family} daddr . tcp dport @{known} accept'
        for link, family, source, known in (
            (bridge, "ip", spec.subnet4, "services4"),
            (bridge, "ip6", spec.subnet6, "services6"),
            (tunnel, "ip", spec.range4, "services4"),
            (tunnel, "ip6", spec.range6, "services6"),
        )
    ]
    return "\n".join([*sets, ""]), "\n".join([*allowed, ""])


def _filter(spec: NetworkSpec) -> str:
    bridge, tunnel = model.bridge_name(spec.id), model.tunnel_name(spec.id)
    link = model.gateway_name(spec.id)
    here = f'iifname "{bridge}"'
    sets, services = _services(spec)
    return f"""{sets}chain input {{
  type filter hook input priority filter; policy drop;
  ct state established,related accept
  {here} ip daddr {spec.bridge4} icmp type echo-request limit rate 100/second accept
  {here} ip6 daddr {spec.bridge6} icmpv6 type echo-request limit rate 100/second accept
{services}  iifname "{link}" meta l4proto tcp reject with tcp reset
}}
chain forward {{
  type filter hook forward priority filter; policy drop;
  ct state invalid drop
  tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu
  ct state established,related accept
  {here} oifname "{bridge}" ip saddr {spec.subnet4} ip daddr {spec.subnet4} accept
  {here} oifname "{bridge}" ip6 saddr {spec.subnet6} ip6 daddr {spec.subnet6} accept
  {here} oifname "{tunnel}" ip saddr {spec.subnet4} ip daddr {spec.range4} accept
  {here} oifname "{tunnel}" ip6 saddr {spec.subnet6} ip6 daddr {spec.range6} accept
  iifname "{tunnel}" oifname "{bridge}" ip saddr {spec.range4} ip daddr {spec.subnet4} accept
  iifname "{tunnel}" oifname "{bridge}" ip6 saddr {spec.range6} ip6 daddr {spec.subnet6} accept
  iifname "{link}" oifname {{ "{bridge}", "{tunnel}" }} ct status dnat accept
}}"""


def _gateway(spec: NetworkSpec, link: int) -> str:
    entry = f'iifname "{model.gateway_name(spec.id)}" ip daddr {model.link_addresses(link)[1]}'
    return f"""map {forwards_map} {{
  type inet_service : ipv4_addr . inet_service
}}
chain prerouting {{
  type nat hook prerouting priority dstnat; policy accept;
  {entry} meta l4proto tcp dnat ip to tcp dport map @{forwards_map}
}}
chain postrouting {{
  type nat hook postrouting priority srcnat; policy accept;
  ct status dnat snat ip to {spec.bridge4}
}}"""
