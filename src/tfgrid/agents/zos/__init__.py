"""Zero-OS, the node: it reads records, verifies them and makes them so. It serves nothing.

    ledger --feed--> Follower (verified view) --> core0.plan (pure) --> core0.loop --> Host
                                                                         `--> receipts --> ledger

| module | what it holds |
|---|---|
| `config` | `node.json`: all that a node is told; the rest it reads in the ledger |
| `boot` | a node's namespaces on an ordinary Linux box: make, enter, destroy |
| `core0` | inventory, plan (pure), loop |
| `primitives` | image, network, container, route; together the real `core.host.Host` |
| `status` | the signed local status file, the node's only way to say why |
| `keeper` | the process without decisions that parents everything that runs |
| `report` | status file, heartbeat, log tails |
| `node` | puts the parts together; `python -m tfgrid.agents.zos NODE_DIR` runs it |

How another program runs a node: write `node.json` with `write_config`, make the grid's bridge, and
start `python -m tfgrid.agents.zos NODE_DIR` as root. SIGTERM ends the node process and leaves its
workloads running; `destroy` ends everything of the node and leaves nothing but its directory.
`read_status` says how it fares.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfgrid.agents.zos.boot import destroy, enter, exists, make, runtime_directory
    from tfgrid.agents.zos.config import Config, read_config, write_config
    from tfgrid.agents.zos.status import Status, heartbeat_status, read_status

__all__ = [
    "Config",
    "Status",
    "destroy",
    "enter",
    "exists",
    "heartbeat_status",
    "make",
    "read_config",
    "read_status",
    "runtime_directory",
    "write_config",
]

_HOMES = {
    "Config": "config",
    "Status": "status",
    "heartbeat_status": "status",
    "read_config": "config",
    "read_status": "status",
    "write_config": "config",
}


def __getattr__(name: str) -> object:
    # Loaded on first use: the keeper is started through this package and must stay small.
    if name not in __all__:
        raise AttributeError(name)
    return getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, 'boot')}"), name)
