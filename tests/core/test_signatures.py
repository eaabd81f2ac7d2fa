"""A signature covers one object, action and ledger, and every language accepts the same ones."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import nacl.bindings
import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from tfgrid.core import errors, keys
from tfgrid.core.rng import SeededRng

_VECTORS = Path(__file__).parents[1] / "vectors"
_SPECCHECK: list[dict[str, Any]] = json.loads(
    (_VECTORS / "ed25519_speccheck.json").read_text()
)["cases"]  # fmt: skip
_GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493

# Points of small order in every encoding that fits 255 bits, by their y and sign; anybody signs for
# them.
_SMALL_ORDER = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
]

# RFC 8032, section 7.1, tests 1 to 3: seed, public key, message, signature.
_RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        (
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555"
            "fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
        ),
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        (
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da0"
            "85ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        ),
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        (
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac1"
            "8ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
        ),
    ),
]


@pytest.mark.parametrize("case", _SPECCHECK, ids=lambda case: f"case-{case['number']}")
def test_the_acceptance_rule_is_libsodiums(case: dict[str, Any]) -> None:
    """Each published edge case of Ed25519 is answered as libsodium answers it."""
    key, message, signature = (
        bytes.fromhex(case[field]) for field in ("public_key", "message", "signature")
    )
    assert keys.verify(key, message, signature) is case["valid"]


@pytest.mark.parametrize(("seed", "public", "message", "signature"), _RFC_8032)
def test_keys_sign_as_rfc_8032_says(seed: str, public: str, message: str, signature: str) -> None:
    """A seed gives the public key and the signature of the standard's own examples."""
    key = keys.SigningKey(bytes.fromhex(seed))
    assert key.public.hex() == public
    assert key.sign(bytes.fromhex(message)).hex() == signature
    assert keys.verify(key.public, bytes.fromhex(message), bytes.fromhex(signature))


def test_a_second_spelling_of_a_signature_is_refused() -> None:
    """Adding the group order to S gives no second signature of the same bytes."""
    key = keys.SigningKey(bytes(32))
    good = key.sign(b"x")
    larger = int.from_bytes(good[32:], "little") + _GROUP_ORDER
    assert keys.verify(key.public, b"x", good)
    assert not keys.verify(key.public, b"x", good[:32] + larger.to_bytes(32, "little"))


@pytest.mark.parametrize("point", _SMALL_ORDER)
def test_keys_that_sign_anything_are_no_keys(point: str) -> None:
    """A point of small order is not a public key, and no signature by it counts."""
    raw = bytes.fromhex(point)
    assert not keys.is_public_key(raw)
    for r in _SMALL_ORDER:
        assert not keys.verify(raw, b"anything", bytes.fromhex(r) + bytes(32))


def test_points_outside_the_main_subgroup_are_no_keys() -> None:
    """A point of mixed order verifies one way here and another there, so it is not a key."""
    mixed = {c["public_key"] for c in _SPECCHECK if c["number"] in {2, 3, 8}}
    assert not any(keys.is_public_key(bytes.fromhex(point)) for point in mixed)
    assert keys.is_public_key(keys.SigningKey(b"s" * 32).public)
    assert not keys.is_public_key(b"short")


@given(st.binary(max_size=70), st.integers(0, 63), st.integers(1, 255))
def test_a_flipped_bit_breaks_a_signature(message: bytes, at: int, flip: int) -> None:
    """A signature that was touched anywhere, or covers other bytes, does not hold."""
    key = keys.SigningKey(b"k" * 32)
    signature = bytearray(key.sign(message))
    assert keys.verify(key.public, message, bytes(signature))
    assert not keys.verify(key.public, message + b"x", bytes(signature))
    signature[at] ^= flip
    assert not keys.verify(key.public, message, bytes(signature))


@pytest.mark.parametrize("size", [0, 31, 33, 63, 65])
def test_wrong_sizes_are_no_signatures(size: int) -> None:
    """A key or signature of another size is refused, not an error."""
    key = keys.SigningKey(b"k" * 32)
    assert not keys.verify(bytes(size), b"x", key.sign(b"x"))
    assert not keys.verify(key.public, b"x", bytes(size))


_PARTS: Any = {"object_type": "entry", "action": "deploy", "ledger": "0" * 64, "data": b"{}"}


@pytest.mark.parametrize(
    "changed",
    [
        {"object_type": "checkpoint"},
        {"action": "delete"},
        {"action": "update"},
        {"ledger": "0" * 63 + "1"},
        {"data": b"[]"},
        {"object_type": "entryd", "action": "eploy"},
        {"object_type": "entr", "action": "ydeploy"},
        {"action": "deploy" + "0" * 64, "ledger": ""},
        {"action": "", "ledger": "deploy" + "0" * 64},
        {"ledger": "0" * 64 + "{}", "data": b""},
    ],
)
def test_a_signature_serves_one_purpose(changed: dict[str, Any]) -> None:
    """Another type, action or ledger, or the same letters cut elsewhere, is another digest."""
    assert keys.signed_digest(**_PARTS) != keys.signed_digest(**(_PARTS | changed))


@given(*[st.lists(st.text(max_size=6), min_size=3, max_size=3)] * 2)
def test_no_two_lists_of_parts_are_confused(one: list[str], other: list[str]) -> None:
    """Different parts give different digests, however their letters run together."""
    digests = [
        keys.signed_digest(object_type=a, action=b, ledger=c, data=b"") for a, b, c in (one, other)
    ]
    assert (digests[0] == digests[1]) == (one == other)


