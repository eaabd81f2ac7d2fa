"""What every answer is: a frozen value whose tag is the name of its schema."""

from __future__ import annotations

import msgspec

__all__ = ["Answer", "Row"]


class Answer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The base of all answers; subclass with `tag` as the schema's name."""


class Row(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The base of parts of answers."""
