"""Heartbeats, status and log tails: signed, latest only, expiring, off the log.

    box      "status:<node id>", "logs:<contract>/<workload>", ...; everyone's boxes are their own
    message  replaces the author's earlier one in the same box; its sequence must grow
    letter   a message with its signatures: what is posted, kept and read

The log holds transitions; what repeats goes here and is gone when the server restarts, since the
next heartbeat brings it back. `at` is the author's reading of the ledger's time, and `at + ttl` is
when the message counts as absent, for the server and for every reader, so that an old heartbeat
shown again says nothing.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from msgspec import Meta

from tfgrid.core import canonical, errors, identity, ids, keys, limits
from tfgrid.core.identity import Keyring, State
from tfgrid.core.ids import IdentityId, LedgerId
from tfgrid.core.schema import Count, Moment, Value

__all__ = ["Letter", "Letters", "Mailbox", "Message", "check_letter", "sign_message"]

Box: TypeAlias = Annotated[str, Meta(pattern=r"\A[a-z][a-z0-9-]*:[A-Za-z0-9._/-]{1,150}\Z")]
Payload: TypeAlias = Annotated[str, Meta(max_length=limits.mailbox_message_bytes_max)]


class Message(Value, frozen=True):
    """What an author says in a box; `payload` is text of the box's own format."""

    ledger: ids.Ledger
    author: ids.Author
    box: Box
    sequence: Count
    at: Moment
    ttl_seconds: Annotated[int, Meta(ge=1, le=limits.mailbox_ttl_seconds_max)]
    payload: Payload

    def is_current(self, now_ms: int) -> bool:
        """Whether the message still counts at this ledger time."""
        return now_ms <= self.at + self.ttl_seconds * 1000


class Letter(Value, frozen=True):
    """A signed message."""

    message: Message
    signatures: identity.Signatures


class Letters(Value, frozen=True):
    """Answer: letters by box and author; `more` says that the server left some out."""

    letters: Annotated[tuple[Letter, ...], Meta(max_length=limits.mailbox_page_messages_max)]
    more: bool


def _digest(message: Message) -> bytes:
    return keys.signed_digest(
        object_type="message", action="mailbox", ledger=message.ledger,
        data=canonical.encode(message),
    )  # fmt: skip


def sign_message(message: Message, keyring: Keyring) -> Letter:
    """Sign a message as its author."""
    return Letter(message=message, signatures=keyring.sign(_digest(message)))


def check_letter(letter: Letter, state: State | None, *, ledger: LedgerId) -> None:
    """Hold that the author, as `state` has it, signed the letter for this ledger.

    Raises:
        errors.NotAllowed: TFG-2223, another ledger or an unknown author.
        errors.VerificationFailed: TFG-1413.

    """
    message = letter.message
    if message.ledger != ledger or state is None or state.identity != message.author:
        raise errors.NotAllowed(
            "TFG-2223", "the message is for another ledger or by no identity of this one",
            where=message.author, hint="register the identity first (identity.create)",
        )  # fmt: skip
    identity.check_signatures(state, _digest(message), letter.signatures)


class Mailbox:
    """The letters of one server, in memory, bounded in number, bytes and boxes of an author."""

    def __init__(
        self, *, letters_max: int = limits.mailbox_messages_max,
        bytes_max: int = limits.mailbox_bytes_max,
    ) -> None:  # fmt: skip
        self._letters: dict[tuple[str, IdentityId], Letter] = {}
        self._sizes: dict[tuple[str, IdentityId], int] = {}
        self._boxes: dict[IdentityId, int] = {}
        self._bytes = 0
        self._letters_max = letters_max
        self._bytes_max = bytes_max

    def post(self, letter: Letter, *, now_ms: int) -> None:
        """Keep a letter whose signatures were checked, in place of the one before it.

        Raises:
            errors.Conflict: TFG-2221, not newer than the one kept.
            errors.NotAllowed: TFG-2224, not of this time.
            errors.BadInput: TFG-2225, the payload is too large.
            errors.Busy: TFG-2222, the mailbox or the author's share of it is full.

        """
        message = letter.message
        skew_ms = limits.mailbox_clock_skew_seconds * 1000
        if message.at > now_ms + skew_ms or not message.is_current(now_ms):
            raise errors.NotAllowed(
                "TFG-2224", "the message is not of this time", where=message.box, order_time=now_ms
            )
        size = len(message.payload.encode())
        if size > limits.mailbox_message_bytes_max:
            raise errors.BadInput(
                "TFG-2225", f"the payload has {size} bytes, the limit is "
                f"{limits.mailbox_message_bytes_max}", where=message.box,
            )  # fmt: skip
        key = (message.box, message.author)
        kept = self._letters.get(key)
        if kept == letter:
            return
        if kept is not None and message.sequence <= kept.message.sequence:
            raise errors.Conflict(
                "TFG-2221", f"message {kept.message.sequence} is kept already", where=message.box,
                hint="use a larger sequence", expected=kept.message.sequence + 1,
            )  # fmt: skip
        self._make_room(key, size, now_ms)
        self._forget(key)
        self._letters[key] = letter
        self._sizes[key] = size
        self._boxes[message.author] = self._boxes.get(message.author, 0) + 1
        self._bytes += size

    def read(self, *, prefix: str, author: str, now_ms: int) -> Letters:
        """The current letters in boxes that start with `prefix`, of one author if one is given."""
        found = sorted(
            key for key, letter in self._letters.items()
            if key[0].startswith(prefix) and author in {"", key[1]}
            and letter.message.is_current(now_ms)
        )  # fmt: skip
        page: list[Letter] = []
        left = limits.feed_page_bytes_max
        for key in found[: limits.mailbox_page_messages_max]:
            left -= self._sizes[key]
            if left < 0:
                break
            page.append(self._letters[key])
        return Letters(letters=tuple(page), more=len(page) < len(found))

    def _make_room(self, key: tuple[str, IdentityId], size: int, now_ms: int) -> None:
        if self._fits(key, size):
            return
        for other in [k for k, v in self._letters.items() if not v.message.is_current(now_ms)]:
            self._forget(other)
        if not self._fits(key, size):
            raise errors.Busy(
                "TFG-2222", "the mailbox, or this author's share of it, is full", where=key[0],
                hint="let older messages expire",
            )  # fmt: skip

    def _fits(self, key: tuple[str, IdentityId], size: int) -> bool:
        old = key in self._letters
        return (
            self._bytes - self._sizes.get(key, 0) + size <= self._bytes_max
            and len(self._letters) - old < self._letters_max
            and self._boxes.get(key[1], 0) - old < limits.mailbox_boxes_per_author_max
        )

    def _forget(self, key: tuple[str, IdentityId]) -> None:
        if self._letters.pop(key, None) is not None:
            self._bytes -= self._sizes.pop(key)
            left = self._boxes[key[1]] - 1
            if left:
                self._boxes[key[1]] = left
            else:
                del self._boxes[key[1]]
