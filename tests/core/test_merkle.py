"""The tree is RFC 6962's, the twins agree, and no altered proof is believed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tfgrid
from tfgrid import _native
from tfgrid.core import errors, merkle

# The leaves and roots that the implementations of RFC 6962 share as their known answers.
_KNOWN_LEAVES = [
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
]  # fmt: skip
_KNOWN_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]

_hashes = st.lists(st.binary(min_size=32, max_size=32), max_size=70)


def _leaves(count: int) -> list[bytes]:
    return [merkle.leaf_hash(bytes([n])) for n in range(count)]


def test_roots_are_the_known_answers() -> None:
    """Trees of none to eight leaves have the published roots, on both twins and the frontier."""
    leaves = [merkle.leaf_hash(bytes.fromhex(text)) for text in _KNOWN_LEAVES]
    frontier = merkle.Frontier()
    for count, expected in enumerate(_KNOWN_ROOTS):
        assert merkle.root(leaves[:count]).hex() == expected
        assert merkle.root_twin(leaves[:count]).hex() == expected
        assert frontier.root().hex() == expected
        if count < len(leaves):
            frontier.append(leaves[count])


@given(_hashes)
def test_native_and_twin_agree(leaves: list[bytes]) -> None:
    """The native root and its readable twin are the same for any leaves."""
    assert _native.merkle_root(b"".join(leaves)) == merkle.root_twin(leaves)


def test_the_twins_can_run_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """With TFGRID_TWINS=1 the native module is not asked."""
    monkeypatch.setattr(_native, "merkle_root", lambda leaves: b"native")
    assert merkle.root(_leaves(3)) == b"native"
    monkeypatch.setenv("TFGRID_TWINS", "1")
    assert merkle.root(_leaves(3)) == merkle.root_twin(_leaves(3))


def test_a_native_module_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that was built from other sources is noticed before it answers."""
    monkeypatch.setattr(tfgrid, "__version__", "0.0.1")
    with pytest.raises(errors.MachineLacks, match="TFG-1501"):
        merkle.root(_leaves(1))


@pytest.mark.parametrize("size", [1, 31, 33, 63])
def test_the_native_module_refuses_broken_leaves(size: int) -> None:
    """Bytes that are not whole hashes are refused."""
    with pytest.raises(ValueError, match="32 bytes"):
        _native.merkle_root(bytes(size))


@given(_hashes)
def test_the_frontier_is_the_root(leaves: list[bytes]) -> None:
    """A frontier has the root of all leaves appended to it, and a copy goes its own way."""
    frontier = merkle.Frontier()
    for leaf in leaves:
        kept = frontier.copy()
        frontier.append(leaf)
        assert kept.size == frontier.size - 1
    assert frontier.root() == merkle.root_twin(leaves)
    resumed = merkle.Frontier(frontier.size, frontier.hashes)
    resumed.append(b"x" * 32)
    assert resumed.root() == merkle.root_twin([*leaves, b"x" * 32])
    assert frontier.root() == merkle.root_twin(leaves)


def test_a_leaf_is_no_node() -> None:
    """Bytes that look like an inner node, taken as a leaf, have another hash (second preimage)."""
    left, right = _leaves(2)
    assert merkle.leaf_hash(left + right) != merkle.node_hash(left, right)
    assert merkle.leaf_hash(b"\x01" + left + right) != merkle.node_hash(left, right)
    assert merkle.node_hash(left, right) == hashlib.sha256(b"\x01" + left + right).digest()
    two = [merkle.node_hash(left, right)]
    assert merkle.root(_leaves(2)) == two[0]
    assert merkle.root([merkle.leaf_hash(left + right)]) != two[0]
    assert merkle.root(_leaves(3)) != merkle.root([*_leaves(3), _leaves(3)[2]])


_SIZES = [1, 2, 3, 4, 5, 7, 8, 9, 13, 16, 17]


@pytest.mark.parametrize("size", _SIZES)
def test_inclusion_proofs_hold(size: int) -> None:
    """Every leaf of every tree is proven to be where it is."""
    leaves = _leaves(size)
    for index in range(size):
        proof = merkle.inclusion_proof(leaves, index)
        assert merkle.verify_inclusion(
            leaf=leaves[index], index=index, size=size, proof=proof, root=merkle.root(leaves)
        )


@pytest.mark.parametrize("size", _SIZES)
def test_consistency_proofs_hold(size: int) -> None:
    """Every tree is proven to be the beginning of every later one."""
    leaves = _leaves(size)
    for old_size in range(1, size + 1):
        assert merkle.verify_consistency(
            old_size=old_size,
            new_size=size,
            old_root=merkle.root(leaves[:old_size]),
            new_root=merkle.root(leaves),
            proof=merkle.consistency_proof(leaves, old_size),
        )


