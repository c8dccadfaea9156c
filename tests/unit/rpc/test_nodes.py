"""Nodes are counted from the bytes of a message, exactly where it matters."""

import json
from typing import Any

import pytest
from google.protobuf import struct_pb2
from google.protobuf.any_pb2 import Any as AnyMessage
from hypothesis import given
from hypothesis import strategies as st

from grpc_tool_bridge import SerializationError, deserialize_value, serialize_value
from grpc_tool_bridge.errors import MessageTooLargeError
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.nodes import check_message, check_value, check_values, is_slow, json_nodes

TEXTS = st.sampled_from(["", 'a,b[{:"\\', "[]", "{}", "\\\\", ",,", '"', "\n"])
SCALARS = TEXTS | st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=3))


def nodes_of(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + sum(nodes_of(key) + nodes_of(item) for key, item in value.items())
    if isinstance(value, list | tuple | set):
        return 1 + sum(map(nodes_of, value))
    return 1


@given(VALUES, st.sampled_from([{}, {"indent": 1}, {"separators": (",", ":")}, {"ensure_ascii": False}]))
def test_json_of_just_as_many_nodes_as_may_be_is_never_over_counted(value: Any, how: dict[str, Any]) -> None:
    nodes = nodes_of(value)
    text = json.dumps(value, **how).encode()
    assert json_nodes(text, nodes) <= nodes
    assert json_nodes(text, nodes - 1) >= nodes


@given(VALUES)
def test_rich_values_count_as_what_they_are(value: Any) -> None:
    padded = (value, 2**70, "x" * 4_000)
    written = serialize_value(padded)
    nodes = nodes_of(padded)
    # So long that it is counted, whatever the limit.
    assert check_value(written.type_url, written.value, "it", nodes) == nodes
    with pytest.raises(MessageTooLargeError, match=f"the limit is {nodes - 1:,}"):
        check_value(written.type_url, written.value, "it", nodes - 1)


def test_what_cannot_have_too_many_is_not_counted() -> None:
    assert check_value("type.googleapis.com/dspex.bridge.Json", b"\xff" * 200, "it", 100) == 0


@pytest.mark.parametrize("nested", [1, 40])
def test_what_stands_in_an_any_inside_a_value_counts(nested: int) -> None:
    value: Any = (1, [2] * 1_000)
    for _ in range(nested):
        value = (value,)
    written = serialize_value(value)
    with pytest.raises(MessageTooLargeError):
        check_value(written.type_url, written.value, "it", 500)


def test_an_any_that_gives_its_type_twice_is_refused() -> None:
    inner = AnyMessage(type_url="type.googleapis.com/dspex.bridge.Json", value=b"x" * 1_000)
    data = inner.SerializeToString()
    message = pb.RichValue(any=AnyMessage.FromString(data)).SerializeToString()
    head = message[: len(message) - len(data)]
    doubled = data + inner.SerializeToString()
    # The lengths before it are of two bytes.
    size = len(doubled)
    value = head[:-2] + bytes((size & 0x7F | 0x80, size >> 7)) + doubled
    with pytest.raises(SerializationError, match="an Any in it has more than a type and a value"):
        check_value("type.googleapis.com/dspex.bridge.RichValue", value, "it", 10)


def test_structs_and_lists_of_other_languages_count() -> None:
    listed = struct_pb2.ListValue(values=[struct_pb2.Value(number_value=1)] * 100)
    with pytest.raises(MessageTooLargeError, match="more than 50 nodes"):
        check_value("google.protobuf.ListValue", listed.SerializeToString(), "it", 50)
    fields = {str(number): struct_pb2.Value(bool_value=True) for number in range(100)}
    data = struct_pb2.Struct(fields=fields).SerializeToString()
    assert check_value("x/google.protobuf.Struct", data, "it", 250) == 201


def test_arrays_texts_and_bytes_are_one_node() -> None:
    for value in ("x" * 10_000, b"x" * 10_000):
        written = serialize_value(value)
        assert check_value(written.type_url, written.value, "it", 1) == 1
    tensor = pb.Tensor(dtype="|u1", shape=[10_000], data=bytes(10_000)).SerializeToString()
    assert check_value("x/dspex.bridge.Tensor", tensor, "it", 1) == 1


def test_several_values_count_together() -> None:
    written = serialize_value(list(range(400)))
    values = [(written.type_url, written.value)] * 3
    check_values(values, "they", 1_203)
    with pytest.raises(MessageTooLargeError, match="they has 1,203 nodes"):
        check_values(values, "they", 1_202)


@pytest.mark.parametrize(
    "data",
    [b"\x1a\x00" * 600, b"\x20\x01" * 600, b"\x1d\x00\x00\x00\x00" * 600, b"\x19" * 9 * 600],
    ids=["messages", "numbers", "fixed", "doubles"],
)
def test_fields_count_whether_they_are_known_or_not(data: bytes) -> None:
    with pytest.raises(MessageTooLargeError, match="it has more than 500 nodes"):
        check_message(data, pb.ToolCallRequest, "it", 500)


@pytest.mark.parametrize("data", [b"\x1a\x7f", b"\x1a\xff\xff\xff", b"\x08\xff", b"\x0b" * 3, b"\x19\x00", b"\x1a"])
def test_bytes_that_are_no_message_are_refused(data: bytes) -> None:
    with pytest.raises(SerializationError, match=r"it cannot be read|does not end"):
        check_message(b"\x0a\x01x" * 10 + data, pb.ToolCallRequest, "it", 11)


def test_what_values_hold_does_not_count_to_their_request() -> None:
    request = pb.ToolCallRequest(args=[serialize_value([1] * 10_000)])
    check_message(request.SerializeToString(), pb.ToolCallRequest, "it", 10)


def test_a_value_over_its_limit_is_refused_and_one_below_is_read() -> None:
    written = serialize_value([1] * 1_000)
    assert deserialize_value(written, max_nodes=1_001) == [1] * 1_000
    with pytest.raises(MessageTooLargeError, match="a value has 1,001 nodes"):
        deserialize_value(written, max_nodes=900)


def test_only_large_containers_and_texts_are_slow() -> None:
    slow = [serialize_value([1] * 20_000), serialize_value("x" * 300_000)]
    quick = [serialize_value([1] * 1_000), serialize_value("x" * 100_000), serialize_value(bytes(1_000_000))]
    assert [is_slow(item.type_url, item.value) for item in slow] == [True, True]
    assert [is_slow(item.type_url, item.value) for item in quick] == [False, False, False]
