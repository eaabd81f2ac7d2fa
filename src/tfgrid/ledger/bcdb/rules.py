"""What is accepted into a log: one pure function for orderer, follower and bundle.

    for this ledger -> known kind -> body as declared -> tags -> signed by the author's keys
    -> next of its author -> in time -> after its parent -> the kind's own check

The first that fails is the refusal. Nothing here has a clock: "in time" compares the header's
`not_after` with the order time that the orderer stamped. Whoever holds an earlier checkpoint comes
to the same verdicts.

An entry whose body somebody chose not to fetch is checked by its header alone and changes only the
built-in tables.
"""

from __future__ import annotations

from typing import Any

from tfgrid.core import canonical, errors, identity, limits
from tfgrid.core.ids import Digest, IdentityId, LedgerId
from tfgrid.ledger.bcdb import kinds
from tfgrid.ledger.bcdb.kinds import Kind, Registry
from tfgrid.ledger.bcdb.model import Entry, Header, signed_entry_digest, zero_ledger
from tfgrid.ledger.bcdb.view import Overlay, View

__all__ = ["accept", "check", "check_body", "is_body", "next_sequence", "position_of"]


def position_of(view: View, digest: Digest | str) -> int | None:
    """Where the entry with this digest stands, or None."""
    found = view.get("entry", digest)
    return None if found is None else int(found)


def next_sequence(view: View, author: IdentityId) -> int:
    """The sequence that the author's next entry must have."""
    return int(view.get("author", author) or b"0")


def accept(
    view: View, registry: Registry, entry: Entry, body: bytes | None, *,
    ledger: LedgerId, subset: bool = False,
) -> None:  # fmt: skip
    """Check an entry and make its changes in the view; a refusal changes nothing.

    Args:
        view: the state before the entry.
        registry: the kinds that are known.
        entry: the entry, stamped and placed.
        body: its body, or None if it was not fetched.
        ledger: the ledger that it must be for.
        subset: whether entries before this one may be missing on purpose, as in a bundle: then the
            sequence must grow but may leap, and an unknown parent is no fault.

    Raises:
        errors.GridError: the refusal, see `check`.

    """
    content = check(view, registry, entry, body, ledger=ledger, subset=subset)
    changes = Overlay(view)
    header = entry.header
    changes.put("entry", entry.digest, str(entry.position).encode())
    changes.put("author", header.author, str(header.sequence + 1).encode())
    if content is not None:
        registry[header.kind].apply(changes, entry, content)
    changes.flush()


def check(
    view: View, registry: Registry, entry: Entry, body: bytes | None, *,
    ledger: LedgerId, subset: bool = False,
) -> Any:  # fmt: skip
    """Whether the entry may stand at its place; returns the parsed body (None without a body).

    Raises:
        errors.BadInput: TFG-2002 unknown kind, TFG-2003 other body than declared, TFG-2007 tags.
        errors.NotAllowed: TFG-2001 for another ledger, TFG-2005 out of time, TFG-2006 unknown
            parent, TFG-2011 unknown author.
        errors.Conflict: TFG-2004 not the author's next entry.
        errors.VerificationFailed: TFG-1413 not signed by the author's current keys.
        errors.GridError: whatever the kind's own check refuses.

    """
    header = entry.header
    _check_ledger(entry, ledger)
    kind = registry.get(header.kind)
    content = None
    if body is not None:
        if kind is None:
            raise errors.BadInput(
                "TFG-2002", f"no kind is named {header.kind}", where=header.kind,
                hint="this ledger knows: " + ", ".join(sorted(registry)),
            )  # fmt: skip
        content = check_body(kind, header, body)
    _check_signed(view, kind, entry, content)
    _check_sequence(view, header, subset=subset)
    _check_time(entry)
    if header.parent and not subset and position_of(view, header.parent) is None:
        raise errors.NotAllowed(
            "TFG-2006", "the entry's parent is not in the ledger", where=header.parent
        )
    if kind is not None and body is not None:
        kind.check(view, entry, content)
    return content


def is_body(header: Header, body: bytes) -> bool:
    """Whether a body is the one that its header declares."""
    return len(body) == header.body_size and canonical.digest(body) == header.body_hash


def check_body(kind: Kind[Any], header: Header, body: bytes) -> Any:
    """Hold that a body is what its header declares, and parse it."""
    if not is_body(header, body):
        raise errors.BadInput(
            "TFG-2003", f"the body has {len(body)} bytes or another hash than its header declares",
            where=header.kind, declared_bytes=header.body_size,
        )  # fmt: skip
    content = canonical.parse(body, kind.body_type)
    missing = set(kind.tags(content)) - set(header.tags)
    if missing or list(header.tags) != sorted(set(header.tags)):
        raise errors.BadInput(
            "TFG-2007", "tags must be sorted, written once, and name what the body is about",
            where=header.kind, hint="missing: " + (", ".join(sorted(missing)) or "none"),
        )  # fmt: skip
    return content


def _check_ledger(entry: Entry, ledger: LedgerId) -> None:
    genesis = entry.position == 0 and entry.header.kind == "ledger.genesis"
    if genesis and entry.header.ledger == zero_ledger and str(entry.digest) == ledger:
        return
    if genesis or entry.header.ledger != ledger or entry.position == 0:
        raise errors.NotAllowed(
            "TFG-2001", "the entry is signed for another ledger", where=entry.header.ledger,
            hint=f"this ledger is {ledger}",
        )  # fmt: skip


def _check_signed(view: View, kind: Kind[Any] | None, entry: Entry, content: Any) -> None:
    header = entry.header
    if kind is None or content is None:
        state = kinds.author_state(view, header)
    else:
        state = kind.signer(view, header, content)
    identity.check_signatures(state, signed_entry_digest(header), entry.signatures)


def _check_sequence(view: View, header: Header, *, subset: bool) -> None:
    expected = next_sequence(view, header.author)
    if header.sequence == expected or (subset and header.sequence > expected):
        return
    raise errors.Conflict(
        "TFG-2004", f"sequence {header.sequence} where {expected} is expected",
        where=header.author, hint="look what was written meanwhile, then sign again",
        expected=expected,
    )  # fmt: skip


def _check_time(entry: Entry) -> None:
    validity_ms = entry.header.not_after - entry.order_time
    if not 0 <= validity_ms <= limits.entry_validity_seconds_max * 1000:
        raise errors.NotAllowed(
            "TFG-2005",
            "the entry expired" if validity_ms < 0 else "the entry is valid for too long",
            where=entry.header.author, hint="set the clock right and sign again",
            order_time=entry.order_time,
        )  # fmt: skip
