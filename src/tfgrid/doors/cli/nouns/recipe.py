"""`recipe lint|publish|list|show`: what experts offer."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import click
import msgspec

from tfgrid.core import errors, limits, store, units
from tfgrid.doors.cli import answers, render
from tfgrid.doors.cli.frame import ExitCode, Noun, Settings, complete, hints, leaf, show, show_all
from tfgrid.doors.cli.session import Session
from tfgrid.ledger import contract

__all__ = ["COMMANDS", "publish", "read_text", "recipe_file"]

noun: Final = Noun(
    "recipe", help="Recipes: lint, publish, list, show.",
    examples=(
        "tfgrid recipe lint examples/guestbook", "tfgrid recipe list",
        "tfgrid recipe show guestbook",
    ),
)  # fmt: skip


def recipe_file(word: str) -> Path:
    """The file that a path names: itself, or `recipe.yaml` in the directory.

    Raises:
        errors.NotFound: TFG-5006.

    """
    path = Path(word)
    if path.is_dir():
        path = path / "recipe.yaml"
    if not path.is_file():
        raise errors.NotFound(
            "TFG-5006", f"there is no file {path}", where=str(path.absolute()),
            hint="name a recipe file, or a folder with a recipe.yaml in it",
        )  # fmt: skip
    return path


def read_text(path: Path) -> str:
    """A text file of bounded size.

    Raises:
        errors.BadInput: TFG-5014, too large or not text.

    """
    data = store.read_at_most(path, limits.document_bytes_max)
    large = len(data) > limits.document_bytes_max
    try:
        text = data.decode("utf-8")
    except UnicodeError as fault:
        raise errors.BadInput("TFG-5014", f"{path.name} is not text", where=str(path)) from fault
    if large:
        raise errors.BadInput(
            "TFG-5014", f"{path.name} has more than {limits.document_bytes_max} bytes",
            where=str(path),
        )  # fmt: skip
    return text


@leaf(
    noun, "lint", offline=True, answers=("tfgrid.lint/1",),
    examples=(
        "tfgrid recipe lint examples/guestbook", "tfgrid recipe lint my-recipe.yaml",
        "tfgrid recipe lint my-recipe.yaml --json",
    ),
)  # fmt: skip
@click.argument("file")
def lint(settings: Settings, file: str) -> None:
    """Say everything that is wrong with a recipe file; needs no grid."""
    path = recipe_file(file)
    findings = [
        answers.Finding(code=f.code, line=f.line, column=f.column, what=f.what, hint=f.hint)
        for f in contract.lint_recipe_yaml(read_text(path))
    ]
    show(settings, answers.Lint(file=str(path), findings=findings), _lint_text)
    if findings:
        click.get_current_context().exit(int(ExitCode.USAGE))


def _lint_text(answer: answers.Lint) -> str:
    if not answer.findings:
        return f"{answer.file}: nothing is wrong"
    return "\n".join(
        f"{answer.file}:{f.line}:{f.column}: {f.code} {f.what}"
        + (f" (write {f.hint})" if f.hint else "")
        for f in answer.findings
    )


@leaf(
    noun, "publish", answers=("tfgrid.recipe/1",),
    examples=(
        "tfgrid recipe publish examples/guestbook",
        "tfgrid recipe publish my-recipe.yaml --as expert",
        "tfgrid recipe publish my-recipe.yaml --dry-run",
    ),
)  # fmt: skip
@click.argument("file")
def publish_file(settings: Settings, file: str) -> None:
    """Publish a recipe, signed by --as (default: expert); name@version never changes again."""
    path = recipe_file(file)
    made = asyncio.run(publish(settings, path))
    show(settings, made, _recipe_text)
    if settings.dry_run:
        return
    hints(settings, f"tfgrid plan {made.name}", f"tfgrid recipe show {made.name}")


async def publish(settings: Settings, path: Path) -> answers.Recipe:
    """Publish the recipe of a file; one that is published already, byte for byte, is found."""
    with Session(settings) as session:
        view = await session.look()
        author = await session.author("expert")
        wanted = contract.parse_recipe_yaml(read_text(path), author=author.keyring.identity)
        if wanted in contract.recipes(view):
            return _answer(session, wanted, "published already")
        if settings.dry_run:
            return _answer(session, wanted, "would be published")
        await author.submit("recipe.publish", wanted)
        await session.look()
        return _answer(session, wanted, "published now")


@leaf(
    noun, "list", answers=("tfgrid.recipe/1",),
    examples=("tfgrid recipe list", "tfgrid recipe list --json", "tfgrid recipe list --plain"),
)  # fmt: skip
def list_recipes(settings: Settings) -> None:
    """List every published recipe."""
    found = asyncio.run(_recipes(settings))
    rows = [(r.name, r.version, r.author, r.description) for r in found]
    show_all(
        settings, found,
        lambda _: render.table(settings, ("recipe", "version", "expert", "what it is"), rows),
    )  # fmt: skip


@leaf(
    noun, "show", answers=("tfgrid.recipe/1",),
    examples=(
        "tfgrid recipe show guestbook", "tfgrid recipe show guestbook@1.0",
        "tfgrid recipe show guestbook --json",
    ),
)  # fmt: skip
@click.argument("name", shell_complete=complete("recipe"))
def show_recipe(settings: Settings, name: str) -> None:
    """Show what a recipe asks and advises; NAME or NAME@VERSION."""
    show(settings, asyncio.run(_recipe(settings, name)), _recipe_text)


async def _recipes(settings: Settings) -> list[answers.Recipe]:
    with Session(settings) as session:
        view = await session.look()
        return [_answer(session, recipe) for recipe in contract.recipes(view)]


async def _recipe(settings: Settings, word: str) -> answers.Recipe:
    with Session(settings) as session:
        view = await session.look()
        name, _, version = word.partition("@")
        return _answer(session, contract.read_recipe(view, name, version))


def _answer(session: Session, recipe: contract.Recipe, state: str = "published") -> answers.Recipe:
    roles = ", ".join(role.role for role in recipe.deploy.roles)
    return answers.Recipe(
        name=recipe.name, version=recipe.version, digest=contract.recipe_digest(recipe),
        author=session.person(recipe.author), description=recipe.description,
        parameters=[msgspec.to_builtins(p) for p in recipe.parameters],
        workloads=[f"{w.type} {w.name}" for w in recipe.workloads],
        deploy_quorum=f"{recipe.deploy.weight} of {roles}" if roles else "the owner",
        state=state,
    )  # fmt: skip


def _recipe_text(recipe: answers.Recipe) -> str:
    lines = [
        render.field_list(
            [
                ("recipe", f"{recipe.name}@{recipe.version}  ({recipe.state})"),
                ("expert", recipe.author),
                ("digest", recipe.digest),
                ("what", recipe.description),
                ("workloads", ", ".join(recipe.workloads)),
                ("approval", recipe.deploy_quorum),
            ]
        )
    ]
    for parameter in recipe.parameters:
        default = parameter.get("default")
        if parameter["type"] == "size" and isinstance(default, int):
            default = units.bytes_text(default).replace(" ", "")
        lines.append(
            f"  --set {parameter['name']}={default if default is not None else '...'}"
            f"  {parameter['type']}  {parameter.get('description', '')}"
        )
    return "\n".join(lines)


COMMANDS: Final[dict[str, Noun]] = {"recipe": noun}
