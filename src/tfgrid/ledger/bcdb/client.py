"""Clients that verify whatever they are told.

A client pins a `Trust` and believes nothing else: every answer carries a signed checkpoint and a
proof, each checkpoint must be consistent with the one before it, and every body must hash to what
its header says. There is no way to ask without verifying. What a single answer cannot show is that
nothing was left out of a search; a `Follower` can.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, TypeVar

from tfgrid.core import canonical, errors, identity, limits, merkle
from tfgrid.core.identity import Inception, Rotation, State
from tfgrid.core.ids import IdentityId, LedgerId
from tfgrid.core.schema import Value
from tfgrid.core.store import Store
from tfgrid.core.transport import Request, Response, Transport, fault_in
from tfgrid.ledger.bcdb import note
from tfgrid.ledger.bcdb.bundle import body_from, trust_from, verify_bundle, verify_placed
from tfgrid.ledger.bcdb.kinds import identity_state
from tfgrid.ledger.bcdb.mailbox import Letter, Letters, Message, check_letter
from tfgrid.ledger.bcdb.model import (
    Bodies,
    Checkpoint,
    Entry,
    Equivocation,
    Found,
    Genesis,
    Head,
    Inclusion,
    SignedEntry,
    Standing,
    Trust,
    signed_entry_digest,
)
from tfgrid.ledger.bcdb.view import View

__all__ = [
    "Client",
    "ask",
    "check_consistency",
    "discover",
    "fetch_bodies",
]

_T = TypeVar("_T", bound=Value)


async def ask(
    transport: Transport, path: str, form: type[_T], /, *, timeout_seconds: float = 10,
    data: bytes = b"", **query: object,
) -> _T:  # fmt: skip
    """Ask a ledger server and parse its answer; data makes it a POST.

    Raises:
        errors.VerificationFailed: TFG-2113, the answer is not of the form that was asked for.
        errors.GridError: whatever the server refuses with.

    """
    answer = await _send(transport, path, data=data, timeout_seconds=timeout_seconds, **query)
    try:
        return canonical.parse(answer.body, form, bytes_max=limits.response_bytes_max)
    except errors.BadInput as fault:
        raise errors.VerificationFailed(
            "TFG-2113", f"the ledger's answer is not what was asked for: {fault.what}", where=path
        ) from fault


async def _send(
    transport: Transport, path: str, /, *, data: bytes = b"", timeout_seconds: float = 10,
    **query: object,
) -> Response:  # fmt: skip
    request = Request(
        method="POST" if data else "GET", path=f"/v1/{path}", body=data,
        query={k: str(v) for k, v in query.items() if v not in {"", None}},
    )  # fmt: skip
    answer = await transport.send(request, timeout_seconds=timeout_seconds)
    if answer.status not in {200, 204}:
        raise fault_in(answer)
    return answer


async def discover(transport: Transport, ledger: LedgerId) -> Trust:
    """The trust of a ledger of which only the id is known, from its genesis.

    Raises:
        errors.VerificationFailed: TFG-2132, the server has another ledger.

    """
    answer = await ask(transport, "entries/0", Inclusion, body=1)
    trust = trust_from(answer.entry, ledger)
    verify_placed(answer.entry, note.read(answer.checkpoint, trust))
    return trust


class Client:
    """Verified access to one ledger.

    Args:
        transport: the way to its server.
        trust: whose checkpoints count.
        store: keeps the newest checkpoint from one run to the next, if given.

    """

    def __init__(self, transport: Transport, trust: Trust, *, store: Store | None = None) -> None:
        self.trust: Final = trust
        self._transport = transport
        self._store = store
        self._states: dict[IdentityId, State] = {}
        self._name = f"checkpoints/{trust.ledger[:16]}"
        kept = store.read(self._name) if store else None
        self.head: Checkpoint | None = None
        if kept is not None:
            self.head = note.read(kept.decode("utf-8", "replace"), trust)

    async def checkpoint(self) -> Checkpoint:
        """The ledger's newest checkpoint."""
        known = self._known
        answer = await ask(self._transport, "checkpoint", Head, known=known)
        return await self._believe(answer.checkpoint, answer.consistency, known)

    async def submit(self, signed: SignedEntry, body: bytes) -> Entry:
        """Submit a signed entry and its body; repeating the same bytes is safe.

        Raises:
            errors.GridError: the refusal, see `rules.check` and `Orderer.submit`.

        """
        known, data = self._known, canonical.encode(signed) + b"\n" + body
        answer = await ask(self._transport, "entries", Inclusion, data=data, known=known)
        entry, _body = await self._included(answer, known)
        if entry.header != signed.header:
            raise _not_asked("entries")
        return entry

    async def entry(self, name: int | str) -> tuple[Entry, bytes]:
        """An entry, by position or digest, and its body.

        Raises:
            errors.NotFound: TFG-2211.

        """
        known = self._known
        answer = await ask(self._transport, f"entries/{name}", Inclusion, known=known, body=1)
        entry, body = await self._included(answer, known)
        if name not in {entry.position, entry.digest} or body is None:
            raise _not_asked(f"entries/{name}")
        return entry, body

    async def find(
        self, *, kind: str = "", tag: str = "", author: str = "", first: int = 0,
        limit: int = limits.feed_page_entries_max,
    ) -> list[tuple[Entry, bytes]]:  # fmt: skip
        """Up to `limit` entries that match, from position `first` on, with their bodies."""
        found: list[tuple[Entry, bytes]] = []
        more = True
        while more and len(found) < limit:
            known = self._known
            answer = await ask(
                self._transport, "entries", Found, kind=kind, tag=tag, author=author, first=first,
                limit=limit - len(found), known=known, body=1,
            )  # fmt: skip
            checkpoint = await self._believe(answer.checkpoint, answer.consistency, known)
            for placed in answer.entries:
                entry, body = verify_placed(placed, checkpoint)
                if body is None or entry.position < first or not _matches(entry, kind, tag, author):
                    raise _not_asked("entries")
                found.append((entry, body))
                first = entry.position + 1
            more = answer.more and bool(answer.entries)
        return found[:limit]

    async def bodies(self, entries: Sequence[Entry]) -> list[bytes]:
        """The bodies of entries that are verified already."""
        return await fetch_bodies(self._transport, entries)

    async def identity(self, who: IdentityId) -> State:
        """An identity by its chain of events, which proves itself.

        Raises:
            errors.NotFound: TFG-2211, no identity of this ledger.
            errors.VerificationFailed: TFG-2113, the events are not its chain.

        """
        return (await self._chain(who))[-1]

    async def equivocation(self, who: IdentityId) -> tuple[Entry, SignedEntry] | None:
        """The proof that an author signed two entries with one sequence, or None.

        Returns:
            the entry in the ledger, and the other one that the same identity signed.

        Raises:
            errors.VerificationFailed: TFG-2113, what the server shows proves nothing.

        """
        try:
            shown = await ask(self._transport, f"equivocations/{who}", Equivocation)
        except errors.NotFound:
            return None
        other = shown.other
        entry = await self.at_sequence(who, other.header.sequence)
        same = entry.header == other.header or other.header.author != who
        digest = signed_entry_digest(other.header)
        if same or not any(_signed(state, digest, other) for state in await self._chain(who)):
            raise _not_asked(f"equivocations/{who}")
        return entry, other

    async def standing(self, who: IdentityId) -> Standing:
        """Where an author stands, as the server says; a wrong answer only gets entries refused."""
        answer = await ask(self._transport, f"authors/{who}", Standing)
        if answer.author != who:
            raise _not_asked(f"authors/{who}")
        return answer

    async def at_sequence(self, who: IdentityId, sequence: int) -> Entry:
        """The author's entry with this sequence.

        Raises:
            errors.NotFound: TFG-2211.

        """
        known = self._known
        answer = await ask(self._transport, f"authors/{who}/{sequence}", Inclusion, known=known)
        entry, _body = await self._included(answer, known)
        if (entry.author, entry.header.sequence) != (who, sequence):
            raise _not_asked(f"authors/{who}")
        return entry

    async def post(self, letter: Letter) -> None:
        """Put a letter into the mailbox; see `Mailbox.post` for the refusals."""
        await _send(self._transport, "mailbox", data=canonical.encode(letter))

    async def messages(
        self, prefix: str = "", *, author: str = "", view: View | None = None
    ) -> list[Message]:
        """The current messages in boxes that start with `prefix`.

        A letter whose signature does not hold is left out, as the server could have done. The keys
        of authors come from `view` (a follower's) or else from the server, by their chains.
        """
        answer = await ask(self._transport, "mailbox", Letters, prefix=prefix, author=author)
        checkpoint = await self.checkpoint()
        good = []
        for letter in answer.letters:
            message = letter.message
            asked = message.box.startswith(prefix) and author in {"", message.author}
            current = message.is_current(checkpoint.order_time)
            if asked and current and await self._is_signed(letter, view):
                good.append(message)
        return good

    async def bundle(self, positions: Iterable[int]) -> bytes:
        """A bundle that proves the entries at these positions, verified, as a file holds it."""
        wanted = sorted(set(positions))
        names = ",".join(map(str, wanted))
        data = (await _send(self._transport, "bundle", positions=names)).body
        verified = verify_bundle(data, ledger=self.trust.ledger)
        if not set(wanted) <= {entry.position for entry in verified.entries}:
            raise _not_asked("bundle")
        return data

    @property
    def _known(self) -> int:
        return self.head.size if self.head else 0

    async def _chain(self, who: IdentityId) -> list[State]:
        """Each state of an identity, from its inception on."""
        states: list[State] = []
        for position in (await self.standing(who)).events:
            entry, body = await self.entry(position)
            states.append(_next_state(states[-1] if states else None, entry, body))
        if not states:
            raise errors.NotFound("TFG-2211", "no identity of this ledger", where=who)
        if states[-1].identity != who:
            raise _not_asked(f"authors/{who}")
        self._states[who] = states[-1]
        return states

    async def _included(self, answer: Inclusion, known: int) -> tuple[Entry, bytes | None]:
        checkpoint = await self._believe(answer.checkpoint, answer.consistency, known)
        return verify_placed(answer.entry, checkpoint)

    async def _believe(self, text: str, proof: Sequence[str], known: int) -> Checkpoint:
        """The checkpoint in a note, if it belongs to one history with the newest one believed."""
        checkpoint = note.read(text, self.trust)
        while self.head is not None:
            head = self.head
            if checkpoint.size < head.size and checkpoint.order_time > head.order_time:
                raise errors.VerificationFailed(
                    "TFG-2125", f"the ledger shrank from {head.size} to {checkpoint.size} entries",
                    where=head.origin,
                )  # fmt: skip
            old, new = sorted((head, checkpoint), key=lambda c: c.size)
            if known != old.size or new is head:
                # The head moved while this answer was under way; join the two as they are now.
                proof = await self._joining(old.size, new.size)
                known = old.size
            check_consistency(old, new, proof)
            if self.head is head:
                break
        if self.head is None or _is_newer(checkpoint, self.head):
            self._keep(text, checkpoint)
        return checkpoint

    async def _joining(self, old: int, new: int) -> Sequence[str]:
        if old == new:
            return ()
        return (await ask(self._transport, "consistency", Head, old=old, new=new)).consistency

    def _keep(self, text: str, checkpoint: Checkpoint) -> None:
        moved = self.head is None or self.head.size != checkpoint.size
        self.head = checkpoint
        if self._store and moved:
            self._store.write(self._name, text.encode())

    async def _is_signed(self, letter: Letter, view: View | None) -> bool:
        author = letter.message.author
        states = [identity_state(view, author)] if view else [self._states.get(author), None]
        for state in states:
            try:
                known = state or (await self.identity(author) if view is None else None)
                check_letter(letter, known, ledger=self.trust.ledger)
            except (errors.VerificationFailed, errors.NotAllowed, errors.NotFound):
                continue
            return True
        return False


