"""The YAML in which people write recipes, read safely, with every finding at its line and column.

Only text, integers, `true` and `false`, lists and mappings are understood; `0.25` is text. Aliases,
tags, duplicate keys, empty values, several documents, depth and size beyond the limits are refused
while reading, before anything is built from them. An unknown key names the nearest one that is
known.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn, TypeAlias

import msgspec
import yaml

from tfgrid.core import canonical, errors, limits, units
from tfgrid.core.ids import IdentityId
from tfgrid.core.schema import Count, Value
from tfgrid.ledger.contract.recipe.templates import (
    KEYS,
    REPLICATED,
    Recipe,
    check_recipe,
    nearest,
    placeholders,
)

__all__ = ["Finding", "lint_recipe_yaml", "parse_recipe_yaml"]

Place: TypeAlias = tuple[int, int]
_Path: TypeAlias = tuple[str | int, ...]

_INTEGER: Final = re.compile(r"-?(0|[1-9][0-9]{0,15})", re.ASCII)
_TOP: Final = frozenset(
    ["name", "version", "description", "parameters", "policy", "access", "workloads"]
)
_TOP_NEEDED: Final = ("name", "version", "workloads")
_PARAMETER: Final = frozenset(["type", "description", "default", "minimum", "maximum", "choices"])
_RULE: Final = frozenset(["roles", "weight", "expires"])
_NOBODY: Final = IdentityId("0" * 64)


class Finding(Value, frozen=True):
    """One thing that is wrong in a recipe, where (from 1), and what to write instead."""

    code: str
    line: Count
    column: Count
    what: str
    hint: str = ""


class _Stop(Exception):
    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.what)
        self.finding = finding


@dataclass(frozen=True, slots=True)
class _Read:
    """A document as plain data, and where each of its values stands, by path."""

    data: Any
    places: Mapping[_Path, Place]

    def at(self, path: _Path) -> Place:
        """The place of a value, or of the nearest thing around it."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, (1, 1))


def parse_recipe_yaml(text: str, *, author: IdentityId) -> Recipe:
    """The recipe that a YAML text says, as this author's.

    Raises:
        errors.BadInput: the first finding's code, TFG-2320 to TFG-2328; in the details `line`,
            `column` and all `findings`.

    """
    recipe, findings = _read_recipe(text, author)
    if recipe is not None:
        return recipe
    first = findings[0]
    raise errors.BadInput(
        first.code, first.what, where=f"line {first.line}, column {first.column}",
        hint=first.hint, line=first.line, column=first.column, findings=list(findings),
    )  # fmt: skip


def lint_recipe_yaml(text: str) -> tuple[Finding, ...]:
    """Everything that is wrong with a recipe; empty if nothing is."""
    return _read_recipe(text, _NOBODY)[1]


def _read_recipe(text: str, author: IdentityId) -> tuple[Recipe | None, tuple[Finding, ...]]:
    try:
        read = _read(text)
    except _Stop as stop:
        return None, (stop.finding,)
    findings = [
        Finding(code=code, line=read.at(path)[0], column=read.at(path)[1], what=what, hint=hint)
        for code, path, what, hint in _structure(read.data)
    ]
    if findings:
        return None, tuple(sorted(findings, key=lambda f: (f.line, f.column)))
    try:
        recipe = msgspec.convert(_built(read.data, author), Recipe)
        check_recipe(recipe)
    except (msgspec.ValidationError, errors.BadInput) as fault:
        what = fault.what if isinstance(fault, errors.BadInput) else str(fault)
        hint = fault.hint if isinstance(fault, errors.BadInput) else ""
        line, column = read.at(_blamed(fault, read))
        return None, (Finding(code="TFG-2328", line=line, column=column, what=what, hint=hint),)
    return recipe, ()


def _blamed(fault: Exception, read: _Read) -> _Path:
    """The part of the document that an error of the whole recipe speaks of."""
    word = fault.where if isinstance(fault, errors.BadInput) else ""
    for section in ("workloads", "parameters"):
        if (section, word) in read.places:
            return (section, word)
    return (word,) if (word,) in read.places else ()


# Reading: YAML events to plain data, refusing what is not understood.


