"""What holds for every test: root where it is needed, and properties that are not timed."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# A deadline would measure the machine's other guests; a failure prints what replays it.
settings.register_profile("house", deadline=None, print_blob=True)
settings.load_profile("house")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs root and a real kernel where there is no root, and say so."""
    if os.geteuid() == 0:
        return
    for item in items:
        if item.get_closest_marker("root"):
            item.add_marker(pytest.mark.skipif(True, reason="needs root for namespaces and mounts"))
