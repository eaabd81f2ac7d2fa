"""A small ledger for tests: people, kinds, a service in memory, and ways to lie."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from tfgrid.core import canonical, errors
from tfgrid.core.clock import Clock, ManualClock
from tfgrid.core.identity import Keyring
from tfgrid.core.rng import SeededRng
from tfgrid.core.schema import Count, Text, Value
from tfgrid.core.store import MemoryStore, Store
from tfgrid.core.transport import MemoryTransport, Request, Response
from tfgrid.ledger import bcdb

_T = TypeVar("_T")


class Note(Value, frozen=True):
    """A body for tests: sets a name to a text; `count` must not go down."""

    name: Annotated[str, Meta(pattern=r"\A[a-z0-9]{1,20}\Z")]
    text: Text
    count: Count = 0


def _check(view: bcdb.View, entry: bcdb.Entry, body: Note) -> None:
    kept = view.get("note", body.name)
    if kept is not None and canonical.parse(kept, Note).count > body.count:
        raise errors.Conflict("TFG-2004", "count goes down", where=body.name)
    if body.text == "explode":
        raise RuntimeError(entry.kind)


def _apply(view: bcdb.View, entry: bcdb.Entry, body: Note) -> None:
    if body.text == "remove":
        view.remove("note", body.name)
    else:
        view.put("note", body.name, canonical.encode(body))
    view.put("latest", entry.author, str(entry.order_time).encode())


def kinds() -> tuple[bcdb.Kind[Any], ...]:
    """The kinds of the test ledger."""
    return (
        bcdb.Kind(
            name="note.set", body_type=Note, check=_check, apply=_apply,
            tags=lambda body: (f"note:{body.name}",),
        ),
    )  # fmt: skip


REGISTRY = bcdb.registry(kinds())
RNG = SeededRng("notary")
PEOPLE = {name: Keyring.new(name, RNG) for name in ("founder", "notary", "alice", "bob", "eve")}


def run(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine to its end."""
    return asyncio.run(coroutine)


class Desk:
    """A ledger with its service, and one client of it."""

    def __init__(
        self, *, directory: Path | None = None, signed: Store | None = None,
        clock: Clock | None = None, keyring: str = "notary", **options: Any,
    ) -> None:  # fmt: skip
        self.clock = clock or ManualClock()
        self.signed = signed or MemoryStore()
        make: Callable[..., bcdb.SoloLedger] = bcdb.SoloLedger.create
        if directory is not None and (directory / "ledger.db").exists():
            make = bcdb.SoloLedger.open
        else:
            options["founder"] = PEOPLE["founder"]
        self.ledger = make(
            directory, checkpoint_keyrings=[PEOPLE[keyring]], registry=REGISTRY,
            clock=self.clock, signed=self.signed, **options,
        )  # fmt: skip
        self.service = bcdb.Service(self.ledger)
        self.transport = MemoryTransport(self.service.handle)
        self.trust = self.ledger.trust
        self.client = bcdb.Client(self.transport, self.trust)

    def close(self) -> None:
        """Close service and ledger."""
        self.service.close()
        self.ledger.close()

    def author(self, name: str) -> bcdb.Author:
        """An author of the test ledger, not yet registered."""
        return bcdb.Author(PEOPLE[name], self.client, self.clock, registry=REGISTRY)

    def follower(self, store: Store | None = None, **options: Any) -> bcdb.Follower:
        """A follower of the test ledger."""
        return bcdb.Follower(
            options.pop("transport", self.transport), options.pop("trust", self.trust),
            registry=REGISTRY, store=store or MemoryStore(), clock=self.clock, **options,
        )  # fmt: skip

    def signed_note(
        self, who: str, sequence: int, /, *, body: Value | bytes | None = None, **fields: Any
    ) -> tuple[bcdb.SignedEntry, bytes]:
        """A signed entry made by hand; `fields` replace those of an ordinary header."""
        content = Note(name="page", text="x") if body is None else body
        data = content if isinstance(content, bytes) else canonical.encode(content)
        header = bcdb.Header(
            ledger=self.trust.ledger, author=PEOPLE[who].identity, sequence=sequence,
            kind="note.set", body_hash=canonical.digest(data), body_size=len(data),
            tags=("note:page",), parent="", not_after=self.ledger.now_ms() + 60_000,
        )  # fmt: skip
        header = msgspec.structs.replace(header, **fields)
        return bcdb.sign_header(header, fields.get("keyring") or PEOPLE[who]), data


async def filled(desk: Desk, count: int, *, who: str = "alice") -> list[bcdb.Entry]:
    """Register somebody and let them write `count` notes."""
    author = desk.author(who)
    await author.register()
    return [
        await author.submit("note.set", Note(name=f"n{i % 7}", text=f"text {i}", count=i))
        for i in range(count)
    ]


class Meddler:
    """A server between client and service that changes answers."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.change: Callable[[Request, Response], Response] = lambda _request, answer: answer
        self.lost = 0
        self.requests: list[Request] = []

    async def handle(self, request: Request) -> Response:
        """Answer, after meddling."""
        self.requests.append(request)
        answer = await self.desk.service.handle(request)
        if self.lost > 0:
            self.lost -= 1
            raise errors.Unreachable("TFG-1301", "the answer was lost")
        return self.change(request, answer)

    def transport(self) -> MemoryTransport:
        """The way to this server."""
        return MemoryTransport(self.handle)


def edited(
    change: Callable[[Any], Any], *, path: str = ""
) -> Callable[[Request, Response], Response]:
    """A change of the JSON in answers whose path contains `path`."""

    def meddle(request: Request, answer: Response) -> Response:
        if path not in request.path or answer.status != 200:
            return answer
        document = msgspec.json.decode(answer.body)
        return Response(status=200, body=canonical.encode(change(document)))

    return meddle
