"""Messages of one field."""

from typing import Any

import pytest
from google.protobuf.wrappers_pb2 import BytesValue

from grpc_tool_bridge.rpc.wireformat import bytes_field, bytes_header, read_bytes_field


@pytest.mark.parametrize("length", [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152])
def test_a_field_is_written_as_protobuf_writes_it(length: Any) -> None:
    data = b"x" * length
    assert bytes_field(data) == BytesValue(value=data).SerializeToString()
    if data:
        assert bytes_header(length) + data == bytes_field(data)
        assert read_bytes_field(bytes_field(data)) == data


@pytest.mark.parametrize(
    "message", [b"", b"\x0a", b"\x0a\x80", b"\x0a\x02x", b"\x0a\x01xy", b"\x12\x01x", b"\x0a" + b"\x80" * 9]
)
def test_anything_else_is_left_to_protobuf(message: Any) -> None:
    assert read_bytes_field(message) is None
