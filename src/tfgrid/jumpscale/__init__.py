"""Hands, without opinions: what can be done to a Linux machine, and how it is carried out.

| package | what it holds |
|---|---|
| `sal` | system abstraction: changes as frozen typed values, and functions that read |
| `executors` | who carries a change out, by kernel or command line; launchers |
| `clients` | how to talk to other programs |

Nothing here knows of grids, contracts or nodes.
"""

__all__ = ["clients", "executors", "sal"]
