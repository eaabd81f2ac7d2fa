"""An identity stands by itself, survives a thief of its keys, and is never kept in clear."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfgrid.core import canonical, errors, identity, keys, limits
from tfgrid.core.ids import Digest, IdentityId
from tfgrid.core.rng import SeededRng
from tfgrid.core.store import DirectoryStore, MemoryStore

_NEXT = Digest("0" * 64)


def _key(number: int) -> keys.SigningKey:
    return keys.SigningKey(bytes([number]) * 32)


def _text(number: int) -> str:
    return canonical.text_from(_key(number).public)


def _inception(count: int = 3, threshold: int = 2) -> identity.Inception:
    public = tuple(_text(n) for n in range(count))
    promised = identity.commitment([_text(9)], 1)
    return identity.Inception(name="ann", keys=public, threshold=threshold, next=promised)


def _signed(*numbers: int, digest: bytes, by: int | None = None) -> tuple[identity.Signature, ...]:
    return tuple(
        identity.Signature(
            key=n, signature=canonical.text_from(_key(n if by is None else by).sign(digest))
        )
        for n in numbers
    )


def test_an_identity_is_the_hash_of_its_inception() -> None:
    """The id names keys, threshold, promise and name together; changing any gives another id."""
    event = _inception()
    state = identity.incept(event)
    assert {state.identity, state.event} == {canonical.digest(canonical.encode(event))}
    others = {identity.incept(_inception(threshold=n)).identity for n in (1, 2, 3)}
    assert len(others) == 3
    assert canonical.parse(canonical.encode(event), identity.Inception) == event


@pytest.mark.parametrize(
    ("code", "public", "threshold"),
    [
        ("TFG-1411", [_text(1), _text(1)], 1),
        ("TFG-1415", [_text(1)], 2),
        ("TFG-1416", [canonical.text_from(bytes(32))], 1),
        ("TFG-1416", [canonical.text_from(b"\x01" + bytes(31))], 1),
        ("TFG-1416", [_text(1), canonical.text_from(b"\xec" + b"\xff" * 30 + b"\x7f")], 1),
        ("TFG-1416", [canonical.text_from(b"\xee" + b"\xff" * 30 + b"\x7f")], 1),
        ("TFG-1105", [_text(1)[:-1] + "_"], 1),
    ],
)
def test_bad_key_sets_are_refused(code: str, public: list[str], threshold: int) -> None:
    """Keys that repeat, that anybody can sign for, or that can never be enough make no identity."""
    event = identity.Inception(name="eve", keys=tuple(public), threshold=threshold, next=_NEXT)
    with pytest.raises(errors.BadInput, match=code):
        identity.incept(event)


def test_enough_distinct_keys_must_sign() -> None:
    """Two of three is met by any two keys, and by nothing less."""
    state, digest = identity.incept(_inception()), b"d" * 32
    for pair in ((0, 1), (2, 0), (1, 2)):
        identity.check_signatures(state, digest, _signed(*pair, digest=digest))
    identity.check_signatures(state, digest, _signed(0, 1, 2, digest=digest))
    for too_few in ((), (1,)):
        with pytest.raises(errors.VerificationFailed, match="TFG-1420"):
            identity.check_signatures(state, digest, _signed(*too_few, digest=digest))


def test_a_key_counts_once() -> None:
    """One key that signs twice is refused, not counted twice."""
    state, digest = identity.incept(_inception()), b"d" * 32
    twice = _signed(1, digest=digest) * 2
    with pytest.raises(errors.VerificationFailed, match="TFG-1419"):
        identity.check_signatures(state, digest, twice)


def test_one_bad_signature_spoils_the_rest() -> None:
    """A signature by another key, over other bytes, or of a key that is not there is refused."""
    state, digest = identity.incept(_inception()), b"d" * 32
    good = _signed(0, 1, digest=digest)
    bad = (
        _signed(2, digest=digest, by=5),
        _signed(2, digest=digest, by=1),
        _signed(2, digest=b"e" * 32),
        _signed(3, digest=digest),
        _signed(7, digest=digest),
    )
    for extra in bad:
        with pytest.raises(errors.VerificationFailed, match="TFG-1413"):
            identity.check_signatures(state, digest, (*good, *extra))


def _rotation(state: identity.State, **changes: object) -> identity.Rotation:
    fields: dict[str, object] = {
        "identity": state.identity,
        "index": state.index + 1,
        "previous": state.event,
        "keys": (_text(9),),
        "threshold": 1,
        "next": _NEXT,
    }
    return identity.Rotation(**(fields | changes))  # type: ignore[arg-type]


def test_a_rotation_reveals_the_promised_keys() -> None:
    """The promised keys take over, under the same id."""
    state = identity.incept(_inception())
    rotated = identity.rotate(state, _rotation(state))
    assert rotated.identity == state.identity
    assert (rotated.index, rotated.keys, rotated.threshold) == (1, (_text(9),), 1)
    digest = b"d" * 32
    with pytest.raises(errors.VerificationFailed):
        identity.check_signatures(rotated, digest, _signed(0, digest=digest))
    identity.check_signatures(rotated, digest, _signed(0, digest=digest, by=9))


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("TFG-1417", {"keys": (_text(8),)}),
        ("TFG-1417", {"keys": (_text(9), _text(8))}),
        ("TFG-1417", {"threshold": 2}),
        ("TFG-1412", {"index": 0}),
        ("TFG-1412", {"index": 2}),
        ("TFG-1412", {"previous": _NEXT}),
        ("TFG-1412", {"identity": IdentityId("f" * 64)}),
    ],
)
def test_other_rotations_are_refused(code: str, changes: dict[str, object]) -> None:
    """Keys that were not promised, a gap, a fork or another identity's event changes nothing."""
    state = identity.incept(_inception())
    with pytest.raises(errors.NotAllowed, match=code):
        identity.rotate(state, _rotation(state, **changes))


