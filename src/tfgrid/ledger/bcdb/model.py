"""Headers, entries, trust, and the values that travel; `docs/formats/log.md` has their bytes.

    SignedEntry = header + signatures                 what an author submits, beside the body
    Leaf        = header + signatures + order_time    what the log hashes
    Entry       = Leaf + position                     what rules and readers see

An entry's **digest** is the hash of its header: it names what the author signed, wherever it ends
up. A ledger's id is the digest of its first entry, the genesis.
"""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

from msgspec import Meta

from tfgrid.core import canonical, identity, ids, keys, limits, merkle
from tfgrid.core.ids import Digest, LedgerId
from tfgrid.core.schema import Base64, Count, Moment, Tag, Value

__all__ = [
    "Bodies",
    "Checkpoint",
    "Entry",
    "Equivocation",
    "Found",
    "Genesis",
    "Head",
    "Header",
    "Inclusion",
    "Leaf",
    "Page",
    "Placed",
    "Positions",
    "SignedEntry",
    "Standing",
    "Trust",
    "body_text_max",
    "entry_digest",
    "entry_hash",
    "leaf_bytes",
    "origin_of",
    "sign_header",
    "signed_entry_digest",
    "stamped",
    "zero_ledger",
]

zero_ledger: Final = LedgerId("0" * 64)
"""The ledger id in a genesis header, where no ledger exists yet."""

body_text_max: Final = limits.document_bytes_max * 4 // 3 + 4
proof_hashes_max: Final = 64

KindName: TypeAlias = Annotated[
    str, Meta(pattern=r"\A[a-z][a-z0-9-]*(\.[a-z][a-z0-9-]*)+\Z", max_length=limits.name_chars_max)
]
Parent: TypeAlias = Annotated[str, Meta(pattern=r"\A([0-9a-f]{64})?\Z")]
Tags: TypeAlias = Annotated[tuple[Tag, ...], Meta(max_length=limits.tags_max)]
HashText: TypeAlias = Annotated[Base64, Meta(min_length=43, max_length=43)]
Proof: TypeAlias = Annotated[tuple[HashText, ...], Meta(max_length=proof_hashes_max)]
NoteText: TypeAlias = Annotated[str, Meta(max_length=limits.checkpoint_bytes_max)]
BodyText: TypeAlias = Annotated[Base64, Meta(max_length=body_text_max)]
Positions: TypeAlias = Annotated[tuple[Count, ...], Meta(max_length=limits.feed_page_entries_max)]


class Header(Value, frozen=True):
    """What an author signs.

    `sequence` counts the author's entries in this ledger from 0; `parent` is the digest of the
    entry that this one follows, or empty; `not_after` is the last order time at which it may be
    accepted.
    """

    ledger: ids.Ledger
    author: ids.Author
    sequence: Count
    kind: KindName
    body_hash: ids.Digested
    body_size: Annotated[int, Meta(ge=0, le=limits.document_bytes_max)]
    tags: Tags
    parent: Parent
    not_after: Moment


class SignedEntry(Value, frozen=True):
    """What an author submits; the body travels beside it."""

    header: Header
    signatures: identity.Signatures


class Leaf(Value, frozen=True):
    """What the log hashes."""

    header: Header
    signatures: identity.Signatures
    order_time: Moment


class Entry(Value, frozen=True):
    """A leaf at its place: what rules and readers see."""

    header: Header
    signatures: identity.Signatures
    order_time: Moment
    position: Count

    @property
    def digest(self) -> Digest:
        """The name of the entry."""
        return entry_digest(self.header)

    @property
    def author(self) -> ids.IdentityId:
        """Who signed it."""
        return self.header.author

    @property
    def kind(self) -> str:
        """What kind of record it is."""
        return self.header.kind

    @property
    def leaf(self) -> Leaf:
        """The entry without its position."""
        return Leaf(header=self.header, signatures=self.signatures, order_time=self.order_time)

    @classmethod
    def at(cls, position: int, leaf: Leaf) -> Entry:
        """A leaf that stands at `position`."""
        return cls(
            header=leaf.header, signatures=leaf.signatures,
            order_time=leaf.order_time, position=position,
        )  # fmt: skip


class Genesis(Value, frozen=True):
    """Body of the first entry: who keeps this ledger and by which keys its checkpoints are known.

    `founder` signs the genesis and is thereby an identity of the ledger. `recovery` may be empty.
    """

    founder: identity.Inception
    checkpoint_keys: identity.KeySet
    checkpoint_threshold: identity.Threshold
    admins: Annotated[tuple[ids.Author, ...], Meta(max_length=limits.approvers_max)]
    recovery: Annotated[tuple[ids.Author, ...], Meta(max_length=limits.approvers_max)]


