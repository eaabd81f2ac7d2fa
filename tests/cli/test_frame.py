"""What every command shares: flags, answers, errors, exit codes, misspelt words."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from tests.cli.ground import run
from tfgrid.core import catalogue, errors
from tfgrid.doors.cli import answers, render
from tfgrid.doors.cli.frame import (
    ExitCode,
    Leaf,
    Noun,
    Progress,
    Root,
    Settings,
    confirm,
    exits,
    failure,
    leaf,
)
from tfgrid.doors.cli.root import COMMANDS, load, root


def leaves(
    command: click.Command, path: tuple[str, ...] = ()
) -> list[tuple[tuple[str, ...], Leaf]]:
    """Every leaf command below one, with the words that lead to it."""
    if isinstance(command, Leaf):
        return [(path, command)]
    assert isinstance(command, click.Group)
    context = click.Context(command)
    found = []
    for name in command.list_commands(context):
        below = command.get_command(context, name)
        assert below is not None
        found += leaves(below, (*path, name))
    return found


EVERY = leaves(root)


def _classes(base: type[errors.GridError]) -> list[type[errors.GridError]]:
    return [base, *(one for sub in base.__subclasses__() for one in _classes(sub))]


def test_every_error_class_has_a_documented_exit_code() -> None:
    """The exit code of each error class is in the one table."""
    for kind in _classes(errors.GridError):
        assert ExitCode(kind.exit_code) in exits.MEANINGS


def test_version_is_one_line() -> None:
    """The version is told with and without JSON."""
    assert run("--version").output.startswith("tfgrid 0.")
    told = json.loads(run("--json", "--version").output)
    assert told["schema"] == "tfgrid.version/1"


@pytest.mark.parametrize(("path", "command"), EVERY, ids=[" ".join(p) for p, _ in EVERY])
def test_every_command_is_whole(path: tuple[str, ...], command: Leaf) -> None:
    """A command has a sentence, three examples of itself, and answers whose schemas exist."""
    assert command.help
    assert len(command.examples) == 3
    for example in command.examples:
        assert example.startswith(f"tfgrid {' '.join(path)}")
    assert command.answers
    assert set(command.answers) <= set(answers.SCHEMAS)


@pytest.mark.parametrize(("path", "command"), EVERY, ids=[" ".join(p) for p, _ in EVERY])
def test_every_command_explains_itself(path: tuple[str, ...], command: Leaf) -> None:
    """--help shows the examples first and the common flags; -h is short and names --help."""
    told = run(*path, "--help")
    assert told.exit_code == 0
    assert told.output.startswith("Examples:")
    assert command.examples[2] in told.output
    assert "--json" in told.output
    short = run(*path, "-h")
    assert short.exit_code == 0
    assert short.output.startswith(f"Usage: tfgrid {' '.join(path)}")
    assert short.output.endswith(f"tfgrid {' '.join(path)} --help\n")
    assert "--json" not in short.output
    assert len(short.output) < len(told.output)


def test_help_lists_flags_as_flags_and_verbs_in_whole_sentences() -> None:
    """An argument is no flag, and no sentence about a verb ends in dots."""
    assert "  CONTRACT/WORKLOAD" not in run("logs", "--help").output
    listed = " ".join(run("contract", "--help").output.split())
    assert "with its quorum, nodes remove all they made." in listed
    assert "..." not in listed.partition("Commands:")[2]


def test_an_error_always_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    """A fault without a hint of its own tells the remedy of the catalogue, as text and as JSON."""
    fault = errors.NotFound("TFG-5006", "there is no file x")
    remedy = catalogue.entries()["TFG-5006"].remedy
    failure.report(fault, Settings())
    assert f"  try: {remedy}\n" in capsys.readouterr().err
    failure.report(fault, Settings(json=True))
    assert json.loads(capsys.readouterr().err)["hint"] == remedy


def test_the_table_has_every_command_and_its_help() -> None:
    """The root's table names exactly the commands that can be loaded."""
    for word in COMMANDS:
        assert load(word).name == word


