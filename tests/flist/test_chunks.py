"""Chunks: what a name promises, whatever a server or disk gives."""

from __future__ import annotations

import contextlib
import tracemalloc
from pathlib import Path

import pytest
import zstandard

from tests.flist import trees
from tfgrid.capacity import flist
from tfgrid.capacity.flist import chunks
from tfgrid.core import canonical, errors, limits
from tfgrid.core.ids import Digest

PLAIN = b"some bytes of a file\n" * 50
NAME = canonical.digest(PLAIN)


def test_a_chunk_comes_back() -> None:
    """Stored and opened again, a chunk has its bytes, at every size up to the limit."""
    for plain in (b"", b"x", PLAIN, bytes(limits.chunk_bytes_max)):
        frame = chunks.stored(plain)
        assert chunks.plain(frame, canonical.digest(plain), size=len(plain)) == plain


@pytest.mark.parametrize("at", range(0, len(chunks.stored(PLAIN)), 3))
def test_one_flipped_bit_is_found(at: int) -> None:
    """A bit turned anywhere in a stored chunk never gives other bytes."""
    frame = trees.flipped(chunks.stored(PLAIN), at)
    with contextlib.suppress(errors.VerificationFailed):
        assert chunks.plain(frame, NAME, size=len(PLAIN)) == PLAIN


@pytest.mark.parametrize("cut", [0, 1, 4, 10, -1])
def test_a_truncated_chunk_is_refused(cut: int) -> None:
    """A chunk that ends early is not the chunk."""
    with pytest.raises(errors.VerificationFailed, match="TFG-3212"):
        chunks.plain(chunks.stored(PLAIN)[:cut], NAME)


def test_another_chunk_is_refused() -> None:
    """A good frame under another's name is refused, of the same size too."""
    other = chunks.stored(bytes(reversed(PLAIN)))
    with pytest.raises(errors.VerificationFailed, match="TFG-3212"):
        chunks.plain(other, NAME, size=len(PLAIN))


def test_the_size_must_be_the_one_that_was_signed() -> None:
    """A chunk of the right digest is refused where the metadata says another size."""
    with pytest.raises(errors.VerificationFailed, match="TFG-3212"):
        chunks.plain(chunks.stored(PLAIN), NAME, size=len(PLAIN) + 1)


def test_what_follows_a_frame_is_refused() -> None:
    """A second frame or loose bytes behind a chunk are not overlooked."""
    for tail in (b"x", chunks.stored(b"more")):
        with pytest.raises(errors.VerificationFailed, match="TFG-3212"):
            chunks.plain(chunks.stored(PLAIN) + tail, NAME)


def bombs() -> list[bytes]:
    """Small frames that declare or hide a great deal."""
    streamed = zstandard.ZstdCompressor(level=19, write_content_size=False)
    honest = zstandard.ZstdCompressor(level=19)
    lying = bytearray(honest.compress(bytes(64 * 1024**2)))
    lying[6:10] = (1024).to_bytes(4, "little")
    huge = b"\x28\xb5\x2f\xfd\xe0" + (2**62).to_bytes(8, "little") + b"\x01\x00\x00"
    return [
        honest.compress(bytes(64 * 1024**2)), streamed.compress(bytes(64 * 1024**2)),
        bytes(lying), huge, b"\x28\xb5\x2f\xfd\x00\xff" + b"\x01\x00\x00",
    ]  # fmt: skip


@pytest.mark.parametrize("bomb", bombs(), ids=["honest", "undeclared", "lying", "huge", "window"])
def test_a_bomb_costs_nothing(bomb: bytes) -> None:
    """A frame that would unfold to more than a chunk is refused before memory is spent on it."""
    tracemalloc.start()
    with pytest.raises(errors.VerificationFailed, match="TFG-3212"):
        chunks.plain(bomb, NAME, size=1024)
    assert tracemalloc.get_traced_memory()[1] < 2 * limits.chunk_bytes_max
    tracemalloc.stop()


def test_a_stored_chunk_over_the_limit_is_not_looked_at() -> None:
    """The stored form is bounded too."""
    with pytest.raises(errors.VerificationFailed, match="over the limit"):
        chunks.plain(bytes(limits.chunk_stored_bytes_max + 1), NAME)


def test_a_flipped_byte_in_the_store_is_an_error_and_healed_by_publishing(tmp_path: Path) -> None:
    """A damaged chunk is never returned, and putting the same bytes again replaces it."""
    store = flist.ChunkStore(tmp_path)
    assert store.put(PLAIN) == NAME and store.get(NAME) == PLAIN
    path = tmp_path / "chunks" / NAME[:2] / NAME
    path.write_bytes(trees.flipped(path.read_bytes(), path.stat().st_size // 2))
    with pytest.raises(errors.VerificationFailed, match="TFG-3212"):
        store.get(NAME)
    store.put(PLAIN)
    assert store.get(NAME) == PLAIN


def test_a_wrong_chunk_is_not_kept(tmp_path: Path) -> None:
    """What is put in its stored form is verified first."""
    store = flist.ChunkStore(tmp_path)
    with pytest.raises(errors.VerificationFailed, match="TFG-3212"):
        store.put_stored(NAME, chunks.stored(b"other"), size=5)
    assert not store.has(NAME) and store.get(NAME) is None


def test_the_store_has_only_digests_for_names(tmp_path: Path) -> None:
    """No name that is not a digest becomes a path."""
    store = flist.ChunkStore(tmp_path)
    with pytest.raises(AssertionError):
        store.get(Digest("../../etc/passwd"))
