"""What a model reads of an error."""

import json

import pytest

from grpc_tool_bridge.errors import (
    InternalError,
    NotFoundError,
    ResourceExhaustedError,
    ToolCommunicationError,
    ToolExecutionError,
)
from grpc_tool_bridge.llm.texts import error_text, failure_text


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


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ToolExecutionError("add", "ValueError", "too big"), "add: ValueError: too big"),
        (ToolExecutionError("add", "ValueError", "add: too big"), "add: ValueError: too big"),
        (ToolExecutionError("my.add", "ValueError", "my.add: too big"), "add: ValueError: too big"),
        (ToolExecutionError("add", "ValueError", "x", {"origin": "tool"}), "add: ValueError: x"),
        (
            ToolExecutionError("add", "OutOfPaper", "no paper", {"origin": "tool", "tray": "2", "size": "A4"}),
            "add: OutOfPaper: no paper (tray: 2, size: A4)",
        ),
        # What the message says already is not said twice.
        (
            ToolExecutionError("add", "ValidationError", "'a': missing", {"a": "missing"}),
            "add: ValidationError: 'a': missing",
        ),
        (ToolExecutionError("add", "ValueError", "x", remote_traceback="Traceback: line 7"), "add: ValueError: x"),
        (ToolCommunicationError("add", "UNAVAILABLE", "refused"), "add: ToolCommunicationError: refused"),
        (ResourceExhaustedError("full", details={"retry_after": "3"}), "add: ResourceExhausted: full (retry_after: 3)"),
        (NotFoundError("there is no add"), "add: ToolNotFound: there is no add"),
        (KeyError("a"), "add: KeyError: 'a'"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_an_error_is_one_line_of_tool_type_message_and_what_else_helps(error: Exception, text: str) -> None:
    error.add_note("Remote traceback:\nTraceback (most recent call last)")
    assert failure_text("add", error) == text


def test_an_id_of_the_log_is_told_where_the_message_has_it_and_not_again() -> None:
    error = InternalError.new()
    assert failure_text("add", error) == f"add: InternalError: {error.message}"
