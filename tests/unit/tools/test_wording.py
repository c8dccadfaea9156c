import enum
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, TypedDict

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pydantic import AfterValidator, BaseModel, Field, ValidationError

from grpc_tool_bridge.tools.checks import compile_check
from grpc_tool_bridge.tools.wording import describe_problems, show


@dataclass
class Point:
    x: int
    y: int


class Row(TypedDict):
    name: str


class Model(BaseModel):
    x: int


class Color(enum.Enum):
    RED = "red"


def angry(value: int) -> int:
    raise ValueError("must not\nbe at all.")


def told(annotation: Any, value: Any, prefix: str = "") -> str:
    with pytest.raises(ValidationError) as caught:
        compile_check(annotation, "here").validator.validate_python(value)
    return describe_problems(caught.value, prefix)


@pytest.mark.parametrize(
    ("annotation", "value", "text"),
    [
        (int, "x", "should be a valid integer, got 'x' (str)"),
        (date, "x", "should be an ISO 8601 date, got 'x' (str)"),
        (Color, "blue", "should be 'red', got 'blue' (str)"),
        (Path, 5, f"is not a valid path for {Path!r}, got 5 (int)"),
        (Annotated[str, Field(min_length=2)], "x", "should have at least 2 characters, got 'x' (str)"),
        (Annotated[int, AfterValidator(angry)], 1, "must not be at all, got 1 (int)"),
        (list[int], [1, "x"], "[1] should be a valid integer, got 'x' (str)"),
        (Point, {"x": "1", "z": 2}, ".x should be a valid integer, got '1' (str); .y is missing; .z is not known"),
        (Row, {"nome": "x"}, ".name is missing; .nome is not known"),
        (Model, {"x": []}, ".x should be a valid integer, got list of 0"),
        (dict[str, int], {"a b": None}, "['a b'] should be a valid integer, got None"),
        (dict[int, int], {"x": 1}, ".x (the key) should be a valid integer, got 'x' (str)"),
        (list[Row], [{"name": 5}], "[0].name should be a valid string, got 5 (int)"),
    ],
)
def test_a_problem_is_told_with_its_place_and_what_was_given(annotation: Any, value: Any, text: str) -> None:
    assert told(annotation, value) == text


FRAME = pd.DataFrame({"a": [1]})
NO_LIST = "should be a valid list, got"
NO_DICT = "should be a valid dictionary, got"


@pytest.mark.parametrize(
    ("annotation", "value", "text"),
    [
        (list[str], FRAME, f'{NO_LIST} DataFrame of 1: use its to_dict("records")'),
        (list[dict[str, int]], pl.DataFrame(FRAME), f"{NO_LIST} DataFrame of 1: use its to_dicts()"),
        (list[dict[str, int]], pa.table(FRAME), f"{NO_LIST} Table: use its to_pylist()"),
        (list[str], {"a"}, f"{NO_LIST} set of 1: it has no order, use sorted(…) or list(…) of it"),
        (list[str] | None, {"a"}, f"{NO_LIST} set of 1: it has no order, use sorted(…) or list(…) of it"),
        (dict[str, int], FRAME["a"], f"{NO_DICT} Series of 1: use its to_dict()"),
        (Row, FRAME.iloc[0], f"{NO_DICT} Series of 1: use its to_dict()"),
        (Model, FRAME.iloc[0], "should be a valid dictionary or instance of Model, got Series of 1: use its to_dict()"),
        (dict[str, int], pl.Series([1]), f"{NO_DICT} Series of 1"),
        (pd.DataFrame, pl.DataFrame(FRAME), "should be an instance of DataFrame, got polars.DataFrame of 1"),
        (pl.DataFrame, FRAME, "should be an instance of DataFrame, got pandas.DataFrame of 1"),
        (
            date,
            datetime.fromisoformat("2026-01-01"),
            "should be a valid date, got 2026-01-01 00:00:00 (datetime): use its date()",
        ),
        (int, Decimal(3), "should be a valid integer, got 3 (Decimal): use int(…) of it"),
        (int, Decimal("3.5"), "should be a valid integer, got 3.5 (Decimal)"),
        (int, Decimal("NaN"), "should be a valid integer, got NaN (Decimal)"),
        (int, Decimal("sNaN"), "should be a valid integer, got sNaN (Decimal)"),
        (Decimal, 1.5, "should be an instance of Decimal, got 1.5 (float): use Decimal(str(…)) of it"),
    ],
    ids=str,
)
def test_what_nobody_converts_without_a_word_is_told_how_to(annotation: Any, value: Any, text: str) -> None:
    assert told(annotation, value) == text


