"""One chunk, plain and stored.

A chunk is named by the SHA-256 of its plain bytes and stored as one zstd frame that declares its
size. A stranger's frame is measured before it is opened: the declared size must be the one that the
signed metadata says, so a frame that would unfold to a terabyte costs its reader nothing.
"""

from __future__ import annotations

import threading
from typing import Final

import zstandard

from tfgrid.core import canonical, errors, limits
from tfgrid.core.ids import Digest

__all__ = ["plain", "stored"]

_LEVEL: Final = 3
_WINDOW_BYTES_MAX: Final = 8 * limits.chunk_bytes_max
_own = threading.local()


def stored(data: bytes) -> bytes:
    """The zstd frame of a chunk; versions of zstd may differ in it, never in the plain bytes."""
    assert len(data) <= limits.chunk_bytes_max
    compressor = getattr(_own, "compressor", None)
    if compressor is None:
        compressor = zstandard.ZstdCompressor(level=_LEVEL, write_content_size=True)
        _own.compressor = compressor
    frame: bytes = compressor.compress(data)
    return frame


def plain(frame: bytes, digest: Digest, *, size: int | None = None) -> bytes:
    """The plain bytes of a frame, which must have this digest (and this size, if it is known).

    Raises:
        errors.VerificationFailed: TFG-3212.

    """
    if len(frame) > limits.chunk_stored_bytes_max:
        raise _bad(digest, f"{len(frame)} stored bytes are over the limit")
    decompressor = getattr(_own, "decompressor", None)
    if decompressor is None:
        decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES_MAX)
        _own.decompressor = decompressor
    try:
        declared = zstandard.frame_content_size(frame)
        if not 0 <= declared <= limits.chunk_bytes_max or declared != (
            declared if size is None else size
        ):
            raise _bad(digest, f"it declares {declared} bytes")
        data: bytes = decompressor.decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError as fault:
        raise _bad(digest, str(fault)) from fault
    if canonical.digest(data) != digest:
        raise _bad(digest, "its bytes have another digest")
    return data


def _bad(digest: Digest, why: str) -> errors.VerificationFailed:
    return errors.VerificationFailed(
        "TFG-3212", f"a chunk is not what its name says: {why}", where=digest,
        hint="fetch it from another source, or publish the image again",
    )  # fmt: skip
