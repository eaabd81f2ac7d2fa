"""Recipes: what is read, what is rendered, and what is refused at which line."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contract.stage import IMAGES, RECIPE_TEXT, changed, guestbook_stage, who
from tfgrid.core import canonical, errors, limits
from tfgrid.ledger import contract

SMALL = """\
name: small
version: 1.0.0
parameters:
  memory: {type: size, default: 64MiB, minimum: 16MiB, maximum: 1GiB}
  count: {type: integer, default: 2, minimum: 1, maximum: 4}
  mode: {type: choice, default: fast, choices: [fast, safe]}
  debug: {type: boolean, default: false}
  title: {type: string, default: Hello, minimum: 1, maximum: 10}
workloads:
  net: {type: network}
  web:
    type: container
    replicas: ${count}
    image: redis
    network: net
    cpu: 0.25
    memory: ${memory}
    disk: 16MiB
    arguments: ["--mode=${mode}", "$${HOME}", 7]
    environment: {TITLE: "${title}!", DEBUG: "${debug}", PORT: 80}
    placement: {spread: node}
"""


def _recipe(text: str = SMALL) -> contract.Recipe:
    return contract.parse_recipe_yaml(text, author=who("expert"))


def _web(**parameters: Any) -> contract.Container:
    found = contract.render(_recipe(), parameters, IMAGES)[1]
    assert isinstance(found, contract.Container)
    return found


def test_the_example_is_clean() -> None:
    """The guestbook's recipe has no findings and renders its default order."""
    assert contract.lint_recipe_yaml(RECIPE_TEXT) == ()
    names = [w.name for w in contract.render(_recipe(RECIPE_TEXT), {}, IMAGES)]
    assert names == ["net", "redis", "web-1", "web-2", "page"]


def test_parameters_take_their_own_type() -> None:
    """A whole placeholder gives the value, inside text its text; two dollars are one."""
    web = _web(memory="128MiB", mode="safe", debug="true", title="Hi")
    assert web.memory_bytes == 128 * 1024**2
    assert web.arguments == ("--mode=safe", "${HOME}", "7")
    assert web.environment == {"TITLE": "Hi!", "DEBUG": "true", "PORT": "80"}
    assert web.cpu_millis == 250


def test_values_are_data_and_never_templates() -> None:
    """A value that looks like a placeholder stays as it is."""
    assert _web(title="${memory}").environment["TITLE"] == "${memory}!"


def test_replicas_are_numbered_and_form_the_group_of_their_spread() -> None:
    """Names count from one; replicas are kept apart from each other."""
    workloads = contract.render(_recipe(), {"count": 3}, IMAGES)
    assert [w.name for w in workloads] == ["net", "web-1", "web-2", "web-3"]
    assert _web().constraints.group == "web"


def test_one_replica_that_was_asked_for_is_numbered_too() -> None:
    """Names do not depend on the number, so that a change of it renames nothing."""
    assert _web(count=1).name == "web-1"


@pytest.mark.parametrize(
    ("code", "parameters"),
    [
        ("TFG-2330", {"memry": "1GiB"}),
        ("TFG-2331", {"memory": "8MiB"}),
        ("TFG-2331", {"memory": "2GiB"}),
        ("TFG-2331", {"memory": "much"}),
        ("TFG-2331", {"count": "2.5"}),
        ("TFG-2331", {"count": 5}),
        ("TFG-2331", {"count": True}),
        ("TFG-2331", {"count": "1_0"}),
        ("TFG-2331", {"mode": "slow"}),
        ("TFG-2331", {"debug": "yes"}),
        ("TFG-2331", {"title": ""}),
        ("TFG-2331", {"title": "x" * 11}),
        ("TFG-2331", {"title": "a\0b"}),
        ("TFG-2331", {"title": 7}),
    ],
)
def test_a_parameter_that_does_not_fit_is_refused(code: str, parameters: dict[str, Any]) -> None:
    """Unknown names, other types and values out of bounds say which parameter it is."""
    with pytest.raises(errors.BadInput) as caught:
        _web(**parameters)
    assert caught.value.code == code
    assert caught.value.where == next(iter(parameters))


def test_an_unknown_parameter_names_the_nearest() -> None:
    """A slip of the finger is answered with the right spelling."""
    with pytest.raises(errors.BadInput) as caught:
        _web(memry="1GiB")
    assert caught.value.hint == "did you mean memory?"


