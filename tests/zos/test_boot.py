"""A node's namespaces on this machine: made, made again, entered, and gone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tfgrid.agents import zos
from tfgrid.core import errors
from tfgrid.core.ids import FarmId, IdentityId, LedgerId
from tfgrid.core.rng import SystemRng
from tfgrid.jumpscale.sal import cgroups, links
from tfgrid.ledger import bcdb

pytestmark = pytest.mark.root


@pytest.fixture
def config() -> Iterator[zos.Config]:
    """A node's configuration with its bridge; all of it is gone afterwards."""
    token = SystemRng().token(4).hex()
    made = _config(token, "n1", 11)
    links.LinkAdd(name=made.underlay_bridge, kind="bridge").perform()
    yield made
    for name in ("n1", "n2"):
        zos.destroy(_config(token, name, 11))
    links.LinkRemove(name=made.underlay_bridge).perform()


def _config(token: str, name: str, host: int) -> zos.Config:
    trust = bcdb.Trust(
        ledger=LedgerId("0" * 64), origin="tfgrid/test", keys=("A" * 43,), threshold=1
    )
    return zos.Config(
        grid=token, name=name, trust=trust, ledger_url="http://10.254.254.1:8100",
        farm=FarmId(IdentityId("0" * 64)), underlay_bridge=f"zb{token}",
        underlay4=f"10.254.254.{host}/24", underlay_gateway4="10.254.254.1",
    )  # fmt: skip


def _inside(directory: Path, config: zos.Config, command: str) -> str:
    """What a command prints in a process that entered the node's namespaces."""
    zos.write_config(directory, config)
    program = (
        "import subprocess, sys\nfrom pathlib import Path\nfrom tfgrid.agents import zos\n"
        "zos.enter(zos.read_config(Path(sys.argv[1])))\n"
        "subprocess.run(['sh', '-c', sys.argv[2]], check=True)\n"
    )
    return subprocess.run(
        [sys.executable, "-c", program, str(directory), command],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip


def _residue(config: zos.Config) -> list[str]:
    table = Path("/proc/self/mountinfo").read_text().splitlines()
    left = [line for line in table if config.grid in line]
    left += [p.name for p in Path("/sys/class/net").iterdir() if config.grid in p.name[2:10]]
    # A walk passes over what others remove meanwhile.
    groups = (folder for folder, _, _ in os.walk("/sys/fs/cgroup"))
    left += [folder for folder in groups if folder.endswith(f"/tfgrid/{config.grid}")]
    return left + [str(p) for p in [zos.runtime_directory(config)] if p.exists()]


def test_made_twice_and_destroyed_twice(config: zos.Config) -> None:
    """Making again changes nothing, destroying leaves nothing, destroying again is no error."""
    assert not zos.exists(config)
    zos.make(config)
    pins = [(zos.runtime_directory(config) / n).stat().st_ino for n in ("mnt", "net")]
    zos.make(config)
    assert zos.exists(config)
    assert [(zos.runtime_directory(config) / n).stat().st_ino for n in ("mnt", "net")] == pins

    zos.destroy(config)
    zos.destroy(config)
    assert not zos.exists(config)
    assert [line for line in _residue(config) if line != f"zb{config.grid}"] == []


def test_a_node_has_its_own_ground(config: zos.Config, tmp_path: Path) -> None:
    """Inside are one address, an empty /run/netns, no unified cgroup and no neighbour."""
    neighbour = _config(config.grid, "n2", 12)
    zos.make(neighbour)
    zos.make(config)

    text = _inside(
        tmp_path, config,
        "ip -br -4 address show scope global; ip route; ss -Hlntu; ls -A /run/netns /run/wireguard;"
        "grep -c cgroup2 /proc/self/mountinfo; ls /run/tfgrid/*; cat /proc/self/cgroup",
    )  # fmt: skip

    assert "10.254.254.11/24" in text
    assert "default via 10.254.254.1" in text
    assert "LISTEN" not in text
    if cgroups.detect().layout == "hybrid":
        assert "\n0\n" in text
    assert f"/tfgrid/{config.grid}/n1/agent" in text
    mounted = _inside(tmp_path, config, "cat /proc/self/mountinfo")
    assert f"{config.grid}/n2" not in mounted


def test_one_kill_ends_a_node(config: zos.Config, tmp_path: Path) -> None:
    """Everything that a node started, daemons of daemons too, ends with it."""
    zos.make(config)
    _inside(tmp_path, config, "setsid sh -c 'sleep 1000 & sleep 1000 &' >/dev/null 2>&1 &")
    tree = cgroups.detect()
    group = f"tfgrid/{config.grid}/n1"
    assert cgroups.processes(tree, group)

    zos.destroy(config)

    assert cgroups.processes(tree, group) == ()


def test_what_is_missing_is_said(config: zos.Config) -> None:
    """Without the grid's bridge nothing is made; without namespaces nothing is entered."""
    lost = _config(SystemRng().token(4).hex(), "n1", 11)
    with pytest.raises(errors.MachineLacks) as caught:
        zos.make(lost)
    assert caught.value.code == "TFG-4012"
    with pytest.raises(errors.Failed) as refused:
        zos.enter(config)
    assert refused.value.code == "TFG-4013"
