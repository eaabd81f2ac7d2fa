"""The base of every value that is stored or sent, and the field types they share.

A value is frozen, knows its fields exactly (an unknown field is refused) and writes
all of them (a default is written too, so that what is signed says everything).
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from tfgrid.core import limits

__all__ = [
    "Base64",
    "Count",
    "DigestText",
    "Integer",
    "Moment",
    "Name",
    "Seconds",
    "Tag",
    "Text",
    "Value",
]


class Value(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A frozen value of the grid's documents; subclass with annotated fields.

    Tagged unions use `tag_field="type"` and the word of `docs/glossary.md` as the tag.
    """


Integer: TypeAlias = Annotated[int, Meta(ge=-limits.integer_max, le=limits.integer_max)]
"""An integer that every language holds exactly."""

Count: TypeAlias = Annotated[int, Meta(ge=0, le=limits.integer_max)]
"""A non-negative integer."""

Moment: TypeAlias = Annotated[int, Meta(ge=0, le=limits.integer_max)]
"""Milliseconds since 1970-01-01 UTC."""

Seconds: TypeAlias = Annotated[int, Meta(ge=0, le=limits.integer_max)]
"""A span of whole seconds."""

Name: TypeAlias = Annotated[
    str, Meta(pattern=r"\A[a-z]([a-z0-9-]{0,61}[a-z0-9])?\Z", max_length=limits.name_chars_max)
]
"""A name that is also a DNS label (RFC 1035): lower case, digits and inner hyphens."""

Text: TypeAlias = Annotated[str, Meta(max_length=limits.text_chars_max)]
"""Free text for people."""

Tag: TypeAlias = Annotated[
    str, Meta(pattern=r"\A[a-z][a-z0-9.-]*:[A-Za-z0-9._-]+\Z", max_length=limits.tag_chars_max)
]
"""`word:value`, by which records are found, such as `node:<id>`."""

DigestText: TypeAlias = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
"""SHA-256 in lower-case hexadecimal."""

Base64: TypeAlias = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_-]*\Z")]
"""Bytes as base64url without padding (RFC 4648 section 5); decode with `canonical.bytes_from`."""
