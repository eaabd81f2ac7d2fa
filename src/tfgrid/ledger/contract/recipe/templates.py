"""Recipes as values: typed parameters and workload templates, pure data without evaluation.

A template is a plain document in which `${parameter}` stands for a value: as a whole string it
takes the parameter's own type, inside a string its text; `$${` is a plain `${`. Nothing else is
understood, nothing is computed. Image names are resolved by a mapping that is handed in.
`docs/formats/recipe.md` lists every key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from tfgrid.core import canonical, errors, ids, limits, units
from tfgrid.core.ids import Digest, IdentityId
from tfgrid.core.schema import Count, Name, Text, Value
from tfgrid.ledger.contract.model import (
    Access,
    Container,
    Image,
    Network,
    RecipeRef,
    Route,
    Workload,
    ZdbNamespace,
)
from tfgrid.ledger.contract.recipe.parameters import Parameter, Scalar, value_of

__all__ = [
    "KEYS",
    "REPLICATED",
    "Recipe",
    "RoleTemplate",
    "RuleTemplate",
    "Template",
    "check_recipe",
    "nearest",
    "placeholders",
    "recipe_digest",
    "recipe_ref",
    "render",
]

Version = Annotated[str, Meta(pattern=r"\A[0-9]+(\.[0-9]+){0,2}(-[a-z0-9.]{1,32})?\Z")]
"""Numbers with dots, such as `1.2.0`, and an optional `-word`."""

KEYS: Final[Mapping[str, frozenset[str]]] = {
    "container": frozenset(
        [
            "image",
            "network",
            "cpu",
            "memory",
            "disk",
            "arguments",
            "environment",
            "health",
            "on_isolation",
            "placement",
        ]
    ),
    "network": frozenset(),
    "route": frozenset(["host", "network", "containers", "port", "health_path", "placement"]),
    "zdb": frozenset(["network", "disk", "disk_class", "keys", "mode", "history", "placement"]),
    "placement": frozenset(["farms", "countries", "nodes", "trust", "group", "spread"]),
    "health": frozenset(["port", "kind", "path", "interval_seconds"]),
}
"""The keys that a template of each type, and its inner documents, may have."""

REPLICATED: Final = frozenset({"container", "zdb"})
"""The types of templates that may have replicas."""

_PLACEHOLDER: Final = re.compile(r"\$\$\{|\$\{([^{}]*)\}")


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
    """One workload template: `body` is the canonical text of a document with `${parameter}` in it.

    `replicas` is a number or one `${parameter}`; a template that says neither makes one workload of
    its own name.
    """

    name: Name
    type: Literal["container", "network", "route", "zdb"]
    body: Annotated[str, Meta(max_length=limits.document_bytes_max)]
    replicas: Annotated[int, Meta(ge=1, le=limits.workloads_max)] | Text = 1


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


def placeholders(document: Any) -> tuple[str, ...]:
    """The parameters that a document names, in order."""
    if isinstance(document, str):
        return tuple(m[1] for m in _PLACEHOLDER.finditer(document) if m[1] is not None)
    parts = document.values() if isinstance(document, dict) else document
    if isinstance(document, dict | list):
        return tuple(name for part in parts for name in placeholders(part))
    return ()


def nearest(word: str, known: Sequence[str]) -> str:
    """A hint that names the nearest known spelling, or all of them."""
    close = get_close_matches(word, known, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return f"known are: {', '.join(sorted(known))}" if known else ""


def check_recipe(recipe: Recipe) -> None:
    """Hold that a recipe is sound; one whose parameters all have defaults must render too.

    Raises:
        errors.BadInput: TFG-2344, or what `render` raises.

    """
    names = [parameter.name for parameter in recipe.parameters]
    templates = [template.name for template in recipe.workloads]
    if len(set(names)) != len(names) or len(set(templates)) != len(templates):
        raise _unsound("two parameters or workloads have the same name", recipe.name)
    for parameter in recipe.parameters:
        if (parameter.type == "choice") != bool(parameter.choices):
            raise _unsound("a choice has choices, and only a choice has them", parameter.name)
        if parameter.default is not None:
            typed = value_of(parameter, parameter.default)
            if typed != parameter.default or type(typed) is not type(parameter.default):
                raise _unsound("the default is not written in its own type", parameter.name)
    for template in recipe.workloads:
        for name in placeholders([_document(template), template.replicas]):
            if name not in names:
                raise _unsound(f"{template.name} names no parameter: {name}", nearest(name, names))
    for rule in (recipe.deploy, recipe.delete):
        total = sum(role.weight for role in rule.roles)
        if rule.weight > total or (rule.roles and not rule.weight):
            raise _unsound("a rule needs no weight, or more than its roles have", recipe.name)
    if all(parameter.default is not None for parameter in recipe.parameters):
        _rendered(recipe, {}, _no_image)


def _unsound(what: str, where: str) -> errors.BadInput:
    return errors.BadInput("TFG-2344", what, where=where, hint="tfgrid recipe lint")


def _no_image(name: str) -> Image:
    return Image(name=name, digest=Digest("0" * 64), signer=IdentityId("0" * 64))


def render(
    recipe: Recipe, parameters: Mapping[str, Scalar], images: Mapping[str, Image]
) -> tuple[Workload, ...]:
    """The workloads of a recipe for these parameters; replicas are named `web-1`, `web-2`.

    Text is taken for every type and read as that type (`"2GiB"`, `"3"`, `"true"`), as a command
    line gives it.

    Raises:
        errors.BadInput: TFG-2330 an unknown parameter, TFG-2331 a value that does not fit, TFG-2332
            one that is missing, TFG-2333 the rendered workload is malformed.
        errors.NotFound: TFG-2334, no image of that name.

    """

    def image_of(name: str) -> Image:
        found = images.get(name)
        if found is None:
            raise errors.NotFound(
                "TFG-2334", f"no image is named {name}", where=name,
                hint=nearest(name, list(images)) or "tfgrid image build",
            )  # fmt: skip
        return found

    return _rendered(recipe, parameters, image_of)


def _rendered(
    recipe: Recipe, parameters: Mapping[str, Scalar], image_of: Callable[[str], Image]
) -> tuple[Workload, ...]:
    values = _values(recipe, parameters)
    replicas = {t.name: _replicas(t, values) for t in recipe.workloads}
    if sum(map(len, replicas.values())) > limits.workloads_max:
        raise _malformed(recipe.name, f"more than {limits.workloads_max} workloads (workloads_max)")
    made: list[Workload] = []
    for template in recipe.workloads:
        document = _filled(_document(template), values)
        made.extend(
            _workload(template, name, document, replicas, image_of)
            for name in replicas[template.name]
        )
    return tuple(made)


def _values(recipe: Recipe, given: Mapping[str, Scalar]) -> dict[str, Scalar]:
    known = {parameter.name: parameter for parameter in recipe.parameters}
    for name in given:
        if name not in known:
            raise errors.BadInput(
                "TFG-2330", f"recipe {recipe.name} has no parameter {name}", where=name,
                hint=nearest(name, list(known)),
            )  # fmt: skip
    values: dict[str, Scalar] = {}
    for name, parameter in known.items():
        value = given.get(name, parameter.default)
        if value is None:
            raise errors.BadInput(
                "TFG-2332", f"recipe {recipe.name} needs a value for {name}", where=name,
                hint=f"--set {name}={parameter.type}",
            )  # fmt: skip
        values[name] = value_of(parameter, value)
    return values


def _document(template: Template) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(template.body)
    except msgspec.DecodeError as fault:
        raise _malformed(template.name, str(fault)) from fault
    if not isinstance(document, dict) or canonical.encode(document) != template.body.encode():
        raise _malformed(template.name, "the template is not a canonical document")
    return document


def _filled(document: Any, values: Mapping[str, Scalar]) -> Any:
    """The document with each placeholder replaced; keys are left as they are."""
    if isinstance(document, dict):
        return {key: _filled(value, values) for key, value in document.items()}
    if isinstance(document, list):
        return [_filled(value, values) for value in document]
    if not isinstance(document, str):
        return document
    whole = _PLACEHOLDER.fullmatch(document)
    if whole and whole[1] is not None:
        return _looked_up(whole[1], values)
    return _PLACEHOLDER.sub(lambda m: _text(m[1], values), document)


def _text(name: str | None, values: Mapping[str, Scalar]) -> str:
    if name is None:
        return "${"
    value = _looked_up(name, values)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _looked_up(name: str, values: Mapping[str, Scalar]) -> Scalar:
    if name not in values:
        raise errors.BadInput(
            "TFG-2330",
            f"no parameter is named {name}",
            where=name,
            hint=nearest(name, list(values)),
        )
    return values[name]


def _replicas(template: Template, values: Mapping[str, Scalar]) -> list[str]:
    """The names of the workloads that a template makes."""
    if template.replicas == 1:
        return [template.name]
    count = _filled(template.replicas, values)
    if isinstance(count, bool) or not isinstance(count, int) or template.type not in REPLICATED:
        raise _malformed(template.name, "replicas of a container or zdb are counted by an integer")
    if not 1 <= count <= limits.workloads_max:
        raise _malformed(
            template.name, f"{count} replicas; 1 to {limits.workloads_max} are allowed"
        )
    return [f"{template.name}-{number}" for number in range(1, count + 1)]


def _workload(
    template: Template,
    name: str,
    document: dict[str, Any],
    replicas: Mapping[str, list[str]],
    image_of: Callable[[str], Image],
) -> Workload:
    fields = {"name": name, **document}
    for part, inner in ((template.type, document), *_inner(document)):
        unknown = sorted(set(inner) - KEYS[part])
        if unknown:
            hint = nearest(unknown[0], sorted(KEYS[part]))
            raise _malformed(template.name, f"unknown key {unknown[0]}; {hint}")
    if "placement" in fields:
        fields["constraints"] = _constraints(template.name, fields.pop("placement"))
    if template.type == "container":
        fields = _container_fields(template.name, fields, image_of)
    if template.type == "zdb":
        fields = _zdb_fields(template.name, fields)
    if template.type == "route":
        asked = fields.get("containers")
        if not isinstance(asked, list) or not all(isinstance(one, str) for one in asked):
            raise _malformed(template.name, "containers is not a list of names")
        fields["containers"] = [n for one in asked for n in replicas.get(one, [one])]
    types: dict[str, Any] = {
        "container": Container, "network": Network, "route": Route, "zdb": ZdbNamespace,
    }  # fmt: skip
    try:
        made: Workload = msgspec.convert({**fields, "type": template.type}, types[template.type])
    except msgspec.ValidationError as fault:
        raise _malformed(template.name, str(fault)) from fault
    return made


def _inner(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The documents inside a template whose keys are known."""
    pairs = ((key, document.get(key)) for key in ("placement", "health"))
    return [(key, inner) for key, inner in pairs if isinstance(inner, dict)]


