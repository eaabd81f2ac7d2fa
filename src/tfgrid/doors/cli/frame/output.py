"""The answer goes to standard output, all else to standard error.

An answer is a frozen value whose tag is its schema (`answers`). With `--json` it is written as one
line, a list as one array, a stream as one object a line; otherwise the command's own renderer turns
it into text.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from tfgrid.doors.cli.frame.settings import Settings
from tfgrid.doors.cli.frame.terminal import printable

__all__ = ["hints", "say", "show", "show_all", "stream", "write_file"]

_A = TypeVar("_A")


def _encode(value: object) -> str:
    import msgspec

    return msgspec.json.encode(value).decode()


def show(settings: Settings, answer: _A, text: Callable[[_A], str]) -> None:
    """Answer with one object."""
    _write(_encode(answer) if settings.json else _shown(settings, text(answer)))


def show_all(
    settings: Settings, answers: Sequence[_A], text: Callable[[Sequence[_A]], str]
) -> None:
    """Answer with a list."""
    _write(_encode(list(answers)) if settings.json else _shown(settings, text(answers)))


def stream(settings: Settings, answers: Iterable[_A], text: Callable[[_A], str]) -> None:
    """Answer with one object a line, as they come."""
    for answer in answers:
        show(settings, answer, text)


def _shown(settings: Settings, text: str) -> str:
    return printable(text, colour=settings.colour)


def _write(text: str) -> None:
    if text:
        sys.stdout.write(text if text.endswith("\n") else text + "\n")
        sys.stdout.flush()  # what is said on standard error afterwards stays behind the answer


def write_file(path: Path, data: bytes) -> None:
    """Keep an answer in the file that was named with `-o`.

    Raises:
        errors.Failed: TFG-5026, the file cannot be written.

    """
    from tfgrid.core import errors

    try:
        path.write_bytes(data)
    except OSError as fault:
        raise errors.Failed(
            "TFG-5026", f"{path} cannot be written: {(fault.strerror or str(fault)).lower()}",
            where=str(path.absolute()), hint="name another file with -o",
        ) from fault  # fmt: skip


def say(settings: Settings, text: str) -> None:
    """Tell the person something beside the answer."""
    if not settings.quiet and not settings.json:
        sys.stderr.write(_shown(settings, text) + "\n")


def hints(settings: Settings, *lines: str) -> None:
    """At most three things that could be done next, each a runnable command or a URL."""
    assert len(lines) <= 3
    if settings.hints:
        for line in lines:
            sys.stderr.write(f"  {_shown(settings, line)}\n")
