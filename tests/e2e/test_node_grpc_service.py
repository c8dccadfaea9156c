"""A gRPC service of Node.js, read by its own reflection: each kind of method, every kind of value, and errors."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from grpc_tool_bridge import GRPCToolBridge, ToolExecutionError
from grpc_tool_bridge.adapters.grpc import import_grpc
from support.grpc_services.bridges import bridge_of, values_of
from support.node_grpc import FOLDER, needs_node_grpc, node_service
from support.patience import PATIENCE
from support.waiting import soon

pytestmark = [needs_node_grpc, pytest.mark.xdist_group("node-grpc")]

EVERYTHING: dict[str, Any] = {
    "a_double": 0.1,
    "a_float": 0.5,
    "an_int32": -(2**31),
    "an_int64": -(2**63),
    "a_uint32": 2**32 - 1,
    "a_uint64": 2**64 - 1,
    "a_sint32": 2**31 - 1,
    "a_sint64": 2**63 - 1,
    "a_fixed64": 2**53 + 1,
    "a_sfixed64": -(2**53) - 1,
    "a_bool": True,
    "a_string": "Zürich \N{MOUNTAIN}",
    "some_bytes": bytes(range(256)),
    "colour": "COLOUR_BLUE",
    "colours": ["COLOUR_RED", "COLOUR_UNSPECIFIED", 7],
    "numbers": [2**53 + 1, -1, 0],
    "by_name": {"": 1, "large": 2**63 - 1},
    "by_number": {-(2**31): "least", 0: ""},
    "at": "2025-11-30T10:30:00.123456789Z",
    "takes": "-1.500s",
    "wrapped": 2**62 + 1,
    "mask": "aString,byName",
    "free": {"list": [1, None, "x"], "inner": {"deep": True}},
}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with node_service() as found:
        yield found


@pytest.fixture
async def bridge(address: str) -> AsyncIterator[GRPCToolBridge]:
    async with bridge_of(import_grpc(address, name="node", forward=["tenant"]), metadata={"tenant": "blue"}) as opened:
        yield opened


async def test_every_method_becomes_a_tool(address: str) -> None:
    async with import_grpc(address, name="node") as service:
        kinds = {tool.spec.name: tool.spec.metadata["grpc.kind"] for tool in service.tools}
        assert service.refused == []
    assert kinds == {
        "node.Echo": "unary", "node.Count": "server streaming", "node.Sum": "client streaming",
        "node.RunningSum": "bidirectional streaming", "node.Fail": "unary", "node.FailLater": "server streaming",
        "node.Wait": "unary", "node.Cancelled": "unary", "node.Metadata": "unary", "node.DayAfter": "unary",
    }  # fmt: skip


async def test_what_its_reflection_says_means_what_the_proto_says(address: str) -> None:
    async with (
        import_grpc(address, name="node") as reflected,
        import_grpc(address, name="node", proto=FOLDER / "peers.proto") as compiled,
    ):
        schemas = [{tool.spec.name: (tool.spec.input_schema, tool.spec.output_schema) for tool in service.tools}
                   for service in (reflected, compiled)]  # fmt: skip
        described = {tool.spec.name: tool.spec.description for tool in compiled.tools}
        assert {tool.spec.name: tool.spec.idempotent for tool in reflected.tools}["node.Echo"]
    assert described["node.Echo"] == "Gives back what it gets."
    # The schemas of the proto have its comments, too.
    assert schemas[0]["node.Echo"] == schemas[1]["node.Echo"]
    assert schemas[0]["node.RunningSum"] == schemas[1]["node.RunningSum"]


async def test_every_kind_of_value_comes_back_unchanged(bridge: GRPCToolBridge) -> None:
    echo = bridge.tools["node.Echo"]
    for more in ({}, {"perhaps": 0}, {"text": ""}, {"inner": {**EVERYTHING, "perhaps": -1}}):
        assert await soon(echo(**EVERYTHING, **more)) == {**EVERYTHING, **more}
    empty = await soon(echo())
    assert "perhaps" not in empty
    assert (empty["an_int64"], empty["some_bytes"], empty["by_name"]) == (0, b"", {})


async def test_a_wrong_value_is_named_before_it_is_sent(bridge: GRPCToolBridge) -> None:
    for arguments, text in (
        ({"an_int64": 2**63}, "an_int64"),
        ({"colour": "COLOUR_GREEN"}, "colour"),
        ({"text": "x", "inner": {}}, "text"),
    ):
        with pytest.raises(ToolExecutionError, match=text) as caught:
            await soon(bridge.tools["node.Echo"](**arguments))
        assert caught.value.error_type == "ValidationError"


async def test_each_kind_of_stream(bridge: GRPCToolBridge) -> None:
    large = 2**53
    tools = bridge.tools
    assert await soon(values_of(tools["node.Count"].stream(first=large, count=3))) == [
        {"value": large + step} for step in range(3)
    ]
    numbers = [{"value": large + 1}, {"value": 2}]
    assert await soon(tools["node.Sum"](requests=numbers)) == {"value": large + 3}
    assert await soon(tools["node.Sum"](requests=[])) == {"value": 0}
    assert await soon(values_of(tools["node.RunningSum"].stream(requests=numbers))) == [
        {"value": large + 1},
        {"value": large + 3},
    ]


async def test_a_request_that_is_no_message_of_fields(bridge: GRPCToolBridge) -> None:
    assert await soon(bridge.tools["node.DayAfter"](request="2025-12-31T00:00:00.5Z")) == "2026-01-01T00:00:00.500Z"


async def test_errors_have_their_details(bridge: GRPCToolBridge) -> None:
    with pytest.raises(ToolExecutionError, match="odd") as caught:
        await soon(bridge.tools["node.Fail"](code=3, message="odd", field="numbers[0]"))
    error = caught.value
    assert (error.error_type, error.details["status"]) == ("ValidationError", "INVALID_ARGUMENT")
    assert error.details["numbers[0]"] == "must be even"
    assert error.details["method"] == "peers.v1.Peers.Fail"
    with pytest.raises(ToolExecutionError, match="later") as caught:
        await soon(values_of(bridge.tools["node.FailLater"].stream(code=8, message="later", retry_seconds=3)))
    assert caught.value.error_type == "ResourceExhausted"
    assert float(caught.value.details["retry_after"]) == 3.0


async def test_a_deadline_ends_the_call_there(bridge: GRPCToolBridge) -> None:
    tools = bridge.tools
    before = (await soon(tools["node.Cancelled"]()))["value"]
    with pytest.raises(TimeoutError):
        await soon(tools["node.Wait"].with_options(timeout=0.1)())
    async with asyncio.timeout(PATIENCE):
        while (now := (await tools["node.Cancelled"]())["value"]) == before:
            pass
    assert now == before + 1


async def test_metadata_of_the_caller_reaches_it(bridge: GRPCToolBridge) -> None:
    values = (await soon(bridge.tools["node.Metadata"]()))["values"]
    assert values["tenant"] == "blue"
    assert values["user-agent"].startswith("grpc-tool-bridge")
