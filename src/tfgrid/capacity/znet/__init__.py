"""Zero-Net: a private IPv4 and IPv6 network per contract, over WireGuard, on one node.

  node namespace       u0 (underlay) ---- UDP ---- other nodes     HAProxy
       |  wireguard-go keeps its socket here                         |
  -----|-------------------------------------------------------------|---- veth on gateway nodes
  tenant namespace     wg-NET                br-NET                gw-NET
                          |  ranges of peers    |  first address     |  link address, nft dnat map
                          '-- forward, default drop, both families --'
                       lo: addresses of services, where the node listens for its tenant
  ----------------------------------------------|-----------------------------------------------
  container namespaces               eth0     eth0     eth0     /32 and /128, one route: the bridge

Members are isolated ports: whatever they send passes the tenant's rules, and only with their own
addresses. Nothing is learned: keys and ports come from `prepare`, everything else from the
placement.

| name | what it is |
|---|---|
| `Networks` | prepare, changes, ensure, observe, remove; attach, detach; listen; (un)forward |
| `NetworkSpec`, `Member`, `Peer` | what should be: plain values, no contract knows of them |
| `Service` | an address and port that the node itself answers for, in the tenant's namespace |
| `Prepared` | the public key and UDP port of this node in a network, before anything runs |
| `NetworkSeen` | what is there, read from the machine |
| `Forward` | where in the node's namespace a member's port is reached by the gateway |
| `Site` | where on this machine namespaces and sockets are |
| `hosts_text` | /etc/hosts of a member |
| `link_range4` | the range of all link addresses of a node; nothing else is a backend |
"""

from tfgrid.capacity.znet.hosts import hosts_text
from tfgrid.capacity.znet.model import (
    Forward,
    Member,
    NetworkSeen,
    NetworkSpec,
    Peer,
    Prepared,
    Service,
    Site,
    link_range4,
)
from tfgrid.capacity.znet.networks import Networks

__all__ = [
    "Forward",
    "Member",
    "NetworkSeen",
    "NetworkSpec",
    "Networks",
    "Peer",
    "Prepared",
    "Service",
    "Site",
    "hosts_text",
    "link_range4",
]
