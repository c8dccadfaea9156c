import uuid
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from grpc_tool_bridge.adapters.mcp.arguments import json_arguments
from grpc_tool_bridge.errors import ValidationError


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ({"a": [1, 2.5, None, True, "ä"]}, {"a": [1, 2.5, None, True, "ä"]}),
        (b"\xff\x00", "/wA="),
        ({"a": [b"a", (b"b",)]}, {"a": ["YQ==", ["Yg=="]]}),
        (2**70, 2**70),
        ((1, (2,)), [1, [2]]),
        ({1}, [1]),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00Z"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (float("nan"), "NaN"),
        (np.array([[1, 2]]), [[1, 2]]),
    ],
)
def test_arguments_become_json(value: Any, written: Any) -> None:
    assert json_arguments("t", {"a": value}) == {"a": written}


def test_what_has_no_form_in_json_is_named() -> None:
    with pytest.raises(ValidationError, match="argument 'b': cannot be written as JSON") as caught:
        json_arguments("t", {"a": 1, "b": {"c": object()}})
    assert caught.value.details.keys() == {"b"}
