"""Which entries prove a contract, and the verdict on a bundle of them.

`positions` is asked of a whole view and names every entry that the contract leans on. A bundle of these, replayed
offline by `bcdb.verify_bundle`, gives a view of which `verdict` tells the story.
"""

from __future__ import annotations

from typing import Literal

from tfgrid.core import errors, ids
from tfgrid.core.ids import ContractId
from tfgrid.core.schema import Count, Moment, Text, Value
from tfgrid.core.units import Money
from tfgrid.ledger import bcdb
from tfgrid.ledger.contract.model import RecipeRef
from tfgrid.ledger.contract.phases import Phase

__all__ = ["Part", "Signer", "Verdict", "positions", "verdict"]


class Signer(Value, frozen=True):
    """Somebody who signed, by name, and what."""

    identity: ids.Author
    name: str
    role: str
    decision: Literal["approve", "reject"]
    action: str
    at: Moment
    position: Count


class Part(Value, frozen=True):
    """One workload, where it was placed, and what its node last said of it."""

    workload: str
    node: ids.Node
    node_name: str
    state: str
    image: str
    position: Count


class Verdict(Value, frozen=True):
    """What a bundle proves."""

    contract: ids.Contract
    name: str
    position: Count
    owner: ids.Author
    owner_name: str
    recipe: RecipeRef
    phase: Phase
    quorum: str
    signers: tuple[Signer, ...]
    parts: tuple[Part, ...]
    price_per_day: Money
    order_time: Moment
    summary: Text


def positions(view: bcdb.View, contract: ContractId) -> tuple[int, ...]:
    """The positions of all entries that prove the contract, ascending.

    Raises:
        errors.NotFound: TFG-2401.

    """
    return ()


def verdict(view: bcdb.View, contract: ContractId, order_time_ms: int) -> Verdict:
    """What a replayed view proves about a contract.

    Raises:
        errors.NotFound: TFG-2401.

    """
    raise errors.NotFound("TFG-2401", "no such contract", where=contract)
