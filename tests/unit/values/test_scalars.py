"""Scalars read inline are those that protobuf reads, from any bytes."""

from typing import Any

import pytest
from google.protobuf import wrappers_pb2
from hypothesis import example, given, settings
from hypothesis import strategies as st

from grpc_tool_bridge.values.scalars import READERS, SCALARS
from support.soak import examples

NAMES = [name.rpartition(".")[2] for name in READERS if name.endswith("Value")]
# One field, whole, broken off, with more behind it, or with a wrong length.
FIELDS = st.builds(
    lambda tag, length, body, rest: bytes((tag, *length)) + body + rest,
    st.sampled_from([0x08, 0x09, 0x0A, 0x0D, 0x10, 0x12]),
    st.lists(st.integers(0, 255), max_size=4),
    st.binary(max_size=3) | st.integers(0, 300).map(lambda size: b"a" * size),
    st.binary(max_size=2),
)


def outcome(read: Any) -> Any:
    try:
        value = read()
    except Exception:
        return "refused"
    return type(value), repr(value)


@settings(max_examples=examples(400), deadline=None)
@given(st.sampled_from(NAMES), FIELDS | st.binary(max_size=12))
@example("StringValue", b"\x0a")
@example("StringValue", b"\x0a\x80")
@example("StringValue", b"\x0a\x80\x00")
@example("BytesValue", b"\x0a\x85\x00hello")
@example("BytesValue", b"\x0a\x02ab\x0a\x01c")
@example("BytesValue", b"\x0a\xc8\x01" + b"x" * 199)
@example("StringValue", b"\x0a\xc8\x01" + b"x" * 200)
@example("StringValue", b"\x0a\xc8\x01" + b"x" * 201)
@example("BoolValue", b"\x08\x00")
@example("BoolValue", b"\x08\x02")
@example("BoolValue", b"\x08\x80\x00")
@example("DoubleValue", b"\x09" + b"\x01" * 7)
@example("DoubleValue", b"\x0a\x07" + b"\x01" * 7)
def test_any_bytes_are_read_as_protobuf_reads_them(name: str, payload: bytes) -> None:
    parse = getattr(wrappers_pb2, name).FromString
    assert outcome(lambda: READERS[f"google.protobuf.{name}"](payload, 0)) == outcome(lambda: parse(payload).value)


@pytest.mark.parametrize("size", [0, 1, 127, 128, 200, 16_383, 16_384, 3_000_000])
@pytest.mark.parametrize("kind", [str, bytes])
def test_texts_and_bytes_of_every_size_come_back(kind: Any, size: int) -> None:
    value = "x" * size if kind is str else b"x" * size
    type_url, payload = SCALARS[kind](value)
    back = READERS[type_url.rpartition("/")[2]](payload, 0)
    assert type(back) is kind
    assert back == value


@pytest.mark.parametrize("value", [0.0, -0.0, 1.5, -1e308, 5e-324, float("inf"), float("nan"), True, False])
def test_numbers_come_back_to_the_last_bit(value: Any) -> None:
    type_url, payload = SCALARS[type(value)](value)
    assert repr(READERS[type_url.rpartition("/")[2]](payload, 0)) == repr(value)
