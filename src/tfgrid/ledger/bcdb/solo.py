"""The embedded orderer: one process, one writer, group commit.

    submit --advisory check--> bounded queue --> writer thread: stamp, check again, commit a batch
                                                  |-> sign the head, keep it apart, publish it
                                                  `-> answer everyone in the batch

Order is decided in one place, the writer. While it syncs one batch the next gathers in the queue,
so that many authors share one sync. A ledger in memory has no thread: a submission is placed within
the call, so that a simulation runs in one thread from one seed.

The last signed checkpoint is kept in a store of its own, apart from the directory, before it is
shown to anybody. A ledger restored from an older copy is then smaller than what it signed, and does
not open.

A full disk refuses the batch and nothing else; any other fault of the disk stops the ledger until
it is opened, and thereby verified, again: after a failed sync nobody knows what is on the disk.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol, Self

from tfgrid.core import canonical, errors, limits, merkle
from tfgrid.core.clock import Clock
from tfgrid.core.identity import Keyring
from tfgrid.core.ids import IdentityId, LedgerId
from tfgrid.core.store import Store
from tfgrid.ledger.bcdb import note, rules
from tfgrid.ledger.bcdb.disk import Database, Reader, verified
from tfgrid.ledger.bcdb.kinds import Registry
from tfgrid.ledger.bcdb.model import (
    Checkpoint,
    Entry,
    Genesis,
    Header,
    Leaf,
    SignedEntry,
    Trust,
    entry_digest,
    leaf_bytes,
    sign_header,
    stamped,
    zero_ledger,
)
from tfgrid.ledger.bcdb.view import MemoryView

__all__ = ["Orderer", "SoloLedger"]

_CHECKPOINT: Final = "checkpoint"


class Orderer(Protocol):
    """The one place where order is decided; every engine passes `tests/bcdb/test_orderer.py`."""

    async def submit(self, signed: SignedEntry, body: bytes) -> Entry:
        """Order an entry; it is durable, and under a published checkpoint, when this returns.

        The same header again gives the same entry. Raises what `rules.check` raises, `errors.Busy`
        TFG-2205 when the queue is full, `errors.Failed` TFG-2203 when the disk refuses.
        """
        ...

    def close(self) -> None:
        """Stop; whatever was not answered may or may not be in the log."""
        ...


@dataclass(slots=True)
class _Job:
    """One submission on its way through the writer."""

    signed: SignedEntry
    body: bytes
    answer: Future[Entry] = field(default_factory=Future)


class SoloLedger:
    """A ledger in a directory or in memory, with its orderer; see `create` and `open`."""

    def __init__(
        self, database: Database, trust: Trust, *, checkpoint_keyrings: Sequence[Keyring],
        registry: Registry, clock: Clock, signed: Store, queue_entries_max: int,
    ) -> None:  # fmt: skip
        self.trust: Final = trust
        self.registry: Final = registry
        self.commits = 0
        self._database = database
        self._keyrings = _checked_keyrings(checkpoint_keyrings, trust)
        self.clock: Final = clock
        self._signed = signed
        self._watchers: list[Callable[[], None]] = []
        self._broken: str = ""
        self._reader = database.reader()
        self._edge, self._time = verified(self._reader, self._last_signed())
        self._refreshed_ms = 0
        self._publish()
        self._queue: queue.Queue[_Job | None] = queue.Queue(queue_entries_max)
        self._writer: threading.Thread | None = None
        if self.is_durable:
            self._writer = threading.Thread(target=self._drain, name="bcdb-writer", daemon=True)
            self._writer.start()

    @classmethod
    def create(
        cls, directory: Path | None, *, founder: Keyring, checkpoint_keyrings: Sequence[Keyring],
        registry: Registry, clock: Clock, signed: Store, threshold: int | None = None,
        admins: Iterable[IdentityId] | None = None, recovery: Iterable[IdentityId] = (),
        queue_entries_max: int = limits.submit_queue_entries_max,
    ) -> Self:  # fmt: skip
        """Found a ledger; in memory if there is no directory.

        Args:
            directory: where its files go; made if missing.
            founder: signs the genesis and becomes the ledger's first identity.
            checkpoint_keyrings: sign its checkpoints; keep them apart from all other identities.
            registry: the kinds that it takes.
            clock: stamps order times.
            signed: keeps the last signed checkpoint, somewhere else than `directory`.
            threshold: how many checkpoint keys must sign; all by default.
            admins: identities that administer the ledger; the founder by default.
            recovery: identities that may recover it.
            queue_entries_max: how many submissions may wait.

        Raises:
            errors.Conflict: TFG-2208, there is a ledger already.
            errors.Busy: TFG-2201, another process has it open.

        """
        body = canonical.encode(
            Genesis(
                founder=founder.inception,
                checkpoint_keys=tuple(keyring.public for keyring in checkpoint_keyrings),
                checkpoint_threshold=threshold or len(checkpoint_keyrings),
                admins=tuple((founder.identity,) if admins is None else admins),
                recovery=tuple(recovery),
            )
        )
        entry = _genesis_entry(founder, body, clock.now_ms())
        database = Database(directory, create=True)
        try:
            with database.transaction():
                _place(database, merkle.Frontier(), registry, entry, body, ledger=entry.digest)
            trust = Trust.of(LedgerId(entry.digest), canonical.parse(body, Genesis))
            return cls(
                database, trust, checkpoint_keyrings=checkpoint_keyrings, registry=registry,
                clock=clock, signed=signed, queue_entries_max=queue_entries_max,
            )  # fmt: skip
        except BaseException:
            database.close()
            raise

    @classmethod
    def open(
        cls, directory: Path, *, checkpoint_keyrings: Sequence[Keyring], registry: Registry,
        clock: Clock, signed: Store, queue_entries_max: int = limits.submit_queue_entries_max,
    ) -> Self:  # fmt: skip
        """Open a ledger and verify all its leaves against its tree and its last signed checkpoint.

        Raises:
            errors.NotFound: TFG-2202, there is none.
            errors.Busy: TFG-2201, another process has it open.
            errors.VerificationFailed: TFG-2206, it is smaller than or another than what it signed;
                TFG-2207, its files are damaged; TFG-2209, these are not its checkpoint keys.

        """
        database = Database(directory, create=False)
        try:
            trust = _trust_on(database)
            return cls(
                database, trust, checkpoint_keyrings=checkpoint_keyrings, registry=registry,
                clock=clock, signed=signed, queue_entries_max=queue_entries_max,
            )  # fmt: skip
        except BaseException:
            database.close()
            raise

    @property
    def head(self) -> tuple[str, Checkpoint]:
        """The newest published checkpoint: its signed note and what it says."""
        return self._head

    @property
    def is_durable(self) -> bool:
        """Whether it has a directory."""
        return self._database.directory is not None

    def reader(self) -> Reader:
        """A reader of its own for one thread; close it."""
        return self._database.reader()

    def watch(self, watcher: Callable[[], None]) -> Callable[[], None]:
        """Call `watcher`, in the writer's thread, after each head; returns how to stop it."""
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher)

    def now_ms(self) -> int:
        """The order time that an entry would get now."""
        return max(self.clock.now_ms(), self._time)

    async def submit(self, signed: SignedEntry, body: bytes) -> Entry:
        """See `Orderer.submit`."""
        job = _Job(signed, body)
        known = self._known(signed)
        if known is not None:
            return known
        self._advise(job)
        if self._writer is None:
            self._commit([job])
        else:
            try:
                self._queue.put_nowait(job)
            except queue.Full as fault:
                raise errors.Busy(
                    "TFG-2205", "too many entries wait to be ordered", hint="try again in a moment"
                ) from fault
        return await asyncio.wrap_future(job.answer)

    def refresh(self) -> None:
        """Sign an old head again; readers call this where there is no writer thread."""
        if self._writer is None and self._is_due():
            self._publish()

    def audit(self) -> int:
        """Replay the log, hold its view against the live one, and return the number of entries.

        Raises:
            errors.VerificationFailed: TFG-2207.

        """
        reader, fresh = self.reader(), MemoryView()
        size = self._head[1].size
        for position, leaf, body in reader.rows(0, size):
            entry = Entry.at(position, canonical.parse(leaf, Leaf))
            rules.accept(fresh, self.registry, entry, body, ledger=self.trust.ledger)
        live = reader.view.dump() if reader.size() == size else None
        if self.is_durable:
            reader.close()
        if live is not None and live != fresh.dump():
            raise errors.VerificationFailed("TFG-2207", "the view differs from the log's")
        return size

    def close(self) -> None:
        """See `Orderer.close`."""
        self._broken = self._broken or "it is closed"
        if self._writer is not None:
            self._queue.put(None)
            self._writer.join()
            self._commit(self._gather_rest())
            self._reader.close()
        self._database.close()

    def _known(self, signed: SignedEntry) -> Entry | None:
        """The published entry with this very header, if there is one."""
        position = rules.position_of(self._reader.view, entry_digest(signed.header))
        if position is None or position >= self._head[1].size:
            return None
        row = self._reader.row(position)
        assert row is not None
        return Entry.at(position, canonical.parse(row[0], Leaf))

    def _advise(self, job: _Job) -> None:
        """Refuse early what would be refused; a double signature goes on, to be recorded."""
        self._check_whole()
        entry = stamped(job.signed, self.now_ms(), self._head[1].size)
        try:
            with _guarded(entry):
                rules.check(
                    self._reader.view, self.registry, entry, job.body, ledger=self.trust.ledger
                )
        except errors.Conflict as fault:
            if not _is_double(fault, job.signed):
                raise

    def _check_whole(self) -> None:
        if self._broken:
            raise errors.Failed(
                "TFG-2204", f"the ledger takes no entries: {self._broken}",
                hint="start the ledger server again; it verifies its files first",
            )  # fmt: skip

    def _drain(self) -> None:
        """The writer thread: gather a batch, commit it, again; sign the head anew when idle."""
        while True:
            try:
                first = self._queue.get(timeout=limits.head_refresh_seconds)
            except queue.Empty:
                self._publish_idle()
                continue
            batch, last = self._gather(first)
            if batch:
                self._commit(batch)
            if last:
                return
            if self._is_due():
                self._publish_idle()

    def _gather(self, first: _Job | None) -> tuple[list[_Job], bool]:
        batch: list[_Job] = []
        job = first
        while job is not None:
            if job.answer.set_running_or_notify_cancel():
                batch.append(job)
            if len(batch) >= limits.commit_batch_entries_max:
                return batch, False
            try:
                job = self._queue.get_nowait()
            except queue.Empty:
                return batch, False
        return batch, True

    def _gather_rest(self) -> list[_Job]:
        """Who came after the end; the commit refuses them, since the ledger is closed."""
        rest: list[_Job] = []
        while not self._queue.empty():
            job = self._queue.get_nowait()
            if job is not None and job.answer.set_running_or_notify_cancel():
                rest.append(job)
        return rest

    def _is_due(self) -> bool:
        age_ms = self.clock.monotonic_ms() - self._refreshed_ms
        return age_ms >= limits.head_refresh_seconds * 1000

    def _publish_idle(self) -> None:
        if not self._broken:
            try:
                self._publish()
            except errors.GridError as fault:
                self._broken = fault.what

    def _commit(self, batch: Sequence[_Job]) -> None:
        """Place a batch in one transaction, publish the head, then answer."""
        try:
            self._check_whole()
            outcomes = self._place_all(batch)
            if any(isinstance(outcome, Entry) for outcome in outcomes):
                self._publish()
        except errors.GridError as fault:
            outcomes = [fault] * len(batch)
        except Exception as fault:  # noqa: BLE001 - the writer must answer, and stop taking entries
            self._broken = f"unexpected {type(fault).__name__}"
            outcomes = [errors.Failed("TFG-2204", f"the writer stopped: {self._broken}")] * len(
                batch
            )
        for job, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Entry):
                job.answer.set_result(outcome)
            else:
                job.answer.set_exception(outcome)

    def _place_all(self, batch: Sequence[_Job]) -> list[Entry | errors.GridError]:
        edge, before = self._edge.copy(), self._time
        try:
            with self._database.transaction():
                outcomes = [self._place_one(job, edge) for job in batch]
        except sqlite3.Error as fault:
            self._time = before
            raise self._disk_fault(fault) from fault
        self._edge = edge
        self.commits += 1
        return outcomes

    def _place_one(self, job: _Job, edge: merkle.Frontier) -> Entry | errors.GridError:
        header = job.signed.header
        position = rules.position_of(self._database.view, entry_digest(header))
        if position is not None:
            row = self._database.reader_once(position)
            assert row is not None
            return Entry.at(position, canonical.parse(row[0], Leaf))
        entry = stamped(job.signed, self.now_ms(), edge.size)
        try:
            _place(self._database, edge, self.registry, entry, job.body, ledger=self.trust.ledger)
        except errors.GridError as fault:
            if _is_double(fault, job.signed):
                self._database.record_equivocation(job.signed, canonical.encode(job.signed))
            return fault
        self._time = entry.order_time
        return entry

    def _disk_fault(self, fault: sqlite3.Error) -> errors.GridError:
        name = getattr(fault, "sqlite_errorname", "")
        if name == "SQLITE_FULL":
            return errors.Failed(
                "TFG-2203", "the disk is full; nothing of this batch was stored",
                hint="free space, then repeat", where=str(self._database.directory),
            )  # fmt: skip
        self._broken = f"the disk failed ({name or fault})"
        return errors.Failed(
            "TFG-2204", f"the ledger takes no entries: {self._broken}",
            hint="check the disk, then start the ledger server again; it verifies its files first",
        )  # fmt: skip

    def _publish(self) -> None:
        """Sign the head, keep the signature apart, then show it."""
        self._time = self.now_ms()
        checkpoint = Checkpoint(
            origin=self.trust.origin, size=self._edge.size,
            root=canonical.text_from(self._edge.root()), order_time=self._time,
        )  # fmt: skip
        text = note.sign(checkpoint, self._keyrings)
        self._signed.write(_CHECKPOINT, text.encode())
        self._refreshed_ms = self.clock.monotonic_ms()
        self._head = (text, checkpoint)
        for watcher in tuple(self._watchers):
            watcher()

    def _last_signed(self) -> Checkpoint | None:
        data = self._signed.read(_CHECKPOINT)
        return None if data is None else note.read(data.decode("utf-8", "replace"), self.trust)


