"""Leaf commands, nouns and the root.

Each has the common flags and three examples; a misspelt word is answered with the nearest two.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn, TypeVar

import click

from tfgrid.doors.cli.frame.completing import complete
from tfgrid.doors.cli.frame.settings import COMMON, Settings, common_options, settings_of
from tfgrid.doors.cli.frame.sources import settle

__all__ = ["Leaf", "Noun", "Root", "leaf"]

_HELP_NAMES: Final = {"help_option_names": ["--help"], "max_content_width": 100}
_NO_LIMIT: Final = 1_000
_F = TypeVar("_F", bound=Callable[..., None])


class _Shared(click.Command):
    """A command with the common flags, and examples on top of its help."""

    examples: tuple[str, ...] = ()

    def _write_examples(self, formatter: click.HelpFormatter) -> None:
        if self.examples:
            with formatter.section("Examples"):
                for line in self.examples:
                    formatter.write(f"{'':{formatter.current_indent}}{line}\n")

    def short_page(self, ctx: click.Context) -> str:
        """Usage, text and own flags; nothing that every command has."""
        formatter = ctx.make_formatter()
        self.format_usage(ctx, formatter)
        self.format_help_text(ctx, formatter)
        self._write_flags(ctx, formatter)
        formatter.write_paragraph()
        formatter.write_text(f"More, with examples: {ctx.command_path} --help")
        return formatter.getvalue().rstrip("\n")

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Examples first, then usage, text and flags; the common flags come last."""
        self._write_examples(formatter)
        formatter.write_paragraph()
        super().format_help(ctx, formatter)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Own flags, then sub-commands if any, then the common flags."""
        self._write_flags(ctx, formatter)
        with formatter.section("Flags of every command"):
            formatter.write_dl(self._records(ctx, common=True))

    def _write_flags(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Flags"):
            formatter.write_dl(self._records(ctx, common=False))
        if isinstance(self, click.Group):
            self.format_commands(ctx, formatter)

    def _records(self, ctx: click.Context, *, common: bool) -> list[tuple[str, str]]:
        """Flags and what they do: those of every command, or this one's own."""
        flags = [p for p in self.get_params(ctx) if isinstance(p, click.Option)]
        found = [p.get_help_record(ctx) for p in flags if (p.name in COMMON) is common]
        return [record for record in found if record is not None]


