"""Help pages and completion: read offline, from what comes with the program."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.ground import Ground, run
from tfgrid.core import catalogue
from tfgrid.doors.cli.frame import ExitCode, exits, settings


@pytest.mark.parametrize("word", ["TFG-5101", "tfg-5101", "5101"])
def test_an_error_code_has_a_page(word: str) -> None:
    """Meaning and remedy are told, however the code is written."""
    told = run("help", word)
    assert told.exit_code == 0
    assert "no grid is kept here" in told.stdout
    assert "What to do:" in told.stdout


def test_exit_codes_are_the_one_table() -> None:
    """Every code of the enum is in the page."""
    told = run("help", "exit-codes").stdout
    for code in ExitCode:
        assert f"{int(code):>4}  {exits.MEANINGS[code]}" in told


def test_every_variable_is_documented() -> None:
    """Every TFGRID_ variable that a flag reads is in the page."""
    told = run("help", "environment").stdout
    for option in settings.common_options():
        if option.envvar:
            assert str(option.envvar) in told


def test_an_unknown_topic_is_exit_4() -> None:
    """A page that is not there is TFG-5007."""
    told = run("help", "TFG-0000")
    assert told.exit_code == 4
    assert "TFG-5007" in told.stderr


def test_without_a_topic_all_pages_are_listed() -> None:
    """The list fits a screen, and each of its topics has a page; codes have a list of their own."""
    listed = run("help").stdout.splitlines()[2:]
    assert len(listed) < 24
    for topic in [line.split()[0] for line in listed if not line.startswith("TFG-nnnn")]:
        assert run("help", topic).exit_code == 0
    codes = run("help", "codes").stdout
    for code in catalogue.entries():
        assert code in codes


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_three_shells(shell: str) -> None:
    """The script is the answer, also inside JSON."""
    script = run("completion", shell).stdout
    assert "_TFGRID_COMPLETE" in script
    assert json.loads(run("completion", shell, "--json").stdout)["script"].strip() == script.strip()


def test_completion_completes_verbs(monkeypatch: pytest.MonkeyPatch) -> None:
    """`tfgrid contract li` completes to `list`."""
    from click.shell_completion import ShellComplete

    from tfgrid.doors.cli.root import root

    found = ShellComplete(root, {}, "tfgrid", "_TFGRID_COMPLETE").get_completions(
        ["contract"], "li"
    )
    assert [item.value for item in found] == ["list"]


def _completions(*words: str, typed: str = "") -> list[str]:
    from click.shell_completion import ShellComplete

    from tfgrid.doors.cli.root import root

    found = ShellComplete(root, {}, "tfgrid", "_TFGRID_COMPLETE").get_completions(
        list(words), typed
    )
    return [item.value for item in found]


def test_completion_offers_the_names_that_were_seen_last(ground: Ground) -> None:
    """Nodes and identities come from what a command kept, though the ledger is gone by now."""
    grid = ("--grid", str(ground.paths.root))
    assert ground.run("node", "list").exit_code == 0
    ground.transport.cut = True
    try:
        assert _completions(*grid, "node", "show") == ["n1", "n2", "n3", "n4"]
        assert _completions(*grid, "demo", "unplug", typed="b") == ["bcdb", "bot"]
        assert _completions(*grid, "status", "--as", typed="le") == ["ledger", "legal"]
    finally:
        ground.transport.cut = False


def test_completion_without_a_grid_offers_nothing(tmp_path: Path) -> None:
    """No grid, or a file of names that is damaged: no names and no fault."""
    assert _completions("--grid", str(tmp_path), "node", "show") == []
    (tmp_path / "cache").mkdir()
    for text in ("{", "[]", '{"node": 3}', '{"node": [3, "n1"]}'):
        (tmp_path / "cache" / "names.json").write_text(text)
        assert set(_completions("--grid", str(tmp_path), "node", "show")) <= {"n1"}
