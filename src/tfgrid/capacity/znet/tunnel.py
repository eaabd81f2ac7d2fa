"""The processes of user-space WireGuard: one per network, started and watched through a launcher.

The process makes its interface in the node's namespace, so that its UDP socket is on the
underlay; the interface is then moved to the tenant and the socket stays. When the process ends,
its interface goes with it.

A launcher that was itself restarted may not know a process that still runs. It is found by its
control socket, left alone as long as it serves, and ended like any other.
"""

from __future__ import annotations

import signal
from pathlib import Path

from tfgrid.capacity.znet import model
from tfgrid.capacity.znet.model import Site
from tfgrid.core import errors
from tfgrid.core.clock import Clock
from tfgrid.jumpscale.executors import Launcher, Spawn
from tfgrid.jumpscale.sal import processes, topology, wireguard

__all__ = ["Tunnels"]

_START_SECONDS = 10.0
_POLL_SECONDS = 0.01
_STOP_SECONDS = 3.0
_LOG_BYTES = 1024


class Tunnels:
    """Starts and stops the processes of networks."""

    def __init__(self, site: Site, launcher: Launcher, clock: Clock) -> None:
        self._site = site
        self._launcher = launcher
        self._clock = clock

    async def alive(self, network: str) -> bool:
        """Whether the network's process lives."""
        name = model.tunnel_name(network)
        launched = (await self._launcher.list()).get(name)
        if launched is not None and not launched.ended:
            return True
        return wireguard.serving_pid(self._socket(name)) is not None

    async def start(self, spawn: Spawn) -> None:
        """Start a process anew and return when its interface and socket are there.

        Raises:
            errors.Failed: TFG-3403, it ended or did not come up in time.

        """
        try:
            await self._begin(spawn)
        except errors.Failed:
            # Seen once, on a busy machine, without a word from it; why is not known.
            await self._begin(spawn)

    async def _begin(self, spawn: Spawn) -> None:
        await self._end(spawn.name)
        uapi = self._socket(spawn.name)
        await self._launcher.spawn(spawn)
        until = self._clock.monotonic_ms() + int(_START_SECONDS * 1000)
        while self._clock.monotonic_ms() < until:
            if self._answers(spawn.name, uapi):
                return
            launched = (await self._launcher.list()).get(spawn.name)
            if launched is None or launched.ended:
                break
            await self._clock.sleep(_POLL_SECONDS)
        said = (await self._launcher.tail(spawn.name, _LOG_BYTES)).decode("utf-8", "replace")
        await self._launcher.stop(spawn.name, _STOP_SECONDS)
        raise errors.Failed(
            "TFG-3403", f"the network's tunnel did not come up: {said.strip()[-300:]}",
            where=spawn.name, hint="see whether wireguard-go is installed and /dev/net/tun exists",
        )  # fmt: skip

    def _answers(self, name: str, uapi: Path) -> bool:
        if not uapi.exists() or wireguard.read(name, uapi=uapi) is None:
            return False
        return name in topology.read(self._site.node_netns).links

    async def stop(self, network: str) -> None:
        """End the network's process, if there is one, and remove its socket."""
        await self._end(model.tunnel_name(network))

    async def _end(self, name: str) -> None:
        await self._launcher.stop(name, _STOP_SECONDS)
        pid = wireguard.serving_pid(self._socket(name))
        held = processes.Held.open(pid) if pid else None
        if held:
            with held:
                held.signal(signal.SIGKILL)
                held.wait(_STOP_SECONDS)
        self._socket(name).unlink(missing_ok=True)

    def _socket(self, name: str) -> Path:
        return self._site.uapi_directory / f"{name}.sock"
