"""A route whose fields were never held against their types tries to speak to HAProxy itself."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from tests.zgw.edge import settings_of
from tfgrid.capacity import zgw
from tfgrid.capacity.zgw.runtime import Runtime
from tfgrid.core import errors
from tfgrid.core.clock import SystemClock
from tfgrid.jumpscale.executors import DirectLauncher

ROUTE = zgw.Route(
    host="a.grid.localhost", backends=(zgw.Backend(address="100.64.0.2", port=80),), label="l"
)


@pytest.mark.parametrize(
    "fields",
    [
        {"health_path": "/x; clear map routes.map"},
        {"health_path": "/x\nclear map routes.map"},
        {"label": "l; disable frontend https"},
        {"host": "a; b.grid.localhost"},
        {"backends": (zgw.Backend(address="100.64.0.2; x", port=80),)},
        {"backends": ()},
    ],
    ids=["path", "line", "label", "host", "address", "nobody"],
)
def test_a_field_that_is_not_of_its_type_reaches_no_command(
    tmp_path: Path, fields: dict[str, object]
) -> None:
    """Values are held when they are used, since a constructor holds nothing."""
    gateway = zgw.Gateway(
        settings=settings_of(tmp_path, tmp_path / "none"),
        launcher=DirectLauncher(tmp_path),
        clock=SystemClock(),
    )
    hostile = msgspec.structs.replace(ROUTE, **fields)
    with pytest.raises(errors.BadInput, match="TFG-3509"):
        asyncio.run(gateway.ensure(hostile))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["a; b", "a\nb", "a \\; b", "a <<", "a\0", "", "a\x7fb"])
def test_one_command_never_becomes_two(tmp_path: Path, command: str) -> None:
    """The last line before HAProxy: nobody is asked when one command is not a single one."""
    with pytest.raises(errors.BadInput, match="TFG-3509"):
        asyncio.run(Runtime(tmp_path / "nobody.sock").tell(["show info", command]))
