"""The words of a local grid: what `grid.json` says, and where everything is.

    DIR/                              kept until `down --purge`
      grid.json                       this file; a grid exists when it is there, so it is written
      last ledger/  identities/  images/  ca/  bot/  nodes/NAME/  logs/  edge/  cache/
    /run/tfgrid/GRID8/                gone after a reboot, as is everything that ran
    $XDG_STATE_HOME/tfgrid/unlock/GRID8.key

GRID8 is the first eight digits of the ledger's id: two grids on one machine share no name.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from tfgrid.core import canonical, errors, ids
from tfgrid.core.schema import Count, Name, Value
from tfgrid.ledger import bcdb

__all__ = [
    "FarmEntry",
    "GridFile",
    "NodeEntry",
    "Part",
    "PartState",
    "Paths",
    "default_directory",
    "find",
    "hold_own",
    "read",
    "write",
]

grid8_digits: Final = 8
ledger_port: Final = 8100
chunks_port: Final = 8101
gateway_port: Final = 443
edge_port_first: Final = 8443
gateway_domain: Final = "grid.localhost"
first_node_host: Final = 11
nodes_max: Final = 40
runtime_root: Final = Path("/run/tfgrid")

PartState: TypeAlias = Literal["running", "stopped", "ready"]
"""stopped: no process; running: a process that does not answer yet; ready: it answers."""


class FarmEntry(Value, frozen=True):
    """A farm of this grid; its farmer's identity has the same name."""

    name: Name
    farm: ids.Farm
    country: str


class NodeEntry(Value, frozen=True):
    """A node of this grid; `host` is the last number of its underlay address."""

    name: Name
    farm: Name
    host: Annotated[int, Meta(ge=2, le=254)]
    roles: tuple[Literal["compute", "gateway"], ...]


class GridFile(Value, frozen=True):
    """What `grid.json` says; nothing in it is secret."""

    version: Literal[1]
    grid: Annotated[str, Meta(pattern=r"\A[0-9a-f]{8}\Z")]
    trust: bcdb.Trust
    underlay: Annotated[str, Meta(pattern=r"\A(10\.[0-9]{1,3}\.[0-9]{1,3})?\Z")]
    edge_port: Count
    bridge: Annotated[str, Meta(pattern=r"\Atg[0-9a-f]{8}\Z")]
    farms: tuple[FarmEntry, ...]
    nodes: tuple[NodeEntry, ...]
    identities: dict[Name, ids.Author]
    created_at: Count

    @property
    def ledger(self) -> ids.LedgerId:
        """The ledger's id."""
        return self.trust.ledger

    @property
    def gateway_address(self) -> str:
        """The grid's own end of the underlay, where ledger and chunk server listen."""
        return f"{self.underlay}.1"

    @property
    def ledger_url(self) -> str:
        """Where the ledger answers."""
        return f"http://{self.gateway_address}:{ledger_port}"

    @property
    def chunks_url(self) -> str:
        """Where images are fetched."""
        return f"http://{self.gateway_address}:{chunks_port}"

    def node(self, name: str) -> NodeEntry:
        """One node by its name.

        Raises:
            errors.NotFound: TFG-5103.

        """
        for entry in self.nodes:
            if entry.name == name:
                return entry
        known = ", ".join(entry.name for entry in self.nodes)
        raise errors.NotFound(
            "TFG-5103", f"this grid has no node {name!r}, but {known}", where=name,
            hint="tfgrid node list",
        )  # fmt: skip

    def address(self, node: NodeEntry) -> str:
        """A node's underlay address."""
        return f"{self.underlay}.{node.host}"


