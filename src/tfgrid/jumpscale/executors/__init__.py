"""Who carries a change out, and who starts processes.

| name | what it is |
|---|---|
| `Native` | performs changes by system call or netlink, here |
| `Commands` | runs the command lines of changes, here or behind a prefix such as `ssh host` |
| `script` | changes as text, for a dry run or a diff |
| `run` | one bounded command, its output and its exit code |
| `Spawn` | what to start: argument vector, environment, namespace, log |
| `Launched` | what was started: pid with start time, and the exit code once there is one |
| `Launcher` | the protocol of whoever starts processes and keeps their logs and exit codes |
| `DirectLauncher` | a launcher inside this process, for what outlives nothing |

The launcher that outlives a node process is the keeper (`tfgrid.agents.zos.keeper`).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfgrid.jumpscale.executors.commands import Commands, Native, Output, run, script
    from tfgrid.jumpscale.executors.direct import DirectLauncher
    from tfgrid.jumpscale.executors.launcher import Launched, Launcher, Spawn

__all__ = [
    "Commands",
    "DirectLauncher",
    "Launched",
    "Launcher",
    "Native",
    "Output",
    "Spawn",
    "run",
    "script",
]

_HOMES = {
    "DirectLauncher": "direct",
    "Launched": "launcher",
    "Launcher": "launcher",
    "Spawn": "launcher",
}


def __getattr__(name: str) -> object:
    # Loaded on first use: the keeper needs three small types and must stay small itself.
    if name not in __all__:
        raise AttributeError(name)
    module = importlib.import_module(f"{__name__}.{_HOMES.get(name, 'commands')}")
    return getattr(module, name)
