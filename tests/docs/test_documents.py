"""The documents tell the truth: commands and flags exist, links lead somewhere, examples plan."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tests.house import tree
from tfgrid.core import canonical, catalogue, keys
from tfgrid.doors.cli.root import root
from tfgrid.ledger import contract

_PAGES = [path for path in tree.files() if path.suffix == ".md"]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)#\s]+)(#[^)]*)?\)")
_NAMED = re.compile(r"`((?:src|docs|tests|examples|setup|rust|bench)/[\w./-]+)`")
_EXAMPLES = sorted(path for path in tree.files() if path.name == "recipe.yaml")


def _blocks(page: Path, language: str) -> list[str]:
    """The blocks of a page that are marked with a language."""
    return [text for found, text in _BLOCK.findall(tree.text(page)) if found == language]


def _commands(page: Path) -> Iterator[list[str]]:
    """The words of each `tfgrid` and `make` in the console blocks of a page."""
    for block in _blocks(page, "console"):
        for line in block.replace("\\\n", " ").splitlines():
            for part in re.split(r"\s(?:&&|\|)\s", line):
                words = shlex.split(part, comments=True)
                if words and words[0] in {"tfgrid", "make"}:
                    yield words


def _parse(words: list[str]) -> None:
    """Read arguments as the program does, as far as it does not act.

    Raises:
        click.ClickException: a command, flag or argument that is not.

    """
    command: click.Command = root
    context, rest = click.Context(root, info_name="tfgrid", obj=None), words
    while True:
        with command.make_context(context.info_name, list(rest), obj=None) as context:
            if not isinstance(command, click.Group):
                return
            rest = [*context._protected_args, *context.args]
            below = command.get_command(context, rest[0]) if rest else None
            if below is None and command.invoke_without_command and not rest:
                return
            if below is None:
                raise click.UsageError(f"no command {rest[:1]}")
            command, rest = below, rest[1:]


def _targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", tree.text(Path("Makefile")), re.MULTILINE))


@pytest.mark.parametrize("page", [p for p in _PAGES if _blocks(p, "console")], ids=str)
def test_commands_exist(page: Path) -> None:
    """Each command in a console block is one that the program or the Makefile has, flags too."""
    known, found = _targets(), list(_commands(page))
    assert found
    for words in found:
        if words[0] == "make":
            assert set(words[1:]) <= known, words
        else:
            _parse(words[1:])


@pytest.mark.parametrize(
    "line", ["contract shwo x", "status --colour", "contract show", "up --nodes many", "frob"]
)
def test_commands_that_do_not_exist_are_found(line: str) -> None:
    """The check fails for a misspelt verb, flag or argument."""
    with pytest.raises(click.ClickException):
        _parse(line.split())


def test_the_help_page_to_start_with_names_real_commands() -> None:
    """Every line of `tfgrid help start` runs."""
    from tfgrid.doors.cli.nouns import topics

    lines = [line for line in topics._START.splitlines() if line.startswith("tfgrid ")]
    assert len(lines) > 5
    for line in lines:
        _parse(re.split(r"\s{2,}", line)[0].split()[1:])


@pytest.mark.parametrize("page", _PAGES, ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    """Each link to a file, and each file that is named as one, is there."""
    text = _BLOCK.sub("", tree.text(page))
    missing = [
        link for link, _ in _LINK.findall(text)
        if "://" not in link and not (tree.root / page.parent / link).exists()
    ]  # fmt: skip
    missing += [
        name for name in _NAMED.findall(text)
        if not (tree.root / name.rstrip(".")).exists() and "TFG" not in name
    ]  # fmt: skip
    assert missing == []


@pytest.mark.parametrize("page", _PAGES, ids=str)
def test_error_codes_exist(page: Path) -> None:
    """Each error code that a page speaks of is in the catalogue."""
    told = set(re.findall(r"TFG-\d{4}", tree.text(page)))
    assert told <= set(catalogue.entries())


def test_every_page_is_in_the_index() -> None:
    """`docs/README.md` leads to every page, `docs/decisions/README.md` to every decision."""
    for folder in ("docs", "docs/decisions"):
        index = Path(folder) / "README.md"
        linked = {(index.parent / link) for link, _ in _LINK.findall(tree.text(index))}
        pages = {p for p in _PAGES if p.is_relative_to(folder) and p != index}
        pages = {p for p in pages if p.parent == index.parent or folder == "docs"}
        if folder == "docs":
            pages = {p for p in pages if p.parent.name != "decisions"}
        assert pages <= linked


def test_decisions_are_numbered_without_gaps() -> None:
    """Decisions count from one, in their names and in their titles."""
    pages = sorted(p for p in _PAGES if p.parent == Path("docs/decisions") and p.name[0].isdigit())
    assert [int(p.name[:4]) for p in pages] == list(range(1, len(pages) + 1))
    for number, page in enumerate(pages, 1):
        assert tree.text(page).startswith(f"# {number}. ")


@pytest.mark.parametrize("path", _EXAMPLES, ids=str)
def test_examples_are_without_findings(path: Path) -> None:
    """Each recipe in `examples` is one that `recipe lint` finds nothing wrong with."""
    assert contract.lint_recipe_yaml(tree.text(path)) == ()


def test_the_page_on_recipes_shows_the_example() -> None:
    """What `write-your-own.md` shows is what lies in `examples/hello`."""
    page = Path("docs/recipes/write-your-own.md")

    def bare(text: str) -> str:
        return "".join(li for li in text.splitlines(keepends=True) if not li.startswith("#"))

    assert bare(tree.text(Path("examples/hello/recipe.yaml"))) == _blocks(page, "yaml")[0]
    assert bare(tree.text(Path("examples/hello/web/image.toml"))) == _blocks(page, "toml")[0]


def test_the_page_on_canonical_form_has_true_vectors() -> None:
    """The bytes, the digest and what is signed are what `core` computes."""
    page = tree.text(Path("docs/formats/canonical.md"))
    data = canonical.encode({"b": 1, "a": "x"})
    signed = keys.signed_digest(object_type="note", action="note.write", ledger="0" * 64, data=data)
    for told in (data.decode(), canonical.digest(data), signed.hex()):
        assert f"`{told}`" in page
