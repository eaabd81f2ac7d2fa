"""Who decides a setting: flag, variable, project, context, default; and damaged files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.ground import run

_CONTEXTS = """\
[context.far]
grid = "/far"
as = "legal"
timeout = "7m"

[context.near]
grid = "/near"
"""


@pytest.fixture(autouse=True)
def _places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration directory and a project of this test's own."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "project" / "below").mkdir(parents=True)
    (tmp_path / "config" / "tfgrid").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project" / "below")


def _contexts(tmp_path: Path, text: str) -> None:
    (tmp_path / "config" / "tfgrid" / "config.toml").write_text(text)


def _project(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "project" / "tfgrid.toml"
    file.write_text(text)
    return file


def _settings(*arguments: str) -> dict[str, Any]:
    told = run("config", "show", "--json", *arguments)
    assert told.exit_code == 0, told.stderr
    return {e["name"]: (e["value"], e["origin"]) for e in json.loads(told.stdout)["entries"]}


def test_without_any_word_the_default_holds(tmp_path: Path) -> None:
    """Nobody says anything: each setting is the default, and says so."""
    found = _settings()
    assert found["grid"] == (str(tmp_path / "state" / "tfgrid" / "grid"), "default")
    assert found["as"] == ("alice", "default")
    assert found["timeout"] == ("120 s", "default")


def test_flag_beats_variable_beats_project_beats_context(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each place wins over all that come after it, and is named as the origin."""
    _contexts(tmp_path, f'use = "far"\n{_CONTEXTS}')
    found = _settings()
    assert found["grid"][0] == "/far"
    assert found["grid"][1].startswith("context far of")
    assert (found["as"][0], found["timeout"][0]) == ("legal", "420 s")
    file = _project(tmp_path, 'as = "budget"\n')
    assert _settings()["as"] == ("budget", str(file))
    assert _settings()["timeout"][0] == "420 s"
    monkeypatch.setenv("TFGRID_AS", "security")
    assert _settings()["as"] == ("security", "TFGRID_AS")
    assert _settings("--as", "expert")["as"] == ("expert", "flag --as")


def test_a_project_names_its_grid_from_where_it_lies(tmp_path: Path) -> None:
    """A relative directory in tfgrid.toml is beside the file, from whatever folder below it."""
    file = _project(tmp_path, 'grid = "run/grid"\n')
    assert _settings()["grid"] == (str(tmp_path / "project" / "run" / "grid"), str(file))


def test_a_context_that_is_named_nearer_wins_over_a_directory_named_further_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--context beats TFGRID_GRID, which beats TFGRID_CONTEXT, which beats the project."""
    _contexts(tmp_path, _CONTEXTS)
    _project(tmp_path, 'grid = "/project"\n')
    assert _settings()["grid"][0] == "/project"
    monkeypatch.setenv("TFGRID_CONTEXT", "far")
    assert _settings()["grid"][0] == "/far"
    monkeypatch.setenv("TFGRID_GRID", "/variable")
    assert _settings()["grid"] == ("/variable", "TFGRID_GRID")
    assert _settings("--context", "near")["grid"][0] == "/near"


def test_two_flags_that_name_a_grid_are_refused(tmp_path: Path) -> None:
    """--grid and --context together are a question, not a choice."""
    _contexts(tmp_path, _CONTEXTS)
    told = run("status", "--grid", "/x", "--context", "near")
    assert (told.exit_code, "TFG-5001" in told.stderr) == (2, True)


def test_a_file_that_somebody_else_could_write_is_passed_over(tmp_path: Path) -> None:
    """Whoever could change tfgrid.toml would decide whose grid is spoken to, and as whom."""
    file = _project(tmp_path, 'as = "budget"\n')
    file.chmod(0o666)
    assert _settings()["as"] == ("alice", "default")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[context.x\n", "config.toml"),
        ('[context.x]\ngrdi = "/x"\n', "did you mean grid?"),
        ("[context.x]\ngrid = 3\n", "grid must be text"),
        ('[context.x]\nas = "legal"\n', "context x has no grid"),
        ('[context.x]\ngrid = "/x"\ntimeout = "soon"\n', "no span of time"),
        ('context = "x"\n', "a context is a table"),
        ('nothing = "x"\n', "there is no key 'nothing'"),
        ("\x00", "config.toml"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, text: str, said: str) -> None:
    """Exit 2 and TFG-5030 with the file and what is wrong in it; never a trace."""
    _contexts(tmp_path, text)
    told = run("status", "--context", "x")
    assert told.exit_code == 2
    assert "TFG-5030" in told.stderr
    assert said in told.stderr
    assert "Traceback" not in told.stderr
    assert run("help", "start").exit_code == 0  # what asks no grid reads no settings


def test_a_context_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """Exit 4, with those that are."""
    _contexts(tmp_path, _CONTEXTS)
    told = run("status", "--context", "nera")
    assert told.exit_code == 4
    assert "there is far, near" in told.stderr
