"""Tools as MCP clients list and call them."""

import json
from typing import Any

import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS

from grpc_tool_bridge import BridgeServer, Settings, ToolContext, tool
from grpc_tool_bridge.llm.mcp_names import ERROR_META
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec
from integration.mcp_clients import NEW, OLD, VERSIONS, RawClient, answer_of, sdk_client
from support.waiting import soon, until

SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {"address": {"$anchor": "home", "type": "object", "properties": {"city": {"type": "string"}}}},
    "properties": {"where": {"$ref": "#/$defs/address"}, "region": {"type": "string", "x-mcp-header": "Region"}},
    "allOf": [{"if": {"required": ["where"]}, "then": {"required": ["region"]}}],
    "additionalProperties": False,
}


@tool
async def add(a: int, b: int = 1) -> int:
    """Adds."""
    return a + b


@tool(idempotent=True, metadata={"mcp.readOnlyHint": "true", "mcp.title": "Looks"})
async def look() -> dict[str, int]:
    return {"seen": 1}


@tool(metadata={"mcp.annotations": json.dumps({"destructiveHint": True, "title": "Gone", "other": 1})})
async def remove() -> None:
    """Removes."""


@tool
async def fail(kind: str) -> str:
    """Fails."""
    raise LookupError(f"no {kind} here")


async def _server(*tools: Any, **settings: Any) -> BridgeServer:
    return BridgeServer(tools=list(tools), http_address="127.0.0.1:0", settings=Settings(**settings))


@pytest.mark.parametrize("version", VERSIONS)
async def test_tools_are_listed_with_schemas_and_hints(version: str) -> None:
    async with await _server(add, look, remove) as server, sdk_client(server, version) as client:
        tools = {item.name: item for item in (await soon(client.list_tools())).tools}
        assert list(tools) == ["add", "look", "remove"]
        assert tools["add"].description == "Adds."
        assert tools["look"].description
        assert tools["add"].input_schema["properties"]["a"] == {"type": "integer"}
        assert tools["add"].output_schema is not None
        look_hints, remove_hints = tools["look"].annotations, tools["remove"].annotations
        assert look_hints is not None
        assert look_hints.read_only_hint is True
        assert look_hints.idempotent_hint is True
        assert tools["look"].title == "Looks"
        assert remove_hints is not None
        assert remove_hints.destructive_hint is True
        assert remove_hints.title == "Gone"


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_call_has_text_and_structured_content(version: str) -> None:
    async with await _server(add, look) as server, sdk_client(server, version) as client:
        result = await soon(client.call_tool("add", {"a": 1, "b": 2}))
        assert not result.is_error
        assert result.content[0].text == "3"
        assert result.structured_content == ({"result": 3} if version == OLD else 3)
        assert (await soon(client.call_tool("look"))).structured_content == {"seen": 1}


@pytest.mark.parametrize("version", VERSIONS)
async def test_what_a_tool_raises_is_a_result_with_type_and_details(version: str) -> None:
    async with await _server(fail, add) as server, sdk_client(server, version) as client:
        result = await soon(client.call_tool("fail", {"kind": "egg"}))
        assert result.is_error
        assert result.content[0].text == "fail: LookupError: no egg here"
        assert result.meta is not None
        facts = result.meta[ERROR_META]
        assert (facts["type"], facts["details"]["origin"], facts["retryable"]) == ("LookupError", "tool", False)
        wrong = await soon(client.call_tool("add", {"a": "x", "c": 1}))
        assert wrong.is_error
        assert wrong.meta is not None
        assert wrong.meta[ERROR_META]["type"] == "ValidationError"
        assert {"a", "c"} <= wrong.meta[ERROR_META]["details"].keys()


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_tool_that_there_is_not_is_an_error_of_the_protocol(version: str) -> None:
    async with await _server(add) as server, sdk_client(server, version) as client:
        with pytest.raises(MCPError) as caught:
            await soon(client.call_tool("ad"))
        assert caught.value.error.code == INVALID_PARAMS
        assert caught.value.error.data["type"] == "ToolNotFound"


