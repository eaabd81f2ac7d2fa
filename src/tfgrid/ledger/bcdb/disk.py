"""The ledger's files: one SQLite database and one lock in a directory, or memory.

    DIR/lock            flock(2) of the one writer; the kernel frees it when the writer dies
    DIR/ledger.db       entries, bodies, subtree hashes, view; one transaction changes all
    DIR/ledger.db-wal   SQLite's write-ahead log, synced (`synchronous=FULL`) by each commit

SQLite is a projection and never decides: what counts is the log, whose root is signed. A leaf is
read back with its hash compared, so that a flipped bit is named and never signed.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from tfgrid.core import canonical, errors, merkle
from tfgrid.ledger.bcdb.model import Checkpoint, Entry, SignedEntry

__all__ = ["Database", "Query", "Reader", "SqliteView", "verified"]

_SCHEMA: Final = """
CREATE TABLE entries (position INTEGER PRIMARY KEY, author TEXT NOT NULL, sequence INTEGER NOT NULL,
    kind TEXT NOT NULL, leaf BLOB NOT NULL, body BLOB NOT NULL);
CREATE UNIQUE INDEX entries_author ON entries (author, sequence);
CREATE INDEX entries_kind ON entries (kind);
CREATE TABLE tags (tag TEXT NOT NULL, position INTEGER NOT NULL,
    PRIMARY KEY (tag, position)) WITHOUT ROWID;
CREATE TABLE tree (level INTEGER NOT NULL, number INTEGER NOT NULL, hash BLOB NOT NULL,
    PRIMARY KEY (level, number)) WITHOUT ROWID;
CREATE TABLE view (name TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL,
    PRIMARY KEY (name, key)) WITHOUT ROWID;
CREATE TABLE equivocations (author TEXT PRIMARY KEY, sequence INTEGER NOT NULL,
    other BLOB NOT NULL) WITHOUT ROWID;
