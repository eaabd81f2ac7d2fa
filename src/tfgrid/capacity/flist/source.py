"""Fetching from servers that nobody trusts.

Whatever arrives is measured and hashed before it is kept, so a source can only refuse or waste
time. Chunks are asked for in batches, a few batches at once; what one source does not give right is
asked of the next. What is kept stays kept when the rest fails, and the next try asks for the rest
only.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, TypeAlias

from tfgrid.core import canonical, errors, limits
from tfgrid.core.ids import Digest
from tfgrid.core.transport import Request, Response, Transport

__all__ = ["Keep", "fetch_chunks", "fetch_manifest", "frames", "unframed"]

Keep: TypeAlias = Callable[[Mapping[Digest, bytes]], Mapping[Digest, str]]
"""Verify and keep stored chunks; answers those that were refused, with the reason."""

_PARALLEL: Final = 4
_TIMEOUT_SECONDS: Final = 30.0
_LENGTH_BYTES: Final = 4


class _Trouble:
    """Why sources did not help, and which error that makes."""

    def __init__(self) -> None:
        self.unreachable: list[str] = []
        self.bad: list[str] = []

    def error(self, what: str, where: str) -> errors.GridError:
        if self.unreachable:
            return errors.Unreachable(
                "TFG-3221", f"no source gives {what}: {self.unreachable[0]}", where=where,
                hint="what was fetched is kept; try again",
            )  # fmt: skip
        if self.bad:
            return errors.VerificationFailed(
                "TFG-3222", f"every source gives wrong bytes for {what}: {self.bad[0]}",
                where=where, hint="publish the image again, or use another source",
            )  # fmt: skip
        return errors.NotFound(
            "TFG-3220", f"no source has {what}", where=where, hint="publish the image again"
        )


async def fetch_manifest(sources: Sequence[Transport], digest: Digest) -> bytes:
    """The bytes of the signed manifest of this digest, from the first source that has them right.

    Raises:
        errors.NotFound: TFG-3220. errors.Unreachable: TFG-3221. errors.VerificationFailed:
            TFG-3222.

    """
    trouble = _Trouble()
    for source in sources:
        answer = await _ask(source, Request(method="GET", path=f"/manifests/{digest}"), trouble)
        if answer is None:
            continue
        if canonical.digest(answer.body) == digest:
            return answer.body
        trouble.bad.append("another digest")
    raise trouble.error("the manifest", digest)


async def fetch_chunks(
    sources: Sequence[Transport], wanted: Mapping[Digest, int], keep: Keep
) -> None:
    """Fetch chunks of these plain sizes and hand them to `keep`, which runs in a thread.

    Raises:
        errors.NotFound: TFG-3220. errors.Unreachable: TFG-3221. errors.VerificationFailed:
            TFG-3222.
        errors.GridError: whatever `keep` raises.

    """
    batches = deque(_batches(wanted))
    faults = list[Exception]()

    async def worker(first: int) -> None:
        rotated = [*sources[first:], *sources[:first]]
        while batches:
            try:
                await _fetch_batch(rotated, batches.popleft(), keep)
            except Exception as fault:  # noqa: BLE001 - raised below, once all workers have stopped
                faults.append(fault)
                batches.clear()

    starts = [number % max(1, len(sources)) for number in range(_PARALLEL)]
    await asyncio.gather(*map(worker, starts))
    if faults:
        raise faults[0]


def _batches(wanted: Mapping[Digest, int]) -> Iterator[list[Digest]]:
    batch, size = list[Digest](), 0
    for digest, plain_bytes in wanted.items():
        full = size + plain_bytes > limits.chunk_batch_bytes_max
        if batch and (full or len(batch) == limits.chunk_batch_max):
            yield batch
            batch, size = [], 0
        batch.append(digest)
        size += plain_bytes
    if batch:
        yield batch


async def _fetch_batch(sources: Sequence[Transport], batch: list[Digest], keep: Keep) -> None:
    missing, trouble = list(batch), _Trouble()
    for source in sources:
        asked = list(missing)
        while asked:
            query = {"digests": ",".join(asked)}
            request = Request(method="GET", path="/chunks", query=query)
            answer = await _ask(source, request, trouble)
            given = None if answer is None else unframed(answer.body, len(asked))
            if not given:
                if answer is not None:
                    trouble.bad.append("an answer that is not framed chunks")
                break
            found = {d: frame for d, frame in zip(asked, given, strict=False) if frame}
            refused = await asyncio.to_thread(keep, found)
            trouble.bad.extend(refused.values())
            missing = [d for d in missing if d not in found or d in refused]
            asked = asked[len(given) :]
        if not missing:
            return
    raise trouble.error("a chunk", missing[0])


async def _ask(source: Transport, request: Request, trouble: _Trouble) -> Response | None:
    try:
        answer = await source.send(request, timeout_seconds=_TIMEOUT_SECONDS)
    except errors.Unreachable as fault:
        trouble.unreachable.append(fault.what)
        return None
    if answer.status == 200:
        return answer
    if answer.status >= 500:
        trouble.unreachable.append(f"status {answer.status}")
    return None


def frames(parts: Sequence[bytes]) -> bytes:
    """Stored chunks as one body: a length in four bytes, big-endian, before each; 0: not here."""
    return b"".join(len(part).to_bytes(_LENGTH_BYTES, "big") + part for part in parts)


def unframed(body: bytes, count_max: int) -> list[bytes] | None:
    """The parts of such a body, or None if it is not one of at most `count_max` parts."""
    parts, at = list[bytes](), 0
    while at < len(body):
        begin = at + _LENGTH_BYTES
        size = int.from_bytes(body[at:begin], "big")
        at = begin + size
        if size > limits.chunk_stored_bytes_max or at > len(body) or len(parts) == count_max:
            return None
        parts.append(body[begin:at])
    return parts
