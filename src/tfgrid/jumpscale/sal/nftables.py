"""Packet rules: whole tables replaced in one transaction, and single elements of maps.

A table is text in nft's own language. Its digest stands in the table's comment, so that what is
there can be compared with what should be without parsing rules back. A map that changes while
packets flow is filled element by element and its table is never flushed. Every change is one run
of `nft`, which the kernel takes or refuses as a whole; reading is by netlink and starts no
process, because a node reads all the time. Refuses with TFG-3603; TFG-3604 where there is no
`nft`.
"""

from __future__ import annotations

import hashlib
import ipaddress
import struct
import subprocess
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from tfgrid.core import errors
from tfgrid.jumpscale.sal import namespaces, netlink
from tfgrid.jumpscale.sal.change import Argv, Change
from tfgrid.jumpscale.sal.links import entering

__all__ = [
    "ElementAdd",
    "ElementRemove",
    "Family",
    "TableRemove",
    "TableSet",
    "read_comments",
    "read_ports",
]

Family: TypeAlias = Literal["inet", "ip", "ip6", "bridge", "arp", "netdev"]

_TIMEOUT_SECONDS: Final = 20
_NFTABLES: Final = 10 << 8
_GET_TABLE, _GET_ELEMENTS = 1, 13
_HEAD: Final = struct.Struct("!BBH")
_FAMILY_ANY, _FAMILY_IP = 0, 2
_FAMILIES: Final = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rules(Change):
    family: Family
    table: str
    netns: Path | None = None

    def _script(self) -> str:
        raise AssertionError("each change writes its own")

    def perform(self) -> None:
        """See `Change.perform`."""
        _nft(self.netns, "-f", "-", script=self._script())

    def argv(self) -> tuple[Argv, ...]:
        """See `Change.argv`."""
        return (entering(self.netns, "nft", self._script()),)


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSet(_Rules):
    """Make the table be exactly `body`, with its digest and `label` as comment."""

    body: str
    label: str = ""

    @property
    def comment(self) -> str:
        """What `read_comments` answers when this table stands."""
        return f"{hashlib.sha256(self.body.encode()).hexdigest()[:32]}/{self.label}"

    def _script(self) -> str:
        name = f"table {self.family} {self.table}"
        whole = f'{name} {{\ncomment "{self.comment}"\n{self.body}\n}}\n'
        return f"add {name}\ndelete {name}\n{whole}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRemove(_Rules):
    """Make the table not be."""

    def _script(self) -> str:
        name = f"table {self.family} {self.table}"
        return f"add {name}\ndelete {name}\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class ElementAdd(_Rules):
    """Put one element into a map of the table, beside those that are there."""

    map: str
    key: str
    value: str

    def _script(self) -> str:
        where = f"{self.family} {self.table} {self.map}"
        return f"add element {where} {{ {self.key} : {self.value} }}\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class ElementRemove(_Rules):
    """Take one element out of a map of the table."""

    map: str
    key: str

    def _script(self) -> str:
        return f"delete element {self.family} {self.table} {self.map} {{ {self.key} }}\n"


def read_comments(netns: Path | None) -> dict[tuple[str, str], str]:
    """The comment of every table of a namespace, by family and name.

    Raises:
        errors.Failed: TFG-3607, the rules cannot be read.

    """
    found = {}
    for answer in _dump(netns, _GET_TABLE, _FAMILY_ANY):
        said = netlink.attributes(answer[_HEAD.size :])
        name = said.get(1, b"").rstrip(b"\0").decode("ascii", "replace")
        family = _FAMILIES.get(answer[0], str(answer[0]))
        found[family, name] = _comment_in(said.get(6, b""))
    return found


def read_ports(netns: Path | None, table: str, name: str) -> dict[str, str]:
    """The elements of a map of an `ip` table from ports to addresses with ports.

    As they are written in rules.

    Raises:
        errors.Failed: TFG-3607, the rules cannot be read, or there is no such map.

    """
    body = netlink.text(1, table) + netlink.text(2, name)
    found = {}
    for answer in _dump(netns, _GET_ELEMENTS, _FAMILY_IP, body):
        elements = netlink.attributes(answer[_HEAD.size :]).get(3, b"")
        for _, element in netlink.each_attribute(elements):
            said = netlink.attributes(element)
            key = netlink.attributes(said.get(1, b"")).get(1, b"")
            value = netlink.attributes(said.get(2, b"")).get(1, b"")
            port, address = int.from_bytes(key[:2], "big"), ipaddress.IPv4Address(value[:4])
            found[str(port)] = f"{address} . {int.from_bytes(value[4:6], 'big')}"
    return found


def _dump(netns: Path | None, kind: int, family: int, body: bytes = b"") -> list[bytes]:
    try:
        with netlink.open_in(netns, netlink.netfilter) as opened:
            return opened.read(_NFTABLES | kind, _HEAD.pack(family, 0, 0) + body)
    except OSError as error:
        raise errors.Failed(
            "TFG-3607", f"cannot read the packet rules: {error.strerror}",
            where=str(netns or ""), errno=error.errno or 0,
        ) from error  # fmt: skip


def _comment_in(data: bytes) -> str:
    """The comment in what nft keeps beside a table: type, length, value; type 0 is the comment."""
    while len(data) >= 2:
        kind, length = data[0], data[1]
        if kind == 0:
            return data[2 : 2 + length].rstrip(b"\0").decode("ascii", "replace")
        data = data[2 + length :]
    return ""


def _nft(netns: Path | None, *arguments: str, script: str = "") -> str:
    try:
        with namespaces.inside(netns) if netns else nullcontext():
            done = subprocess.run(
                ["nft", *arguments], input=script, capture_output=True, text=True, check=False,
                timeout=_TIMEOUT_SECONDS,
            )  # fmt: skip
    except FileNotFoundError as error:
        raise errors.MachineLacks(
            "TFG-3604", "there is no nft program here", hint="apt-get install nftables"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise errors.Failed("TFG-3603", "nft did not answer", where=str(netns or "")) from error
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise errors.Failed(
            "TFG-3603", f"nft refused: {said[0] if said else done.returncode}",
            where=str(netns or ""), script=script,
        )  # fmt: skip
    return done.stdout
