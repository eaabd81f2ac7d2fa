"""Words, without I/O: what every other package may say.

The front door of this package is its modules; use them qualified, so that the origin shows:

    from tfgrid.core import canonical, errors, ids

| module | what it holds |
|---|---|
| `errors` | the tree of errors, each with what, where, hint and whether trying again helps |
| `limits` | every bound of the grid, with its unit |
| `ids` | typed identifiers |
| `units` | cores, bytes, money and time as integers with their unit in the name |
| `schema` | the base of every value that is stored or sent |
| `canonical` | the one byte form of a document, and the strict way back |
| `keys` | key pairs, what a signature covers, the acceptance rule, derivation, sealing |
| `identity` | who somebody is: a chain of events from an inception |
| `merkle` | RFC 6962 hashing, proofs and their verification |
| `clock`, `rng`, `store`, `transport`, `host` | the seams: protocols with in-memory versions |
| `log` | structured log lines |
| `native` | whether the native module has something |
| `catalogue` | what every error code means and what to do about it |

Nothing is imported here: a command that needs one word does not pay for all.
"""

__all__ = [
    "canonical",
    "catalogue",
    "clock",
    "errors",
    "host",
    "identity",
    "ids",
    "keys",
    "limits",
    "log",
    "merkle",
    "native",
    "rng",
    "schema",
    "store",
    "transport",
    "units",
]
