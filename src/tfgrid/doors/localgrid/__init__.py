"""A whole grid on this machine: create, start, look, stop, leave nothing.

A grid lives in a directory. What it keeps is there (`model.Paths`), what it needs while it runs is
under `/run/tfgrid/GRID8/`, and the key that opens its sealed identities is apart from both.

| module | what it holds |
|---|---|
| `model` | the words: `GridFile`, `Paths`, states and where everything is |
| `create` | identities, genesis and `grid.json` of a new grid |
| `register` | the records by which farms, offers, nodes and image sources become known |
| `underlay` | bridge, addresses and ports, claimed machine-wide |
| `process` | start, find again and stop the grid's processes |
| `parts` | which processes there are, with their commands |
| `provision` | what each process is told before it starts: node, bot, certificates, edge |
| `kinds` | every kind of record that the grid's ledger knows |
| `lifecycle` | up, status, down and purge |
| `plug` | pull a plug and put it back |
| `residue` | what a grid has left on the machine, counted |
| `serve` | the ledger's and the chunk server's own programs |
| `doctor` | what this machine has and lacks, and the one command that mends each |

The names below are imported on first use, so that a command pays only for what it needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfgrid.doors.localgrid import doctor
    from tfgrid.doors.localgrid.create import keyring
    from tfgrid.doors.localgrid.lifecycle import (
        PartStatus,
        Started,
        check_layout,
        down,
        purge,
        status,
        up,
    )
    from tfgrid.doors.localgrid.model import GridFile, Paths, default_directory, find, read
    from tfgrid.doors.localgrid.parts import find as find_part
    from tfgrid.doors.localgrid.plug import replug, unplug
    from tfgrid.doors.localgrid.residue import contained, left_behind

__all__ = [
    "GridFile",
    "PartStatus",
    "Paths",
    "Started",
    "check_layout",
    "contained",
    "default_directory",
    "doctor",
    "down",
    "find",
    "find_part",
    "keyring",
    "left_behind",
    "purge",
    "read",
    "replug",
    "status",
    "unplug",
    "up",
]


def __getattr__(name: str) -> object:
    if name not in __all__ or name == "doctor":
        raise AttributeError(name)
    if name in {"GridFile", "Paths", "default_directory", "find", "read"}:
        from tfgrid.doors.localgrid import model

        return getattr(model, name)
    if name == "find_part":
        from tfgrid.doors.localgrid import parts

        return parts.find
    if name in {"replug", "unplug"}:
        from tfgrid.doors.localgrid import plug

        return getattr(plug, name)
    if name == "keyring":
        from tfgrid.doors.localgrid import create

        return create.keyring
    if name in {"contained", "left_behind"}:
        from tfgrid.doors.localgrid import residue

        return getattr(residue, name)
    from tfgrid.doors.localgrid import lifecycle

    return getattr(lifecycle, name)
