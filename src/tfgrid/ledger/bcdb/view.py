"""The state of a ledger as tables of bytes.

A view holds nothing that the log does not: whoever replays the log gets the same view, byte for
byte. Rules read and write it through this protocol only, so that one rule serves the ledger's
database, a follower's memory and an offline bundle. Iteration is sorted by key, because an order
that differs between two machines would be a fork.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping
from typing import Protocol

__all__ = ["MemoryView", "Overlay", "View"]


class View(Protocol):
    """Tables of key and value; keys are text, values are bytes."""

    def get(self, table: str, key: str) -> bytes | None:
        """The value under a key, or None."""
        ...

    def put(self, table: str, key: str, value: bytes) -> None:
        """Set the value under a key."""
        ...

    def remove(self, table: str, key: str) -> None:
        """Forget a key; nothing happens if it is not there."""
        ...

    def scan(self, table: str, prefix: str = "") -> Iterator[tuple[str, bytes]]:
        """All pairs whose key starts with `prefix`, by key in ascending code point order."""
        ...


class MemoryView:
    """A view in memory; empty, or with the rows of `tables`."""

    def __init__(self, tables: Mapping[str, Mapping[str, bytes]] | None = None) -> None:
        self._tables = {name: dict(rows) for name, rows in (tables or {}).items()}
        self._keys = {name: sorted(rows) for name, rows in self._tables.items()}

    def get(self, table: str, key: str) -> bytes | None:
        """See `View.get`."""
        return self._tables.get(table, {}).get(key)

    def put(self, table: str, key: str, value: bytes) -> None:
        """See `View.put`."""
        rows = self._tables.setdefault(table, {})
        if key not in rows:
            insort(self._keys.setdefault(table, []), key)
        rows[key] = bytes(value)

    def remove(self, table: str, key: str) -> None:
        """See `View.remove`."""
        if self._tables.get(table, {}).pop(key, None) is not None:
            ordered = self._keys[table]
            del ordered[bisect_left(ordered, key)]

    def scan(self, table: str, prefix: str = "") -> Iterator[tuple[str, bytes]]:
        """See `View.scan`."""
        ordered = self._keys.get(table, [])
        rows = self._tables.get(table, {})
        matching = []
        for index in range(bisect_left(ordered, prefix), len(ordered)):
            if not ordered[index].startswith(prefix):
                break
            matching.append(ordered[index])
        return iter([(key, rows[key]) for key in matching])

    def tables(self) -> dict[str, dict[str, bytes]]:
        """Everything, by table and key; to be read, not written."""
        return self._tables

    def dump(self) -> dict[tuple[str, str], bytes]:
        """Everything, to compare two views."""
        return {
            (table, key): value
            for table, rows in self._tables.items()
            for key, value in rows.items()
        }


class Overlay:
    """Changes over another view, kept apart until `flush`: a rule that fails changes nothing."""

    def __init__(self, below: View) -> None:
        self._below = below
        self._changes: dict[tuple[str, str], bytes | None] = {}

    def get(self, table: str, key: str) -> bytes | None:
        """See `View.get`."""
        if (table, key) in self._changes:
            return self._changes[table, key]
        return self._below.get(table, key)

    def put(self, table: str, key: str, value: bytes) -> None:
        """See `View.put`."""
        self._changes[table, key] = bytes(value)

    def remove(self, table: str, key: str) -> None:
        """See `View.remove`."""
        self._changes[table, key] = None

    def scan(self, table: str, prefix: str = "") -> Iterator[tuple[str, bytes]]:
        """See `View.scan`."""
        rows: dict[str, bytes | None] = dict(self._below.scan(table, prefix))
        rows |= {k: v for (t, k), v in self._changes.items() if t == table and k.startswith(prefix)}
        return iter([(key, value) for key, value in sorted(rows.items()) if value is not None])

    def flush(self) -> None:
        """Make the changes in the view below."""
        for (table, key), value in self._changes.items():
            if value is None:
                self._below.remove(table, key)
            else:
                self._below.put(table, key, value)
        self._changes.clear()
