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

__all__ = ["COMMANDS"]

_ASK_SECONDS: Final = 8.0
_ASK_EVERY_SECONDS: Final = 0.2

noun: Final = Noun(
    "demo",
    help="Run the main job: a grid, a recipe, approvals, a page that answers. unplug pulls a plug.",
    examples=("tfgrid demo", "tfgrid demo unplug n1", "tfgrid demo replug n1"),
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
    examples=("tfgrid demo unplug n1", "tfgrid demo unplug bcdb", "tfgrid demo unplug bot"),
)  # fmt: skip
@click.argument("part", metavar="NODE|bcdb|bot", shell_complete=complete("part"))
def unplug(settings: Settings, part: str) -> None:
    """Pull the plug of a node, the ledger or the 3Bot, and watch whether the pages still answer."""
    with Session(settings) as session:
        targets = asyncio.run(_urls(session))
        name = (
            localgrid.unplug(session.paths, session.grid, part).name
            if not settings.dry_run
            else part
        )
        say(settings, f"{name} is gone")
        asked, answered = asyncio.run(_watch(session, targets))
    answer = answers.Plug(
        part=name, action="unplugged", urls=targets, asked=asked, answered=answered
    )
    show(settings, answer, _plug_text)
    hints(settings, "tfgrid status", f"tfgrid demo replug {part}")


@leaf(
    noun, "replug", answers=("tfgrid.plug/1",),
    examples=("tfgrid demo replug n1", "tfgrid demo replug bcdb", "tfgrid demo replug bot"),
)  # fmt: skip
@click.argument("part", metavar="NODE|bcdb|bot", shell_complete=complete("part"))
def replug(settings: Settings, part: str) -> None:
    """Put the plug back and wait until the part answers."""
    with Session(settings) as session:
        targets = asyncio.run(_urls(session))
        name = part
        if not settings.dry_run:
            with Progress(settings, f"starting {part}"):
                made = localgrid.replug(
                    session.paths, session.grid, part, timeout_seconds=settings.timeout
                )
                name = asyncio.run(made).name
        answer = answers.Plug(part=name, action="replugged", urls=targets, asked=0, answered=0)
    show(settings, answer, _plug_text)


def _plug_text(answer: answers.Plug) -> str:
    if answer.action == "replugged":
        return f"{answer.part} is back"
    if not answer.asked:
        return f"{answer.part} is unplugged; no page was there to be asked"
    failed = answer.asked - answer.answered
    return (
        f"{answer.part} is unplugged; {', '.join(answer.urls)}: "
        f"{failed} of {answer.asked} requests failed"
    )


async def _urls(session: Session) -> list[str]:
    """Every page that should answer, by what was last verified of the ledger."""
    try:
        await session.look()
    except errors.Unreachable:
        say(session.settings, "the ledger does not answer; going by what was verified before")
    return [
        url
        for state in session.contracts()
        if state.phase in {"running", "degraded"}
        for url in portrait.urls(session, state.proposal)
    ]


async def _watch(session: Session, targets: list[str]) -> tuple[int, int]:
    """Ask every page for some seconds; how often, and how often it answered."""
    asked, answered = 0, 0
    certificate = session.paths.root_certificate
    seconds = min(_ASK_SECONDS, session.settings.timeout)
    until = session.clock.monotonic_ms() + seconds * 1000
    while targets and session.clock.monotonic_ms() < until:
        for url in targets:
            asked += 1
            answered += await asyncio.to_thread(_answers, url, certificate)
        await session.clock.sleep(_ASK_EVERY_SECONDS)
    return asked, answered


def _answers(url: str, certificate: Path) -> bool:
    try:
        return web.ask(url, certificate).status == 200
    except errors.Unreachable:
        return False


COMMANDS: Final[dict[str, Noun]] = {"demo": noun}