def _read(text: str) -> _Read:
    if len(text.encode(errors="replace")) > limits.recipe_bytes_max:
        _stop("TFG-2321", (1, 1), f"a recipe may have {limits.recipe_bytes_max} bytes "
              "(recipe_bytes_max)")  # fmt: skip
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        events = iter(list(_bounded(yaml.parse(text, Loader=loader))))
        places: dict[_Path, Place] = {}
        data = None
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                data = _value(next(events), events, (), places)
    except (yaml.YAMLError, UnicodeError) as fault:
        mark = getattr(fault, "problem_mark", None)
        place = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        hint = 'inside [ ] and { } write "${parameter}" with quotes' if "${" in text else ""
        _stop("TFG-2320", place, f"not YAML: {getattr(fault, 'problem', None) or fault}", hint)
    if not isinstance(data, dict):
        _stop("TFG-2320", (1, 1), "a recipe is a mapping", "start with name, version, workloads")
    return _Read(data, places)


def _bounded(events: Iterable[Any]) -> Iterator[Any]:
    """The events of one document, without aliases, tags and depth beyond the limit."""
    depth = documents = 0
    for event in events:
        place = (event.start_mark.line + 1, event.start_mark.column + 1)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            _stop("TFG-2322", place, "anchors and aliases are not understood", "write it out")
        if getattr(event, "tag", None):
            _stop("TFG-2322", place, "tags are not understood", "write the plain value")
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
        opens = isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent)
        closes = isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent)
        depth += opens - closes
        if documents > 1 or depth > limits.document_depth_max - 4:
            _stop("TFG-2321", place, "several documents, or nested too deep")
        yield event


def _value(event: Any, events: Iterator[Any], path: _Path, places: dict[_Path, Place]) -> Any:
    place = (event.start_mark.line + 1, event.start_mark.column + 1)
    places.setdefault(path, place)
    if isinstance(event, yaml.ScalarEvent):
        return _scalar(event, place)
    if isinstance(event, yaml.SequenceStartEvent):
        items: list[Any] = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            items.append(_value(event, events, (*path, len(items)), places))
        return items
    mapping: dict[str, Any] = {}
    while not isinstance(event := next(events), yaml.MappingEndEvent):
        key_place = (event.start_mark.line + 1, event.start_mark.column + 1)
        if not isinstance(event, yaml.ScalarEvent) or not event.value.isascii():
            _stop("TFG-2323", key_place, "a key is plain ASCII text")
        if event.value in mapping:
            _stop("TFG-2324", key_place, f"{event.value} is written twice", "keep one of them")
        places[*path, event.value] = key_place
        mapping[event.value] = _value(next(events), events, (*path, event.value), places)
    return mapping


def _scalar(event: Any, place: Place) -> str | int | bool:
    text: str = event.value
    if "\0" in text or any("\ud800" <= c <= "\udfff" for c in text):
        _stop("TFG-2323", place, "text with characters that cannot be stored")
    if not event.implicit[0] or event.style:
        return text
    if text in {"", "~", "null"}:
        _stop("TFG-2323", place, "a value is missing", 'write "" for empty text')
    if text in {"true", "false"}:
        return text == "true"
    if _INTEGER.fullmatch(text) and abs(int(text)) <= limits.integer_max:
        return int(text)
    return text


def _stop(code: str, place: Place, what: str, hint: str = "") -> NoReturn:
    raise _Stop(Finding(code=code, line=place[0], column=place[1], what=what, hint=hint))


# Structure: every key known, every value of a usable shape, every placeholder a parameter.

_Fault: TypeAlias = tuple[str, _Path, str, str]


def _structure(data: dict[str, Any]) -> Iterator[_Fault]:
    yield from _unknown(data, _TOP, ())
    for key in _TOP_NEEDED:
        if key not in data:
            yield "TFG-2326", (), f"{key} is missing", f"add {key}:"
    parameters = data.get("parameters", {})
    yield from _mapping_of(parameters, _PARAMETER, ("parameters",))
    yield from _policy(data.get("policy", {}))
    if not isinstance(data.get("access", {}), dict):
        yield "TFG-2327", ("access",), "access is a mapping", ""
    else:
        yield from _unknown(data.get("access", {}), frozenset({"logs"}), ("access",))
    known = list(parameters) if isinstance(parameters, dict) else []
    workloads = data.get("workloads", {})
    if not isinstance(workloads, dict):
        yield "TFG-2327", ("workloads",), "workloads is a mapping of names", ""
        return
    for name, body in workloads.items():
        yield from _template(body, ("workloads", name), known)


def _unknown(mapping: dict[str, Any], known: frozenset[str], path: _Path) -> Iterator[_Fault]:
    for key in mapping:
        if key not in known:
            yield "TFG-2325", (*path, key), f"unknown key {key}", nearest(key, sorted(known))


