"""Zero-GW: HTTPS names that are answered by containers of networks on this node.

    client --TLS--> HAProxy :443 --host map--> slot (a backend)
                       |                          |- server a, checked --> link address:port
                       '- runtime socket          '- server b, checked --> nft --> container

One HAProxy per gateway node with one generic configuration. A route takes a free slot, adds its
servers and then one map entry, all through the runtime socket, so no connection is dropped and
nothing is reloaded. What HAProxy knows is the truth: `observe` reads it back, and after a restart
the routes are ensured again.

| name | what it is |
|---|---|
| `Gateway` | the verbs: ensure, observe, remove; start and stop of HAProxy itself |
| `Settings` | where it listens, its certificate, its bounds |
| `Route`, `Backend` | what should be |
| `RouteSeen` | what is there, with the health of each backend |
| `Authority`, `Leaf` | the grid's certificates: root, name-constrained intermediate, leaf |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfgrid.capacity.zgw.gateway import Gateway
from tfgrid.capacity.zgw.model import Backend, Route, RouteSeen, Settings

if TYPE_CHECKING:
    from tfgrid.capacity.zgw.authority import Authority, Leaf

__all__ = ["Authority", "Backend", "Gateway", "Leaf", "Route", "RouteSeen", "Settings"]


def __getattr__(name: str) -> object:
    # Certificates need a large library that a node without routes never loads.
    if name not in {"Authority", "Leaf"}:
        raise AttributeError(name)
    from tfgrid.capacity.zgw import authority

    return getattr(authority, name)
