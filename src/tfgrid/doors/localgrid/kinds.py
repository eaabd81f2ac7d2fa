"""Every kind of record of a grid's ledger, composed here because only doors see them all."""

from __future__ import annotations

from tfgrid.ledger import bcdb, contract, farm

__all__ = ["registry"]


def registry() -> bcdb.Registry:
    """The registry for ledger, followers and bundles."""
    return bcdb.registry(farm.kinds(), contract.kinds())
