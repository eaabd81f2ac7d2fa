"""What failed, why, what to do, where to read on: always the four, as text or as one JSON object.

Operating faults are `core.errors`; the parser's become `TFG-5001`; anything else is a fault of this
program and says so, with its trace under `--verbose`.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Mapping
from typing import Any, Final

import click

from tfgrid.core import errors
from tfgrid.doors.cli.frame.exits import ExitCode
from tfgrid.doors.cli.frame.settings import Settings
from tfgrid.doors.cli.frame.terminal import printable

__all__ = ["as_object", "report"]

_ABOUT_THE_FILE: Final = {
    errno.EACCES, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOSPC, errno.ENOTDIR,
    errno.EPERM, errno.EROFS,
}  # fmt: skip


def report(fault: BaseException, settings: Settings) -> int:
    """Write the fault to standard error and give the exit code."""
    known = _known(fault)
    code = ExitCode.INTERRUPTED if known.code == "TFG-5010" else ExitCode(known.exit_code)
    if settings.json:
        import json

        sys.stderr.write(json.dumps(as_object(known, code), default=str) + "\n")
    else:
        _write_text(known)
    if settings.verbose or known.code == "TFG-5005":
        sys.stderr.write(printable("".join(traceback.format_exception(fault))))
    return int(code)


def as_object(fault: errors.GridError, code: int) -> dict[str, Any]:
    """The error as `--json` gives it."""
    return {
        "schema": "tfgrid.error/1",
        "type": "error",
        "code": fault.code,
        "exit": int(code),
        "message": fault.what,
        "where": fault.where,
        "hint": _hint(fault),
        "docs": f"tfgrid help {fault.code}",
        "retryable": fault.retry,
        "details": fault.details,
    }


def _write_text(fault: errors.GridError) -> None:
    where = f"  [{fault.where}]" if fault.where and fault.where not in fault.what else ""
    lines = [f"error: {fault.what}{where}"]
    lines += [f"   {reason}" for reason in _reasons(fault)]
    lines.append(f"  try: {_hint(fault)}")
    lines.append(f"  more: tfgrid help {fault.code}")
    sys.stderr.write(printable("\n".join(lines)) + "\n")


def _hint(fault: errors.GridError) -> str:
    """What to do: what the fault itself proposes, or else the catalogue's remedy for its code."""
    if fault.hint:
        return fault.hint
    from tfgrid.core import catalogue

    known = catalogue.entries().get(fault.code)
    return known.remedy if known else f"tfgrid help {fault.code}"


def _reasons(fault: errors.GridError) -> list[str]:
    """Every reason that the fault carries: a list, or lists by the thing that each concerns.

    `names` in the details says what people call those things, `grid` what none of them could mend.
    """
    reasons = fault.details.get("reasons")
    names: Mapping[str, str] = fault.details.get("names", {})  # type: ignore[assignment]
    grid = [f"grid: {text}" for text in _flat(fault.details.get("grid"))]
    if isinstance(reasons, Mapping):
        named = {str(names.get(thing, thing)): texts for thing, texts in reasons.items()}
        return [f"{n}: {text}" for n in sorted(named) for text in _flat(named[n])] + grid
    return _flat(reasons) + grid


def _flat(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        return [f"{name}: {text}" for name, texts in value.items() for text in _flat(texts)]
    return [text for one in value for text in _flat(one)] if isinstance(value, list | tuple) else []


def _known(fault: BaseException) -> errors.GridError:
    if isinstance(fault, errors.GridError):
        return fault
    if isinstance(fault, click.UsageError):
        path = fault.ctx.command_path if fault.ctx else "tfgrid"
        what = " ".join(fault.format_message().split()).rstrip(".,")
        return errors.BadInput("TFG-5001", what, hint=f"{path} --help")
    if isinstance(fault, click.ClickException):
        return errors.BadInput("TFG-5001", fault.format_message().rstrip("."))
    if isinstance(fault, click.Abort | KeyboardInterrupt):
        return errors.Failed(
            "TFG-5010", "interrupted; what was begun is kept", hint="repeat the command to resume"
        )
    if isinstance(fault, OSError) and fault.filename and fault.errno in _ABOUT_THE_FILE:
        return errors.NotAllowed(
            "TFG-5029", f"{fault.filename}: {os.strerror(fault.errno).lower()}",
            hint="name another file, or run as the user to whom it belongs",
        )  # fmt: skip
    return errors.Failed(
        "TFG-5005", f"this program has a fault: {type(fault).__name__}: {fault}",
        hint="report it with the lines below",
    )  # fmt: skip
