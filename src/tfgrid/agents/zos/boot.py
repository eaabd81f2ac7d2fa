"""A node's own ground on an ordinary Linux box: namespaces, an address and one cgroup. Make, enter, destroy.

    /run/tfgrid/GRID8/NODE/
      mnt   pinned mount namespace: private propagation, own tmpfs on /run/netns and /run/wireguard,
            and without the unified cgroup where the machine is hybrid (crun refuses it there)
      net   pinned network namespace: lo and one veth `u0` with the underlay address
      keeper.sock
    /sys/fs/cgroup/[unified/]tfgrid-GRID8-NODE   one v2 group, so that one `cgroup.kill` ends the node

`make` and `destroy` may be repeated and be cut anywhere. `enter` is for the node process alone, before any thread starts.
"""

from __future__ import annotations

from pathlib import Path

from tfgrid.agents.zos.config import Config

__all__ = ["destroy", "enter", "exists", "make", "runtime_directory"]

runtime_root = Path("/run/tfgrid")


def runtime_directory(config: Config) -> Path:
    """Where the pins and sockets of a node are."""
    return runtime_root / config.grid / config.name


def exists(config: Config) -> bool:
    """Whether the node's namespaces are pinned."""
    raise RuntimeError(config)


def make(config: Config) -> None:
    """Make the node's namespaces, link and cgroup; does nothing if they stand.

    The bridge `config.underlay_bridge` must exist; it belongs to the grid and not to a node.

    Raises:
        errors.MachineLacks: TFG-4011, not root, or the kernel refused a namespace; TFG-4012, no such bridge.

    """


def enter(config: Config) -> None:
    """Move this process into the node's cgroup and namespaces; call it before any thread starts.

    Raises:
        errors.Failed: TFG-4013, the namespaces are not there or cannot be entered.

    """


def destroy(config: Config) -> None:
    """End everything of the node and remove what `make` made; its directory stays. Does nothing if nothing is there."""