class Leaf(_Shared):
    """A command that does something.

    Args:
        answers: the schema names of what it answers with `--json`.
        examples: three lines that run as they stand.
        offline: it asks no grid, so that no file of settings is read for it.

    """

    def __init__(
        self, *args: Any, answers: Sequence[str] = (), examples: Sequence[str] = (),
        offline: bool = False, **kwargs: Any,
    ) -> None:  # fmt: skip
        kwargs.setdefault("context_settings", _HELP_NAMES)
        super().__init__(*args, **kwargs)
        self.answers = tuple(answers)
        self.examples = tuple(examples)
        self.offline = offline
        self.params = [*self.params, *_help_options(), *common_options(complete("identity"))]

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command with the settings as its first argument."""
        callback, settings = self.callback, settings_of(ctx)
        assert callback is not None
        if not self.offline:
            settle(settings)
        return ctx.invoke(callback, settings, **ctx.params)


def leaf(
    group: click.Group, name: str, *, answers: Sequence[str], examples: Sequence[str],
    offline: bool = False,
) -> Callable[[_F], Leaf]:  # fmt: skip
    """Make a function the leaf `name` of `group`: its docstring is the help.

    Its first argument is the run's `Settings`, the others its own parameters.
    """

    def wrap(function: _F) -> Leaf:
        parameters = list(reversed(getattr(function, "__click_params__", [])))
        made = Leaf(
            name, params=parameters, callback=function, help=function.__doc__,
            answers=answers, examples=examples, offline=offline,
        )  # fmt: skip
        group.add_command(made)
        return made

    return wrap


class Noun(_Shared, click.Group):
    """A noun with its verbs."""

    def __init__(
        self, name: str, *, help: str,  # noqa: A002 - click's word
        examples: Sequence[str] = (), answers: Sequence[str] = (),
    ) -> None:  # fmt: skip
        super().__init__(name, help=help, context_settings=_HELP_NAMES, no_args_is_help=False)
        self.examples = tuple(examples)
        self.answers = tuple(answers)
        self.params = [*self.params, *_help_options(), *common_options(complete("identity"))]

    def invoke(self, ctx: click.Context) -> Any:
        """Go on with the verb; a noun alone is answered with its verbs."""
        words = (*ctx._protected_args, *ctx.args)  # noqa: SLF001 - click tells it nowhere else
        if not words and not self.invoke_without_command:
            from tfgrid.core import errors

            verbs = ", ".join(self.list_commands(ctx))
            raise errors.BadInput(
                "TFG-5001", f"{ctx.command_path} wants a word after it: {verbs}",
                hint=f"{ctx.command_path} --help",
            )  # fmt: skip
        return super().invoke(ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The verbs, each with the whole of its first sentence."""
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(n, c.get_short_help_str(_NO_LIMIT)) for n, c in found if c])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb, or say which two are nearest."""
        word = args[0]
        if self.get_command(ctx, word) is None and not word.startswith("-"):
            _refuse_word(ctx, word, self.list_commands(ctx))
        return super().resolve_command(ctx, args)


def _help_options() -> list[click.Parameter]:
    """`-h`, the short page; click itself makes `--help`."""
    return [
        click.Option(("-h", "short_help"), is_flag=True, expose_value=False, is_eager=True,
                     callback=_print_short, help="Help in short."),
    ]  # fmt: skip


def _print_short(context: click.Context, _option: click.Parameter, asked: bool) -> None:
    if asked and not context.resilient_parsing:
        command = context.command
        assert isinstance(command, _Shared)
        click.echo(command.short_page(context))
        context.exit()


def _refuse_word(context: click.Context, word: str, known: Sequence[str]) -> NoReturn:
    from tfgrid.core import errors

    near = difflib.get_close_matches(word, known, n=2, cutoff=0.4)
    path = context.command_path
    tries = " or ".join(f"{path} {other}" for other in near) or f"{path} --help"
    raise errors.BadInput(
        "TFG-5002", f"{path} has no command {word!r}", where=word, hint=tries, nearest=near
    )


class Root(Noun):
    """The whole program; nouns are imported when they are needed.

    Args:
        table: each command with its one line of help, in the order of the help page.
        load: imports one of them.

    """

    def __init__(
        self, *, table: dict[str, str], load: Callable[[str], click.Command],
        help: str,  # noqa: A002 - click's word
        examples: Sequence[str],
    ) -> None:  # fmt: skip
        super().__init__("tfgrid", help=help, examples=examples)
        self.table = table
        self._load = load

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """All nouns, in the order of the help page."""
        return list(self.table)

    def get_command(
        self, ctx: click.Context, cmd_name: str  # noqa: ARG002 - click's signature
    ) -> click.Command | None:  # fmt: skip
        """Import one noun, or None."""
        return self._load(cmd_name) if cmd_name in self.table else None

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter  # noqa: ARG002 - click's signature
    ) -> None:  # fmt: skip
        """The commands from the table, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self.table.items()))

    def main(
        self, args: Sequence[str] | None = None, prog_name: str | None = None,
        *rest: Any, **extra: Any,
    ) -> NoReturn:  # fmt: skip
        """Run, report what went wrong in four parts, and exit with the code of the table."""
        from tfgrid.doors.cli.frame import failure

        arguments = list(sys.argv[1:] if args is None else args)
        extra["standalone_mode"] = False
        settings = Settings(json=_asks_json(arguments))
        try:
            code = super().main(arguments, prog_name or "tfgrid", *rest, obj=settings, **extra)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = 1
        except BaseException as fault:
            if isinstance(fault, SystemExit):
                raise
            code = failure.report(fault, settings)
        sys.exit(code if isinstance(code, int) else 0)


def _asks_json(arguments: Sequence[str]) -> bool:
    """Whether errors must be JSON even if the arguments cannot be parsed."""
    asked = "--json" in arguments[: arguments.index("--") if "--" in arguments else None]
    return asked or os.environ.get("TFGRID_JSON", "") not in {"", "0"}