def _trust_on(database: Database) -> Trust:
    """The trust that the genesis in a database gives."""
    row = database.reader_once(0)
    if row is None:
        raise errors.NotFound(
            "TFG-2202", "the ledger has no genesis", where=str(database.directory)
        )
    ledger = LedgerId(entry_digest(canonical.parse(row[0], Leaf).header))
    return Trust.of(ledger, canonical.parse(row[1], Genesis))


def _genesis_entry(founder: Keyring, body: bytes, now_ms: int) -> Entry:
    header = Header(
        ledger=zero_ledger, author=founder.identity, sequence=0, kind="ledger.genesis",
        body_hash=canonical.digest(body), body_size=len(body), tags=(), parent="",
        not_after=now_ms,
    )  # fmt: skip
    return stamped(sign_header(header, founder), now_ms, 0)


def _place(
    database: Database, edge: merkle.Frontier, registry: Registry, entry: Entry, body: bytes, *,
    ledger: str,
) -> None:  # fmt: skip
    """Check an entry, make its changes and add it, within a transaction."""
    with _guarded(entry):
        rules.accept(database.view, registry, entry, body, ledger=LedgerId(ledger))
    leaf = leaf_bytes(entry.leaf)
    database.insert(entry, leaf, body, merkle.completed(edge, merkle.leaf_hash(leaf)))


@contextmanager
def _guarded(entry: Entry) -> Iterator[None]:
    """A faulty kind refuses its entry, not the batch."""
    try:
        yield
    except (errors.GridError, sqlite3.Error):
        raise
    except Exception as fault:
        raise errors.Failed(
            "TFG-2009", f"the rule for this kind failed: {type(fault).__name__}", where=entry.kind
        ) from fault


def _is_double(fault: errors.GridError, signed: SignedEntry) -> bool:
    """Whether the author signed another entry with a sequence that it has used."""
    expected = fault.details.get("expected")
    return (
        fault.code == "TFG-2004" and isinstance(expected, int) and signed.header.sequence < expected
    )


def _checked_keyrings(keyrings: Sequence[Keyring], trust: Trust) -> tuple[Keyring, ...]:
    ours = [keyring for keyring in keyrings if keyring.public in trust.keys]
    if len(ours) < trust.threshold:
        raise errors.VerificationFailed(
            "TFG-2209", f"{len(ours)} of {trust.threshold} checkpoint keys of this ledger are here",
            where=trust.ledger,
        )  # fmt: skip
    return tuple(ours)
