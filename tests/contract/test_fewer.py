"""Fewer replicas as the smallest change, where no other small change is enough."""

from __future__ import annotations

import pytest

from tests.contract.stage import IMAGES, RECIPE_TEXT, guestbook_stage, who
from tfgrid.core import errors
from tfgrid.ledger import contract

# The guestbook, without its own bound on memory.
_RECIPE = contract.parse_recipe_yaml(
    RECIPE_TEXT.replace("maximum: 4GiB", "maximum: 1TiB"), author=who("expert")
)


def _plan(**parameters: str) -> contract.Plan:
    stage = guestbook_stage()
    return contract.plan(stage.order(parameters=parameters), _RECIPE, IMAGES, stage.inventory())


def _hint(**parameters: str) -> str:
    with pytest.raises(errors.NoFit) as refused:
        _plan(**parameters)
    return refused.value.hint


def test_the_most_replicas_that_fit_are_proposed_and_do_fit() -> None:
    """Eight web containers on two farms, each on its own: two is what fits."""
    assert _hint(memory="1GiB", replicas="8") == "lower replicas to 2 (--set replicas=2)"
    _plan(memory="1GiB", replicas="2")


def test_where_fewer_is_not_enough_the_rest_is_said_too() -> None:
    """More memory than any node has and more replicas than farms: both must give."""
    hint = _hint(memory="64GiB", replicas="8")
    assert hint.startswith("lower replicas to 1 (--set replicas=1) and lower memory of web")
    setting = hint.rpartition("--set memory=")[2].rstrip(")")
    _plan(memory=setting, replicas="1")


def test_a_smaller_change_goes_before_fewer_replicas() -> None:
    """Where less memory alone would do, the number of containers is left alone."""
    assert "replicas" not in _hint(memory="64GiB")
