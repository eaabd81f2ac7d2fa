"""Files that a person was sent: each door refuses what is not plainly one document."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from tests.contract.stage import guestbook_stage, who
from tfgrid.agents import builders
from tfgrid.core import canonical, errors, limits
from tfgrid.doors.cli import offline
from tfgrid.doors.cli.nouns import order, recipe
from tfgrid.doors.cli.session import Session
from tfgrid.ledger import contract

DEEP = 50_000
IMAGE = 'name = "x"\nbase = "debian:bookworm"\npackages = ["a-b"]\nentrypoint = ["/x"]\n'
RECIPE = "name: x\nversion: 1.0.0\nworkloads:\n  net: {type: network}\n"


def _plan(path: Path) -> object:
    request = order.Request(what=str(path), settings={}, approvers={})
    return order.make_plan(cast("Session", None), request)


def _recipe(path: Path) -> object:
    return contract.parse_recipe_yaml(recipe.read_text(path), author=who("expert"))


def _image(path: Path) -> object:
    return builders.read(path.parent)


def _proof(path: Path) -> object:
    return offline.verify(path, "")


def _good_plan() -> bytes:
    return canonical.encode(guestbook_stage().plan())


SPELLINGS: list[tuple[str, Callable[[Path], object], Callable[[], bytes]]] = [
    ("plan, key twice", _plan, lambda: _good_plan().replace(b"{", b'{"inventory":1,', 1)),
    ("plan, unknown field", _plan, lambda: _good_plan().replace(b"{", b'{"aaa":1,', 1)),
    ("plan, white space", _plan, lambda: _good_plan() + b"\n"),
    ("plan, float", _plan, lambda: _good_plan().replace(b'"number":0', b'"number":0.0')),
    ("plan, exponent", _plan, lambda: _good_plan().replace(b'"number":0', b'"number":0e1')),
    ("plan, deep", _plan, lambda: b'{"a":' * DEEP),
    ("plan, brackets", _plan, lambda: b"{" + b"[" * DEEP),
    ("plan, not UTF-8", _plan, lambda: b'{"a":"\xff"}'),
    ("proof, key twice", _proof, lambda: b'{"type":"tfgrid-bundle","type":"tfgrid-bundle"}'),
    ("proof, deep", _proof, lambda: b"[" * DEEP),
    ("proof, nothing", _proof, lambda: b""),
    ("recipe, key twice", _recipe, (RECIPE + "name: y\n").encode),
    ("recipe, unknown key", _recipe, (RECIPE + "mounts: []\n").encode),
    ("recipe, alias", _recipe, (RECIPE + "access: &a {logs: true}\n").encode),
    ("recipe, tag", _recipe, (RECIPE + "access: !!python/name:os.system\n").encode),
    ("recipe, deep", _recipe, lambda: b"a: " + b"[" * DEEP),
    ("recipe, deeper", _recipe, lambda: b"{a: " * DEEP),
    ("image, key twice", _image, (IMAGE + 'name = "y"\n').encode),
    ("image, unknown key", _image, (IMAGE + 'run = "id"\n').encode),
    ("image, float", _image, (IMAGE + '[user]\nname = "u"\nid = 1.5\n').encode),
    ("image, deep", _image, lambda: b"name = " + b"[" * DEEP),
    ("image, deeper", _image, lambda: b"[" + b"a." * DEEP + b"a]\n"),
]


def test_the_documents_that_are_spoilt_below_are_good(tmp_path: Path) -> None:
    """Each door takes the document from which the cases are made."""
    for name, read, data in (
        ("plan", _plan, _good_plan()),
        ("recipe", _recipe, RECIPE.encode()),
        ("image.toml", _image, IMAGE.encode()),
    ):
        (tmp_path / name).write_bytes(data)
        assert read(tmp_path / name)


@pytest.mark.parametrize(
    ("read", "data"), [c[1:] for c in SPELLINGS], ids=[c[0] for c in SPELLINGS]
)
def test_a_file_in_another_spelling_is_refused(
    tmp_path: Path, read: Callable[[Path], object], data: Callable[[], bytes]
) -> None:
    """Every fault is one of the catalogue, never a trace, and nothing is understood halfway."""
    path = tmp_path / "image.toml"
    path.write_bytes(data())
    with pytest.raises((errors.BadInput, errors.VerificationFailed, errors.NotFound)) as caught:
        read(path)
    assert caught.value.code.startswith("TFG-")


@pytest.mark.parametrize("read", [_plan, _proof, _recipe, _image])
@pytest.mark.parametrize("first", [b"{", b"a"])
def test_an_endless_file_is_refused(
    tmp_path: Path, read: Callable[[Path], Any], first: bytes
) -> None:
    """A file of a terabyte is refused at once: no door reads more than its document may have."""
    path = tmp_path / "image.toml"
    with path.open("wb") as file:
        file.write(first)
        file.truncate(1024**4)
    with pytest.raises((errors.BadInput, errors.VerificationFailed)):
        read(path)
    assert limits.document_bytes_max < 1024**4
