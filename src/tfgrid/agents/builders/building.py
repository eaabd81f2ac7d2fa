"""From a directory to a published image, and the cache that shortens the way.

The cache is keyed by content: `image.toml`, the bytes and modes of the files it names, the signed
Debian indexes that the machine has, and the version of this builder. It holds the packed tree of
the latest build of each image name, so that another grid, another signer or a second run signs and
publishes in well under a second.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tfgrid.agents.builders import debian, description, finishing
from tfgrid.agents.builders.debian import Progress
from tfgrid.agents.builders.description import Description
from tfgrid.capacity import flist
from tfgrid.core import canonical, errors
from tfgrid.core.identity import Keyring
from tfgrid.core.ids import Digest, Digested
from tfgrid.core.schema import Count, Value

__all__ = ["Built", "build"]

builder_version: Final = 1
"""Counts changes of this package that give other trees for the same inputs."""

_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A published image: its digest goes into recipes."""

    name: str
    digest: Digest
    manifest: flist.Manifest
    cached: bool
    notes: tuple[str, ...] = ()


class _Inputs(Value, frozen=True):
    version: Count
    description: Description
    files: tuple[tuple[str, Count, str], ...]
    releases: str


class _Cached(Value, frozen=True):
    key: Digested
    packed: flist.Packed


def build(
    directory: Path,
    *,
    keyring: Keyring,
    store: flist.ChunkStore,
    cache: Path,
    progress: Progress,
    fresh: bool = False,
) -> Built:
    """Build, sign and publish the image that `directory/image.toml` describes.

    Args:
        directory: holds `image.toml` and the files it names.
        keyring: the publisher.
        store: where chunks and manifest go.
        cache: a directory for this builder alone; removing it costs time only.
        progress: called with a line for people at each step.
        fresh: build even if nothing has changed.

    Raises:
        errors.BadInput: TFG-3301 to TFG-3305, TFG-3309, TFG-3311, TFG-32xx for what an image cannot
            carry.
        errors.Failed: TFG-3307, TFG-3310, TFG-3312 the disk refused, TFG-3213.
        errors.MachineLacks: TFG-3306, TFG-3308.

    """
    described = description.read(directory)
    key = _key(directory, described)
    try:
        with _locked(cache, described.name, progress) as place:
            kept = None if fresh else _kept(place, key, store)
            packed = kept or _packed(directory, described, place, key, progress)
            progress(f"signing and publishing {described.name}")
            if kept is None:
                flist.copy(packed, flist.ChunkStore(place / "store"), store)
    except OSError as fault:
        raise errors.Failed(
            "TFG-3312", f"the build's disk refused: {fault.strerror}", where=str(fault.filename),
            hint="free space, or give another cache directory",
        ) from fault  # fmt: skip
    digest, manifest = flist.publish(
        packed, store, name=described.name, keyring=keyring, config=_config(described)
    )
    return Built(
        name=described.name, digest=digest, manifest=manifest, cached=kept is not None,
        notes=packed.notes,
    )  # fmt: skip


def _packed(
    directory: Path, described: Description, place: Path, key: Digest, progress: Progress
) -> flist.Packed:
    tree = place / "tree"
    for old in (tree, place / "store"):
        shutil.rmtree(old, ignore_errors=True)
    (place / "cached").unlink(missing_ok=True)
    try:
        progress(f"building {described.name} from {described.base}")
        debian.bootstrap(described, tree, progress=progress)
        progress("adding files")
        finishing.finish(directory, described, tree)
        progress("packing")
        store = flist.ChunkStore(place / "store")
        packed = flist.pack(tree, store, mtime_max=debian.epoch_seconds)
    finally:
        shutil.rmtree(tree, ignore_errors=True)
    beside = place / "cached.new"
    beside.write_bytes(canonical.encode(_Cached(key=key, packed=packed)))
    beside.replace(place / "cached")
    return packed


def _kept(place: Path, key: Digest, store: flist.ChunkStore) -> flist.Packed | None:
    try:
        cached = canonical.parse((place / "cached").read_bytes(), _Cached)
        if cached.key != key:
            return None
        flist.copy(cached.packed, flist.ChunkStore(place / "store"), store)
    except (FileNotFoundError, errors.BadInput, errors.NotFound, errors.VerificationFailed):
        return None  # a cache that is not whole is no cache
    return cached.packed


def _key(directory: Path, described: Description) -> Digest:
    return canonical.digest(
        canonical.encode(
            _Inputs(
                version=builder_version,
                description=described,
                files=tuple(description.inputs(directory, described)),
                releases=debian.releases_digest(described.suite),
            )
        )
    )


def _config(described: Description) -> flist.Config:
    user = described.user.id if described.user else 0
    return flist.Config(
        arguments=described.entrypoint,
        environment={"PATH": _PATH} | described.environment,
        user_id=user, group_id=user, directory=described.directory,
    )  # fmt: skip


@contextmanager
def _locked(cache: Path, name: str, progress: Progress) -> Iterator[Path]:
    place = cache / name
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (place / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress(f"waiting for another build of {name}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield place
