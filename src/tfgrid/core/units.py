"""Cores, bytes, money and time as integers, with their unit in the name.

Cores are counted in thousandths (`cpu_millis`), memory and disk in bytes, time in milliseconds,
money in the smallest unit of its currency (TFT has seven decimals, as every Stellar asset). Money
is written as a decimal string, because other languages read JSON numbers as floats.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Final, Literal, TypeAlias

from msgspec import Meta

from tfgrid.core import errors, limits
from tfgrid.core.schema import Count, Value

__all__ = [
    "Amount",
    "Capacity",
    "Money",
    "bytes_text",
    "money_text",
    "parse_bytes",
    "parse_cpu",
    "parse_seconds",
    "time_text",
]

Amount: TypeAlias = Annotated[str, Meta(pattern=r"\A(0|[1-9][0-9]{0,17})\Z")]
"""An amount of money in the smallest unit, as decimal text."""

tft_decimals: Final = 7


class Money(Value, frozen=True):
    """An amount and its currency; `amount` counts ten-millionths of a TFT."""

    amount: Amount
    currency: Literal["TFT"] = "TFT"

    def __int__(self) -> int:
        return int(self.amount)


class Capacity(Value, frozen=True):
    """What a node has, or a workload asks: CRU, MRU, SRU and HRU in their base units."""

    cpu_millis: Count = 0
    memory_bytes: Count = 0
    ssd_bytes: Count = 0
    hdd_bytes: Count = 0

    def plus(self, other: Capacity) -> Capacity:
        """The sum, dimension by dimension."""
        return Capacity(**{f: getattr(self, f) + getattr(other, f) for f in self.__struct_fields__})

    def minus(self, other: Capacity) -> Capacity:
        """What is left, dimension by dimension, never below nothing."""
        return Capacity(
            **{f: max(0, getattr(self, f) - getattr(other, f)) for f in self.__struct_fields__}
        )

    def lacks(self, asked: Capacity) -> dict[str, int]:
        """How much is missing in each dimension where `asked` is more than this."""
        gaps = {f: getattr(asked, f) - getattr(self, f) for f in self.__struct_fields__}
        return {f: gap for f, gap in gaps.items() if gap > 0}


_BYTE_UNITS: Final = {"": 1, "b": 1} | {
    f"{letter}{tail}": 1024**power if tail != "b" else 1000**power
    for power, letter in enumerate("kmgt", start=1)
    for tail in ("", "b", "ib")
}
_COARSE: Final = 1000
"""From units of this size on, a fraction may be rounded down; smaller ones lose nothing."""
_SECOND_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def _quantity(text: str, table: dict[str, int], kind: str, example: str) -> int:
    match = re.fullmatch(r"([0-9]{1,12})(?:\.([0-9]{1,3}))?\s*([A-Za-z]*)", text.strip(), re.ASCII)
    unit = match and table.get(match[3].lower())
    if not match or not unit:
        raise errors.BadInput(
            "TFG-1003", f"{text!r} is not a {kind}", where=text, hint=f"write it like {example}"
        )
    fraction = int((match[2] or "").ljust(3, "0")) * unit
    count = int(match[1]) * unit + fraction // 1000
    if count > limits.integer_max or (unit < _COARSE and fraction % 1000):
        raise errors.BadInput(
            "TFG-1005", f"{text!r} is not a {kind} that can be counted", where=text,
            hint=f"write it like {example}",
        )  # fmt: skip
    return count


def parse_bytes(text: str) -> int:
    """Bytes from text such as `64MiB` or `2G` (both binary; `64MB` is decimal).

    Raises:
        errors.BadInput: TFG-1003 not a size, TFG-1005 too large, or less than a byte.

    """
    return _quantity(text, _BYTE_UNITS, "size", "64MiB")


def parse_cpu(text: str) -> int:
    """Thousandths of a core from text such as `0.25` or `250m`.

    Raises:
        errors.BadInput: TFG-1003 not a number of cores, TFG-1005 too large, or parts of a
        thousandth.

    """
    return _quantity(text, {"": 1000, "m": 1}, "number of cores", "0.25")


def parse_seconds(text: str) -> int:
    """Whole seconds from text such as `90s`, `15m`, `30d`.

    Raises:
        errors.BadInput: TFG-1003 not a span, TFG-1005 too large, or parts of a second.

    """
    return _quantity(text, _SECOND_UNITS, "span of time", "30d")


def bytes_text(count: int) -> str:
    """Bytes for people, in IEC units: `64 MiB`, `1.5 GiB`."""
    value, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.0f} {unit}" if value == int(value) else f"{value:.1f} {unit}"


def money_text(money: Money) -> str:
    """Money for people: `0.42 TFT`."""
    whole, rest = divmod(int(money), 10**tft_decimals)
    decimals = f"{rest:0{tft_decimals}d}".rstrip("0")
    return f"{whole}{'.' + decimals if decimals else ''} {money.currency}"


def time_text(moment_ms: int) -> str:
    """A moment as RFC 3339 in UTC, to the second."""
    return datetime.fromtimestamp(moment_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
