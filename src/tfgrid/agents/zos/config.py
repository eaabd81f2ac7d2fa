"""`node.json`: all that a node is told; the rest it reads in the ledger.

    NODE_DIR/
      node.json        this file, written once by whoever provisions the node
      state/           sealed key, follower state, receipts not yet sent (core.store.DirectoryStore)
      images/          verified images
      containers/      upper layers and configurations
      zdb/             namespaces of Zero-DB, unless `devices` says otherwise
      logs/            bounded log files of workloads, and the node's own
      status.json      signed, see `status`

Nothing in it is secret: the node makes its own key at first start and keeps it sealed under the
unlock key, whose path is named here. Its identity is in `status.json` and in its `node.register`
record.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, field

from tfgrid.core import errors, ids, limits
from tfgrid.core.schema import Name, Text, Value
from tfgrid.core.units import Capacity
from tfgrid.ledger import bcdb, contract

__all__ = ["Config", "DevicePath", "config_name", "read_config", "write_config"]

config_name = "node.json"

Grid8 = Annotated[str, Meta(pattern=r"\A[0-9a-f]{8}\Z")]
Interface4 = Annotated[str, Meta(pattern=r"\A[0-9]{1,3}(\.[0-9]{1,3}){3}/[0-9]{1,2}\Z")]
Address4 = Annotated[str, Meta(pattern=r"\A[0-9]{1,3}(\.[0-9]{1,3}){3}\Z")]
Link = Annotated[str, Meta(pattern=r"\A[a-z0-9]{1,15}\Z")]


class DevicePath(Value, frozen=True):
    """A device for namespaces of Zero-DB: a folder on it, and its class (in the file `class`)."""

    path: Annotated[str, Meta(pattern=r"\A/[^\x00]{1,4000}\Z")]
    disk_class: contract.DiskClass = field(name="class")


class Config(Value, frozen=True):
    """What a node is provisioned with.

    `underlay4` is the node's own address with its prefix, such as `10.77.3.11/24`;
    `underlay_gateway4` the bridge's, or empty where no route beyond the underlay is wanted.
    `capacity` caps what the node offers of its machine, a zero field caps nothing; `reserve` is
    kept from it for the node itself, and the caches of its devices beside it. `certificate_path`
    is the PEM file (leaf, intermediate and key, 0600) with which a gateway answers for its domains;
    empty on others. `devices` has a folder on each device that is to hold namespaces; those of a
    class that has none are in the node's own directory. Of several devices of one class no more is
    offered than the largest has.
    """

    grid: Grid8
    name: Name
    trust: bcdb.Trust
    ledger_url: Text
    farm: ids.Farm
    underlay_bridge: Link
    underlay4: Interface4
    underlay_gateway4: Annotated[str, Meta(max_length=15)] = ""
    roles: Annotated[tuple[Literal["compute", "gateway"], ...], Meta(min_length=1)] = ("compute",)
    gateway_domains: tuple[str, ...] = ()
    trust_class: Literal["simulated", "hosted", "booted"] = "hosted"
    capacity: Capacity = Capacity()
    reserve: Capacity = Capacity(memory_bytes=limits.node_memory_reserve_bytes_min)
    unlock_key_path: Text = ""
    certificate_path: Text = ""
    devices: Annotated[tuple[DevicePath, ...], Meta(max_length=limits.node_devices_max)] = ()

    @property
    def kept(self) -> Capacity:
        """What the node keeps: `reserve`, and the caches of Zero-DB: its own, and one a device."""
        caches = (1 + len(self.devices)) * limits.zdb_cache_bytes
        return self.reserve.plus(Capacity(memory_bytes=caches))

    @property
    def underlay_address(self) -> str:
        """The node's underlay address without its prefix."""
        return self.underlay4.partition("/")[0]


def read_config(node_directory: Path) -> Config:
    """Read `node.json` of a node's directory.

    Raises:
        errors.NotFound: TFG-4001, there is none.
        errors.BadInput: TFG-4002, it is not a node's configuration; the field is named.

    """
    path = node_directory / config_name
    try:
        data = path.read_bytes()
    except FileNotFoundError as fault:
        raise errors.NotFound(
            "TFG-4001", "this directory holds no node.json", where=str(path),
            hint="give the directory of a node that was provisioned",
        ) from fault  # fmt: skip
    try:
        return msgspec.json.decode(data[: limits.document_bytes_max], type=Config)
    except msgspec.DecodeError as fault:
        raise errors.BadInput(
            "TFG-4002", f"not a node's configuration: {fault}", where=str(path)
        ) from fault


def write_config(node_directory: Path, config: Config) -> None:
    """Write `node.json`, readable by its owner only."""
    node_directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    text = msgspec.json.format(msgspec.json.encode(config), indent=2)
    beside = node_directory / f".{config_name}.new"
    beside.write_bytes(text + b"\n")
    beside.chmod(0o600)
    beside.replace(node_directory / config_name)
