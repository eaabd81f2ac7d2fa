"""How to talk to other programs.

| module | what it holds |
|---|---|
| `http` | `HttpTransport`: the network seam over HTTP, cheap to import |
"""

from tfgrid.jumpscale.clients.http import HttpTransport

__all__ = ["HttpTransport"]
