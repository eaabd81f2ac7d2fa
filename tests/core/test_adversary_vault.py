"""Somebody reads a node's disk, swaps its secrets, or puts back those of another node."""

from __future__ import annotations

import pytest

from tfgrid.core import errors
from tfgrid.core.rng import SeededRng
from tfgrid.core.store import MemoryStore, SealedStore

SECRET = b"the private key of a network"


def _vault(inner: MemoryStore, key: bytes = b"k" * 32) -> SealedStore:
    return SealedStore(inner, unlock_key=key, rng=SeededRng(1))


def test_what_is_kept_comes_back_and_is_nowhere_in_the_clear() -> None:
    """The same bytes are read again, under their name, and the disk shows none of them."""
    inner = MemoryStore()
    vault = _vault(inner)
    vault.write("networks/a", SECRET)
    assert vault.read("networks/a") == SECRET
    assert vault.read("networks/b") is None
    assert vault.names("networks/") == ["networks/a"]
    kept = inner.read("networks/a") or b""
    assert not any(SECRET[i : i + 4] in kept for i in range(len(SECRET) - 4))
    vault.remove("networks/a")
    assert inner.names() == []


def test_a_secret_under_another_name_does_not_open() -> None:
    """Two files that were swapped are refused, not used for each other."""
    inner = MemoryStore()
    _vault(inner).write("networks/a", SECRET)
    inner.write("networks/b", inner.read("networks/a") or b"")
    with pytest.raises(errors.VerificationFailed, match="TFG-1402"):
        _vault(inner).read("networks/b")


def test_another_nodes_secret_does_not_open() -> None:
    """A secret sealed under another key, or in the clear, is refused."""
    inner = MemoryStore()
    _vault(inner, b"x" * 32).write("networks/a", SECRET)
    inner.write("networks/b", SECRET)
    for name in ("networks/a", "networks/b"):
        with pytest.raises(errors.VerificationFailed, match="TFG-1402"):
            _vault(inner).read(name)
