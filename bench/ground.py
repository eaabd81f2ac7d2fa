"""A grid of its own for a run: made when first asked for, purged at the end whatever happens.

Orders go through the `tfgrid` command as a person's would; what they became is read with a
follower that verifies, so that every time told here is an order time of the ledger, a node's log
line or this process's own clock. All of them are one machine's clock.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import yaml

from bench.meters import children, command_of
from tfgrid.core.clock import SystemClock
from tfgrid.core.store import MemoryStore
from tfgrid.doors import localgrid
from tfgrid.jumpscale import clients
from tfgrid.ledger import bcdb, contract, farm

__all__ = ["Grid", "Ground", "Line", "program"]

_REPOSITORY: Final = Path(__file__).parents[1]
_EXAMPLE: Final = _REPOSITORY / "examples" / "guestbook"
_WAIT_SECONDS: Final = 120.0
_ROLES: Final = ("budget", "security")
_WAITING: Final = 10

Line = dict[str, Any]
"""A line of a node's log; `at_ms` is its time in milliseconds since 1970."""


def program() -> Path:
    """The `tfgrid` of the interpreter that runs this."""
    return Path(sys.executable).with_name("tfgrid")


class Grid:
    """A running grid with the guestbook's images and recipe published."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.paths = localgrid.Paths(root)
        self._published = False

    @cached_property
    def file(self) -> localgrid.GridFile:
        """What `grid.json` says."""
        return localgrid.read(self.paths)

    def run(self, *words: str, also: tuple[int, ...] = ()) -> str:
        """What one `tfgrid` command answers; exit codes other than 0 and `also` end the run."""
        argv = [str(program()), *words, "--grid", str(self.root), "--json", "--yes"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode not in {0, *also}:
            raise SystemExit(f"{' '.join(argv)}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    # Orders

    def publish(self) -> None:
        """Build and publish the guestbook's images and recipe, once."""
        if self._published:
            return
        for directory in sorted(path.parent for path in _EXAMPLE.glob("*/image.toml")):
            self.run("image", "build", str(directory))
        self.run("recipe", "publish", str(_EXAMPLE))
        self._published = True

    def order(self, name: str) -> str:
        """Register a guestbook under a name of its own; returns its host."""
        self.publish()
        host = f"{name}.grid.localhost"
        words = ("deploy", "guestbook", "--name", name, "--set", f"host={host}", "--no-wait")
        self.run(*words, also=(_WAITING,))
        return host

    def sign(self, name: str, role: str) -> None:
        """One approval."""
        self.run("contract", "sign", name, "--as", role)

    def sign_all(self, name: str) -> None:
        """As many approvals as the policy needs."""
        for role in _ROLES:
            self.sign(name, role)

    def cancel(self, name: str) -> None:
        """Cancel with a quorum, and wait until every node has removed its part."""
        for role in _ROLES:
            self.run("contract", "cancel", name, "--as", role, "--no-wait", also=(_WAITING,))
        self.wait(name, "ended")

    def keep_images_here(self, name: str) -> None:
        """Run both images on every node, so that the images of later orders are local."""
        self.publish()
        recipe = yaml.safe_load((_EXAMPLE / "recipe.yaml").read_text("utf-8"))
        count = len(self.file.nodes)
        web, redis = recipe["workloads"]["web"], recipe["workloads"]["redis"]
        for workload, group in ((web, "web"), (redis, "redis")):
            workload["placement"] = {"group": group, "spread": "node"}
            workload["replicas"] = count
        web["environment"]["REDIS_HOST"] = "redis-1"
        recipe["workloads"].pop("page")
        recipe["parameters"] = {"memory": recipe["parameters"]["memory"]}
        recipe["name"] = name
        file = self.root.parent / f"{name}.yaml"
        file.write_text(yaml.safe_dump(recipe), "utf-8")
        self.run("recipe", "publish", str(file))
        self.run("deploy", name, "--no-wait", also=(_WAITING,))
        self.sign_all(name)
        self.wait(name, "running")

    # What became of them

    def state(self, name: str) -> contract.ContractState:
        """The newest contract of that name, from a verified copy of the ledger."""
        with asyncio.Runner() as runner:
            follower = self._follower()
            runner.run(follower.sync())
            found = contract.contracts(follower.view, follower.order_time_ms())
        return [s for s in found if s.proposal.agreement.name == name][-1]

    def wait(self, name: str, phase: contract.Phase) -> contract.ContractState:
        """The contract once it is in this phase."""

        async def until() -> contract.ContractState:
            follower = self._follower()
            deadline = time.monotonic() + _WAIT_SECONDS
            while time.monotonic() < deadline:
                await follower.sync(wait_seconds=1)
                found = contract.contracts(follower.view, follower.order_time_ms())
                state = [s for s in found if s.proposal.agreement.name == name][-1]
                if state.phase == phase:
                    return state
            raise SystemExit(f"{name} is {state.phase}, not {phase}: {state.reason}")

        return asyncio.run(until())

    def _follower(self) -> bcdb.Follower:
        return bcdb.Follower(
            clients.HttpTransport(self.file.ledger_url), self.file.trust,
            registry=bcdb.registry(farm.kinds(), contract.kinds()), store=MemoryStore(),
            clock=SystemClock(),
        )  # fmt: skip

    async def ledger_size(self) -> int:
        """How many entries the ledger has."""
        follower = self._follower()
        await follower.sync()
        return follower.size

    def node_names(self) -> dict[str, str]:
        """Node id to name."""
        follower = self._follower()
        asyncio.run(follower.sync())
        return {str(n.node): n.name for n in farm.nodes(follower.view, follower.order_time_ms())}

    def lines(self, node: str) -> Iterator[Line]:
        """What a node wrote to its log, oldest first."""
        for text in self.paths.log(node).read_text("utf-8").splitlines():
            if text.startswith("{"):
                line: Line = json.loads(text)
                line["at_ms"] = round(datetime.fromisoformat(line["at"]).timestamp() * 1000)
                yield line

    def processes(self) -> dict[int, str]:
        """Every process of the grid with its command, those of containers too."""
        root, grid8 = f"{self.root}", f"/run/tfgrid/{self.file.grid}"
        named = {
            pid for pid in _all_pids() if root in command_of(pid) or grid8 in command_of(pid)
        } - {*_own_line()}  # fmt: skip
        return {pid: command for pid in children(named) if (command := command_of(pid))}


class Ground:
    """What benchmarks stand on: scratch folders, and a grid that is started when it is needed."""

    def __init__(self) -> None:
        self._grid: Grid | None = None
        self._folder: Path | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        # If the purge fails, its error ends the run and the folder stays for another try.
        if self._grid is not None and self._grid.paths.grid_file.exists():
            self._grid.run("down", "--purge")
        if self._folder is not None:
            shutil.rmtree(self._folder)

    @property
    def folder(self) -> Path:
        """A folder that is removed at the end; containers may pass through it."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="tfgrid-bench-"))
            self._folder.chmod(0o711)
        return self._folder

    @property
    def grid(self) -> Grid:
        """The grid: four nodes in two farms, with nothing ordered when it is new."""
        if self._grid is None:
            self._grid = Grid(self.folder / "grid")
            self._grid.run("up")
        return self._grid


def _all_pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _own_line() -> Iterator[int]:
    """Our process and those above it: the directory may stand in their commands too."""
    pid = os.getpid()
    while pid > 1:
        yield pid
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        pid = int(fields[1])
