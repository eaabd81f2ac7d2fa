"""Samples, the figures that are made of them, and the bounds that figures are held to.

A figure is judged by its median: a single slow sample on a shared machine says nothing. Its spread
is told beside it, so that a median that means little can be seen to.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

__all__ = ["Bound", "Figure", "Report", "Sample", "Table", "Unit", "judged", "timed"]

Unit: TypeAlias = Literal["ms", "%", "MB", "MB/s", "1/s"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One measurement, and the processor seconds it took; None where they were not taken."""

    value: float
    cpu_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """The most that a figure may be: itself, its worst sample, its distance or ratio to a peer."""

    at_most: float
    of: Literal["value", "worst", "distance", "ratio"] = "value"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """What was measured under one name, the peer it stands beside, and what it is held to."""

    name: str
    unit: Unit
    samples: tuple[Sample, ...]
    peer: Figure | None = None
    bound: Bound | None = None

    @property
    def median(self) -> float:
        """The middle sample."""
        return statistics.median(sample.value for sample in self.samples)

    @property
    def low(self) -> float:
        """The least sample."""
        return min(sample.value for sample in self.samples)

    @property
    def high(self) -> float:
        """The greatest sample."""
        return max(sample.value for sample in self.samples)

    @property
    def cpu_ms(self) -> float | None:
        """The median of the processor time, in milliseconds."""
        taken = [s.cpu_seconds for s in self.samples if s.cpu_seconds is not None]
        return statistics.median(taken) * 1000 if taken else None

    @property
    def ratio(self) -> float | None:
        """How many times the peer; None without one."""
        return self.median / self.peer.median if self.peer and self.peer.median else None

    @property
    def distance(self) -> float | None:
        """How far from the peer, in the figure's unit; None without one."""
        return self.median - self.peer.median if self.peer else None

    @property
    def met(self) -> bool | None:
        """Whether the bound holds; None where there is none."""
        if self.bound is None:
            return None
        held = {
            "value": self.median, "worst": self.high, "distance": self.distance,
            "ratio": self.ratio,
        }[self.bound.of]  # fmt: skip
        assert held is not None, f"{self.name} is held to a peer that it does not have"
        return held <= self.bound.at_most


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows that explain a figure, such as where its time goes."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What one benchmark found."""

    figures: tuple[Figure, ...]
    tables: tuple[Table, ...] = ()


def timed(name: str, samples: Sequence[Sample]) -> Figure:
    """A figure in milliseconds from samples in seconds."""
    return Figure(
        name=name, unit="ms",
        samples=tuple(replace(sample, value=sample.value * 1000) for sample in samples),
    )  # fmt: skip


def judged(figure: Figure, peer: Figure | None = None, bound: Bound | None = None) -> Figure:
    """The same samples beside a peer, held to a bound."""
    return replace(figure, peer=peer, bound=bound)
