"""`image build|list|show|verify`: what workloads run, by digest and signer."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from tfgrid.agents import builders
from tfgrid.capacity import flist
from tfgrid.core import errors, ids, units
from tfgrid.doors import localgrid
from tfgrid.doors.cli import answers, render
from tfgrid.doors.cli.frame import (
    Noun,
    Progress,
    Settings,
    complete,
    hints,
    leaf,
    remember,
    show,
    show_all,
)
from tfgrid.doors.cli.session import expand, grid_directory

__all__ = ["COMMANDS", "build"]

noun: Final = Noun(
    "image", help="Images: build, list, show, verify.",
    examples=(
        "tfgrid image build examples/guestbook/web", "tfgrid image list",
        "tfgrid image verify guestbook-web",
    ),
)  # fmt: skip


def _store(settings: Settings) -> tuple[localgrid.Paths, localgrid.GridFile, flist.ChunkStore]:
    paths = localgrid.find(grid_directory(settings))
    return paths, localgrid.read(paths), flist.ChunkStore(paths.images)


@leaf(
    noun, "build", answers=("tfgrid.image/1",),
    examples=(
        "tfgrid image build examples/guestbook/web",
        "tfgrid image build my-image --as expert", "tfgrid image build my-image --json",
    ),
)  # fmt: skip
@click.argument("directory", type=click.Path(path_type=Path))
def build_image(settings: Settings, directory: Path) -> None:
    """Build the image of a directory with image.toml, sign it (default: as expert), publish it."""
    with Progress(settings, f"building {directory.name}") as progress:
        made = build(settings, directory, progress)
    show(settings, made, _image_text)
    hints(settings, f"tfgrid image verify {made.name}", "tfgrid image list")


def build(settings: Settings, directory: Path, progress: Progress) -> answers.Image:
    """Build, sign and publish one image; unchanged inputs come from the cache."""
    if not (directory / "image.toml").is_file():
        raise errors.NotFound(
            "TFG-5006", f"there is no file {directory}/image.toml", where=str(directory.absolute())
        )
    paths, grid, store = _store(settings)
    signer = settings.identity or "expert"
    if settings.dry_run:
        return _would_build(builders.read(directory), signer)
    ring = localgrid.keyring(paths, grid, signer)
    made = builders.build(
        directory, keyring=ring, store=store, cache=paths.build_cache,
        progress=lambda line: progress.change(directory.name, line),
    )  # fmt: skip
    known = flist.images(store)
    remember(paths.root, lambda: {"image": [image.name for image in known]})
    found = next(image for image in known if image.digest == made.digest)
    return _answer(found, "unchanged" if made.cached else "built")


def _would_build(described: builders.Description, signer: str) -> answers.Image:
    return answers.Image(
        name=described.name, digest="", signer="", signer_name=signer, entries=0, content_bytes=0,
        stored_bytes=0, chunks=0, arguments=list(described.entrypoint), state="would be built",
    )  # fmt: skip


def _answer(image: flist.ImageSummary, state: str) -> answers.Image:
    manifest = image.manifest
    return answers.Image(
        name=image.name, digest=image.digest, signer=image.signer, signer_name=image.signer_name,
        entries=manifest.entries, content_bytes=manifest.content_bytes, chunks=manifest.chunks,
        stored_bytes=image.stored_bytes, arguments=list(manifest.config.arguments), state=state,
    )  # fmt: skip


@leaf(
    noun, "list", answers=("tfgrid.image/1",),
    examples=("tfgrid image list", "tfgrid image list --json", "tfgrid image list --plain"),
)  # fmt: skip
def list_images(settings: Settings) -> None:
    """List the images that this grid's chunk server publishes."""
    paths, _, store = _store(settings)
    found = [_answer(image, "published") for image in flist.images(store)]
    remember(paths.root, lambda: {"image": [image.name for image in found]})
    rows = [
        (i.name, ids.short(i.digest), i.signer_name, str(i.entries),
         units.bytes_text(i.content_bytes), units.bytes_text(i.stored_bytes))
        for i in found
    ]  # fmt: skip
    columns = ("image", "digest", "signer", "files", "size", "stored")
    show_all(settings, found, lambda _: render.table(settings, columns, rows))


def _find(store: flist.ChunkStore, word: str) -> flist.ImageSummary:
    known = flist.images(store)
    named = [image for image in known if image.name == word]
    if len(named) == 1:
        return named[0]
    if named:
        candidates = ", ".join(ids.short(image.digest) for image in named)
        raise errors.BadInput(
            "TFG-5015", f"{len(named)} images are named {word}: {candidates}", where=word,
            hint="give a digest",
        )  # fmt: skip
    digest = expand(word, (image.digest for image in known), "image", [i.name for i in known])
    return next(image for image in known if image.digest == digest)


@leaf(
    noun, "show", answers=("tfgrid.image/1",),
    examples=(
        "tfgrid image show guestbook-web", "tfgrid image show 91be04",
        "tfgrid image show guestbook-web --json",
    ),
)  # fmt: skip
@click.argument("name", shell_complete=complete("image"))
def show_image(settings: Settings, name: str) -> None:
    """Show one published image, by name or digest prefix."""
    show(settings, _answer(_find(_store(settings)[2], name), "published"), _image_text)


@leaf(
    noun, "verify", answers=("tfgrid.image/1",),
    examples=(
        "tfgrid image verify guestbook-web", "tfgrid image verify 91be04",
        "tfgrid image verify guestbook-web --json",
    ),
)  # fmt: skip
@click.argument("name", shell_complete=complete("image"))
def verify_image(settings: Settings, name: str) -> None:
    """Read every chunk of an image and hold that all is as its signer signed it."""
    store = _store(settings)[2]
    with Progress(settings, f"verifying {name}"):
        checked = flist.verify(store, _find(store, name).digest)
    show(settings, _answer(checked, "verified"), _image_text)


def _image_text(image: answers.Image) -> str:
    content, stored = map(units.bytes_text, (image.content_bytes, image.stored_bytes))
    size = f"{content}, {stored} stored"
    return render.field_list(
        [
            ("image", f"{image.name}  ({image.state})"),
            ("digest", image.digest),
            ("signer", f"{image.signer_name}  {image.signer}"),
            ("files", f"{image.entries} in {image.chunks} chunks"),
            ("size", size),
            ("runs", " ".join(image.arguments)),
        ]
    )  # fmt: skip


COMMANDS: Final[dict[str, Noun]] = {"image": noun}
