"""The one table of exit codes; `tfgrid help exit-codes` prints it.

A code that is not in the table counts as a failure. The classes of `core.errors` carry theirs.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

__all__ = ["MEANINGS", "ExitCode"]


class ExitCode(IntEnum):
    """How a command ended."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    PARTLY = 3
    NOT_FOUND = 4
    NOT_ALLOWED = 5
    CONFLICT = 6
    NO_FIT = 7
    NO_FUNDS = 8
    STILL_GOING = 9
    WAITING = 10
    VERIFICATION_FAILED = 11
    UNREACHABLE = 12
    MACHINE_LACKS = 13
    CHANGES = 20
    INTERRUPTED = 130


MEANINGS: Final[dict[ExitCode, str]] = {
    ExitCode.DONE: "done, or nothing to do",
    ExitCode.FAILED: "failed",
    ExitCode.USAGE: "wrong usage, or a question needed an answer",
    ExitCode.PARTLY: "partly done; the answer lists what was not",
    ExitCode.NOT_FOUND: "no such thing",
    ExitCode.NOT_ALLOWED: "not allowed: identity, role or quorum",
    ExitCode.CONFLICT: "someone changed it meanwhile",
    ExitCode.NO_FIT: "no node fits",
    ExitCode.NO_FUNDS: "not enough funds",
    ExitCode.STILL_GOING: "still going when --timeout ended; repeat to resume",
    ExitCode.WAITING: "registered, waiting for approvals",
    ExitCode.VERIFICATION_FAILED: "verification failed: proof, digest or signature",
    ExitCode.UNREACHABLE: "grid unreachable",
    ExitCode.MACHINE_LACKS: "this machine lacks something, see tfgrid doctor",
    ExitCode.CHANGES: "plan --detailed-exitcode: there are changes",
    ExitCode.INTERRUPTED: "interrupted",
}

assert set(MEANINGS) == set(ExitCode)
