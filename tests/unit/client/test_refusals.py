"""What is added to the refusal of a call: how its tool has changed, and what the caller may have meant."""

import pytest

from grpc_tool_bridge.client.refusals import explain_refusal
from grpc_tool_bridge.errors import ToolExecutionError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ArgumentSpec, ToolSpec

BEFORE = ToolSpec(name="add", arguments=[ArgumentSpec(name="a", python_type="int", required=True)])
NOW = ToolSpec(name="add", arguments=[ArgumentSpec(name="b", python_type="int", required=True)])


def explained(error_type: str, *, made_of: ToolSpec | None = None, is_removed: bool = False, **details: str) -> str:
    error = ToolExecutionError("add", error_type, "refused", details)
    explain_refusal(error, NOW, made_of=made_of, is_removed=is_removed)
    assert error.args == (error.message,)
    return error.message


def test_a_removed_tool_is_named_as_one_and_a_missing_one_is_not() -> None:
    assert explained("ToolNotFound", is_removed=True) == "refused; it was removed from the session"
    assert explained("ToolNotFound") == "refused"


def test_a_changed_tool_shows_what_it_was_and_what_it_is() -> None:
    text = explained("ValidationError", made_of=BEFORE)
    assert text == "refused; the tool has changed since its proxy was made: it was add(a: int), it is now add(b: int)"
    assert explained("ValidationError", made_of=NOW) == "refused"


def test_settings_that_were_passed_as_arguments_are_shown_where_they_belong() -> None:
    text = explained("ValidationError", made_of=BEFORE, timeout="is unknown", c="is unknown")
    assert text == "refused; for a call's own settings use with_options(timeout=…)"


@pytest.mark.parametrize("error_type", ["ToolNotFound", "ValidationError"])
def test_what_the_tool_itself_raised_stays_as_it_is(error_type: str) -> None:
    assert explained(error_type, made_of=BEFORE, is_removed=True, origin="tool", timeout="x") == "refused"
