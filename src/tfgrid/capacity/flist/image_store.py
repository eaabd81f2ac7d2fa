"""What a node keeps: images, each verified and materialised once.

    ensure(digest, signer, sources)   fetch what is missing, verify, materialise; the image's path
    recheck(digest)                   every byte and attribute again, before each start
    keep_only(digests)                forget every other image

On disk, under the store's directory (root only):

    incoming/DIGEST/    chunks fetched so far; kept when a fetch is cut off, verified when used
    making/             trees being written or removed; swept when the store opens
    trees/DIGEST/       manifest, metadata and root/: complete, because the rename came last
    discarded/          trees that failed a recheck, until nothing needs the image
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from weakref import WeakValueDictionary

from tfgrid.capacity.flist import beneath, checking, listing, signing, source, tree
from tfgrid.capacity.flist.model import Entry, Manifest, SignedManifest
from tfgrid.capacity.flist.store import ChunkStore
from tfgrid.core import canonical, errors, limits
from tfgrid.core.ids import Digest, IdentityId
from tfgrid.core.transport import Transport

__all__ = ["Image", "ImageStore"]

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_BLOCK_BYTES: Final = 4096
_PARSED_IMAGES_MAX: Final = 4
_PARSED_ENTRIES_MAX: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A materialised image: `path` is its root directory, to be mounted read-only."""

    digest: Digest
    signer: IdentityId
    path: Path
    manifest: Manifest