async def test_schemas_of_arguments_are_passed_on_whole() -> None:
    server = await _server()
    async with server, RawClient(server) as client:
        spec = ToolSpec(name="strange", input_schema=json.dumps(SCHEMA))
        broken = ToolSpec(name="broken", input_schema=json.dumps({"type": "array", "properties": 3}))
        server.hub.registry.register_batch("", [tool(name="plain")(_anything)])
        for name, other in (("strange", spec), ("broken", broken)):
            registered = tool(name=name)(_anything)
            registered.spec.input_schema = other.input_schema
            server.hub.registry.register_batch("", [registered])
        tools = {item["name"]: item for item in answer_of(await soon(client.new("tools/list")))["result"]["tools"]}
        assert tools["strange"]["inputSchema"] == SCHEMA
        # One that no client could read hides no other.
        assert tools["broken"]["inputSchema"] == {"type": "object", "properties": {}}


async def _anything() -> str:
    return "x"


async def test_a_call_without_arguments_is_one_with_none() -> None:
    async with await _server(look) as server, RawClient(server) as client:
        await client.connect()
        ways: list[dict[str, Any]] = [{}, {"arguments": None}, {"arguments": {}}]
        for arguments in ways:
            answer = answer_of(await soon(client.old("tools/call", {"name": "look", **arguments})))
            assert answer["result"]["structuredContent"] == {"seen": 1}
            answer = answer_of(await soon(client.new("tools/call", {"name": "look", **arguments})))
            assert answer["result"]["structuredContent"] == {"seen": 1}


async def test_pages_go_on_after_the_last_tool_whatever_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grpc_tool_bridge.gateway.mcp.tools.PAGE_TOOLS", 2)
    named = [tool(name=f"t{number}")(_anything) for number in range(5)]
    server = await _server(*named)
    async with server, RawClient(server) as client:

        async def page(cursor: str = "") -> tuple[list[str], str]:
            params = {"cursor": cursor} if cursor else {}
            found = answer_of(await soon(client.new("tools/list", params)))["result"]
            return [item["name"] for item in found["tools"]], found.get("nextCursor", "")

        first, cursor = await page()
        assert first == ["t0", "t1"]
        server.hub.registry.register_batch("", [tool(name="t00")(_anything), tool(name="t11")(_anything)])
        await until(lambda: _seen(server, "t11"))
        second, cursor = await page(cursor)
        assert second == ["t11", "t2"]
        third, cursor = await page(cursor)
        assert (third, cursor) == (["t3", "t4"], "")


def _seen(server: BridgeServer, name: str) -> bool:
    endpoint = server._http._gateway._mcp._endpoint
    (session,) = endpoint._sessions._open.values()
    return name in session.client.tools


async def test_a_page_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grpc_tool_bridge.gateway.mcp.tools.PAGE_BYTES", 1)
    async with await _server(add, look) as server, sdk_client(server, OLD) as client:
        page = await soon(client.list_tools())
        assert ([item.name for item in page.tools], bool(page.next_cursor)) == (["add"], True)


@pytest.mark.parametrize("cursor", ["x", "after ", "after " + "x" * 400])
async def test_a_cursor_that_is_none_of_ours_is_refused(cursor: str) -> None:
    async with await _server(add) as server, RawClient(server) as client:
        answer = answer_of(await soon(client.new("tools/list", {"cursor": cursor})))
        assert answer["error"]["code"] == INVALID_PARAMS
        assert "cursor" in answer["error"]["message"]


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_tool_has_a_name_that_every_client_takes(version: str) -> None:
    dotted, plain = tool(name="time.now")(_anything), tool(name="time.a_b", metadata={"mcp.title": "T"})(_anything)
    async with await _server(dotted, plain, add) as server, sdk_client(server, version) as client:
        listed = {item.name: item.title for item in (await soon(client.list_tools())).tools}
        assert listed == {"add": None, "time_now": "time.now", "time_a_b": "T"}
        for name in ("time_now", "time.now", "time_a_b"):
            assert (await soon(client.call_tool(name))).content[0].text == "x"
        through_search = await soon(client.call_tool("call_tool", {"name": "time_now"}))
        assert through_search.content[0].text == "x"
        # A tool that has the name itself goes first.
        server.hub.registry.register_batch("", [tool(name="time_now")(_nothing)])
        await until(lambda: _seen(server, "time_now"))
        assert (await soon(client.call_tool("time_now"))).content[0].text == "y"
        assert (await soon(client.call_tool("time.now"))).content[0].text == "x"
        names = [item.name for item in (await soon(client.list_tools())).tools]
        (other,) = [name for name in names if name.startswith("time_now_")]
        assert "time_now" in names
        assert (await soon(client.call_tool(other))).content[0].text == "x"


async def _nothing() -> str:
    return "y"


