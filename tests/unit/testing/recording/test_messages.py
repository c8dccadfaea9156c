"""A message is written as readable JSON, and read again as it was."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st

from grpc_tool_bridge import deserialize_value, serialize_value
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.testing.recording.messages import (
    MAX_INLINE_CHARS,
    Slots,
    UnreadableError,
    read_message,
    write_message,
)
from grpc_tool_bridge.values.tagged_json import dumps


def unchanged(place: str, value: Any) -> Any:
    del place
    return value


def copied(message: Any) -> Any:
    """Writes and reads a message by way of JSON text."""
    slots = Slots()
    written = json.loads(json.dumps(write_message(message, slots, unchanged)))
    return read_message(type(message), written, json.loads(json.dumps(slots.exact)), slots.files.__getitem__)


def request_of(*args: Any, **kwargs: Any) -> pb.ToolCallRequest:
    return pb.ToolCallRequest(
        tool_id="t",
        args=[serialize_value(arg) for arg in args],
        kwargs={name: serialize_value(value) for name, value in kwargs.items()},
    )


@pytest.mark.parametrize(
    "value",
    [
        None, True, 3, 2**70, 3.0, float("inf"), "text", b"bytes", [1, "a", None], {"b": 1, "a": [2.0]}, (1, (2,)),
        {1, 2}, Decimal("1.10"), datetime(2026, 1, 2, tzinfo=UTC), {"$type": "x", "value": 1}, {1: "one"},
        np.arange(6).reshape(2, 3), np.float32(1.5), pd.DataFrame({"a": [1, 2], "b": ["x", None]}), pd.Series([1, 2]),
    ],
    ids=repr,
)  # fmt: skip
def test_every_type_of_value_comes_back_as_it_was(value: Any) -> None:
    sent = request_of(value, named=value)

    got = copied(sent)

    for before, after in ((sent.args[0], got.args[0]), (sent.kwargs["named"], got.kwargs["named"])):
        first, second = deserialize_value(before), deserialize_value(after)
        assert type(first) is type(second)
        assert dumps(first) == dumps(second)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4) | st.tuples(inner, inner),
    max_leaves=12,
)


@given(plain)
def test_any_plain_value_comes_back_with_its_type(value: Any) -> None:
    got = deserialize_value(copied(request_of(value)).args[0])

    assert type(got) is type(value)
    assert dumps(got) == dumps(value)


def test_ids_times_and_durations_are_left_out() -> None:
    answer = pb.ToolCallResponse(success=True, request_id="r", metrics=pb.ExecutionMetrics(duration_ms=3))
    answer.error.timestamp.FromSeconds(5)
    answer.error.message = "why"

    assert write_message(answer, Slots(), unchanged) == {"success": True, "error": {"message": "why"}}


def test_a_value_that_json_does_not_hold_is_kept_as_bytes_beside_it() -> None:
    unknown = AnyMessage(type_url="type.example.com/x.Unknown", value=b"\x00\xff")
    slots = Slots()

    written = write_message(pb.ToolCallRequest(args=[unknown]), slots, unchanged)

    assert written == {"args": [None]}
    assert slots.exact == {"args[0]": {"type": "type.example.com/x.Unknown", "data": "AP8="}}
    assert copied(pb.ToolCallRequest(args=[unknown])).args[0] == unknown


@pytest.mark.parametrize("value", [b"a hunter22 b", b"hunter22"])
def test_bytes_with_a_secret_are_not_kept(value: bytes) -> None:
    unknown = AnyMessage(type_url="type.example.com/x.Unknown", value=value)
    slots = Slots()

    def clean(place: str, value: Any) -> Any:
        del place
        return value.replace("hunter22", "[redacted]") if isinstance(value, str) else value

    written = write_message(pb.ToolCallRequest(args=[unknown]), slots, clean)

    assert slots.exact == {}
    assert "hunter22" not in str(written)


def test_a_large_value_has_a_file_of_its_own_which_is_checked() -> None:
    sent = request_of("x" * (MAX_INLINE_CHARS + 1))
    slots = Slots()
    written = write_message(sent, slots, unchanged)

    assert written["args"] == [None]
    (name,) = slots.files
    assert slots.exact["args[0]"] == {"file": name, "bytes": len(slots.files[name])}
    assert copied(sent) == sent
    with pytest.raises(UnreadableError, match="was changed after it was recorded"):
        read_message(pb.ToolCallRequest, written, slots.exact, lambda _: b'{"value": "another"}')


def test_large_structs_have_files_too() -> None:
    given = Struct()
    given.update({"text": "x" * (MAX_INLINE_CHARS + 1)})
    request = pb.ExecuteAgentRequest(input=given)

    assert copied(request).input == given


def test_keys_of_a_struct_are_in_order_since_it_has_none() -> None:
    request = pb.ExecuteAgentRequest()
    request.input.update(dict.fromkeys("zbya", 1))

    assert list(write_message(request, Slots(), unchanged)["input"]) == ["a", "b", "y", "z"]


@pytest.mark.parametrize(
    ("written", "exact", "why"),
    [
        ([], {}, "the message must be an object"),
        ({"nothing": 1}, {}, "'nothing' is not a field of ToolCallRequest"),
        ({"tool_id": 5}, {}, "it has no ToolCallRequest"),
        ({"args": 5}, {}, "it has no ToolCallRequest"),
        ({"args": [{"$type": "Nothing", "value": 1}]}, {}, "Nothing"),
        ({"args": [None]}, {"args[0]": 5}, "must be an object"),
        ({"args": [None]}, {"args[0]": {"type": "x"}}, "cannot be read"),
        ({"args": [None]}, {"args[0]": {"file": "../../etc/passwd"}}, "names no file of a value"),
        ({"kwargs": []}, {}, "it has no ToolCallRequest"),
    ],
)
def test_what_is_no_message_is_refused_with_the_reason(written: Any, exact: Any, why: str) -> None:
    with pytest.raises(UnreadableError, match=why):
        read_message(pb.ToolCallRequest, written, exact, lambda _: b"{}")