class ImageStore:
    """The images of one node, in a directory that only root can enter. One process uses it."""

    def __init__(self, directory: Path, *, workers: int = 2) -> None:
        self.directory = directory
        self.workers = workers
        self._serial = itertools.count()
        self._parsed: dict[Digest, tuple[Entry, ...]] = {}
        self._locks = WeakValueDictionary[Digest, asyncio.Lock]()
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in ("incoming", "making", "trees", "discarded"):
            (directory / name).mkdir(exist_ok=True, mode=0o700)
        for left_over in (directory / "making").iterdir():
            shutil.rmtree(left_over)

    async def ensure(
        self, digest: Digest, signer: IdentityId, sources: Sequence[Transport]
    ) -> Image:
        """Make the image present, verified; does nothing if it is.

        Raises:
            errors.VerificationFailed: TFG-3201 to TFG-3204 the manifest is another's or not signed
                by `signer`, TFG-3222 the sources have wrong bytes.
            errors.BadInput: TFG-3205 to TFG-3211, TFG-11xx, the image is hostile or malformed.
            errors.NotFound: TFG-3220, the sources do not have it.
            errors.Unreachable: TFG-3221, no source answers; what was fetched is kept for the next
                try.
            errors.Failed: TFG-3223 the disk is full, TFG-3225 it refuses; nothing half made is
                left.

        """
        lock = self._locks.setdefault(digest, asyncio.Lock())
        async with lock:
            image = self._present(digest)
            if image is None:
                self.discard(digest)  # a tree whose own record is damaged is no image
                return await self._make(digest, signer, sources)
            signing.open_manifest(self._read(digest, "manifest"), digest=digest, signer=signer)
            return image

    async def recheck(self, digest: Digest) -> Image:
        """Check every byte and attribute of a materialised image, and that nothing was added.

        Raises:
            errors.NotFound: TFG-3224, not materialised here.
            errors.VerificationFailed: TFG-3204, TFG-3231 to TFG-3235; the first difference is
                named.

        """
        return await asyncio.to_thread(self._recheck, digest)

    def get(self, digest: Digest) -> Image | None:
        """The image, if it is materialised; its tree was verified when it was made, not now.

        Raises:
            errors.VerificationFailed: TFG-3235, the manifest kept beside the tree is not its own
                any more.

        """
        if not (self.directory / "trees" / digest).is_dir():
            return None
        data = self._read(digest, "manifest")
        if canonical.digest(data) != digest:
            raise _own(digest, "manifest")
        manifest = canonical.parse(
            data, SignedManifest, bytes_max=limits.image_manifest_bytes_max
        ).manifest
        return Image(
            digest=digest, signer=manifest.signer, manifest=manifest,
            path=self.directory / "trees" / digest / "root",
        )  # fmt: skip

    def images(self) -> tuple[Image, ...]:
        """All materialised images, by digest; one whose own record is damaged is none."""
        names = sorted(path.name for path in (self.directory / "trees").iterdir())
        found = (self._present(Digest(name)) for name in names)
        return tuple(image for image in found if image is not None)

    def discard(self, digest: Digest) -> None:
        """Set a bad image aside, if it is here, so that the next `ensure` fetches it anew."""
        numbers = (self.directory / "discarded" / f"{digest}.{n}" for n in itertools.count())
        aside = next(path for path in numbers if not path.exists())
        with suppress(FileNotFoundError):
            (self.directory / "trees" / digest).rename(aside)

    def remove(self, digest: Digest) -> None:
        """Remove one image, if it is here, with what was fetched or discarded of it."""
        for folder in ("trees", "incoming", "discarded"):
            for path in (self.directory / folder).glob(f"{digest}*"):
                self._remove(path)

    def keep_only(self, digests: Collection[Digest]) -> tuple[Digest, ...]:
        """Remove every image but these, and what was fetched of others; returns what was removed.

        Use is declared, never counted: the caller hands in what its containers need now, so a crash
        between two counts cannot leak an image or remove one in use.
        """
        removed = set[Digest]()
        for folder in ("trees", "incoming", "discarded"):
            for path in (self.directory / folder).iterdir():
                digest = Digest(path.name.partition(".")[0])
                if digest not in digests and digest not in self._locks:
                    self._remove(path)
                    removed.add(digest)
        return tuple(sorted(removed))

    def _present(self, digest: Digest) -> Image | None:
        try:
            return self.get(digest)
        except errors.VerificationFailed:
            return None

    async def _make(
        self, digest: Digest, signer: IdentityId, sources: Sequence[Transport]
    ) -> Image:
        data = await source.fetch_manifest(sources, digest)
        manifest = signing.open_manifest(data, digest=digest, signer=signer)
        with self._disk(digest):
            self._check_space(manifest)
            incoming = ChunkStore(self.directory / "incoming" / digest)
            sizes = dict(listing.metadata_sizes(manifest.metadata, manifest.metadata_bytes))
            await self._fetch(incoming, sizes, sources)
            metadata = await asyncio.to_thread(_metadata, incoming, manifest)
            entries = await asyncio.to_thread(read_entries, metadata, manifest)
            await self._fetch(incoming, listing.content(entries)[0], sources)
            await asyncio.to_thread(self._materialise, digest, data, metadata, entries, incoming)
        self._remove(self.directory / "incoming" / digest)
        image = self.get(digest)
        assert image is not None
        return image

    async def _fetch(
        self, incoming: ChunkStore, sizes: Mapping[Digest, int], sources: Sequence[Transport]
    ) -> None:
        wanted = await asyncio.to_thread(_missing, incoming, sizes)

        def keep(frames: Mapping[Digest, bytes]) -> Mapping[Digest, str]:
            refused = dict[Digest, str]()
            for digest, frame in frames.items():
                try:
                    incoming.put_stored(digest, frame, size=sizes[digest])
                except errors.VerificationFailed as fault:
                    refused[digest] = fault.what
            return refused

        await source.fetch_chunks(sources, wanted, keep)

    def _materialise(
        self, digest: Digest, data: bytes, metadata: bytes, entries: Sequence[Entry],
        incoming: ChunkStore,
    ) -> None:  # fmt: skip
        making = self.directory / "making" / f"{digest}.{next(self._serial)}"

        def read_chunk(chunk: Digest, size: int) -> bytes:
            return _kept(incoming, chunk, size)

        try:
            (making / "root").mkdir(parents=True, mode=0o700)
            (making / "manifest").write_bytes(data)
            (making / "metadata").write_bytes(metadata)
            tree.write(making / "root", entries, read_chunk, workers=self.workers)
            beneath.sync(making)
            making.rename(self.directory / "trees" / digest)
            beneath.sync(self.directory / "trees")
        except BaseException:
            shutil.rmtree(making, ignore_errors=True)
            raise

    def _recheck(self, digest: Digest) -> Image:
        image = self.get(digest)
        if image is None:
            raise errors.NotFound(
                "TFG-3224", "the image is not materialised here", where=digest,
                hint="the node fetches it before it starts a container",
            )  # fmt: skip
        metadata = self._read(digest, "metadata")
        if canonical.digest(metadata) != image.manifest.root:
            raise _own(digest, "metadata")
        checking.check_tree(image.path, self._entries(metadata, image), workers=self.workers)
        return image

    def _entries(self, metadata: bytes, image: Image) -> tuple[Entry, ...]:
        """The entries of metadata whose digest was held against the manifest just now.

        The same bytes have the same entries, so those of the last few images are remembered: to
        parse them takes as long as to compare the tree with them.
        """
        entries = self._parsed.get(image.digest)
        if entries is None:
            entries = read_entries(metadata, image.manifest)
            if len(entries) <= _PARSED_ENTRIES_MAX:
                others = list(self._parsed.items())[1 - _PARSED_IMAGES_MAX :]
                self._parsed = {**dict(others), image.digest: entries}
        return entries

    def _read(self, digest: Digest, name: str) -> bytes:
        try:
            return (self.directory / "trees" / digest / name).read_bytes()
        except OSError as fault:
            raise _own(digest, name) from fault

    def _check_space(self, manifest: Manifest) -> None:
        disk = os.statvfs(self.directory)
        needed = manifest.content_bytes + manifest.metadata_bytes + manifest.entries * _BLOCK_BYTES
        if disk.f_bavail * disk.f_frsize < needed:
            raise OSError(errno.ENOSPC, "No space left on device")

    @contextmanager
    def _disk(self, digest: Digest) -> Iterator[None]:
        try:
            yield
        except (OSError, errors.Failed) as fault:
            cause = fault.__cause__ if isinstance(fault, errors.Failed) else fault
            if not isinstance(cause, OSError):
                raise
            if cause.errno in _FULL:
                self._remove(self.directory / "incoming" / digest)
                raise errors.Failed(
                    "TFG-3223", "the node's disk is too full for the image", where=digest,
                    hint="free space on the node, or place the workload elsewhere",
                ) from fault  # fmt: skip
            raise errors.Failed(
                "TFG-3225", f"the image cannot be written: {cause.strerror}", where=digest,
                hint="check the node's disk",
            ) from fault  # fmt: skip

    def _remove(self, path: Path) -> None:
        aside = self.directory / "making" / f"removed.{next(self._serial)}"
        try:
            path.rename(aside)
        except FileNotFoundError:
            return
        shutil.rmtree(aside, ignore_errors=True)


