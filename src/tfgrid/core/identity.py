"""Who somebody is: a chain of events from an inception.

An identity is a person, 3Bot, expert, farm or node. Its id is the hash of its **inception** event:
keys, threshold and the hash of the next keys (pre-rotation). A **rotation** reveals those next keys
and is signed by them, so that a thief of today's keys cannot take the identity. The chain stands by
itself and may be posted to any ledger; whether a signature counts is judged by the identity's state
at a position in that ledger.

    Inception --> State(0) --Rotation--> State(1) --Rotation--> ...

A signature names the index of its key, and distinct keys are counted once against the threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta

from tfgrid.core import canonical, errors, keys, limits
from tfgrid.core.ids import Author, Digest, Digested, IdentityId
from tfgrid.core.rng import Rng
from tfgrid.core.schema import Base64, Count, Name, Value
from tfgrid.core.store import Store

__all__ = [
    "Inception",
    "Keyring",
    "Rotation",
    "Signature",
    "State",
    "check_signatures",
    "commitment",
    "incept",
    "open_keyring",
    "rotate",
    "save_keyring",
]

PublicKey = Annotated[Base64, Meta(min_length=43, max_length=43)]
KeySet = Annotated[tuple[PublicKey, ...], Meta(min_length=1, max_length=limits.identity_keys_max)]
Threshold = Annotated[int, Meta(ge=1, le=limits.identity_keys_max)]


class Signature(Value, frozen=True):
    """A signature by the key at `key` in the signer's current key set."""

    key: Annotated[int, Meta(ge=0, lt=limits.identity_keys_max)]
    signature: Annotated[Base64, Meta(min_length=86, max_length=86)]


Signatures = Annotated[
    tuple[Signature, ...], Meta(min_length=1, max_length=limits.identity_keys_max)
]


class Inception(Value, frozen=True, tag="inception", tag_field="type"):
    """The first event; its hash is the identity's id. `name` is for people and proves nothing."""

    name: Name
    keys: KeySet
    threshold: Threshold
    next: Digested


class Rotation(Value, frozen=True, tag="rotation", tag_field="type"):
    """The next event: reveals the keys whose hash the event before it gave."""

    identity: Author
    index: Count
    previous: Digested
    keys: KeySet
    threshold: Threshold
    next: Digested


class State(Value, frozen=True):
    """An identity as of its latest event."""

    identity: Author
    name: Name
    index: Count
    event: Digested
    keys: KeySet
    threshold: Threshold
    next: Digested


class _KeyCommitment(Value, frozen=True):
    keys: KeySet
    threshold: Threshold


def commitment(public_keys: Sequence[str], threshold: int) -> Digest:
    """The hash by which an event commits to the next keys."""
    return canonical.digest(
        canonical.encode(_KeyCommitment(keys=tuple(public_keys), threshold=threshold))
    )


def incept(event: Inception) -> State:
    """The state after an inception.

    Raises:
        errors.BadInput: TFG-1411 keys repeat, TFG-1415 the threshold cannot be met, TFG-1416 a key
        is not a
            point that only its owner can sign for.

    """
    _check_keys(event.keys, event.threshold)
    name = canonical.digest(canonical.encode(event))
    return State(
        identity=IdentityId(name), name=event.name, index=0, event=name,
        keys=event.keys, threshold=event.threshold, next=event.next,
    )  # fmt: skip


def rotate(state: State, event: Rotation) -> State:
    """The state after a rotation; the caller checks that the new keys signed it.

    Raises:
        errors.NotAllowed: TFG-1412 not the next event of this identity, TFG-1417 not the keys that
        were
            promised, TFG-1418 one event too many.
        errors.BadInput: as `incept`.

    """
    follows = (state.identity, state.index + 1, state.event)
    if (event.identity, event.index, event.previous) != follows:
        raise errors.NotAllowed(
            "TFG-1412", f"not event {state.index + 1} of this identity", where=state.identity
        )
    if commitment(event.keys, event.threshold) != state.next:
        raise errors.NotAllowed(
            "TFG-1417", "these are not the keys that the event before promised",
            where=state.identity,
        )  # fmt: skip
    if event.index >= limits.identity_events_max:
        raise errors.NotAllowed(
            "TFG-1418", f"an identity has at most {limits.identity_events_max} events",
            where=state.identity,
        )  # fmt: skip
    _check_keys(event.keys, event.threshold)
    return State(
        identity=state.identity, name=state.name, index=event.index,
        event=canonical.digest(canonical.encode(event)),
        keys=event.keys, threshold=event.threshold, next=event.next,
    )  # fmt: skip


def _check_keys(public_keys: Sequence[str], threshold: int) -> None:
    if len(set(public_keys)) != len(public_keys):
        raise errors.BadInput("TFG-1411", "a key stands twice in one key set")
    if threshold > len(public_keys):
        raise errors.BadInput("TFG-1415", f"{threshold} of {len(public_keys)} keys can never sign")
    for text in public_keys:
        if not keys.is_public_key(canonical.bytes_from(text, size=keys.public_key_bytes)):
            raise errors.BadInput("TFG-1416", "not a usable Ed25519 public key", where=text)


