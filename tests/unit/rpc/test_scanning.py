"""The fields of a message that is not read whole."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_tool_bridge.errors import SerializationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolCallResponse, ToolStreamChunk
from grpc_tool_bridge.rpc.wireformat import MAX_FIELDS, fields
from grpc_tool_bridge.values.serialization import serialize_value


@pytest.mark.parametrize(
    ("message", "found"),
    [
        (b"", []),
        (b"\x08\x00", [(1, 0)]),
        (b"\x08\x96\x01", [(1, 150)]),
        (b"\x08" + b"\xff" * 9 + b"\x01", [(1, 2**64 - 1)]),
        (b"\x12\x03abc", [(2, 3)]),
        (b"\x1a\x00\x08\x01", [(3, 0), (1, 1)]),
        (b"\x09" + bytes(8), [(1, 8)]),
        (b"\x0d" + bytes(4), [(1, 4)]),
        (b"\xa2\x06\x01x", [(100, 1)]),
        (b"\x08\x01\x08\x02", [(1, 1), (1, 2)]),
    ],
)
def test_each_field_comes_with_its_number_or_its_size(message: bytes, found: list[tuple[int, int]]) -> None:
    assert list(fields(message)) == found


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (b"\x08", "the number at byte 1 does not end"),
        (b"\xff", "the number at byte 0 does not end"),
        (b"\x08" + b"\xff" * 10 + b"\x01", "the number at byte 1 does not end"),
        (b"\x12\x04abc", "the last field is 1 bytes short"),
        (b"\x12\xff\xff\xff\xff\x0f", "bytes short"),
        (b"\x09" + bytes(7), "the last field is 1 bytes short"),
        (b"\x0d" + bytes(3), "the last field is 1 bytes short"),
        (b"\x0b", "a field at byte 1 has the unknown wire type 3"),
        (b"\x0f", "the unknown wire type 7"),
    ],
)
def test_what_is_no_message_is_refused(message: bytes, text: str) -> None:
    with pytest.raises(SerializationError, match=text):
        list(fields(message))


@given(st.booleans(), st.integers(0, 2**31 - 1), st.text(), st.none() | st.binary(max_size=5_000))
def test_it_finds_what_protobuf_wrote(success: bool, sequence: int, text: str, value: bytes | None) -> None:
    response = ToolCallResponse(success=success, request_id=text)
    chunk = ToolStreamChunk(sequence=sequence, stream_id=text)
    if value is not None:
        response.result.CopyFrom(serialize_value(value))
        chunk.data.CopyFrom(response.result)
    for message in (response, chunk):
        found = dict(fields(message.SerializeToString()))
        assert set(found) == {field.number for field, _ in message.ListFields()}
    assert dict(fields(response.SerializeToString())).get(1, 0) == success
    assert dict(fields(chunk.SerializeToString())).get(2, 0) == sequence


@given(st.binary(max_size=200))
def test_of_any_bytes_it_either_finds_fields_or_says_that_they_are_none(data: bytes) -> None:
    try:
        found = list(fields(data))
    except SerializationError:
        return
    assert all(value >= 0 for _, value in found)


def test_a_message_of_very_many_fields_is_not_scanned_to_its_end() -> None:
    assert len(list(fields(b"\x08\x01" * MAX_FIELDS))) == MAX_FIELDS
    with pytest.raises(SerializationError, match="it has more than 1,000 fields"):
        list(fields(b"\x08\x01" * (MAX_FIELDS + 1)))