def read_entries(metadata: bytes, manifest: Manifest) -> tuple[Entry, ...]:
    """The entries of an image's metadata, held against the totals of its manifest.

    Raises:
        errors.VerificationFailed: TFG-3204, the metadata is not the manifest's.
        errors.BadInput: TFG-3205 to TFG-3211, TFG-11xx.

    """
    if canonical.digest(metadata) != manifest.root:
        raise _not_its(manifest, "digest")
    entries = listing.parse(metadata)
    chunks, total = listing.content(entries)
    if (len(entries), len(chunks), total) != (
        manifest.entries, manifest.chunks, manifest.content_bytes,
    ):  # fmt: skip
        raise _not_its(manifest, "totals")
    return entries


def _metadata(incoming: ChunkStore, manifest: Manifest) -> bytes:
    sizes = listing.metadata_sizes(manifest.metadata, manifest.metadata_bytes)
    return b"".join(_kept(incoming, digest, size) for digest, size in sizes)


def _missing(incoming: ChunkStore, sizes: Mapping[Digest, int]) -> dict[Digest, int]:
    missing = dict[Digest, int]()
    for digest, size in sizes.items():
        try:
            there = incoming.get(digest, size=size) is not None
        except errors.VerificationFailed:  # a power cut left it half written
            there = False
        if not there:
            missing[digest] = size
    return missing


def _kept(incoming: ChunkStore, digest: Digest, size: int) -> bytes:
    plain = incoming.get(digest, size=size)
    if plain is None:
        raise errors.NotFound("TFG-3220", "a chunk has gone meanwhile", where=digest)
    return plain


def _not_its(manifest: Manifest, what: str) -> errors.VerificationFailed:
    return errors.VerificationFailed(
        "TFG-3204", f"the metadata has another {what} than the manifest of {manifest.name} says",
        where=manifest.root, hint="this image is broken or forged; do not use it",
    )  # fmt: skip


def _own(digest: Digest, what: str) -> errors.VerificationFailed:
    return errors.VerificationFailed(
        "TFG-3235", f"the {what} kept beside the tree is not the image's own", where=digest,
        hint="the node's disk was changed; the image is fetched again",
    )  # fmt: skip
