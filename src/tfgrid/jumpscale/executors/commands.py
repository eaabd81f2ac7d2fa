"""Carrying changes out: natively, as commands, or only on paper."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tfgrid.core import errors
from tfgrid.jumpscale.sal.change import Argv, Change

__all__ = ["Commands", "Native", "Output", "run", "script"]

_TIMEOUT_SECONDS = 30.0
_OUTPUT_CHARS_MAX = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What a command said and how it ended."""

    exit_code: int
    stdout: str
    stderr: str


def run(
    argv: Sequence[str],
    *,
    timeout_seconds: float = _TIMEOUT_SECONDS,
    stdin: str = "",
    check: bool = True,
) -> Output:
    """Run one command to its end, within a time, and keep at most 64 Ki characters of each output.

    Raises:
        errors.MachineLacks: TFG-3002, there is no such program.
        errors.StillGoing: TFG-3003, it was killed when the time was over.
        errors.Failed: TFG-3004, it exited with another code than 0 and `check` is set.

    """
    try:
        done = subprocess.run(
            list(argv),
            input=stdin.encode(),
            capture_output=True,
            timeout=timeout_seconds,
            check=False,
        )
    except FileNotFoundError as error:
        raise errors.MachineLacks(
            "TFG-3002", f"the program {argv[0]} is missing", where=argv[0], hint="tfgrid doctor"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise errors.StillGoing(
            "TFG-3003", f"{argv[0]} did not end within {timeout_seconds} s", where=argv[0]
        ) from error
    stdout, stderr = (
        b.decode("utf-8", "replace")[-_OUTPUT_CHARS_MAX:] for b in (done.stdout, done.stderr)
    )
    if check and done.returncode:
        said = (stderr or stdout).strip()[-500:]
        raise errors.Failed(
            "TFG-3004",
            f"{argv[0]} failed with {done.returncode}: {said}",
            where=argv[0],
            exit_code=done.returncode,
        )
    return Output(exit_code=done.returncode, stdout=stdout, stderr=stderr)


class Native:
    """Performs changes on this machine by system call and netlink."""

    def apply(self, changes: Iterable[Change]) -> None:
        """Make each change in turn; raises what the first that fails raises."""
        for change in changes:
            change.perform()


class Commands:
    """Runs the rendered command lines, here or through a `prefix` such as `ssh host --`.

    With `quoting` the whole line is passed as one argument, as ssh wants it.
    """

    def __init__(self, prefix: Argv = (), *, quoting: bool = False) -> None:
        self._prefix = prefix
        self._quoting = quoting

    def apply(self, changes: Iterable[Change]) -> None:
        """Make each change in turn; raises what `run` raises, at the first that fails."""
        for change in changes:
            for line in change.argv():
                run((*self._prefix, *((shlex.join(line),) if self._quoting else line)))


def script(changes: Iterable[Change]) -> str:
    """The changes as a person would type them, one command a line."""
    return "".join(f"{change}\n" for change in changes)
