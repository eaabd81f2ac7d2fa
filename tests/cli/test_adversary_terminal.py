"""Texts of strangers reach a person's terminal as text."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tfgrid.core import errors
from tfgrid.doors.cli import render
from tfgrid.doors.cli.frame import (
    Progress,
    Settings,
    cell,
    hints,
    printable,
    report,
    say,
    show,
    show_all,
    stream,
)

HOSTILE = (
    "a\x1b]0;title\x07b\x1b[2Jc\x1b]52;c;eA==\x07d\x9b31me\x08f\rg\u202eh\u2066i\x00j\x7fk\u2028l"
)
STEERS = [c for c in HOSTILE if not c.isprintable()]


def _harmless(text: str) -> bool:
    return bool(text.strip()) and not set(STEERS) & set(text)


def test_every_control_character_is_shown_and_none_is_sent() -> None:
    """C0, C1, DEL, bidirectional and unseen characters become escapes; letters stay letters."""
    for code in (*range(0x20), *range(0x7F, 0xA0), 0x200F, 0x202E, 0x2066, 0xFEFF, 0xE0041):
        assert cell(chr(code)).isprintable(), hex(code)
    assert printable("é ж 漢 🙂\tx\ny") == "é ж 漢 🙂\tx\ny"


def test_colour_passes_where_colour_is_wanted_and_nothing_else() -> None:
    """Of escape sequences only those that set colours are let through, and only when asked."""
    assert printable("\x1b[1;31mred\x1b[0m\x1b[2J", colour=True) == "\x1b[1;31mred\x1b[0m\\x1b[2J"
    assert printable("\x1b[31mred") == "\\x1b[31mred"


Writer = Callable[[Settings], object]
WRITERS: dict[str, Writer] = {
    "answer": lambda s: show(s, HOSTILE, str),
    "list": lambda s: show_all(s, [HOSTILE], "\n".join),
    "stream": lambda s: stream(s, [HOSTILE], str),
    "say": lambda s: say(s, HOSTILE),
    "hint": lambda s: hints(s, HOSTILE),
    "table": lambda s: show(s, HOSTILE, lambda t: render.table(s, ("what",), [(t,)])),
    "fields": lambda s: show(s, HOSTILE, lambda t: render.field_list([("what", t)])),
    "error": lambda s: report(
        errors.Failed("TFG-5005", HOSTILE, where=HOSTILE, hint=HOSTILE, reasons=[HOSTILE]), s
    ),
    "progress": lambda s: Progress(s, "t").change(HOSTILE, HOSTILE),
}


@pytest.mark.parametrize("colour", [False, True], ids=["plain", "colour"])
@pytest.mark.parametrize("name", WRITERS)
def test_whatever_writes_to_a_terminal_writes_no_strangers_controls(
    name: str, colour: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers, tables, progress, hints and errors carry what a stranger wrote, defused."""
    monkeypatch.setattr(Settings, "colour", property(lambda _: colour))
    monkeypatch.setenv("TFGRID_HINTS", "1")
    WRITERS[name](Settings())
    told = "".join(capsys.readouterr())
    assert "title" in told
    assert _harmless(re.sub(r"\x1b\[[0-9;]*m", "", told))


def test_a_stranger_cannot_add_a_row_or_a_field() -> None:
    """A line's end inside a cell is shown; further lines of a field stand under its value."""
    table = render.plain_table(("who", "said"), [("mallory", "yes\nlegal    approve")])
    assert len(table.splitlines()) == 2
    fields = render.field_list([("reason", "x\nsigned by  legal")])
    assert not any(line.startswith("signed by") for line in fields.splitlines())
