"""The chunk service, without a socket: read-only, content-addressed, cacheable for ever.

    GET|HEAD /manifests/DIGEST        a signed manifest
    GET|HEAD /chunks/DIGEST           a chunk as stored: one zstd frame
    GET /chunks?digests=A,B,C         several chunks at once, framed (see docs/formats/flist.md)

Nothing else is answered: any other method is 405, any other path 404, and no path reaches the file
system before it has been matched as a digest. An answer of several chunks stops before it grows
over `limits.chunk_batch_bytes_max` (one chunk always fits), and the client asks again for the rest.
"""

from __future__ import annotations

import re
from typing import Final

from tfgrid.capacity.flist import source
from tfgrid.capacity.flist.store import ChunkStore
from tfgrid.core import limits
from tfgrid.core.ids import Digest
from tfgrid.core.transport import Request, Response

__all__ = ["Service"]

_ONE: Final = re.compile(r"\A/(chunks|manifests)/([0-9a-f]{64})\Z")
_MANY: Final = re.compile(rf"\A[0-9a-f]{{64}}(,[0-9a-f]{{64}}){{0,{limits.chunk_batch_max - 1}}}\Z")
_CHUNK_TYPE: Final = "application/zstd"
_BATCH_TYPE: Final = "application/octet-stream"


class Service:
    """Serves a chunk store; `handle` is a `core.transport.Handler`."""

    def __init__(self, store: ChunkStore) -> None:
        self._store = store

    async def handle(self, request: Request) -> Response:
        """Answer one request."""
        if request.method not in {"GET", "HEAD"}:
            return Response(status=405)
        if request.path == "/chunks":
            return self._several(request)
        matched = _ONE.match(request.path)
        if not matched or request.query:
            return Response(status=404)
        kind, digest = matched[1], Digest(matched[2])
        chunk = kind == "chunks"
        body = self._store.stored(digest) if chunk else self._store.manifest(digest)
        if body is None:
            return Response(status=404)
        return Response(
            status=200,
            body=b"" if request.method == "HEAD" else body,
            media_type=_CHUNK_TYPE if chunk else "application/json",
        )

    def _several(self, request: Request) -> Response:
        asked = request.query.get("digests", "")
        if request.method != "GET" or set(request.query) != {"digests"} or not _MANY.match(asked):
            return Response(status=400)
        parts, size = list[bytes](), 0
        for digest in asked.split(","):
            part = self._store.stored(Digest(digest)) or b""
            size += len(part)
            if parts and size > limits.chunk_batch_bytes_max:
                break
            parts.append(part)
        return Response(status=200, body=source.frames(parts), media_type=_BATCH_TYPE)
