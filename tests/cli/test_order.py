"""Plan, deploy, sign, reject, cancel, why, proof, verify: against a ledger in this process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.ground import RECIPE, Ground
from tfgrid.capacity import flist
from tfgrid.core import canonical
from tfgrid.core.ids import Digest
from tfgrid.doors.cli import answers
from tfgrid.doors.localgrid import create
from tfgrid.ledger import contract

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def _published(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> None:
    """An image and a recipe that uses it are published."""
    tree = tmp_path_factory.mktemp("tree")
    (tree / "hello").write_text("hello\n")
    store = flist.ChunkStore(ground.paths.images)
    ring = create.keyring(ground.paths, ground.grid, "expert")
    packed = flist.pack(tree, store=store)
    flist.publish(
        packed, name="hello", config=flist.Config(arguments=("/hello",)), keyring=ring, store=store
    )
    file = tmp_path_factory.mktemp("recipe") / "hello.yaml"
    file.write_text(RECIPE)
    assert ground.run("recipe", "publish", str(file)).exit_code == 0


def _json(ground: Ground, *arguments: str, code: int = 0) -> Any:
    told = ground.run(*arguments, "--json", "--yes")
    assert told.exit_code == code, told.stderr
    return json.loads(told.stdout)


def _deploy(ground: Ground, name: str) -> Any:
    """Register a contract of this name, with a host of its own."""
    host = f"host={name}.grid.localhost"
    return _json(ground, "deploy", "hello", "--name", name, "--set", host, "--yes", code=10)


def test_a_plan_changes_nothing(ground: Ground) -> None:
    """Planning twice registers nothing, and says where and why."""
    before = _json(ground, "contract", "list")
    plan = _json(ground, "plan", "hello")
    rows = {row["workload"]: row for row in plan["rows"]}
    assert rows["page"]["node"] == "n4"
    assert rows["web"]["why"]
    assert plan["needed"] == 2
    assert {a["name"] for a in plan["approvers"]} == {"budget", "security", "legal"}
    assert _json(ground, "contract", "list") == before


def test_a_plan_is_shown_as_a_table(ground: Ground) -> None:
    """People see workload, node, farm, cpu, memory, digest, price and why there."""
    told = ground.run("plan", "hello").stdout
    head = next(line for line in told.splitlines() if line.startswith("WORKLOAD"))
    assert head.split("  ")[0] == "WORKLOAD"
    for column in ("NODE", "FARM", "CPU", "MEMORY", "DIGEST", "PRICE/DAY", "WHY THERE"):
        assert column in head


def test_no_fit_tells_every_node_and_the_smallest_change(ground: Ground) -> None:
    """More than any node has: exit 7, a reason for each node, and what would fit."""
    told = ground.run("plan", "hello", "--set", "memory=32GiB")
    assert told.exit_code == 7
    assert told.stdout == ""
    assert "TFG-2350" in told.stderr
    fault = json.loads(ground.run("plan", "hello", "--set", "memory=32GiB", "--json").stderr)
    assert fault["details"]["reasons"]
    assert fault["hint"]


def test_unknown_things_are_errors(ground: Ground) -> None:
    """A recipe, file, parameter or contract that is not there is never ignored."""
    for arguments, code in (
        (("plan", "nothing"), 4),
        (("plan", "./nothing.yaml"), 4),
        (("plan", "hello", "--set", "colour=red"), 2),
        (("plan", "hello", "--set", "memory"), 2),
        (("contract", "show", "nothing"), 4),
        (("contract", "list", "--as", "nobody"), 0),
        (("contract", "sign", "nothing", "--as", "budget"), 4),
        (("recipe", "show", "nothing"), 4),
        (("image", "verify", "nothing"), 4),
        (("node", "show", "n9"), 4),
        (("demo", "unplug", "n9"), 4),
    ):
        told = ground.run(*arguments)
        assert told.exit_code == code, (arguments, told.stderr)


def test_deploying_asks_and_registers(ground: Ground) -> None:
    """Nobody to ask: exit 2; with --yes: registered, exit 10, waiting for approvals."""
    assert ground.run("deploy", "hello", "--name", "asked").exit_code == 2
    made = _deploy(ground, "asked")
    assert made["phase"] == "proposed"
    assert (made["approved"], made["needed"]) == (0, 2)
    assert made["urls"] == [f"https://asked.grid.localhost:{ground.grid.edge_port}/"]


def test_dry_run_registers_nothing(ground: Ground) -> None:
    """--dry-run shows the plan and leaves the ledger as it was."""
    before = len(_json(ground, "contract", "list"))
    assert _json(ground, "deploy", "hello", "--dry-run")["phase"] == "planned"
    assert len(_json(ground, "contract", "list")) == before


def test_a_plan_file_is_applied_exactly_once(ground: Ground, tmp_path: Path) -> None:
    """What was planned is what is registered, and registering it again finds it."""
    file = tmp_path / "hello.plan"
    plan = _json(ground, "plan", "hello", "--name", "exact", "-o", str(file))
    kept = canonical.parse(file.read_bytes(), contract.Plan)
    assert contract.proposal_digest(kept.proposal) == plan["subject"]
    first = _json(ground, "deploy", str(file), "--yes", code=10)
    again = _json(ground, "deploy", str(file), "--yes", code=10)
    assert first == again
    file.write_bytes(file.read_bytes().replace(b"exact", b"exart"))
    assert ground.run("deploy", str(file), "--yes").exit_code != 0


def test_signing_counts_each_stakeholder_once(ground: Ground) -> None:
    """One signature waits, the same again changes nothing, a second reaches the quorum."""
    _deploy(ground, "signed")
    why = _json(ground, "contract", "why", "signed")
    assert len(why["next"]) == 3
    one = _json(ground, "contract", "sign", "signed", "--as", "budget")
    assert (one["approved"], one["phase"], one["role"]) == (1, "proposed", "budget")
    again = _json(ground, "contract", "sign", "signed", "--as", "budget")
    assert again["approved"] == 1
    two = _json(ground, "--as", "legal", "contract", "sign", "signed")
    assert (two["approved"], two["phase"]) == (2, "approved")
    late = ground.run("contract", "sign", "signed", "--as", "security", "--yes")
    assert late.exit_code == 6


def test_who_is_not_asked_may_not_sign(ground: Ground) -> None:
    """The owner is no stakeholder: exit 5, and the contract is as it was."""
    _deploy(ground, "strict")
    told = ground.run("contract", "sign", "strict", "--as", "alice", "--yes")
    assert told.exit_code == 5
    assert "TFG-4511" in told.stderr
    assert _json(ground, "contract", "show", "strict")["approved"] == 0


def test_rejections_end_it(ground: Ground) -> None:
    """Two of three say no: rejected, and why says so."""
    _deploy(ground, "refused")
    for role in ("budget", "legal"):
        _json(ground, "contract", "reject", "refused", "--as", role, "--reason", "too dear")
    assert _json(ground, "contract", "why", "refused")["phase"] == "rejected"


def test_cancelling_asks_and_needs_its_own_quorum(ground: Ground) -> None:
    """A delete signature is asked for, counted apart from deploy, and waits for the second."""
    _deploy(ground, "gone")
    assert ground.run("contract", "cancel", "gone", "--as", "budget").exit_code == 2
    told = ground.run("contract", "cancel", "gone", "--as", "budget", "--yes", "--json")
    assert told.exit_code == 10
    assert json.loads(told.stdout)["approved"] == 1
    assert _json(ground, "contract", "show", "gone")["phase"] == "proposed"


def test_names_and_prefixes_find_a_contract(ground: Ground) -> None:
    """A contract is found by name and by a unique id prefix; a short one is refused."""
    made = _deploy(ground, "found")
    by_prefix = _json(ground, "contract", "show", made["contract"][:12])
    assert by_prefix["name"] == "found"
    assert ground.run("contract", "show", made["contract"][:2]).exit_code == 2


def test_a_proof_verifies_without_a_grid(ground: Ground, tmp_path: Path) -> None:
    """The file alone proves the contract; one changed byte anywhere does not pass."""
    _deploy(ground, "proven")
    _json(ground, "contract", "sign", "proven", "--as", "budget")
    file = tmp_path / "proven.proof"
    _json(ground, "contract", "proof", "proven", "-o", str(file))
    told = _json(ground, "contract", "verify", str(file), "--grid", "/nowhere")
    assert told["name"] == "proven"
    assert told["ledger"] == ground.grid.ledger
    data = bytearray(file.read_bytes())
    for place in range(7, len(data), len(data) // 23):
        data[place] ^= 1
        file.write_bytes(data)
        data[place] ^= 1
        assert ground.run("contract", "verify", str(file)).exit_code == 11
    file.write_bytes(data)
    other = Digest("0" * 64)
    assert ground.run("contract", "verify", str(file), "--ledger", other).exit_code == 11
    assert ground.run("contract", "verify", str(tmp_path / "none")).exit_code == 4


def test_a_ledger_that_is_gone_is_exit_12(ground: Ground) -> None:
    """The error names the ledger and may be tried again."""
    ground.transport.cut = True
    try:
        told = ground.run("contract", "list", "--json")
    finally:
        ground.transport.cut = False
    assert told.exit_code == 12
    fault = json.loads(told.stderr)
    assert (fault["code"], fault["retryable"]) == ("TFG-5012", True)


def test_linting_names_line_and_spelling(ground: Ground, tmp_path: Path) -> None:
    """A misspelt key is named with its line; a good recipe passes; no grid is needed."""
    file = tmp_path / "recipe.yaml"
    file.write_text(RECIPE.replace("network: net\n    cpu", "netwrok: net\n    cpu"))
    told = _json(ground, "recipe", "lint", str(file), code=2)
    assert told["findings"][0]["line"] == RECIPE.splitlines().index("    network: net") + 1
    assert any("network" in f["hint"] + f["what"] for f in told["findings"])
    file.write_text(RECIPE)
    assert _json(ground, "recipe", "lint", str(file))["findings"] == []


def test_every_answer_is_of_its_schema(ground: Ground, tmp_path: Path) -> None:
    """Answers decode as the schemas that their commands promise."""
    import msgspec

    for arguments in (
        ("node", "list"), ("node", "show", "n1"), ("farm", "list"), ("recipe", "list"),
        ("recipe", "show", "hello"), ("image", "list"), ("image", "show", "hello"),
        ("image", "verify", "hello"), ("contract", "list"), ("plan", "hello"),
    ):  # fmt: skip
        told = ground.run(*arguments, "--json", "--yes")
        value = json.loads(told.stdout)
        for one in value if isinstance(value, list) else [value]:
            msgspec.convert(one, answers.SCHEMAS[one["schema"]])


def test_a_held_host_is_told_before_anybody_is_asked(ground: Ground) -> None:
    """A plan whose host name another contract holds says so; ordering it is refused unasked."""
    _deploy(ground, "holder")
    host = "host=holder.grid.localhost"
    for signer in ("budget", "legal"):
        _json(ground, "contract", "sign", "holder", "--as", signer)
    plan = ground.run("plan", "hello", "--name", "late", "--set", host)
    assert plan.exit_code == 0
    assert "obstacle  holder.grid.localhost is held by another contract" in plan.stdout
    told = ground.run("deploy", "hello", "--name", "late", "--set", host)
    assert told.exit_code == 6
    assert "TFG-2352" in told.stderr


def test_only_who_can_sign_is_named_as_approver(ground: Ground) -> None:
    """A name that the ledger does not know, and a role that the recipe has not, are errors."""
    nobody = ground.run("plan", "hello", "--approver", "budget=nobody")
    assert (nobody.exit_code, "TFG-5028" in nobody.stderr) == (4, True)
    norole = ground.run("plan", "hello", "--approver", "cook=alice")
    assert (norole.exit_code, "TFG-5027" in norole.stderr) == (2, True)
    me = _json(ground, "plan", "hello", "--approver", f"budget={ground.grid.identities['alice']}")
    assert "alice" in {one["name"] for one in me["approvers"]}


def test_nodes_are_called_by_their_names(ground: Ground) -> None:
    """Reasons for a place that is not there name nodes as people do."""
    told = ground.run("plan", "hello", "--set", "memory=32GiB").stderr
    for name in ("n1", "n2", "n3", "n4"):
        assert f"   {name}: web: memory: 32 GiB asked" in told


def test_what_was_verified_is_shown_without_the_ledger(ground: Ground) -> None:
    """With the ledger gone contracts are still shown, as of when, and the exit code is 12."""
    _deploy(ground, "kept")
    assert ground.run("contract", "show", "kept").exit_code == 0
    ground.transport.cut = True
    try:
        for words in (("contract", "list"), ("contract", "show", "kept")):
            told = ground.run(*words)
            assert told.exit_code == 12
            assert "kept" in told.stdout
            assert "may be stale" in told.stderr
    finally:
        ground.transport.cut = False


def test_a_file_that_cannot_be_written_is_an_error(ground: Ground, tmp_path: Path) -> None:
    """Neither a plan nor a proof ends in a trace when its folder is not there."""
    _deploy(ground, "unwritten")
    for words in (("plan", "hello"), ("contract", "proof", "unwritten")):
        told = ground.run(*words, "-o", str(tmp_path / "none" / "file"))
        assert told.exit_code == 1
        assert "TFG-5026" in told.stderr
        assert "Traceback" not in told.stderr


def test_a_thing_that_is_not_there_names_what_is(ground: Ground) -> None:
    """The error offers the nearest name and the command that lists them."""
    _deploy(ground, "nearby")
    told = ground.run("contract", "show", "neraby").stderr
    assert "did you mean nearby?" in told
    assert "tfgrid contract list" in told
    told = ground.run("contract", "sign", "nearby", "--as", "bugdet", "--yes").stderr
    assert "budget" in told


def test_the_hello_example_plans_and_is_registered(ground: Ground, tmp_path: Path) -> None:
    """The recipe of the how-to page places its container and its route, and its owner decides."""
    (tmp_path / "index.html").write_text("hello\n")
    store = flist.ChunkStore(ground.paths.images)
    packed = flist.pack(tmp_path, store=store)
    flist.publish(
        packed, name="hello-web", config=flist.Config(arguments=("/httpd",)), store=store,
        keyring=create.keyring(ground.paths, ground.grid, "expert"),
    )  # fmt: skip
    recipe = Path(__file__).parents[2] / "examples" / "hello" / "recipe.yaml"
    example = str(tmp_path / "recipe.yaml")  # another version than the hello of these tests
    Path(example).write_text(recipe.read_text().replace("version: 1.0.0", "version: 1.0.1"))
    assert ground.run("recipe", "lint", example).exit_code == 0
    assert "is not published here" in _json(ground, "plan", example)["obstacle"]
    order = (example, "--name", "example", "--set", "host=example.grid.localhost")
    plan = _json(ground, "plan", *order)
    _json(ground, "recipe", "publish", example)
    assert {row["workload"] for row in plan["rows"]} == {"web", "page"}
    made = _json(ground, "deploy", *order, "--yes", "--no-wait")
    assert made["phase"] == "approved"
