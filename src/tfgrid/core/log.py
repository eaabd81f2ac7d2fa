"""Structured log lines: one JSON object a line on stderr, or short text on a terminal.

A line has `at`, `level`, `part` (a package's word, such as `zdb`), `event` (a fixed phrase) and
fields. Fields are ids, numbers and short text; secrets have no type that may be logged.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Literal, TextIO, TypeAlias

__all__ = ["Field", "Level", "Log"]

Level: TypeAlias = Literal["debug", "info", "warning", "error"]
Field: TypeAlias = str | int | float | bool | None
_ORDER: tuple[Level, ...] = ("debug", "info", "warning", "error")


class Log:
    """Writes lines of one part; `bind` gives a log with fields that every line carries."""

    def __init__(
        self, part: str, *, level: Level = "info", stream: TextIO | None = None, **bound: Field
    ) -> None:
        self._part = part
        self._level: Level = level
        self._stream = stream
        self._bound = bound

    def bind(self, **fields: Field) -> Log:
        """The same log with more fields on every line."""
        return Log(self._part, level=self._level, stream=self._stream, **(self._bound | fields))

    def write(self, level: Level, event: str, **fields: Field) -> None:
        """Write one line if `level` is at or above the log's own."""
        if _ORDER.index(level) < _ORDER.index(self._level):
            return
        stream = self._stream or sys.stderr
        now_ms = time.time_ns() // 1_000_000
        clock = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now_ms // 1000))
        at = f"{clock}.{now_ms % 1000:03}Z"
        merged = self._bound | fields
        if stream.isatty():
            extra = " ".join(f"{k}={_plain(v)}" for k, v in merged.items())
            line = f"{at[11:23]} {level:7} {self._part}: {event} {extra}".rstrip()
        else:
            head = {"at": at, "level": level, "part": self._part, "event": event}
            line = json.dumps(head | merged | head, separators=(",", ":"))
        stream.write(line + "\n")
        stream.flush()

    def debug(self, event: str, **fields: Field) -> None:
        """For whoever debugs this part."""
        self.write("debug", event, **fields)

    def info(self, event: str, **fields: Field) -> None:
        """Something happened as it should."""
        self.write("info", event, **fields)

    def warning(self, event: str, **fields: Field) -> None:
        """Something is off, and the part goes on."""
        self.write("warning", event, **fields)

    def error(self, event: str, **fields: Field) -> None:
        """Something failed and somebody should look."""
        self.write("error", event, **fields)


def _plain(value: Field) -> str:
    """A field on a terminal; what a stranger put into it moves no cursor and begins no line."""
    text = str(value)
    return text if text.isprintable() else repr(text)
