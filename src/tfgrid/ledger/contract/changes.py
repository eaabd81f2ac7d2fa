"""The smallest change to an order that would fit, found by trying small changes."""

from __future__ import annotations

from typing import Literal

from tfgrid.core.schema import Name, Text, Value

__all__ = ["Change"]


class Change(Value, frozen=True):
    """One change that makes an order fit: `field` of these workloads becomes `value`.

    `parameters` says the same as settings of the recipe (`--set memory=64MiB`), where one of them decides it.
    """

    field: Literal[
        "cpu_millis", "memory_bytes", "disk_bytes", "farms", "countries", "nodes", "trust", "spread"
    ]
    workloads: tuple[Name, ...]
    value: str | int | tuple[str, ...]
    text: Text
    parameters: dict[str, str | int] = {}
