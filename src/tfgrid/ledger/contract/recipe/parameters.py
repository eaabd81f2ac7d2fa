"""The questions of a recipe, and what is taken as an answer to one."""

from __future__ import annotations

import re
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta

from tfgrid.core import errors, limits, units
from tfgrid.core.schema import Integer, Name, Text, Value

__all__ = ["Parameter", "Scalar", "value_of"]

Scalar: TypeAlias = str | int | bool
"""What a parameter can be. Sizes are bytes."""


class Parameter(Value, frozen=True):
    """One question of a recipe; the bounds are of integers, sizes and text lengths."""

    name: Name
    type: Literal["string", "integer", "size", "choice", "boolean"]
    description: Text = ""
    default: str | Integer | bool | None = None
    minimum: Integer | None = None
    maximum: Integer | None = None
    choices: Annotated[tuple[Text, ...], Meta(max_length=limits.parameters_max)] = ()


def value_of(parameter: Parameter, given: Scalar) -> Scalar:
    """A parameter's value in its own type, from what was given as that type or as text.

    Raises:
        errors.BadInput: TFG-2331.

    """
    value = _typed(parameter, given)
    size = len(value) if isinstance(value, str) else value
    if parameter.minimum is not None and size < parameter.minimum:
        raise _misfit(parameter, given, f"is below {_bound(parameter, parameter.minimum)}")
    if parameter.maximum is not None and size > parameter.maximum:
        raise _misfit(parameter, given, f"is above {_bound(parameter, parameter.maximum)}")
    return value


def _typed(parameter: Parameter, given: Scalar) -> Scalar:
    if parameter.type == "boolean":
        if given in {"true", "false"} or isinstance(given, bool):
            return given in {"true", True}
        raise _misfit(parameter, given, "is neither true nor false")
    if parameter.type in {"string", "choice"}:
        if not isinstance(given, str) or len(given) > limits.text_chars_max or "\0" in given:
            raise _misfit(parameter, given, "is not text")
        if parameter.type == "choice" and given not in parameter.choices:
            raise _misfit(parameter, given, f"is not one of {', '.join(parameter.choices)}")
        return given
    if isinstance(given, bool):
        raise _misfit(parameter, given, "is not a number")
    if isinstance(given, str):
        return _number(parameter, given)
    return given


def _number(parameter: Parameter, given: str) -> int:
    if parameter.type == "size":
        try:
            return units.parse_bytes(given)
        except errors.BadInput as fault:
            raise _misfit(parameter, given, "is not a size like 64MiB") from fault
    if not re.fullmatch(r"-?(0|[1-9][0-9]{0,15})", given, re.ASCII):
        raise _misfit(parameter, given, "is not an integer")
    return int(given)


def _misfit(parameter: Parameter, given: Scalar, why: str) -> errors.BadInput:
    return errors.BadInput(
        "TFG-2331", f"{parameter.name}: {str(given)[:64]!r} {why}", where=parameter.name,
        hint=_example(parameter),
    )  # fmt: skip


def _bound(parameter: Parameter, value: int) -> str:
    return units.bytes_text(value) if parameter.type == "size" else str(value)


def _example(parameter: Parameter) -> str:
    """What could be given, and one setting that would be taken."""
    kinds = {
        "string": "text",
        "integer": "a whole number",
        "size": "a size",
        "boolean": "true or false",
    }
    wanted = f"one of {', '.join(parameter.choices)}" if parameter.choices else kinds.get(
        parameter.type, "a choice"
    )  # fmt: skip
    if parameter.type != "string" and parameter.minimum is not None:
        wanted += f", {_bound(parameter, parameter.minimum)} or more"
    if parameter.type != "string" and parameter.maximum is not None:
        wanted += f", at most {_bound(parameter, parameter.maximum)}"
    default = parameter.default
    if default is None:
        return f"--set {parameter.name}=..., {wanted}"
    text = _bound(parameter, default).replace(" ", "") if isinstance(default, int) else str(default)
    shown = text.lower() if isinstance(default, bool) else text
    return f"--set {parameter.name}={shown}, or other: {wanted}"