class Trust(Value, frozen=True):
    """What a client pins: whose checkpoints count, and for which log."""

    ledger: ids.Ledger
    origin: Annotated[str, Meta(min_length=1, max_length=limits.tag_chars_max)]
    keys: identity.KeySet
    threshold: identity.Threshold

    @classmethod
    def of(cls, ledger: LedgerId, genesis: Genesis) -> Trust:
        """The trust that a genesis gives."""
        return cls(
            ledger=ledger, origin=origin_of(ledger),
            keys=genesis.checkpoint_keys, threshold=genesis.checkpoint_threshold,
        )  # fmt: skip


class Checkpoint(Value, frozen=True):
    """The head of a log at a moment: so many leaves, with this root.

    `order_time` never goes back from one checkpoint to the next. `map_root` is reserved for a root
    over per-node maps and is empty for now.
    """

    origin: str
    size: Count
    root: HashText
    order_time: Moment
    map_root: Annotated[Base64, Meta(max_length=43)] = ""


class Head(Value, frozen=True):
    """Answer: the signed checkpoint, and its consistency with the size that the asker knew."""

    checkpoint: NoteText
    consistency: Proof


class Placed(Value, frozen=True):
    """A leaf at its position with its proof of inclusion, and its body where asked for."""

    position: Count
    leaf: Leaf
    body: BodyText | None
    proof: Proof


class Inclusion(Value, frozen=True):
    """Answer: one entry, proven to be in the tree of the checkpoint."""

    entry: Placed
    checkpoint: NoteText
    consistency: Proof


class Page(Value, frozen=True):
    """Answer: consecutive leaves from `first` on.

    `consistency` joins the tree after the last of them to the checkpoint; `bodies` run beside
    `leaves`, a body left out being None.
    """

    first: Count
    leaves: Annotated[tuple[Leaf, ...], Meta(max_length=limits.feed_page_entries_max)]
    bodies: Annotated[tuple[BodyText | None, ...], Meta(max_length=limits.feed_page_entries_max)]
    checkpoint: NoteText
    consistency: Proof


class Found(Value, frozen=True):
    """Answer: entries that match a search, in order; `more` says that the server left some out."""

    entries: Annotated[tuple[Placed, ...], Meta(max_length=limits.feed_page_entries_max)]
    more: bool
    checkpoint: NoteText
    consistency: Proof


class Bodies(Value, frozen=True):
    """Answer: bodies in the order asked for; the server may leave off the last ones."""

    bodies: Annotated[tuple[BodyText, ...], Meta(max_length=limits.feed_page_entries_max)]


class Equivocation(Value, frozen=True):
    """Answer: an author signed `other` with the sequence of the entry that stands at `position`."""

    position: Count
    other: SignedEntry


class Standing(Value, frozen=True):
    """Answer: an author's next sequence, and the positions of its identity's events."""

    author: ids.Author
    next_sequence: Count
    events: Annotated[tuple[Count, ...], Meta(max_length=limits.identity_events_max)]


def origin_of(ledger: LedgerId) -> str:
    """The origin line of a ledger's checkpoints; it holds the ledger id and so is its own."""
    return f"tfgrid/ledger/{ledger}"


def entry_digest(header: Header) -> Digest:
    """The name of an entry: the hash of its header."""
    return canonical.digest(canonical.encode(header))


def signed_entry_digest(header: Header) -> bytes:
    """The 32 bytes that an author signs for an entry."""
    return keys.signed_digest(
        object_type="entry", action=header.kind, ledger=header.ledger,
        data=canonical.encode(header),
    )  # fmt: skip


def sign_header(header: Header, keyring: identity.Keyring) -> SignedEntry:
    """Sign a header as its author."""
    return SignedEntry(header=header, signatures=keyring.sign(signed_entry_digest(header)))


def stamped(signed: SignedEntry, order_time: int, position: int) -> Entry:
    """What was submitted, stamped and placed."""
    return Entry(
        header=signed.header, signatures=signed.signatures, order_time=order_time, position=position
    )


def leaf_bytes(leaf: Leaf) -> bytes:
    """The bytes of a leaf as the log hashes them."""
    return canonical.encode(leaf)


def entry_hash(leaf: Leaf) -> bytes:
    """The Merkle hash of a leaf."""
    return merkle.leaf_hash(leaf_bytes(leaf))
