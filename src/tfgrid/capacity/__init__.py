"""Bytes, packets and processes: what a node offers, each part by itself and in plain values.

| package | what it is |
|---|---|
| `container` | crun containers with limits and their own namespaces |
| `flist` | images: signed manifests and content-addressed chunks |
| `zdb` | Zero-DB: the key-value store, its clients and its processes |
| `zgw` | the gateway: HTTPS names answered by containers |
| `znet` | private networks over WireGuard |

No part knows contracts: they take plain models of their own, and who owns contracts translates.
"""

__all__ = ["container", "flist", "zdb", "zgw", "znet"]
