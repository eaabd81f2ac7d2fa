"""Proof without network: chosen entries, whatever is needed to judge them, and one checkpoint.

A bundle holds the genesis, the identity events of every author up to the last entry, and the chosen
entries, each with its body and its inclusion proof under one signed checkpoint. Whoever verifies it
takes the trust from the genesis, whose hash is the ledger's id, and replays the entries with the
same rules as the ledger.

What a bundle shows: these entries are in that ledger, in this order, each signed by keys that were
its author's at that place. What it cannot show: that nothing was left out between them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta

from tfgrid.core import canonical, errors, limits, merkle
from tfgrid.core.ids import LedgerId
from tfgrid.core.schema import Value
from tfgrid.ledger.bcdb import note, rules
from tfgrid.ledger.bcdb.kinds import Registry, identity_events
from tfgrid.ledger.bcdb.kinds import registry as built_in
from tfgrid.ledger.bcdb.model import (
    Checkpoint,
    Entry,
    Genesis,
    Leaf,
    NoteText,
    Placed,
    Trust,
    entry_digest,
    entry_hash,
)
from tfgrid.ledger.bcdb.view import MemoryView, View

if TYPE_CHECKING:
    from tfgrid.ledger.bcdb.disk import Reader

__all__ = [
    "Verified",
    "body_from",
    "export_bundle",
    "place",
    "trust_from",
    "verify_bundle",
    "verify_placed",
]


class _Bundle(Value, frozen=True):
    """The file; canonical JSON."""

    type: Literal["tfgrid-bundle"]
    version: Literal[1]
    entries: Annotated[tuple[Placed, ...], Meta(min_length=1, max_length=limits.bundle_entries_max)]
    checkpoint: NoteText


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What a bundle proves: entries with their bodies, in log order, and their view."""

    trust: Trust
    checkpoint: Checkpoint
    entries: tuple[Entry, ...]
    bodies: tuple[bytes, ...]
    view: View


def place(reader: Reader, position: int, size: int, *, with_body: bool) -> Placed:
    """The entry at a position, proven to be in the tree over `size` leaves."""
    row = reader.row(position)
    assert row is not None
    assert position < size
    proof = merkle.inclusion_proof_at(reader.hash_at, position, size)
    return Placed(
        position=position, leaf=canonical.parse(row[0], Leaf),
        body=canonical.text_from(row[1]) if with_body else None,
        proof=tuple(map(canonical.text_from, proof)),
    )  # fmt: skip


def export_bundle(reader: Reader, head: str, size: int, positions: Iterable[int]) -> bytes:
    """A bundle of the entries at `positions` under the checkpoint `head`, which has `size` leaves.

    Raises:
        errors.NotFound: TFG-2211, a position is not in the tree.
        errors.BadInput: TFG-2131, more than a bundle may hold.

    """
    chosen = {0, *positions}
    if not all(0 <= position < size for position in chosen):
        raise errors.NotFound("TFG-2211", f"the ledger has {size} entries", where=str(max(chosen)))
    needed = set(chosen)
    for position in chosen:
        row = reader.row(position)
        assert row is not None
        author = canonical.parse(row[0], Leaf).header.author
        events = identity_events(reader.view, author)
        needed.update(event for event in events if event <= max(chosen))
    if len(needed) > limits.bundle_entries_max:
        raise _malformed(f"{len(needed)} entries, the limit is {limits.bundle_entries_max}")
    bundle = _Bundle(
        type="tfgrid-bundle", version=1, checkpoint=head,
        entries=tuple(place(reader, p, size, with_body=True) for p in sorted(needed)),
    )  # fmt: skip
    data = canonical.encode(bundle)
    if len(data) > limits.bundle_bytes_max:
        raise _malformed(f"{len(data)} bytes, the limit is {limits.bundle_bytes_max}")
    return data


