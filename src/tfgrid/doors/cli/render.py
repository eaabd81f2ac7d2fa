"""Text for people: tables, marks and colour; rich is imported here, and only on a terminal.

State is a word first and a colour second, so nothing is lost without colour.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Final

from tfgrid.core import units
from tfgrid.doors.cli.frame import Settings, cell

__all__ = ["ago", "cores", "field_list", "moment", "table"]

_SENTENCE_CHARS: Final = 24
_INDENT: Final = " " * 6
_GOOD: Final = frozenset({"ok", "ready", "running", "approve", "admitted", "following"})
_BAD: Final = frozenset({"blocking", "failed", "refused", "stopped", "rejected", "halted"})
_WAITING: Final = frozenset({"note", "proposed", "approved", "accepted", "degraded", "stale"})


def table(settings: Settings, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows under headings: coloured on a terminal, aligned text elsewhere.

    Where a terminal is too narrow for a last column of sentences, they go below their rows.
    """
    if not settings.colour:
        return plain_table(columns, rows)
    width = _columns()
    plain = plain_table(columns, rows).splitlines()
    longest = max((len(row[-1]) for row in rows), default=0)
    if longest > _SENTENCE_CHARS and max(map(len, plain)) > width:
        return _narrow_table(columns, rows, width)
    return _rich_table(columns, rows)


def _columns() -> int:
    import shutil

    return shutil.get_terminal_size().columns


def plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned text; two blanks between columns."""
    lines = [[c.upper() for c in columns], *[[cell(text) for text in row] for row in rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _narrow_table(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> str:
    """The table without its last column, which follows each row, indented and wrapped."""
    table_lines = _rich_table(columns[:-1], [row[:-1] for row in rows]).splitlines()
    if len(table_lines) != len(rows) + 1:
        return _rich_table(columns, rows)  # rows that are folded themselves: nothing is gained
    lines = [table_lines[0]]
    for line, row in zip(table_lines[1:], rows, strict=True):
        lines.append(line)
        lines += textwrap.wrap(
            cell(row[-1]), max(width, 24), initial_indent=_INDENT, subsequent_indent=_INDENT
        )
    return "\n".join(lines)


def _rich_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*(Text(cell(text), style=_style(text)) for text in row))
    console = Console(width=_columns(), force_terminal=True)
    with console.capture() as capture:
        console.print(made)
    return capture.get()


def _style(word: str) -> str:
    if word in _GOOD:
        return "green"
    if word in _BAD:
        return "red"
    return "yellow" if word in _WAITING else ""


def field_list(pairs: Sequence[tuple[str, str]]) -> str:
    """Names and values, one pair a line; empty values are left out, further lines indented."""
    width = max(len(name) for name, _ in pairs)
    below = "\n" + " " * (width + 2)
    lines = ((name, value.replace("\n", below)) for name, value in pairs if value)
    return "\n".join(f"{name.ljust(width)}  {value}" for name, value in lines)


def moment(at_ms: int) -> str:
    """RFC 3339, or nothing for no moment."""
    return units.time_text(at_ms) if at_ms else ""


def ago(at_ms: int, now_ms: int) -> str:
    """How long ago, for people."""
    if not at_ms:
        return "never"
    seconds = (now_ms - at_ms) // 1000
    if seconds < 0:
        return f"in {_span(-seconds)}"
    return "now" if seconds < 1 else f"{_span(seconds)} ago"


def _span(seconds: int) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def cores(cpu_millis: int) -> str:
    """Thousandths of cores for people."""
    return f"{cpu_millis / 1000:g}"
