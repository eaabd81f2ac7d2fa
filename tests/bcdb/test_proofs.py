"""Proofs from stored subtree hashes equal the proofs from all leaves, and need few reads."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from tfgrid.core import merkle

Store = dict[tuple[int, int], bytes]


def _grown(count: int) -> tuple[list[bytes], Store]:
    leaves = [merkle.leaf_hash(n.to_bytes(4, "big")) for n in range(count)]
    stored: Store = {}
    edge = merkle.Frontier()
    for leaf in leaves:
        for level, index, value in merkle.completed(edge, leaf):
            assert (level, index) not in stored
            stored[level, index] = value
    assert edge.root() == merkle.root(leaves)
    return leaves, stored


LEAVES, STORED = _grown(300)


def _at(level: int, index: int) -> bytes:
    return STORED[level, index]


@given(st.integers(1, 300), st.data())
def test_proofs_equal_those_from_all_leaves(size: int, data: st.DataObject) -> None:
    """Roots, inclusion and consistency proofs are the same by both ways, and verify."""
    index = data.draw(st.integers(0, size - 1))
    old = data.draw(st.integers(1, size))
    root = merkle.root(LEAVES[:size])
    inclusion = merkle.inclusion_proof_at(_at, index, size)
    consistency = merkle.consistency_proof_at(_at, old, size)

    assert merkle.root_at(_at, size) == root
    assert inclusion == merkle.inclusion_proof(LEAVES[:size], index)
    assert consistency == merkle.consistency_proof(LEAVES[:size], old)
    assert merkle.verify_inclusion(
        leaf=LEAVES[index], index=index, size=size, proof=inclusion, root=root
    )
    assert merkle.verify_consistency(
        old_size=old, new_size=size, old_root=merkle.root(LEAVES[:old]), new_root=root,
        proof=consistency,
    )  # fmt: skip


@given(st.integers(1, 300), st.data())
def test_a_frontier_read_back_goes_on(size: int, data: st.DataObject) -> None:
    """The right edge of any size, read from the store, grows as the original did."""
    more = data.draw(st.integers(0, 300 - size))
    edge = merkle.frontier_at(_at, size)
    for leaf in LEAVES[size : size + more]:
        edge.append(leaf)

    assert edge.root() == merkle.root(LEAVES[: size + more])


def test_proofs_over_a_long_log_need_few_reads() -> None:
    """A proof in a log of 2^40 + 12345 entries reads at most some hundred hashes."""
    reads: list[tuple[int, int]] = []

    def at(level: int, index: int) -> bytes:
        reads.append((level, index))
        return hashlib.sha256(f"{level}/{index}".encode()).digest()

    size = 2**40 + 12_345
    assert len(merkle.inclusion_proof_at(at, 987_654_321, size)) == 41
    assert len(reads) < 100
    reads.clear()
    merkle.consistency_proof_at(at, 2**39 + 77, size)
    assert len(reads) < 200
