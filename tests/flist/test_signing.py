"""Who signed an image."""

from __future__ import annotations

import msgspec
import pytest

from tests.flist import trees
from tfgrid.capacity import flist
from tfgrid.capacity.flist import signing
from tfgrid.core import canonical, errors, identity, keys
from tfgrid.core.identity import Keyring


def manifest(signer: Keyring, name: str = "app") -> flist.Manifest:
    """A manifest of nothing in particular."""
    digest = canonical.digest(b"x")
    return flist.Manifest(
        format=1, name=name, signer=signer.identity, root=digest, metadata=(digest,),
        metadata_bytes=1, entries=1, content_bytes=0, chunks=0, config=flist.Config(),
    )  # fmt: skip


def opened(data: bytes, signer: Keyring, **rest: identity.State) -> flist.Manifest:
    """The manifest, opened by its own digest."""
    return flist.open_manifest(data, digest=canonical.digest(data), signer=signer.identity, **rest)


def rotated(signer: Keyring, times: int) -> tuple[Keyring, identity.State]:
    """The signer after some rotations, and its state then."""
    state = identity.incept(signer.inception)
    for _ in range(times):
        event, signer = signer.rotated(state)
        state = identity.rotate(state, event)
    return signer, state


def test_a_signed_manifest_opens_for_who_knows_digest_and_signer() -> None:
    """Signing twice gives the same bytes, and they open."""
    expert = trees.keyring()
    data = flist.sign(manifest(expert), expert)
    assert data == flist.sign(manifest(expert), expert)
    assert opened(data, expert) == manifest(expert)


def test_a_manifest_by_the_wrong_key_is_refused() -> None:
    """Another signer's image, however well signed, is not the one that was named."""
    expert, mallory = trees.keyring(), trees.keyring("mallory")
    with pytest.raises(errors.VerificationFailed, match="TFG-3202"):
        opened(flist.sign(manifest(mallory), mallory), expert)


def test_a_stranger_cannot_use_a_signers_inception() -> None:
    """The signer's public inception beside a stranger's signature does not verify."""
    expert, mallory = trees.keyring(), trees.keyring("mallory")
    genuine = canonical.parse(flist.sign(manifest(expert), expert), flist.SignedManifest)
    stranger = canonical.parse(flist.sign(manifest(mallory), mallory), flist.SignedManifest)
    forged = msgspec.structs.replace(genuine, signatures=stranger.signatures)
    with pytest.raises(errors.VerificationFailed, match="TFG-1413"):
        opened(canonical.encode(forged), expert)


def test_a_signature_serves_one_manifest_only() -> None:
    """A signature moved to an altered manifest does not verify."""
    expert = trees.keyring()
    genuine = canonical.parse(flist.sign(manifest(expert), expert), flist.SignedManifest)
    forged = msgspec.structs.replace(genuine, manifest=manifest(expert, "other"))
    with pytest.raises(errors.VerificationFailed, match="TFG-1413"):
        opened(canonical.encode(forged), expert)


def test_a_signature_for_another_object_does_not_count() -> None:
    """A signature over the same bytes as an entry of a ledger publishes no image."""
    expert = trees.keyring()
    genuine = canonical.parse(flist.sign(manifest(expert), expert), flist.SignedManifest)
    other = keys.signed_digest(
        object_type="entry", action="publish", ledger=signing.zero_ledger,
        data=canonical.encode(genuine.manifest),
    )  # fmt: skip
    forged = msgspec.structs.replace(genuine, signatures=expert.sign(other))
    with pytest.raises(errors.VerificationFailed, match="TFG-1413"):
        opened(canonical.encode(forged), expert)


def test_an_older_image_does_not_answer_for_a_newer_digest() -> None:
    """A rollback to a properly signed older manifest is refused by digest."""
    expert = trees.keyring()
    older, newer = (flist.sign(manifest(expert, name), expert) for name in ("old", "new"))
    with pytest.raises(errors.VerificationFailed, match="TFG-3201"):
        flist.open_manifest(older, digest=canonical.digest(newer), signer=expert.identity)


@pytest.mark.parametrize("times", [1, 3])
def test_rotated_keys_travel_with_the_manifest(times: int) -> None:
    """After rotations the signer's id is the same, and the chain verifies offline."""
    expert = trees.keyring()
    later, state = rotated(expert, times)
    data = flist.sign(manifest(later), later)
    assert opened(data, expert, current=state) == manifest(expert)


def test_an_outdated_key_is_refused_by_who_follows_the_ledger() -> None:
    """A chain that ends before the signer's current state does not count."""
    expert = trees.keyring()
    _, state = rotated(expert, 1)
    data = flist.sign(manifest(expert), expert)
    assert opened(data, expert)
    with pytest.raises(errors.VerificationFailed, match="TFG-3203"):
        opened(data, expert, current=state)


def test_a_rotation_that_its_keys_did_not_sign_is_refused() -> None:
    """Nobody can bend the chain towards own keys by altering what a rotation promises."""
    expert, mallory = trees.keyring(), trees.keyring("mallory")
    later, _ = rotated(expert, 1)
    genuine = canonical.parse(flist.sign(manifest(later), later), flist.SignedManifest)
    step = genuine.rotations[0]
    bent = msgspec.structs.replace(
        step, rotation=msgspec.structs.replace(step.rotation, next=mallory.inception.next)
    )
    forged = msgspec.structs.replace(genuine, rotations=(bent,))
    with pytest.raises(errors.VerificationFailed, match="TFG-1413"):
        opened(canonical.encode(forged), expert)


def test_a_rotation_out_of_turn_is_refused() -> None:
    """The chain's events follow one another."""
    later, _ = rotated(trees.keyring(), 2)
    genuine = canonical.parse(flist.sign(manifest(later), later), flist.SignedManifest)
    forged = msgspec.structs.replace(genuine, rotations=genuine.rotations[1:])
    with pytest.raises(errors.VerificationFailed, match="TFG-3203"):
        opened(canonical.encode(forged), later)


def test_a_padded_manifest_is_refused() -> None:
    """White space changes the digest, and with the digest known it is still not canonical."""
    expert = trees.keyring()
    data = flist.sign(manifest(expert), expert) + b" "
    with pytest.raises(errors.BadInput, match="TFG-1104"):
        opened(data, expert)