def test_a_parameter_without_default_is_needed() -> None:
    """What the recipe cannot know has to be said."""
    text = SMALL.replace("default: Hello, ", "")
    with pytest.raises(errors.BadInput) as caught:
        contract.render(_recipe(text), {}, IMAGES)
    assert (caught.value.code, caught.value.where) == ("TFG-2332", "title")
    assert contract.render(_recipe(text), {"title": "x"}, IMAGES)


def test_an_unknown_image_is_not_found() -> None:
    """Images are resolved by what is handed in."""
    with pytest.raises(errors.NotFound) as caught:
        contract.render(_recipe(), {}, {})
    assert caught.value.code == "TFG-2334"


FAULTS = [
    ("an unknown key", "TFG-2325", 15, 5, SMALL.replace("network: net", "netwrk: net")),
    ("an unknown key on top", "TFG-2325", 3, 1, SMALL.replace("parameters:", "params:")),
    ("an unknown parameter", "TFG-2325", 17, 5, SMALL.replace("${memory}", "${memry}")),
    ("an unknown placement key", "TFG-2325", 21, 17, SMALL.replace("{spread: node}", "{spred: x}")),
    ("an unknown type", "TFG-2326", 12, 5, SMALL.replace("type: container", "type: contaner")),
    ("nothing to run", "TFG-2326", 1, 1, "name: a\nversion: 1.0.0\n"),
    ("a key twice", "TFG-2324", 2, 1, "name: a\nname: b\n"),
    ("an alias", "TFG-2322", 1, 7, "name: &a b\nversion: *a\n"),
    ("a tag", "TFG-2322", 1, 7, "name: !!python/object:os.system x\n"),
    ("an empty value", "TFG-2323", 1, 6, "name:\nversion: 1.0.0\n"),
    ("a mapping as key", "TFG-2323", 1, 1, "{a: b}: c\n"),
    ("a list", "TFG-2320", 1, 1, "- a\n"),
    ("not YAML", "TFG-2320", 2, 1, "name: [a\n"),
    ("two documents", "TFG-2321", 2, 1, "name: a\n---\nname: b\n"),
    ("too deep", "TFG-2321", 1, 18, "name: " + "[" * 30 + "]" * 30),
    ("too large", "TFG-2321", 1, 1, "# " + "x" * limits.recipe_bytes_max),
    ("workloads as a list", "TFG-2327", 3, 1, "name: a\nversion: 1.0.0\nworkloads: [a]\n"),
    ("a workload as text", "TFG-2327", 3, 13, "name: a\nversion: 1.0.0\nworkloads: {a: b}\n"),
    ("roles as a list", "TFG-2327", 9, 22,
     SMALL.replace("workloads:\n", "policy: {deploy: {   roles: [budget]}}\nworkloads:\n")),
    ("a quorum of nobody", "TFG-2328", 1, 1,
     SMALL.replace("workloads:\n", "policy: {deploy: {roles: {a: 1}, weight: 0}}\nworkloads:\n")),
    ("a default out of bounds", "TFG-2328", 4, 3, SMALL.replace("default: 64MiB", "default: 8MiB")),
    ("a choice without choices", "TFG-2328", 6, 3, SMALL.replace(", choices: [fast, safe]", "")),
    ("no cores", "TFG-2328", 11, 3, SMALL.replace("cpu: 0.25", "cpu: 0")),
    ("cores as words", "TFG-2328", 11, 3, SMALL.replace("cpu: 0.25", "cpu: many")),
    ("a name that is no label", "TFG-2328", 1, 1, SMALL.replace("name: small", "name: Small One")),
    ("replicas of a network", "TFG-2325", 10, 24,
     SMALL.replace("{type: network}", "{type: network, replicas: 2}")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("code", "line", "column", "text"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS]
)
def test_each_fault_has_its_code_and_place(code: str, line: int, column: int, text: str) -> None:
    """A finding says which line and column; parsing raises the first of them."""
    first = contract.lint_recipe_yaml(text)[0]
    assert first.code == code, first
    assert (first.line, first.column) == (line, column), first
    with pytest.raises(errors.BadInput) as caught:
        _recipe(text)
    assert caught.value.code == code
    assert caught.value.details["line"] == line


def test_lint_finds_everything_at_once() -> None:
    """Three faults are three findings, in the order of the file."""
    text = SMALL.replace("memory: ${memory}", "memry: ${memory}").replace("cpu:", "cpus:")
    found = contract.lint_recipe_yaml(text.replace("spread: node", "spred: node"))
    assert [f.hint for f in found] == [
        "did you mean cpu?", "did you mean memory?", "did you mean spread?",
    ]  # fmt: skip


def test_a_recipe_is_published_once() -> None:
    """The same bytes, other bytes under the same version, and another author are refused."""
    stage = guestbook_stage()
    recipe = contract.read_recipe(stage.view, "guestbook")
    stage.refused("TFG-2342", "expert", "recipe.publish", recipe)
    other = changed(recipe, description="other")
    stage.refused("TFG-2341", "expert", "recipe.publish", other)
    theirs = changed(recipe, version="2.0.0", author=who("mallory"))
    stage.refused("TFG-2340", "expert", "recipe.publish", theirs)
    stage.refused("TFG-2343", "mallory", "recipe.publish", theirs)
    stage.write("expert", "recipe.publish", changed(recipe, version="2.0.0"))
    assert contract.read_recipe(stage.view, "guestbook").version == "2.0.0"
    assert contract.read_recipe(stage.view, "guestbook", "1.0.0") == recipe
    assert [r.version for r in contract.recipes(stage.view)] == ["1.0.0", "2.0.0"]


def test_a_recipe_that_is_not_there_is_not_found() -> None:
    """Neither an unknown name nor an unknown version."""
    stage = guestbook_stage()
    for name, version in (("nothing", ""), ("guestbook", "9.0.0"), ("guest", "")):
        with pytest.raises(errors.NotFound) as caught:
            contract.read_recipe(stage.view, name, version)
        assert caught.value.code == "TFG-2403"


@pytest.mark.parametrize(
    "body",
    [
        '{"image":"redis"}', "[]", "7", '{ "a":1}', '{"type":"route"}', "",
        '{"cpu":"1","disk":"1G","image":"redis","memory":"1G","network":"net","mount":"/etc"}',
    ],
)  # fmt: skip
def test_a_recipe_made_by_hand_is_checked_too(body: str) -> None:
    """A record does not have to come from YAML, so the ledger looks at templates itself."""
    stage = guestbook_stage()
    recipe = contract.read_recipe(stage.view, "guestbook")
    web = next(t for t in recipe.workloads if t.name == "redis")
    broken = changed(recipe, version="3.0.0", workloads=(changed(web, body=body),))
    stage.refused("TFG-2333", "expert", "recipe.publish", broken)


def test_a_recipe_survives_the_wire() -> None:
    """Its canonical form is read back as the same recipe, with the same digest."""
    recipe = _recipe(RECIPE_TEXT)
    again = canonical.parse(canonical.encode(recipe), contract.Recipe)
    assert again == recipe
    assert contract.recipe_digest(again) == contract.recipe_digest(recipe)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text makes the reader raise anything but a finding."""
    contract.lint_recipe_yaml(text)


PIECES = st.sampled_from([*SMALL.splitlines(keepends=True), "  - x\n", "a: {b: [c]}\n", "${x}\n"])


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=30), st.integers(0, 500), st.text(max_size=3))
def test_a_recipe_in_pieces_is_read_or_refused(
    pieces: list[str], position: int, insertion: str
) -> None:
    """Lines shuffled, dropped and doubled, with text put in between, are recipes or findings."""
    text = "".join(pieces)
    text = text[:position] + insertion + text[position:]
    findings = contract.lint_recipe_yaml(text)
    if not findings:
        _recipe(text)
    else:
        assert all(f.line >= 1 and f.column >= 1 for f in findings)


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["memory", "count", "mode", "debug", "title"]),
        st.text(max_size=12) | st.integers() | st.booleans(),
    )
)
def test_any_values_render_or_are_refused(parameters: dict[str, Any]) -> None:
    """Whatever is given for a parameter, workloads come out, or a reason."""
    refused = ""
    workloads: tuple[contract.Workload, ...] = ()
    try:
        workloads = contract.render(_recipe(), parameters, IMAGES)
    except errors.BadInput as fault:
        refused = fault.code
    assert bool(workloads) != (refused in {"TFG-2331", "TFG-2333"})
    for workload in workloads:
        canonical.parse(canonical.encode(workload), type(workload))
