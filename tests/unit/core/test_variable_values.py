"""What a reader of a variable gets, and what the error says if there is nothing to read."""

import pytest
from google.protobuf.any_pb2 import Any

from grpc_tool_bridge.core.sealed import SEALED_TYPE, missing_key
from grpc_tool_bridge.core.variable import Variable
from grpc_tool_bridge.core.variable_values import encoded, value_of
from grpc_tool_bridge.errors import SerializationError, StoreError
from grpc_tool_bridge.values.serialization import serialize_value

MOST = 1_000_000


def variable(value: object, *, secret: bool = False) -> Variable:
    return Variable("x", value, "t", 1, 1.0, 1.0, 1, secret=secret)


@pytest.mark.parametrize("value", [["a", 1], serialize_value(["a", 1])])
async def test_a_value_is_read_and_sent_whoever_set_it(value: object) -> None:
    assert await value_of(variable(value), MOST) == ["a", 1]
    assert encoded("x", value) == serialize_value(["a", 1])


async def test_a_value_that_cannot_be_opened_is_an_error_of_the_store() -> None:
    locked = missing_key(Any(type_url=SEALED_TYPE, value=bytes(6)))
    with pytest.raises(StoreError, match="variable 'x' is sealed with key 000000000000"):
        await value_of(variable(locked), MOST)
    with pytest.raises(StoreError, match="variable 'x' is sealed with key 000000000000"):
        encoded("x", locked)


async def test_a_secret_that_is_none_of_its_type_is_not_in_the_error() -> None:
    broken = Any(type_url="type.googleapis.com/dspex.bridge.Json", value=b'{"a": hunter2}')
    with pytest.raises(SerializationError, match="the secret variable 'x' is not one of its type") as caught:
        await value_of(variable(broken, secret=True), MOST)
    assert caught.value.__cause__ is None
    with pytest.raises(SerializationError, match=r"dspex\.bridge\.Json"):
        await value_of(variable(broken), MOST)