PRAGMA user_version = 1;
"""
_FORMAT: Final = 1


class SqliteView:
    """The view as it stands in the database."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def get(self, table: str, key: str) -> bytes | None:
        """See `View.get`."""
        row = self._connection.execute(
            "SELECT value FROM view WHERE name = ? AND key = ?", (table, key)
        ).fetchone()
        return None if row is None else bytes(row[0])

    def put(self, table: str, key: str, value: bytes) -> None:
        """See `View.put`."""
        self._connection.execute("REPLACE INTO view VALUES (?, ?, ?)", (table, key, value))

    def remove(self, table: str, key: str) -> None:
        """See `View.remove`."""
        self._connection.execute("DELETE FROM view WHERE name = ? AND key = ?", (table, key))

    def scan(self, table: str, prefix: str = "") -> Iterator[tuple[str, bytes]]:
        """See `View.scan`."""
        rows = self._connection.execute(
            "SELECT key, value FROM view WHERE name = ? AND key >= ? AND key < ? ORDER BY key",
            (table, prefix, prefix + "\U0010ffff"),
        ).fetchall()
        return iter([(key, bytes(value)) for key, value in rows])

    def dump(self) -> dict[tuple[str, str], bytes]:
        """Everything, to compare two views."""
        rows = self._connection.execute("SELECT name, key, value FROM view")
        return {(name, key): bytes(value) for name, key, value in rows}


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A search: all that is given must match; positions from `first`, below `size`."""

    kind: str = ""
    tag: str = ""
    author: str = ""
    first: int = 0
    size: int
    limit: int


class Reader:
    """Read-only access over a connection of its own."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.view = SqliteView(connection)

    def size(self) -> int:
        """The number of entries."""
        found = self._connection.execute("SELECT max(position) FROM entries").fetchone()[0]
        return 0 if found is None else int(found) + 1

    def row(self, position: int) -> tuple[bytes, bytes] | None:
        """The leaf and body at a position, the leaf compared with its hash, or None.

        Raises:
            errors.VerificationFailed: TFG-2207.

        """
        row = self._connection.execute(
            "SELECT CAST(leaf AS BLOB), CAST(body AS BLOB) FROM entries WHERE position = ?",
            (position,),
        ).fetchone()
        if row is None:
            return None
        leaf = bytes(row[0])
        if merkle.leaf_hash(leaf) != self.hash_at(0, position):
            raise errors.VerificationFailed(
                "TFG-2207", "a leaf on disk does not have its hash", where=f"position {position}",
                hint="the disk is damaged; restore the ledger's directory from a copy",
            )  # fmt: skip
        return leaf, bytes(row[1])

    def rows(self, first: int, end: int) -> Iterator[tuple[int, bytes, bytes]]:
        """Position, leaf and body from `first` up to, not including, `end`."""
        for position in range(first, end):
            row = self.row(position)
            assert row is not None, position
            yield position, *row

    def hash_at(self, level: int, index: int) -> bytes:
        """The stored hash of a complete subtree; see `tree`."""
        row = self._connection.execute(
            "SELECT hash FROM tree WHERE level = ? AND number = ?", (level, index)
        ).fetchone()
        assert row is not None, (level, index)
        return bytes(row[0])

    def find(self, query: Query) -> list[int]:
        """Positions that match, ascending."""
        source = "tags JOIN entries USING (position)" if query.tag else "entries"
        wheres, values = ["position >= ?", "position < ?"], [query.first, query.size]
        texts = []
        for column in ("kind", "tag", "author"):
            if getattr(query, column):
                wheres.append(f"{column} = ?")
                texts.append(getattr(query, column))
        statement = (
            f"SELECT position FROM {source} WHERE {' AND '.join(wheres)} "  # noqa: S608 - constants
            "ORDER BY position LIMIT ?"
        )
        rows = self._connection.execute(statement, (*values, *texts, query.limit))
        return [row[0] for row in rows]

    def at_sequence(self, author: str, sequence: int) -> int | None:
        """The position of an author's entry with this sequence, or None."""
        row = self._connection.execute(
            "SELECT position FROM entries WHERE author = ? AND sequence = ?", (author, sequence)
        ).fetchone()
        return None if row is None else int(row[0])

    def equivocation(self, author: str) -> tuple[int, bytes] | None:
        """The sequence and the other signed entry of an author that signed two, or None."""
        row = self._connection.execute(
            "SELECT sequence, other FROM equivocations WHERE author = ?", (author,)
        ).fetchone()
        return None if row is None else (int(row[0]), bytes(row[1]))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class Database:
    """The writer's access; one at a time, which the lock holds.

    Raises:
        errors.Busy: TFG-2201, another process has the ledger open.
        errors.NotFound: TFG-2202, there is no ledger in the directory.
        errors.Conflict: TFG-2208, there is one already.

    """

    def __init__(self, directory: Path | None, *, create: bool) -> None:
        self.directory = directory
        self._lock = -1
        if directory is None:
            self.connection = _connect(":memory:")
            self.connection.executescript(_SCHEMA)
        else:
            self._lock = _locked(directory, create=create)
            try:
                self.connection = _opened(directory / "ledger.db", create=create)
            except BaseException:
                os.close(self._lock)
                raise
        self.view = SqliteView(self.connection)

    def reader(self) -> Reader:
        """A reader with a read-only connection of its own (in memory: with the writer's)."""
        if self.directory is None:
            return Reader(self.connection)
        path = self.directory / "ledger.db"
        connection = _connect(f"{path.absolute().as_uri()}?mode=ro")
        connection.execute("PRAGMA query_only = ON")
        return Reader(connection)

    def reader_once(self, position: int) -> tuple[bytes, bytes] | None:
        """One row, through the writer's connection."""
        return Reader(self.connection).row(position)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, durable when it ends."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.connection.execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise

    def insert(
        self, entry: Entry, leaf: bytes, body: bytes, hashes: Sequence[tuple[int, int, bytes]]
    ) -> None:
        """Add one entry with the subtree hashes that it completes."""
        header = entry.header
        self.connection.execute(
            "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?)",
            (entry.position, header.author, header.sequence, header.kind, leaf, body),
        )
        self.connection.executemany("INSERT INTO tree VALUES (?, ?, ?)", hashes)
        self.connection.executemany(
            "INSERT INTO tags VALUES (?, ?)", [(tag, entry.position) for tag in header.tags]
        )

    def record_equivocation(self, other: SignedEntry, data: bytes) -> None:
        """Keep the first proof that an author signed two entries with one sequence."""
        self.connection.execute(
            "INSERT OR IGNORE INTO equivocations VALUES (?, ?, ?)",
            (other.header.author, other.header.sequence, data),
        )

    def close(self) -> None:
        """Close the files and free the lock."""
        self.connection.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _connect(name: str) -> sqlite3.Connection:
    return sqlite3.connect(
        name, uri=True, isolation_level=None, check_same_thread=False, timeout=10
    )


