"""The command line: `tfgrid NOUN VERB [NAME] [--flags]`.

Standard output carries the answer, standard error everything else. Text for people may change in
any release; `--json` is the contract, and every top object names its schema.

| module | what it holds |
|---|---|
| `program` | `main` |
| `root` | the root command and the table of nouns |
| `frame` | what every command shares: flags, answers, progress, errors, exit codes |
| `answers` | the schema of every answer |
| `session` | the grid, identity and ledger that a command speaks with |
| `render` | tables and colour; the only place that imports rich |
| `nouns` | one lazily imported module per noun |
| `portrait` | contracts and plans as answers |
| `offline` | checking a proof file with nothing but the file |
| `web` | asking a page of the grid |
| `story` | the demo: steps 1 to 7, told as they happen |
"""

from tfgrid.doors.cli.program import main

__all__ = ["main"]
