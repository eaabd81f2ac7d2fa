"""Containers: one image, one set of limits, walls on every side, and nothing left behind.

    image (root-owned, shared) --idmapped clone--> lower --.
    file of disk_bytes --ext4, loop, idmapped------> upper --+--> overlay = root file system
    user namespace, network namespace inside it (pinned) ----+--> crun create ... crun start

| name | what it is |
|---|---|
| `Spec` | what a container shall be, in plain values |
| `Limits` | what the kernel enforces, as asked or as read back |
| `Status` | what is there now, read from the machine |
| `Runtime` | create, start, observe, remove on one node; every verb may be repeated |
| `config_json` | the OCI configuration of a `Spec` (pure) |
| `Layout` | where a container's files, mounts and namespaces are (pure) |
| `seccomp_profile` | which system calls a workload may make (pure) |

`create` leaves the container waiting with its network namespace pinned, so that the network can be
made ready before `start` lets the first instruction of the workload run.
"""

from tfgrid.capacity.container.config import config_json
from tfgrid.capacity.container.model import Layout, Limits, Phase, Spec, Status
from tfgrid.capacity.container.runtime import Runtime
from tfgrid.capacity.container.seccomp import seccomp_profile

__all__ = [
    "Layout",
    "Limits",
    "Phase",
    "Runtime",
    "Spec",
    "Status",
    "config_json",
    "seccomp_profile",
]
