"""The kinds of farm and node records: who may write which, and what is checked."""

from __future__ import annotations

from typing import Any

from tfgrid.ledger import bcdb

__all__ = ["kinds"]


def kinds() -> tuple[bcdb.Kind[Any], ...]:
    """farm.create, farm.offer, node.register, node.admit, node.inventory, image.source."""
    return ()
