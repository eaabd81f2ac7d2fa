"""Typed identifiers.

A person, 3Bot, farm or node is an identity, and its id is the hash of its inception event; a
contract's id is the hash of its first agreement; everything content-addressed is named by its
digest. All are 64 lower-case hexadecimal digits and none can be mistaken for another by the type
checker. People may type any unique prefix of at least `prefix_chars_min` digits, or the name.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Final, NewType, TypeVar

from msgspec import Meta

from tfgrid.core import errors

__all__ = [
    "Author",
    "Contract",
    "ContractId",
    "Digest",
    "Digested",
    "Farm",
    "FarmId",
    "IdentityId",
    "Ledger",
    "LedgerId",
    "Node",
    "NodeId",
    "expand",
    "short",
]

IdentityId = NewType("IdentityId", str)
"""A person, 3Bot, expert or any other identity."""
NodeId = NewType("NodeId", IdentityId)
"""The identity of a node."""
FarmId = NewType("FarmId", IdentityId)
"""The identity of a farm, which is its farmer's."""
LedgerId = NewType("LedgerId", str)
"""Hash of a ledger's genesis header."""
ContractId = NewType("ContractId", str)
"""Hash of the first agreement of a contract."""
Digest = NewType("Digest", str)
"""SHA-256 of some bytes."""

_HEX: Final = Meta(pattern=r"\A[0-9a-f]{64}\Z")

# The same types as fields of documents, with their form checked at the door.
Author = Annotated[IdentityId, _HEX]
Node = Annotated[NodeId, _HEX]
Farm = Annotated[FarmId, _HEX]
Ledger = Annotated[LedgerId, _HEX]
Contract = Annotated[ContractId, _HEX]
Digested = Annotated[Digest, _HEX]

prefix_chars_min: Final = 4
short_chars: Final = 10

_Id = TypeVar("_Id", bound=str)


def short(identifier: str) -> str:
    """The first digits of an id, as people read it."""
    return identifier[:short_chars]


def expand(prefix: str, known: Iterable[_Id], *, kind: str) -> _Id:
    """Find the one id that starts with `prefix`.

    Raises:
        errors.NotFound: TFG-1001, none does. errors.BadInput: TFG-1002 several do (all candidates
        are named), TFG-1004 the prefix is too short.

    """
    found = sorted(i for i in known if i.startswith(prefix))
    if len(found) == 1 and len(prefix) >= prefix_chars_min:
        return found[0]
    if not found:
        raise errors.NotFound("TFG-1001", f"no {kind} starts with {prefix!r}", where=prefix)
    if len(prefix) < prefix_chars_min:
        raise errors.BadInput(
            "TFG-1004", f"{prefix!r} is too short to name a {kind}",
            where=prefix, hint=f"give at least {prefix_chars_min} digits",
        )  # fmt: skip
    raise errors.BadInput(
        "TFG-1002", f"{prefix!r} names {len(found)} {kind}s: {', '.join(map(short, found))}",
        where=prefix, hint="give more digits",
    )  # fmt: skip
