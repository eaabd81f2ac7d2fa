"""What the daemon is told, and what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from tfgrid.core import errors, ids, limits
from tfgrid.core.schema import Count, Moment, Name, Text, Value
from tfgrid.ledger import bcdb

__all__ = ["Finding", "Report", "Settings", "read_settings", "settings_name", "write_settings"]

settings_name = "bot.json"
findings_max = 64


class Settings(Value, frozen=True):
    """`bot.json`: ledger, owner, and where the unlock key is; nothing in it is secret."""

    name: Name
    trust: bcdb.Trust
    ledger_url: Text
    unlock_key_path: Text
    owner: ids.Author


class Finding(Value, frozen=True):
    """One thing that is not as it should be: which kind of thing, its name, and what is off."""

    level: Literal["note", "problem"]
    kind: Literal["node", "contract", "ledger"]
    subject: Text
    text: Text


class Report(Value, frozen=True):
    """What a bot saw at a moment: one line, and what is off, worst first."""

    at: Moment
    head: Count
    nodes: Count
    nodes_silent: Count
    contracts: Count
    contracts_running: Count
    summary: Text
    findings: Annotated[tuple[Finding, ...], Meta(max_length=findings_max)]


def read_settings(directory: Path) -> Settings:
    """Read `bot.json`.

    Raises:
        errors.NotFound: TFG-4501, there is none.
        errors.BadInput: TFG-4502, it is not a bot's settings.

    """
    path = directory / settings_name
    try:
        data = path.read_bytes()
        return msgspec.json.decode(data[: limits.document_bytes_max], type=Settings)
    except FileNotFoundError as fault:
        raise errors.NotFound(
            "TFG-4501", "this directory holds no bot.json", where=str(path),
            hint="give the directory of a bot that was provisioned",
        ) from fault  # fmt: skip
    except msgspec.DecodeError as fault:
        raise errors.BadInput(
            "TFG-4502", f"not a bot's settings: {fault}", where=str(path)
        ) from fault


def write_settings(directory: Path, settings: Settings) -> None:
    """Write `bot.json`, readable by its owner only."""
    from tfgrid.core.store import DirectoryStore

    text = msgspec.json.format(msgspec.json.encode(settings), indent=2)
    DirectoryStore(directory).write(settings_name, text + b"\n")
