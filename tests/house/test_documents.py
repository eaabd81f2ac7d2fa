"""Every document that is stored or sent can be canonical: no floats, and integers that fit."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import inspect

from tests.house import tree
from tfgrid.core import limits, schema


def _documents() -> Iterator[type[schema.Value]]:
    """Every subclass of `Value` in src, in the order of their names."""
    for path in tree.python_files("src"):
        if not path.name.startswith("__main__"):
            importlib.import_module(tree.module_name(path))
    pending, seen = [schema.Value], set[type[schema.Value]]()
    while pending:
        for kind in pending.pop().__subclasses__():
            if kind not in seen and kind.__module__.startswith("tfgrid."):
                seen.add(kind)
                pending.append(kind)
    yield from sorted(seen, key=lambda kind: (kind.__module__, kind.__qualname__))


def _parts(kind: Any) -> Iterator[Any]:
    """A type and every type inside it, but not those of other documents."""
    yield kind
    if isinstance(kind, inspect.StructType):
        return
    for name in ("item_type", "key_type", "value_type"):
        if hasattr(kind, name):
            yield from _parts(getattr(kind, name))
    for name in ("types", "item_types"):
        for inner in getattr(kind, name, ()):
            yield from _parts(inner)


def _wrong(kind: type[msgspec.Struct]) -> Iterator[str]:
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    if not info.forbid_unknown_fields:
        yield "takes unknown fields"
    for field in info.fields:
        for part in _parts(field.type):
            if isinstance(part, inspect.FloatType | inspect.AnyType):
                yield f"{field.name}: {type(part).__name__}"
            if isinstance(part, inspect.IntType) and not _fits(part):
                yield f"{field.name}: integer without bounds"


def _fits(part: inspect.IntType) -> bool:
    lowest = part.ge if part.ge is not None else part.gt
    highest = part.le if part.le is not None else part.lt
    return (
        lowest is not None
        and highest is not None
        and lowest >= -limits.integer_max
        and highest <= limits.integer_max + 1
    )


def test_documents_hold_what_every_language_can_hold() -> None:
    """No field of a document is a float, anything at all, or an integer without bounds."""
    wrong = [f"{k.__module__}.{k.__qualname__} {w}" for k in _documents() for w in _wrong(k)]
    assert not wrong, "\n".join(wrong)


class Careless(msgspec.Struct):
    """A document as it should not be."""

    share: float
    count: int
    inner: dict[str, list[int | None]]
    anything: Any


def test_a_careless_document_is_found() -> None:
    """Each kind of field that is refused is found, at any depth."""
    assert list(_wrong(Careless)) == [
        "takes unknown fields",
        "share: FloatType",
        "count: integer without bounds",
        "inner: integer without bounds",
        "anything: AnyType",
    ]
