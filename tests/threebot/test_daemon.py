"""The daemon: it follows, listens and reports under its own identity, and acts on nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.cli.ground import ground
from tfgrid.agents import threebot
from tfgrid.agents.threebot import daemon
from tfgrid.core import canonical, errors
from tfgrid.core.store import DirectoryStore
from tfgrid.doors.localgrid import model, provision
from tfgrid.ledger import bcdb

pytestmark = pytest.mark.slow


def test_it_reports_and_goes_on_without_the_ledger(tmp_path: Path) -> None:
    """Its report is in its box, verified; with the ledger gone it says so in its own file."""

    async def scene() -> None:
        with_ledger = await bot.turn()
        client = bcdb.Client(made.transport, made.grid.trust)
        assert await threebot.read_report(client, made.grid.identities["bot"]) == with_ledger
        before = made.ledger.head[1].size
        await bot.turn()
        assert made.ledger.head[1].size == before
        made.transport.cut = True
        alone = await bot.turn()
        assert any(finding.kind == "ledger" for finding in alone.findings)
        kept = DirectoryStore(made.paths.bot).read(daemon.report_file)
        assert kept is not None
        assert canonical.parse(kept, threebot.Report) == alone

    with ground(tmp_path) as made:
        provision.bot(made.paths, made.grid)
        bot = daemon.open_daemon(made.paths.bot)
        report = asyncio.run(bot.turn())
        assert report.nodes == report.nodes_silent == 4
        asyncio.run(scene())


def test_its_key_opens_nobody_else(tmp_path: Path) -> None:
    """The bot's unlock key does not open the grid's sealed identities."""
    with ground(tmp_path) as made:
        provision.bot(made.paths, made.grid)
        own = model.Paths.unlock_key(f"{made.grid.grid}-bot").read_bytes()
        from tfgrid.core import identity

        with pytest.raises(errors.VerificationFailed):
            identity.open_keyring("alice", DirectoryStore(made.paths.root), unlock_key=own)
        ring = identity.open_keyring("bot", DirectoryStore(made.paths.bot), unlock_key=own)
        assert ring.identity == made.grid.identities["bot"]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    """No bot.json is TFG-4501, a damaged one TFG-4502, no unlock key TFG-4503; usage is exit 2."""
    with pytest.raises(errors.NotFound, match="TFG-4501"):
        threebot.read_settings(tmp_path)
    (tmp_path / "bot.json").write_text("{}")
    with pytest.raises(errors.BadInput, match="TFG-4502"):
        threebot.read_settings(tmp_path)
    with ground(tmp_path / "g") as made:
        provision.bot(made.paths, made.grid)
        model.Paths.unlock_key(f"{made.grid.grid}-bot").unlink()
        with pytest.raises(errors.NotFound, match="TFG-4503"):
            daemon.open_daemon(made.paths.bot)
        assert daemon.main([str(made.paths.bot)]) == 4
    assert daemon.main([]) == 2
