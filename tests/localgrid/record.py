"""The whole line, run once and recorded: made, ordered on, unplugged, cancelled, purged."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tfgrid
from tests.localgrid import samples, tiny
from tests.zdb import ground as zero_db
from tfgrid.agents import zos
from tfgrid.doors import localgrid
from tfgrid.doors.localgrid import model

__all__ = ["Told", "Whole", "live"]

EXAMPLE = Path(tfgrid.__file__).parents[2] / "examples" / "guestbook"
_RUN = "from tfgrid.doors.cli import main; main()"


@dataclass(frozen=True, slots=True)
class Told:
    """How one command ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def value(self) -> Any:
        """The JSON answer."""
        assert self.code in {0, 10}, self.err
        return json.loads(self.out)


@dataclass
class Whole:
    """A grid, the commands that were run on it, and what was seen of the machine in between."""

    home: Path
    told: dict[str, Told] = field(default_factory=dict)
    walked: dict[str, Told] = field(default_factory=dict)
    seen: dict[str, Any] = field(default_factory=dict)

    @property
    def directory(self) -> Path:
        """Where the grid is kept."""
        return self.home / "grid"

    def run(self, label: str, *arguments: str, grid: str = "grid") -> Told:
        """Run `tfgrid` as a process of its own."""
        environment = {
            "PATH": os.environ["PATH"], "HOME": str(self.home),
            "XDG_STATE_HOME": str(self.home / "state"), "TFGRID_GRID": str(self.home / grid),
            "TFGRID_TIMEOUT": "90s",
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", _RUN, *arguments], env=environment, cwd=self.home,
            capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip
        told = Told(done.returncode, done.stdout, done.stderr)
        self.told[label] = told
        return told

    def contained(self) -> dict[str, int]:
        """How many container processes each node has."""
        return localgrid.contained(localgrid.read(model.Paths(self.directory)))

    def items(self) -> dict[str, list[str]]:
        """What each node's own signed status says it has."""
        found = {}
        for name in ("n1", "n2", "n3", "n4"):
            status = zos.read_status(self.directory / "nodes" / name)
            found[name] = [item.name for item in status.items] if status else []
        return found


def _demo(whole: Whole) -> None:
    """The demo in a thread, and what the nodes ran at each moment of it."""
    samples_seen: list[tuple[float, int]] = []
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.05):
            samples_seen.append((time.monotonic(), sum(whole.contained().values())))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        whole.run("demo", "demo", "--example", str(whole.home / "example"))
    finally:
        done.set()
        looking.join()
    whole.seen["during demo"] = [count for _, count in samples_seen]


def _walk(whole: Whole) -> None:
    """Every command once, with a Zero-DB at rest and one that serves beside the grid."""
    with zero_db.serving(whole.home / "rest") as server:
        with server.client() as client:
            client.set(b"key", b"payload")
        assert server.stop() == 0
    serving = whole.home / "serving"
    with zero_db.serving(serving, "--socket", str(serving / "socket")):
        for path, arguments in samples.samples(whole.home).items():
            whole.walked[path] = whole.run(f"walk {path}", *path.split(), *arguments, "--json")


_STORED = """\
name: stored
version: 1.0.0
workloads:
  net: {type: network}
  data: {type: zdb, network: net, disk: 32MiB, keys: 100}
"""


def _stored(whole: Whole) -> None:
    """A namespace is ordered, grows, shrinks, and is not made smaller than anything can be."""
    file = whole.home / "stored.yaml"
    file.write_text(_STORED)
    whole.run("publish stored", "recipe", "publish", str(file), "--json")
    whole.run("deploy stored", "deploy", "stored", "--yes", "--json")
    for label, size in (("grow", "64MiB"), ("shrink", "16MiB"), ("too small", "1KiB")):
        words = ("contract", "update", "stored", "data", "--disk", size, "--yes", "--json")
        whole.run(label, *words)
    whole.run("show stored", "contract", "show", "stored", "--json")


