"""The socketless server: requests in, answers out; `doors/api` puts HTTP around it.

| request | answer |
|---|---|
| `GET /v1/checkpoint?known=N` | Head |
| `POST /v1/entries?known=N` with signed entry, newline, body | Inclusion |
| `GET /v1/entries/POSITION` or `/DIGEST` `?known=N&body=1` | Inclusion |
| `GET /v1/entries?kind=&tag=&author=&first=&limit=&body=1&known=N` | Found |
| `GET /v1/bodies?positions=1,2` | Bodies |
| `GET /v1/feed?first=N&limit=M&wait=S&bodies=1` | Page |
| `GET /v1/consistency?old=M&new=N` | Head |
| `GET /v1/authors/ID` | Standing |
| `GET /v1/authors/ID/SEQUENCE?known=N` | Inclusion |
| `GET /v1/equivocations/ID` | Equivocation |
| `GET /v1/bundle?positions=1,2` | a bundle |
| `POST /v1/mailbox` with a letter | nothing |
| `GET /v1/mailbox?prefix=&author=` | Letters |

`known` is a size whose root the asker holds; the answer's checkpoint is shown to be consistent with
it. Refusals are problem documents (RFC 9457). Everything in a request is bounded before it is used.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import sqlite3
from collections.abc import Callable, Mapping
from typing import Final

from tfgrid.core import canonical, errors, limits, merkle
from tfgrid.core.ids import IdentityId
from tfgrid.core.schema import Value
from tfgrid.core.transport import Request, Response, problem
from tfgrid.ledger.bcdb import rules
from tfgrid.ledger.bcdb.bundle import export_bundle, place
from tfgrid.ledger.bcdb.disk import Query
from tfgrid.ledger.bcdb.kinds import identity_events, identity_state
from tfgrid.ledger.bcdb.mailbox import Letter, Mailbox, check_letter
from tfgrid.ledger.bcdb.model import (
    Bodies,
    Equivocation,
    Found,
    Head,
    Inclusion,
    Leaf,
    Page,
    Placed,
    SignedEntry,
    Standing,
)
from tfgrid.ledger.bcdb.solo import SoloLedger

__all__ = ["Service"]

_ID: Final = re.compile(r"\A[0-9a-f]{64}\Z")
_COUNT: Final = re.compile(r"\A(0|[1-9][0-9]{0,15})\Z")


class Service:
    """Serves one ledger and its mailbox."""

    def __init__(self, ledger: SoloLedger, mailbox: Mailbox | None = None) -> None:
        self.mailbox = mailbox or Mailbox()
        self._ledger = ledger
        self._reader = ledger.reader()
        self._waiting = 0

    async def handle(self, request: Request) -> Response:
        """Answer one request; never raises a `GridError`."""
        try:
            return await self._route(request)
        except errors.GridError as fault:
            return problem(fault)
        except sqlite3.Error as fault:
            return problem(errors.Failed("TFG-2204", f"the ledger's files cannot be read: {fault}"))

    def close(self) -> None:
        """Close the service's reader; the ledger is closed by whoever opened it."""
        if self._ledger.is_durable:
            self._reader.close()

    async def _route(self, request: Request) -> Response:
        self._ledger.refresh()
        match (request.method, request.path.split("/")[1:]):
            case ("POST", ["v1", "entries"]):
                return _answer(await self._submit(request))
            case ("GET", ["v1", "feed"]):
                return _answer(await self._feed(request.query))
            case ("POST", ["v1", "mailbox"]):
                return self._post(request.body)
            case ("GET", ["v1", "bundle"]):
                return self._bundle(request.query)
            case ("GET", ["v1", *rest]):
                return _answer(self._read(rest, request.query))
            case _:
                raise _no_route(request.path)

    def _read(self, path: list[str], query: Mapping[str, str]) -> Value:
        match path:
            case ["checkpoint"]:
                return self._head(_count(query, "known"))
            case ["consistency"]:
                return self._consistency(_count(query, "old"), _count(query, "new"))
            case ["entries"]:
                return self._find(query)
            case ["entries", name]:
                return self._inclusion(self._position(name), query)
            case ["bodies"]:
                return self._bodies(query)
            case ["authors", author]:
                return self._standing(_identity(author))
            case ["authors", author, sequence]:
                at = self._reader.at_sequence(_identity(author), _number(sequence, "sequence"))
                return self._inclusion(at, query)
            case ["equivocations", author]:
                return self._equivocation(_identity(author))
            case ["mailbox"]:
                return self.mailbox.read(
                    prefix=query.get("prefix", ""), author=query.get("author", ""),
                    now_ms=self._ledger.now_ms(),
                )  # fmt: skip
            case _:
                raise _no_route("/".join(path))

    async def _submit(self, request: Request) -> Inclusion:
        line, newline, body = request.body.partition(b"\n")
        if not newline or len(line) > limits.signed_entry_bytes_max:
            raise errors.BadInput(
                "TFG-2008", "an entry is one line of header and signatures, then its body",
                where="entry", hint=f"the line has at most {limits.signed_entry_bytes_max} bytes",
            )  # fmt: skip
        signed = canonical.parse(line, SignedEntry, bytes_max=limits.signed_entry_bytes_max)
        if len(canonical.encode(signed.header)) > limits.header_bytes_max:
            raise errors.BadInput(
                "TFG-2008", f"a header has at most {limits.header_bytes_max} bytes", where="header"
            )
        if len(body) != signed.header.body_size:
            raise errors.BadInput(
                "TFG-2003", f"the body has {len(body)} bytes, its header declares another number",
                where=signed.header.kind, declared_bytes=signed.header.body_size,
            )  # fmt: skip
        entry = await self._ledger.submit(signed, body)
        return self._inclusion(entry.position, request.query)

    async def _feed(self, query: Mapping[str, str]) -> Page:
        first = _count(query, "first")
        limit = min(_count(query, "limit", 256), limits.feed_page_entries_max)
        await self._wait(first, min(_count(query, "wait"), limits.feed_wait_seconds_max))
        with_bodies = query.get("bodies") == "1"
        text, checkpoint = self._ledger.head
        leaves: list[Leaf] = []
        bodies: list[str | None] = []
        left = limits.feed_page_bytes_max
        for _position, leaf, body in self._reader.rows(first, min(first + limit, checkpoint.size)):
            left -= len(leaf) + with_bodies * (len(body) * 4 // 3 + 4)
            if left < 0 and leaves:
                break
            leaves.append(canonical.parse(leaf, Leaf))
            bodies.append(canonical.text_from(body) if with_bodies else None)
        return Page(
            first=first, leaves=tuple(leaves), bodies=tuple(bodies), checkpoint=text,
            consistency=self._joined(first + len(leaves), checkpoint.size),
        )  # fmt: skip

    async def _wait(self, size: int, seconds: int) -> None:
        """Until there is a new head after `size`, or the time is over; a fresh signature counts."""
        if not seconds or self._waiting >= limits.feed_waiters_max:
            return
        changed, loop = asyncio.Event(), asyncio.get_running_loop()
        stop = self._ledger.watch(_waker(loop, changed))
        self._waiting += 1
        tasks = [
            asyncio.ensure_future(changed.wait()),
            asyncio.ensure_future(self._ledger.clock.sleep(seconds)),
        ]
        try:
            if self._ledger.head[1].size <= size:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop()
            self._waiting -= 1
            for task in tasks:
                task.cancel()

    def _post(self, body: bytes) -> Response:
        letter = canonical.parse(
            body, Letter, bytes_max=limits.mailbox_message_bytes_max * 2 + limits.header_bytes_max
        )
        state = identity_state(self._reader.view, letter.message.author)
        check_letter(letter, state, ledger=self._ledger.trust.ledger)
        self.mailbox.post(letter, now_ms=self._ledger.now_ms())
        return Response(status=204)

    def _bundle(self, query: Mapping[str, str]) -> Response:
        text, checkpoint = self._ledger.head
        data = export_bundle(self._reader, text, checkpoint.size, _positions(query))
        return Response(status=200, body=data)

    def _head(self, known: int) -> Head:
        text, checkpoint = self._ledger.head
        return Head(checkpoint=text, consistency=self._joined(known, checkpoint.size))

    def _consistency(self, old: int, new: int) -> Head:
        text, checkpoint = self._ledger.head
        if not 0 < old <= new <= checkpoint.size:
            raise errors.NotFound(
                "TFG-2211", f"the ledger has {checkpoint.size} entries", where=f"{old} to {new}"
            )
        return Head(checkpoint=text, consistency=self._joined(old, new))

    def _joined(self, old: int, new: int) -> tuple[str, ...]:
        """The consistency proof; empty where there is nothing to join or no such tree."""
        if not 0 < old < new:
            return ()
        proof = merkle.consistency_proof_at(self._reader.hash_at, old, new)
        return tuple(map(canonical.text_from, proof))

    def _inclusion(self, position: int | None, query: Mapping[str, str]) -> Inclusion:
        text, checkpoint = self._ledger.head
        if position is None or position >= checkpoint.size:
            raise errors.NotFound("TFG-2211", f"the ledger has {checkpoint.size} entries, not this")
        placed = place(self._reader, position, checkpoint.size, with_body=query.get("body") == "1")
        return Inclusion(
            entry=placed, checkpoint=text,
            consistency=self._joined(_count(query, "known"), checkpoint.size),
        )  # fmt: skip

    def _position(self, name: str) -> int | None:
        if _ID.match(name):
            return rules.position_of(self._reader.view, name)
        return _number(name, "position")

    def _find(self, query: Mapping[str, str]) -> Found:
        text, checkpoint = self._ledger.head
        limit = max(1, min(_count(query, "limit", 256), limits.feed_page_entries_max))
        found = self._reader.find(
            Query(
                kind=query.get("kind", ""), tag=query.get("tag", ""),
                author=query.get("author", ""), first=_count(query, "first"),
                size=checkpoint.size, limit=limit + 1,
            )
        )  # fmt: skip
        entries: list[Placed] = []
        left = limits.feed_page_bytes_max
        with_body = query.get("body") == "1"
        for position in found[:limit]:
            placed = place(self._reader, position, checkpoint.size, with_body=with_body)
            left -= limits.header_bytes_max + len(placed.body or "")
            if left < 0 and entries:
                break
            entries.append(placed)
        return Found(
            entries=tuple(entries), more=len(entries) < len(found), checkpoint=text,
            consistency=self._joined(_count(query, "known"), checkpoint.size),
        )  # fmt: skip

    def _bodies(self, query: Mapping[str, str]) -> Bodies:
        bodies: list[str] = []
        left = limits.feed_page_bytes_max
        for position in _positions(query):
            row = self._reader.row(position) if position < self._ledger.head[1].size else None
            if row is None:
                raise errors.NotFound("TFG-2211", "no such entry", where=str(position))
            left -= len(row[1]) * 4 // 3 + 4
            if left < 0 and bodies:
                break
            bodies.append(canonical.text_from(row[1]))
        return Bodies(bodies=tuple(bodies))

    def _standing(self, author: IdentityId) -> Standing:
        view = self._reader.view
        return Standing(
            author=author, next_sequence=rules.next_sequence(view, author),
            events=identity_events(view, author),
        )  # fmt: skip

    def _equivocation(self, author: IdentityId) -> Equivocation:
        found = self._reader.equivocation(author)
        position = found and self._reader.at_sequence(author, found[0])
        if found is None or position is None:
            raise errors.NotFound(
                "TFG-2211", "this author is not known to have signed two entries with one sequence",
                where=author,
            )  # fmt: skip
        return Equivocation(position=position, other=canonical.parse(found[1], SignedEntry))


def _waker(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> Callable[[], None]:
    def wake() -> None:
        # The loop may be gone while the writer thread still announces a head.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(event.set)

    return wake


def _answer(value: Value) -> Response:
    return Response(status=200, body=canonical.encode(value))


def _count(query: Mapping[str, str], name: str, default: int = 0) -> int:
    return _number(query[name], name) if name in query else default


def _number(text: str, name: str) -> int:
    if not _COUNT.match(text) or int(text) > limits.integer_max:
        raise errors.BadInput("TFG-2213", f"{name} must be a number", where=text[:32])
    return int(text)


def _positions(query: Mapping[str, str]) -> list[int]:
    texts = query.get("positions", "").split(",")
    if len(texts) > limits.feed_page_entries_max:
        raise errors.BadInput(
            "TFG-2213", f"at most {limits.feed_page_entries_max} positions", where="positions"
        )
    return [_number(text, "positions") for text in texts]


def _identity(text: str) -> IdentityId:
    if not _ID.match(text):
        raise errors.BadInput("TFG-2213", "not an identity", where=text[:32])
    return IdentityId(text)


def _no_route(path: str) -> errors.NotFound:
    return errors.NotFound("TFG-2212", "the ledger answers nothing here", where=path[:128])
