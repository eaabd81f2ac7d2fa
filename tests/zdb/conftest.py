"""One server for all tests of a module that leave no trace, since starting one costs a tenth."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.zdb.ground import Running, Wire, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A mixed server without a password: everybody is admin."""
    with serving(tmp_path_factory.mktemp("zdb")) as running:
        yield running


@pytest.fixture
def call(server: Running, request: pytest.FixtureRequest) -> Iterator[Wire]:
    """A connection in a namespace of its own, named after the test."""
    with server.wire() as connection:
        name = request.node.name[-100:].replace("/", "_")
        assert connection("NSNEW", name) == "OK"
        assert connection("SELECT", name) == "OK"
        yield connection
