"""The one byte form of a document, and the strict way back.

Form: RFC 8785 (JSON Canonicalization Scheme) with ASCII keys, integers within 2^53 and no floats;
bytes as base64url without padding; money as decimal strings. Under these rules msgspec with sorted
keys produces exactly RFC 8785 (the `rfc8785` package is the oracle in the tests).

The way back is closed with one rule: **the received bytes must equal the canonical form of what was
parsed**. It refuses duplicate keys, escaped keys, `-0`, `1.0`, white space and omitted defaults at
once. Depth and size are bounded before anything is parsed. Received bytes are stored and verified
as received.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from functools import cache
from typing import Any, Final, TypeVar, cast

import msgspec

from tfgrid.core import errors, limits
from tfgrid.core.ids import Digest

__all__ = ["bytes_from", "digest", "encode", "parse", "sha256", "text_from"]

_T = TypeVar("_T")

_QUOTE: Final = ord('"')
_ENCODER: Final = msgspec.json.Encoder(order="sorted")
# Possessive, and matching a string without an end too: no input makes it look at a byte twice.
_STRING_OR_BRACKET: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)


def encode(value: object) -> bytes:
    """The canonical bytes of a `schema.Value` (or of plain JSON-able data)."""
    return _ENCODER.encode(value)


@cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind, strict=True)


def parse(data: bytes, kind: type[_T], *, bytes_max: int = limits.document_bytes_max) -> _T:
    """Parse one document of type `kind` and hold that `data` is its canonical form.

    Raises:
        errors.BadInput: TFG-1101 too large, TFG-1102 too deep, TFG-1103 not of this type (the field
        is
            named), TFG-1104 not canonical, TFG-1106 a key outside ASCII.

    """
    name = getattr(kind, "__name__", str(kind)).lstrip("_")
    if len(data) > bytes_max:
        raise errors.BadInput(
            "TFG-1101", f"document has {len(data)} bytes, the limit is {bytes_max}", where=name
        )
    _check_shape(data, name)
    decoder: msgspec.json.Decoder[_T] = _decoder(cast("Any", kind))
    try:
        value = decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        raise errors.BadInput("TFG-1103", f"not a valid {name}: {fault}", where=name) from fault
    if encode(value) != data:
        raise errors.BadInput(
            "TFG-1104", f"the bytes are not the canonical form of this {name}", where=name,
            hint="sort keys, drop white space and write every field once",
        )  # fmt: skip
    return value


def _check_shape(data: bytes, name: str) -> None:
    depth, ascii_only = 0, data.isascii()
    for token in _STRING_OR_BRACKET.finditer(data):
        first = data[token.start()]
        if first == _QUOTE:
            is_key = data[token.end() : token.end() + 1] == b":"
            if not ascii_only and is_key and not token[0].isascii():
                raise errors.BadInput("TFG-1106", "a key has letters outside ASCII", where=name)
        elif first in b"[{":
            depth += 1
            if depth > limits.document_depth_max:
                raise errors.BadInput(
                    "TFG-1102", f"document nests deeper than {limits.document_depth_max}",
                    where=name,
                )  # fmt: skip
        else:
            depth -= 1


def sha256(data: bytes) -> bytes:
    """SHA-256, 32 bytes."""
    return hashlib.sha256(data).digest()


def digest(data: bytes) -> Digest:
    """The name of some bytes: their SHA-256 in hexadecimal."""
    return Digest(hashlib.sha256(data).hexdigest())


def text_from(data: bytes) -> str:
    """Bytes as base64url text without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def bytes_from(text: str, *, size: int | None = None) -> bytes:
    """The bytes of base64url text; exactly one text names given bytes.

    Args:
        text: base64url without padding.
        size: the number of bytes it must have, if known.

    Raises:
        errors.BadInput: TFG-1105.

    """
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError) as fault:
        raise errors.BadInput("TFG-1105", "not base64url", where=text[:32]) from fault
    if text_from(data) != text or (size is not None and len(data) != size):
        raise errors.BadInput(
            "TFG-1105", "not base64url of the expected size without padding", where=text[:32]
        )
    return data
