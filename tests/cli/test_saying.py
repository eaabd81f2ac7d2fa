"""What is said is so: dry runs, repeats, counts, and what no longer runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.ground import RECIPE, Ground
from tfgrid.capacity import flist
from tfgrid.doors.localgrid import create

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def recipe(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image and a recipe that uses it are published; the recipe's file."""
    tree = tmp_path_factory.mktemp("tree")
    (tree / "hello").write_text("hello\n")
    store = flist.ChunkStore(ground.paths.images)
    flist.publish(
        flist.pack(tree, store=store), name="hello", store=store,
        config=flist.Config(arguments=("/hello",)),
        keyring=create.keyring(ground.paths, ground.grid, "expert"),
    )  # fmt: skip
    file = tmp_path_factory.mktemp("recipe") / "hello.yaml"
    file.write_text(RECIPE)
    assert "(published now)" in ground.run("recipe", "publish", str(file)).stdout
    return file


def _json(ground: Ground, *arguments: str, code: int = 0) -> Any:
    told = ground.run(*arguments, "--json", "--yes")
    assert told.exit_code == code, told.stderr
    return json.loads(told.stdout)


def _order(name: str) -> tuple[str, ...]:
    return ("hello", "--name", name, "--set", f"host={name}.grid.localhost")


def test_publishing_again_says_that_it_was_there(ground: Ground, recipe: Path) -> None:
    """Nobody believes to have published something new; nor with a dry run of another version."""
    assert "(published already)" in ground.run("recipe", "publish", str(recipe)).stdout
    other = recipe.with_name("other.yaml")
    other.write_text(RECIPE.replace("1.0.0", "2.0.0"))
    told = ground.run("recipe", "publish", str(other), "--dry-run").stdout
    assert "(would be published)" in told
    assert len(_json(ground, "recipe", "list")) == 1


def test_ordering_the_same_again_finds_it(ground: Ground) -> None:
    """Repeated after a time-out it resumes; other settings or another name are another contract."""
    first = _json(ground, "deploy", *_order("twice"), "--yes", code=10)
    again = ground.run("deploy", *_order("twice"), "--yes")
    assert "twice is ordered already: proposed" in again.stderr
    assert _json(ground, "deploy", *_order("twice"), "--yes", code=10) == first
    other = _json(ground, "deploy", *_order("twice"), "--set", "memory=96MiB", "--yes", code=10)
    assert other["contract"] != first["contract"]


def test_the_detailed_exit_code_tells_whether_anything_would_change(
    ground: Ground, tmp_path: Path
) -> None:
    """20 for what is new, 0 for what is ordered already, 6 for what would be refused."""
    file = str(tmp_path / "detailed.plan")
    told = ground.run("plan", *_order("detailed"), "-o", file, "--detailed-exitcode")
    assert told.exit_code == 20
    assert ground.run("deploy", file, "--yes").exit_code == 10
    for what in ((file,), _order("detailed")):
        assert ground.run("plan", *what, "--detailed-exitcode").exit_code == 0
    for signer in ("budget", "legal"):
        _json(ground, "contract", "sign", "detailed", "--as", signer)
    held = ("--name", "late", "--set", "host=detailed.grid.localhost", "--detailed-exitcode")
    assert ground.run("plan", "hello", *held).exit_code == 6


def test_a_dry_run_claims_nothing_that_was_not_done(ground: Ground) -> None:
    """Neither a signature, a removal, a registration, a plug nor a purge is said to have been."""
    _json(ground, "deploy", *_order("dry"), "--yes", code=10)
    for words, said in (
        (("contract", "sign", "dry", "--as", "budget"), "would approve deploying dry"),
        (("contract", "reject", "dry", "--as", "budget"), "would reject deploying dry"),
        (("contract", "cancel", "dry", "--as", "budget"), "would approve deleting dry"),
        (("deploy", *_order("never")), "nothing was"),
        (("demo", "unplug", "n2"), "n2 would be unplugged; nothing was changed"),
        (("demo", "replug", "bcdb"), "ledger would be put back; nothing was changed"),
        (("down", "--purge"), "would stop the grid in"),
        (("down", "--purge"), "then remove it"),
        (("up",), "nothing was changed"),
    ):
        told = ground.run(*words, "--dry-run")
        assert told.exit_code == 0, (words, told.stderr)
        assert said in told.stdout + told.stderr, (words, told.stdout)
        assert "is gone" not in told.stderr
        assert "approves" not in told.stdout
    assert _json(ground, "contract", "show", "dry")["approved"] == 0
    assert ground.run("contract", "cancel", "dry", "--dry-run", "--as", "budget").stderr == ""
    assert ground.run("demo", "unplug", "n9", "--dry-run").exit_code == 4


