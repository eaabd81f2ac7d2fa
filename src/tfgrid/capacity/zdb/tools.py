"""Tools for files at rest: what is there, what is wrong, and mending it.

The native tools run in a process of their own and answer with JSON lines. `check`, `describe` and
`dump` change nothing; the engine itself says what it would find, over a disk that it cannot write.
"""

from __future__ import annotations

import subprocess
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec

from tfgrid.capacity.zdb.launch import PROGRAM
from tfgrid.core import errors

__all__ = ["Finding", "Report", "Stored", "StoredKey", "check", "describe", "dump", "mend"]

_USAGE, _BUSY = 2, 3
_LINE_BYTES_MAX: Final = 64 * 1024

Tool: TypeAlias = Literal["check", "info", "dump", "repair", "rebuild"]


class Finding(msgspec.Struct, frozen=True, tag_field="kind", tag="finding"):
    """Something wrong in a file; `lost` tells whether an acknowledged write may be gone."""

    namespace: str
    file: str
    offset: int
    length: int
    what: str
    lost: bool


class Stored(msgspec.Struct, frozen=True, tag_field="kind", tag="namespace"):
    """One namespace as its files have it; sizes in bytes, `versions` counted by `check` alone."""

    name: str
    mode: str
    entries: int
    versions: int
    payload_bytes: int
    payload_bytes_max: int
    data_bytes: int
    index_bytes: int
    damaged: int
    password: bool
    public: bool
    worm: bool
    lock: bool
    freeze: bool


class StoredKey(msgspec.Struct, frozen=True, tag_field="kind", tag="entry"):
    """One live key: in hexadecimal, with the place, unix time and CRC of its record."""

    namespace: str
    key: str
    length: int
    timestamp: int
    file: int
    offset: int
    crc: str


class _Fault(msgspec.Struct, frozen=True, tag_field="kind", tag="error"):
    reason: str


@dataclass(frozen=True, slots=True)
class Report:
    """What a tool found, and the namespaces that are there."""

    findings: tuple[Finding, ...]
    namespaces: tuple[Stored, ...]

    @property
    def lossy(self) -> bool:
        """Whether an acknowledged write may be gone."""
        return any(finding.lost for finding in self.findings)


_Line: TypeAlias = Finding | Stored | StoredKey | _Fault
_DECODER: Final = msgspec.json.Decoder(_Line)


def _lines(
    tool: Tool, data: Path, index: Path
) -> Generator[Finding | Stored | StoredKey, None, None]:
    """The lines of a tool as they come.

    Raises:
        errors.BadInput: TFG-3711, there are no such directories.
        errors.Busy: TFG-3712, a server holds them.
        errors.Failed: TFG-3713, the files cannot be read, or the tool failed.

    """
    argv = [*PROGRAM, tool, str(data), str(index)]
    reason = "it said nothing"
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            while line := process.stdout.readline(_LINE_BYTES_MAX):
                value = _DECODER.decode(line)
                if isinstance(value, _Fault):
                    reason = value.reason
                else:
                    yield value
        finally:
            process.stdout.close()
        code = process.wait()
    if code:
        _refuse(code, reason, data)


def _refuse(code: int, reason: str, data: Path) -> None:
    if code == _USAGE:
        raise errors.BadInput("TFG-3711", f"there is no store: {reason}", where=str(data))
    if code == _BUSY:
        raise errors.Busy(
            "TFG-3712", "a server holds these directories", where=str(data),
            hint="stop it first, or ask it: tfgrid zdb info --server ADDRESS",
        )  # fmt: skip
    raise errors.Failed("TFG-3713", f"the files cannot be used: {reason}", where=str(data))


def _report(tool: Tool, data: Path, index: Path) -> Report:
    found = list(_lines(tool, data, index))
    return Report(
        tuple(line for line in found if isinstance(line, Finding)),
        tuple(line for line in found if isinstance(line, Stored)),
    )


def check(data: Path, index: Path) -> Report:
    """Read everything, change nothing: how many records there are, and what is wrong."""
    return _report("check", data, index)


def describe(data: Path, index: Path) -> Report:
    """What is there, without reading payloads; changes nothing."""
    return _report("info", data, index)


def mend(data: Path, index: Path, *, rebuild: bool = False) -> Report:
    """Cut torn tails and rebuild what is lost of the index; with `rebuild` all of it."""
    return _report("rebuild" if rebuild else "repair", data, index)


def dump(data: Path, index: Path) -> Iterator[StoredKey]:
    """Every live key, namespace by namespace, in the order of the log; changes nothing."""
    with closing(_lines("dump", data, index)) as lines:
        for line in lines:
            if isinstance(line, StoredKey):
                yield line
