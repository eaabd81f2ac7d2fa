"""`doctor`, `up`, `down`, `status`: this machine and the grid on it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import click
import msgspec

from tfgrid.core import errors
from tfgrid.doors import localgrid
from tfgrid.doors.cli import answers, render
from tfgrid.doors.cli.frame import (
    ExitCode,
    Leaf,
    Progress,
    Settings,
    confirm,
    hints,
    leaf,
    say,
    show,
)
from tfgrid.doors.cli.session import Session, grid_directory
from tfgrid.doors.localgrid import doctor as examination

__all__ = ["COMMANDS", "examine", "refuse_if_lacking"]

_group = click.Group()


def examine() -> answers.Doctor:
    """Look at this machine."""
    checks = examination.examine(examination.take())
    return answers.Doctor(
        blocking=sum(check.level == "blocking" for check in checks),
        notes=sum(check.level == "note" for check in checks),
        checks=[
            answers.Check(name=c.name, level=c.level, finding=c.finding, means=c.means, cure=c.cure)
            for c in checks
        ],
    )


def doctor_text(answer: answers.Doctor) -> str:
    """A line for each check, and under what is off what it means and what mends it."""
    lines = []
    for check in answer.checks:
        lines.append(f"  {check.level:<9} {check.name:<16} {check.finding}")
        if check.level != "ok":
            lines.append(f"{'':29} {check.means}")
            lines.append(f"{'':29} mend: {check.cure}")
    lines.append(f"{answer.blocking} blocking, {answer.notes} notes")
    return "\n".join(lines)


def refuse_if_lacking() -> answers.Doctor:
    """Look at this machine, and go on only if nothing is blocking.

    Raises:
        errors.MachineLacks: TFG-5013.

    """
    answer = examine()
    if answer.blocking:
        lacks = [f"{c.name}: {c.finding}. Mend: {c.cure}" for c in answer.checks
                 if c.level == "blocking"]  # fmt: skip
        raise errors.MachineLacks(
            "TFG-5013", "this machine lacks what a grid needs", hint="tfgrid doctor", reasons=lacks
        )
    return answer


@leaf(
    _group, "doctor", answers=("tfgrid.doctor/1",),
    examples=("tfgrid doctor", "tfgrid doctor --json", "tfgrid doctor --plain"),
)  # fmt: skip
def doctor(settings: Settings) -> None:
    """Say what this machine has and lacks, what that means, and the one command that mends each."""
    answer = examine()
    show(settings, answer, doctor_text)
    if answer.blocking:
        click.get_current_context().exit(int(ExitCode.MACHINE_LACKS))


@leaf(
    _group, "up", answers=("tfgrid.up/1",),
    examples=("tfgrid up", "tfgrid up --nodes 2 --farms 1 --dir /srv/grid", "tfgrid up --dry-run"),
)  # fmt: skip
@click.option("--nodes", type=int, help="How many nodes (default: 4).")
@click.option("--farms", type=int, help="How many farms (default: 2).")
@click.option("--dir", "directory", metavar="PATH", help="Where the grid is kept.")
def up(settings: Settings, nodes: int | None, farms: int | None, directory: str | None) -> None:
    """Start a grid on this machine, or what is missing of it."""
    where = Path(directory).absolute() if directory else grid_directory(settings)
    if settings.dry_run:
        localgrid.check_layout(where, nodes=nodes, farms=farms)
        show(settings, _planned(where), _planned_text)
        return
    refuse_if_lacking()
    with Progress(settings, "starting a grid here") as progress:
        started = asyncio.run(
            localgrid.up(
                where,
                nodes=nodes,
                farms=farms,
                timeout_seconds=settings.timeout,
                progress=progress.change,
            )
        )
    answer = _up_answer(started)
    show(settings, answer, _up_text)
    hints(settings, "tfgrid status", "tfgrid demo", "tfgrid down")


def _planned(where: Path | None) -> answers.Up:
    paths = localgrid.Paths(where or localgrid.default_directory())
    there = paths.grid_file.exists()
    return answers.Up(
        directory=str(paths.root), ledger=localgrid.read(paths).ledger if there else "",
        edge="", certificate="", started=[], parts=[],
    )  # fmt: skip


def _planned_text(answer: answers.Up) -> str:
    verb = "start what is missing of the grid" if answer.ledger else "make a new grid"
    return f"would {verb} in {answer.directory}; nothing was changed"


def _up_answer(started: localgrid.Started) -> answers.Up:
    grid, paths = started.grid, started.paths
    _, _, parts = asyncio.run(localgrid.status(paths.root))
    return answers.Up(
        directory=str(paths.root), ledger=grid.ledger, started=list(started.started),
        edge=f"https://127.0.0.1:{grid.edge_port}/", certificate=str(paths.root_certificate),
        parts=[_part(part) for part in parts],
    )  # fmt: skip


def _part(part: localgrid.PartStatus) -> answers.Part:
    return answers.Part(
        name=part.name, kind=part.kind, state=part.state, pid=part.pid, detail=part.detail
    )


def _bot(part: localgrid.PartStatus, *, heard: bool) -> answers.Part:
    """The bot's line: its process runs, but it is ready when its report is to be read."""
    told = _part(part)
    if part.state != "ready" or heard:
        return told
    return msgspec.structs.replace(told, state="running", detail="no report of it is to be read")


