"""What every command shares, so that it feels the same everywhere.

| module | what it holds |
|---|---|
| `settings` | the common flags, their `TFGRID_*` variables, and what they came to |
| `sources` | what no flag says: variables, `tfgrid.toml`, a context |
| `commands` | leaf commands and nouns: flags, examples, misspelt words |
| `completing` | names for completion, as commands saw them last |
| `output` | the answer on standard output, hints on standard error |
| `progress` | what is happening, a line for each change |
| `ask` | one question, or none |
| `failure` | four-part errors, as text or JSON |
| `exits` | the one table of exit codes |
| `terminal` | text of strangers without what would steer a terminal |
"""

from tfgrid.doors.cli.frame.ask import confirm
from tfgrid.doors.cli.frame.commands import Leaf, Noun, Root, leaf
from tfgrid.doors.cli.frame.completing import Kind, complete, remember
from tfgrid.doors.cli.frame.exits import ExitCode
from tfgrid.doors.cli.frame.failure import report
from tfgrid.doors.cli.frame.output import hints, say, show, show_all, stream, write_file
from tfgrid.doors.cli.frame.progress import Progress
from tfgrid.doors.cli.frame.settings import Settings, settings_of
from tfgrid.doors.cli.frame.sources import settle
from tfgrid.doors.cli.frame.terminal import cell, printable

__all__ = [
    "ExitCode",
    "Kind",
    "Leaf",
    "Noun",
    "Progress",
    "Root",
    "Settings",
    "cell",
    "complete",
    "confirm",
    "exits",
    "hints",
    "leaf",
    "printable",
    "remember",
    "report",
    "say",
    "settings",
    "settings_of",
    "settle",
    "show",
    "show_all",
    "stream",
    "write_file",
]
