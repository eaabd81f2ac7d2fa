"""Recipes: what experts publish, as values and as the YAML in which people write them.

| module | what it holds |
|---|---|
| `parameters` | the questions of a recipe, and what is taken as an answer |
| `templates` | recipes as values, and what they render to |
| `document` | the YAML, with every finding at its place; loaded only by who reads text |
"""

import importlib
from typing import TYPE_CHECKING

from tfgrid.ledger.contract.recipe.parameters import Parameter
from tfgrid.ledger.contract.recipe.templates import (
    Recipe,
    RuleTemplate,
    Template,
    check_recipe,
    recipe_digest,
    recipe_ref,
    render,
)

if TYPE_CHECKING:
    from tfgrid.ledger.contract.recipe.document import (
        Finding,
        lint_recipe_yaml,
        parse_recipe_yaml,
    )

__all__ = [
    "Finding",
    "Parameter",
    "Recipe",
    "RuleTemplate",
    "Template",
    "check_recipe",
    "lint_recipe_yaml",
    "parse_recipe_yaml",
    "recipe_digest",
    "recipe_ref",
    "render",
]


def __getattr__(name: str) -> object:
    # Loaded on first use: only who reads recipes as text needs YAML.
    if name not in __all__:
        raise AttributeError(name)
    return getattr(importlib.import_module(f"{__name__}.document"), name)
