"""Names inside a network.

A hosts file made of the placement, since nothing is learned at run time.
"""

from __future__ import annotations

from collections.abc import Iterable

from tfgrid.capacity.znet.model import Member

__all__ = ["hosts_text"]


def hosts_text(members: Iterable[Member], *, own_name: str = "") -> str:
    """/etc/hosts for a member: itself first, then all members of the whole network by name."""
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
    for member in sorted(members, key=lambda each: (each.name != own_name, each.name)):
        lines += [f"{member.address4} {member.name}", f"{member.address6} {member.name}"]
    return "\n".join(lines) + "\n"
