"""Batches: what is sent, and what is made of the answer."""

from typing import Any

import pytest

from grpc_tool_bridge import (
    ProtocolError,
    SerializationError,
    ToolBridge,
    ToolExecutionError,
    ValidationError,
    deserialize_value,
    serialize_value,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    BatchToolCallResponse,
    ErrorInfo,
    ToolCallResult,
)
from unit.client.fakes import ENDED, OPENED, FakeTransport, client_of


async def test_a_batch_sends_its_items_and_returns_the_results_in_order() -> None:
    results = [
        ToolCallResult(index=0, success=True, result=serialize_value("a")),
        ToolCallResult(index=1, error=ErrorInfo(type="KeyError", message="'x'", details={"origin": "tool"})),
    ]
    transport = FakeTransport(
        InitializeSession=OPENED, BatchExecuteTools=BatchToolCallResponse(results=results), CleanupSession=ENDED
    )
    bridge = ToolBridge(client_of(transport))
    await bridge.initialize("s")

    first, second = await bridge.execute_batch(
        [{"tool_id": "add", "args": [1], "kwargs": {"b": 2}}, {"tool_id": "find"}],
        parallel=False,
        stop_on_error=True,
        max_parallel=3,
    )

    assert first == "a"
    assert isinstance(second, ToolExecutionError)
    assert (second.tool_name, second.error_type) == ("find", "KeyError")
    request = transport.request("BatchExecuteTools")
    assert [(item.index, item.tool_id) for item in request.items] == [(0, "id-1"), (1, "find")]
    assert deserialize_value(request.items[0].kwargs["b"]) == 2
    config = request.config
    assert (config.parallel, config.stop_on_error, config.max_parallel) == (False, True, 3)
    await bridge.close()


async def test_an_empty_batch_asks_nobody() -> None:
    assert await client_of(FakeTransport()).execute_batch([]) == []


@pytest.mark.parametrize(
    ("item", "text"),
    [
        ({}, "item 1 of the batch is not a call"),
        ({"tool_id": 3}, "item 1 of the batch is not a call"),
        ({"tool_id": "add", "arguments": []}, r"item 1 of the batch has \['arguments'\]"),
    ],
)
async def test_a_batch_with_an_item_that_is_no_call_is_refused_whole(item: dict[str, Any], text: str) -> None:
    transport = FakeTransport(BatchExecuteTools=BatchToolCallResponse())

    with pytest.raises(ValidationError, match=text):
        await client_of(transport).execute_batch([{"tool_id": "add"}, item])
    assert transport.count("BatchExecuteTools") == 0


async def test_an_argument_of_a_batch_that_cannot_be_represented_is_named() -> None:
    deep: list[Any] = []
    for _ in range(200):
        deep = [deep]

    with pytest.raises(SerializationError, match=r"item 0 of the batch \(add\): argument 0"):
        await client_of(FakeTransport()).execute_batch([{"tool_id": "add", "args": [deep]}])


async def test_a_batch_with_results_missing_breaks_the_protocol() -> None:
    transport = FakeTransport(BatchExecuteTools=BatchToolCallResponse())

    with pytest.raises(ProtocolError, match="a batch of 1 calls was answered with 0 results"):
        await client_of(transport).execute_batch([{"tool_id": "add"}])
