"""One grid for all tests of the whole line: made, ordered on, unplugged, cancelled and purged once.

What happened is recorded; the tests look at the record, so they need no order among themselves.
"""

from __future__ import annotations

import pytest

from tests.localgrid.record import Whole, live


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """The whole line, once; whatever is left of it is purged, whatever happened."""
    made = Whole(tmp_path_factory.mktemp("whole"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(made.home / "state"))
        try:
            live(made)
        finally:
            for grid in ("second", "grid"):
                if (made.home / grid / "grid.json").exists():
                    made.run(f"purge {grid}", "down", "--purge", "--yes", "--json", grid=grid)
    return made