def test_a_rotation_is_not_replayed() -> None:
    """The same rotation does not follow itself."""
    state = identity.incept(_inception())
    rotation = _rotation(state)
    with pytest.raises(errors.NotAllowed, match="TFG-1412"):
        identity.rotate(identity.rotate(state, rotation), rotation)


def test_a_promise_to_bad_keys_cannot_be_kept() -> None:
    """Keys that repeat or that anybody signs for are refused even if they were promised."""
    for public, code in (
        ([_text(1)] * 2, "TFG-1411"),
        ([canonical.text_from(bytes(32))], "TFG-1416"),
    ):
        promised = identity.commitment(public, 1)
        state = identity.incept(
            identity.Inception(name="ann", keys=(_text(0),), threshold=1, next=promised)
        )
        with pytest.raises(errors.BadInput, match=code):
            identity.rotate(state, _rotation(state, keys=tuple(public)))


def test_an_identity_has_an_end() -> None:
    """Events are bounded, so that a chain can always be held in memory."""
    state = identity.incept(_inception())
    late = identity.State(
        **{f: getattr(state, f) for f in state.__struct_fields__}
        | {"index": limits.identity_events_max - 1}
    )
    with pytest.raises(errors.NotAllowed, match="TFG-1418"):
        identity.rotate(late, _rotation(late))


def test_a_keyring_rotates_through_its_generations() -> None:
    """Each generation signs with the key that the one before promised."""
    keyring = identity.Keyring.new("ann", SeededRng(3))
    state, digest = identity.incept(keyring.inception), b"d" * 32
    for generation in range(1, 5):
        identity.check_signatures(state, digest, keyring.sign(digest))
        event, renewed = keyring.rotated(state)
        state = identity.rotate(state, event)
        assert (renewed.generation, renewed.identity) == (generation, keyring.identity)
        with pytest.raises(errors.VerificationFailed, match="TFG-1413"):
            identity.check_signatures(state, digest, keyring.sign(digest))
        keyring = renewed
    identity.check_signatures(state, digest, keyring.sign(digest))


def test_words_restore_an_identity() -> None:
    """The same name and words are the same identity, on any machine."""
    keyring = identity.Keyring.new("ann", SeededRng(3))
    restored = identity.Keyring(name="ann", words=keyring.words())
    assert restored.identity == keyring.identity
    assert restored.secret("vault") == keyring.secret("vault") != keyring.secret("wallet")


def test_a_kept_keyring_opens_with_its_key_only(tmp_path: Path) -> None:
    """What was kept opens with the unlock key, and not with another, damaged, or swapped."""
    store, key = DirectoryStore(tmp_path), b"u" * 32
    rng = SeededRng(4)
    _, ann = identity.Keyring.new("ann", rng).rotated(
        identity.incept(identity.Keyring.new("ann", SeededRng(4)).inception)
    )
    bob = identity.Keyring.new("bob", rng)
    for keyring in (ann, bob):
        identity.save_keyring(keyring, store, unlock_key=key, rng=rng)
    opened = identity.open_keyring("ann", store, unlock_key=key)
    assert (opened.identity, opened.generation) == (ann.identity, 1)

    with pytest.raises(errors.VerificationFailed, match="TFG-1402"):
        identity.open_keyring("ann", store, unlock_key=b"v" * 32)
    kept = store.read("identities/ann") or b""
    store.write("identities/bob", kept)
    with pytest.raises(errors.VerificationFailed, match="TFG-1402"):
        identity.open_keyring("bob", store, unlock_key=key)
    for at in range(0, len(kept), 7):
        store.write("identities/ann", kept[:at] + bytes([kept[at] ^ 0x80]) + kept[at + 1 :])
        with pytest.raises(errors.VerificationFailed, match="TFG-1402"):
            identity.open_keyring("ann", store, unlock_key=key)
    with pytest.raises(errors.NotFound, match="TFG-1414"):
        identity.open_keyring("carl", store, unlock_key=key)


def test_secrets_are_neither_shown_nor_written_in_clear(tmp_path: Path) -> None:
    """Words, seed and keys are in no file and in no representation."""
    keyring = identity.Keyring.new("ann", SeededRng(5))
    identity.save_keyring(keyring, DirectoryStore(tmp_path), unlock_key=b"u" * 32, rng=SeededRng(6))
    seed = keys.seed_from_words(keyring.words())
    secrets = [
        *(word.encode() for word in keyring.words().split() if len(word) > 4),
        seed,
        seed.hex().encode(),
        keys.derive(seed, "sign"),
        keys.derive(seed, "sign").hex().encode(),
    ]
    written = b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    shown = f"{keyring!r} {keyring} {keyring.sign(b'd' * 32)}".encode()
    assert written
    assert [s for s in secrets if s in written or s in shown] == []
    assert all(p.stat().st_mode & 0o077 == 0 for p in tmp_path.rglob("*"))


def test_the_search_for_secrets_can_find_one() -> None:
    """A store into which a secret was written in clear would be noticed."""
    keyring, store = identity.Keyring.new("ann", SeededRng(5)), MemoryStore()
    store.write("leak", keyring.words().encode())
    assert keyring.words().split()[0].encode() in (store.read("leak") or b"")