def test_the_signed_digest_is_written_down() -> None:
    """The digest is SHA-256 over the parts, each after its length in eight bytes."""
    expected = hashlib.sha256(
        b"".join(
            len(part).to_bytes(8, "big") + part
            for part in (b"tfgrid/v1", b"entry", b"deploy", b"0" * 64, b"{}")
        )
    ).digest()
    assert keys.signed_digest(**_PARTS) == expected


@given(st.binary(min_size=64, max_size=64), st.integers(0, 2**31))
def test_derivation_is_hkdf(seed: bytes, index: int) -> None:
    """Key material is derived by HKDF-SHA-256, as another library computes it (RFC 5869)."""
    info = f"tfgrid/v1/wallet/{index}".encode()
    oracle = HKDF(algorithm=SHA256(), length=32, salt=b"tfgrid/v1", info=info).derive(seed)
    assert keys.derive(seed, "wallet", index) == oracle


def test_purposes_have_their_own_keys() -> None:
    """No purpose and no generation shares key material with another."""
    purposes: tuple[keys.Purpose, ...] = ("sign", "wallet", "encrypt", "vault")
    made = {keys.derive(b"s" * 64, p, n) for p in purposes for n in range(8)}
    assert len(made) == 32


def test_a_mnemonic_is_24_checked_words() -> None:
    """Fresh words give a seed; another count, a wrong word or a wrong order is refused."""
    words = keys.new_words(SeededRng(1))
    listed = words.split()
    assert len(listed) == keys.words_count
    assert len(keys.seed_from_words(words)) == 64
    assert keys.seed_from_words(f"  {words.upper()}\n") == keys.seed_from_words(words)
    wrong = (" ".join(listed[:12]), " ".join([*listed[:-1], "grid"]), " ".join(listed[::-1]), "")
    for text in wrong:
        with pytest.raises(errors.BadInput, match="TFG-1401"):
            keys.seed_from_words(text)


def test_the_seed_of_a_mnemonic_is_bip_39s() -> None:
    """The seed of the standard's all-zero words is the published one, with an empty passphrase."""
    zero = "abandon " * 23 + "art"
    assert keys.seed_from_words(zero).hex() == (
        "408b285c123836004f4b8842c89324c1f01382450c0d439af345ba7fc49acf70"
        "5489c6fc77dbd4e3dc1dd8cc6bc9f043db8ada1e243c4a0eafb290d399480840"
    )


def test_a_seal_opens_under_its_key_and_name_only() -> None:
    """Another key, another name, any changed or missing byte: it does not open."""
    key, name = b"u" * 32, "identities/ann"
    sealed = keys.seal(b"secret words", unlock_key=key, name=name, rng=SeededRng(2))
    assert keys.open_sealed(sealed, unlock_key=key, name=name) == b"secret words"
    assert b"secret" not in sealed
    wrong = [
        (sealed, b"v" * 32, name),
        (sealed, key, "identities/bob"),
        *((sealed[:n], key, name) for n in range(len(sealed))),
        (sealed + b"x", key, name),
        *((_flipped(sealed, n), key, name) for n in range(len(sealed))),
    ]
    for data, unlock_key, as_name in wrong:
        with pytest.raises(errors.VerificationFailed, match="TFG-1402"):
            keys.open_sealed(data, unlock_key=unlock_key, name=as_name)


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_a_passphrase_gives_its_unlock_key() -> None:
    """The same passphrase and salt give the same 32 bytes; another of either gives others."""
    made = [
        keys.unlock_key_from_passphrase(text, salt)
        for text, salt in (("a", b"s" * 16), ("a", b"s" * 16), ("b", b"s" * 16), ("a", b"t" * 16))
    ]
    assert made[0] == made[1]
    assert len({*made}) == 3
    assert len(made[0]) == keys.unlock_key_bytes


def test_a_key_shows_no_secret() -> None:
    """What a signing key says of itself has nothing of its seed."""
    seed = b"\x01\x23\x45\x67" * 8
    shown = repr(keys.SigningKey(seed)) + str(keys.SigningKey(seed))
    assert seed.hex()[:8] not in shown
    assert repr(seed)[2:10] not in shown


def test_a_twisted_r_is_refused() -> None:
    """A signer who adds a point of order eight to R is refused, by the strict equation alone."""
    seed, message, r = b"k" * 32, b"pay", bytes([7]) + bytes(31)
    public = keys.SigningKey(seed).public
    twist = bytes.fromhex(_SMALL_ORDER[4])
    plain = nacl.bindings.crypto_scalarmult_ed25519_base_noclamp(r)
    for nonce_point, is_valid in (
        (plain, True),
        (nacl.bindings.crypto_core_ed25519_add(plain, twist), False),
    ):
        challenge = hashlib.sha512(nonce_point + public + message).digest()
        h = int.from_bytes(challenge, "little") % _GROUP_ORDER
        a = int.from_bytes(hashlib.sha512(seed).digest()[:32], "little")
        a = (a & ((1 << 254) - 8)) | (1 << 254)
        s = (int.from_bytes(r, "little") + h * a) % _GROUP_ORDER
        assert keys.verify(public, message, nonce_point + s.to_bytes(32, "little")) is is_valid
