"""The gateway of a node: HAProxy under the launcher, and its routes through the runtime socket."""

from __future__ import annotations

from tfgrid.capacity.zgw.model import Route, RouteSeen, Settings
from tfgrid.jumpscale.executors import Launcher

__all__ = ["Gateway"]


class Gateway:
    """HAProxy on this node and the routes in it. Every verb may be repeated."""

    def __init__(self, *, settings: Settings, launcher: Launcher) -> None:
        self._settings = settings
        self._launcher = launcher

    async def start(self) -> bool:
        """Have HAProxy run with its generic configuration; True if it had to be started (so without routes).

        Raises:
            errors.Failed: TFG-3501, it does not come up; the end of its log is in the text.
            errors.NotFound: TFG-3502, there is no certificate.

        """
        raise RuntimeError

    async def stop(self) -> None:
        """End HAProxy and remove its files; does nothing if it is not there."""
        raise RuntimeError

    async def ensure(self, route: Route) -> RouteSeen:
        """Have the name answered by exactly these backends; starts HAProxy if it does not run.

        Backends that stay are not touched, so their connections live on.

        Raises:
            errors.BadInput: TFG-3503, the name is not one label below a domain of this gateway; TFG-3504, a
                backend outside the range of links (loopback, underlay, metadata, another service).
            errors.NoFit: TFG-3505, all slots are taken.
            errors.Unreachable: TFG-3506, the runtime socket does not answer.

        """
        raise RuntimeError

    async def remove(self, host: str) -> None:
        """Answer the name with 421 from now on; requests under way finish. Does nothing if it is not there."""
        raise RuntimeError

    async def observe(self) -> dict[str, RouteSeen]:
        """The routes that HAProxy holds now, by name; empty if it does not run."""
        raise RuntimeError
