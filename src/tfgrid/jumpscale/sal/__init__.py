"""System abstraction: a machine's parts as typed changes and plain reading functions.

The front door of this package is its modules, as in `core`; use them qualified and only what you
need is
loaded:

    from tfgrid.jumpscale.sal import mounts, namespaces
    mounts.Bind(source=a, target=b).perform()

| module | what it holds |
|---|---|
| `change` | what a change is: a frozen value that performs itself, or renders itself |
| `cgroups` | control groups, v1 hybrid and v2: create, limit, read back, kill, remove |
| `claims` | machine-wide allocation under a lock: uid ranges, underlay networks, host ports |
| `disks` | a file with a hard size as a file system, mounted through a loop device |
| `links` | network links, addresses and routes |
| `mounts` | mount, bind, overlay, tmpfs, idmapped clones, unmount, and the mount table |
| `namespaces` | make, pin and enter mount, network and user namespaces |
| `netlink` | route netlink as bytes, for `links` |
| `nftables` | packet rules |
| `processes` | pidfd, start time, signals, exit codes of processes that are not ours, subreaper |
| `syscalls` | system calls that Python 3.11 does not offer |
| `topology` | what is there: links, addresses, routes, neighbours |
| `wireguard` | WireGuard devices and peers |

Reading and changing are apart: a function that reads never changes, a `Change` never decides.
"""

__all__ = [
    "cgroups",
    "change",
    "claims",
    "disks",
    "links",
    "mounts",
    "namespaces",
    "netlink",
    "nftables",
    "processes",
    "syscalls",
    "topology",
    "wireguard",
]
