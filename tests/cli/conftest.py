"""One furnished grid in this process for the tests of a module; no variables from outside."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.cli import ground as grounds


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("TFGRID_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[grounds.Ground]:
    """A furnished grid whose ledger is in this process."""
    with grounds.ground(tmp_path_factory.mktemp("ground")) as made:
        yield made