def verify_bundle(
    data: bytes, *, ledger: LedgerId | None = None, registry: Registry | None = None
) -> Verified:
    """Verify a bundle and replay its entries.

    Args:
        data: the bundle.
        ledger: the ledger that it must be of; None takes the ledger that the bundle names.
        registry: the kinds to replay with; an entry of another kind is refused. None replays only
            the built-in kinds and checks the others' headers, signatures and body hashes.

    Raises:
        errors.BadInput: TFG-2131, not a bundle.
        errors.VerificationFailed: TFG-2132, another ledger; TFG-2101 to TFG-2103, the checkpoint;
            TFG-2111, an entry is not in its tree; TFG-2114, a body is not the entry's.
        errors.GridError: an entry that the rules refuse.

    """
    bundle = canonical.parse(data, _Bundle, bytes_max=limits.bundle_bytes_max)
    positions = [placed.position for placed in bundle.entries]
    if positions[0] != 0 or positions != sorted(set(positions)):
        raise _malformed("the genesis is missing, or positions are out of order")
    trust = trust_from(bundle.entries[0], ledger)
    checkpoint = note.read(bundle.checkpoint, trust)
    view, kinds = MemoryView(), registry if registry is not None else built_in()
    entries, bodies, last = [], [], 0
    for placed in bundle.entries:
        entry, body = verify_placed(placed, checkpoint)
        if body is None or entry.order_time < last:
            raise _malformed("a body is missing, or time goes back")
        known = registry is not None or entry.kind in kinds
        rules.accept(view, kinds, entry, body if known else None, ledger=trust.ledger, subset=True)
        last = entry.order_time
        entries.append(entry)
        bodies.append(body)
    return Verified(
        trust=trust, checkpoint=checkpoint, view=view, entries=tuple(entries), bodies=tuple(bodies)
    )


def verify_placed(placed: Placed, checkpoint: Checkpoint) -> tuple[Entry, bytes | None]:
    """The entry and body of an answer, if they are in the checkpoint's tree.

    Raises:
        errors.VerificationFailed: TFG-2111, TFG-2114.

    """
    held = merkle.verify_inclusion(
        leaf=entry_hash(placed.leaf), index=placed.position, size=checkpoint.size,
        proof=[canonical.bytes_from(text) for text in placed.proof],
        root=canonical.bytes_from(checkpoint.root),
    )  # fmt: skip
    if not held:
        raise errors.VerificationFailed(
            "TFG-2111", "the entry is not in the tree of the checkpoint",
            where=f"position {placed.position}",
        )  # fmt: skip
    entry = Entry.at(placed.position, placed.leaf)
    return entry, None if placed.body is None else body_from(entry, placed.body)


def body_from(entry: Entry, text: str) -> bytes:
    """The body of an entry from its text.

    Raises:
        errors.VerificationFailed: TFG-2114.

    """
    body = canonical.bytes_from(text)
    if not rules.is_body(entry.header, body):
        raise errors.VerificationFailed(
            "TFG-2114", "the body is not the one that the entry names",
            where=f"position {entry.position}",
        )  # fmt: skip
    return body


def trust_from(genesis: Placed, ledger: LedgerId | None) -> Trust:
    """The trust that a genesis gives, if its hash is the ledger asked for."""
    named = LedgerId(entry_digest(genesis.leaf.header))
    if ledger is not None and named != ledger:
        raise errors.VerificationFailed(
            "TFG-2132", f"the proof is of another ledger than {ledger}", where=named,
            hint="ask for a proof of that ledger; without --ledger any ledger is taken",
        )  # fmt: skip
    if genesis.body is None or genesis.leaf.header.kind != "ledger.genesis":
        raise _malformed("the first entry is no genesis")
    body = body_from(Entry.at(0, genesis.leaf), genesis.body)
    return Trust.of(named, canonical.parse(body, Genesis))


def _malformed(why: str) -> errors.BadInput:
    return errors.BadInput("TFG-2131", f"not a bundle: {why}")
