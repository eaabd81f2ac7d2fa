"""Zero-DB: an append-only key-value store with namespaces, history and the Redis protocol.

The engine and the server are native (`rust/zdb`, `rust/zdb-server`) and run as a process of their
own, one per physical device; here is everything around them.

    keeper --starts--> python zdb/__main__.py --enters--> native server
                                                           |- sockets: clients
       Client, AsyncClient --RESP2-------------------------|- admin socket: the node
                                                           `- entrances: tenants

| name | what it is |
|---|---|
| `Client`, `AsyncClient` | all commands of the server, typed; one connection each |
| `Address` | where a server is: a host and port, or a unix socket |
| `Entry`, `Version`, `Namespace` | what SCAN, HISTORY and NSINFO answer |
| `Refused` | an error reply that is nothing else |
| `Entrance` | a way into one namespace, on a socket that was handed to the server |
| `Device`, `Reservation`, `Held` | what a node reserves on a device, and what it finds there |
| `Settings`, `Server` | how a server is to run; starting and stopping it through a launcher |
| `PROGRAM`, `environment` | the words that start its process, and the environment it wants |
| `check`, `describe`, `dump`, `mend` | tools for files at rest |
| `Report`, `Finding`, `Stored`, `StoredKey` | what they answer |

The client has its own codec: HISTORY, SCAN and the secure forms of AUTH and SELECT are this
server's own, so a Redis library would carry none of them and forty others.
"""

from __future__ import annotations

TYPE_CHECKING = False  # `typing` would be half of what a server's process loads.
if TYPE_CHECKING:
    from tfgrid.capacity.zdb.aio import AsyncClient
    from tfgrid.capacity.zdb.client import Client
    from tfgrid.capacity.zdb.device import Device
    from tfgrid.capacity.zdb.launch import PROGRAM, environment
    from tfgrid.capacity.zdb.model import Address, Entrance, Entry, Namespace, Refused, Version
    from tfgrid.capacity.zdb.reservation import Held, Reservation
    from tfgrid.capacity.zdb.server import Server, Settings
    from tfgrid.capacity.zdb.tools import (
        Finding,
        Report,
        Stored,
        StoredKey,
        check,
        describe,
        dump,
        mend,
    )

__all__ = [
    "PROGRAM",
    "Address",
    "AsyncClient",
    "Client",
    "Device",
    "Entrance",
    "Entry",
    "Finding",
    "Held",
    "Namespace",
    "Refused",
    "Report",
    "Reservation",
    "Server",
    "Settings",
    "Stored",
    "StoredKey",
    "Version",
    "check",
    "describe",
    "dump",
    "environment",
    "mend",
]

_HOMES = {
    "aio": ("AsyncClient",),
    "client": ("Client",),
    "device": ("Device",),
    "launch": ("PROGRAM", "environment"),
    "model": ("Address", "Entrance", "Entry", "Namespace", "Refused", "Version"),
    "reservation": ("Held", "Reservation"),
    "server": ("Server", "Settings"),
    "tools": ("Finding", "Report", "Stored", "StoredKey", "check", "describe", "dump", "mend"),
}


def __getattr__(name: str) -> object:
    # Loaded on first use: the server's own process passes through here and needs none of it.
    for home, names in _HOMES.items():
        if name in names:
            import importlib

            return getattr(importlib.import_module(f"{__name__}.{home}"), name)
    raise AttributeError(name)
