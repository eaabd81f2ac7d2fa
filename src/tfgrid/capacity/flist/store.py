"""Chunks and manifests in a directory: what is published, and what is served.

    chunks/ab/ab34...   one zstd frame; its name is the SHA-256 of the plain bytes
    manifests/34cd...   signed manifests by their own digest

Every write goes beside and is renamed; every read is verified, so a flipped byte on this disk is an
error here and not a surprise elsewhere. Chunks of a publication are durable before its manifest is.
"""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path
from typing import Final

from tfgrid.capacity.flist import beneath, chunks
from tfgrid.core import canonical, errors, limits
from tfgrid.core.ids import Digest

__all__ = ["ChunkStore"]

_DIGEST: Final = re.compile(r"\A[0-9a-f]{64}\Z")
_serial = itertools.count()


class ChunkStore:
    """A directory of chunks and manifests. Many may read and publish at once."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for name in ("chunks", "manifests"):
            (directory / name).mkdir(parents=True, exist_ok=True)

    def has(self, digest: Digest) -> bool:
        """Whether a chunk is there (its bytes are verified when read)."""
        return self._chunk(digest).exists()

    def put(self, plain: bytes) -> Digest:
        """Keep a chunk by its plain bytes; a damaged one there is replaced.

        Raises:
            errors.Failed: TFG-3213, the disk refused.

        """
        digest = canonical.digest(plain)
        try:
            if self.get(digest, size=len(plain)) is not None:
                return digest
        except errors.VerificationFailed:
            self.remove(digest)
        self._write(self._chunk(digest), chunks.stored(plain))
        return digest

    def put_stored(self, digest: Digest, frame: bytes, *, size: int) -> None:
        """Keep a chunk that came in its stored form, after verifying it.

        Raises:
            errors.VerificationFailed: TFG-3212.
            errors.Failed: TFG-3213.

        """
        chunks.plain(frame, digest, size=size)
        self._write(self._chunk(digest), frame)

    def get(self, digest: Digest, *, size: int | None = None) -> bytes | None:
        """The plain bytes of a chunk, verified, or None if it is not here.

        Raises:
            errors.VerificationFailed: TFG-3212, it is here and damaged.

        """
        frame = self.stored(digest)
        return None if frame is None else chunks.plain(frame, digest, size=size)

    def stored(self, digest: Digest) -> bytes | None:
        """The stored form of a chunk as it is sent, or None; whoever receives it verifies it."""
        return _read(self._chunk(digest), limits.chunk_stored_bytes_max)

    def stored_bytes(self, digest: Digest) -> int:
        """How many bytes a chunk takes here; 0 if it is not here."""
        try:
            return self._chunk(digest).stat().st_size
        except FileNotFoundError:
            return 0

    def remove(self, digest: Digest) -> None:
        """Forget a chunk; nothing happens if it is not here."""
        self._chunk(digest).unlink(missing_ok=True)

    def put_manifest(self, data: bytes) -> Digest:
        """Publish a signed manifest; all chunks put before are durable when it returns.

        Raises:
            errors.Failed: TFG-3213.

        """
        digest = canonical.digest(data)
        beneath.sync(self.directory)
        self._write(self.directory / "manifests" / digest, data)
        beneath.sync(self.directory)
        return digest

    def manifest(self, digest: Digest) -> bytes | None:
        """The bytes of a signed manifest, or None; `signing.open_manifest` verifies them."""
        return _read(
            self.directory / "manifests" / _checked(digest), limits.image_manifest_bytes_max
        )

    def manifests(self) -> list[Digest]:
        """The digests of all published manifests, sorted."""
        names = (path.name for path in (self.directory / "manifests").iterdir())
        return sorted(Digest(name) for name in names if _DIGEST.match(name))

    def _chunk(self, digest: Digest) -> Path:
        return self.directory / "chunks" / _checked(digest)[:2] / digest

    def _write(self, path: Path, data: bytes) -> None:
        beside = path.with_name(f".{path.name}.{os.getpid()}.{next(_serial)}")
        try:
            path.parent.mkdir(exist_ok=True)
            beside.write_bytes(data)
            beside.replace(path)
        except OSError as fault:
            beside.unlink(missing_ok=True)
            raise errors.Failed(
                "TFG-3213", f"cannot write to the chunk store: {fault.strerror}", where=str(path),
                hint="free space or check the disk, then repeat",
            ) from fault  # fmt: skip


def _checked(digest: str) -> str:
    assert _DIGEST.match(digest), digest
    return digest


def _read(path: Path, bytes_max: int) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(bytes_max + 1)
    except FileNotFoundError:
        return None