@dataclass(frozen=True, slots=True)
class Paths:
    """Where everything of the grid in `root` is."""

    root: Path

    @property
    def grid_file(self) -> Path:
        """`grid.json`."""
        return self.root / "grid.json"

    @property
    def lock(self) -> Path:
        """Held by the command that starts or stops the grid."""
        return self.root / "lock"

    @property
    def ledger(self) -> Path:
        """The ledger's database."""
        return self.root / "ledger"

    @property
    def images(self) -> Path:
        """Published chunks and manifests."""
        return self.root / "images"

    @property
    def build_cache(self) -> Path:
        """The image builder's own; removing it costs time only."""
        return self.root / "cache" / "builder"

    @property
    def follower(self) -> Path:
        """What the command line has verified of the ledger so far; removing it costs time only."""
        return self.root / "cache" / "follower"

    @property
    def ca(self) -> Path:
        """The certificate of the grid's own authority; its key is sealed."""
        return self.root / "ca"

    @property
    def root_certificate(self) -> Path:
        """What a browser or curl must trust to believe the grid's gateways."""
        return self.ca / "root.pem"

    @property
    def bot(self) -> Path:
        """The 3Bot's configuration and state."""
        return self.root / "bot"

    @property
    def edge(self) -> Path:
        """Configuration of the listener on 127.0.0.1."""
        return self.root / "edge"

    @property
    def logs(self) -> Path:
        """What the grid's processes wrote."""
        return self.root / "logs"

    @property
    def names(self) -> frozenset[str]:
        """What a grid makes in its directory, beside the proofs that it was asked for."""
        made = ("ledger", "identities", "images", "ca", "bot", "nodes", "logs", "edge", "cache")
        return frozenset((*made, self.lock.name, self.grid_file.name))

    def node(self, name: str) -> Path:
        """A node's own directory."""
        return self.root / "nodes" / name

    def log(self, part: str) -> Path:
        """What one process wrote."""
        return self.logs / f"{part}.log"

    @staticmethod
    def runtime(grid: str) -> Path:
        """What the grid needs while it runs."""
        return runtime_root / grid

    @staticmethod
    def unlock_key(grid: str) -> Path:
        """The key that opens the grid's sealed identities, apart from them."""
        return _state_home() / "tfgrid" / "unlock" / f"{grid}.key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One process of a grid: its name, its kind for people, and its command."""

    name: str
    kind: Literal["ledger", "chunks", "node", "edge", "bot"]
    argv: tuple[str, ...]


def _state_home() -> Path:
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")


def default_directory() -> Path:
    """Where a grid is kept when nobody says: `$XDG_STATE_HOME/tfgrid/grid`."""
    return _state_home() / "tfgrid" / "grid"


def hold_own(root: Path) -> None:
    """Hold that nobody but the caller (or root) can change what is in a grid's directory.

    What stands there is obeyed: which processes to end, what to remove, whose ledger to believe.

    Raises:
        errors.NotAllowed: TFG-5115.

    """
    about = root.stat()
    if about.st_uid not in {0, os.geteuid()} or about.st_mode & 0o022:
        raise errors.NotAllowed(
            "TFG-5115", "somebody else could change this directory", where=str(root),
            hint=f"chown root {root} && chmod 700 {root}, or give another with --dir",
        )  # fmt: skip


def _start(root: Path) -> str:
    return "tfgrid up" if root == default_directory() else f"tfgrid up --dir {root}"


def find(directory: Path | None = None) -> Paths:
    """The grid in a directory, or in the default one.

    Raises:
        errors.NotFound: TFG-5101, no grid is kept there.
        errors.NotAllowed: TFG-5115, somebody else could change the directory.

    """
    paths = Paths((directory or default_directory()).absolute())
    if not paths.grid_file.exists():
        raise errors.NotFound(
            "TFG-5101", "no grid is kept here", where=str(paths.root), hint=_start(paths.root)
        )
    hold_own(paths.root)
    return paths


def read(paths: Paths) -> GridFile:
    """What `grid.json` says.

    Raises:
        errors.NotFound: TFG-5101.
        errors.BadInput: TFG-5102, it is damaged or of another version.

    """
    try:
        return msgspec.json.decode(paths.grid_file.read_bytes(), type=GridFile)
    except FileNotFoundError as fault:
        raise errors.NotFound(
            "TFG-5101", "no grid is kept here", where=str(paths.root), hint=_start(paths.root)
        ) from fault
    except msgspec.DecodeError as fault:
        raise errors.BadInput(
            "TFG-5102", f"grid.json cannot be read: {fault}", where=str(paths.grid_file),
            hint=f"tfgrid down --purge --grid {paths.root}",
        ) from fault  # fmt: skip


def write(paths: Paths, grid: GridFile) -> None:
    """Replace `grid.json` whole."""
    from tfgrid.core.store import DirectoryStore

    text = msgspec.json.format(canonical.encode(grid), indent=2)
    DirectoryStore(paths.root).write("grid.json", text + b"\n")
