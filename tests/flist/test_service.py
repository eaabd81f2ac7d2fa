"""The chunk service: read-only, by digest, nothing else."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.flist import trees
from tfgrid.capacity import flist
from tfgrid.capacity.flist import source
from tfgrid.core import canonical, limits
from tfgrid.core.rng import SeededRng
from tfgrid.core.transport import Request, Response


def ask(service: flist.Service, path: str, method: str = "GET", **query: str) -> Response:
    """One request, answered."""
    return asyncio.run(service.handle(Request(method=method, path=path, query=query)))


def test_manifests_and_chunks_are_served_as_stored(tmp_path: Path) -> None:
    """What is published is served byte by byte, and HEAD says that it is there."""
    published = trees.publish(tmp_path)
    service, chunk = flist.Service(published.store), published.manifest.metadata[0]
    manifest = ask(service, f"/manifests/{published.digest}")
    assert canonical.digest(manifest.body) == published.digest
    assert ask(service, f"/chunks/{chunk}").body == published.store.stored(chunk)
    for path in (f"/chunks/{chunk}", f"/manifests/{published.digest}"):
        head = ask(service, path, "HEAD")
        assert (head.status, head.body) == (200, b"")


@pytest.mark.parametrize(
    "path",
    [
        "/", "/chunks/", "/chunks/..", "/chunks/../manifests", "/chunks/ab", "/manifests",
        "/chunks/" + "A" * 64, "/chunks/" + "a" * 63, "/chunks/" + "a" * 65,
        "/chunks/" + "a" * 64 + "/", "/chunks/" + "a" * 64 + "\n", "//chunks/" + "a" * 64,
        "/chunks/%2e%2e/" + "a" * 64, "/chunks/../../../../etc/passwd", "/other/" + "a" * 64,
        "/chunks/" + "a" * 64,
    ],
)  # fmt: skip
def test_any_other_path_is_not_there(tmp_path: Path, path: str) -> None:
    """Only a digest is looked up; whatever else is asked for answers 404."""
    assert ask(flist.Service(flist.ChunkStore(tmp_path)), path).status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "get"])
def test_nothing_can_be_changed(tmp_path: Path, method: str) -> None:
    """Every method but GET and HEAD is refused."""
    published = trees.publish(tmp_path)
    answer = ask(flist.Service(published.store), f"/chunks/{published.digest}", method)
    assert answer.status == 405


@pytest.mark.parametrize(
    "digests",
    ["", ",", "a", "../x", "a" * 64 + ",", ",".join(["a" * 64] * (limits.chunk_batch_max + 1))],
)
def test_a_malformed_batch_is_refused(tmp_path: Path, digests: str) -> None:
    """A batch is a bounded list of digests."""
    service = flist.Service(flist.ChunkStore(tmp_path))
    assert ask(service, "/chunks", digests=digests).status == 400
    assert ask(service, "/chunks", digests="a" * 64, more="x").status == 400
    assert ask(service, "/chunks").status == 400


def test_a_batch_says_what_is_missing_and_stops_at_its_limit(tmp_path: Path) -> None:
    """A missing chunk has length 0, and an answer never grows beyond its limit."""
    store = flist.ChunkStore(tmp_path)
    large = [store.put(SeededRng(n).token(limits.chunk_bytes_max)) for n in range(6)]
    missing = canonical.digest(b"missing")
    asked = [missing, *large]
    answer = ask(flist.Service(store), "/chunks", digests=",".join(asked))
    parts = source.unframed(answer.body, len(asked))
    assert parts is not None and parts[0] == b"" and 1 < len(parts) < len(asked)
    assert parts[1] == store.stored(large[0])
    assert len(answer.body) <= limits.chunk_batch_bytes_max + 4 * len(parts)


@pytest.mark.parametrize(
    "body", [b"\0", b"\0\0\0\5abc", b"\xff\xff\xff\xff", b"\0\0\0\0" * 3, b"\0\0\0\1a\0"]
)
def test_a_body_that_is_not_framed_is_refused(body: bytes) -> None:
    """Lengths that run over the body or the limit, or too many parts, make no batch."""
    assert source.unframed(body, 2) is None
