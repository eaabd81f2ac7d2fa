"""Packet rules: whole tables at once, elements one by one, and both read back."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tfgrid.core import errors
from tfgrid.jumpscale.sal import namespaces, nftables

pytestmark = pytest.mark.root

body = """map ports {
  type inet_service : ipv4_addr . inet_service
}
chain c {
  type nat hook prerouting priority dstnat; policy accept;
  meta l4proto tcp dnat ip to tcp dport map @ports
}"""


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    """An empty namespace."""
    pin = tmp_path / "net"
    namespaces.Pin(net=pin).perform()
    yield pin
    namespaces.Unpin(path=pin).perform()


def table(netns: Path, text: str = body, label: str = "l") -> nftables.TableSet:
    """The table under test."""
    return nftables.TableSet(netns=netns, family="ip", table="t", body=text, label=label)


def test_a_table_is_replaced_whole_and_known_by_its_comment(scratch: Path) -> None:
    """The comment says which text stands, replacing leaves one table, removing twice is fine."""
    table(scratch).perform()
    assert nftables.read_comments(scratch) == {("ip", "t"): table(scratch).comment}
    changed = table(scratch, body.replace("dstnat", "-90"), "m")
    assert changed.comment != table(scratch).comment and changed.comment.endswith("/m")
    changed.perform()
    assert nftables.read_comments(scratch) == {("ip", "t"): changed.comment}
    for _ in range(2):
        nftables.TableRemove(netns=scratch, family="ip", table="t").perform()
    assert nftables.read_comments(scratch) == {}


def test_elements_come_and_go_beside_others(scratch: Path) -> None:
    """Two hundred elements are read back exactly; taking one away leaves the rest."""
    table(scratch).perform()
    wanted = {str(port): f"10.0.{port % 7}.{port % 250} . {port + 1}" for port in range(1000, 1200)}
    lines = [
        nftables.ElementAdd(
            netns=scratch, family="ip", table="t", map="ports", key=key, value=value
        )._script()
        for key, value in wanted.items()
    ]
    nftables._nft(scratch, "-f", "-", script="".join(lines))
    assert nftables.read_ports(scratch, "t", "ports") == wanted
    nftables.ElementRemove(netns=scratch, family="ip", table="t", map="ports", key="1100").perform()
    del wanted["1100"]
    assert nftables.read_ports(scratch, "t", "ports") == wanted


def test_the_rendered_line_does_the_same(scratch: Path) -> None:
    """Run by hand, the line leaves a table with the same comment."""
    for line in table(scratch).argv():
        subprocess.run(line, check=True)
    assert nftables.read_comments(scratch) == {("ip", "t"): table(scratch).comment}


def test_a_refused_table_leaves_the_old_one(scratch: Path) -> None:
    """Rules that do not parse change nothing and say why."""
    table(scratch).perform()
    with pytest.raises(errors.Failed, match="syntax error") as refused:
        table(scratch, "chain { nonsense").perform()
    assert refused.value.code == "TFG-3603"
    assert nftables.read_comments(scratch) == {("ip", "t"): table(scratch).comment}
    with pytest.raises(errors.Failed) as refused:
        nftables.read_ports(scratch, "t", "nothing")
    assert refused.value.code == "TFG-3607"
