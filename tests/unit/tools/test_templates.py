"""Templates: references are found wherever they stand, checked before there are values, and filled in with them."""

from dataclasses import dataclass
from datetime import date
from typing import Any

import pytest
from pydantic import BaseModel

from grpc_tool_bridge.tools.templates import check_template, fill_template


@dataclass
class Point:
    x: int


class Model(BaseModel):
    title: str


VALUES = {"page": {"title": "Home", "links": ["a", "b"]}, "pair": (1, 2), "point": Point(3), "model": Model(title="M")}


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        ("$page", VALUES["page"]),
        ("$page.title", "Home"),
        ("$page.links.0", "a"),
        ("$page.links.-1", "b"),
        ("$pair.1", 2),
        ("$point.x", 3),
        ("$model.title", "M"),
        ({"to": ["$page.title", {"n": "$pair"}]}, {"to": ["Home", {"n": (1, 2)}]}),
        ("$$page", "$page"),
        ("$$$5", "$$5"),
        ("costs $5 or $$6", "costs $5 or $$6"),
        (["", 1, 2.5, True, None], ["", 1, 2.5, True, None]),
    ],
)
def test_a_template_is_filled_with_the_values_themselves(template: Any, filled: Any) -> None:
    check_template(template, VALUES)
    assert fill_template(template, VALUES) == filled


def test_a_value_keeps_its_identity() -> None:
    assert fill_template(["$point"], VALUES)[0] is VALUES["point"]


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("$pge", r"'\$pge' is not defined here; defined names: '\$page', '\$pair'"),
        ({"a": [{"b": "$pge.x"}]}, r"'\$pge\.x' is not defined here"),
        ("$", r"'\$' is not a reference"),
        ("$5", r"'\$5' is not a reference such as '\$name.key'; to send this text itself, write '\$\$5'"),
        ("$page..title", "is not a reference"),
        ("$page.", "is not a reference"),
        ("$page title", "is not a reference"),
        ({1: "a"}, "the key 1 is not text"),
        (date(2026, 1, 1), "cannot be written as JSON; make it an input with a default"),
        ((1, 2), r"\(1, 2\) cannot be written as JSON"),
        (float("nan"), "nan cannot be written as JSON"),
    ],
)
def test_a_template_that_cannot_be_filled_is_refused_before_there_are_values(template: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        check_template(template, VALUES)


def test_a_template_nested_without_end_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(ValueError, match="nested deeper than 32 levels"):
        check_template(endless, VALUES)


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        ("$page.titel", r"'\$page\.titel': \$page has no 'titel'; it is a dict with 'title', 'links'$"),
        ("$page.links.2", r"\$page\.links has no '2'; it is a list of 2$"),
        ("$page.links.first", r"\$page\.links has no 'first'; it is a list of 2$"),
        ("$page.title.x", r"\$page\.title has no 'x'; it is of type str$"),
        ("$point.y", r"\$point has no 'y'; it is a Point with 'x'$"),
        ("$model.model_fields", r"it is a Model with 'title'$"),
        ("$empty.x", r"\$empty has no 'x'; it is an empty dict$"),
        ("$many.x", r"it is a dict with 'k0', .*'k19' and 980 more$"),
    ],
)
def test_a_part_that_is_not_there_is_told_with_what_there_is(reference: str, text: str) -> None:
    values = {**VALUES, "empty": {}, "many": {f"k{number}": number for number in range(1_000)}}
    with pytest.raises(LookupError, match=text):
        fill_template(reference, values)


@pytest.mark.parametrize("reference", ["$point.__class__", "$page.__class__", "$pair.count", "$page.title.upper"])
def test_what_is_no_field_of_plain_data_cannot_be_reached(reference: str) -> None:
    with pytest.raises(LookupError, match="has no"):
        fill_template(reference, VALUES)
