"""Names for completion: what commands saw last, read from one small file and never asked for.

A shell waits for the answer while somebody types, so nothing here opens a connection or reads a
ledger. `remember` keeps the names when a command has seen something new; `complete` gives those
that begin with what was typed. Without the file, or for a grid that is not there, there are none.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import click

from tfgrid.doors.cli.frame.settings import Settings, settings_of
from tfgrid.doors.cli.frame.sources import settle

__all__ = ["Kind", "complete", "remember"]

Kind: TypeAlias = Literal["contract", "workload", "recipe", "node", "part", "identity", "image"]
Names: TypeAlias = Mapping[Kind, Sequence[str]]

names_max: Final = 2_000
_FILE: Final = Path("cache") / "names.json"


def remember(root: Path, names: Callable[[], Names], *, mark: str = "") -> None:
    """Keep the names of the grid in `root`.

    Args:
        root: the grid's directory.
        names: gives the names; other kinds keep theirs.
        mark: what they were seen at; with the same mark as before, nothing is looked up again.

    """
    import json

    known = _read(root)
    if mark and known.get("mark") == mark:
        return
    told = {kind: sorted(set(some))[:names_max] for kind, some in names().items()}
    kept = known | told | {"mark": mark or known.get("mark", "")}
    file = root / _FILE
    with contextlib.suppress(OSError):
        file.parent.mkdir(exist_ok=True)
        fresh = file.with_suffix(f".{os.getpid()}")
        fresh.write_text(json.dumps(kept), encoding="utf-8")
        fresh.replace(file)


def complete(kind: Kind) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """What completes an argument that is the name of such a thing."""

    def find(context: click.Context, _parameter: click.Parameter, typed: str) -> list[str]:
        names = _known(settings_of(context)).get(kind)
        listed = names if isinstance(names, list) else []
        return [name for name in listed if isinstance(name, str) and name.startswith(typed)]

    return find


def _known(settings: Settings) -> dict[str, Any]:
    from tfgrid.core import errors
    from tfgrid.doors import localgrid

    try:
        settle(settings)
    except (OSError, errors.GridError):
        return {}
    return _read(Path(settings.grid) if settings.grid else localgrid.default_directory())


def _read(root: Path) -> dict[str, Any]:
    import json

    try:
        told = json.loads((root / _FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}
