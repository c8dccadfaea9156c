"""What is written of plain data, and that every message that is read can be written again."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grpc_tool_bridge.adapters.grpc.reading import reader_of
from grpc_tool_bridge.adapters.grpc.requests import takes_request
from grpc_tool_bridge.adapters.grpc.writing import writer_of
from grpc_tool_bridge.values.serialization import deserialize_value, serialize_value
from support.protos_corpus import FILES, corpus, data_of, googles, messages, types_in

TYPES = {item.full_name: (item, corpus()) for item in types_in(corpus(), list(FILES))}
GOOGLES = {item.full_name: (item, googles()[0]) for item in types_in(*googles())}
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]


def as_arguments(descriptor: Any, read: Any) -> dict[str, Any]:
    if takes_request(descriptor):
        return {"request": read}
    return {} if read is None else dict(read)


@pytest.mark.parametrize("name", sorted(TYPES))
@given(data=st.data())
@settings(max_examples=30, suppress_health_check=SLOW, deadline=None)
def test_any_message_is_read_and_written_unchanged(name: str, data: Any) -> None:
    descriptor, pool = TYPES[name]
    made = data.draw(messages(descriptor, pool))
    read = reader_of(descriptor, pool)(made)
    write = writer_of(descriptor, pool, "t")
    assert data_of(write(as_arguments(descriptor, read))) == data_of(made)
    travelled = deserialize_value(serialize_value(read, strict=True))
    assert data_of(write(as_arguments(descriptor, travelled))) == data_of(made)


@given(data=st.data())
@settings(max_examples=300, suppress_health_check=SLOW, deadline=None)
def test_any_message_of_googles_is_read_and_written_unchanged(data: Any) -> None:
    descriptor, pool = GOOGLES[data.draw(st.sampled_from(sorted(GOOGLES)))]
    made = data.draw(messages(descriptor, pool))
    read = reader_of(descriptor, pool)(made)
    assert data_of(writer_of(descriptor, pool, "t")(as_arguments(descriptor, read))) == data_of(made)
