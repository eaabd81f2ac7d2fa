"""`help` and `completion`: pages that are read offline."""

from __future__ import annotations

from typing import Final

import click

from tfgrid.core import catalogue, errors
from tfgrid.doors.cli import answers
from tfgrid.doors.cli.frame import Leaf, Settings, exits, leaf, settings, show

__all__ = ["COMMANDS"]

_group = click.Group()


@leaf(
    _group, "help", offline=True, answers=("tfgrid.topic/1",),
    examples=("tfgrid help TFG-1203", "tfgrid help exit-codes", "tfgrid help environment"),
)  # fmt: skip
@click.argument("topic", required=False, default="")
def help_page(settings: Settings, topic: str) -> None:
    """Explain start, exit-codes, codes, environment, accessibility, or one error code."""
    show(settings, _page(topic), lambda page: f"{page.title}\n\n{page.text}")


def _page(topic: str) -> answers.Topic:
    word = topic.lower()
    match word:
        case "":
            return _index()
        case "start":
            return _topic(word, "How to start", _START)
        case "exit-codes":
            rows = [f"{int(code):>4}  {text}" for code, text in exits.MEANINGS.items()]
            return _topic(word, "Exit codes", "\n".join(rows))
        case "codes":
            rows = [f"{page.code}  {page.title}" for page in catalogue.entries().values()]
            return _topic(word, "Error codes: tfgrid help TFG-nnnn", "\n".join(rows))
        case "environment":
            rows = [f"{name:<16} {text}" for name, text in settings.ENVIRONMENT.items()]
            return _topic(word, "Environment variables", "\n".join(rows))
        case "accessibility":
            return _topic(word, "Accessibility", _ACCESSIBILITY)
    digits = topic.upper().removeprefix("TFG-")
    found = catalogue.entries().get(f"TFG-{digits}")
    if found is None:
        raise errors.NotFound(
            "TFG-5007", f"no help page {topic!r}", where=topic, hint="tfgrid help"
        )
    text = f"{found.meaning}\n\nWhat to do: {found.remedy}"
    return _topic(found.code, f"{found.code}  {found.title}", text)


def _topic(name: str, title: str, text: str) -> answers.Topic:
    return answers.Topic(name=name, title=title, text=text)


_TOPICS: Final = {
    "start": "the commands to begin with",
    "exit-codes": "what a command can end with",
    "codes": "every error code",
    "environment": "the variables that commands read",
    "accessibility": "without colour, without animation, without a menu",
}
_START: Final = """\
tfgrid doctor                       what this machine has and lacks
tfgrid demo                         the whole idea: a grid, a recipe, approvals, a page
tfgrid status                       how each part of the grid is
tfgrid plan guestbook               where an order would go, and why there; changes nothing
tfgrid deploy guestbook             order it
tfgrid contract sign NAME --as WHO  approve as a stakeholder
tfgrid contract why NAME            why it is as it is, and what to do
tfgrid logs NAME/WORKLOAD           what a container writes
tfgrid contract proof NAME -o FILE  everything that proves it, for anybody to check offline
tfgrid down                         stop; --purge leaves nothing

Every command has --help with examples, and --json. More to read is in docs/README.md."""

_ACCESSIBILITY: Final = """\
State is a word first and a colour second.
--plain, NO_COLOR, CLICOLOR=0 or TERM=dumb turn colour, boxes and animation off.
ACCESSIBLE=1 turns animation off: each change is one line of text.
Questions are typed answers, never menus; --yes answers them all."""


def _index() -> answers.Topic:
    rows = [f"{name:<14} {text}" for name, text in _TOPICS.items()]
    rows.append(f"{'TFG-nnnn':<14} one of {len(catalogue.entries())} error codes")
    return _topic("topics", "Help pages: tfgrid help TOPIC", "\n".join(rows))


@leaf(
    _group, "completion", offline=True, answers=("tfgrid.completion/1",),
    examples=(
        "tfgrid completion bash >/etc/bash_completion.d/tfgrid",
        "tfgrid completion zsh >~/.zfunc/_tfgrid",
        "tfgrid completion fish >~/.config/fish/completions/tfgrid.fish",
    ),
)  # fmt: skip
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(settings: Settings, shell: str) -> None:
    """Print the completion script of a shell."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    root = click.get_current_context().find_root().command
    script = kind(root, {}, "tfgrid", "_TFGRID_COMPLETE").source()
    answer = answers.Completion(shell=shell, script=script)
    show(settings, answer, lambda made: made.script)


COMMANDS: Final[dict[str, Leaf]] = {"help": help_page, "completion": completion}