@pytest.mark.parametrize(
    ("annotation", "value", "text"),
    [
        (int | str, 1.5, "should be a valid integer or a valid string, got 1.5 (float)"),
        (int | None, "x", "should be a valid integer, got 'x' (str)"),
        (list[int] | str, [1, "x"], "[1] should be a valid integer, got 'x' (str)"),
        (list[int | bool], [1, "x"], "[1] should be a valid integer or a valid boolean, got 'x' (str)"),
        (
            tuple[int | bool, int | bytes],
            ["a", 1.5],
            (
                "[0] should be a valid integer or a valid boolean, got 'a' (str); "
                "[1] should be a valid integer or a valid bytes, got 1.5 (float)"
            ),
        ),
        (Point | int, {"x": 1}, ".y is missing"),
        (list[int] | list[str], [1, "x"], "[1] should be a valid integer, got 'x' (str)"),
        (list[int | str] | bool, [1.5], "[0] should be a valid integer or a valid string, got 1.5 (float)"),
        (dict[int | float, int], {"x": 1}, ".x (the key) should be a valid integer or a valid number, got 'x' (str)"),
    ],
)  # fmt: skip
def test_a_union_is_one_problem(annotation: Any, value: Any, text: str) -> None:
    assert told(annotation, value) == text


def test_problems_keep_their_order_around_a_union() -> None:
    assert told(tuple[int, int | str, int], ["a", None, "c"]) == (
        "[0] should be a valid integer, got 'a' (str); [1] should be a valid integer or a valid string, got None; "
        "[2] should be a valid integer, got 'c' (str)"
    )


def test_after_five_problems_the_rest_is_counted() -> None:
    text = told(list[int], ["x"] * 12)
    assert text.count("should be") == 5
    assert text.endswith("; and 7 more")


def test_a_prefix_says_where_the_value_stands() -> None:
    assert told(int, "x", "[3]") == "[3] should be a valid integer, got 'x' (str)"
    assert told(list[int], ["x"], "[3]").startswith("[3][0] should")
    assert told(Point, {"y": 1}, "[3]") == "[3].x is missing"


class TestShow:
    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (None, "None"),
            (True, "True (bool)"),
            (-5, "-5 (int)"),
            (1.5, "1.5 (float)"),
            (b"a", "b'a' (bytes)"),
            ("a\nb", r"'a\nb' (str)"),
            (Decimal("1.5"), "1.5 (Decimal)"),
            (date(2024, 1, 2), "2024-01-02 (date)"),
            ([1, 2], "list of 2"),
            ({}, "dict of 0"),
            (Point(1, 2), "Point"),
            (np.int64(5), "5 (int64)"),
            (np.array(5), "5 (ndarray)"),
            (np.array([5, 6]), "ndarray of 2"),
            (np.datetime64("2024-01-02"), "2024-01-02 (datetime64)"),
        ],
    )
    def test_plain_values_are_shown_and_others_named(self, value: Any, text: str) -> None:
        assert show(value) == text

    def test_long_values_are_cut(self) -> None:
        assert show("x" * 1_000) == f"'{'x' * 60}'… (str of 1,000)"
        assert show(10**10_000) == "int of 33,220 bits"
        assert len(show(Decimal("1" * 1_000))) < 80