def test_a_layout_that_cannot_be_is_refused_before_anything_is_made(
    ground: Ground, tmp_path: Path
) -> None:
    """Dry run or not: exit 2 and no directory; on a grid that is there, exit 6 even for none."""
    new = tmp_path / "new"
    for more in ((), ("--dry-run",)):
        told = ground.run("up", "--dir", str(new), "--nodes", "2", "--farms", "3", *more)
        assert (told.exit_code, "TFG-5104" in told.stderr) == (2, True)
        assert not new.exists()
    for nodes in ("0", "5"):
        told = ground.run("up", "--nodes", nodes, "--dry-run")
        assert (told.exit_code, "TFG-5108" in told.stderr) == (6, True)


def test_a_proof_has_as_many_records_as_it_says(ground: Ground, tmp_path: Path) -> None:
    """Who wrote it and who checks it count alike."""
    _json(ground, "deploy", *_order("counted"), "--yes", code=10)
    file = str(tmp_path / "counted.proof")
    wrote = _json(ground, "contract", "proof", "counted", "-o", file)
    assert _json(ground, "contract", "verify", file)["entries"] == wrote["entries"]
    told = ground.run("contract", "verify", file, "--ledger", "0" * 64).stderr
    assert f"another ledger than {'0' * 64}" in told
    Path(file).write_text('{"type":"tfgrid-bundle"}')
    assert "_Bundle" not in ground.run("contract", "verify", file).stderr


def test_what_is_over_answers_nowhere(ground: Ground) -> None:
    """A rejected contract shows no address at which it would answer."""
    _json(ground, "deploy", *_order("over"), "--yes", code=10)
    assert "answers at" in ground.run("contract", "show", "over").stdout
    for role in ("budget", "legal"):
        _json(ground, "contract", "reject", "over", "--as", role)
    assert "answers at" not in ground.run("contract", "show", "over").stdout


def test_logs_name_the_containers_there_are(ground: Ground) -> None:
    """Of one container its name may be left out; a limit counts, also when it is nought."""
    _json(ground, "deploy", *_order("quiet"), "--yes", code=10)
    assert ground.run("logs", "quiet").exit_code == 0
    assert ground.run("logs", "quiet/nothing").exit_code == 4
    assert ground.run("logs", "quiet", "--limit", "-1").exit_code == 2


def test_a_parameter_out_of_bounds_says_what_would_be_taken(ground: Ground) -> None:
    """Bounds are in units that people read, and a setting that would be taken stands beside."""
    told = ground.run("plan", "hello", "--set", "memory=1GiB", "--set", "memory=128GiB").stderr
    assert "is above 64 GiB" in told
    assert "--set memory=64MiB, or other: a size, 32 MiB or more, at most 64 GiB" in told


def test_who_signs_is_shown_what_was_signed(ground: Ground) -> None:
    """The hash that was signed is the plan's own, and the places and the price stand beside it."""
    _json(ground, "deploy", *_order("seen"), "--yes", code=10)
    told = ground.run("contract", "sign", "seen", "--as", "budget", "--yes").stdout
    shown = _json(ground, "contract", "sign", "seen", "--as", "budget")
    assert f"sha256:{shown['subject']}" in told
    assert "web on n" in told
    assert "TFT per day" in told
    text = ground.run("contract", "show", "seen").stdout
    assert "budget approve, security not yet" in text
    _json(ground, "contract", "sign", "seen", "--as", "legal")
    assert "security not needed" in ground.run("contract", "show", "seen").stdout


@pytest.mark.parametrize("answer", ["n", "y"])
def test_who_signs_is_shown_it_before_and_asked(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    """Hash, places and price stand before the question; a no or nobody there signs nothing."""
    name = f"asked-{answer}"
    _json(ground, "deploy", *_order(name), "--yes", code=10)
    words = ("contract", "sign", name, "--as", "budget")
    absent = ground.run(*words)
    assert absent.exit_code == 2
    assert "add --yes" in absent.stderr
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _: True, raising=False)
    told = ground.run(*words, typed=f"{answer}\n")
    shown = _json(ground, "contract", "sign", name, "--as", "budget", "--dry-run")
    before = told.stderr.partition("Sign it?")[0]
    assert f"budget (budget) would approve deploying {name}, which is proposed with 0/2" in before
    assert f"sha256:{shown['subject']}" in before
    assert "web on n" in before
    assert "TFT per day" in before
    assert told.exit_code == (0 if answer == "y" else 5)
    assert _json(ground, "contract", "show", name)["approved"] == int(answer == "y")


def test_an_unplugged_part_is_told_page_by_page() -> None:
    """One page that fails does not look like all of them."""
    from tfgrid.doors.cli import answers
    from tfgrid.doors.cli.story import demo

    pages = [
        answers.PageCount(url="https://a/", asked=30, answered=30),
        answers.PageCount(url="https://b/", asked=30, answered=2),
    ]
    plug = answers.Plug(
        part="n2", action="unplugged", urls=["https://a/", "https://b/"], asked=60, answered=32,
        carried=["b/web"], pages=pages,
    )  # fmt: skip
    told = demo._plug_text(plug).splitlines()
    assert told[1:] == [
        "  https://a/  0 of 30 requests failed", "  https://b/  28 of 30 requests failed",
    ]  # fmt: skip
