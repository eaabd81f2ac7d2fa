"""3Bot: orders for its owner, and watches.

    ordering   plan -> propose -> approve -> wait, as a library that acts with the owner's key
    watch      what is off in what was ordered, as a pure function of records and heartbeats
    daemon     follows the ledger under its own identity and reports; it acts on nothing

`python -m tfgrid.agents.threebot DIR` runs the daemon. Its report is the newest message of the
mailbox box `report:<bot id>`.

| name | what it is |
|---|---|
| `Ordering` | the library: `plan`, `propose`, `approve`, `wait` |
| `Step` | one change of a contract's state, as it happened |
| `Settings` | `bot.json`: what the daemon is told |
| `Report`, `Finding` | what the daemon says |
| `examine` | records and heartbeats -> report, pure |
| `read_report` | the newest report of a bot, from a ledger's mailbox |
"""

from tfgrid.agents.threebot.model import Finding, Report, Settings, read_settings, write_settings
from tfgrid.agents.threebot.ordering import Ordering, Step
from tfgrid.agents.threebot.watch import examine, read_report, report_box

__all__ = [
    "Finding",
    "Ordering",
    "Report",
    "Settings",
    "Step",
    "examine",
    "read_report",
    "read_settings",
    "report_box",
    "write_settings",
]
