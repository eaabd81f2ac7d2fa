"""Who owns, owes and agreed what.

    contract  >  farm  >  wallet  >  bcdb          imports go to the right only

| package | what it holds |
|---|---|
| `bcdb` | the append-only, signed, provable database under all records |
| `farm` | farms, nodes, offers and inventory, as record kinds |
| `contract` | recipes, orders, plans, contracts, approvals and receipts, as record kinds |
"""

__all__ = ["bcdb", "contract", "farm"]
