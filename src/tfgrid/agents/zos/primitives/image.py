"""Images: verified when they enter, and again before each start."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tfgrid.agents.zos.core0 import items
from tfgrid.capacity import flist
from tfgrid.core import errors, host
from tfgrid.core.ids import IdentityId
from tfgrid.core.transport import Transport
from tfgrid.ledger import contract as contracts

__all__ = ["Images", "Sources"]

Sources = Callable[[IdentityId], Sequence[Transport]]
"""The chunk servers of an image's signer and of this node's farm, from the ledger's records."""


class Images:
    """The images of a node."""

    def __init__(self, store: flist.ImageStore, sources: Sources) -> None:
        self._store = store
        self._sources = sources

    async def observe(self) -> Mapping[host.ItemKey, host.Observed]:
        """Every image that is here, under the signer whose signature it bears."""
        found = {}
        for image in self._store.images():
            name = f"{image.digest}/{image.signer}"
            spec = items.ImageSpec(digest=image.digest, signer=image.signer)
            item = items.item_of(name, spec)
            found[item.key] = host.Observed(key=item.key, digest=item.digest, condition="running")
        return found

    async def ensure(self, item: host.Item) -> host.Observed:
        """Fetch and verify what is missing."""
        spec = items.spec_of(item, items.ImageSpec)
        await self._store.ensure(spec.digest, spec.signer, self._sources(spec.signer))
        return host.Observed(key=item.key, digest=item.digest, condition="running")

    async def remove(self, key: host.ItemKey) -> None:
        """Remove an image; the others stay."""
        gone = key.name.partition("/")[0]
        self._store.keep_only([i.digest for i in self._store.images() if i.digest != gone])

    async def verified(self, image: contracts.Image) -> flist.Image:
        """The image, checked byte by byte now; one that differs is set aside, to be fetched anew.

        Raises:
            errors.VerificationFailed: TFG-3231 and on, it differs; TFG-4021, another's image.

        """
        try:
            found = await self._store.recheck(image.digest)
        except errors.VerificationFailed:
            self._store.discard(image.digest)
            raise
        if found.signer != image.signer:
            raise errors.VerificationFailed(
                "TFG-4021", "the image bears another identity's signature", where=image.digest
            )
        return found
