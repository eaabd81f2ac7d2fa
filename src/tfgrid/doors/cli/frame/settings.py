"""The flags that every command takes, with one meaning each.

A flag may stand before the noun or after the verb. Precedence: flag, then `TFGRID_*`, then the
files of `sources`, then the default.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import click
from click.core import ParameterSource

__all__ = ["COMMON", "ENVIRONMENT", "Settings", "common_options", "settings_of", "span_seconds"]

timeout_seconds_default: Final = 120


@dataclass
class Settings:
    """What the common flags came to."""

    json: bool = False
    plain: bool = False
    quiet: bool = False
    verbose: bool = False
    yes: bool = False
    dry_run: bool = False
    timeout: int = timeout_seconds_default
    grid: str = ""
    context: str = ""
    identity: str = ""
    given: set[str] = field(default_factory=set)
    origin: dict[str, str] = field(default_factory=dict)

    @property
    def colour(self) -> bool:
        """Whether the answer may be coloured and boxed."""
        return not self.json and not self.plain and sys.stdout.isatty() and _wants_colour()

    @property
    def animation(self) -> bool:
        """Whether progress may be drawn over itself."""
        still = os.environ.get("ACCESSIBLE", "") not in {"", "0"}
        machine = self.json or self.plain or self.quiet
        return not machine and not still and sys.stderr.isatty() and _wants_colour()

    @property
    def hints(self) -> bool:
        """Whether to say what could be done next."""
        return not self.quiet and not self.json and os.environ.get("TFGRID_HINTS", "1") != "0"


def _wants_colour() -> bool:
    off = (
        os.environ.get("NO_COLOR", "") != ""
        or os.environ.get("CLICOLOR") == "0"
        or os.environ.get("TERM") == "dumb"
    )
    return not off


def settings_of(context: click.Context) -> Settings:
    """The settings of this run, made on first use."""
    settings: Settings = context.ensure_object(Settings)
    return settings


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    settings = settings_of(context)
    name = parameter.name or ""
    source = context.get_parameter_source(name)
    if source is ParameterSource.COMMANDLINE:
        settings.given.add(name)
        settings.origin[name] = f"flag {_flag(parameter)}"
    elif source is ParameterSource.DEFAULT or name in settings.given:
        return
    else:
        settings.origin[name] = str(parameter.envvar)
    setattr(settings, name, value)


def _flag(parameter: click.Parameter) -> str:
    return next((word for word in parameter.opts if word.startswith("--")), parameter.opts[0])


_FLAGS: Final[tuple[tuple[tuple[str, ...], str, str], ...]] = (
    (("--json",), "TFGRID_JSON", "Answer, progress and errors as JSON."),
    (("--plain",), "TFGRID_PLAIN", "No colour, boxes or animation."),
    (("--quiet", "-q"), "TFGRID_QUIET", "The answer only."),
    (("--verbose", "-v"), "TFGRID_VERBOSE", "Say more, and show where a fault came from."),
    (("--yes", "-y"), "TFGRID_YES", "Answer yes to the question."),
    (("--dry-run", "-n"), "", "Show what would be done; change nothing."),
)


_VALUES: Final[tuple[tuple[tuple[str, ...], str, str, str], ...]] = (
    (("--grid", "grid"), "DIR", "TFGRID_GRID", "The directory of a grid on this machine."),
    (("--context", "context"), "NAME", "TFGRID_CONTEXT", "A grid by its name in config.toml."),
    (("--as", "identity"), "IDENTITY", "TFGRID_AS", "Act as this identity (default: alice)."),
)

ENVIRONMENT: Final[dict[str, str]] = {
    **{variable: text for _, variable, text in _FLAGS if variable},
    **{variable: text for _, _, variable, text in _VALUES},
    "TFGRID_TIMEOUT": "How long to wait for the grid, such as 90s.",
    "TFGRID_HINTS": "0 leaves out what could be done next.",
    "NO_COLOR": "Any value: no colour. CLICOLOR=0 and TERM=dumb do the same.",
    "ACCESSIBLE": "1: no animation, a line of text for each change.",
    "XDG_STATE_HOME": "Where grids are kept: $XDG_STATE_HOME/tfgrid/grid.",
    "XDG_CONFIG_HOME": "Where contexts are kept: $XDG_CONFIG_HOME/tfgrid/config.toml.",
}


def span_seconds(text: str) -> int:
    """Seconds from `90s`, `15m` or a bare number of seconds.

    Raises:
        ValueError: it is neither.

    """
    from tfgrid.core import errors, units

    try:
        return int(text) if text.isdecimal() else units.parse_seconds(text)
    except errors.BadInput as fault:
        raise ValueError(fault.what) from fault


class _Span(click.ParamType[int]):
    name = "span"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Seconds from `90s`, `15m` or a bare number of seconds."""
        try:
            return value if isinstance(value, int) else span_seconds(str(value))
        except ValueError as fault:
            self.fail(str(fault), param, ctx)


def _option(names: tuple[str, ...], variable: str, text: str, **more: Any) -> click.Option:
    return click.Option(
        names, envvar=variable or None, help=text, expose_value=False, callback=_keep,
        is_eager=True, **more,
    )  # fmt: skip


def common_options(
    identities: Callable[[click.Context, click.Parameter, str], list[str]] | None = None,
) -> list[click.Parameter]:
    """Fresh options for one command; each keeps what it was given in the run's settings.

    Args:
        identities: completes the value of `--as`.

    """
    flags = [_option(names, variable, text, is_flag=True) for names, variable, text in _FLAGS]
    span = _option(
        ("--timeout",), "TFGRID_TIMEOUT", "How long to wait, such as 90s (default: 2m).",
        type=_Span(), default=timeout_seconds_default, metavar="SPAN",
    )  # fmt: skip
    values = [
        _option(
            names, variable, text, metavar=metavar,
            shell_complete=identities if "identity" in names else None,
        )
        for names, metavar, variable, text in _VALUES
    ]  # fmt: skip
    return [*flags, span, *values]


COMMON: Final = frozenset(Settings.__dataclass_fields__) - {"given", "origin"}
"""The parameter names that `common_options` makes."""