def test_help_imports_nothing_that_it_does_not_need() -> None:
    """`tfgrid --help` imports no noun, no ledger, no rich, no msgspec."""
    code = (
        "import sys; from tfgrid.doors.cli.root import root\n"
        "try: root.main(['--help'])\nexcept SystemExit: pass\n"
        "print(sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.strip("[]\n").replace("'", "").split(", "))
    heavy = {"rich", "msgspec", "nacl", "litestar", "httpx", "asyncio", "tfgrid._native", "yaml"}
    assert not loaded & heavy
    assert not {name for name in loaded if name.startswith(("tfgrid.ledger", "tfgrid.agents"))}


def test_the_version_imports_no_parser() -> None:
    """`tfgrid --version` answers before click is imported."""
    code = (
        "import sys; sys.argv = ['tfgrid', '--version']\nfrom tfgrid.doors.cli import main\n"
        "try: main()\nexcept SystemExit: pass\nprint('click' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False\n")


@pytest.mark.parametrize(
    ("typed", "near"),
    [(("doctro",), "tfgrid doctor"), (("contract", "shwo"), "tfgrid contract show")],
)
def test_a_misspelt_word_is_answered_with_the_nearest(typed: tuple[str, ...], near: str) -> None:
    """Exit 2, TFG-5002 and the nearest words."""
    told = run(*typed)
    assert told.exit_code == 2
    assert near in told.stderr
    assert "TFG-5002" in told.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("doctor", "--colour"),
        ("contract", "show"),
        ("completion", "tcsh"),
        ("status", "--timeout", "soon"),
        ("up", "--nodes", "many"),
    ],
)
def test_wrong_arguments_never_succeed(arguments: tuple[str, ...]) -> None:
    """Exit 2 and TFG-5001, and nothing on standard output."""
    told = run(*arguments)
    assert told.exit_code == 2
    assert told.stdout == ""
    assert "TFG-5001" in told.stderr


def test_errors_are_one_json_object_on_stderr() -> None:
    """With --json the four parts, exit code and retry are fields; even for wrong usage."""
    for arguments in (("contract", "sho", "--json"), ("--json", "doctor", "--colour")):
        told = run(*arguments)
        fault = json.loads(told.stderr)
        assert told.stdout == ""
        assert fault["type"] == "error"
        assert fault["exit"] == told.exit_code == 2
        assert fault["message"]
        assert fault["hint"]
        assert fault["docs"] == f"tfgrid help {fault['code']}"
        assert fault["retryable"] is False


def test_json_can_be_asked_for_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """TFGRID_JSON=1 is --json."""
    monkeypatch.setenv("TFGRID_JSON", "1")
    assert json.loads(run("nonsense").stderr)["code"] == "TFG-5002"
    assert json.loads(run("help", "exit-codes").stdout)["schema"] == "tfgrid.topic/1"


def _probe(seen: list[Settings]) -> Root:
    noun = Noun("noun", help="A noun.")

    @leaf(noun, "verb", answers=(), examples=())
    def verb(settings: Settings) -> None:
        """Do it."""
        seen.append(settings)

    return Root(table={"noun": ""}, load=lambda _: noun, help="", examples=())


