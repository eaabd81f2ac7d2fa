"""A node's own ground on an ordinary Linux box: namespaces, an address and a cgroup.

    /run/tfgrid/GRID8/NODE/     mounted on itself, private, so that pins never travel
      mnt   pinned mount namespace: private, own tmpfs on /run/netns and /run/wireguard,
            without other nodes' pins, and
            without the unified cgroup where the machine is hybrid (crun refuses it there)
      net   pinned network namespace: lo and one veth `u0` with the underlay address
      keeper.sock and what else runs
    tfgrid/GRID8/NODE           its cgroup; one write to `cgroup.kill` of the v2 tree ends the node

`make` and `destroy` may be repeated, and may be cut anywhere: both look first and do what is
missing. `enter` is for the node process alone, before any thread starts.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import socket
import time
from pathlib import Path
from typing import Final

from tfgrid.agents.zos.config import Config
from tfgrid.core import errors
from tfgrid.jumpscale.sal import cgroups, claims, links, mounts, namespaces, topology

__all__ = ["destroy", "enter", "exists", "group_name", "make", "owner", "runtime_directory"]

runtime_root: Final = Path("/run/tfgrid")
own_directories: Final = (Path("/run/netns"), Path("/run/wireguard"))
underlay_link: Final = "u0"
kill_seconds_max: Final = 10.0


def runtime_directory(config: Config) -> Path:
    """Where the pins and sockets of a node are."""
    return runtime_root / config.grid / config.name


def owner(config: Config) -> str:
    """The node's name in machine-wide claims."""
    return f"{config.grid}/{config.name}"


def group_name(config: Config) -> str:
    """The node's control group."""
    return f"tfgrid/{config.grid}/{config.name}"


def exists(config: Config) -> bool:
    """Whether the node's namespaces are pinned."""
    here = runtime_directory(config)
    return namespaces.is_pinned(here / "mnt") and namespaces.is_pinned(here / "net")


def make(config: Config) -> None:
    """Make the node's namespaces, link and cgroup; does nothing if they stand.

    The bridge `config.underlay_bridge` must exist; it belongs to the grid and not to a node.

    Raises:
        errors.MachineLacks: TFG-4011, not root; TFG-4012, no such bridge.
        errors.Failed: TFG-3001, TFG-3601, the kernel refused something.

    """
    if os.geteuid() != 0:
        raise errors.MachineLacks(
            "TFG-4011", "a node's namespaces need root", hint="run it as root or with sudo"
        )
    _check_bridge(config.underlay_bridge)
    tree = cgroups.detect()
    cgroups.GroupMake(tree=tree, name=group_name(config), delegate=True).perform()
    cgroups.GroupMake(tree=tree, name=f"{group_name(config)}/agent").perform()
    here = runtime_directory(config)
    _own_directory(here)
    if not exists(config):
        namespaces.Unpin(path=here / "mnt").perform()
        namespaces.Unpin(path=here / "net").perform()
        namespaces.Pin(mnt=here / "mnt", net=here / "net").perform()
    namespaces.apart(here / "mnt", lambda: _furnish_mounts(tree, here))
    _furnish_network(config, here / "net")


def enter(config: Config) -> None:
    """Move this process into the node's cgroup and namespaces; call it before any thread starts.

    Raises:
        errors.Failed: TFG-4013, they are not there; TFG-3001, the kernel refused.

    """
    if not exists(config):
        raise errors.Failed(
            "TFG-4013", "the node's namespaces are not there", where=str(runtime_directory(config))
        )
    tree = cgroups.detect()
    agent = f"{group_name(config)}/agent"
    cgroups.GroupJoin(tree=tree, name=agent, pid=os.getpid(), unified_only=True).perform()
    here = runtime_directory(config)
    namespaces.enter(here / "mnt", here / "net")
    os.chdir("/")


def destroy(config: Config) -> None:
    """End everything of the node and remove what runs of it; its directory stays.

    Does nothing if nothing is there.

    Raises:
        errors.Failed: TFG-4014, a process would not end.

    """
    tree = cgroups.detect()
    _kill(tree, config)
    here = runtime_directory(config)
    # Before its namespace goes, or the kernel removes it at a moment of its own.
    if _has_link(_outer_link(config)):
        links.LinkRemove(name=_outer_link(config)).perform()
    for name in ("mnt", "net"):
        namespaces.Unpin(path=here / name).perform()
    for entry in mounts.under(here):
        mounts.Unmount(target=entry.target, lazy=True).perform()
    shutil.rmtree(here, ignore_errors=True)
    if _remove_if_empty(here.parent) and _remove_if_empty(runtime_root):
        # The last node of the machine: no other namespace has mounts on these.
        for path in own_directories:
            _remove_if_empty(path)
    _remove_groups(group_name(config))
    claims.Claims().release(owner(config))


