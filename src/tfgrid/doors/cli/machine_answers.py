"""Answers about this program, this machine and the grid on it; `answers` has all of them."""

from __future__ import annotations

from tfgrid.doors.cli.schema import Answer, Row

__all__ = ["Check", "Doctor", "Down", "Part", "Status", "Up", "Version"]


class Version(Answer, frozen=True, tag="tfgrid.version/1", tag_field="schema"):
    """`--version`."""

    version: str


class Check(Row, frozen=True):
    """One line of the doctor's."""

    name: str
    level: str
    finding: str
    means: str
    cure: str


class Doctor(Answer, frozen=True, tag="tfgrid.doctor/1", tag_field="schema"):
    """`doctor`: what this machine has and lacks."""

    blocking: int
    notes: int
    checks: list[Check]


class Part(Row, frozen=True):
    """One process of a grid and how it fares; `detail` says why where it is not ready."""

    name: str
    kind: str
    state: str
    pid: int
    detail: str


class Up(Answer, frozen=True, tag="tfgrid.up/1", tag_field="schema"):
    """`up`: the grid that runs now, and what had to be started for it."""

    directory: str
    ledger: str
    edge: str
    certificate: str
    started: list[str]
    parts: list[Part]


class Down(Answer, frozen=True, tag="tfgrid.down/1", tag_field="schema"):
    """`down`: what was stopped, and with `--purge` what is left, which is nothing."""

    directory: str
    stopped: list[str]
    purged: bool
    left: list[str]


class Status(Answer, frozen=True, tag="tfgrid.status/1", tag_field="schema"):
    """`status`: every part of the grid, its ledger's head and what its 3Bot says."""

    directory: str
    ledger: str
    edge: str
    entries: int
    head_at: str
    parts: list[Part]
    report: str
    report_at: str
    contracts: dict[str, int]