@pytest.mark.parametrize(
    "arguments",
    [("--as", "budget", "noun", "verb"), ("noun", "--as", "budget", "verb"),
     ("noun", "verb", "--as", "budget")],
)  # fmt: skip
def test_a_common_flag_may_stand_anywhere(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the noun, before the verb or after it; a flag wins over its variable everywhere."""
    monkeypatch.setenv("TFGRID_AS", "alice")
    monkeypatch.setenv("TFGRID_TIMEOUT", "90s")
    seen: list[Settings] = []
    with pytest.raises(SystemExit) as ended:
        _probe(seen).main(list(arguments))
    assert ended.value.code == 0
    assert seen[0].identity == "budget"
    assert seen[0].timeout == 90


def test_a_question_without_a_person_names_the_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody at a terminal and no --yes: TFG-5003; --yes always means yes."""
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    with pytest.raises(errors.BadInput, match="--yes"):
        confirm(Settings(), "Remove it?")
    confirm(Settings(yes=True), "Remove it?")


def test_what_cannot_be_undone_asks_for_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """A yes is not enough where data is destroyed; the word is."""
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    for answer, agreed in (("y", False), ("", False), ("24518aea", True)):
        monkeypatch.setattr(click, "prompt", lambda *_a, answer=answer, **_k: answer)
        if agreed:
            confirm(Settings(), "Remove it?", typed="24518aea")
            continue
        with pytest.raises(errors.NotAllowed):
            confirm(Settings(), "Remove it?", typed="24518aea")


def test_progress_says_each_change_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Not on a terminal: a line for each change, no repeats, nothing on standard output."""
    with Progress(Settings(), "waiting") as progress:
        for state in ("starting", "starting", "ready"):
            progress.change("n1", state)
    told = capsys.readouterr()
    assert told.out == ""
    assert [line.split() for line in told.err.splitlines()] == [
        ["waiting"], ["n1", "starting"], ["n1", "ready"],
    ]  # fmt: skip


def test_progress_is_json_lines_with_json(capsys: pytest.CaptureFixture[str]) -> None:
    """With --json each change is one object on standard error; with --quiet there is none."""
    with Progress(Settings(json=True), "waiting") as progress:
        progress.change("n1", "ready")
    with Progress(Settings(quiet=True), "waiting") as progress:
        progress.change("n1", "ready")
    lines = capsys.readouterr().err.splitlines()
    assert [json.loads(line)["state"] for line in lines] == ["ready"]


@pytest.mark.parametrize(
    ("name", "value"), [("NO_COLOR", "1"), ("CLICOLOR", "0"), ("TERM", "dumb")]
)
def test_colour_can_be_turned_off(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR, CLICOLOR=0 and TERM=dumb turn colour off on a terminal."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert Settings().colour
    assert not Settings(plain=True).colour
    monkeypatch.setenv(name, value)
    assert not Settings().colour


def test_all_reasons_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    """An error with reasons by node and workload prints every one of them."""
    reasons = {"n1": {"web": ["too little memory", "wrong farm"]}, "n2": ["not admitted"]}
    fault = errors.NoFit("TFG-2350", "no node fits", hint="--set memory=1GiB", reasons=reasons)
    assert failure.report(fault, Settings()) == 7
    told = capsys.readouterr().err
    for words in ("n1: web: too little memory", "n1: web: wrong farm", "n2: not admitted", "--set"):
        assert words in told


def test_an_unforeseen_fault_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """A fault of the program is TFG-5005, exit 1, with its trace."""
    assert failure.report(ZeroDivisionError("oh"), Settings()) == 1
    told = capsys.readouterr().err
    assert "TFG-5005" in told
    assert "ZeroDivisionError" in told


def test_interrupting_exits_130(capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C is TFG-5010 and exit 130."""
    assert failure.report(KeyboardInterrupt(), Settings()) == 130
    assert "repeat the command" in capsys.readouterr().err


def test_a_grid_that_is_not_there_is_exit_4(tmp_path: Path) -> None:
    """A directory without a grid and an unknown context are errors that name themselves."""
    told = run("status", "--grid", str(tmp_path))
    assert told.exit_code == 4
    assert "TFG-5101" in told.stderr
    told = run("contract", "list", "--context", "nowhere")
    assert told.exit_code == 4
    assert "TFG-5008" in told.stderr


def test_a_file_that_may_not_be_used_is_no_fault(capsys: pytest.CaptureFixture[str]) -> None:
    """What the system says of a file is told in a line; other trouble keeps its trace."""
    fault = PermissionError(13, "Permission denied", "/root/x")
    assert failure.report(fault, Settings()) == 5
    told = capsys.readouterr().err
    assert "error: /root/x: permission denied" in told
    assert "Traceback" not in told
    assert failure.report(PermissionError(13, "no name"), Settings()) == 1


def test_sentences_go_below_their_rows_where_it_is_narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a narrow terminal no digest is cut in two, and no line is wider than the terminal."""
    monkeypatch.setattr(Settings, "colour", True)
    monkeypatch.setenv("COLUMNS", "60")
    row = ("+ web-1", "container", "n2", "472574bbc6", "cheapest of 4 that fit; " * 5)
    told = render.table(Settings(), ("workload", "kind", "node", "digest", "why there"), [row])
    lines = re.sub(r"\x1b\[[0-9;]*m", "", told).splitlines()
    assert "472574bbc6" in lines[1]
    assert lines[2].startswith("      cheapest of 4")
    assert max(len(line.rstrip()) for line in lines) <= 60
