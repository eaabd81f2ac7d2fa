"""tfgrid: recipes become contracts, and nodes that nobody can log in to make them so.

The storeys, top to bottom; imports go downwards only, and through front doors
(`docs/architecture.md`):

    doors       people and programs come in here
    agents      those who decide
    ledger      who owns, owes and agreed what
    capacity    bytes, packets and processes
    jumpscale   hands, without opinions
    core        words, without I/O
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
