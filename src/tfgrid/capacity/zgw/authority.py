"""The grid's own certificates.

    root (made at `up`, sealed with the grid's identities) --signs--> intermediate of one gateway node
                                                                        path length 0, names: *.DOMAIN only
    intermediate (sealed to the node) --signs--> leaf for *.DOMAIN, renewed by the node itself

A stolen gateway can so vouch for nothing but its own domains, and the root key is on no node.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

__all__ = ["Authority", "Leaf"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """A server's certificate with its chain, and its key; `pem` is what HAProxy reads."""

    certificate_pem: bytes
    key_pem: bytes

    @property
    def pem(self) -> bytes:
        """Chain and key in one, to be kept 0600."""
        return self.certificate_pem + self.key_pem


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """A certificate that may sign others, with its chain up to but without the root, and its key."""

    certificate_pem: bytes
    key_pem: bytes
    root_pem: bytes

    @classmethod
    def create(cls, name: str, *, now_ms: int, validity_days: int = 3650) -> Self:
        """A new root."""
        raise RuntimeError

    def intermediate(
        self, name: str, domains: tuple[str, ...], *, now_ms: int, validity_days: int = 365
    ) -> Authority:
        """An authority that may vouch for names under `domains` only, and make no further authority."""
        raise RuntimeError

    def leaf(self, names: tuple[str, ...], *, now_ms: int, validity_days: int = 90) -> Leaf:
        """A server certificate for `names` (a wildcard is a name).

        Raises:
            errors.NotAllowed: TFG-3507, a name is outside what this authority may vouch for.

        """
        raise RuntimeError
