"""What every error code means and what to do about it.

One TOML file for each part of the grid, beside this module: `[TFG-nnnn]` with `title`, `meaning`
and `remedy`. `docs/errors.md` is rendered from it, `tfgrid` shows an entry where somebody asks, and
a test holds that the codes raised in the tree and the codes explained here are the same.

| codes | part |
|---|---|
| 10 to 19 | core |
| 20 to 22 | ledger: bcdb |
| 23 to 25 | ledger: contract |
| 26 | ledger: farm |
| 30 | jumpscale |
| 31 to 35 | capacity: container, flist, builders, znet, zgw |
| 36 | jumpscale: the network side of the machine |
| 40 to 42 | agents: zos and its keeper |
| 45 | agents: threebot |
| 50, 51, 52 | doors: cli, localgrid, api |
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType

__all__ = ["Entry", "entries", "markdown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One error code: its `part` is the file it stands in."""

    code: str
    part: str
    title: str
    meaning: str
    remedy: str


@cache
def entries() -> MappingProxyType[str, Entry]:
    """Every entry by its code, in the order of codes; no code stands in two files."""
    found: dict[str, Entry] = {}
    for file in resources.files(__package__).iterdir():
        part, dot, kind = file.name.rpartition(".")
        if (dot, kind) != (".", "toml"):
            continue
        for code, fields in tomllib.loads(file.read_text(encoding="utf-8")).items():
            assert code not in found, f"{code} stands in {part} and in {found[code].part}"
            found[code] = Entry(code=code, part=part, **fields)
    return MappingProxyType(dict(sorted(found.items())))


def markdown() -> str:
    """`docs/errors.md`, whole."""
    lines = [
        "# Errors",
        "",
        "Every message of tfgrid that reports a failure carries one of these codes. Rendered from",
        "`src/tfgrid/core/catalogue/` by `make docs`.",
        "",
        "| exit code | class of error |",
        "|---|---|",
        *_EXIT_CODES,
    ]
    for entry in entries().values():
        lines += ["", f"## {entry.code}: {entry.title}", "", entry.meaning, "", entry.remedy]
    return "\n".join(lines) + "\n"


_EXIT_CODES = (
    "| 1 | tried, and it did not work |",
    "| 2 | a document, argument or name is malformed |",
    "| 4 | no such thing |",
    "| 5 | identity, role or quorum does not permit it |",
    "| 6 | someone changed it meanwhile |",
    "| 7 | no node fits |",
    "| 9 | the time ran out before the work did; repeating resumes |",
    "| 10 | registered, waiting for approvals |",
    "| 11 | a proof, digest or signature does not hold |",
    "| 12 | a server or peer does not answer |",
    "| 13 | the machine lacks something; see `tfgrid doctor` |",
)
