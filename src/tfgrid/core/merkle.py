"""RFC 6962 hashing, proofs and their verification.

A leaf is hashed with prefix 0x00 and a node with 0x01, so that neither can be passed off as the
other; a tree over n leaves splits at the largest power of two below n, so that no leaf is ever
counted twice.

`root` runs in the native module; `root_twin` is its readable twin, and a property test says that
they agree. `TFGRID_TWINS=1` runs everything on the twins. Verification follows RFC 9162, section
2.1.

A log stores the hash of every complete subtree (2^level leaves, aligned) once, when its last leaf
is added, so that any root or proof needs some tens of reads, however long the log; `HashAt(level,
index)` reads one of them:

             level 2        [0]
             level 1    [0]     [1]     [2]            a log of 7 leaves stores 7 + 3 + 1 hashes
             level 0   0   1   2   3   4   5   6

Decided on the four cases that the public probes leave open: a proof for or from an empty tree is
refused, and two equal sizes are consistent only with an empty proof and equal roots.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from tfgrid.core import errors

__all__ = [
    "Frontier",
    "HashAt",
    "completed",
    "consistency_proof",
    "consistency_proof_at",
    "empty_root",
    "frontier_at",
    "inclusion_proof",
    "inclusion_proof_at",
    "leaf_hash",
    "node_hash",
    "prefix_root",
    "root",
    "root_at",
    "root_twin",
    "verify_consistency",
    "verify_inclusion",
]

HashAt: TypeAlias = Callable[[int, int], bytes]
"""Reads the stored hash of the complete subtree at (level, index)."""

hash_bytes: Final = 32
empty_root: Final = hashlib.sha256(b"").digest()
proof_hashes_max: Final = 64


def leaf_hash(data: bytes) -> bytes:
    """The hash of a leaf."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_twin(leaves: Sequence[bytes]) -> bytes:
    """The root over leaf hashes, in readable Python (RFC 6962, section 2.1)."""
    if not leaves:
        return empty_root
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return node_hash(root_twin(leaves[:split]), root_twin(leaves[split:]))


def root(leaves: Sequence[bytes]) -> bytes:
    """The root over leaf hashes of 32 bytes each.

    Raises:
        errors.MachineLacks: TFG-1501, the native module was built from another version.

    """
    assert all(len(leaf) == hash_bytes for leaf in leaves)
    return _native_root()(leaves)


def _native_root() -> Callable[[Sequence[bytes]], bytes]:
    if os.environ.get("TFGRID_TWINS") == "1":
        return root_twin
    from tfgrid import __version__, _native

    if _native.__version__ != __version__:
        raise errors.MachineLacks(
            "TFG-1501", f"the native module is of version {_native.__version__}, not {__version__}",
            where=_native.__file__, hint="make setup",
        )  # fmt: skip
    return lambda leaves: _native.merkle_root(b"".join(leaves))


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """The sibling hashes from leaf `index` up to the root over `leaves`."""
    assert 0 <= index < len(leaves)
    if len(leaves) == 1:
        return []
    split = 1 << (len(leaves) - 1).bit_length() - 1
    if index < split:
        return [*inclusion_proof(leaves[:split], index), root(leaves[split:])]
    return [*inclusion_proof(leaves[split:], index - split), root(leaves[:split])]


def consistency_proof(leaves: Sequence[bytes], old_size: int) -> list[bytes]:
    """The hashes that show the tree over the first `old_size` leaves to be a prefix of this one."""
    assert 0 < old_size <= len(leaves)
    return _subproof(leaves, old_size, whole=True)


def _subproof(leaves: Sequence[bytes], old_size: int, *, whole: bool) -> list[bytes]:
    if old_size == len(leaves):
        return [] if whole else [root(leaves)]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    if old_size <= split:
        return [*_subproof(leaves[:split], old_size, whole=whole), root(leaves[split:])]
    return [*_subproof(leaves[split:], old_size - split, whole=False), root(leaves[:split])]


