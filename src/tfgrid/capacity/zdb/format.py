"""RESP2 on the wire: requests as arrays of bulk strings, replies of five kinds.

The decoder is fed bytes as they come and gives whole replies; it reads nothing itself and bounds
everything: a server that lies about lengths costs no memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from tfgrid.core import errors

__all__ = ["Decoder", "ErrorReply", "Reply", "encode"]

bulk_bytes_max: Final = 16 * 1024**2
items_max: Final = 1024**2
depth_max: Final = 8
line_bytes_max: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class ErrorReply:
    """An error, as the server worded it."""

    text: str


Reply: TypeAlias = "bytes | str | int | ErrorReply | list[Reply] | None"
"""Bulk string, status, integer, nil, error, or array of these."""


def encode(arguments: Sequence[bytes]) -> bytes:
    """One request."""
    parts = [b"*%d\r\n" % len(arguments)]
    parts += [b"$%d\r\n%b\r\n" % (len(argument), argument) for argument in arguments]
    return b"".join(parts)


def _bad(what: str) -> errors.VerificationFailed:
    return errors.VerificationFailed(
        "TFG-3703", f"the server does not speak RESP2: {what}", hint="is it a Zero-DB?"
    )


class _NeedMoreError(Exception):
    """Not whole yet."""


class Decoder:
    """Replies from a stream of bytes."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._needed = 1

    def feed(self, data: bytes) -> None:
        """Take bytes that arrived."""
        self._bytes += data

    def next(self) -> tuple[Reply] | None:
        """The next whole reply in a tuple, since a reply may be None; or None when there is none.

        Raises:
            errors.VerificationFailed: TFG-3703, the bytes are no RESP2.

        """
        if len(self._bytes) < self._needed:
            return None
        try:
            reply, end = self._read(0, depth_max)
        except _NeedMoreError:
            return None
        del self._bytes[:end]
        self._needed = 1
        return (reply,)

    def _line(self, at: int) -> tuple[bytes, int]:
        end = self._bytes.find(b"\r\n", at, at + line_bytes_max)
        if end < 0:
            if len(self._bytes) - at >= line_bytes_max:
                raise _bad("a line has no end")
            raise _NeedMoreError
        return bytes(self._bytes[at:end]), end + 2

    def _read(self, at: int, depth: int) -> tuple[Reply, int]:
        line, at = self._line(at)
        kind, text = line[:1], line[1:]
        match kind:
            case b"+":
                return text.decode("utf-8", "replace"), at
            case b"-":
                return ErrorReply(text.decode("utf-8", "replace")), at
            case b":":
                return _number(text), at
            case b"$":
                return self._bulk(_number(text), at)
            case b"*":
                return self._array(_number(text), at, depth)
            case _:
                raise _bad(f"a reply begins with {kind!r}")

    def _bulk(self, length: int, at: int) -> tuple[bytes | None, int]:
        if length == -1:
            return None, at
        if not 0 <= length <= bulk_bytes_max:
            raise _bad(f"a string of {length} bytes")
        end = at + length
        if len(self._bytes) < end + 2:
            # Nothing is looked at again before that many bytes are here.
            self._needed = end + 2
            raise _NeedMoreError
        if self._bytes[end : end + 2] != b"\r\n":
            raise _bad("a string does not end where it said")
        return bytes(self._bytes[at:end]), end + 2

    def _array(self, count: int, at: int, depth: int) -> tuple[Reply, int]:
        if count == -1:
            return None, at
        if not 0 <= count <= items_max or depth == 0:
            raise _bad(f"an array of {count}, {depth_max - depth} deep")
        items: list[Reply] = []
        for _ in range(count):
            item, at = self._read(at, depth - 1)
            items.append(item)
        return items, at


def _number(text: bytes) -> int:
    digits = text.removeprefix(b"-")
    if not digits.isdigit() or len(digits) > 20:
        raise _bad(f"{text[:32]!r} is no number")
    return int(text)
