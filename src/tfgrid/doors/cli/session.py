"""The grid, ledger and identity that one command speaks with.

Which grid is meant, `frame.sources` has decided. What was verified of its ledger is kept in the
grid's directory, so that the next command verifies only what is new.
"""

from __future__ import annotations

import difflib
import fcntl
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Self

import tfgrid
from tfgrid.core import errors, ids, units
from tfgrid.core.clock import SystemClock
from tfgrid.core.identity import Keyring
from tfgrid.core.store import DirectoryStore, MemoryStore, Store
from tfgrid.core.transport import Transport
from tfgrid.doors import localgrid
from tfgrid.doors.cli.frame import Kind, Settings, remember
from tfgrid.doors.cli.rules_version import rules_version
from tfgrid.jumpscale import clients
from tfgrid.ledger import bcdb, contract, farm

__all__ = ["Session", "expand", "grid_directory"]

_PACKAGE: Final = Path(tfgrid.__file__).parent


def grid_directory(settings: Settings) -> Path | None:
    """The directory of the grid that is meant; None for the default place."""
    return Path(settings.grid).absolute() if settings.grid else None


class Session:
    """One command's connection. Use it as a context: `with Session(settings) as session`.

    Args:
        settings: the common flags.
        transport: another way to the ledger than HTTP, for tests.

    """

    def __init__(self, settings: Settings, transport: Transport | None = None) -> None:
        self.settings = settings
        self.paths = localgrid.find(grid_directory(settings))
        self.grid = localgrid.read(self.paths)
        self.clock = SystemClock()
        self.registry = bcdb.registry(farm.kinds(), contract.kinds())
        self.transport = transport or clients.HttpTransport(self.grid.ledger_url)
        self.client = bcdb.Client(self.transport, self.grid.trust)
        self._open = ExitStack()
        self.follower = bcdb.Follower(
            self.transport, self.grid.trust, registry=self.registry,
            store=self._kept(), clock=self.clock, version=rules_version(_PACKAGE),
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _kept(self) -> Store:
        """What earlier commands verified; another command that runs now has it to itself."""
        try:
            store = DirectoryStore(self.paths.follower)
            lock = self._open.enter_context((self.paths.follower / "lock").open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return MemoryStore()
        return store

    async def look(self) -> bcdb.View:
        """The verified view of the ledger, brought up to date.

        Raises:
            errors.Unreachable: TFG-5012, the ledger does not answer.

        """
        try:
            await self.follower.sync()
        except errors.Unreachable as fault:
            raise errors.Unreachable(
                "TFG-5012", "the grid's ledger does not answer", where=self.grid.ledger_url,
                hint="tfgrid status, then tfgrid up",
            ) from fault  # fmt: skip
        self._remember()
        return self.follower.view

    def _remember(self) -> None:
        """Keep the names that completion offers, where the ledger has grown."""
        head = self.follower.head
        remember(self.paths.root, self._names, mark=f"{head.size}" if head else "none")

    def _names(self) -> Mapping[Kind, Sequence[str]]:
        states = [s for s in self.contracts() if s.phase not in contract.PHASES_FINAL]
        nodes = [node.name for node in self.nodes()]
        return {
            "contract": [state.proposal.agreement.name for state in states],
            "workload": [
                f"{state.proposal.agreement.name}/{workload.name}"
                for state in states
                for workload in state.proposal.agreement.workloads
                if isinstance(workload, contract.Container)
            ],
            "recipe": [recipe.name for recipe in contract.recipes(self.follower.view)],
            "node": nodes,
            "part": [*nodes, "bcdb", "bot"],
            "identity": list(self.grid.identities),
        }

    async def recall(self) -> errors.Unreachable | None:
        """`look`, or else what was verified before, with the fault to end with after showing it.

        Raises:
            errors.Unreachable: TFG-5012, and nothing was verified before.

        """
        try:
            await self.look()
        except errors.Unreachable as fault:
            head = self.follower.head
            if head is None:
                raise
            until = units.time_text(head.order_time)
            return errors.Unreachable(
                fault.code, f"{fault.what}; what is shown was verified at {until} and may be stale",
                where=fault.where, hint=fault.hint,
            )  # fmt: skip
        return None

    @property
    def now_ms(self) -> int:
        """The ledger's time."""
        return self.follower.order_time_ms()

    def keyring(self, default: str = "alice") -> Keyring:
        """The identity of `--as`.

        Raises:
            errors.NotFound: TFG-1414, no such identity is kept here.

        """
        name = self.settings.identity or default
        if name not in self.grid.identities:
            known = ", ".join(sorted(self.grid.identities))
            raise errors.NotFound(
                "TFG-1414", f"no identity named {name} is kept here, but {known}", where=name,
                hint="give one of them with --as",
            )  # fmt: skip
        return localgrid.keyring(self.paths, self.grid, name)

    async def author(self, default: str = "alice") -> bcdb.Author:
        """A writer with the identity of `--as`, registered."""
        ring = self.keyring(default)
        author = bcdb.Author(ring, self.client, self.clock, registry=self.registry)
        await author.register()
        return author

    def person(self, who: str) -> str:
        """The name of an identity, or the first digits of its id."""
        state = bcdb.identity_state(self.follower.view, ids.IdentityId(who))
        return state.name if state else ids.short(who)

    def nodes(self) -> tuple[farm.NodeInfo, ...]:
        """Every node, by name."""
        found = farm.nodes(self.follower.view, self.now_ms)
        return tuple(sorted(found, key=lambda node: (len(node.name), node.name)))

    def node(self, word: str) -> farm.NodeInfo:
        """The node with this name or id prefix."""
        known = self.nodes()
        by_name = [node for node in known if node.name == word]
        if by_name:
            return by_name[0]
        wanted = expand(word, (node.node for node in known), "node", [n.name for n in known])
        return next(node for node in known if node.node == wanted)

    def node_names(self) -> dict[str, str]:
        """Node id to name."""
        return {str(node.node): node.name for node in self.nodes()}

    def named(self, text: str) -> str:
        """A text in which nodes are called by their names."""
        for node in self.nodes():
            text = text.replace(node.node, node.name).replace(ids.short(node.node), node.name)
        return text

    def contracts(self) -> tuple[contract.ContractState, ...]:
        """Every contract, oldest first."""
        return contract.contracts(self.follower.view, self.now_ms)

    def contract(self, word: str) -> contract.ContractState:
        """The contract with this name or id prefix; of several, the living or else the newest."""
        return choose_contract(self.contracts(), word)

    def url(self, host: str) -> str:
        """Where a host of the grid's gateway answers on this machine."""
        return f"https://{host}:{self.grid.edge_port}/"


def expand(word: str, known: Iterable[str], kind: str, names: Iterable[str]) -> str:
    """The id that starts with `word`; if none does, the error names what there is.

    Raises:
        errors.NotFound: TFG-1001. errors.BadInput: TFG-1002, TFG-1004.

    """
    try:
        return ids.expand(word, known, kind=kind)
    except errors.NotFound as fault:
        near = difflib.get_close_matches(word, set(names), n=2)
        hint = f"did you mean {' or '.join(near)}? See: " if near else ""
        raise errors.NotFound(
            "TFG-1001", f"no {kind} is named {word!r} or has an id that starts so", where=word,
            hint=f"{hint}tfgrid {kind} list",
        ) from fault  # fmt: skip


def choose_contract(known: Iterable[contract.ContractState], word: str) -> contract.ContractState:
    """See `Session.contract`."""
    states = list(known)
    named = [state for state in states if state.proposal.agreement.name == word]
    living = [state for state in named if state.phase not in contract.PHASES_FINAL]
    if named:
        return (living or named)[-1]
    names = [state.proposal.agreement.name for state in states]
    wanted = expand(word, (state.contract for state in states), "contract", names)
    return next(state for state in states if state.contract == wanted)
