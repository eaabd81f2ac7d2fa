"""Small trees, publishers and faulty servers for the tests of images."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tfgrid.capacity import flist
from tfgrid.core.identity import Keyring
from tfgrid.core.ids import Digest
from tfgrid.core.rng import SeededRng
from tfgrid.core.transport import MemoryTransport, Request, Response

LATEST = 1_700_000_000
"""No file of a test's image is younger."""


def keyring(name: str = "expert") -> Keyring:
    """The same publisher each time."""
    return Keyring.new(name, SeededRng(name))


def sample(directory: Path) -> Path:
    """A tree with one of each: nested directories, empty and large files, links of both kinds."""
    for name in ("bin", "etc/app", "var/empty"):
        (directory / name).mkdir(parents=True)
    (directory / "bin/tool").write_bytes(b"#!/bin/true\n")
    (directory / "bin/tool").chmod(0o755)
    (directory / "bin/also").hardlink_to(directory / "bin/tool")
    (directory / "etc/app/config").write_text("answer = 42\n")
    (directory / "etc/app/nothing").touch()
    (directory / "etc/big").write_bytes(SeededRng(1).token(1024**2 + 77))
    (directory / "etc/same").write_text("answer = 42\n")
    (directory / "etc/näme").write_text("UTF-8")
    (directory / "sbin").symlink_to("bin")
    (directory / "etc/out").symlink_to("/etc/../../etc/shadow")
    return directory


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """An image in a chunk store."""

    store: flist.ChunkStore
    digest: Digest
    manifest: flist.Manifest
    keyring: Keyring

    def transport(self) -> MemoryTransport:
        """A way to an honest chunk server."""
        return MemoryTransport(flist.Service(self.store).handle)

    def chunk_file(self, digest: Digest) -> Path:
        """Where the store keeps a chunk."""
        return self.store.directory / "chunks" / digest[:2] / digest


def publish(tmp_path: Path, *, name: str = "app", tree: Path | None = None) -> Published:
    """The sample tree (or another) as an image in a new store."""
    tree = tree or sample(tmp_path / f"{name}-tree")
    store = flist.ChunkStore(tmp_path / f"{name}-published")
    packed = flist.pack(tree, store, mtime_max=LATEST)
    signer = keyring()
    digest, manifest = flist.publish(
        packed, store, name=name, keyring=signer, config=flist.Config(arguments=("/bin/tool",))
    )
    return Published(store=store, digest=digest, manifest=manifest, keyring=signer)


def altering(published: Published, alter: Callable[[Request, bytes], bytes]) -> MemoryTransport:
    """A way to a server that alters what it sends."""
    honest = flist.Service(published.store)

    async def handle(request: Request) -> Response:
        answer = await honest.handle(request)
        return Response(
            status=answer.status,
            body=alter(request, answer.body),
            media_type=answer.media_type,
        )

    return MemoryTransport(handle)


def flipped(data: bytes, at: int) -> bytes:
    """The same bytes with one bit turned."""
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def files_below(directory: Path) -> list[str]:
    """Everything under a directory, by relative path."""
    return sorted(
        os.path.relpath(Path(at) / name, directory)
        for at, folders, files in os.walk(directory)
        for name in (*folders, *files)
    )
