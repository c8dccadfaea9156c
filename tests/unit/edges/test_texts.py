"""What a model reads of a result and of an error."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from grpc_tool_bridge.edges.texts import error_text, result_text
from grpc_tool_bridge.errors import ToolCommunicationError, ToolExecutionError


class Odd:
    def __str__(self) -> str:
        return "an odd one"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain text", "plain text"),
        (None, "null"),
        (1.5, "1.5"),
        ({"a": [1, "ö"]}, '{"a":[1,"ö"]}'),
        (datetime(2024, 1, 2, tzinfo=UTC), '"2024-01-02T00:00:00Z"'),
        (b"\xff\x00", '"_wA="'),
        ([Odd()], '["an odd one"]'),
        ([float("nan"), float("inf")], "[NaN,Infinity]"),
    ],
)
def test_a_result_is_text_or_json(value: Any, text: str) -> None:
    assert result_text(value) == text


def test_a_result_that_holds_itself_has_a_text() -> None:
    value: list[Any] = []
    value.append(value)

    assert result_text(value) == "[[...]]"


def test_an_error_names_its_type_message_and_details_but_no_traceback() -> None:
    error = ToolExecutionError("add", "ValueError", "too big", {"limit": "3"}, remote_traceback="secret")

    assert json.loads(error_text(error)) == {
        "error": {"type": "ValueError", "message": "too big", "details": {"limit": "3"}}
    }


def test_an_error_is_written_in_the_letters_of_its_language() -> None:
    assert "zu groß" in error_text(ToolExecutionError("add", "ValueError", "zu groß"))


def test_an_error_whose_details_are_a_text_keeps_them() -> None:
    said = json.loads(error_text(ToolCommunicationError("add", "UNAVAILABLE", "connection refused")))["error"]

    assert said["details"] == "connection refused"
