"""The values of a message, counted in its bytes."""

from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from grpc_tool_bridge.adapters.grpc.reading import reader_of
from grpc_tool_bridge.adapters.grpc.types import Types
from grpc_tool_bridge.adapters.grpc.weights import Weights
from support.protos_corpus import class_of, corpus, data_of, message, messages, types_in

CORPUS = ["every2.proto", "every3.proto", "edition2023.proto"]


def exceeds(name: str, data: bytes, limit: int) -> bool:
    return Weights(Types(corpus())).excess_of(message(name), limit)(data)


def values_in(data: Any) -> int:
    if isinstance(data, dict):
        return 1 + sum(map(values_in, data.values()))
    return 1 + sum(map(values_in, data)) if isinstance(data, list) else 1


@given(st.data())
def test_no_message_has_more_values_than_are_counted(data: st.DataObject) -> None:
    descriptor = data.draw(st.sampled_from(types_in(corpus(), CORPUS)))
    made = data.draw(messages(descriptor, corpus()))
    values = values_in(reader_of(descriptor, corpus())(made))
    assert values == 1 or Weights(Types(corpus())).excess_of(descriptor, values - 1)(data_of(made))


@given(st.data())
def test_what_protobuf_can_read_can_be_counted(data: st.DataObject) -> None:
    descriptor = data.draw(st.sampled_from(types_in(corpus(), CORPUS)))
    made = data.draw(messages(descriptor, corpus()))
    assert not Weights(Types(corpus())).excess_of(descriptor, 1_000_000)(data_of(made))


def test_messages_without_bytes_count_with_all_that_is_always_there() -> None:
    lists = class_of("every3.Lists")
    field = next(item for item in lists.DESCRIPTOR.fields if item.message_type is not None)
    made = lists()
    for _ in range(1_000):
        getattr(made, field.name).add()
    assert exceeds("every3.Lists", data_of(made), 1_000)


def test_numbers_in_one_field_count_each() -> None:
    made = class_of("every2.Fields")(name="", packed=[1] * 2_000)
    assert exceeds("every2.Fields", data_of(made), 1_500)
    assert not exceeds("every2.Fields", data_of(made), 3_000)


def test_groups_count_as_messages() -> None:
    made = class_of("every2.Fields")(name="", many=[{"place": 1}] * 1_000)
    assert exceeds("every2.Fields", data_of(made), 2_000)
    assert not exceeds("every2.Fields", data_of(made), 4_000)


def test_what_an_any_holds_counts() -> None:
    outer = class_of("every3.WellKnown")
    data = data_of(class_of("every2.Fields")(name="", packed=[1] * 1_000))
    url = "type.googleapis.com/every2.Fields"
    assert exceeds("every3.WellKnown", data_of(outer(any={"type_url": url, "value": data})), 500)
    assert not exceeds("every3.WellKnown", data_of(outer(any={"type_url": "x/not.Known", "value": data})), 500)
    # Protobuf would join them.
    parts = data_of(outer(any={"value": data})) + data_of(outer(any={"type_url": url}))
    with pytest.raises(DecodeError, match="twice"):
        exceeds("every3.WellKnown", parts, 500)


@pytest.mark.parametrize(
    "data",
    [b"\x0a\xff\xff\xff\xff\x07x", b"\x0a", b"\x0b", b"\x0c", b"\x0b\x14", b"\x0f\x00", b"\xff" * 20],
)
def test_what_is_no_message_is_an_error(data: bytes) -> None:
    is_too_much = Weights(Types(corpus())).excess_of(message("every3.WellKnown"), 1_000_000)
    with pytest.raises(DecodeError):
        is_too_much(data)
