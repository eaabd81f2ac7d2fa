"""What a chunk store publishes: list, show, verify, copy."""

from __future__ import annotations

from dataclasses import dataclass

from tfgrid.capacity.flist import listing, signing
from tfgrid.capacity.flist.image_store import read_entries
from tfgrid.capacity.flist.model import Entry, Manifest, SignedManifest
from tfgrid.capacity.flist.packing import Packed
from tfgrid.capacity.flist.store import ChunkStore
from tfgrid.core import canonical, errors, limits
from tfgrid.core.ids import Digest, IdentityId

__all__ = ["ImageSummary", "copy", "images", "verify"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSummary:
    """One published image, its signature verified against the signer it names.

    `stored_bytes` is what its chunks take in the store; chunks shared with other images count in
    each.
    """

    digest: Digest
    name: str
    signer: IdentityId
    signer_name: str
    manifest: Manifest
    stored_bytes: int


def images(store: ChunkStore) -> list[ImageSummary]:
    """All published images by name, then digest; signatures are verified, chunks only counted.

    Raises:
        errors.VerificationFailed: TFG-3201 to TFG-3204, TFG-3212.
        errors.NotFound: TFG-3220, metadata is missing.

    """
    found = (_summary(store, digest, None)[0] for digest in store.manifests())
    return sorted(found, key=lambda summary: (summary.name, summary.digest))


def verify(store: ChunkStore, digest: Digest, *, signer: IdentityId | None = None) -> ImageSummary:
    """Read an image's every chunk and hold that all is as its signer signed it.

    Args:
        store: where it is published.
        digest: the image's.
        signer: who must have signed it; the signer that it names, if None.

    Raises:
        errors.NotFound: TFG-3220, the image or a chunk is missing.
        errors.VerificationFailed: TFG-3201 to TFG-3204, TFG-3212, TFG-1413.
        errors.BadInput: TFG-3205 to TFG-3211.

    """
    summary, entries = _summary(store, digest, signer)
    for chunk, size in listing.content(entries)[0].items():
        _chunk(store, chunk, size)
    return summary


def copy(packed: Packed, origin: ChunkStore, target: ChunkStore) -> None:
    """Bring every chunk of a packed tree from one store to another, verified on the way.

    Raises:
        errors.NotFound: TFG-3220, a chunk is missing in `origin`.
        errors.VerificationFailed: TFG-3212, a chunk there is damaged.
        errors.Failed: TFG-3213.

    """
    sizes = dict(listing.metadata_sizes(packed.metadata, packed.metadata_bytes))
    metadata = b"".join(_chunk(origin, digest, size) for digest, size in sizes.items())
    sizes.update(listing.content(listing.parse(metadata))[0])
    for digest, size in sizes.items():
        frame = origin.stored(digest)
        if frame is None:
            raise _missing(digest)
        if target.stored(digest) != frame:
            target.put_stored(digest, frame, size=size)


def _summary(
    store: ChunkStore, digest: Digest, signer: IdentityId | None
) -> tuple[ImageSummary, tuple[Entry, ...]]:
    data = store.manifest(digest)
    if data is None:
        raise errors.NotFound(
            "TFG-3220", "no such image is published here", where=digest, hint="tfgrid image list"
        )
    signed = canonical.parse(data, SignedManifest, bytes_max=limits.image_manifest_bytes_max)
    manifest = signing.open_manifest(data, digest=digest, signer=signer or signed.manifest.signer)
    sizes = listing.metadata_sizes(manifest.metadata, manifest.metadata_bytes)
    metadata = b"".join(_chunk(store, chunk, size) for chunk, size in sizes)
    entries = read_entries(metadata, manifest)
    chunks = {*listing.content(entries)[0], *manifest.metadata}
    summary = ImageSummary(
        digest=digest, name=manifest.name, signer=manifest.signer,
        signer_name=signed.inception.name, manifest=manifest,
        stored_bytes=sum(map(store.stored_bytes, chunks)),
    )  # fmt: skip
    return summary, entries


def _chunk(store: ChunkStore, digest: Digest, size: int) -> bytes:
    plain = store.get(digest, size=size)
    if plain is None:
        raise _missing(digest)
    return plain


def _missing(digest: Digest) -> errors.NotFound:
    return errors.NotFound(
        "TFG-3220", "a chunk of the image is missing", where=digest, hint="publish the image again"
    )