def check_consistency(old: Checkpoint, new: Checkpoint, proof: Sequence[str]) -> None:
    """Hold that the log of `new` begins with the whole log of `old`.

    Raises:
        errors.VerificationFailed: TFG-2112.

    """
    held = merkle.verify_consistency(
        old_size=old.size, new_size=new.size, old_root=canonical.bytes_from(old.root),
        new_root=canonical.bytes_from(new.root), proof=[canonical.bytes_from(t) for t in proof],
    )  # fmt: skip
    if not held:
        raise errors.VerificationFailed(
            "TFG-2112", f"the log of {new.size} entries does not continue that of {old.size}",
            where=new.origin, hint="the ledger's history was rewritten, or the answer was damaged",
        )  # fmt: skip


async def fetch_bodies(transport: Transport, entries: Sequence[Entry]) -> list[bytes]:
    """The bodies of verified entries, each held against its hash.

    Raises:
        errors.VerificationFailed: TFG-2114, other bytes; TFG-2113, none.

    """
    bodies: list[bytes] = []
    while len(bodies) < len(entries):
        wanted = entries[len(bodies) :][: limits.feed_page_entries_max]
        names = ",".join(str(entry.position) for entry in wanted)
        answer = await ask(transport, "bodies", Bodies, positions=names)
        if not 0 < len(answer.bodies) <= len(wanted):
            raise _not_asked("bodies")
        given = wanted[: len(answer.bodies)]
        bodies += map(body_from, given, answer.bodies)
    return bodies


def _is_newer(checkpoint: Checkpoint, head: Checkpoint) -> bool:
    return checkpoint.size >= head.size and checkpoint.order_time >= head.order_time


def _matches(entry: Entry, kind: str, tag: str, author: str) -> bool:
    return (
        kind in {"", entry.kind}
        and author in {"", entry.author}
        and (not tag or tag in entry.header.tags)
    )


def _next_state(state: State | None, entry: Entry, body: bytes) -> State:
    """The identity after one more of its events."""
    if entry.kind == "identity.rotate" and state is not None:
        return identity.rotate(state, canonical.parse(body, Rotation))
    if entry.kind == "identity.create" and state is None:
        return identity.incept(canonical.parse(body, Inception))
    if entry.kind == "ledger.genesis" and state is None:
        return identity.incept(canonical.parse(body, Genesis).founder)
    raise _not_asked(f"authors/{entry.author}")


def _signed(state: State, digest: bytes, signed: SignedEntry) -> bool:
    try:
        identity.check_signatures(state, digest, signed.signatures)
    except errors.VerificationFailed:
        return False
    return True


def _not_asked(path: str) -> errors.VerificationFailed:
    return errors.VerificationFailed(
        "TFG-2113", "the ledger's answer is not what was asked for", where=path
    )
