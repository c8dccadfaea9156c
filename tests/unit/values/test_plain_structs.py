from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st

from grpc_tool_bridge.errors import SerializationError
from grpc_tool_bridge.values.plain_structs import MAX_LEVELS, read_struct, write_struct

NUMBERS = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
PLAIN = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
    ),
    max_leaves=20,
)
OBJECTS = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), PLAIN)


@given(OBJECTS)
def test_what_is_written_is_read_back_and_protobuf_reads_the_same(data: dict[str, Any]) -> None:
    parsed = Struct.FromString(write_struct(data).SerializeToString())
    assert read_struct(parsed) == data
    assert MessageToDict(parsed) == data


def test_numbers_without_a_fraction_are_read_as_integers_as_far_as_they_are_exact() -> None:
    struct = Struct()
    struct.update({"a": 3.0, "b": 2.5, "c": 1e300})
    assert {key: type(item) for key, item in read_struct(struct).items()} == {"a": int, "b": float, "c": float}


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"a": {"b": [1, 2**53 + 1]}}, r"^a\.b\[1\]: the integer 9007199254740993 is beyond 2\*\*53"),
        ({"a": -(2**64)}, "beyond"),
        ({"a": float("nan")}, "a: nan has no form"),
        ({"a": float("inf")}, "a: inf has no form"),
        ({"a": b"x"}, "a: b'x' has no form"),
        ({"a": {1: 2}}, "a: the key 1 is no text"),
        ({"a" * 500: object()}, "…a+: <object"),
    ],
)
def test_what_has_no_exact_form_is_named(data: dict[str, Any], text: str) -> None:
    with pytest.raises(SerializationError, match=text):
        write_struct(data)


def test_a_schema_may_be_rounded() -> None:
    assert read_struct(write_struct({"maximum": 2**63 - 1}, rounds=True)) == {"maximum": 2.0**63}
    assert read_struct(write_struct({"maximum": -(10**400)}, rounds=True))["maximum"] < -1e308


def test_what_is_nested_too_deeply_is_refused_before_protobuf_would() -> None:
    deepest: Any = {}
    for _ in range(MAX_LEVELS - 1):
        deepest = {"a": deepest}
    assert read_struct(Struct.FromString(write_struct(deepest).SerializeToString())) == deepest
    with pytest.raises(SerializationError, match="in over 30 levels"):
        write_struct({"a": deepest})
    lists: Any = []
    for _ in range(MAX_LEVELS - 2):
        lists = [lists]
    assert read_struct(write_struct({"a": lists})) == {"a": lists}
    with pytest.raises(SerializationError, match="levels"):
        write_struct({"a": [lists]})


def test_half_a_character_is_escaped() -> None:
    assert read_struct(write_struct({"\ud800": "a\udfff"})) == {"\\ud800": "a\\udfff"}


def test_a_value_without_a_kind_is_refused_or_null() -> None:
    struct = Struct()
    struct.fields["a"].list_value.values.add()
    with pytest.raises(SerializationError, match="no kind"):
        read_struct(struct)
    assert read_struct(struct, lenient=True) == {"a": [None]}
