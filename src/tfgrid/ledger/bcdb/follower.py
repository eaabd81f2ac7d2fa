"""A complete, verified copy of a ledger's state, which stops for good when lied to.

A follower reads every leaf, recomputes the root itself, and runs the same rules as the ledger; so
it knows that nothing was left out, and that nothing stands in the log that the rules refuse. It
fetches the bodies it wants and judges the others by their headers.

    page --> signed? --> continues ours? --> root recomputed? --> bodies match? --> rules --> view

**Halting.** A log that shrank, another history or an entry against the rules ends the following for
good: the reason and both checkpoints are kept in the store, and every later `sync` refuses. Only
what the ledger's own keys have signed counts as evidence, since anybody on the way can show
anything else: a rewritten history is proven by a leaf that stands under a signed checkpoint and
signs, with its left siblings, another past. Another log, other keys, an older checkpoint shown
again and damaged answers are refused each time, and the follower goes stale.

**Store.** Verified entries are kept in segments, then the checkpoint. A restart replays them
through the same rules, without network. Segments that do not give the checkpoint's root are dropped
and fetched again; the checkpoint stays, and the new copy must agree with it. Who names the version
of its rules also keeps the view every so many entries, and replays only what came after; a view
that does not fit is passed over.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Annotated, Final, TypeAlias

from msgspec import Meta

from tfgrid.core import canonical, errors, limits, merkle
from tfgrid.core.clock import Clock
from tfgrid.core.schema import Count, Text, Value
from tfgrid.core.store import Store
from tfgrid.core.transport import Transport
from tfgrid.ledger.bcdb import kept_view, note, rules
from tfgrid.ledger.bcdb.bundle import body_from, verify_placed
from tfgrid.ledger.bcdb.client import ask, check_consistency, fetch_bodies
from tfgrid.ledger.bcdb.kinds import Registry
from tfgrid.ledger.bcdb.model import (
    BodyText,
    Checkpoint,
    Entry,
    Head,
    Header,
    Inclusion,
    Leaf,
    NoteText,
    Page,
    Trust,
    entry_hash,
)
from tfgrid.ledger.bcdb.view import MemoryView

__all__ = ["Follower", "Halt"]

Wants: TypeAlias = Callable[[Header], bool]
_SEGMENT_BYTES: Final = 128 * 1024


class Halt(Value, frozen=True):
    """Why a follower stopped for good, with both checkpoints as evidence."""

    code: str
    reason: Text
    believed: NoteText
    shown: NoteText


class _Segment(Value, frozen=True):
    """Verified entries as they are kept; a body left out is None."""

    first: Count
    leaves: Annotated[tuple[Leaf, ...], Meta(max_length=limits.feed_page_entries_max)]
    bodies: Annotated[tuple[BodyText | None, ...], Meta(max_length=limits.feed_page_entries_max)]


class Follower:
    """Follows one ledger.

    Args:
        transport: the way to its server; `MemoryTransport` in one process.
        trust: whose checkpoints count.
        registry: the kinds whose rules are run; entries of others are judged by their headers.
        store: keeps what was verified from one run to the next.
        clock: for staleness and the ledger's time; never for verdicts.
        wants: which bodies to fetch; None for all. Identity events are always fetched.
        version: names the rules of the registry, differently whenever they differ; with it, and
            with all bodies, the view is kept beside the entries. Empty: every start replays all.

    Attributes:
        view: the state as of `size` entries; read it, never write it.
        head: the newest believed checkpoint, or None before the first.
        halted: why it stopped for good, or None.

    """

    def __init__(
        self, transport: Transport, trust: Trust, *, registry: Registry, store: Store, clock: Clock,
        wants: Wants | None = None, version: str = "",
    ) -> None:  # fmt: skip
        self.trust: Final = trust
        self.view = MemoryView()
        self.head: Checkpoint | None = None
        self.halted: Halt | None = None
        self._transport = transport
        self._registry = registry
        self._store = store
        self._clock = clock
        self._wants = wants
        self._version = version if wants is None else ""
        self._kept_size = 0
        self._edge = merkle.Frontier()
        self._hashes = bytearray()
        self._note = ""
        self._segment = _Segment(first=0, leaves=(), bodies=())
        self._unkept: list[_Segment] = []
        self._new: list[Entry] = []
        self._last_time = 0
        self._fresh_ms: int | None = None
        self._told_ms = 0
        self._is_told = False
        self._name = f"follower/{trust.ledger[:16]}"
        self._load()

    @property
    def size(self) -> int:
        """How many entries the view is made of."""
        return self._edge.size

    def order_time_ms(self) -> int:
        """The ledger's time: that of the newest checkpoint, plus what has gone by since it came."""
        if self.head is None:
            return 0
        since_ms = self._clock.monotonic_ms() - self._told_ms if self._is_told else 0
        return self.head.order_time + since_ms

    def stale_seconds(self) -> float:
        """How long there was no newer checkpoint; infinite before a fresh one came in this run."""
        if self._fresh_ms is None:
            return math.inf
        return (self._clock.monotonic_ms() - self._fresh_ms) / 1000

    async def sync(self, wait_seconds: int = 0) -> list[Entry]:
        """Read up to the ledger's head; returns the entries not returned before, in order.

        Args:
            wait_seconds: how long the server may hold the answer while there is nothing new.

        Raises:
            errors.VerificationFailed: TFG-2121, halted, now or before; TFG-2122 an old checkpoint
                shown again; TFG-2112 to TFG-2115 a damaged answer: nothing of it was believed,
                and it may be tried again.
            errors.Unreachable: TFG-1301.

        """
        while True:
            self._refuse_if_halted()
            page = await ask(
                self._transport, "feed", Page, timeout_seconds=10 + wait_seconds, first=self.size,
                limit=limits.feed_page_entries_max, wait=wait_seconds,
                bodies=1 if self._wants is None else 0,
            )  # fmt: skip
            checkpoint = self._read_note(page.checkpoint)
            await self._check_history(page.checkpoint, checkpoint)
            entries = await self._verify_page(page, checkpoint)
            bodies = await self._bodies_of(page, entries)
            self._apply(page.checkpoint, checkpoint, entries, bodies)
            if self.size == checkpoint.size:
                new, self._new = self._new, []
                return new
            if not entries:
                raise errors.VerificationFailed(
                    "TFG-2115", f"the ledger keeps back entries from {self.size} on",
                    where=self.trust.ledger,
                )  # fmt: skip
            wait_seconds = 0

    def _read_note(self, text: str) -> Checkpoint:
        """The checkpoint in a note, if it is of this log and under its keys."""
        try:
            return note.read(text, self.trust)
        except errors.VerificationFailed as fault:
            if fault.code not in {"TFG-2102", "TFG-2103"}:
                raise
            raise errors.VerificationFailed(
                "TFG-2124", f"the ledger shows another identity: {fault.what}",
                where=self.trust.ledger,
                hint="the address leads to another ledger, or somebody stands on the way",
            ) from fault  # fmt: skip

    async def _check_history(self, text: str, shown: Checkpoint) -> None:
        """Hold that a signed checkpoint and ours are of one history."""
        head = self.head
        if head is None:
            return
        # An honest server asked in turn never shows fewer entries at the same time or later.
        if shown.size < head.size and shown.order_time >= head.order_time:
            raise self._halt(
                "TFG-2125", f"the ledger shrank from {head.size} to {shown.size} entries", text
            )
        if self.size < head.size:
            await self._hold_joined(text, head, shown)
        if shown.size <= self.size:
            if self._root_of(shown.size) != shown.root:
                raise self._halt("TFG-2123", "the ledger rewrote its history", text)
            if shown.order_time < head.order_time:
                raise errors.VerificationFailed(
                    "TFG-2122", "the ledger shows an old checkpoint again", where=self.trust.ledger
                )

    async def _hold_joined(self, text: str, head: Checkpoint, shown: Checkpoint) -> None:
        """Hold that two checkpoints are of one history, where our own copy does not reach."""
        old, new = sorted((head, shown), key=lambda c: c.size)
        if old.size == new.size and old.root != new.root:
            raise self._halt("TFG-2123", "the ledger rewrote its history", text)
        if old.size == new.size:
            return
        answer = await ask(self._transport, "consistency", Head, old=old.size, new=new.size)
        try:
            check_consistency(old, new, answer.consistency)
        except errors.VerificationFailed:
            if old is head:
                await self._judge(head.size, head.root)
            raise

    async def _verify_page(self, page: Page, checkpoint: Checkpoint) -> list[Entry]:
        """The entries of a page, if they continue ours and are in the checkpoint's tree."""
        if page.first != self.size or len(page.bodies) != len(page.leaves):
            raise _damaged()
        edge = self._edge.copy()
        for leaf in page.leaves:
            edge.append(entry_hash(leaf))
        if edge.size > checkpoint.size:
            raise _damaged()
        if edge.size and not _continues(edge, checkpoint, page.consistency):
            if self.size:
                await self._judge(self.size, self._root_of(self.size))
            raise _damaged()
        return [Entry.at(self.size + n, leaf) for n, leaf in enumerate(page.leaves)]

    async def _judge(self, size: int, root: str) -> None:
        """Halt if the ledger has signed another history, after an answer that did not fit.

        It is asked for the last of our `size` leaves: with its proof under a signed checkpoint
        comes what the ledger holds for the past before it. Without it nothing is proven.
        """
        try:
            answer = await ask(self._transport, f"entries/{size - 1}", Inclusion)
            shown = note.read(answer.checkpoint, self.trust)
            verify_placed(answer.entry, shown)
        except (errors.VerificationFailed, errors.NotFound):
            return
        if answer.entry.position != size - 1:
            return
        past = merkle.prefix_root(
            leaf=entry_hash(answer.entry.leaf), index=size - 1, size=shown.size,
            proof=[canonical.bytes_from(text) for text in answer.entry.proof],
        )  # fmt: skip
        if canonical.text_from(past) != root:
            raise self._halt("TFG-2123", "the ledger rewrote its history", answer.checkpoint)

    async def _bodies_of(self, page: Page, entries: Sequence[Entry]) -> list[bytes | None]:
        """The wanted bodies, from the page or fetched, each held against its hash."""
        bodies: list[bytes | None] = [
            None if text is None or not self._is_wanted(entry) else body_from(entry, text)
            for entry, text in zip(entries, page.bodies, strict=True)
        ]
        missing = [
            number for number, entry in enumerate(entries)
            if bodies[number] is None and self._is_wanted(entry)
        ]  # fmt: skip
        fetched = await fetch_bodies(self._transport, [entries[number] for number in missing])
        for number, body in zip(missing, fetched, strict=True):
            bodies[number] = body
        return bodies

    def _is_wanted(self, entry: Entry) -> bool:
        if entry.kind not in self._registry:
            return False
        built_in = entry.kind.startswith(("ledger.", "identity."))
        return built_in or self._wants is None or self._wants(entry.header)

    def _apply(
        self, text: str, checkpoint: Checkpoint, entries: Sequence[Entry],
        bodies: Sequence[bytes | None],
    ) -> None:  # fmt: skip
        """Make verified entries part of the view, and keep them."""
        for entry, body in zip(entries, bodies, strict=True):
            try:
                self._accept(entry, body)
            except errors.GridError as fault:
                raise self._halt(
                    "TFG-2126", f"entry {entry.position} is against the rules: {fault}", text
                ) from fault
            self._gather(entry, body)
        self._keep_segments()
        if self.size == checkpoint.size:
            self._believe(text, checkpoint)
            self._keep_view()

    def _accept(self, entry: Entry, body: bytes | None) -> None:
        if entry.order_time < self._last_time:
            raise errors.BadInput(
                "TFG-2126", "the ledger's time goes back", where=str(entry.position)
            )
        rules.accept(self.view, self._registry, entry, body, ledger=self.trust.ledger)
        self._last_time = entry.order_time
        leaf_hash = entry_hash(entry.leaf)
        self._edge.append(leaf_hash)
        self._hashes += leaf_hash

    def _believe(self, text: str, checkpoint: Checkpoint) -> None:
        head, now_ms = self.head, self._clock.monotonic_ms()
        newer = head is None or checkpoint.order_time > head.order_time
        age_ms = abs(self._clock.now_ms() - checkpoint.order_time)
        if (newer and self._is_told) or age_ms <= limits.checkpoint_age_seconds_max * 1000:
            self._fresh_ms = now_ms if newer or self._fresh_ms is None else self._fresh_ms
        if newer or not self._is_told:
            self._told_ms, self._is_told = now_ms, True
        if head is None or (head.size, head.order_time) != (checkpoint.size, checkpoint.order_time):
            self._store.write(f"{self._name}/checkpoint", text.encode())
        self.head, self._note = checkpoint, text

    def _root_of(self, size: int) -> str:
        """The root of our own first `size` leaves."""
        if size == self.size:
            return canonical.text_from(self._edge.root())
        step = merkle.hash_bytes
        leaves = [bytes(self._hashes[i * step : (i + 1) * step]) for i in range(size)]
        return canonical.text_from(merkle.root(leaves) if leaves else merkle.empty_root)

    def _gather(self, entry: Entry, body: bytes | None) -> None:
        text = None if body is None else canonical.text_from(body)
        old = self._segment
        size = sum(len(b or "") + limits.header_bytes_max // 4 for b in old.bodies)
        if len(old.leaves) >= limits.feed_page_entries_max or size > _SEGMENT_BYTES:
            self._unkept.append(old)
            old = _Segment(first=entry.position, leaves=(), bodies=())
        self._segment = _Segment(
            first=old.first, leaves=(*old.leaves, entry.leaf), bodies=(*old.bodies, text)
        )
        self._new.append(entry)

    def _keep_segments(self) -> None:
        """Write what is not in the store yet; after a failure the next call writes it."""
        if not self._new:
            return
        for segment in (*self._unkept, self._segment):
            name = f"{self._name}/segments/{segment.first:016}"
            self._store.write(name, canonical.encode(segment))
        self._unkept.clear()

    def _load(self) -> None:
        """Replay what was kept, up to the checkpoint that was kept after it."""
        halted = self._store.read(f"{self._name}/halted")
        if halted is not None:
            self.halted = canonical.parse(halted, Halt)
        kept = self._store.read(f"{self._name}/checkpoint")
        if kept is None:
            return
        text = kept.decode("utf-8", "replace")
        checkpoint = note.read(text, self.trust)
        if not (self._resume(checkpoint) or self._is_replayed(checkpoint)):
            self._forget()
        self._new, self._unkept = [], []
        self.head, self._note = checkpoint, text

    def _resume(self, checkpoint: Checkpoint) -> bool:
        """Go on from the view that was kept; whether that gave what the checkpoint says."""
        kept = self._kept_view() if self._version else None
        if kept is None or kept.size > checkpoint.size:
            return False
        self.view, self._edge, self._hashes = kept.view(), kept.frontier(), bytearray(kept.hashes)
        self._last_time, self._kept_size = kept.order_time, kept.size
        if self._is_replayed(checkpoint):
            return True
        self._empty()
        return False

    def _kept_view(self) -> kept_view.Kept | None:
        try:
            data = self._store.read(f"{self._name}/view")
        except errors.Failed:
            return None
        return kept_view.read(data or b"", ledger=self.trust.ledger, rules=self._version)

    def _keep_view(self) -> None:
        """Keep the view now and then; without it the next start takes longer, and that is all."""
        # A share of what is kept, so that writing stays in proportion as a ledger grows.
        due = max(limits.follower_view_entries_min, self._kept_size // 16)
        if not self._version or self.size - self._kept_size < due:
            return
        data = kept_view.of(
            self.view, self._edge, ledger=self.trust.ledger, rules=self._version,
            hashes=bytes(self._hashes), order_time=self._last_time,
        )  # fmt: skip
        if len(data) > limits.follower_view_bytes_max:
            return
        with suppress(errors.Failed):
            self._store.write(f"{self._name}/view", data)
            self._kept_size = self.size

    def _is_replayed(self, checkpoint: Checkpoint) -> bool:
        """Run the rules over the kept entries; whether they gave what the checkpoint says."""
        try:
            self._replay(checkpoint.size)
        except errors.GridError:
            return False
        segment = self._segment
        is_joined = segment.first + len(segment.leaves) == self.size
        is_whole = is_joined and self.size == checkpoint.size
        return is_whole and self._root_of(self.size) == checkpoint.root

    def _replay(self, size: int) -> None:
        """Replay what was kept from here up to `size` entries."""
        prefix = f"{self._name}/segments/"
        names = [n for n in self._store.names(prefix) if n.removeprefix(prefix).isdecimal()]
        firsts = [int(name.removeprefix(prefix)) for name in names]
        for name, after in zip(names, [*firsts[1:], size + 1], strict=False):
            if after <= self.size:
                continue
            data = self._store.read(name)
            segment = canonical.parse(data or b"", _Segment, bytes_max=limits.response_bytes_max)
            known = self.size - segment.first
            may_be_known = self.size if self.size == self._kept_size else 0
            if not 0 <= known <= min(may_be_known, len(segment.leaves)):
                return
            if len(segment.bodies) != len(segment.leaves):
                return
            self._segment = _Segment(
                first=segment.first, leaves=segment.leaves[:known], bodies=segment.bodies[:known]
            )
            for leaf, body in zip(segment.leaves[known:], segment.bodies[known:], strict=True):
                if self.size == size:
                    return
                entry = Entry.at(self.size, leaf)
                raw = None if body is None else body_from(entry, body)
                self._accept(entry, raw)
                self._gather(entry, raw)

    def _forget(self) -> None:
        """Drop a damaged copy; what is fetched again must agree with the checkpoint."""
        self._empty()
        for name in self._store.names(f"{self._name}/segments/"):
            self._store.remove(name)

    def _empty(self) -> None:
        self.view = MemoryView()
        self._edge, self._hashes, self._last_time = merkle.Frontier(), bytearray(), 0
        self._segment, self._kept_size = _Segment(first=0, leaves=(), bodies=()), 0

    def _halt(self, code: str, reason: str, shown: str) -> errors.VerificationFailed:
        """Stop for good, and keep the evidence."""
        self.halted = Halt(
            code=code, reason=reason[: limits.text_chars_max], believed=self._note, shown=shown
        )
        self._store.write(f"{self._name}/halted", canonical.encode(self.halted))
        return _halted(self.halted, self.trust.ledger)

    def _refuse_if_halted(self) -> None:
        if self.halted is not None:
            raise _halted(self.halted, self.trust.ledger)


def _halted(halt: Halt, ledger: str) -> errors.VerificationFailed:
    return errors.VerificationFailed(
        "TFG-2121", f"this ledger is followed no more: {halt.reason}", where=ledger,
        hint="both checkpoints are kept in the follower's store; somebody must look",
        cause=halt.code,
    )  # fmt: skip


def _damaged() -> errors.VerificationFailed:
    return errors.VerificationFailed(
        "TFG-2113", "the page does not fit its checkpoint", where="feed"
    )


def _continues(edge: merkle.Frontier, checkpoint: Checkpoint, proof: Sequence[str]) -> bool:
    ours = Checkpoint(
        origin=checkpoint.origin, size=edge.size, root=canonical.text_from(edge.root()),
        order_time=checkpoint.order_time,
    )  # fmt: skip
    try:
        check_consistency(ours, checkpoint, proof)
    except errors.VerificationFailed:
        return False
    return True
