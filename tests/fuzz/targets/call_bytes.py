"""Requests and answers of calls, which are read by hand and by protobuf: both read the same."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from google.protobuf.message import DecodeError, Message

from grpc_tool_bridge.client.arguments import pack_arguments, put_arguments
from grpc_tool_bridge.errors import ToolBridgeError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolCallRequest, ToolCallResponse
from grpc_tool_bridge.values.call_bytes import (
    UNREAD,
    UNREADABLE,
    arguments_of,
    is_success,
    read_arguments,
    read_names,
    read_success,
    read_types,
    request_head,
    request_tail,
    success_of,
)
from grpc_tool_bridge.values.scalars import SCALARS
from grpc_tool_bridge.values.serialization import deserialize_value

REFUSALS = (DecodeError, ToolBridgeError, UnicodeEncodeError)


def fuzz(data: bytes) -> None:
    """Reads bytes as a request and as an answer; writes again what they say."""
    check_request(data)
    check_answer(data)
    request = ToolCallRequest.FromString(data)
    args = list(values_of(request.args))
    kwargs = dict(zip(request.kwargs, values_of(request.kwargs.values()), strict=False))
    check_written(request.session_id, request.tool_id, args, kwargs, max(0, request.timeout_ms))
    for value in args:
        check_success(value, max(0, request.timeout_ms))


def values_of(messages: Iterable[Any]) -> Iterable[Any]:
    """Reads those values that can be read."""
    for message in messages:
        try:
            yield deserialize_value(message, max_nodes=10_000)
        except ToolBridgeError:
            yield None


def alike(one: Any, other: Any) -> bool:
    """Whether two values are the same: -0.0 is not 0.0, True is not 1, and nan is nan."""
    return type(one) is type(other) and repr(one) == repr(other)


def check_request(data: bytes) -> bool:
    """Checks that protobuf reads a request as it is read by hand; returns whether it is read by hand."""
    try:
        session_id, tool_id, place = read_names(data)
        args, kwargs, timeout_ms = read_arguments(data, place)
        types, named, again = read_types(data, place)
    except UNREADABLE:
        _check_types(data)
        return False
    message = ToolCallRequest.FromString(data)
    assert (message.session_id, message.tool_id, message.timeout_ms) == (session_id, tool_id, timeout_ms)
    assert again == timeout_ms
    assert len(message.args) == len(args)
    assert all(alike(deserialize_value(mine), other) for mine, other in zip(message.args, args, strict=True))
    assert {*message.kwargs} == {*kwargs}
    assert all(alike(deserialize_value(message.kwargs[name]), value) for name, value in kwargs.items())
    assert [item.type_url for item in message.args] == types
    assert {name: item.type_url for name, item in message.kwargs.items()} == named
    assert_nothing_else(message, "session_id", "tool_id", "args", "kwargs", "timeout_ms")
    return True


def _check_types(data: bytes) -> None:
    try:
        session_id, tool_id, place = read_names(data)
        types, named, timeout_ms = read_types(data, place)
    except UNREADABLE:
        return
    message = ToolCallRequest.FromString(data)
    assert (message.session_id, message.tool_id, message.timeout_ms) == (session_id, tool_id, timeout_ms)
    assert [item.type_url for item in message.args] == types
    assert {name: item.type_url for name, item in message.kwargs.items()} == named
    assert_nothing_else(message, "session_id", "tool_id", "args", "kwargs", "timeout_ms")


def check_answer(data: bytes) -> bool:
    """Checks that protobuf reads an answer as it is read by hand; returns whether it is read by hand."""
    success, result = is_success(data), read_success(data)
    if result is not UNREAD:
        assert success
    if not success:
        return False
    message = ToolCallResponse.FromString(data)
    assert message.success
    assert message.HasField("result")
    if result is not UNREAD:
        assert alike(deserialize_value(message.result), result)
    assert_nothing_else(message, "success", "result", "metrics")
    return True


def check_written(
    session_id: str, tool_id: str, args: Sequence[Any], kwargs: Mapping[str, Any], timeout_ms: int
) -> bytes | None:
    """Checks that a request is written by hand as by protobuf; returns it, None if it is not written by hand."""
    arguments = arguments_of(args, kwargs)
    if arguments is None:
        assert any(type(value) not in SCALARS for value in [*args, *kwargs.values()])
        return None
    written = request_head(session_id, tool_id) + arguments + request_tail(timeout_ms)
    general = ToolCallRequest(session_id=session_id, tool_id=tool_id, timeout_ms=timeout_ms)
    put_arguments(general, pack_arguments(args, kwargs, lambda: "tool"))
    parsed = ToolCallRequest.FromString(written)
    assert parsed == general
    assert len(written) == general.ByteSize()
    if len(kwargs) < 2:
        assert parsed.SerializeToString() == written
    check_request(written)
    return written


def check_success(value: Any, duration_us: int) -> bytes | None:
    """Checks that an answer is written by hand as by protobuf; returns it, None if it is not written by hand."""
    write = SCALARS.get(type(value))
    if write is None:
        return None
    type_url, payload = write(value)
    written = success_of((type_url, payload), duration_us)
    general = ToolCallResponse(success=True)
    general.result.type_url, general.result.value = type_url, payload
    general.metrics.duration_ms, general.metrics.duration_us = math.floor(duration_us / 1_000) + 1, duration_us
    assert general.SerializeToString() == written
    assert check_answer(written)
    return written


def assert_nothing_else(message: Message, *names: str) -> None:
    """Checks that a message has no fields but these."""
    for name in names:
        message.ClearField(name)
    assert message.ByteSize() == 0, message