def live(whole: Whole) -> None:
    """Everything that is done while the grid is there."""
    whole.run("up", "up", "--json")
    paths = model.Paths(whole.directory)
    grid = localgrid.read(paths)
    whole.seen["grid"] = grid
    whole.seen["ports"] = _listening(grid)
    (whole.home / "example").mkdir()
    shutil.copy(EXAMPLE / "recipe.yaml", whole.home / "example")
    tiny.publish(paths, grid, whole.home / "trees")
    _demo(whole)
    whole.seen["running"] = whole.contained()
    whole.run("demo again", "demo", "--example", str(whole.home / "example"), "--json")
    whole.run("up again", "up", "--json")
    _stored(whole)
    _walk(whole)
    contract = whole.run("show", "contract", "show", "guestbook", "--json").value
    web = next(w["node"] for w in contract["workloads"] if w["workload"] == "web-1")
    whole.seen["web node"] = web
    for part in ("bcdb", "bot", web):
        whole.run(f"unplug {part}", "demo", "unplug", part, "--json", "--timeout", "5")
        if part == "bcdb":
            whole.run("list without ledger", "contract", "list", "--json")
        whole.run(f"replug {part}", "demo", "replug", part, "--json")
    whole.run("page after", "demo", "--example", str(whole.home / "example"), "--json")
    whole.run("beside", "up", "--nodes", "2", "--farms", "1", "--json", grid="second")
    whole.seen["second"] = localgrid.read(model.Paths(whole.home / "second"))
    whole.run("purge beside", "down", "--purge", "--yes", "--json", grid="second")
    whole.run("page with neighbour gone", "demo", "--example", str(whole.home / "example"))
    whole.seen["killed"] = _kill_everything(whole)
    whole.run("up after crash", "up", "--json")
    whole.run("page after crash", "demo", "--example", str(whole.home / "example"), "--json")
    whole.run("cancel one", "contract", "cancel", "guestbook", "--as", "budget", "-y", "--json")
    whole.run("cancel stored", "contract", "cancel", "stored", "-y", "--json")
    whole.run("cancel two", "contract", "cancel", "guestbook", "--as", "legal", "-y", "--json")
    whole.seen["after cancel"] = whole.contained()
    whole.seen["items after cancel"] = _settled(whole)
    whole.run("down", "down", "--json")
    whole.seen["after down"] = _processes(whole.home)
    whole.run("up after down", "up", "--json")


def _settled(whole: Whole) -> dict[str, list[str]]:
    """The nodes' items, once their status files have caught up with the ledger."""
    until = time.monotonic() + 20
    while any(found := whole.items().values()) and time.monotonic() < until:
        time.sleep(0.2)
    del found
    return whole.items()


def _listening(grid: model.GridFile) -> dict[str, list[str]]:
    """The sockets that listen inside each node's network namespace."""
    found = {}
    for node in grid.nodes:
        pin = model.Paths.runtime(grid.grid) / node.name / "net"
        done = subprocess.run(
            ["nsenter", f"--net={pin}", "ss", "-lntuH"], capture_output=True, text=True, check=True
        )
        found[node.name] = done.stdout.splitlines()
    return found


def _kill_everything(whole: Whole) -> int:
    """Kill every process of the grid at once, as a crash of the machine would; how many."""
    marks = (whole.seen["grid"].grid, f"{whole.directory}")
    pids = [pid for pid, text in _everything() if any(mark in text for mark in marks)]
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return len(pids)


def _processes(home: Path) -> list[str]:
    """Every process whose command line names this test's folder."""
    return [text for _, text in _everything() if str(home) in text]


def _everything() -> list[tuple[int, str]]:
    """Every other process of the machine: its command line and control groups."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and int(folder.name) != os.getpid():
            try:
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                groups = (folder / "cgroup").read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError):
                continue
            found.append((int(folder.name), f"{command} {groups}"))
    return found
