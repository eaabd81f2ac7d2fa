"""The networks of a node: prepare, ensure, observe, remove, and what is attached to them."""

from __future__ import annotations

from pathlib import Path

from tfgrid.capacity.znet.model import Forward, NetworkSeen, NetworkSpec, Prepared, Site
from tfgrid.core.rng import Rng
from tfgrid.core.store import Store
from tfgrid.jumpscale.executors import Launcher
from tfgrid.jumpscale.sal.change import Change

__all__ = ["Networks"]


class Networks:
    """All networks of one node. Every verb may be repeated; what is there already is not touched.

    `store` holds a private key, a port and a link number per network and must be sealed or readable by root only.
    """

    def __init__(self, *, site: Site, store: Store, rng: Rng, launcher: Launcher) -> None:
        self._site = site
        self._store = store
        self._rng = rng
        self._launcher = launcher

    async def prepare(self, network: str) -> Prepared:
        """Make or recall this node's key and UDP port in a network; nothing runs yet.

        Raises:
            errors.NoFit: TFG-3401, all ports or links of the node are taken.

        """
        raise RuntimeError

    async def changes(self, spec: NetworkSpec) -> tuple[Change, ...]:
        """What `ensure` would change now, for a dry run; empty if all is as specified."""
        raise RuntimeError

    async def ensure(self, spec: NetworkSpec) -> tuple[Change, ...]:
        """Make the network as specified and return what had to be changed (nothing, the second time).

        Raises:
            errors.BadInput: TFG-3402, the specification contradicts itself or this node.
            errors.Failed: TFG-3403, the tunnel's process did not come up.

        """
        raise RuntimeError

    async def observe(self) -> dict[str, NetworkSeen]:
        """Every network that has anything on this machine, by id as far as `prepare` knows it."""
        raise RuntimeError

    async def remove(self, network: str) -> None:
        """Remove the network with its key and port claim; nothing of it is left. Does nothing if there is none."""
        raise RuntimeError

    async def attach(self, network: str, member: str, netns: Path) -> tuple[Change, ...]:
        """Give the member's namespace its eth0, addresses and only route; returns what had to be changed.

        The network must have been ensured with this member in it. The namespace is made and pinned by others.

        Raises:
            errors.NotFound: TFG-3404, the network is not there or has no such member.

        """
        raise RuntimeError

    async def detach(self, network: str, member: str) -> None:
        """Take the member's link away; does nothing if there is none."""
        raise RuntimeError

    async def forward(self, network: str, address4: str, port: int) -> Forward:
        """Make a member's port reachable from the node's own namespace; stable over restarts, safe to repeat.

        Raises:
            errors.NotFound: TFG-3404, the network is not there or has no gateway link.
            errors.BadInput: TFG-3405, the address is not one of the network.

        """
        raise RuntimeError

    async def unforward(self, network: str, address4: str, port: int) -> None:
        """Undo `forward`; does nothing if it is not there."""
        raise RuntimeError
