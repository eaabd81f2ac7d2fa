"""Every error code is explained once, used, and means one thing."""

from __future__ import annotations

import ast
from collections import defaultdict
from functools import cache

from tests.house import codes, tree
from tfgrid.core import catalogue, errors

_RANGES = {
    "core": range(1000, 2000),
    "bcdb": range(2000, 2300),
    "contract": range(2300, 2600),
    "farm": range(2600, 2700),
    "sal": range(3000, 3100),
    "net_sal": range(3600, 3700),
    "container": range(3100, 3200),
    "flist": range(3200, 3300),
    "builders": range(3300, 3400),
    "znet": range(3400, 3500),
    "zgw": range(3500, 3600),
    "zdb": range(3700, 3800),
    "zos": range(4000, 4200),
    "keeper": range(4200, 4300),
    "threebot": range(4500, 4600),
    "cli": range(5000, 5100),
    "localgrid": range(5100, 5200),
    "api": range(5200, 5300),
}
"""Which codes a file of the catalogue may hold."""


@cache
def _used() -> dict[str, list[str]]:
    places = defaultdict[str, list[str]](list)
    for path in tree.python_files("src"):
        for code, line, given_to in codes.used(tree.tree(path)):
            places[code].append(f"{path}:{line}: {given_to}")
    return dict(places)


def test_every_code_in_the_tree_is_explained() -> None:
    """A code that is raised stands in the catalogue."""
    missing = [f"{c} {at}" for c, at in sorted(_used().items()) if c not in catalogue.entries()]
    assert not missing, "\n".join(missing)


def test_every_code_in_the_catalogue_is_used() -> None:
    """An entry of the catalogue that nobody raises is removed."""
    assert set(catalogue.entries()) - set(_used()) == set()


def test_docstrings_mention_codes_that_exist() -> None:
    """A code that a docstring promises is one of the catalogue."""
    wrong = [
        f"{path}: {code}"
        for path in tree.python_files("src")
        for code in sorted(codes.mentioned(tree.text(path)) - set(catalogue.entries()))
    ]
    assert not wrong, "\n".join(wrong)


def test_a_code_has_one_class() -> None:
    """One code is one cause, so it never comes with two classes and two exit codes."""
    classes = defaultdict[str, set[str]](set)
    for code, places in _used().items():
        classes[code] = {p.rpartition(" ")[2] for p in places} & set(errors.__all__)
    assert {code: names for code, names in classes.items() if len(names) > 1} == {}


def test_entries_stand_in_the_file_of_their_part() -> None:
    """The first digits of a code say which part of the grid speaks."""
    wrong = {
        f"{e.code} stands in {e.part}.toml"
        for e in catalogue.entries().values()
        if int(e.code[4:]) not in _RANGES.get(e.part, ())
    }
    assert wrong == set()


def test_entries_say_three_things() -> None:
    """Title, meaning and remedy are there, in one line each."""
    for entry in catalogue.entries().values():
        for text in (entry.title, entry.meaning, entry.remedy):
            assert text.strip() == text != ""
            assert "\n" not in text


def test_the_document_is_rendered_from_the_catalogue() -> None:
    """`docs/errors.md` is what `make docs` renders today."""
    assert (tree.root / "docs/errors.md").read_text() == catalogue.markdown()


def test_the_document_has_every_exit_code() -> None:
    """The table of exit codes is the tree of errors."""
    classes = [getattr(errors, name) for name in errors.__all__]
    for exit_code in {cls.exit_code for cls in classes}:
        assert f"| {exit_code} | " in catalogue.markdown()


def test_the_probe_finds_a_code() -> None:
    """A code that is raised is found, with its class; one in a sentence is not."""
    raised = ast.parse('"""TFG-9998."""\nraise errors.Failed("TFG-9999", "x")')
    assert list(codes.used(raised)) == [("TFG-9999", 2, "Failed")]
