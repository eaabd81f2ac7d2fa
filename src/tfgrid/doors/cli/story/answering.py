"""Steps 6 and 7: the page, receipts, proof, and how to look around."""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tfgrid.core import errors, ids, units
from tfgrid.core.clock import SystemClock
from tfgrid.core.ids import ContractId
from tfgrid.doors import localgrid
from tfgrid.doors.cli import answers, offline, portrait, web
from tfgrid.doors.cli.frame import Settings
from tfgrid.doors.cli.nouns import contract as contracts
from tfgrid.doors.cli.session import Session, grid_directory
from tfgrid.doors.cli.story.telling import Teller

__all__ = ["Exchange", "conclude", "exchange", "prove"]

_ANSWER_SECONDS: Final = 30.0
_TRIES_MAX: Final = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """An entry that was written through one container and read through another."""

    url: str
    certificate: Path
    entry: str
    wrote_through: str
    read_through: str


def exchange(teller: Teller, which: ContractId) -> Exchange:
    """Fetch the page, post an entry, read it back through the other web container.

    Raises:
        errors.Unreachable: TFG-5021, the page does not answer.
        errors.Failed: TFG-5025, no other container answered with the entry.

    """
    url, certificate = _where(teller.settings, which)
    page = _first_answer(url, certificate)
    teller.say(f"   {url} answers {page.status}, from {page.container}")
    entry = f"signed at {units.time_text(SystemClock().now_ms())}"
    posted = web.ask(url, certificate, form={"name": "alice", "text": entry})
    if posted.status not in {200, 303}:
        raise errors.Failed(
            "TFG-5025", f"posting an entry answers {posted.status}", where=url,
            hint="tfgrid contract why guestbook",
        )  # fmt: skip
    teller.say(f'   posted "{entry}" through {posted.container}')
    other = _read_through_other(url, certificate, entry, posted.container)
    teller.say(f"   read it back through {other}: both reach redis over the private network")
    return Exchange(
        url=url, certificate=certificate, entry=entry, wrote_through=posted.container,
        read_through=other,
    )  # fmt: skip


def _where(settings: Settings, which: ContractId) -> tuple[str, Path]:
    async def look() -> tuple[str, Path]:
        with Session(settings) as session:
            await session.look()
            state = session.contract(which)
            return portrait.urls(session, state.proposal)[0], session.paths.root_certificate

    return asyncio.run(look())


def _first_answer(url: str, certificate: Path) -> web.Page:
    """The first good answer: a route needs a moment between running and its first health check."""
    until = time.monotonic() + _ANSWER_SECONDS
    while True:
        try:
            page = web.ask(url, certificate)
        except errors.Unreachable:
            if time.monotonic() > until:
                raise
        else:
            if page.status == 200:
                return page
            if time.monotonic() > until:
                raise errors.Unreachable(
                    "TFG-5021", f"{url} answers {page.status}", where=url,
                    hint="tfgrid contract why guestbook",
                )  # fmt: skip
        time.sleep(0.2)


def _read_through_other(url: str, certificate: Path, entry: str, first: str) -> str:
    for _ in range(_TRIES_MAX):
        page = web.ask(url, certificate)
        if page.status == 200 and page.container != first:
            if entry in page.text:
                return page.container
            raise errors.Failed(
                "TFG-5025", f"{page.container} does not know the entry", where=url,
                hint="tfgrid contract why guestbook",
            )  # fmt: skip
        time.sleep(0.1)
    raise errors.Failed(
        "TFG-5025", f"only {first} answers", where=url, hint="tfgrid contract why guestbook"
    )


def prove(teller: Teller, which: ContractId) -> answers.Proof:
    """Print the signed receipts, write the proof and check it with nothing but the file."""
    settings = teller.settings
    described = asyncio.run(_describe(settings, which))
    for receipt in described.receipts:
        limits = (
            f"  {receipt.cpu_millis / 1000:g} cpu {units.bytes_text(receipt.memory_bytes)} set"
            if receipt.memory_bytes
            else ""
        )
        image = f"  sha256:{ids.short(receipt.digest)}" if receipt.digest else ""
        teller.say(
            f"   record {receipt.position:<4} {receipt.node:<4} "
            f"{receipt.workload or 'its part':<10} "
            f"{receipt.state}{image}{limits}"
        )
    file = localgrid.find(grid_directory(settings)).root / f"{described.name}.proof"
    written = asyncio.run(contracts.write_proof(settings, which, file))
    checked = offline.verify(file, "")
    teller.say(f"   proof of {written.entries} records in {file}")
    teller.say(f"   checked offline: {checked.summary or checked.quorum}")
    return written


async def _describe(settings: Settings, which: ContractId) -> answers.Contract:
    with Session(settings) as session:
        await session.look()
        return portrait.contract_answer(session, session.contract(which))


def _node_to_unplug(described: answers.Contract) -> str:
    """A node with a web container, whose page another one shows too; not the gateway itself."""
    gateways = {row.node for row in described.workloads if row.kind == "route"}
    web = [row.node for row in described.workloads if row.workload.startswith("web-")]
    return next((node for node in web if node not in gateways), "bcdb")


def conclude(
    teller: Teller, which: ContractId, made: Exchange, proof: answers.Proof
) -> answers.Demo:
    """Say how to look around and how to stop."""
    with Session(teller.settings) as session:
        root = session.paths.root
    node = _node_to_unplug(asyncio.run(_describe(teller.settings, which)))
    # What is installed is not on the path of who typed `make demo`.
    path = [] if shutil.which("tfgrid") else ["", f"export PATH={sys.prefix}/bin:$PATH"]
    for line in (
        *path, "", "look around",
        "   tfgrid contract show guestbook      tfgrid logs guestbook/web-1",
        "   tfgrid status                       tfgrid node list",
        f"   tfgrid contract verify {proof.file}",
        f"   {web.curl(made.url, made.certificate)}",
        "pull a plug: the page goes on answering",
        f"   {f'tfgrid demo unplug {node}':<33}   tfgrid demo replug {node}",
        "   tfgrid demo unplug bcdb             tfgrid demo replug bcdb",
        "stop",
        "   make down    (keeps the grid's state; tfgrid down --purge leaves nothing)",
        "",
    ):  # fmt: skip
        teller.say(line)
    return answers.Demo(
        directory=str(root), contract=which, url=made.url, certificate=str(made.certificate),
        entry=made.entry, wrote_through=made.wrote_through, read_through=made.read_through,
        proof=proof.file,
    )  # fmt: skip