def _altered(proof: Sequence[bytes]) -> Iterator[list[bytes]]:
    """Every proof one step away: a bit flipped, a node lost, doubled, moved, cut or made up."""
    for n, node in enumerate(proof):
        for at, bit in ((0, 1), (31, 0x80), (15, 4)):
            flipped = bytearray(node)
            flipped[at] ^= bit
            yield [*proof[:n], bytes(flipped), *proof[n + 1 :]]
        yield [*proof[:n], *proof[n + 1 :]]
        yield [*proof[:n], node, *proof[n:]]
        yield [*proof[:n], node[:31], *proof[n + 1 :]]
        yield [*proof[:n], node + b"\0", *proof[n + 1 :]]
        yield [*proof[:n], merkle.empty_root, *proof[n + 1 :]]
        if n and node != proof[n - 1]:
            yield [*proof[: n - 1], node, proof[n - 1], *proof[n + 1 :]]
    yield [*proof, merkle.empty_root]
    yield [*proof, b""]
    yield [merkle.empty_root, *proof]
    yield [*proof, *proof] if proof else [merkle.empty_root] * 2
    yield [*proof, *[merkle.empty_root] * 64]


@pytest.mark.parametrize("size", _SIZES)
def test_no_altered_inclusion_proof_is_believed(size: int) -> None:
    """Another proof, leaf, index, size or root than the true one is refused."""
    leaves, root = _leaves(size), merkle.root(_leaves(size))
    for index in range(size):
        proof = merkle.inclusion_proof(leaves, index)
        true: dict[str, Any] = {
            "leaf": leaves[index], "index": index, "size": size, "proof": proof, "root": root,
        }  # fmt: skip
        lies: list[dict[str, Any]] = [
            *({"proof": altered} for altered in _altered(proof)),
            *({"index": other} for other in range(-2, size + 3) if other != index),
            *({"leaf": other} for other in [*leaves, merkle.empty_root] if other != leaves[index]),
            {"root": merkle.empty_root},
            {"root": b""},
            {"root": merkle.node_hash(root, root)},
            {"size": 0},
            {"size": index},
            {"size": -size},
        ]
        believed = [lie for lie in lies if merkle.verify_inclusion(**(true | lie))]
        assert believed == []


@given(st.integers(1, 60), st.data())
def test_a_proof_of_another_size_is_believed_only_where_the_path_is_the_same(
    size: int, data: Any
) -> None:
    """A tree of another size is believed only if its path to the leaf has the same shape."""
    index = data.draw(st.integers(0, size - 1))
    other = data.draw(st.integers(1, 64))
    leaves = _leaves(size)
    is_believed = merkle.verify_inclusion(
        leaf=leaves[index], index=index, size=other, proof=merkle.inclusion_proof(leaves, index),
        root=merkle.root(leaves),
    )  # fmt: skip
    same = index < other and _shape(index, other) == _shape(index, size)
    assert is_believed == same


def _shape(index: int, size: int) -> list[bool]:
    """On which side each sibling of the path stands, from leaf to root."""
    sides: list[bool] = []
    while size > 1:
        split = 1 << (size - 1).bit_length() - 1
        is_right = index >= split
        sides.append(is_right)
        index, size = (index - split, size - split) if is_right else (index, split)
    return sides[::-1]


@pytest.mark.parametrize("size", _SIZES)
def test_no_altered_consistency_proof_is_believed(size: int) -> None:
    """Another proof, another size or another root on either side is refused."""
    leaves = _leaves(size)
    roots = {n: merkle.root(leaves[:n]) for n in range(size + 1)}
    for old_size in range(1, size + 1):
        proof = merkle.consistency_proof(leaves, old_size)
        true: dict[str, Any] = {
            "old_size": old_size, "new_size": size, "proof": proof,
            "old_root": roots[old_size], "new_root": roots[size],
        }  # fmt: skip
        lies: list[dict[str, Any]] = [
            *({"proof": altered} for altered in _altered(proof)),
            *({"old_root": root} for n, root in roots.items() if n != old_size),
            *({"new_root": root} for n, root in roots.items() if n != size),
            {"old_root": b""},
            {"new_root": b""},
            {"old_size": 0},
            {"old_size": -1},
            {"new_size": old_size - 1},
            {"old_size": size + 1},
        ]
        believed = [lie for lie in lies if merkle.verify_consistency(**(true | lie))]
        assert believed == []


def test_the_empty_tree_proves_nothing() -> None:
    """No proof for, from or to an empty tree is believed."""
    empty, one = merkle.empty_root, _leaves(1)
    assert not merkle.verify_inclusion(leaf=one[0], index=0, size=0, proof=[], root=empty)
    for sizes in ((0, 0), (0, 1)):
        assert not merkle.verify_consistency(
            old_size=sizes[0], new_size=sizes[1], old_root=empty, new_root=empty, proof=[]
        )


def test_a_rewritten_history_is_no_continuation() -> None:
    """No proof makes a tree with one old leaf changed the continuation of the old tree."""
    old, new = _leaves(6), [merkle.leaf_hash(b"forged"), *_leaves(11)[1:]]
    for proof in (merkle.consistency_proof(new, 6), merkle.consistency_proof(_leaves(11), 6)):
        assert not merkle.verify_consistency(
            old_size=6,
            new_size=11,
            old_root=merkle.root(old),
            new_root=merkle.root(new),
            proof=proof,
        )


def test_a_proven_leaf_tells_the_root_of_its_past() -> None:
    """Out of each inclusion proof comes the root of the tree that ends with its leaf."""
    for size in range(1, 40):
        leaves = _leaves(size)
        for index, leaf in enumerate(leaves):
            proof = merkle.inclusion_proof(leaves, index)
            past = merkle.prefix_root(leaf=leaf, index=index, size=size, proof=proof)
            assert past == merkle.root(leaves[: index + 1])
