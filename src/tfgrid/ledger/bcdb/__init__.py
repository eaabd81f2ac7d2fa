"""BCDB: a database in which every write is a signed entry of an append-only, provable log.

The author signs a small **header**; the **body** travels beside it and is named by its hash. An
**orderer** gives each entry its place and its `order_time`; the log of accepted entries is a Merkle
tree (RFC 6962) whose head is signed as a **checkpoint** (C2SP tlog-checkpoint). The current state
is a **view** that anyone can rebuild from the log with the same pure rules.

    Author --signed entry, body--> Service --> Orderer --> rules --> log, view, checkpoint
    Follower <--leaves, bodies, checkpoint, proof-- Service          and runs the same rules

| module | what it holds |
|---|---|
| `model` | headers, entries, trust, and the values that travel |
| `note` | checkpoints as signed notes |
| `view` | the state as tables of bytes, in memory |
| `kinds` | record kinds and their registry; genesis and identity are built in |
| `rules` | what is accepted into a log: one pure function for orderer, follower and bundle |
| `disk` | the ledger's files: one SQLite database, one lock |
| `solo` | the embedded orderer: one process, one writer, group commit |
| `mailbox` | heartbeats, status and log tails: signed, latest only, expiring, off the log |
| `service` | the socketless server |
| `client` | clients that verify whatever they are told |
| `author` | authors that submit safely |
| `follower` | a complete, verified copy of the state, which stops for good when lied to |
| `kept_view` | that state at one position, kept so that a start replays only what came after |
| `bundle` | proof without network |

In short (every call that reaches a server may raise `errors.Unreachable`, TFG-1301):

    registry = bcdb.registry(farm.kinds(), contract.kinds())       # built-in kinds included
    ledger = bcdb.SoloLedger.create(                               # `open` later
        directory, founder=keyring, checkpoint_keyrings=[notary],  # None: in memory, no thread
        registry=registry, clock=clock, signed=store)              # a store elsewhere
    service = bcdb.Service(ledger)                                 # service.handle is a Handler
    trust = ledger.trust                                           # or: await bcdb.discover(...)
    client = bcdb.Client(transport, trust)
    author = bcdb.Author(keyring, client, clock, registry=registry)
    await author.register()                                        # identity.create, once
    entry = await author.submit("farm.create", body, tags=("farm:f1",), valid_seconds=600)
    follower = bcdb.Follower(transport, trust, registry=registry, store=store, clock=clock)
    new_entries = await follower.sync(wait_seconds=20)             # .view .head .halted
    data = await client.bundle([3, 7, 9])
    verified = bcdb.verify_bundle(data, ledger=trust.ledger, registry=registry)
"""

import importlib
from typing import TYPE_CHECKING

from tfgrid.ledger.bcdb.author import Author
from tfgrid.ledger.bcdb.bundle import Verified, export_bundle, verify_bundle
from tfgrid.ledger.bcdb.client import Client, discover
from tfgrid.ledger.bcdb.follower import Follower, Halt
from tfgrid.ledger.bcdb.kinds import Kind, Registry, identity_state, registry
from tfgrid.ledger.bcdb.mailbox import Letter, Mailbox, Message, sign_message
from tfgrid.ledger.bcdb.model import (
    Checkpoint,
    Entry,
    Genesis,
    Header,
    Leaf,
    SignedEntry,
    Trust,
    entry_digest,
    sign_header,
)
from tfgrid.ledger.bcdb.view import MemoryView, View

if TYPE_CHECKING:
    from tfgrid.ledger.bcdb.service import Service
    from tfgrid.ledger.bcdb.solo import Orderer, SoloLedger

__all__ = [
    "Author",
    "Checkpoint",
    "Client",
    "Entry",
    "Follower",
    "Genesis",
    "Halt",
    "Header",
    "Kind",
    "Leaf",
    "Letter",
    "Mailbox",
    "MemoryView",
    "Message",
    "Orderer",
    "Registry",
    "Service",
    "SignedEntry",
    "SoloLedger",
    "Trust",
    "Verified",
    "View",
    "discover",
    "entry_digest",
    "export_bundle",
    "identity_state",
    "registry",
    "sign_header",
    "sign_message",
    "verify_bundle",
]

_HOMES = {"Orderer": "solo", "Service": "service", "SoloLedger": "solo"}


def __getattr__(name: str) -> object:
    # Loaded on first use: only who keeps a ledger needs a database.
    if name not in _HOMES:
        raise AttributeError(name)
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
