"""Numbers, flags and fields of a request are read as JSON and HTTP mean them, or refused."""

from typing import Any

import pytest
from starlette.requests import Request

from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.gateway.bodies import MAX_COUNT, count_of, fields_of, flag_of, whole_number


def asking(query: str) -> Request:
    return Request({"type": "http", "query_string": query.encode(), "headers": []})


@pytest.mark.parametrize(
    ("text", "number"), [("0", 0), ("7", 7), ("100", 100), ("101", None), ("", None), ("-1", None)]
)
def test_a_whole_number_is_one_up_to_its_limit(text: str, number: int | None) -> None:
    assert whole_number(text, 100) == number


def test_a_number_of_thousands_of_digits_is_refused_and_not_read() -> None:
    assert whole_number("9" * 10_000, MAX_COUNT) is None
    with pytest.raises(ValidationError, match="page_size must be a number from 0 to 2,147,483,647"):
        count_of(asking("page_size=" + "9" * 10_000), "page_size")


def test_a_count_that_is_not_there_is_0() -> None:
    assert count_of(asking(""), "limit") == 0


def test_a_flag_is_true_or_false_and_nothing_else() -> None:
    assert flag_of(asking("force=TRUE"), "force")
    assert not flag_of(asking("force=0"), "force", default=True)
    assert flag_of(asking(""), "force", default=True)
    with pytest.raises(ValidationError, match="force must be true or false, not 'yes'"):
        flag_of(asking("force=yes"), "force")


def test_an_integer_may_be_written_with_a_point() -> None:
    assert fields_of({"n": 3.0}, n=int) == {"n": 3}


@pytest.mark.parametrize("value", [True, 0.5, "3", 2**40, -(2**40)])
def test_what_is_no_integer_of_the_wire_is_refused(value: Any) -> None:
    with pytest.raises(ValidationError, match="n must be"):
        fields_of({"n": value}, n=int)
