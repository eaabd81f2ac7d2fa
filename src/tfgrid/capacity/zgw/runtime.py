"""HAProxy's runtime socket.

Bounded questions and answers, and the few commands the gateway needs.
"""

from __future__ import annotations

import asyncio
import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tfgrid.core import errors

__all__ = ["Runtime", "Server"]

_ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024
_ANSWER_SECONDS: Final = 10.0
_LINE_BYTES_MAX: Final = 8 * 1024
# A semicolon or a line's end begins another command, "<<" takes what follows, a backslash quotes.
_COMMAND: Final = re.compile(r"[A-Za-z0-9 ._:/~+@-]+", re.ASCII)
_FINE: Final = frozenset({"", "New server registered.", "Server deleted."})


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server of a slot.

    Where it is, how HAProxy judges it (`UP`, `DOWN 1/2`, ...), and its sessions.
    """

    slot: str
    name: str
    address: str
    status: str
    check: str
    sessions: int


class Runtime:
    """Speaks to one HAProxy; every call is a connection of its own, as HAProxy wants it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def ask(self, command: str) -> str:
        """The answer to one command.

        Raises:
            errors.Unreachable: TFG-3506, nobody answers.

        """
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                reader, writer = await asyncio.open_unix_connection(str(self._path))
                try:
                    writer.write(command.encode("ascii") + b"\n")
                    await writer.drain()
                    chunks, size = [], 0
                    while data := await reader.read(65_536):
                        chunks.append(data)
                        size += len(data)
                        if size > _ANSWER_BYTES_MAX:
                            break
                finally:
                    writer.close()
        except (OSError, TimeoutError) as error:
            raise errors.Unreachable(
                "TFG-3506", "HAProxy's runtime socket does not answer", where=str(self._path)
            ) from error
        return b"".join(chunks).decode("utf-8", "replace")

    async def pid(self) -> int | None:
        """The process that answers, or None if nobody does."""
        try:
            answer = await self.ask("show info")
        except errors.Unreachable:
            return None
        said = [line.partition(":")[2] for line in answer.splitlines() if line.startswith("Pid:")]
        return int(said[0]) if said else None

    async def tell(self, commands: Sequence[str]) -> None:
        """Carry out commands in order.

        Raises:
            errors.BadInput: TFG-3509, one holds what would begin another; none was carried out.
            errors.Failed: TFG-3508, HAProxy refused one; those after it were carried out all the
                same.

        """
        for command in commands:
            if not _COMMAND.fullmatch(command):
                raise errors.BadInput(
                    "TFG-3509", "this is not one command for HAProxy", where=command[:128]
                )
        batch: list[str] = []
        for command in [*commands, ""]:
            full = sum(map(len, batch)) + len(command) + 2 * len(batch) > _LINE_BYTES_MAX
            if batch and (full or not command):
                self._check(batch, await self.ask("; ".join(batch)))
                batch = []
            batch.append(command)

    def _check(self, commands: list[str], answer: str) -> None:
        for said in answer.split("\n"):
            if said.strip() not in _FINE:
                raise errors.Failed(
                    "TFG-3508", f"HAProxy refused a change: {said.strip()}", where=str(self._path),
                    commands=commands,
                )  # fmt: skip

    async def map(self, path: Path) -> dict[str, str]:
        """All entries of a map; of a repeated key the first, as HAProxy takes it."""
        found: dict[str, str] = {}
        for line in (await self.ask(f"show map {path}")).splitlines():
            words = line.split(" ", 2)
            if len(words) == 3:
                found.setdefault(words[1], words[2])
        return found

    async def lookup(self, path: Path, key: str) -> str | None:
        """The value of one key of a map."""
        answer = await self.ask(f"get map {path} {key}")
        if "found=yes" not in answer:
            return None
        return answer.partition(' value="')[2].partition('"')[0]

    async def servers(self, slot: str = "-1") -> list[Server]:
        """The servers of one slot, or of all."""
        answer = await self.ask(f"show stat {slot} 4 -1")
        rows = csv.DictReader(answer.removeprefix("# ").splitlines())
        return [
            Server(
                slot=row["pxname"],
                name=row["svname"],
                address=row["addr"],
                status=row["status"],
                check=row["check_status"].removeprefix("* "),
                sessions=int(row["scur"] or 0),
            )
            for row in rows
            if row.get("svname")
        ]
