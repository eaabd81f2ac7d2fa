"""The whole line on real parts: four nodes, a page that answers, plugs pulled, nothing left."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import click
import msgspec
import pytest

from tests.localgrid import samples
from tests.localgrid.record import Whole
from tfgrid.doors.cli import answers
from tfgrid.doors.cli.frame import Leaf
from tfgrid.doors.cli.root import root
from tfgrid.doors.localgrid import model, residue

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.xdist_group("localgrid"),
    pytest.mark.timeout(600),
]


def _leaves(command: click.Command, path: str = "") -> dict[str, Leaf]:
    if isinstance(command, Leaf):
        return {path.strip(): command}
    assert isinstance(command, click.Group)
    context = click.Context(command)
    found: dict[str, Leaf] = {}
    for name in command.list_commands(context):
        below = command.get_command(context, name)
        assert below is not None
        found |= _leaves(below, f"{path} {name}")
    return found


def test_a_grid_comes_up(whole: Whole) -> None:
    """`up` starts ledger, chunk server, four nodes, edge and bot, and each answers."""
    up = whole.told["up"].value
    assert [part["state"] for part in up["parts"]] == ["ready"] * 8
    assert set(up["started"]) == {"ledger", "chunks", "n1", "n2", "n3", "n4", "edge", "bot"}


def test_up_starts_nothing_twice(whole: Whole) -> None:
    """On a grid that runs it starts nothing."""
    assert whole.told["up again"].value["started"] == []


def test_nodes_serve_nothing_before_an_order(whole: Whole) -> None:
    """No socket listens in any node's network namespace."""
    assert whole.seen["ports"] == {"n1": [], "n2": [], "n3": [], "n4": []}


def test_the_demo_tells_its_seven_steps(whole: Whole) -> None:
    """From the machine's check to the proof, and its answer is the page's address."""
    told = whole.told["demo"]
    assert told.code == 0, told.err
    for number in range(1, 8):
        assert f"\n{number}. " in told.err
    assert told.out.strip().startswith("https://guestbook.grid.localhost:")


def test_nothing_runs_with_one_approval(whole: Whole) -> None:
    """Between the two approvals the demo looked on every node; so did we, all the time."""
    err = whole.told["demo"].err
    looked = err.index("no container process runs")
    assert err.index("budget approves: 1/2") < looked < err.index("security approves: 2/2")
    counts = whole.seen["during demo"]
    assert counts[0] == 0
    assert counts[-1] >= 3


def test_the_entry_was_read_through_the_other_container(whole: Whole) -> None:
    """What one web container wrote the other one shows."""
    told = whole.told["demo again"].value
    msgspec.convert(told, answers.SCHEMAS["tfgrid.demo/1"])
    assert {told["wrote_through"], told["read_through"]} == {"web-1", "web-2"}


def test_containers_are_on_three_nodes(whole: Whole) -> None:
    """redis, web-1 and web-2 each run on a node of their own, the web ones in two farms."""
    assert sorted(count > 0 for count in whole.seen["running"].values()) == [
        False,
        True,
        True,
        True,
    ]
    rows = whole.told["show"].value["workloads"]
    farms = {row["farm"] for row in rows if row["workload"].startswith("web-")}
    assert farms == {"f1", "f2"}


def test_every_command_has_a_sample(tmp_path: Path) -> None:
    """A command without a sample of its JSON fails here."""
    assert set(samples.samples(tmp_path)) == set(_leaves(root))


@pytest.mark.parametrize("path", sorted(samples.samples(Path("/tmp"))))
def test_every_command_answers_with_its_schema(whole: Whole, path: str) -> None:
    """With --json standard output is exactly the answers that the command promises."""
    told = whole.walked[path]
    allowed = {0, 10} if path == "contract cancel" else {0}
    assert told.code in allowed, told.err
    promised = _leaves(root)[path].answers
    values = [json.loads(line) for line in told.out.splitlines()]
    if len(values) == 1 and isinstance(values[0], list):
        values = values[0]
    for value in values:
        assert value["schema"] in promised
        msgspec.convert(value, answers.SCHEMAS[value["schema"]])
    for line in told.err.splitlines():
        assert json.loads(line)["type"] == "progress"


