"""Record kinds and their registry; genesis and identity are built in, all others are handed in.

A kind is a name, the type of its body and two functions of (view, entry, body): `check` reads and
raises, `apply` changes the view. Neither has a clock, chance or I/O: the time is
`entry.order_time`, so that every follower comes to the same verdict.

Built-in tables of the view: `identity` (id -> canonical State), `identity-event` (id/index ->
position), `author` (id -> next sequence), `entry` (digest -> position).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from tfgrid.core import canonical, errors, identity
from tfgrid.core.identity import Inception, Rotation, State
from tfgrid.core.ids import IdentityId
from tfgrid.ledger.bcdb.model import Entry, Genesis, Header
from tfgrid.ledger.bcdb.view import View

__all__ = ["Kind", "Registry", "author_state", "identity_events", "identity_state", "registry"]

Body = TypeVar("Body")


def _no_tags(_body: Any) -> tuple[str, ...]:
    return ()


def author_state(view: View, header: Header, _body: Any = None) -> State:
    """The author's keys, as they stand in the view."""
    state = identity_state(view, header.author)
    if state is None:
        raise errors.NotAllowed(
            "TFG-2011", "the author is not an identity of this ledger", where=header.author,
            hint="register the identity first (identity.create)",
        )  # fmt: skip
    return state


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind(Generic[Body]):
    """One kind of record.

    Args:
        name: such as `farm.create`.
        body_type: a `schema.Value`; the body must be its canonical form.
        check: raises a `GridError` if the entry must not be accepted; reads only.
        apply: changes the view for an accepted entry.
        tags: the tags that an entry with this body must carry.
        signer: whose keys must have signed; the author's as the view has them, but for built-in
            kinds.

    """

    name: str
    body_type: type[Body]
    check: Callable[[View, Entry, Body], None]
    apply: Callable[[View, Entry, Body], None]
    tags: Callable[[Body], tuple[str, ...]] = field(default=_no_tags)
    signer: Callable[[View, Header, Body], State] = field(default=author_state)


Registry = Mapping[str, Kind[Any]]
"""Kinds by name."""


def registry(*groups: Iterable[Kind[Any]]) -> Registry:
    """The built-in kinds with others added; a name may be taken once."""
    kinds: dict[str, Kind[Any]] = {}
    for group in (_BUILT_IN, *groups):
        for kind in group:
            assert kind.name not in kinds, f"two kinds are named {kind.name}"
            kinds[kind.name] = kind
    return MappingProxyType(kinds)


def identity_state(view: View, who: IdentityId) -> State | None:
    """An identity as it stands in a view, or None."""
    data = view.get("identity", who)
    return None if data is None else canonical.parse(data, State)


def identity_events(view: View, who: IdentityId) -> tuple[int, ...]:
    """The positions of an identity's events, in order; empty if it is unknown."""
    return tuple(int(value) for _key, value in view.scan("identity-event", f"{who}/"))


def _store_state(view: View, entry: Entry, state: State) -> None:
    view.put("identity", state.identity, canonical.encode(state))
    view.put("identity-event", f"{state.identity}/{state.index:08}", str(entry.position).encode())


def _incepted(view: View, header: Header, body: Inception) -> State:
    state = identity.incept(body)
    if state.identity != header.author or header.sequence != 0:
        raise errors.NotAllowed(
            "TFG-2031", "an identity registers itself, with its first entry", where=header.author
        )
    if identity_state(view, state.identity) is not None:
        raise errors.Conflict("TFG-2032", "the identity is registered already", where=header.author)
    return state


def _create_apply(view: View, entry: Entry, body: Inception) -> None:
    _store_state(view, entry, identity.incept(body))


def _rotated(view: View, header: Header, body: Rotation) -> State:
    if body.identity != header.author:
        raise errors.NotAllowed(
            "TFG-2033", "only an identity itself rotates its keys", where=header.author
        )
    return identity.rotate(author_state(view, header, body), body)


def _rotate_apply(view: View, entry: Entry, body: Rotation) -> None:
    _store_state(view, entry, identity.rotate(author_state(view, entry.header, body), body))


def _founded(_view: View, header: Header, body: Genesis) -> State:
    state = identity.incept(body.founder)
    if state.identity != header.author or header.sequence != 0:
        raise errors.NotAllowed(
            "TFG-2034", "the founder signs the genesis as its first entry", where=header.author
        )
    return state


def _genesis_check(_view: View, entry: Entry, body: Genesis) -> None:
    if entry.position != 0:
        raise errors.NotAllowed(
            "TFG-2035", "a ledger has one genesis, at position 0", where=str(entry.position)
        )
    if body.checkpoint_threshold > len(set(body.checkpoint_keys)):
        raise errors.BadInput(
            "TFG-2036", "fewer checkpoint keys than the threshold asks for", where="genesis"
        )


def _genesis_apply(view: View, entry: Entry, body: Genesis) -> None:
    _store_state(view, entry, identity.incept(body.founder))


def _nothing(_view: View, _entry: Entry, _body: Any) -> None:
    """The signer rule has said all."""


_BUILT_IN: tuple[Kind[Any], ...] = (
    Kind(
        name="ledger.genesis", body_type=Genesis,
        check=_genesis_check, apply=_genesis_apply, signer=_founded,
    ),
    Kind(
        name="identity.create", body_type=Inception,
        check=_nothing, apply=_create_apply, signer=_incepted,
    ),
    Kind(
        name="identity.rotate", body_type=Rotation,
        check=_nothing, apply=_rotate_apply, signer=_rotated,
    ),
)  # fmt: skip