def check_signatures(state: State, digest: bytes, signatures: Sequence[Signature]) -> None:
    """Hold that enough distinct keys of the identity signed the digest, and none signed badly.

    Raises:
        errors.VerificationFailed: TFG-1413 a signature does not hold, TFG-1419 a key signed twice,
        TFG-1420
            fewer keys than the threshold signed.

    """
    signers = {signature.key for signature in signatures}
    if len(signers) != len(signatures):
        raise errors.VerificationFailed(
            "TFG-1419", "a key signed more than once", where=state.identity
        )
    for signature in signatures:
        known = signature.key < len(state.keys)
        if not known or not keys.verify(
            canonical.bytes_from(state.keys[signature.key]),
            digest,
            canonical.bytes_from(signature.signature),
        ):
            raise errors.VerificationFailed(
                "TFG-1413", f"signature of key {signature.key} does not cover these bytes",
                where=state.identity, hint="sign with the identity's current keys",
            )  # fmt: skip
    if len(signers) < state.threshold:
        raise errors.VerificationFailed(
            "TFG-1420", f"{len(signers)} of {state.threshold} needed keys signed",
            where=state.identity,
        )  # fmt: skip


class Keyring:
    """The secret side of a one-key identity: its words, from which all its keys derive.

    Generation n signs with key n and has promised key n + 1.
    """

    def __init__(self, *, name: str, words: str, generation: int = 0) -> None:
        self.name = name
        self._words = words
        self._seed = keys.seed_from_words(words)
        self.generation = generation
        self._key = keys.SigningKey(keys.derive(self._seed, "sign", generation))
        self.inception = Inception(
            name=name, keys=(self._public(0),), threshold=1, next=self._promise(1)
        )
        self.identity: IdentityId = incept(self.inception).identity

    @classmethod
    def new(cls, name: str, rng: Rng) -> Keyring:
        """A new identity from fresh words."""
        return cls(name=name, words=keys.new_words(rng))

    @property
    def public(self) -> str:
        """The current public key, as documents write it."""
        return canonical.text_from(self._key.public)

    def sign(self, digest: bytes) -> tuple[Signature, ...]:
        """Sign a digest from `keys.signed_digest` with the current key."""
        return (Signature(key=0, signature=canonical.text_from(self._key.sign(digest))),)

    def rotated(self, state: State) -> tuple[Rotation, Keyring]:
        """The event that rotates to the promised key, and the keyring that signs with it."""
        new = Keyring(name=self.name, words=self._words, generation=state.index + 1)
        event = Rotation(
            identity=state.identity, index=state.index + 1, previous=state.event,
            keys=(self._public(new.generation),), threshold=1,
            next=self._promise(new.generation + 1),
        )  # fmt: skip
        return event, new

    def secret(self, purpose: keys.Purpose, index: int = 0) -> bytes:
        """32 bytes of key material for another purpose than signing."""
        assert purpose != "sign"
        return keys.derive(self._seed, purpose, index)

    def words(self) -> str:
        """The 24 words, for whoever writes them down; nothing else may ask."""
        return self._words

    def _public(self, generation: int) -> str:
        seed = keys.derive(self._seed, "sign", generation)
        return canonical.text_from(keys.SigningKey(seed).public)

    def _promise(self, generation: int) -> Digest:
        return commitment((self._public(generation),), 1)

    def __repr__(self) -> str:
        return f"Keyring({self.name}, {self.identity[:10]}, generation {self.generation})"


class _Secret(Value, frozen=True):
    name: Name
    words: str
    generation: Count


def save_keyring(keyring: Keyring, store: Store, *, unlock_key: bytes, rng: Rng) -> None:
    """Keep a keyring in a store, sealed; only the sealed form ever touches the store."""
    secret = _Secret(name=keyring.name, words=keyring.words(), generation=keyring.generation)
    name = f"identities/{keyring.name}"
    store.write(
        name, keys.seal(canonical.encode(secret), unlock_key=unlock_key, name=name, rng=rng)
    )


def open_keyring(name: str, store: Store, *, unlock_key: bytes) -> Keyring:
    """Open a keyring that `save_keyring` kept.

    Raises:
        errors.NotFound: TFG-1414.
        errors.VerificationFailed: TFG-1402.

    """
    path = f"identities/{name}"
    sealed = store.read(path)
    if sealed is None:
        raise errors.NotFound("TFG-1414", f"no identity named {name} is kept here", where=name)
    secret = canonical.parse(keys.open_sealed(sealed, unlock_key=unlock_key, name=path), _Secret)
    return Keyring(name=secret.name, words=secret.words, generation=secret.generation)