def test_a_namespace_is_updated_in_place(whole: Whole) -> None:
    """Its node makes it larger and smaller by later versions of the contract, and says so."""
    for label, version, size in (("grow", 2, 64), ("shrink", 3, 16)):
        told = whole.told[label].value
        assert (told["state"], told["version"]) == ("settled", version)
        assert told["rows"][0]["disk_bytes"] == size * 1024**2
    assert "TFG-2354" in whole.told["too small"].err
    shown = whole.told["show stored"].value
    assert (shown["phase"], shown["version"]) == ("running", 3)
    receipt = next(one for one in shown["receipts"] if one["workload"] == "data")
    assert receipt["disk_bytes"] == 16 * 1024**2
    assert whole.told["cancel stored"].value["phase"] == "cancelling"


@pytest.mark.parametrize("part", ["bcdb", "bot", "web node"])
def test_pulling_a_plug_leaves_the_page_answering(whole: Whole, part: str) -> None:
    """The ledger, the bot, or a node with one of the two web containers: the page answers."""
    name = whole.seen["web node"] if part == "web node" else part
    told = whole.told[f"unplug {name}"].value
    assert told["asked"] >= 5
    assert told["answered"] >= told["asked"] - (1 if part == "web node" else 0)
    assert whole.told[f"replug {name}"].code == 0


def test_without_the_ledger_nothing_new_can_be_asked(whole: Whole) -> None:
    """Exit 12 while it is gone."""
    assert whole.told["list without ledger"].code == 12


def test_what_was_unplugged_comes_back(whole: Whole) -> None:
    """After all plugs are back the page is written and read through both containers again."""
    told = whole.told["page after"].value
    assert told["wrote_through"] != told["read_through"]


def test_two_grids_do_not_meet(whole: Whole) -> None:
    """Another range, bridge and port; purging one leaves the other answering."""
    one, two = whole.seen["grid"], whole.seen["second"]
    assert whole.told["beside"].code == 0
    assert one.underlay != two.underlay
    assert one.edge_port != two.edge_port
    assert one.bridge != two.bridge
    assert whole.told["purge beside"].value["left"] == []
    assert whole.told["page with neighbour gone"].code == 0


def test_everything_comes_back_after_a_crash(whole: Whole) -> None:
    """Every process killed at once: `up` starts all of them, and the page answers through both."""
    assert whole.seen["killed"] >= 12
    assert len(whole.told["up after crash"].value["started"]) == 8
    told = whole.told["page after crash"].value
    assert {told["wrote_through"], told["read_through"]} == {"web-1", "web-2"}


def test_cancelling_with_its_quorum_removes_everything(whole: Whole) -> None:
    """One delete signature changes nothing; with the second no node has anything left."""
    assert whole.told["cancel one"].code == 10
    assert whole.told["cancel two"].value["approved"] == 2
    assert set(whole.seen["after cancel"].values()) == {0}
    assert not any(whole.seen["items after cancel"].values())


def test_down_ends_every_process(whole: Whole) -> None:
    """No process of the grid is left, and `up` finds its state again."""
    assert whole.told["down"].code == 0
    assert whole.seen["after down"] == []
    assert whole.told["up after down"].value["ledger"] == whole.seen["grid"].ledger


def test_purge_leaves_nothing(whole: Whole) -> None:
    """No process, mount, link, control group, claim, loop device or file of either grid."""
    assert whole.told["purge grid"].value["left"] == []
    for grid, name in ((whole.seen["grid"], "grid"), (whole.seen["second"], "second")):
        assert residue.left_behind(grid.grid, whole.home / name) == []
        assert not model.Paths.runtime(grid.grid).exists()
        for command in (["losetup", "-a"], ["nft", "list", "tables"], ["ip", "link"]):
            listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            assert grid.grid not in listed
            assert str(whole.home / name) not in listed
        for top in ("/run", "/sys/fs/cgroup", "/var/lib/tfgrid"):
            found = subprocess.run(
                ["find", top, "-xdev", "-name", f"*{grid.grid}*"],
                capture_output=True, text=True, check=False,
            ).stdout  # fmt: skip
            assert found == ""
    kept = {path.name for path in whole.home.iterdir()}
    assert "grid" not in kept
    assert not list((whole.home / "state").rglob("*.key"))
