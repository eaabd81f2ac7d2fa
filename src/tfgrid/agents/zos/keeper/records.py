"""What the keeper writes down: per name, which process it is and how it ended.

A record is replaced whole (write, rename), so that a reader sees the old or the new one, whatever
was killed. It is not forced to the disk: a power cut ends every process that it could name, and the
one thread that all processes of a node share would stand still for each.
"""

# Plain strings: these paths are made once and used in code that is hot or forked.
# ruff: noqa: PTH105, PTH108, PTH123

from __future__ import annotations

import json
import os

__all__ = ["load", "remove", "save"]

_bytes_max = 4096


def save(folder: str, name: str, record: dict[str, object]) -> None:
    """Write one record."""
    path = f"{folder}/{name}.json"
    temporary = f"{folder}/.{name}.new"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, json.dumps(record, separators=(",", ":")).encode())
    finally:
        os.close(descriptor)
    os.replace(temporary, path)


def load(folder: str) -> dict[str, dict[str, object]]:
    """Every readable record by name; one that a power cut left damaged is removed."""
    found: dict[str, dict[str, object]] = {}
    for entry in os.scandir(folder):
        if entry.name.startswith(".") or not entry.name.endswith(".json"):
            continue
        with open(entry.path, "rb") as file:
            text = file.read(_bytes_max)
        try:
            record = json.loads(text)
            whole = isinstance(record["pid"], int) and isinstance(record["start_ticks"], int)
        except (ValueError, KeyError, TypeError):
            whole = False
        if whole:
            found[entry.name.removesuffix(".json")] = record
        else:
            os.unlink(entry.path)
    return found


def remove(folder: str, name: str) -> None:
    """Remove one record; nothing to do is no error."""
    path = f"{folder}/{name}.json"
    if os.path.lexists(path):
        os.unlink(path)
