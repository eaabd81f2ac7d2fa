"""Authors that submit safely.

A submission is safe to repeat: the signed bytes are kept until their fate is known, and the ledger
answers the same bytes with the same place. A sequence is given up only when another entry provably
stands there, so that no server can make an author sign the same thing twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from tfgrid.core import canonical, errors, identity
from tfgrid.core.clock import Clock
from tfgrid.core.identity import Keyring, State
from tfgrid.core.schema import Value
from tfgrid.ledger.bcdb.client import Client
from tfgrid.ledger.bcdb.kinds import Registry
from tfgrid.ledger.bcdb.mailbox import Message, sign_message
from tfgrid.ledger.bcdb.model import Entry, Header, SignedEntry, sign_header

__all__ = ["Author"]

_SEQUENCES_TRIED: Final = 4


class Author:
    """Writes to one ledger as one identity; its submissions go one after another.

    Args:
        keyring: signs; `rotate` changes it.
        client: the way to the ledger.
        clock: for `not_after` and messages; a follower's ledger time may be given to `post`.
        registry: adds the tags that a kind demands; without it the caller gives them all.

    """

    def __init__(
        self, keyring: Keyring, client: Client, clock: Clock, *, registry: Registry | None = None
    ) -> None:
        self.keyring = keyring
        self._client = client
        self._clock = clock
        self._registry = registry or {}
        self._turn = asyncio.Lock()
        self._next: int | None = None
        self._pending: tuple[SignedEntry, bytes] | None = None
        self._letter = 0

    async def register(self) -> State:
        """Make the identity known to the ledger; nothing happens if it is."""
        try:
            return await self._client.identity(self.keyring.identity)
        except errors.NotFound:
            await self.submit("identity.create", self.keyring.inception)
        return identity.incept(self.keyring.inception)

    async def submit(
        self, kind: str, body: Value, tags: Iterable[str] = (), parent: str = "",
        valid_seconds: int = 600,
    ) -> Entry:  # fmt: skip
        """Sign and submit an entry; returns it with its place, proven.

        Calling again with the same arguments after `errors.Unreachable` sends the same signed bytes
        again, so that the entry is in the ledger once.

        Raises:
            errors.GridError: the refusal, see `rules.check`.
            errors.Unreachable: TFG-1301, whether the entry was accepted is not known.

        """
        data = canonical.encode(body)
        known = self._registry.get(kind)
        all_tags = tuple(sorted({*tags, *(known.tags(body) if known else ())}))
        async with self._turn:
            settled = await self._settle()
            if settled is not None and _is_same(settled.header, kind, data, all_tags, parent):
                return settled
            return await self._place(kind, data, all_tags, parent, valid_seconds)

    async def rotate(self) -> Keyring:
        """Rotate to the promised keys; whoever keeps the keyring must save the new one."""
        state = await self._client.identity(self.keyring.identity)
        event, new = self.keyring.rotated(state)
        old, self.keyring = self.keyring, new
        try:
            await self.submit("identity.rotate", event)
        except errors.Unreachable:
            raise
        except errors.GridError:
            self.keyring = old
            raise
        return new

    async def post(
        self, box: str, payload: str, *, ttl_seconds: int, at_ms: int | None = None
    ) -> Message:
        """Put a message into a box of the author's own, in place of the one before it."""
        at = self._clock.now_ms() if at_ms is None else at_ms
        self._letter = max(self._letter + 1, at)
        message = Message(
            ledger=self._client.trust.ledger, author=self.keyring.identity, box=box,
            sequence=self._letter, at=at, ttl_seconds=ttl_seconds, payload=payload,
        )  # fmt: skip
        await self._client.post(sign_message(message, self.keyring))
        return message

    async def _settle(self) -> Entry | None:
        """The fate of the entry whose answer was lost: its place, or None if refused."""
        if self._pending is None:
            return None
        try:
            return await self._send(*self._pending)
        except errors.GridError as fault:
            if fault.retry:
                raise
            return None

    async def _place(
        self, kind: str, body: bytes, tags: tuple[str, ...], parent: str, valid_seconds: int
    ) -> Entry:
        for _attempt in range(_SEQUENCES_TRIED):
            header = Header(
                ledger=self._client.trust.ledger, author=self.keyring.identity,
                sequence=await self._sequence(), kind=kind, body_hash=canonical.digest(body),
                body_size=len(body), tags=tags, parent=parent,
                not_after=self._clock.now_ms() + valid_seconds * 1000,
            )  # fmt: skip
            try:
                return await self._send(sign_header(header, self.keyring), body)
            except errors.Conflict as fault:
                if fault.code != "TFG-2004" or not await self._is_taken(header.sequence):
                    raise
                self._next = None
        raise errors.Busy(
            "TFG-2214", "others write as this identity at the same time", where=header.author,
            hint="give each program an identity of its own",
        )  # fmt: skip

    async def _sequence(self) -> int:
        if self._next is None:
            self._next = (await self._client.standing(self.keyring.identity)).next_sequence
        return self._next

    async def _is_taken(self, sequence: int) -> bool:
        """Whether another entry provably stands there, so that what was signed for it is void."""
        try:
            await self._client.at_sequence(self.keyring.identity, sequence)
        except errors.NotFound:
            return False
        return True

    async def _send(self, signed: SignedEntry, body: bytes) -> Entry:
        """Submit, once more if the answer is lost, and remember what is not answered yet."""
        self._pending = (signed, body)
        try:
            try:
                entry = await self._client.submit(signed, body)
            except errors.Unreachable:
                entry = await self._client.submit(signed, body)
        except errors.GridError as fault:
            if not fault.retry:
                self._pending = None
            raise
        self._pending = None
        self._next = entry.header.sequence + 1
        return entry


def _is_same(header: Header, kind: str, body: bytes, tags: tuple[str, ...], parent: str) -> bool:
    asked = (kind, canonical.digest(body), tags, parent)
    return (header.kind, header.body_hash, header.tags, header.parent) == asked
