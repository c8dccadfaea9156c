"""Values and messages that are small to send and large to read."""

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage

from attacks.victims import MIB, PATIENCE, MakeVictim, Victim
from grpc_tool_bridge import GRPCToolBridge, ToolExecutionError, serialize_value
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.wireformat import bytes_field

# They hold over 1 GB: two never run at once.
pytestmark = pytest.mark.xdist_group("memory")

TOOLS = "attacks.large_tools:TOOLS"
# Integers that are multiples of it have the hash 0.
MODULUS = 2**61 - 1
MANY = 60_000


def as_json(text: bytes) -> AnyMessage:
    return AnyMessage(type_url="type.googleapis.com/dspex.bridge.Json", value=bytes_field(text))


def rich(message: pb.RichValue) -> AnyMessage:
    return AnyMessage(type_url="type.googleapis.com/dspex.bridge.RichValue", value=message.SerializeToString())


async def answer_of(hub: Victim, tool: str, *args: AnyMessage) -> Any:
    stub = await hub.stub("s")
    request = pb.ToolCallRequest(session_id="s", tool_id=tool, args=args, timeout_ms=100_000)
    return await stub.ExecuteTool(request, timeout=PATIENCE)


# Large values are made by the tests that send them.
SAME_HASH: dict[str, tuple[str, Callable[[], Any]]] = {
    "set": ("members", lambda: [MODULUS * number for number in range(MANY)]),
    "frozenset": ("frozen", lambda: [str(MODULUS * number) for number in range(MANY)]),
    "dict": ("keyed", lambda: {str(MODULUS * number): 1 for number in range(MANY)}),
}


async def test_members_and_keys_of_one_hash_are_refused_at_once(attacked: MakeVictim) -> None:
    hub = await attacked(TOOLS)
    for kind, (tool, make) in SAME_HASH.items():
        answer = await answer_of(hub, tool, as_json(json.dumps(make()).encode()))
        assert answer.error.type == "ValidationError", kind
        assert "has more than 100 members or keys with the same hash" in answer.error.message, kind
        await hub.looks_unharmed()


async def test_a_set_of_numbers_that_share_no_hash_is_taken(attacked: MakeVictim) -> None:
    hub = await attacked(TOOLS)
    answer = await answer_of(hub, "members", as_json(json.dumps(list(range(MANY)) * 2).encode()))
    assert answer.result == serialize_value(MANY)


async def test_a_tensor_of_very_many_dimensions_is_refused_at_once(attacked: MakeVictim) -> None:
    hub = await attacked(TOOLS)
    tensor = pb.Tensor(dtype="<f8", shape=[2**62] * 300_000, data=b"x" * 8)
    url = "type.googleapis.com/dspex.bridge.Tensor"
    answer = await answer_of(hub, "anything", AnyMessage(type_url=url, value=tensor.SerializeToString()))
    assert answer.error.type == "SerializationError"
    assert "a tensor has 300,000 dimensions" in answer.error.message
    await hub.looks_unharmed()


TINY: dict[str, Callable[[], AnyMessage]] = {
    "numbers": lambda: as_json(b"[" + b",".join([b"1"] * 4_000_000) + b"]"),
    "lists": lambda: as_json(b"[" + b",".join([b"[]"] * 3_000_000) + b"]"),
    "dicts": lambda: as_json(b'{"a":[' + b",".join([b'{"a":""}'] * 1_000_000) + b"]}"),
    "rich": lambda: rich(pb.RichValue(list=pb.RichList(items=[pb.RichValue(integer=1)] * 1_000_000))),
}


async def test_a_value_of_millions_of_tiny_items_is_refused_unread(attacked: MakeVictim) -> None:
    hub = await attacked(TOOLS)
    before = hub.memory()
    for kind, make in TINY.items():
        answer = await answer_of(hub, "anything", make())
        assert answer.error.type == "MessageTooLarge", kind
        assert "the call of anything has" in answer.error.message, kind
        assert "the limit is 250,000 (max_message_nodes)" in answer.error.message, kind
        await hub.looks_unharmed(max_bytes=before + 300 * MIB)


async def test_a_large_value_of_few_items_is_taken(attacked: MakeVictim) -> None:
    hub = await attacked(TOOLS)
    text = json.dumps([",".join(['[1],{"a"}'] * 100_000)] * 5).encode()
    answer = await answer_of(hub, "anything", as_json(text))
    assert answer.result == serialize_value("list")


async def test_as_many_items_as_may_be_are_read_while_others_are_served(attacked: MakeVictim) -> None:
    hub = await attacked(TOOLS)
    for tool in ("points", "choices"):
        answer = await answer_of(hub, tool, as_json(b"[" + b",".join([b'{"x":1}'] * 80_000) + b"]"))
        assert answer.result == serialize_value(80_000), tool
        await hub.looks_unharmed()