def _up_text(answer: answers.Up) -> str:
    done = f"{len(answer.started)} processes started" if answer.started else "all of it ran already"
    return f"grid {answer.ledger[:8]} is up in {answer.directory}; {done}"


@leaf(
    _group, "down", answers=("tfgrid.down/1",),
    examples=("tfgrid down", "tfgrid down --purge --yes", "tfgrid down --grid /srv/grid"),
)  # fmt: skip
@click.option("--purge", is_flag=True, help="Remove what the grid keeps, too.")
@click.option("--dir", "directory", metavar="PATH", help="Where the grid is kept.")
def down(settings: Settings, purge: bool, directory: str | None) -> None:
    """Stop the grid on this machine; what it keeps stays, unless --purge."""
    where = Path(directory).absolute() if directory else grid_directory(settings)
    paths = localgrid.find(where)
    grid = localgrid.read(paths)
    if settings.dry_run:
        would = f"stop the grid in {paths.root}"
        if purge:
            would += ", then remove it with its ledger, identities and images"
        show(settings, _down_answer(paths, [], False, []), lambda _: f"would {would}")
        say(settings, "nothing was changed")
        return
    if purge:
        question = f"Remove {paths.root} with its ledger, identities and images?"
        confirm(settings, question, typed=grid.grid)
    with Progress(settings, "stopping the grid") as progress:
        if not purge:
            _, _, stopped = localgrid.down(where, progress=progress.change)
        else:
            _, stopped = localgrid.purge(where, progress=progress.change)
    left = localgrid.left_behind(grid.grid, paths.root) if purge else []
    answer = _down_answer(paths, list(stopped), purge, left)
    show(settings, answer, _down_text)
    if left:
        click.get_current_context().exit(int(ExitCode.PARTLY))
    if not purge:
        hints(settings, "tfgrid up", "tfgrid down --purge")


def _down_answer(
    paths: localgrid.Paths, stopped: list[str], purged: bool, left: list[str]
) -> answers.Down:
    return answers.Down(directory=str(paths.root), stopped=stopped, purged=purged, left=left)


def _down_text(answer: answers.Down) -> str:
    stopped = f"{len(answer.stopped)} processes stopped" if answer.stopped else "nothing ran"
    if not answer.purged:
        return f"{stopped}; what the grid keeps stays in {answer.directory}"
    left = "\n".join(f"  {line}" for line in answer.left)
    return f"{stopped}, {answer.directory} removed; left behind: {left or 'nothing'}"


@leaf(
    _group, "status", answers=("tfgrid.status/1",),
    examples=("tfgrid status", "tfgrid status --json", "tfgrid status --grid /srv/grid"),
)  # fmt: skip
def status(settings: Settings) -> None:
    """Say how each part of the grid is, what its 3Bot says, and how its contracts stand."""
    answer = asyncio.run(_status(settings))
    show(settings, answer, lambda a: _status_text(settings, a))
    if any(part.state != "ready" for part in answer.parts):
        say(settings, "not all of it is ready; tfgrid up starts what is missing")


async def _status(settings: Settings) -> answers.Status:
    from tfgrid.agents import threebot

    paths, grid, parts = await localgrid.status(grid_directory(settings))
    report = None
    entries, head_at, phases = 0, 0, dict[str, int]()
    with Session(settings) as session:
        try:
            await session.look()
            report = await threebot.read_report(session.client, grid.identities["bot"])
        except errors.Unreachable:
            pass
        head = session.follower.head
        if head is not None:
            entries, head_at = head.size, head.order_time
            for state in session.contracts():
                phases[state.phase] = phases.get(state.phase, 0) + 1
    return answers.Status(
        directory=str(paths.root), ledger=grid.ledger, entries=entries,
        edge=f"https://127.0.0.1:{grid.edge_port}/", head_at=render.moment(head_at),
        parts=[_bot(part, heard=report is not None) if part.kind == "bot" else _part(part)
               for part in parts],
        contracts=phases, report=report.summary if report else "",
        report_at=render.moment(report.at if report else 0),
    )  # fmt: skip


def _status_text(settings: Settings, answer: answers.Status) -> str:
    rows = [(p.name, p.kind, p.state, p.detail) for p in answer.parts]
    phases = ", ".join(f"{count} {phase}" for phase, count in answer.contracts.items())
    facts = render.field_list(
        [
            ("grid", answer.directory),
            ("ledger", f"{answer.ledger[:10]}, {answer.entries} entries, head {answer.head_at}"),
            ("edge", answer.edge),
            ("3bot", answer.report or "says nothing now"),
            ("contracts", phases or "none"),
        ]
    )
    return f"{facts}\n\n{render.table(settings, ('part', 'kind', 'state', 'detail'), rows)}"


COMMANDS: Final[dict[str, Leaf]] = {"doctor": doctor, "up": up, "down": down, "status": status}
