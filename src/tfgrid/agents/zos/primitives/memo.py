"""What each item was: its name on the machine and its specification, durably.

Written before an item is made and forgotten after it is gone, so that whatever is found on the
machine can be named, and can be taken apart without the record that asked for it.
"""

from __future__ import annotations

from collections.abc import Iterator

from tfgrid.core import canonical, host
from tfgrid.core.schema import Base64, Text, Value
from tfgrid.core.store import Store

__all__ = ["Memo"]


class _Page(Value, frozen=True):
    name: Text
    digest: Text
    spec: Base64


class Memo:
    """The items of one kind, by the name under which the machine knows them."""

    def __init__(self, kind: host.ItemKind, store: Store) -> None:
        self._kind: host.ItemKind = kind
        self._store = store
        self._prefix = f"items/{kind}/"
        self._items: dict[str, host.Item] = {}
        for path in store.names(self._prefix):
            data = store.read(path)
            assert data is not None
            page = canonical.parse(data, _Page)
            self._items[path.removeprefix(self._prefix)] = host.Item(
                key=host.ItemKey(kind, page.name),
                digest=page.digest,
                spec=canonical.bytes_from(page.spec),
            )

    def __iter__(self) -> Iterator[tuple[str, host.Item]]:
        return iter(tuple(self._items.items()))

    def get(self, label: str) -> host.Item | None:
        """The item that the machine knows as `label`."""
        return self._items.get(label)

    def keep(self, label: str, item: host.Item) -> None:
        """Write down an item before it is made.

        Raises:
            errors.Failed: TFG-1201, the disk refused; nothing may be made.

        """
        if self._items.get(label) == item:
            return
        page = _Page(name=item.key.name, digest=item.digest, spec=canonical.text_from(item.spec))
        self._store.write(self._prefix + label, canonical.encode(page))
        self._items[label] = item

    def forget(self, label: str) -> None:
        """Forget an item that is gone."""
        self._store.remove(self._prefix + label)
        self._items.pop(label, None)

    def key(self, label: str) -> host.ItemKey:
        """The key of what the machine knows as `label`; what nobody wrote down is named by that."""
        known = self._items.get(label)
        return known.key if known else host.ItemKey(self._kind, label)
