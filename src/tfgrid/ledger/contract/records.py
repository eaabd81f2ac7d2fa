"""The kinds of contract records: who may write which, and what is checked."""

from __future__ import annotations

from typing import Any

from tfgrid.ledger import bcdb

__all__ = ["kinds"]


def kinds() -> tuple[bcdb.Kind[Any], ...]:
    """recipe.publish, contract.propose, contract.approve, contract.receipt."""
    return ()