def _locked(directory: Path, *, create: bool) -> int:
    if create:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    elif not (directory / "ledger.db").exists():
        raise errors.NotFound("TFG-2202", "there is no ledger here", where=str(directory))
    lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as fault:
        os.close(lock)
        raise errors.Busy(
            "TFG-2201", "another process writes this ledger", where=str(directory),
            hint="stop the other ledger server first",
        ) from fault  # fmt: skip
    return lock


def _opened(path: Path, *, create: bool) -> sqlite3.Connection:
    if create and path.exists():
        raise errors.Conflict("TFG-2208", "there is a ledger here already", where=str(path.parent))
    connection = _connect(path.absolute().as_uri() + ("" if create else "?mode=rw"))
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        if create:
            connection.executescript(f"BEGIN;{_SCHEMA}COMMIT;")
            _sync(path.parent)
            _sync(path.parent.parent)
        _check_format(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _check_format(connection: sqlite3.Connection, path: Path) -> None:
    if connection.execute("PRAGMA user_version").fetchone()[0] != _FORMAT:
        raise errors.NotFound(
            "TFG-2202", "the files here are not a ledger of this format", where=str(path)
        )


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def verified(reader: Reader, signed: Checkpoint | None) -> tuple[merkle.Frontier, int]:
    """Hash every leaf of a ledger again, and hold it against its last signed checkpoint.

    Returns:
        the right edge of its tree, and the last order time that it has shown.

    Raises:
        errors.VerificationFailed: TFG-2206 not what was signed, TFG-2207 damaged.

    """
    edge, order_time, size = merkle.Frontier(), 0, reader.size()
    if signed is None and size > 1:
        raise _not_what_was_signed("its last signed checkpoint is missing")
    for _position, leaf, _body in reader.rows(0, size):
        edge.append(merkle.leaf_hash(leaf))
        order_time = msgspec.json.decode(leaf, type=_Stamp).order_time
        if signed and edge.size == signed.size and not _same_root(edge, signed):
            raise _not_what_was_signed("its history is another")
    if signed and signed.size > size:
        raise _not_what_was_signed(f"it has {size} entries, and {signed.size} were signed")
    if edge.root() != merkle.root_at(reader.hash_at, size):
        raise errors.VerificationFailed("TFG-2207", "the stored tree is not the leaves' tree")
    return edge, max(order_time, signed.order_time if signed else 0)


class _Stamp(msgspec.Struct):
    order_time: int


def _same_root(edge: merkle.Frontier, signed: Checkpoint) -> bool:
    return canonical.text_from(edge.root()) == signed.root


def _not_what_was_signed(why: str) -> errors.VerificationFailed:
    return errors.VerificationFailed(
        "TFG-2206", f"the ledger is not the one whose checkpoint was signed: {why}",
        hint="put back the newest copy of the ledger's directory and of its signed checkpoint",
    )  # fmt: skip
