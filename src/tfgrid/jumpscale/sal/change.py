"""What a change is: a frozen value that says what shall be different, and can do it in two ways.

    LinkAdd(name="v0", peer="v1")  --perform()-->  netlink or system call, no process is started
                                   --argv()----->  ("ip", "link", "add", "v0", "type", "veth", ...)

The two ways mean the same and a conformance test holds each kind to that, in a scratch namespace.
The first is what a node does; the second is for dry runs, diffs, ssh and people who want to see it.
A change reads nothing to decide whether it is needed: whoever plans does that with the reading
functions.

Codes 3001 to 3049 belong to this package; 3050 to 3099 to its network modules.
"""

from __future__ import annotations

import os
import shlex
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TypeAlias

from tfgrid.core import errors

__all__ = ["Argv", "Change", "refused"]

Argv: TypeAlias = tuple[str, ...]
"""One command line, argument by argument; no shell ever sees it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change(ABC):
    """One change to a machine; subclass as a frozen dataclass with keyword fields."""

    @abstractmethod
    def perform(self) -> None:
        """Make the change on this machine, in the calling thread's namespaces.

        Raises:
            errors.Failed: TFG-3001, the kernel refused; `details["errno"]` says why.

        """

    @abstractmethod
    def argv(self) -> tuple[Argv, ...]:
        """The command lines, in order, that make the same change."""

    def __str__(self) -> str:
        """The change as a person would type it."""
        return "\n".join(shlex.join(line) for line in self.argv())


def refused(doing: str, error: OSError, *, where: str = "", hint: str = "") -> errors.Failed:
    """The error for a system call that failed while `doing` something (TFG-3001)."""
    number = error.errno or 0
    return errors.Failed(
        "TFG-3001",
        f"the kernel refused to {doing}: {os.strerror(number)}",
        where=where,
        hint=hint,
        errno=number,
    )