def _constraints(template: str, placement: Any) -> Any:
    """Placement as constraints; without a group, the replicas of a template are one."""
    if not isinstance(placement, dict):
        raise _malformed(template, "placement is not a mapping")
    lists = {key: [v] if isinstance(v, str) else v for key, v in placement.items()
             if key not in {"group", "spread"}}  # fmt: skip
    spread, group = placement.get("spread", ""), placement.get("group", "")
    return {**lists, "spread": spread, "group": group or (template if spread else "")}


def _container_fields(
    template: str, fields: dict[str, Any], image_of: Callable[[str], Image]
) -> dict[str, Any]:
    fields = dict(fields)
    _check_present(template, fields, "image", "cpu", "memory", "disk")
    fields["image"] = msgspec.to_builtins(image_of(str(fields["image"])))
    try:
        fields["cpu_millis"] = units.parse_cpu(str(fields.pop("cpu")))
        for key in ("memory", "disk"):
            fields[f"{key}_bytes"] = _size(fields.pop(key))
    except errors.BadInput as fault:
        raise _malformed(template, fault.what) from fault
    environment = fields.get("environment", {})
    if isinstance(environment, dict):
        fields["environment"] = {key: _as_text(value) for key, value in environment.items()}
    arguments = fields.get("arguments", [])
    if isinstance(arguments, list):
        fields["arguments"] = [_as_text(value) for value in arguments]
    return fields


def _zdb_fields(template: str, fields: dict[str, Any]) -> dict[str, Any]:
    fields = dict(fields)
    _check_present(template, fields, "network", "disk")
    try:
        fields["disk_bytes"] = _size(fields.pop("disk"))
    except errors.BadInput as fault:
        raise _malformed(template, fault.what) from fault
    if "keys" in fields:
        fields["keys_max"] = fields.pop("keys")
    return fields


def _check_present(template: str, fields: Mapping[str, Any], *needed: str) -> None:
    missing = sorted(set(needed) - set(fields))
    if missing:
        raise _malformed(template, f"{missing[0]} is missing")


def _size(value: Any) -> Any:
    return units.parse_bytes(value) if isinstance(value, str) else value


def _as_text(value: Any) -> Any:
    """Numbers and truth values as the text that a program is given."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int) else value


def _malformed(template: str, why: str) -> errors.BadInput:
    return errors.BadInput("TFG-2333", f"{template}: {why}", where=template)
