"""A follower's view as it was at one position, kept so that the entries before need no replay.

    32 bytes SHA-256 of the rest | MessagePack of `Kept`

It saves time and proves nothing. Whoever reads it must have written it: it lies in the follower's
own store, beside the entries, under the same owner and mode. The digest finds accidents. What it
was made for is in it (ledger, rules, position, root), and where anything differs it is as if it
were not there, and the entries are replayed.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from tfgrid.core import canonical, limits, merkle
from tfgrid.core.ids import LedgerId
from tfgrid.ledger.bcdb.view import MemoryView

__all__ = ["Kept", "of", "read"]

_DIGEST_BYTES: Final = 32


class Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What stands for the first `size` entries of a ledger, to go on from there.

    Attributes:
        ledger, rules: for which ledger, and by which rules; others must not read it.
        size, root: after how many entries, and their root.
        edge: the roots of the perfect subtrees, as `merkle.Frontier` has them.
        hashes: the hash of every leaf, one after the other.
        order_time: of the last entry.
        tables: the view.

    """

    ledger: str
    rules: str
    size: int
    root: str
    edge: tuple[bytes, ...]
    hashes: bytes
    order_time: int
    tables: dict[str, dict[str, bytes]]

    def frontier(self) -> merkle.Frontier:
        """The right edge of the tree."""
        return merkle.Frontier(self.size, self.edge)

    def view(self) -> MemoryView:
        """The view, apart from this value."""
        return MemoryView(self.tables)


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Kept, strict=True)


def of(
    view: MemoryView, edge: merkle.Frontier, *, ledger: LedgerId, rules: str, hashes: bytes,
    order_time: int,
) -> bytes:  # fmt: skip
    """The bytes to keep."""
    kept = Kept(
        ledger=ledger, rules=rules, size=edge.size, root=canonical.text_from(edge.root()),
        edge=tuple(edge.hashes), hashes=hashes, order_time=order_time, tables=view.tables(),
    )  # fmt: skip
    data = _ENCODER.encode(kept)
    return hashlib.sha256(data).digest() + data


def read(data: bytes, *, ledger: LedgerId, rules: str) -> Kept | None:
    """What was kept for this ledger under these rules, whole and in itself sound; else None."""
    digest, rest = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
    if len(data) > limits.follower_view_bytes_max or hashlib.sha256(rest).digest() != digest:
        return None
    try:
        kept = _DECODER.decode(rest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if (kept.ledger, kept.rules) != (ledger, rules):
        return None
    step = merkle.hash_bytes
    shaped = kept.size >= 0 and len(kept.edge) == kept.size.bit_count()
    if not shaped or len(kept.hashes) != kept.size * step:
        return None
    sound = canonical.text_from(kept.frontier().root()) == kept.root
    return kept if sound else None
