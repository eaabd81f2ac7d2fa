"""Packet rules: whole tables replaced in one transaction, and single elements of maps.

A table is text in nft's own language. Its digest stands in the table's comment, so that what is there can be
compared with what should be without parsing rules back. A map that changes while packets flow is filled element
by element and its table is never flushed. Every change is one run of `nft`, which the kernel takes or refuses as
a whole. Refuses with TFG-3603; TFG-3604 where there is no `nft`.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from tfgrid.core import errors
from tfgrid.jumpscale.sal import namespaces
from tfgrid.jumpscale.sal.change import Argv, Change
from tfgrid.jumpscale.sal.links import entering

__all__ = [
    "ElementAdd",
    "ElementRemove",
    "Family",
    "TableRemove",
    "TableSet",
    "read_comments",
    "read_map",
]

Family: TypeAlias = Literal["inet", "ip", "ip6", "bridge", "arp", "netdev"]

_TIMEOUT_SECONDS: Final = 20
_TABLE: Final = re.compile(r"^table (\w+) (\S+) \{$")
_COMMENT: Final = re.compile(r'^\tcomment "([^"]*)"$')


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
    """The comment of every table of a namespace, by family and name."""
    found: dict[tuple[str, str], str] = {}
    current = ("", "")
    for line in _nft(netns, "-t", "list", "ruleset").splitlines():
        if table := _TABLE.match(line):
            current = (table[1], table[2])
            found[current] = ""
        elif comment := _COMMENT.match(line):
            found[current] = comment[1]
    return found


def read_map(netns: Path | None, family: Family, table: str, name: str) -> dict[str, str]:
    """The elements of a map, as they are written in rules."""
    answer = json.loads(_nft(netns, "-j", "list", "map", family, table, name))
    found = [each["map"].get("elem", []) for each in answer["nftables"] if "map" in each]
    return {_word(key): _word(value) for elements in found for key, value in elements}


def _word(value: object) -> str:
    if isinstance(value, dict) and "concat" in value:
        return " . ".join(map(str, value["concat"]))
    return str(value)


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
