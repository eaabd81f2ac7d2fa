"""Who published a manifest, decided offline.

A signed manifest carries its signer's chain of identity events. The chain starts with the
inception, whose hash is the signer's id, so it cannot be another identity's; each rotation is
signed by the keys that the event before it promised. The manifest's signature is then checked
against the state at the end of the chain.

A chain alone cannot show that a later rotation took a stolen key away. Whoever follows a ledger
hands in the signer's `current` state, and the chain must end there. A contract pins an image by
digest, which an attacker with an old key cannot make other bytes have, so nodes verify without it.
"""

from __future__ import annotations

from typing import Final

from tfgrid.capacity.flist.model import Manifest, SignedManifest, SignedRotation
from tfgrid.core import canonical, errors, identity, keys, limits
from tfgrid.core.ids import Digest, IdentityId

__all__ = ["open_manifest", "sign"]

zero_ledger: Final = "0" * 64
"""An image belongs to no ledger."""


def sign(manifest: Manifest, keyring: identity.Keyring) -> bytes:
    """The bytes of the signed manifest, the same each time; their SHA-256 is the image's digest."""
    assert manifest.signer == keyring.identity
    return canonical.encode(
        SignedManifest(
            manifest=manifest,
            inception=keyring.inception,
            rotations=_rotations(keyring),
            signatures=keyring.sign(_covered(manifest)),
        )
    )


def open_manifest(
    data: bytes, *, digest: Digest, signer: IdentityId, current: identity.State | None = None
) -> Manifest:
    """The manifest in `data`, if it has this digest and this signer signed it.

    Args:
        data: what a chunk server, file or store gave.
        digest: the image's digest, from a contract or recipe.
        signer: the identity whose signature it must bear.
        current: the signer's state in a ledger, where one is followed.

    Raises:
        errors.VerificationFailed: TFG-3201 another digest, TFG-3202 another signer, TFG-3203 a
            rotation or the end of the chain does not hold, TFG-1413 the signature does not cover
            the manifest.
        errors.BadInput: TFG-1101 to TFG-1105, TFG-1411, malformed.

    """
    if canonical.digest(data) != digest:
        raise errors.VerificationFailed(
            "TFG-3201", "the manifest's bytes do not have the image's digest", where=digest,
            hint="fetch it from another source",
        )  # fmt: skip
    signed = canonical.parse(data, SignedManifest, bytes_max=limits.image_manifest_bytes_max)
    state = identity.incept(signed.inception)
    if state.identity != signer or signed.manifest.signer != signer:
        raise errors.VerificationFailed(
            "TFG-3202", f"the image is signed by {state.identity}, not by {signer}", where=digest,
            hint="check the signer that the recipe names",
        )  # fmt: skip
    for later in signed.rotations:
        state = _rotated(state, later)
    if current is not None and current.event != state.event:
        raise errors.VerificationFailed(
            "TFG-3203", "the signer has changed its keys since it signed this image",
            where=digest, hint="publish the image again with the signer's current keys",
        )  # fmt: skip
    identity.check_signatures(state, _covered(signed.manifest), signed.signatures)
    return signed.manifest


def _covered(manifest: Manifest) -> bytes:
    return keys.signed_digest(
        object_type="image", action="publish", ledger=zero_ledger, data=canonical.encode(manifest)
    )


def _rotation_covered(rotation: identity.Rotation) -> bytes:
    return keys.signed_digest(
        object_type="identity", action="rotate", ledger=zero_ledger,
        data=canonical.encode(rotation),
    )  # fmt: skip


def _rotations(keyring: identity.Keyring) -> tuple[SignedRotation, ...]:
    state, chain = identity.incept(keyring.inception), list[SignedRotation]()
    while state.index < keyring.generation:
        rotation, signer = keyring.rotated(state)
        chain.append(
            SignedRotation(rotation=rotation, signatures=signer.sign(_rotation_covered(rotation)))
        )
        state = identity.rotate(state, rotation)
    return tuple(chain)


def _rotated(state: identity.State, later: SignedRotation) -> identity.State:
    try:
        following = identity.rotate(state, later.rotation)
    except errors.NotAllowed as fault:
        raise errors.VerificationFailed(
            "TFG-3203", f"the signer's chain of keys does not hold: {fault.what}",
            where=state.identity,
        ) from fault  # fmt: skip
    identity.check_signatures(following, _rotation_covered(later.rotation), later.signatures)
    return following
