"""What a model reads of an error."""

import json

from grpc_tool_bridge.errors import ToolCommunicationError, ToolExecutionError
from grpc_tool_bridge.llm.texts import error_text


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
