"""Those who decide.

| package | what it decides |
|---|---|
| `zos` | what runs on a node, from the contracts of its ledger and nothing else |
| `threebot` | what to order, and when to tell its owner |
| `builders` | what goes into an image |

`zos` and `threebot` never import each other: a farmer's node and a user's bot share nothing but
records.
"""

__all__ = ["builders", "threebot", "zos"]
