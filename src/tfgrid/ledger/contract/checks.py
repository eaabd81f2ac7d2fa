"""Whether a proposal is whole, permitted, priced, funded and fits: what a ledger asks before it stores one."""

from __future__ import annotations

from collections.abc import Sequence

from tfgrid.core.ids import IdentityId
from tfgrid.ledger import bcdb
from tfgrid.ledger.contract.model import Proposal
from tfgrid.ledger.farm import NodeInfo, Payment

__all__ = ["check_proposal", "funding_check"]


def check_proposal(
    view: bcdb.View, proposal: Proposal, *, author: IdentityId, ledger: str, now_ms: int
) -> None:
    """Hold that a proposal may be stored at this moment of order time.

    Raises:
        errors.GridError: codes TFG-2301 to TFG-2319 (agreement and policy) and TFG-2360 to TFG-2389 (placement).

    """


def funding_check(payment: Payment, nodes: Sequence[NodeInfo]) -> None:
    """Hold that the payment method is one that every farm of the placement offers and that is carried out.

    Raises:
        errors.NotAllowed: TFG-2380 a farm does not offer it, TFG-2381 it is not carried out yet.

    """
