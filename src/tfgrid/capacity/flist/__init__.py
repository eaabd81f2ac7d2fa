"""Images: signed metadata over content-addressed chunks.

An image is three things, each named by the SHA-256 of its plain bytes:

    signed manifest --names--> metadata (one line per file) --names--> chunks (1 MiB at most)

Whoever knows the manifest's digest and its signer's identity can check every byte of the image,
wherever it comes from. Nothing here trusts a chunk server, a disk, or the maker's good manners: a
hostile image is refused before its first file is made. The format is drawn to the byte in
`docs/formats/flist.md`.

| module | what it holds |
|---|---|
| `model` | frozen values: manifest, configuration and the entries of a tree |
| `listing` | metadata as bytes, and the strict way back |
| `signing` | who published a manifest, offline |
| `store` | `ChunkStore`: chunks and manifests in a directory, for publishing and serving |
| `packing` | a directory becomes metadata and chunks, the same ones every time |
| `beneath` | system calls that never leave a tree |
| `tree` | writing a verified tree |
| `checking` | every byte and attribute of a tree against its metadata |
| `source` | fetching over `core.transport` from servers that nobody trusts |
| `image_store` | `ImageStore`: what a node keeps, each image materialised once |
| `service` | the socketless, read-only chunk service |
| `library` | list, show, verify and copy what a chunk store publishes |

A node uses `ImageStore`; a publisher uses `pack`, `sign` and `ChunkStore`; a chunk server uses
`Service`.
"""

from __future__ import annotations

from tfgrid.capacity.flist.image_store import Image, ImageStore
from tfgrid.capacity.flist.library import ImageSummary, copy, images, verify
from tfgrid.capacity.flist.model import Config, Manifest, SignedManifest
from tfgrid.capacity.flist.packing import Packed, pack, publish
from tfgrid.capacity.flist.service import Service
from tfgrid.capacity.flist.signing import open_manifest, sign
from tfgrid.capacity.flist.store import ChunkStore

__all__ = [
    "ChunkStore",
    "Config",
    "Image",
    "ImageStore",
    "ImageSummary",
    "Manifest",
    "Packed",
    "Service",
    "SignedManifest",
    "copy",
    "images",
    "open_manifest",
    "pack",
    "publish",
    "sign",
    "verify",
]
