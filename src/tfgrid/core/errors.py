"""The tree of errors.

An error speaks to the person who must act: what failed, where, why, and what to do next. It keeps
its cause (`raise ... from`) and knows whether trying again helps. Programmer faults are asserts,
not these.

    GridError                      exit  retry
    |-- BadInput                      2    no   a document, argument or name is malformed
    |-- NotFound                      4    no   no such thing
    |-- NotAllowed                    5    no   identity, role or quorum does not permit it
    |-- Conflict                      6    no   someone changed it meanwhile; look again first
    |-- NoFit                         7    no   no node fits
    |-- StillGoing                    9   yes   the time ran out before the work did
    |-- Waiting                      10    no   registered, waiting for approvals
    |-- VerificationFailed           11    no   proof, digest or signature does not hold
    |-- Unreachable                  12   yes   a server or peer does not answer
    |-- MachineLacks                 13    no   this machine lacks something; see doctor
    `-- Failed                        1    no   anything else that was tried and did not work
        `-- Busy                      1   yes   a bounded queue is full or a lock is held

Each raise names a code from the catalogue in `docs/errors.md` (`TFG-nnnn`); a test holds that every
code used in the tree is in the catalogue, once, and that every catalogue entry is used.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "BadInput",
    "Busy",
    "Conflict",
    "Failed",
    "GridError",
    "MachineLacks",
    "NoFit",
    "NotAllowed",
    "NotFound",
    "StillGoing",
    "Unreachable",
    "VerificationFailed",
    "Waiting",
]


class GridError(Exception):
    """Something the grid could not do, in four parts.

    Args:
        code: catalogue number, `TFG-nnnn`.
        what: what failed and why, one sentence without a full stop.
        where: the thing it concerns (a path, id, node or field), or empty.
        hint: what to do next, a command where there is one, or empty.
        details: further facts for `--json`, JSON-able values only.

    """

    exit_code: ClassVar[int] = 1
    retry: ClassVar[bool] = False

    def __init__(
        self, code: str, what: str, *, where: str = "", hint: str = "", **details: object
    ) -> None:
        super().__init__(code, what, where, hint)
        self.code = code
        self.what = what
        self.where = where
        self.hint = hint
        self.details = details

    def __str__(self) -> str:
        where = f" ({self.where})" if self.where else ""
        hint = f". Try: {self.hint}" if self.hint else ""
        return f"{self.code} {self.what}{where}{hint}"


class BadInput(GridError):
    """A document, argument or name is malformed; nothing was stored."""

    exit_code = 2


class NotFound(GridError):
    """No such thing."""

    exit_code = 4


class NotAllowed(GridError):
    """Identity, role or quorum does not permit it."""

    exit_code = 5


class Conflict(GridError):
    """Someone changed it meanwhile: a stale plan, a sequence already taken, a version gone by."""

    exit_code = 6


class NoFit(GridError):
    """No node fits; `details["reasons"]` has every reason for every refused node."""

    exit_code = 7


class StillGoing(GridError):
    """The time ran out before the work did; repeating the command resumes."""

    exit_code = 9
    retry = True


class Waiting(GridError):
    """Registered, waiting for approvals."""

    exit_code = 10


class VerificationFailed(GridError):
    """A proof, digest or signature does not hold."""

    exit_code = 11


class Unreachable(GridError):
    """A server or peer does not answer, or answered that it cannot now."""

    exit_code = 12
    retry = True


class MachineLacks(GridError):
    """The machine lacks a program, facility or permission; `tfgrid doctor` names the cure."""

    exit_code = 13


class Failed(GridError):
    """Tried, and it did not work."""


class Busy(Failed):
    """A bounded queue is full or a lock is held."""

    retry = True
