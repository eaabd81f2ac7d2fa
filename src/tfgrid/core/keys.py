"""Key pairs, what a signature covers, the acceptance rule, mnemonic and derivation, sealing.

**What a signature covers.** SHA-256 of `tfgrid/v1`, object type, action, ledger id and canonical
bytes, each preceded by its length as eight bytes, big-endian. So a signature serves no other
object, action or ledger, and no two different lists of parts give the same digest.

**Acceptance.** Ed25519 with libsodium's rules: S below the group order, A and R not of small order,
A in its canonical encoding, cofactorless equation. Every language that verifies must give the same
answer on `tests/vectors/ed25519_speccheck.json`.

**Derivation.** 24 words (BIP-39) give a 64-byte seed; each purpose has its own keys by HKDF-SHA-256
with the info string `tfgrid/v1/PURPOSE/INDEX`. A signing seed is never an encryption key.

**Sealing.** XChaCha20-Poly1305 with the sealed thing's name as associated data, so that a sealed
file cannot stand in for another. The unlock key is random and kept apart, or comes from a
passphrase by Argon2id.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final, Literal, TypeAlias

import nacl.bindings
import nacl.exceptions
import nacl.pwhash
import nacl.signing

from tfgrid.core import errors
from tfgrid.core.rng import Rng

__all__ = [
    "Purpose",
    "SigningKey",
    "derive",
    "is_public_key",
    "new_words",
    "open_sealed",
    "seal",
    "seed_from_words",
    "signed_digest",
    "unlock_key_from_passphrase",
    "verify",
]

public_key_bytes: Final = 32
signature_bytes: Final = 64
unlock_key_bytes: Final = 32
words_count: Final = 24
_NONCE_BYTES: Final = 24
_SEAL_VERSION: Final = b"TFS1"
_PROTOCOL: Final = b"tfgrid/v1"

Purpose: TypeAlias = Literal["sign", "wallet", "encrypt", "vault"]
"""What derived keys are for; each has its own branch."""


def signed_digest(*, object_type: str, action: str, ledger: str, data: bytes) -> bytes:
    """The 32 bytes that are signed for an object.

    Args:
        object_type: what is signed, such as `entry` or `checkpoint`.
        action: what the signature is for, such as a record kind.
        ledger: the ledger id, or the zero id where none exists yet.
        data: the canonical bytes.

    """
    hasher = hashlib.sha256()
    for part in (_PROTOCOL, object_type.encode(), action.encode(), ledger.encode(), data):
        hasher.update(len(part).to_bytes(8, "big"))
        hasher.update(part)
    return hasher.digest()


def verify(public_key: bytes, digest: bytes, signature: bytes) -> bool:
    """Whether `signature` over `digest` is `public_key`'s, by libsodium's rules."""
    if len(public_key) != public_key_bytes or len(signature) != signature_bytes:
        return False
    try:
        nacl.bindings.crypto_sign_open(signature + digest, public_key)
    except nacl.exceptions.BadSignatureError:
        return False
    return True


def is_public_key(raw: bytes) -> bool:
    """Whether only its owner signs for this key: canonical, on the curve, in the main subgroup."""
    return len(raw) == public_key_bytes and bool(
        nacl.bindings.crypto_core_ed25519_is_valid_point(raw)
    )


class SigningKey:
    """An Ed25519 key pair, from a 32-byte seed; its representation never shows the seed."""

    def __init__(self, seed: bytes) -> None:
        self._key = nacl.signing.SigningKey(seed)
        self.public: Final = bytes(self._key.verify_key)

    def sign(self, digest: bytes) -> bytes:
        """The 64-byte signature over a digest from `signed_digest`."""
        return self._key.sign(digest).signature

    def __repr__(self) -> str:
        return f"SigningKey(public={self.public.hex()[:10]})"


def new_words(rng: Rng) -> str:
    """A new mnemonic of 24 English words."""
    from mnemonic import Mnemonic

    return Mnemonic("english").to_mnemonic(rng.token(32))


def seed_from_words(words: str) -> bytes:
    """The 64-byte seed of a mnemonic (BIP-39, empty passphrase).

    Raises:
        errors.BadInput: TFG-1401, not 24 words of the list with a right checksum.

    """
    from mnemonic import Mnemonic

    book = Mnemonic("english")
    normal = " ".join(words.split()).lower()
    if len(normal.split()) != words_count or not book.check(normal):
        raise errors.BadInput(
            "TFG-1401", "these are not 24 words of the BIP-39 list with a right checksum",
            hint="check the spelling and the order of the words",
        )  # fmt: skip
    return Mnemonic.to_seed(normal)


def derive(seed: bytes, purpose: Purpose, index: int = 0) -> bytes:
    """32 bytes of key material for one purpose (HKDF-SHA-256, RFC 5869)."""
    extracted = hmac.digest(b"tfgrid/v1", seed, "sha256")
    info = f"tfgrid/v1/{purpose}/{index}".encode()
    return hmac.digest(extracted, info + b"\x01", "sha256")


def unlock_key_from_passphrase(passphrase: str, salt: bytes) -> bytes:
    """The unlock key of a passphrase: Argon2id, 64 MiB, 3 passes; `salt` has 16 bytes."""
    return nacl.pwhash.argon2id.kdf(
        unlock_key_bytes, passphrase.encode(), salt, opslimit=3, memlimit=64 * 1024**2
    )


def seal(secret: bytes, *, unlock_key: bytes, name: str, rng: Rng) -> bytes:
    """Seal a secret under an unlock key, bound to `name`."""
    nonce = rng.token(_NONCE_BYTES)
    box = nacl.bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(
        secret, _SEAL_VERSION + name.encode(), nonce, unlock_key
    )
    return _SEAL_VERSION + nonce + box


def open_sealed(sealed: bytes, *, unlock_key: bytes, name: str) -> bytes:
    """Open what `seal` made.

    Raises:
        errors.VerificationFailed: TFG-1402, the wrong key, another name's seal, or damaged bytes.

    """
    version, nonce, box = sealed[:4], sealed[4 : 4 + _NONCE_BYTES], sealed[4 + _NONCE_BYTES :]
    try:
        return nacl.bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
            box, version + name.encode(), nonce, unlock_key
        )
    except (nacl.exceptions.CryptoError, ValueError, TypeError) as fault:
        raise errors.VerificationFailed(
            "TFG-1402", f"the sealed {name} does not open", where=name,
            hint="use the right unlock key, or restore the identity from its 24 words",
        ) from fault  # fmt: skip
