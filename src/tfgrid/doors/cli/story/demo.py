"""`demo`, `demo unplug`, `demo replug`: the main job, and pulling plugs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import click

from tfgrid.core import errors
from tfgrid.doors import localgrid
from tfgrid.doors.cli import answers, portrait, web
from tfgrid.doors.cli.frame import (
    Noun,
    Progress,
    Settings,
    complete,
    hints,
    leaf,
    say,
    settings_of,
    settle,
    show,
)
from tfgrid.doors.cli.session import Session
from tfgrid.ledger import contract

__all__ = ["COMMANDS"]

_ASK_SECONDS: Final = 8.0
_ASK_EVERY_SECONDS: Final = 0.2
_TELL_EVERY: Final = 10

noun: Final = Noun(
    "demo",
    help="Run the main job: a grid, a recipe, approvals, a page that answers. unplug pulls a plug.",
    examples=("tfgrid demo", "tfgrid demo unplug n2", "tfgrid demo replug n2"),
    answers=("tfgrid.demo/1",),
)
noun.invoke_without_command = True
noun.params.insert(
    0, click.Option(("--example",), type=click.Path(path_type=Path), help="Another guestbook."),
)  # fmt: skip


@click.pass_context
def _tell(context: click.Context, example: Path | None) -> None:
    if context.invoked_subcommand is not None:
        return
    from tfgrid.doors.cli.story import running

    settings = settings_of(context)
    settle(settings)
    show(settings, running.run(settings, example), lambda answer: answer.url)


noun.callback = _tell


@leaf(
    noun, "unplug", answers=("tfgrid.plug/1",),
    examples=("tfgrid demo unplug n2", "tfgrid demo unplug bcdb", "tfgrid demo unplug bot"),
)  # fmt: skip
@click.argument("part", metavar="NODE|bcdb|bot", shell_complete=complete("part"))
def unplug(settings: Settings, part: str) -> None:
    """Pull the plug of a node, the ledger or the 3Bot, and watch whether the pages still answer."""
    with Session(settings) as session:
        targets = asyncio.run(_urls(session))
        name = localgrid.find_part(session.paths, session.grid, part).name
        carried = _carried(session, name)
        pages: list[answers.PageCount] = []
        if not settings.dry_run:
            localgrid.unplug(session.paths, session.grid, part)
            say(settings, f"{name} is gone" + (f", with {', '.join(carried)}" if carried else ""))
            pages = asyncio.run(_watch(session, targets))
    answer = answers.Plug(
        part=name, action="would be unplugged" if settings.dry_run else "unplugged", urls=targets,
        asked=sum(page.asked for page in pages),
        answered=sum(page.answered for page in pages), carried=carried, pages=pages,
    )  # fmt: skip
    show(settings, answer, _plug_text)
    if not settings.dry_run:
        hints(settings, "tfgrid status", f"tfgrid demo replug {part}")


@leaf(
    noun, "replug", answers=("tfgrid.plug/1",),
    examples=("tfgrid demo replug n2", "tfgrid demo replug bcdb", "tfgrid demo replug bot"),
)  # fmt: skip
@click.argument("part", metavar="NODE|bcdb|bot", shell_complete=complete("part"))
def replug(settings: Settings, part: str) -> None:
    """Put the plug back and wait until the part answers."""
    with Session(settings) as session:
        targets = asyncio.run(_urls(session))
        name = localgrid.find_part(session.paths, session.grid, part).name
        if not settings.dry_run:
            with Progress(settings, f"starting {part}"):
                asyncio.run(
                    localgrid.replug(
                        session.paths, session.grid, part, timeout_seconds=settings.timeout
                    )
                )
        answer = answers.Plug(
            part=name, action="would be put back" if settings.dry_run else "replugged",
            urls=targets, asked=0, answered=0, carried=_carried(session, name),
        )  # fmt: skip
    show(settings, answer, _plug_text)
    if not settings.dry_run and answer.carried:
        say(settings, f"it makes {', '.join(answer.carried)} again")
        hints(settings, f"tfgrid node show {name}")


def _plug_text(answer: answers.Plug) -> str:
    if answer.action == "replugged":
        return f"{answer.part} is back"
    if answer.action.startswith("would"):
        carried = f", with {', '.join(answer.carried)}" if answer.carried else ""
        return f"{answer.part}{carried} {answer.action}; nothing was changed"
    if not answer.asked:
        return f"{answer.part} is unplugged; no page was there to be asked"
    counts = [
        f"  {page.url}  {page.asked - page.answered} of {page.asked} requests failed"
        for page in answer.pages
    ]
    return "\n".join([f"{answer.part} is unplugged", *counts])


def _living(session: Session) -> list[contract.ContractState]:
    return [state for state in session.contracts() if state.phase in {"running", "degraded"}]


def _carried(session: Session, part: str) -> list[str]:
    """What living contracts have on the node of this name."""
    ids_of = {str(node.node) for node in session.nodes() if node.name == part}
    return [
        f"{state.proposal.agreement.name}/{assignment.workload}"
        for state in _living(session)
        for assignment in state.proposal.placement.assignments
        if assignment.node in ids_of
    ]


async def _urls(session: Session) -> list[str]:
    """Every page that should answer, by what was last verified of the ledger."""
    try:
        await session.look()
    except errors.Unreachable:
        say(session.settings, "the ledger does not answer; going by what was verified before")
    return [url for state in _living(session) for url in portrait.urls(session, state.proposal)]


async def _watch(session: Session, targets: list[str]) -> list[answers.PageCount]:
    """Ask every page for some seconds; how often each was asked, and how often it answered."""
    answered = dict.fromkeys(targets, 0)
    certificate = session.paths.root_certificate
    seconds = min(_ASK_SECONDS, session.settings.timeout)
    until, rounds = session.clock.monotonic_ms() + seconds * 1000, 0
    with Progress(session.settings, f"asking its pages for {seconds:.0f} s") as progress:
        while targets and session.clock.monotonic_ms() < until:
            rounds += 1
            for url in targets:
                answered[url] += await asyncio.to_thread(_answers, url, certificate)
            if rounds % _TELL_EVERY == 0:
                total = f"{sum(answered.values())} of {rounds * len(targets)}"
                progress.change("pages", f"{total} requests answered")
            await session.clock.sleep(_ASK_EVERY_SECONDS)
    return [answers.PageCount(url=u, asked=rounds, answered=n) for u, n in answered.items()]


def _answers(url: str, certificate: Path) -> bool:
    try:
        return web.ask(url, certificate).status == 200
    except errors.Unreachable:
        return False


COMMANDS: Final[dict[str, Noun]] = {"demo": noun}
