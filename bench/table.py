"""Figures as text for people and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from bench.figures import Figure, Report, Table

__all__ = ["as_json", "figures_text", "grid_text", "number", "tables_text"]

_COLUMNS = ("figure", "median", "min", "max", "n", "cpu ms", "beside", "ratio", "target", "")


def number(value: float) -> str:
    """Three digits that matter, and no more."""
    if value and abs(value) < 0.1:
        return f"{value:.3f}"
    if abs(value) < 10:
        return f"{value:.2f}"
    return f"{value:.1f}" if abs(value) < 1000 else f"{value:.0f}"


def figures_text(figures: Sequence[Figure]) -> str:
    """A table of figures."""
    return grid_text(_COLUMNS, [_row(figure) for figure in figures])


def _row(figure: Figure) -> tuple[str, ...]:
    peer = figure.peer
    return (
        figure.name,
        f"{number(figure.median)} {figure.unit}",
        number(figure.low),
        number(figure.high),
        str(len(figure.samples)),
        "" if figure.cpu_ms is None else number(figure.cpu_ms),
        f"{peer.name} {number(peer.median)}" if peer else "",
        "" if figure.ratio is None else number(figure.ratio),
        _target(figure),
        {None: "", True: "met", False: "MISSED"}[figure.met],
    )


def _target(figure: Figure) -> str:
    if figure.bound is None:
        return ""
    most = number(figure.bound.at_most)
    if figure.bound.of == "ratio":
        return f"<= {most} x"
    if figure.bound.of == "distance":
        assert figure.distance is not None, "a distance is held to a peer"
        return f"{number(figure.distance)} behind, <= {most} {figure.unit}"
    return f"<= {most} {figure.unit}"


def grid_text(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns under their names: the first to the left, numbers to the right."""
    lines = [list(columns), *map(list, rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(columns))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def tables_text(tables: Sequence[Table]) -> str:
    """Every table under its title."""
    return "\n\n".join(f"{t.title}\n{grid_text(t.columns, t.rows)}" for t in tables)


def as_json(reports: Mapping[str, Report], machine: Mapping[str, str]) -> str:
    """Everything, with each sample."""
    return json.dumps(
        {
            "machine": dict(machine),
            "benchmarks": {
                name: {
                    "figures": [_plain(figure) for figure in report.figures],
                    "tables": [
                        {"title": t.title, "columns": t.columns, "rows": t.rows}
                        for t in report.tables
                    ],
                }
                for name, report in reports.items()
            },
        },
        indent=1,
    )


def _plain(figure: Figure) -> dict[str, object]:
    return {
        "name": figure.name,
        "unit": figure.unit,
        "median": figure.median,
        "samples": [sample.value for sample in figure.samples],
        "cpu_seconds": [sample.cpu_seconds for sample in figure.samples],
        "peer": figure.peer.name if figure.peer else None,
        "ratio": figure.ratio,
        "target": _target(figure),
        "met": figure.met,
    }