def _mapping_of(mapping: Any, known: frozenset[str], path: _Path) -> Iterator[_Fault]:
    """A mapping of names to mappings with known keys."""
    if not isinstance(mapping, dict):
        yield "TFG-2327", path, f"{path[-1]} is a mapping of names", ""
        return
    for name, inner in mapping.items():
        if isinstance(inner, dict):
            yield from _unknown(inner, known, (*path, name))
        else:
            yield "TFG-2327", (*path, name), f"{name} is a mapping", ""


def _policy(policy: Any) -> Iterator[_Fault]:
    yield from _mapping_of(policy, _RULE, ("policy",))
    if not isinstance(policy, dict):
        return
    yield from _unknown(policy, frozenset({"deploy", "delete"}), ("policy",))
    for action, rule in policy.items():
        roles = rule.get("roles", {}) if isinstance(rule, dict) else {}
        named = roles.values() if isinstance(roles, dict) else [None]
        if not all(isinstance(w, int) and not isinstance(w, bool) for w in named):
            path = ("policy", action, "roles")
            yield "TFG-2327", path, "roles is a mapping of role to weight", "roles: {budget: 1}"
        try:
            units.parse_seconds(str(rule.get("expires", "1d")) if isinstance(rule, dict) else "1d")
        except errors.BadInput as fault:
            yield "TFG-2327", ("policy", action, "expires"), fault.what, fault.hint


def _template(body: Any, path: _Path, parameters: Sequence[str]) -> Iterator[_Fault]:
    if not isinstance(body, dict):
        yield "TFG-2327", path, f"{path[-1]} is a mapping", ""
        return
    kind = body.get("type")
    kinds = ("container", "network", "route", "zdb")
    if kind not in kinds:
        hint = nearest(str(kind), kinds) if kind is not None else "add type: container"
        yield "TFG-2326", (*path, "type"), f"type is none of {', '.join(kinds)}", hint
        return
    extra = {"type", "replicas"} if kind in REPLICATED else {"type"}
    yield from _unknown(body, KEYS[kind] | extra, path)
    for inner in ("placement", "health"):
        if inner in KEYS[kind] and isinstance(body.get(inner), dict):
            yield from _unknown(body[inner], KEYS[inner], (*path, inner))
    for place, text in _texts(body, path):
        for name in placeholders(text):
            if name not in parameters:
                yield "TFG-2325", place, f"no parameter is named {name}", nearest(name, parameters)


def _texts(value: Any, path: _Path) -> Iterator[tuple[_Path, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _texts(inner, (*path, index))


# Building: plain data to the fields of a Recipe.


def _built(data: dict[str, Any], author: IdentityId) -> dict[str, Any]:
    policy = data.get("policy", {})
    return {
        "type": "recipe", "name": data["name"], "version": str(data["version"]),
        "description": data.get("description", ""), "author": author,
        "parameters": [_parameter(n, p) for n, p in data.get("parameters", {}).items()],
        "workloads": [_built_template(n, b) for n, b in data["workloads"].items()],
        "deploy": _rule(policy.get("deploy", {})), "delete": _rule(policy.get("delete", {})),
        "access": data.get("access", {}),
    }  # fmt: skip


def _parameter(name: str, document: dict[str, Any]) -> dict[str, Any]:
    """A parameter with its sizes as bytes and its choices as text."""
    fields = {"name": name, **document}
    if document.get("type") == "size":
        for key in ("default", "minimum", "maximum"):
            if isinstance(fields.get(key), str):
                try:
                    fields[key] = units.parse_bytes(fields[key])
                except errors.BadInput as fault:
                    raise errors.BadInput(
                        fault.code, fault.what, where=name, hint=fault.hint
                    ) from fault
    if document.get("type") in {"string", "choice"} and "default" in fields:
        fields["default"] = str(fields["default"])
    if isinstance(fields.get("choices"), list):
        fields["choices"] = [str(choice) for choice in fields["choices"]]
    return fields


def _built_template(name: str, document: dict[str, Any]) -> dict[str, Any]:
    inner = {key: value for key, value in document.items() if key not in {"type", "replicas"}}
    return {
        "name": name, "type": document["type"], "replicas": document.get("replicas", 1),
        "body": canonical.encode(inner).decode(),
    }  # fmt: skip


def _rule(document: dict[str, Any]) -> dict[str, Any]:
    roles = document.get("roles", {})
    return {
        "roles": [{"role": role, "weight": weight} for role, weight in roles.items()],
        "weight": document.get("weight", sum(roles.values())),
        "expires_seconds": units.parse_seconds(str(document.get("expires", "1d"))),
    }  # fmt: skip
