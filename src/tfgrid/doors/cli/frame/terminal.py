"""Text of strangers on a person's terminal: what would steer it is shown, never sent.

Names, reasons, descriptions and log lines come from records and workloads that anybody may write.
Control characters (moving the cursor, setting titles, filling the clipboard) and characters that
reverse or end the line are written as escapes; colour that this program makes itself passes.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["cell", "printable"]

_CONTROLS: Final = (*range(0x20), *range(0x7F, 0xA0))
# Marks, embeddings and isolates of text direction; line and paragraph separators; the byte mark.
_UNSEEN: Final = (0x061C, *range(0x200B, 0x2010), *range(0x2028, 0x202F), *range(0x2066, 0x206A))
_TAGS: Final = (0xFEFF, *range(0xE0000, 0xE0080))
_SHOWN: Final = {
    code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    for code in (*_CONTROLS, *_UNSEEN, *_TAGS)
}
_LINES: Final = {code: text for code, text in _SHOWN.items() if chr(code) not in "\n\t"}
_COLOUR: Final = re.compile(r"(\x1b\[[0-9;]*m)")


def printable(text: str, *, colour: bool = False) -> str:
    """Lines of text without anything that steers a terminal; `colour` lets colours through."""
    if not colour:
        return text.translate(_LINES)
    parts = _COLOUR.split(text)
    return "".join(p if n % 2 else p.translate(_LINES) for n, p in enumerate(parts))


def cell(text: str) -> str:
    """Text for one place of one line: ends of lines are shown too."""
    return text.translate(_SHOWN)
