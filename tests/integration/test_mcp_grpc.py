"""A hub as an MCP server over gRPC, as a client of the published proto sees it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from mcp_grpc_transport_proto import mcp_messages_pb2 as messages

from grpc_tool_bridge import Audio, BridgeServer, Image, Resource, ResourceLink, Settings, ToolContext, tool
from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.gateway.mcp_grpc.requests import SESSION_KEY, TOOLS_KEY
from integration.mcp_grpc_peers import SERVICE, call_of, stub_of
from support.patience import PATIENCE
from support.waiting import soon

PICTURE = b"\x89PNG\x00\xff"


@tool(tags=["math"])
async def add(a: int, b: float = 1) -> int:
    """Adds."""
    return a + int(b)


@tool(idempotent=True, metadata={"mcp.readOnlyHint": "true", "mcp.destructiveHint": "false", "mcp.title": "Looks"})
async def look() -> dict[str, Any]:
    """Looks."""
    return {"seen": 1, "deep": [{"a": None}, [True, 0.5]]}


@tool
async def media() -> Any:
    return [
        "a text",
        Image(PICTURE, "image/png"),
        Audio(PICTURE, "audio/wav"),
        Resource("file:///a", "A", "text/plain"),
        Resource("file:///c", PICTURE),
        ResourceLink("file:///b", "b", description="B"),
    ]


@tool
async def fail(kind: str) -> str:
    """Fails."""
    raise LookupError(f"no {kind} here")


@tool
async def huge_number() -> dict[str, int]:
    return {"x": 2**60 + 1}


@tool(name="time.now")
async def now() -> str:
    return "now"


@tool(hidden=True)
async def secret() -> str:
    return "told"


@tool
async def who(ctx: ToolContext) -> str:
    return ctx.session_id


@asynccontextmanager
async def hub_of(*tools: Any, **settings: Any) -> AsyncIterator[tuple[BridgeServer, Any]]:
    server = BridgeServer(tools=tools, settings=Settings(mcp_grpc=True, **settings))
    async with server, stub_of(server) as stub:
        yield server, stub


async def refused(call: Any) -> Any:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await soon(call)
    return caught.value


def plain(message: Any) -> Any:
    return MessageToDict(message, preserving_proto_field_name=True)


async def listed(stub: Any, **options: Any) -> dict[str, Any]:
    answer = await soon(stub.ListTools(messages.ListToolsRequest(), **options))
    return {item.name: item for item in answer.tools}


async def test_it_is_served_only_if_that_is_asked_for() -> None:
    async with BridgeServer(tools=[add]) as server, stub_of(server) as stub:
        assert (await refused(stub.ListTools(messages.ListToolsRequest()))).code() is grpc.StatusCode.UNIMPLEMENTED
    async with BridgeServer(tools=[add], mcp_grpc=True) as server, stub_of(server) as stub:
        assert "add" in await listed(stub)
    async with (
        BridgeServer(tools=[add], mcp_grpc=False, settings=Settings(mcp_grpc=True)) as server,
        stub_of(server) as stub,
    ):
        assert (await refused(stub.ListTools(messages.ListToolsRequest()))).code() is grpc.StatusCode.UNIMPLEMENTED


async def test_tools_are_listed_with_schemas_hints_and_tags() -> None:
    async with hub_of(add, look, now) as (_, stub):
        answer = await soon(stub.ListTools(messages.ListToolsRequest()))
        tools = {item.name: item for item in answer.tools}
        assert list(tools) == ["add", "look", "time_now"]
        assert tools["add"].description == "Adds."
        schema = plain(tools["add"].input_schema)
        assert schema["properties"] == {"a": {"type": "integer"}, "b": {"type": "number", "default": 1.0}}
        assert schema["required"] == ["a"]
        assert plain(tools["add"].output_schema)["properties"] == {"result": {"type": "integer"}}
        assert plain(tools["add"].metadata) == {"grpc-tool-bridge/tags": ["math"]}
        hints = tools["look"].annotations
        assert (hints.read_only_hint, hints.destructive_hint, hints.idempotent_hint) == (True, False, True)
        assert tools["look"].title == "Looks"
        assert tools["time_now"].title == "time.now"
        assert answer.HasField("ttl")
        assert answer.ttl.ToSeconds() == 0
        assert answer.cache_scope == messages.CACHE_SCOPE_PRIVATE
        assert answer.common.result_type == messages.RESULT_TYPE_COMPLETE
        info = plain(answer.common.metadata)["io.modelcontextprotocol/serverInfo"]
        assert info["name"] == "grpc-tool-bridge"


async def test_a_call_has_text_and_structured_content() -> None:
    async with hub_of(add, look, now) as (_, stub):
        answer = await soon(stub.CallTool(call_of("add", {"a": 2, "b": 3})))
        assert [content.text.text for content in answer.content] == ["5"]
        assert plain(answer.structured_content) == {"result": 5}
        assert not answer.is_error
        assert answer.common.result_type == messages.RESULT_TYPE_COMPLETE
        answer = await soon(stub.CallTool(call_of("look")))
        assert plain(answer.structured_content) == {"seen": 1, "deep": [{"a": None}, [True, 0.5]]}
        for name in ("time_now", "time.now"):
            assert (await soon(stub.CallTool(call_of(name)))).content[0].text.text == "now"


async def test_every_kind_of_content_is_sent() -> None:
    async with hub_of(media) as (_, stub):
        answer = await soon(stub.CallTool(call_of("media")))
        text, image, audio, note, file, link = answer.content
        assert text.text.text == "a text"
        assert (image.image.data, image.image.mime_type) == (PICTURE, "image/png")
        assert (audio.audio.data, audio.audio.mime_type) == (PICTURE, "audio/wav")
        note, file = note.embedded_resource.contents, file.embedded_resource.contents
        assert (note.uri, note.text, note.mime_type) == ("file:///a", "A", "text/plain")
        assert (file.uri, file.blob) == ("file:///c", PICTURE)
        link = link.resource_link
        assert (link.uri, link.name, link.description) == ("file:///b", "b", "B")
        assert not answer.HasField("structured_content")


async def test_what_a_tool_fails_with_is_a_result_with_the_facts() -> None:
    async with hub_of(fail, add) as (_, stub):
        answer = await soon(stub.CallTool(call_of("fail", {"kind": "bread"})))
        assert answer.is_error
        assert "no bread here" in answer.content[0].text.text
        facts = plain(answer.common.metadata)["grpc-tool-bridge/error"]
        assert (facts["type"], facts["message"], facts["retryable"]) == ("LookupError", "no bread here", False)
        answer = await soon(stub.CallTool(call_of("add", {"a": "x"})))
        assert answer.is_error
        assert "a" in plain(answer.common.metadata)["grpc-tool-bridge/error"]["details"]


async def test_an_integer_that_a_struct_cannot_hold_is_in_the_text_alone() -> None:
    async with hub_of(huge_number) as (_, stub):
        answer = await soon(stub.CallTool(call_of("huge_number")))
        assert answer.content[0].text.text == '{"x":1152921504606846977}'
        assert not answer.HasField("structured_content")


async def test_a_request_chooses_session_and_tools_by_metadata() -> None:
    async with hub_of(who, add, look) as (_, stub):
        assert (await soon(stub.CallTool(call_of("who")))).content[0].text.text == "mcp"
        named = ((SESSION_KEY, "mine"),)
        assert (await soon(stub.CallTool(call_of("who"), metadata=named))).content[0].text.text == "mine"
        chosen = ((TOOLS_KEY, "add,tag:none"),)
        assert list(await listed(stub, metadata=chosen)) == ["add"]
        error = await refused(stub.CallTool(call_of("look"), metadata=chosen))
        assert error.code() is grpc.StatusCode.NOT_FOUND
        twice = ((TOOLS_KEY, "add"), (TOOLS_KEY, "look"))
        error = await refused(stub.ListTools(messages.ListToolsRequest(), metadata=twice))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert TOOLS_KEY in error.details()


async def test_the_setting_chooses_for_those_who_do_not_and_hidden_tools_are_unseen() -> None:
    async with hub_of(add, look, secret, mcp_tools="add") as (_, stub):
        assert list(await listed(stub)) == ["add"]
        assert (await refused(stub.CallTool(call_of("look")))).code() is grpc.StatusCode.NOT_FOUND
    async with hub_of(add, secret) as (_, stub):
        assert list(await listed(stub)) == ["add"]


async def test_a_pattern_that_is_none_is_an_error_of_the_start() -> None:
    with pytest.raises(ValidationError, match="a tag is"):
        BridgeServer(settings=Settings(mcp_grpc=True, mcp_tools=("tag:",)))


async def test_the_token_of_the_hub_is_needed() -> None:
    async with hub_of(add, token="opensesame") as (_, stub):
        assert (await refused(stub.CallTool(call_of("add")))).code() is grpc.StatusCode.UNAUTHENTICATED
        admitted = (("authorization", "Bearer opensesame"),)
        assert list(await listed(stub, metadata=admitted)) == ["add"]


async def test_other_methods_say_what_is_served() -> None:
    async with hub_of(add) as (_, stub):
        requests = {
            "ListResources": messages.ListResourcesRequest(),
            "ReadResource": messages.ReadResourceRequest(uri="a:b"),
            "ListResourceTemplates": messages.ListResourceTemplatesRequest(),
            "ListPrompts": messages.ListPromptsRequest(),
            "GetPrompt": messages.GetPromptRequest(name="a"),
            "Complete": messages.CompletionRequest(),
        }
        for name, request in requests.items():
            error = await refused(getattr(stub, name)(request))
            assert error.code() is grpc.StatusCode.UNIMPLEMENTED
            assert error.details() == f"this hub serves ListTools and CallTool of {SERVICE}, not {name}"


async def test_calls_that_name_no_tool_or_an_unknown_one_are_statuses() -> None:
    async with hub_of(add) as (_, stub):
        error = await refused(stub.CallTool(messages.CallToolRequest()))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "request.name" in error.details()
        error = await refused(stub.CallTool(call_of("nothing")))
        assert error.code() is grpc.StatusCode.NOT_FOUND
        assert "nothing" in error.details()
        error = await refused(stub.CallTool(call_of("add", {"a": 1}), metadata=(("mcp_tool", "look"),)))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "mcp_tool" in error.details()
        assert await soon(stub.CallTool(call_of("add", {"a": 1}), metadata=(("mcp_tool", "add"),)))


async def test_a_version_that_is_not_served_is_refused_with_those_that_are() -> None:
    async with hub_of(add) as (_, stub):
        error = await refused(stub.ListTools(messages.ListToolsRequest(), metadata=(("mcp-protocol-version", "1999"),)))
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED
        assert "2025-11-25, 2026-07-28" in error.details()
        assert dict(error.initial_metadata())["mcp-protocol-version"] == "2026-07-28"
        for version in ("2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"):
            assert await listed(stub, metadata=(("mcp-protocol-version", version),))
        request = messages.ListToolsRequest()
        request.common.metadata.update({"io.modelcontextprotocol/protocolVersion": "1999"})
        assert (await refused(stub.ListTools(request))).code() is grpc.StatusCode.UNIMPLEMENTED


async def test_the_clients_deadline_reaches_the_tool_and_its_end_cancels_it() -> None:
    told: asyncio.Queue[Any] = asyncio.Queue()

    @tool
    async def wait(ctx: ToolContext) -> str:
        told.put_nowait(ctx.time_left())
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            told.put_nowait("cancelled")
            raise
        return ""

    async with hub_of(wait) as (_, stub):
        call = stub.CallTool(call_of("wait"), timeout=3_000)
        left = await soon(told.get())
        # gRPC rounds a time as long as this up to ten seconds.
        assert 2_000 < left <= 3_010
        call.cancel()
        assert await soon(told.get()) == "cancelled"
        error = await refused(stub.CallTool(call_of("wait"), timeout=0.2))
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await soon(told.get())
        assert await soon(told.get()) == "cancelled"


async def test_a_request_beyond_the_limits_is_refused() -> None:
    async with hub_of(add, max_message_bytes=100_000) as (_, stub):
        error = await refused(stub.CallTool(call_of("add", {"a": "x" * 2_000_000})))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        answer = await soon(stub.CallTool(call_of("add", {"a": "x" * 120_000})))
        assert "MessageTooLarge" in answer.content[0].text.text
    async with hub_of(add, max_message_nodes=1_000) as (_, stub):
        error = await refused(stub.CallTool(call_of("add", {"a": [0] * 2_000})))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "nodes" in error.details()


async def test_a_list_beyond_the_limit_says_how_to_choose() -> None:
    tools = [tool(name=f"t{number}", description="x" * 5_000)(_nothing) for number in range(30)]
    async with hub_of(*tools, max_message_bytes=100_000) as (_, stub):
        error = await refused(stub.ListTools(messages.ListToolsRequest()))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert TOOLS_KEY in error.details()
        assert list(await listed(stub, metadata=((TOOLS_KEY, "t1"),))) == ["t1"]


def _nothing() -> None:
    pass


async def test_health_and_reflection_know_the_service() -> None:
    async with hub_of(add) as (server, _), grpc.aio.insecure_channel(server.address) as channel:
        check: Any = health_pb2_grpc.HealthStub(channel)
        answer = await soon(check.Check(health_pb2.HealthCheckRequest(service=SERVICE)))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        request = reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE)
        async for found in stub.ServerReflectionInfo(iter([request])):
            assert any(b"CallTool" in file for file in found.file_descriptor_response.file_descriptor_proto)
            break


async def test_a_session_that_the_hub_has_ended_is_opened_again() -> None:
    async with hub_of(who) as (server, stub):
        assert (await soon(stub.CallTool(call_of("who")))).content[0].text.text == "mcp"
        await server.hub.store.cleanup_session("mcp")
        assert (await soon(stub.CallTool(call_of("who")))).content[0].text.text == "mcp"


async def test_agents_that_are_declared_are_tools() -> None:
    server = BridgeServer(mcp_grpc=True, mcp_agents={"ask": "question -> answer"})
    async with server, stub_of(server) as stub:
        assert list(await listed(stub)) == ["ask"]


async def test_a_hub_that_stops_lets_calls_finish() -> None:
    began, go = asyncio.Event(), asyncio.Event()

    @tool
    async def slow() -> str:
        began.set()
        await go.wait()
        return "done"

    server = BridgeServer(tools=[slow], mcp_grpc=True)
    await server.start()
    async with stub_of(server) as stub:
        call = stub.CallTool(call_of("slow"))
        await soon(began.wait())
        stopping = asyncio.ensure_future(server.stop(grace=PATIENCE))
        async with grpc.aio.insecure_channel(server.address) as channel:
            watch: Any = health_pb2_grpc.HealthStub(channel)
            async for answer in watch.Watch(health_pb2.HealthCheckRequest(service=SERVICE)):
                if answer.status == health_pb2.HealthCheckResponse.NOT_SERVING:
                    break
        answer = await soon(stub.CallTool(call_of("slow")))
        assert answer.is_error
        assert "shutting down" in answer.content[0].text.text
        go.set()
        assert (await soon(call)).content[0].text.text == "done"
        await soon(stopping)
    assert not [task for task in asyncio.all_tasks() if "session" in task.get_name()]


async def test_what_no_client_should_send_is_refused_and_the_hub_serves_on() -> None:
    deep = call_of("add")
    value = deep.request.arguments.fields["a"]
    for _ in range(40):
        value = value.struct_value.fields["a"]
    value.bool_value = True
    kindless = call_of("add")
    kindless.request.arguments.fields["a"].SetInParent()
    bad_text = call_of("xyz").SerializeToString().replace(b"xyz", b"\xff\xfe\xfd")
    requests = [b"\xff\xff\xff", bad_text, deep.SerializeToString(), kindless.SerializeToString(), b"\x12\x7fshort"]
    async with hub_of(add) as (server, stub), grpc.aio.insecure_channel(server.address) as channel:
        raw: Any = channel.unary_unary(f"/{SERVICE}/CallTool")
        for request in requests:
            error = await refused(raw(request))
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT, request
        none: Any = channel.stream_unary(f"/{SERVICE}/CallTool")
        assert (await refused(none(iter(())))).code() is grpc.StatusCode.INVALID_ARGUMENT
        other: Any = channel.unary_unary(f"/{SERVICE}/Other")
        assert (await refused(other(b""))).code() is grpc.StatusCode.UNIMPLEMENTED
        assert (await soon(stub.CallTool(call_of("add", {"a": 1})))).content[0].text.text == "2"


async def test_many_clients_at_once_share_a_session_and_none_waits_for_another() -> None:
    go = asyncio.Event()

    @tool
    async def slow() -> str:
        await go.wait()
        return "done"

    async with hub_of(slow, add) as (_, stub):
        waiting = [asyncio.ensure_future(soon(stub.CallTool(call_of("slow")))) for _ in range(50)]
        for number in range(20):
            assert (await soon(stub.CallTool(call_of("add", {"a": number})))).content[0].text.text == str(number + 1)
        go.set()
        assert {answer.content[0].text.text for answer in await asyncio.gather(*waiting)} == {"done"}