async def test_pages_go_on_after_a_tool_that_has_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grpc_tool_bridge.gateway.mcp.tools.PAGE_TOOLS", 1)
    named = [tool(name=name)(_anything) for name in ("a.b", "aX", "a_c")]
    async with await _server(*named) as server, sdk_client(server, OLD) as client:
        found, cursor = [], None
        for _ in named:
            page = await soon(client.list_tools(cursor=cursor))
            found += [item.name for item in page.tools]
            cursor = page.next_cursor
        assert (found, cursor) == (["a_b", "aX", "a_c"], None)


@pytest.mark.parametrize("version", VERSIONS)
async def test_an_address_chooses_tools(version: str) -> None:
    async with await _server(add, look, remove) as server, sdk_client(server, version, "?tools=add,lo*") as client:
        assert [item.name for item in (await soon(client.list_tools())).tools] == ["add", "look"]
        assert not (await soon(client.call_tool("look"))).is_error
        with pytest.raises(MCPError) as caught:
            await soon(client.call_tool("remove"))
        assert caught.value.error.code == INVALID_PARAMS


async def test_a_choice_that_cannot_be_read_is_refused() -> None:
    async with await _server(add) as server, RawClient(server, "?tools=" + "x" * 300) as client:
        answer = answer_of(await soon(client.new("tools/list")))
        assert answer["error"]["code"] == INVALID_PARAMS


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_search_stands_for_all_tools(version: str) -> None:
    async with await _server(add, look) as server, sdk_client(server, version, "?tools=search") as client:
        assert [item.name for item in (await soon(client.list_tools())).tools] == ["search_tools", "call_tool"]
        found = await soon(client.call_tool("search_tools", {"query": "adds"}))
        assert found.content[0].text.splitlines()[2:4] == ["add", "Adds."]
        result = await soon(client.call_tool("call_tool", {"name": "add", "arguments": {"a": 4}}))
        assert result.content[0].text == "5"
        for arguments in ({"name": 1}, {"name": "nope"}, {"name": "add", "arguments": []}):
            assert (await soon(client.call_tool("call_tool", arguments))).is_error
        assert (await soon(client.call_tool("search_tools", {"query": 1}))).is_error


async def test_a_search_finds_only_what_was_chosen() -> None:
    async with await _server(add, look) as server, sdk_client(server, NEW, "?tools=search,lo*") as client:
        found = await soon(client.call_tool("search_tools", {"query": ""}))
        assert "look" in found.content[0].text
        assert "add" not in found.content[0].text
        refused = await soon(client.call_tool("call_tool", {"name": "add", "arguments": {"a": 1}}))
        assert refused.is_error


async def test_the_search_is_listed_among_many_tools_and_a_tool_of_its_name_is_meant_first() -> None:
    many = [tool(name=f"t{number:03}")(_anything) for number in range(101)]
    server = await _server(*many)
    async with server, sdk_client(server, NEW) as client:
        names = [item.name for item in (await soon(client.list_tools())).tools]
        assert names[:2] == ["search_tools", "call_tool"]
        assert len(names) == 103
    async with await _server(tool(name="search_tools")(_anything)) as server, sdk_client(server, NEW) as client:
        assert [item.name for item in (await soon(client.list_tools())).tools] == ["search_tools"]
        assert (await soon(client.call_tool("search_tools"))).content[0].text == "x"


async def test_arguments_in_headers_are_checked_from_the_first_call_on() -> None:
    async def where(region: str) -> str:
        return region

    made = tool(where)
    schema = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}
    made.spec.input_schema = json.dumps(schema)
    server = await _server(made)
    async with server, RawClient(server) as client:
        without = await soon(client.new("tools/call", {"name": "where", "arguments": {"region": "eu"}}))
        assert without.status_code == 400
        assert "Region" in without.json()["error"]["message"]


async def test_a_tool_sees_the_session_of_its_client() -> None:
    @tool
    async def mine(ctx: ToolContext) -> str:
        return ctx.session_id

    async with await _server(mine) as server:
        async with sdk_client(server, NEW) as client:
            assert (await soon(client.call_tool("mine"))).content[0].text == "mcp"
        async with sdk_client(server, OLD) as client:
            assert (await soon(client.call_tool("mine"))).content[0].text.startswith("mcp-")
        for version in VERSIONS:
            async with sdk_client(server, version, "?session=a%20b") as client:
                assert (await soon(client.call_tool("mine"))).content[0].text == "a b"
