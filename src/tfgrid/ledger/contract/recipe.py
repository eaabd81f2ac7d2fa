"""Recipes as values: typed parameters and workload templates, pure data without evaluation.

A template is a plain document in which `${parameter}` stands for a value: as a whole string it takes the
parameter's own type, inside a string its text. Nothing else is understood, nothing is computed. Image
names are resolved by a mapping that is handed in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta

from tfgrid.core import canonical, ids, limits
from tfgrid.core.ids import Digest
from tfgrid.core.schema import Count, Name, Text, Value
from tfgrid.ledger.contract.model import Access, Image, RecipeRef, Workload

__all__ = [
    "Parameter",
    "Recipe",
    "RoleTemplate",
    "RuleTemplate",
    "Template",
    "recipe_digest",
    "recipe_ref",
    "render",
]

Scalar: TypeAlias = str | int | bool
"""What a parameter can be. Sizes are bytes."""

Version = Annotated[str, Meta(pattern=r"\A[0-9]+(\.[0-9]+){0,2}(-[a-z0-9.]{1,32})?\Z")]
"""Numbers with dots, such as `1.2.0`, and an optional `-word`."""


class Parameter(Value, frozen=True):
    """One question that a recipe asks. `minimum` and `maximum` bound integers, sizes and text lengths."""

    name: Name
    type: Literal["string", "integer", "size", "choice", "boolean"]
    description: Text = ""
    default: str | int | bool | None = None
    minimum: int | None = None
    maximum: int | None = None
    choices: Annotated[tuple[str, ...], Meta(max_length=limits.parameters_max)] = ()


class RoleTemplate(Value, frozen=True):
    """A role that an order must fill with an identity, and its weight."""

    role: Name
    weight: Annotated[int, Meta(ge=1, le=limits.policy_weight_max)] = 1


class RuleTemplate(Value, frozen=True):
    """The quorum that the expert advises for one action."""

    roles: Annotated[tuple[RoleTemplate, ...], Meta(max_length=limits.approvers_max)] = ()
    weight: Count = 0
    expires_seconds: Annotated[int, Meta(ge=1, le=limits.contract_validity_seconds_max)] = 86_400


class Template(Value, frozen=True):
    """One workload template: `body` is the canonical text of a document with `${parameter}` in it."""

    name: Name
    type: Literal["container", "network", "route"]
    body: Annotated[str, Meta(max_length=limits.document_bytes_max)]
    replicas: int | str = 1


class Recipe(Value, frozen=True, tag="recipe", tag_field="type"):
    """The body of `recipe.publish`, by its author; name@version never changes."""

    name: Name
    version: Version
    description: Text
    author: ids.Author
    parameters: Annotated[tuple[Parameter, ...], Meta(max_length=limits.parameters_max)]
    workloads: Annotated[tuple[Template, ...], Meta(min_length=1, max_length=limits.workloads_max)]
    deploy: RuleTemplate
    delete: RuleTemplate
    access: Access


def recipe_digest(recipe: Recipe) -> Digest:
    """The hash that an agreement names."""
    return canonical.digest(canonical.encode(recipe))


def recipe_ref(recipe: Recipe) -> RecipeRef:
    """How an agreement names this recipe."""
    return RecipeRef(
        name=recipe.name, version=recipe.version, digest=recipe_digest(recipe), author=recipe.author
    )


def render(
    recipe: Recipe, parameters: Mapping[str, Scalar], images: Mapping[str, Image]
) -> tuple[Workload, ...]:
    """The workloads of a recipe for these parameters; replicas are named `web-1`, `web-2`.

    Text is taken for every type and read as that type (`"2GiB"`, `"3"`, `"true"`), as a command line gives it.

    Raises:
        errors.BadInput: TFG-2330 an unknown parameter, TFG-2331 a value that does not fit, TFG-2332 one that
            is missing, TFG-2333 the rendered workload is malformed.
        errors.NotFound: TFG-2334, no image of that name.

    """
    return ()
