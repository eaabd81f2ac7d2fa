"""node.json and status.json: written, read back, and refused when they are another's."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.zos import scenes
from tfgrid.agents import zos
from tfgrid.agents.zos import status as statuses
from tfgrid.core import canonical, errors, limits
from tfgrid.core.identity import Keyring
from tfgrid.core.ids import FarmId, LedgerId, NodeId
from tfgrid.core.rng import SeededRng
from tfgrid.core.units import Capacity
from tfgrid.ledger import bcdb

ring = Keyring.new("n1", SeededRng("n1"))
other = Keyring.new("n2", SeededRng("n2"))


def _status(**fields: object) -> zos.Status:
    given: dict[str, object] = {
        "ledger": scenes.LEDGER, "node": NodeId(ring.identity), "name": "n1", "at": 5,
        "phase": "following", "reason": "", "head_size": 3, "head_time": 4, "total": Capacity(),
        "reserved": Capacity(), "lacks": (), "items": (), "receipts_waiting": 0,
    }  # fmt: skip
    return zos.Status(**(given | fields))  # type: ignore[arg-type]


def _config() -> zos.Config:
    trust = bcdb.Trust(
        ledger=scenes.LEDGER, origin="tfgrid/test", keys=(ring.inception.keys[0],), threshold=1
    )
    return zos.Config(
        grid="0f3a9c11", name="n1", trust=trust, ledger_url="http://10.1.2.1:8100",
        farm=FarmId(other.identity), underlay_bridge="tg0f3a9c11", underlay4="10.1.2.11/24",
    )  # fmt: skip


def test_a_status_is_read_back_by_whoever_knows_the_ledger(tmp_path: Path) -> None:
    """A signed status file gives the same status, and None stands for no file."""
    assert zos.read_status(tmp_path) is None
    (tmp_path / "status.json").write_bytes(statuses.seal_status(_status(), ring))

    assert zos.read_status(tmp_path, ledger=scenes.LEDGER) == _status()


@pytest.mark.parametrize("change", ["reason", "signer", "ledger"])
def test_a_status_that_was_touched_is_refused(change: str) -> None:
    """Another word in it, another signer or another ledger does not pass."""
    data = statuses.seal_status(_status(), other if change == "signer" else ring)
    if change == "reason":
        signed = canonical.parse(data, statuses.SignedStatus)
        worse = msgspec.structs.replace(signed.status, phase="halted")
        data = canonical.encode(msgspec.structs.replace(signed, status=worse))
    ledger = LedgerId("0" * 64) if change == "ledger" else scenes.LEDGER

    with pytest.raises(errors.VerificationFailed):
        statuses.open_status(data, ledger=ledger)


def test_a_heartbeat_fits_a_letter_whatever_runs() -> None:
    """A status with more items than a letter holds travels without them, and says so."""
    item = statuses.ItemStatus(
        kind="container", name="web", contract=scenes.CONTRACT, condition="broken", reason="x" * 900
    )
    text = statuses.heartbeat_text(_status(items=(item,) * 200))

    assert len(text) <= limits.mailbox_message_bytes_max
    assert "too many items" in zos.heartbeat_status(text).reason
    assert zos.heartbeat_status(statuses.heartbeat_text(_status(items=(item,)))).items == (item,)


def test_a_configuration_is_read_back(tmp_path: Path) -> None:
    """node.json gives the configuration that was written, and only its owner may read it."""
    zos.write_config(tmp_path / "n1", _config())

    assert zos.read_config(tmp_path / "n1") == _config()
    assert (tmp_path / "n1/node.json").stat().st_mode & 0o077 == 0
    assert _config().underlay_address == "10.1.2.11"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"grid": "0f3a9c11"', '"grid": "0f3a"'),
        ('"name": "n1"', '"name": "../n1"'),
        ('"underlay_bridge": "tg0f3a9c11"', '"underlay_bridge": "br0; reboot"'),
        ('"roles": [', '"rolez": ['),
    ],
)
def test_a_malformed_configuration_names_its_field(tmp_path: Path, old: str, new: str) -> None:
    """A wrong or unknown field of node.json is refused with its name."""
    zos.write_config(tmp_path, _config())
    path = tmp_path / "node.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))

    with pytest.raises(errors.BadInput) as caught:
        zos.read_config(tmp_path)
    assert caught.value.code == "TFG-4002"
    assert new.split('"')[1] in caught.value.what


def test_no_configuration_is_its_own_error(tmp_path: Path) -> None:
    """A directory without node.json is TFG-4001."""
    with pytest.raises(errors.NotFound) as caught:
        zos.read_config(tmp_path)
    assert caught.value.code == "TFG-4001"
