"""Small durable state as an argument: named byte strings that are replaced whole.

A write that returned survives a power cut; a reader sees the old bytes or the new, never a mix. The
directory version writes beside, syncs, renames and syncs the directory; the memory version can
refuse to write, as a full disk does. One writer at a time has a name; readers are as many as like.

Names are relative paths of lower-case letters, digits, `.`, `-`, `_` and `/`; nothing climbs out.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import Final, Protocol

from tfgrid.core import errors, keys
from tfgrid.core.rng import Rng

__all__ = ["DirectoryStore", "MemoryStore", "SealedStore", "Store", "read_at_most"]

_NAME: Final = re.compile(r"\A[a-z0-9_-][a-z0-9._-]*(/[a-z0-9_-][a-z0-9._-]*)*\Z")


class Store(Protocol):
    """Named byte strings, replaced whole and durably."""

    def read(self, name: str) -> bytes | None:
        """The bytes under `name`, or None.

        Raises:
            errors.Failed: TFG-1203, they are there and cannot be read.

        """
        ...

    def write(self, name: str, data: bytes) -> None:
        """Replace the bytes under `name`; durable when it returns.

        Raises:
            errors.Failed: TFG-1201, the disk refused; the old bytes stand.

        """
        ...

    def remove(self, name: str) -> None:
        """Forget `name`; nothing happens if it is not there.

        Raises:
            errors.Failed: TFG-1204, the disk refused.

        """
        ...

    def names(self, prefix: str = "") -> list[str]:
        """All names that start with `prefix`, sorted."""
        ...


def _checked(name: str) -> str:
    if not _NAME.match(name):
        raise errors.BadInput("TFG-1202", f"{name!r} is not a name in a store", where=name)
    return name


class DirectoryStore:
    """A store in a directory of the machine; files are readable by their owner only.

    Raises:
        errors.Failed: TFG-1205, the directory is not there and cannot be made.

    """

    def __init__(self, root: Path) -> None:
        self.root = root
        try:
            _make_directory(root)
        except OSError as fault:
            raise errors.Failed(
                "TFG-1205", f"cannot make a directory: {fault.strerror}", where=str(root),
                hint="check who owns it and whether the disk has space",
            ) from fault  # fmt: skip

    def read(self, name: str) -> bytes | None:
        """See `Store.read`."""
        try:
            return (self.root / _checked(name)).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as fault:
            raise errors.Failed(
                "TFG-1203", f"cannot read {name}: {fault.strerror}", where=str(self.root / name)
            ) from fault

    def write(self, name: str, data: bytes) -> None:
        """See `Store.write`."""
        path = self.root / _checked(name)
        beside = path.with_name(f".{path.name}.new")
        try:
            _make_directory(path.parent)
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
            _sync_directory(path.parent)
        except OSError as fault:
            with contextlib.suppress(OSError):
                beside.unlink()
            raise errors.Failed(
                "TFG-1201", f"cannot write {name}: {fault.strerror}", where=str(path),
                hint="free space or check the disk, then repeat",
            ) from fault  # fmt: skip

    def remove(self, name: str) -> None:
        """See `Store.remove`."""
        path = self.root / _checked(name)
        try:
            path.unlink()
            _sync_directory(path.parent)
        except FileNotFoundError:
            return
        except OSError as fault:
            raise errors.Failed(
                "TFG-1204", f"cannot remove {name}: {fault.strerror}", where=str(path)
            ) from fault

    def names(self, prefix: str = "") -> list[str]:
        """See `Store.names`."""
        found = (p.relative_to(self.root) for p in self.root.rglob("*") if p.is_file())
        return sorted(n for f in found if _NAME.match(n := f.as_posix()) and n.startswith(prefix))


def _make_directory(path: Path) -> None:
    """Make a directory whose name, too, survives a power cut."""
    if path.is_dir():
        return
    _make_directory(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)
    _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class MemoryStore:
    """A store in memory; `fail_writes` makes the disk full."""

    def __init__(self) -> None:
        self._data: dict[str, bytes] = {}
        self.fail_writes = False

    def read(self, name: str) -> bytes | None:
        """See `Store.read`."""
        return self._data.get(_checked(name))

    def write(self, name: str, data: bytes) -> None:
        """See `Store.write`."""
        if self.fail_writes:
            raise errors.Failed("TFG-1201", f"cannot write {name}: disk full", where=name)
        self._data[_checked(name)] = bytes(data)

    def remove(self, name: str) -> None:
        """See `Store.remove`."""
        self._data.pop(_checked(name), None)

    def names(self, prefix: str = "") -> list[str]:
        """See `Store.names`."""
        return sorted(n for n in self._data if n.startswith(prefix))


class SealedStore:
    """A store that keeps secrets: what reaches `inner` is sealed, each entry bound to its name.

    `unlock_key` has 32 bytes, such as `Keyring.secret("vault")`. Reading raises
    `errors.VerificationFailed` TFG-1402 for what was sealed otherwise or under another name.
    """

    def __init__(self, inner: Store, *, unlock_key: bytes, rng: Rng) -> None:
        self._inner = inner
        self._unlock_key = unlock_key
        self._rng = rng

    def read(self, name: str) -> bytes | None:
        """See `Store.read`."""
        sealed = self._inner.read(name)
        if sealed is None:
            return None
        return keys.open_sealed(sealed, unlock_key=self._unlock_key, name=name)

    def write(self, name: str, data: bytes) -> None:
        """See `Store.write`."""
        sealed = keys.seal(data, unlock_key=self._unlock_key, name=name, rng=self._rng)
        self._inner.write(name, sealed)

    def remove(self, name: str) -> None:
        """See `Store.remove`."""
        self._inner.remove(name)

    def names(self, prefix: str = "") -> list[str]:
        """See `Store.names`; names are not sealed."""
        return self._inner.names(prefix)


def read_at_most(path: Path, bytes_max: int) -> bytes:
    """A person's file; of one that is longer, `bytes_max` and one byte more, never all of it.

    Raises:
        OSError: it cannot be read.

    """
    with path.open("rb") as file:
        return file.read(bytes_max + 1)
