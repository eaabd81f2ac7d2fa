"""The doctor: invented readings and their verdicts, and this machine's own."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import tfgrid
from tfgrid.doors.cli.root import root
from tfgrid.doors.localgrid import doctor
from tfgrid.doors.localgrid.doctor import readings as reading

GIB = 1024**3

GOOD = doctor.Readings(
    system="Linux", kernel=(6, 1), python=(3, 11), root=True, capabilities=True,
    programs=frozenset(reading.PROGRAMS), cgroups="v2", cgroup_kill=True, user_namespaces=1000,
    overlay=True, state_filesystem="ext4", wireguard_kernel=True, tun=True, loop=True,
    netfilter=True, edge_port_free=True, disk_free_bytes=100 * GIB,
    memory_available_bytes=16 * GIB, cores=4,
)  # fmt: skip


def _with(**changes: Any) -> doctor.Readings:
    return dataclasses.replace(GOOD, **changes)


def _levels(readings: doctor.Readings) -> dict[str, str]:
    return {c.name: c.level for c in doctor.examine(readings) if c.level != "ok"}


def test_a_whole_machine_has_nothing_to_mend() -> None:
    """Every check is ok and no package is missing."""
    assert _levels(GOOD) == {}
    assert doctor.packages_missing(GOOD) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"system": "Darwin"}, {"kernel": "blocking"}),
        ({"kernel": (5, 10)}, {"kernel": "blocking"}),
        ({"root": False}, {"root": "blocking"}),
        ({"capabilities": False}, {"root": "blocking"}),
        ({"python": (3, 10)}, {"python": "blocking"}),
        ({"cgroups": "hybrid"}, {"cgroups": "note"}),
        ({"cgroups": "hybrid", "cgroup_kill": False}, {"cgroups": "blocking"}),
        ({"cgroups": "v1"}, {"cgroups": "blocking"}),
        ({"cgroups": "none"}, {"cgroups": "blocking"}),
        ({"user_namespaces": 0}, {"user namespaces": "blocking"}),
        ({"overlay": False}, {"overlay": "blocking"}),
        ({"state_filesystem": "nfs4"}, {"idmapped mounts": "blocking"}),
        ({"wireguard_kernel": False}, {"wireguard": "note"}),
        ({"wireguard_kernel": False, "tun": False}, {"wireguard": "blocking"}),
        ({"loop": False}, {"loop devices": "blocking"}),
        ({"netfilter": False}, {"packet filter": "blocking"}),
        ({"edge_port_free": False}, {"edge port": "note"}),
        ({"disk_free_bytes": 5 * GIB}, {"disk": "note"}),
        ({"disk_free_bytes": 1 * GIB}, {"disk": "blocking"}),
        ({"memory_available_bytes": GIB // 2}, {"memory": "blocking"}),
        ({"cores": 1}, {"processor": "note"}),
    ],
)
def test_each_lack_has_its_level(changes: dict[str, Any], expected: dict[str, str]) -> None:
    """One thing that is off gives one line that is not ok."""
    assert _levels(_with(**changes)) == expected


@pytest.mark.parametrize("program", sorted(reading.PROGRAMS))
def test_a_missing_program_names_its_package(program: str) -> None:
    """The package is listed, and where the program is needed the cure installs it."""
    lacking = _with(programs=GOOD.programs - {program})
    assert doctor.packages_missing(lacking) == [reading.PROGRAMS[program]]
    for check in doctor.examine(lacking):
        if check.level != "ok":
            assert check.cure.endswith(reading.PROGRAMS[program])


def test_wireguard_go_is_needed_only_without_kernel_wireguard() -> None:
    """With WireGuard in the kernel its absence is nothing; without it, it blocks."""
    programs = GOOD.programs - {"wireguard-go"}
    assert _levels(_with(programs=programs)) == {}
    lacking = _with(programs=programs, wireguard_kernel=False)
    assert _levels(lacking) == {"wireguard": "blocking"}


def test_whatever_is_off_says_what_it_means_and_what_mends_it() -> None:
    """No line that is not ok is without meaning and command, and blocking lines come first."""
    worst = doctor.Readings(
        system="Linux", kernel=(4, 9), python=(3, 9), root=False, capabilities=False,
        programs=frozenset(), cgroups="none", cgroup_kill=False, user_namespaces=0, overlay=False,
        state_filesystem="", wireguard_kernel=False, tun=False, loop=False, netfilter=False,
        edge_port_free=False, disk_free_bytes=0, memory_available_bytes=0, cores=1,
    )  # fmt: skip
    checks = doctor.examine(worst)
    levels = [check.level for check in checks]
    assert levels == sorted(levels, key=["blocking", "note", "ok"].index)
    for check in checks:
        assert check.level != "ok"
        assert check.means
        assert check.cure


def test_a_blocking_line_is_exit_13(monkeypatch: pytest.MonkeyPatch) -> None:
    """`doctor` shows everything and exits 13; `up` refuses before it touches anything."""
    monkeypatch.setattr(doctor, "take", lambda: _with(loop=False))
    told = CliRunner().invoke(root, ["doctor", "--json"])
    assert told.exit_code == 13
    assert json.loads(told.stdout)["blocking"] == 1
    told = CliRunner().invoke(root, ["up", "--dir", "/nowhere/at/all"])
    assert told.exit_code == 13
    assert "modprobe loop" in told.stderr
    assert not Path("/nowhere").exists()


def test_this_machine_can_be_read_before_anything_is_installed() -> None:
    """The standard library is enough: no package of ours or others is imported."""
    source = Path(tfgrid.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-S", "-m", "tfgrid.doors.localgrid.doctor"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(source), "HOME": "/root"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode in {0, 13}
    assert "kernel" in done.stdout
    assert done.stderr == ""