def verify_inclusion(
    *, leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> bool:
    """Whether the leaf hash stands at `index` in the tree of `size` leaves with this root."""
    if not 0 <= index < size or not _well_formed(proof):
        return False
    position, last, current = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if position & 1 or position == last:
            current = node_hash(sibling, current)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            current = node_hash(current, sibling)
        position, last = position >> 1, last >> 1
    return last == 0 and current == root


def prefix_root(*, leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes:
    """The root over the leaves up to and with `index`, out of a proof of inclusion that holds.

    The siblings to the left of a leaf's path are the perfect subtrees over all leaves before it: a
    ledger that proves one leaf under a signed root has thereby signed the whole history before it.
    """
    position, last, current = index, size - 1, leaf
    for sibling in proof:
        if position & 1 or position == last:
            current = node_hash(sibling, current)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        position, last = position >> 1, last >> 1
    return current


def verify_consistency(
    *, old_size: int, new_size: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]
) -> bool:
    """Whether the tree of `old_size` leaves is a prefix of the tree of `new_size` leaves."""
    if not 0 < old_size <= new_size or not _well_formed(proof):
        return False
    if old_size == new_size:
        return not proof and old_root == new_root
    path = list(proof) if old_size & (old_size - 1) else [old_root, *proof]
    if not path:
        return False
    position, last = old_size - 1, new_size - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if position & 1 or position == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        position, last = position >> 1, last >> 1
    return last == 0 and old == old_root and new == new_root


def _well_formed(proof: Sequence[bytes]) -> bool:
    return len(proof) <= proof_hashes_max and all(len(h) == hash_bytes for h in proof)


class Frontier:
    """A growing tree of which only the right edge is kept: enough to hold every head.

    `hashes` are the roots of the perfect subtrees, left to right, one for each bit set in `size`.
    """

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        assert len(hashes) == size.bit_count()
        self.size = size
        self.hashes = list(hashes)

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash."""
        carried, size = leaf, self.size
        while size & 1:
            carried = node_hash(self.hashes.pop(), carried)
            size >>= 1
        self.hashes.append(carried)
        self.size += 1

    def root(self) -> bytes:
        """The root of the tree so far."""
        if not self.hashes:
            return empty_root
        current = self.hashes[-1]
        for left in reversed(self.hashes[:-1]):
            current = node_hash(left, current)
        return current

    def copy(self) -> Frontier:
        """An independent copy, to try a page of leaves before believing it."""
        return Frontier(self.size, self.hashes)


def completed(edge: Frontier, leaf: bytes) -> list[tuple[int, int, bytes]]:
    """Append a leaf hash; the (level, index, hash) of each subtree that it completes."""
    rows = [(0, edge.size, leaf)]
    carried, level = leaf, 0
    while edge.size >> level & 1:
        carried = node_hash(edge.hashes[-1 - level], carried)
        level += 1
        rows.append((level, edge.size >> level, carried))
    edge.append(leaf)
    return rows


def frontier_at(hash_at: HashAt, size: int) -> Frontier:
    """The right edge of the tree over the first `size` leaves."""
    hashes, start = [], 0
    for level in range(size.bit_length() - 1, -1, -1):
        if size >> level & 1:
            hashes.append(hash_at(level, start >> level))
            start += 1 << level
    return Frontier(size, hashes)


def root_at(hash_at: HashAt, size: int) -> bytes:
    """The root of the tree over the first `size` leaves."""
    return frontier_at(hash_at, size).root()


def inclusion_proof_at(hash_at: HashAt, index: int, size: int) -> list[bytes]:
    """The sibling hashes from leaf `index` up to the root over `size` leaves (RFC 6962, 2.1.1)."""
    assert 0 <= index < size
    return _path_at(hash_at, index, 0, size)


def _path_at(hash_at: HashAt, index: int, start: int, size: int) -> list[bytes]:
    if size == 1:
        return []
    split = _split(size)
    if index < start + split:
        right = _range_at(hash_at, start + split, size - split)
        return [*_path_at(hash_at, index, start, split), right]
    left = _range_at(hash_at, start, split)
    return [*_path_at(hash_at, index, start + split, size - split), left]


def consistency_proof_at(hash_at: HashAt, old_size: int, size: int) -> list[bytes]:
    """The hashes that join the tree of `old_size` leaves to that of `size` (RFC 6962, 2.1.2)."""
    assert 0 < old_size <= size
    return _subproof_at(hash_at, old_size, 0, size, whole=True)


def _subproof_at(hash_at: HashAt, old: int, start: int, size: int, *, whole: bool) -> list[bytes]:
    if old == size:
        return [] if whole else [_range_at(hash_at, start, size)]
    split = _split(size)
    if old <= split:
        right = _range_at(hash_at, start + split, size - split)
        return [*_subproof_at(hash_at, old, start, split, whole=whole), right]
    left = _range_at(hash_at, start, split)
    rest = _subproof_at(hash_at, old - split, start + split, size - split, whole=False)
    return [*rest, left]


def _range_at(hash_at: HashAt, start: int, size: int) -> bytes:
    level = size.bit_length() - 1
    if size == 1 << level:
        return hash_at(level, start >> level)
    split = _split(size)
    return node_hash(
        _range_at(hash_at, start, split), _range_at(hash_at, start + split, size - split)
    )


def _split(size: int) -> int:
    """The largest power of two below `size`."""
    return 1 << (size - 1).bit_length() - 1
