"""Machine-wide allocation: what two grids, or two nodes, on one machine must not both take.

    claims.json       underlay networks and host ports; forced to the disk, they outlive a boot
    uids.BOOT.json    uid ranges; what runs under them ends with the boot that the name tells

Files are read and replaced whole under one lock; each claim has an owner such as `0f3a9c11/n1/web`.
Asking again with the same owner and purpose gives the same answer, so that a crash between claiming
and using loses nothing; what belongs to an owner, or to everything below it, is released by prefix.
A reader sees the old file or the new one, never half of one. When the last claim goes, the files go
too. A start of a container claims a range, and forcing that to the disk took longer than making the
container's namespaces; after a power cut the file of that boot counts no more, whatever is in it.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import socket
import stat
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from tfgrid.core import errors, limits
from tfgrid.jumpscale.sal import processes

__all__ = ["Claim", "Claims", "Resource", "machine_directory"]

Resource: TypeAlias = Literal["uids", "underlay", "port"]

machine_directory: Final = Path("/var/lib/tfgrid")
"""Where the machine's own claims are; root's, as everything that uses them."""

# Above the ranges that login tools and nspawn hand out, below 2**31 which some file systems refuse.
_UID_FIRST: Final = 0x7000_0000
_UID_RANGES: Final = 4095
_UNDERLAY_FIRST: Final = 100
_UNDERLAY_LAST: Final = 227
_PORT_TRIES: Final = 2000
_OWNER: Final = re.compile(r"[A-Za-z0-9._:-]+(/[A-Za-z0-9._:-]+)*", re.ASCII)
_FILE_BYTES_MAX: Final = 4 * 1024**2


@dataclass(frozen=True, slots=True, order=True)
class Claim:
    """One thing taken. `value`: the first uid of a range, the number of a /24, or a port."""

    resource: Resource
    value: int
    owner: str


class Claims:
    """The allocator on one directory; safe between threads, processes and crashes."""

    def __init__(self, directory: Path = machine_directory) -> None:
        self._directory = directory
        self._file = directory / "claims.json"
        self._passing = directory / f"uids.{processes.boot_id()}.json"
        self._lock_file = directory / "claims.lock"

    def uids(self, owner: str) -> int:
        """The first of `limits.uids_per_container` ids that no other owner on this machine has.

        Raises:
            errors.Failed: TFG-3010, none is left.
            errors.BadInput: TFG-3011, the owner is malformed.
            errors.VerificationFailed: TFG-3012, the file of claims is damaged.

        """
        count = limits.uids_per_container
        values = (_UID_FIRST + n * count for n in range(_UID_RANGES))
        return self._claim("uids", owner, values, lambda _: True)

    def underlay(self, owner: str, taken: Collection[str] = ()) -> str:
        """A network `10.A.B.0/24` of no other owner and not in `taken`; raises as `uids`."""
        numbers = range(_UNDERLAY_FIRST * 256, (_UNDERLAY_LAST + 1) * 256)
        busy = set(taken)
        found = self._claim("underlay", owner, numbers, lambda n: _network(n) not in busy)
        return _network(found)

    def port(self, owner: str, first: int) -> int:
        """A free TCP port of 127.0.0.1 from `first` up, of no other owner; raises as `uids`."""
        candidates = range(first, min(first + _PORT_TRIES, 65_536))
        return self._claim("port", owner, candidates, _port_is_free)

    def held(self, prefix: str = "") -> tuple[Claim, ...]:
        """What the owner `prefix` and all owners below it hold; everything for an empty prefix."""
        return tuple(sorted(c for c in self._read() if _below(c.owner, prefix)))

    def release(self, prefix: str) -> tuple[Claim, ...]:
        """Give back what the owner `prefix` and all owners below it hold; returns what that was."""
        _check_owner(prefix)
        with self._locked():
            claims = self._read()
            gone = tuple(sorted(c for c in claims if _below(c.owner, prefix)))
            if gone:
                self._write(c for c in claims if c not in gone)
            if len(gone) == len(claims):
                self._remove()
        return gone

    def _claim(
        self,
        resource: Resource,
        owner: str,
        candidates: Iterable[int],
        usable: Callable[[int], bool],
    ) -> int:
        _check_owner(owner)
        with self._locked():
            claims = self._read()
            for claim in claims:
                if (claim.resource, claim.owner) == (resource, owner):
                    return claim.value
            used = {c.value for c in claims if c.resource == resource}
            free = (v for v in candidates if v not in used and usable(v))
            value = next(free, None)
            if value is None:
                raise errors.Failed(
                    "TFG-3010",
                    f"this machine has no free {resource} left",
                    where=str(self._file),
                    hint="tfgrid down --purge on grids that are no longer used",
                )
            self._write([*claims, Claim(resource, value, owner)])
            return value

    @contextmanager
    def _locked(self) -> Iterator[None]:
        lock = self._lock()
        try:
            yield
        finally:
            os.close(lock)

    def _lock(self) -> int:
        """The lock, held. Whoever had it may have removed its file; then it guards nothing."""
        while True:
            try:
                self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            except FileExistsError:
                try:
                    comes_and_goes = stat.S_ISDIR(self._directory.lstat().st_mode)
                except FileNotFoundError:
                    comes_and_goes = self._directory.parent.is_dir()
                if not comes_and_goes:
                    raise
                continue  # it was there, and went before it was known for a directory
            try:
                lock = os.open(
                    self._lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
                )
            except FileNotFoundError:
                continue  # the directory went after it was made
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if os.path.samestat(os.fstat(lock), self._lock_file.stat()):
                    return lock
            except FileNotFoundError:
                pass
            except BaseException:
                os.close(lock)
                raise
            os.close(lock)

    def _remove(self) -> None:
        """Remove the files, and the directory if nothing else is in it; the lock is held."""
        for file in (self._file, *self._directory.glob("uids.*.json")):
            file.unlink(missing_ok=True)
            file.with_suffix(".new").unlink(missing_ok=True)
        self._lock_file.unlink()
        with suppress(OSError):
            self._directory.rmdir()

    def _read(self) -> list[Claim]:
        # A reader without the lock may find one twice, while it moves to the file of its kind.
        return list(dict.fromkeys(_rows(self._file) + _rows(self._passing)))

    def _write(self, claims: Iterable[Claim]) -> None:
        ordered = sorted(claims)
        lasting = [c for c in ordered if c.resource != "uids"]
        passing = [c for c in ordered if c.resource == "uids"]
        if not self._passing.exists():
            for other in self._directory.glob("uids.*"):
                other.unlink()
        if passing != _rows(self._passing):
            _replace(self._passing, passing, forced=False)
        if lasting != _rows(self._file):
            _replace(self._file, lasting, forced=True)


def _rows(file: Path) -> list[Claim]:
    try:
        with file.open("rb") as opened:
            text = opened.read(_FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        return []
    try:
        rows = json.loads(text)
        return [Claim(resource, int(value), str(owner)) for resource, value, owner in rows]
    except (ValueError, TypeError) as error:
        raise errors.VerificationFailed(
            "TFG-3012",
            "the file of claims is damaged",
            where=str(file),
            hint="stop all grids on this machine, then remove the file",
        ) from error


def _replace(file: Path, claims: Iterable[Claim], *, forced: bool) -> None:
    """Put a new file in the place of an old one; `forced`: it is on the disk when this returns."""
    temporary = file.with_suffix(".new")
    with temporary.open("w", encoding="utf-8") as opened:
        json.dump([[c.resource, c.value, c.owner] for c in claims], opened, separators=(",", ":"))
        opened.flush()
        if forced:
            os.fsync(opened.fileno())
    temporary.replace(file)
    if not forced:
        return
    directory = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _network(number: int) -> str:
    return f"10.{number >> 8}.{number & 255}.0/24"


def _below(owner: str, prefix: str) -> bool:
    return not prefix or owner == prefix or owner.startswith(prefix + "/")


def _check_owner(owner: str) -> None:
    if not _OWNER.fullmatch(owner) or len(owner) > 256:
        raise errors.BadInput(
            "TFG-3011", f"{owner[:80]!r} is not an owner", hint="words joined by slashes"
        )


def _port_is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
