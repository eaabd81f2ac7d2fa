"""One module per noun, each imported when its noun is typed.

| module | commands |
|---|---|
| `demo` | `demo`, `demo unplug`, `demo replug` |
| `machine` | `doctor`, `up`, `down`, `status` |
| `order` | `plan`, `deploy` |
| `contract`, `proof` | `contract list show why sign reject cancel`, `proof verify` |
| `recipe` | `recipe lint publish list show` |
| `image` | `image build list show verify` |
| `node` | `node list show`, `farm list` |
| `logs` | `logs` |
| `topics` | `help`, `completion` |
"""

from __future__ import annotations

import click

__all__ = [
    "contract",
    "demo",
    "image",
    "load",
    "logs",
    "machine",
    "node",
    "order",
    "recipe",
    "topics",
]


def load(word: str) -> click.Command:
    """Import the module of one word and give its command."""
    match word:
        case "demo":
            from tfgrid.doors.cli.nouns import demo

            return demo.COMMANDS[word]
        case "doctor" | "up" | "down" | "status":
            from tfgrid.doors.cli.nouns import machine

            return machine.COMMANDS[word]
        case "plan" | "deploy":
            from tfgrid.doors.cli.nouns import order

            return order.COMMANDS[word]
        case "contract":
            from tfgrid.doors.cli.nouns import contract

            return contract.COMMANDS[word]
        case "recipe":
            from tfgrid.doors.cli.nouns import recipe

            return recipe.COMMANDS[word]
        case "image":
            from tfgrid.doors.cli.nouns import image

            return image.COMMANDS[word]
        case "node" | "farm":
            from tfgrid.doors.cli.nouns import node

            return node.COMMANDS[word]
        case "logs":
            from tfgrid.doors.cli.nouns import logs

            return logs.COMMANDS[word]
        case _:
            from tfgrid.doors.cli.nouns import topics

            return topics.COMMANDS[word]
