"""The keeper: a small process per node that parents what must outlive the node process.

It has no decisions and no network. Over a unix socket that only root may open it starts processes,
is their subreaper, drains their output into bounded log files and keeps their exit codes. The node
process may die and come back, or be upgraded, under running workloads; if the keeper dies, the next
one adopts from its small records (pid, start time, boot) and logs go on, because the pipes have
names and are opened for both ways.

    node process --seqpacket--> keeper --parents--> crun's containers, wireguard-go, haproxy
                         |-- STATE/records/NAME.json   what runs, and how it ended
                         |-- STATE/logs/NAME, NAME.1   two files of at most 4 MiB
                         `-- RUN/pipes/NAME            named pipe: survives the keeper's kill -9

| name | what it is |
|---|---|
| `Client` | a `Launcher` (see `tfgrid.jumpscale.executors`) whose processes belong to the keeper |
| `ensure` | the client of the keeper that answers, started if none does |

The keeper itself is `python -m tfgrid.agents.zos.keeper RUN_DIR STATE_DIR`; it imports the standard
library and two small modules of `jumpscale`, so that it stays under 20 MB.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfgrid.agents.zos.keeper.client import Client, ensure

__all__ = ["Client", "ensure"]


def __getattr__(name: str) -> object:
    # The server must not pay for what only clients need.
    if name not in __all__:
        raise AttributeError(name)
    return getattr(importlib.import_module(f"{__name__}.client"), name)
