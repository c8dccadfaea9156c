"""Which failed calls a model can correct."""

import pytest

from grpc_tool_bridge import ToolExecutionError
from grpc_tool_bridge.adapters.refusals import is_refusal


@pytest.mark.parametrize(
    ("error_type", "details", "expected"),
    [
        ("ValidationError", {"origin": "bridge", "a": "missing"}, True),
        ("ToolNotFound", {}, True),
        ("ValidationError", {"origin": "tool"}, False),
        ("TimeoutError", {"origin": "bridge"}, False),
    ],
)
def test_a_model_can_correct_what_the_bridge_refused(error_type: str, details: dict[str, str], expected: bool) -> None:
    assert is_refusal(ToolExecutionError("add", error_type, "no", details)) is expected
