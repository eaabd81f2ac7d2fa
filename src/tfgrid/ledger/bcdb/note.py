"""Checkpoints as signed notes: C2SP tlog-checkpoint over C2SP signed-note.

    tfgrid/ledger/<ledger id>                        origin, which is also the name of every key
    1234                                             leaves
    <root, standard base64>
    order_time 1750000000000                         extension line: the ledger's time, milliseconds
    map <root, standard base64>                      extension line, reserved, left out for now

    — tfgrid/ledger/<ledger id> <base64 of key hash (4 bytes) and Ed25519 signature (64 bytes)>

The key hash is the first four bytes of SHA-256(name, newline, 0x01, public key). The signature
covers the text up to and with the newline before the empty line. Signatures of unknown keys are
ignored, as witnesses may add theirs; a bad signature by a known key refuses the note. Other
extension lines are ignored, since the ledger signed them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Final

from tfgrid.core import canonical, errors, keys, limits
from tfgrid.core.identity import Keyring
from tfgrid.ledger.bcdb.model import Checkpoint, Trust

__all__ = ["key_hash", "read", "sign", "text_of"]

signatures_max: Final = 32
_ALGORITHM_ED25519: Final = b"\x01"
_HASH_BYTES: Final = 4
_DASH: Final = "\u2014 "
_NUMBER: Final = re.compile(r"\A(0|[1-9][0-9]{0,15})\Z")


def key_hash(name: str, public_key: bytes) -> bytes:
    """The four bytes by which a note names an Ed25519 key."""
    data = name.encode() + b"\n" + _ALGORITHM_ED25519 + public_key
    return hashlib.sha256(data).digest()[:_HASH_BYTES]


def text_of(checkpoint: Checkpoint) -> str:
    """The text that is signed."""
    lines = [
        checkpoint.origin,
        str(checkpoint.size),
        _standard(checkpoint.root),
        f"order_time {checkpoint.order_time}",
    ]
    if checkpoint.map_root:
        lines.append(f"map {_standard(checkpoint.map_root)}")
    return "".join(f"{line}\n" for line in lines)


def sign(checkpoint: Checkpoint, keyrings: Sequence[Keyring]) -> str:
    """The signed note of a checkpoint."""
    text = text_of(checkpoint)
    lines = []
    for keyring in keyrings:
        public = canonical.bytes_from(keyring.public)
        raw = canonical.bytes_from(keyring.sign(text.encode())[0].signature)
        blob = base64.b64encode(key_hash(checkpoint.origin, public) + raw).decode()
        lines.append(f"{_DASH}{checkpoint.origin} {blob}\n")
    return f"{text}\n{''.join(lines)}"


def read(note: str, trust: Trust) -> Checkpoint:
    """The checkpoint in a signed note, if those who are trusted signed it.

    Raises:
        errors.VerificationFailed: TFG-2101 malformed, TFG-2102 of another log, TFG-2103 not signed
            by enough of the trusted keys.

    """
    text, signatures = _split(note)
    checkpoint = _parse(text)
    if checkpoint.origin != trust.origin:
        raise errors.VerificationFailed(
            "TFG-2102", f"the checkpoint is of another log: {checkpoint.origin[:128]!r}",
            where=trust.origin, hint="the server serves another ledger than the one asked for",
        )  # fmt: skip
    _check_signers(text, signatures, trust)
    return checkpoint


def _split(note: str) -> tuple[str, list[tuple[str, bytes]]]:
    if len(note.encode("utf-8", "replace")) > limits.checkpoint_bytes_max:
        raise _malformed("too large")
    if any(ord(char) < 0x20 and char != "\n" for char in note):
        raise _malformed("control character")
    text, gap, tail = note.rpartition("\n\n")
    if not gap or not tail.endswith("\n"):
        raise _malformed("no signatures after an empty line, or no final newline")
    lines = tail[:-1].split("\n")
    if len(lines) > signatures_max:
        raise _malformed("too many signatures")
    return f"{text}\n", [_signature(line) for line in lines]


def _signature(line: str) -> tuple[str, bytes]:
    name, space, blob = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not name or not space or "+" in name or len(name.split()) != 1:
        raise _malformed("a signature line does not name its key")
    raw = _bytes(blob)
    if len(raw) <= _HASH_BYTES:
        raise _malformed("a signature is too short")
    return name, raw


def _parse(text: str) -> Checkpoint:
    lines = text[:-1].split("\n")
    if len(lines) < 3 or not all(lines):
        raise _malformed("fewer than three lines, or an empty one")
    origin, size, root, *extensions = lines
    times = [line for line in extensions if line.startswith("order_time ")]
    maps = [line.removeprefix("map ") for line in extensions if line.startswith("map ")]
    if len(times) != 1 or len(maps) > 1:
        raise _malformed("one order_time line and at most one map line are needed")
    return Checkpoint(
        origin=origin, size=_number(size), root=_root(root),
        order_time=_number(times[0].removeprefix("order_time ")),
        map_root=_root(maps[0]) if maps else "",
    )  # fmt: skip


def _check_signers(text: str, signatures: Iterable[tuple[str, bytes]], trust: Trust) -> None:
    publics = [canonical.bytes_from(key, size=keys.public_key_bytes) for key in trust.keys]
    known = {key_hash(trust.origin, public): public for public in publics}
    signed = set()
    for name, raw in signatures:
        public = known.get(raw[:_HASH_BYTES])
        if name != trust.origin or public is None:
            continue
        if not keys.verify(public, text.encode(), raw[_HASH_BYTES:]):
            raise errors.VerificationFailed(
                "TFG-2103", "a signature of a trusted key does not cover the checkpoint",
                where=trust.origin,
            )  # fmt: skip
        signed.add(public)
    if len(signed) < trust.threshold:
        raise errors.VerificationFailed(
            "TFG-2103", f"{len(signed)} of {trust.threshold} trusted keys signed the checkpoint",
            where=trust.origin,
        )  # fmt: skip


def _number(text: str) -> int:
    if not _NUMBER.match(text) or int(text) > limits.integer_max:
        raise _malformed("not a number in its shortest form")
    return int(text)


def _root(text: str) -> str:
    raw = _bytes(text)
    if len(raw) != hashlib.sha256().digest_size:
        raise _malformed("a root has another size than 32 bytes")
    return canonical.text_from(raw)


def _bytes(text: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as fault:
        raise _malformed("not base64") from fault
    if base64.b64encode(raw).decode() != text:
        raise _malformed("not the one base64 form of its bytes")
    return raw


def _standard(text: str) -> str:
    return base64.b64encode(canonical.bytes_from(text)).decode()


def _malformed(why: str) -> errors.VerificationFailed:
    return errors.VerificationFailed("TFG-2101", f"not a signed checkpoint: {why}")