async def test_of_many_things_that_are_wrong_the_first_is_told(attacked: MakeVictim) -> None:
    hub = await attacked(TOOLS)
    for item in (b"[]", b'{"z":1}', b"null"):
        answer = await answer_of(hub, "choices", as_json(b"[" + b",".join([item] * 80_000) + b"]"))
        assert answer.error.type == "ValidationError", item
        assert "[0]" in answer.error.message, item
        assert "[1]" not in answer.error.message, item
        await hub.looks_unharmed()


async def test_a_decimal_whose_int_would_take_for_ever_to_make_is_refused(attacked: MakeVictim) -> None:
    hub = await attacked(TOOLS)
    for tool in ("whole", "part"):
        answer = await answer_of(hub, tool, rich(pb.RichValue(decimal=str(Decimal("1E+99999999")))))
        assert answer.error.type == "ValidationError", tool
        assert f"{tool}: argument 'value': should be " in answer.error.message, tool
        await hub.looks_unharmed()


async def test_a_regular_expression_of_a_megabyte_is_refused_uncompiled(attacked: MakeVictim) -> None:
    hub = await attacked(TOOLS)
    answer = await answer_of(hub, "pattern", serialize_value("(a|b)*" * 200_000))
    assert "should be a regular expression of at most 4,096 characters" in answer.error.message
    await hub.looks_unharmed()


async def test_a_request_of_millions_of_empty_parts_is_refused_unread(attacked: MakeVictim) -> None:
    hub = await attacked()
    before = hub.memory()
    call = hub.channel().unary_unary("/dspex.bridge.SnakepitBridge/ExecuteTool")
    for part in (b"\x1a\x00", b"\x22\x00", b"\x3a\x00"):  # of args, of kwargs, of the context
        with pytest.raises(
            grpc.aio.AioRpcError, match="the request of ExecuteTool has more than 250,000 nodes"
        ) as failure:
            await call(part * 4_000_000, timeout=PATIENCE)
        assert failure.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED, part
        await hub.looks_unharmed(max_bytes=before + 200 * MIB)


async def test_a_request_that_carries_no_values_has_at_most_a_mebibyte(attacked: MakeVictim) -> None:
    hub = await attacked()
    channel = hub.channel()
    for method in ("Heartbeat", "GetSessionVariable", "WatchSessionVariables", "GetMetrics"):
        make = channel.unary_stream if method.startswith("Watch") else channel.unary_unary
        call = make(f"/dspex.bridge.SnakepitBridge/{method}")(b"\x0a\x80\x80\x40" + b"x" * MIB, timeout=PATIENCE)
        with pytest.raises(grpc.aio.AioRpcError, match="the limit is 1,048,576, since it carries no values") as failure:
            await (call.read() if method.startswith("Watch") else call)
        assert failure.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED, method


async def test_a_process_takes_what_the_hub_would_refuse(attacked: MakeVictim) -> None:
    hub = await attacked(TOOLS)
    async with GRPCToolBridge(hub.address) as bridge:
        tools = await bridge.initialize()
        assert await tools["counted"]([1] * 1_000_000) == 1_000_000
        with pytest.raises(ToolExecutionError, match=r"argument 'value': \[500000\] should be a valid integer"):
            await tools["counted"]([1] * 500_000 + ["x"])
    await hub.looks_unharmed()


async def test_a_result_of_too_many_nodes_is_refused_before_it_is_sent(attacked: MakeVictim) -> None:
    hub = await attacked(TOOLS)
    async with GRPCToolBridge(hub.address, max_message_nodes=10_000_000) as bridge:
        tools = await bridge.initialize()
        for tool, count in (("numbers", 300_000), ("batches", 300_000), ("objects", 100_000)):
            with pytest.raises(ToolExecutionError, match="nodes") as failure:
                await tools[tool](count)
            assert failure.value.error_type == "MessageTooLarge"
            assert f"the result of {tool}" in failure.value.message
            await hub.looks_unharmed()


async def test_a_client_refuses_what_it_would_only_send_to_be_refused(attacked: MakeVictim) -> None:
    # The hub would take it: so it is the client that refuses.
    hub = await attacked(TOOLS, max_message_nodes=1_000_000)
    async with GRPCToolBridge(hub.address) as bridge:
        tools = await bridge.initialize()
        with pytest.raises(ToolExecutionError, match="the call of anything has 400,001 nodes") as failure:
            await tools["anything"]([[1]] * 200_000)
    assert failure.value.error_type == "MessageTooLarge"
    async with GRPCToolBridge(hub.address, max_message_nodes=1_000_000) as bridge:
        tools = await bridge.initialize()
        assert await tools["anything"]([[1]] * 200_000) == "list"
