"""A description has all that a value is."""

import math
from decimal import Decimal
from typing import Any

import pytest
from conformance.descriptions import describe, realize, same_meaning
from conformance.generated import VALUES
from hypothesis import HealthCheck, given, settings

from support.soak import examples

ROUNDS = settings(max_examples=examples(100), deadline=None, suppress_health_check=[*HealthCheck])


@ROUNDS
@given(VALUES)
def test_a_value_is_made_again_from_its_description(value: Any) -> None:
    assert same_meaning(describe(value), describe(realize(describe(value))))


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, True), (1, 1.0), (0.0, -0.0), ([], ()), ({1}, frozenset({1})), (Decimal("1.1"), Decimal("1.10")), ("1", 1)],
)
def test_values_that_are_equal_in_python_are_told_apart(one: Any, other: Any) -> None:
    assert not same_meaning(describe(one), describe(other))


def test_every_nan_is_the_same() -> None:
    assert same_meaning(describe(math.nan), describe(-math.nan))


def test_keys_in_another_order_are_another_value() -> None:
    assert not same_meaning(describe({"a": 1, "b": 2}), describe({"b": 2, "a": 1}))
