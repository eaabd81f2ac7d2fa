"""A ledger server for crash tests: orders notes and says on stdout what it acknowledged.

    python -m tests.bcdb.crashing DIRECTORY ENTRIES

It opens or founds the ledger, lets alice write, and prints each acknowledged entry's name once it
may be believed. Whatever kills it, each printed name must be in the ledger afterwards.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.bcdb.notary import Desk, Note
from tfgrid.core import rng
from tfgrid.core.clock import SystemClock
from tfgrid.core.store import DirectoryStore


async def main(directory: Path, entries: int) -> None:
    """Write until killed or done."""
    desk = Desk(
        directory=directory / "ledger", signed=DirectoryStore(directory / "signed"),
        clock=SystemClock(),
    )  # fmt: skip
    run_name = rng.SystemRng().token(6).hex()

    async def write(name: str) -> None:
        author = desk.author(name)
        await author.register()
        for count in range(entries):
            text = f"{run_name}-{name}-{count}"
            await author.submit("note.set", Note(name=run_name, text=text))
            sys.stdout.write(text + "\n")
            sys.stdout.flush()

    await asyncio.gather(write("alice"), write("bob"))
    desk.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