# Mounts


def _own_directory(here: Path) -> None:
    here.mkdir(parents=True, exist_ok=True)
    here.chmod(0o700)
    if not any(entry.target == here for entry in mounts.table()):
        mounts.Bind(source=here, target=here).perform()
    mounts.Propagation(target=here, mode="private").perform()


def _drop_mount(target: Path) -> None:
    """Take a mount away that may go by itself: a neighbour that ends removes what it stands on."""
    try:
        mounts.Unmount(target=target, lazy=True).perform()
    except errors.GridError:
        if any(entry.target == target for entry in mounts.table()):
            raise


def _furnish_mounts(tree: cgroups.Tree, here: Path) -> None:
    for entry in mounts.under(runtime_root):
        # What is below `here` are this node's own containers; the rest came along from the machine.
        if here not in (entry.target, *entry.target.parents):
            _drop_mount(entry.target)
    table = {(entry.target, entry.kind) for entry in mounts.table()}
    hidden = tree.unified if tree.layout == "hybrid" else None
    if hidden is not None and (hidden, "cgroup2") in table:
        mounts.Unmount(target=hidden, lazy=True).perform()
    for path in own_directories:
        path.mkdir(parents=True, exist_ok=True)
        if (path, "tmpfs") not in table:
            mounts.Tmpfs(target=path, size_bytes=1024**2, mode=0o700).perform()


# Network


def _check_bridge(name: str) -> None:
    if not _has_link(name):
        raise errors.MachineLacks(
            "TFG-4012", f"there is no bridge {name} on this machine", where=name,
            hint="start the grid that owns it",
        )  # fmt: skip


def _has_link(name: str) -> bool:
    try:
        socket.if_nametoindex(name)
    except OSError:
        return False
    return True


def _outer_link(config: Config) -> str:
    """The bridge's end of the node's link; 14 characters, the grid's 8 digits among them."""
    return f"tv{config.grid}{_hash(config)[:4]}"


def _hash(config: Config) -> str:
    return hashlib.sha256(owner(config).encode()).hexdigest()


def _mac(prefix: str, config: Config) -> str:
    digits = _hash(config)
    return f"02:{prefix}:" + ":".join(digits[i : i + 2] for i in range(4, 12, 2))


def _furnish_network(config: Config, netns: Path) -> None:
    outer = _outer_link(config)
    seen = topology.read(netns)
    if underlay_link not in seen.links or not _has_link(outer):
        if _has_link(outer):
            links.LinkRemove(name=outer).perform()
        links.VethAdd(
            name=outer, peer=underlay_link, peer_netns=netns, mtu_bytes=1500,
            mac=_mac("75", config), peer_mac=_mac("76", config),
        ).perform()  # fmt: skip
        seen = topology.read(netns)
    links.LinkSet(name=outer, master=config.underlay_bridge, link_local=False, up=True).perform()
    links.LinkSet(netns=netns, name="lo", up=True).perform()
    links.LinkSet(netns=netns, name=underlay_link, link_local=False, up=True).perform()
    if not any(a.link == underlay_link for a in seen.addresses):
        links.AddressAdd(netns=netns, link=underlay_link, address=config.underlay4).perform()
    if config.underlay_gateway4 and not seen.routes:
        links.RouteAdd(
            netns=netns, destination="0.0.0.0/0", link=underlay_link, via=config.underlay_gateway4
        ).perform()


# The end


def _kill(tree: cgroups.Tree, config: Config) -> None:
    group = group_name(config)
    deadline = time.monotonic() + kill_seconds_max
    while cgroups.processes(tree, group):
        if tree.unified is not None:
            cgroups.GroupKill(tree=tree, name=group).perform()
        else:
            for pid in cgroups.processes(tree, group):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise errors.Failed(
                "TFG-4014", "a process of the node does not end", where=group,
                hint="look for it with ps; a process in state D waits for a device",
            )  # fmt: skip
        time.sleep(0.01)


def _remove_groups(name: str) -> None:
    """Remove a group from every hierarchy, named ones too, and its parents if empty."""
    deadline = time.monotonic() + kill_seconds_max
    roots = [entry.target for entry in mounts.table() if entry.kind in {"cgroup", "cgroup2"}]
    for root in roots:
        for folder, _, _ in os.walk(root / name, topdown=False):
            # A process that was killed leaves its group a moment after it left the list.
            while not _remove_if_empty(Path(folder)) and time.monotonic() < deadline:
                time.sleep(0.01)
        for parent in (root / name).parents:
            if parent == root or not _remove_if_empty(parent):
                break


def _remove_if_empty(path: Path) -> bool:
    try:
        path.rmdir()
    except OSError:
        return not path.exists()
    return True
