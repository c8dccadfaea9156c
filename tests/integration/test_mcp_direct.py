"""Plain calls take a short way, and their answers are those of the SDK."""

from typing import Any

import pytest

from grpc_tool_bridge import BridgeServer, Image
from grpc_tool_bridge.gateway.mcp.direct import DirectCalls
from integration.mcp_clients import RawClient, envelope, new_request
from support.waiting import soon


async def add(a: int, b: int = 1) -> int:
    """Adds."""
    return a + b


async def fail() -> str:
    """Fails."""
    raise LookupError("no egg")


async def mixed() -> list[Any]:
    """Mixes."""
    return ["é\u2028", Image(b"x"), {"n": None}]


async def nothing() -> None:
    """Nothing."""


CALLS: list[dict[str, Any]] = [
    {"name": "add", "arguments": {"a": 1, "b": 2}},
    {"name": "add", "arguments": {"a": "x", "c": 1}},
    {"name": "add", "arguments": None},
    {"name": "add"},
    {"name": "fail"},
    {"name": "mixed", "arguments": {}},
    {"name": "nothing", "arguments": {}},
    {"name": "unknown", "arguments": {}},
]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Returns the tools that were called the short way."""
    taken: list[str] = []
    answer = DirectCalls.answer

    async def count(direct: DirectCalls, call: Any, *args: Any) -> None:
        taken.append(call.params.name)
        await answer(direct, call, *args)

    monkeypatch.setattr(DirectCalls, "answer", count)
    return taken


@pytest.mark.parametrize("params", CALLS, ids=str)
async def test_both_ways_answer_the_same(params: dict[str, Any], counted: list[str]) -> None:
    tools = [add, fail, mixed, nothing]
    async with BridgeServer(tools=tools, http_address="127.0.0.1:0") as server, RawClient(server) as client:
        headers, body = new_request("tools/call", params)
        short = await soon(client.http.post(client.url, headers=headers, json=body))
        assert counted == [params["name"]]
        body["params"]["_meta"]["example.com/extra"] = 1
        long = await soon(client.http.post(client.url, headers=headers, json=body))
        assert len(counted) == 1
        assert short.status_code == long.status_code
        assert short.json() == long.json()
        assert short.headers["content-type"] == long.headers["content-type"]


def _without(headers: dict[str, str], *names: str) -> dict[str, str]:
    return {key: value for key, value in headers.items() if key not in names}


UNUSUAL: list[Any] = [
    lambda headers, body: (_without(headers, "mcp-method"), body),
    lambda headers, body: ({**headers, "mcp-name": "other"}, body),
    lambda headers, body: (_without(headers, "mcp-name"), body),
    lambda headers, body: ({**headers, "accept": "application/json"}, body),
    lambda headers, body: ({**headers, "content-type": "text/plain"}, body),
    lambda headers, body: ({**headers, "mcp-protocol-version": "2099-01-01"}, body),
    lambda headers, body: (headers, {**body, "jsonrpc": "1.0"}),
    lambda headers, body: (headers, {**body, "id": None}),
    lambda headers, body: (headers, {**body, "id": 1.5}),
    lambda headers, body: (headers, {**body, "id": True}),
    lambda headers, body: (headers, {**body, "method": "tools/list"}),
    lambda headers, body: (headers, {**body, "params": []}),
    lambda headers, body: (headers, {**body, "params": {**body["params"], "arguments": [1]}}),
    lambda headers, body: (headers, {**body, "params": {**body["params"], "name": 1}}),
    lambda headers, body: (headers, {**body, "params": {**body["params"], "_meta": None}}),
    lambda headers, body: (headers, {**body, "params": {**body["params"], "_meta": envelope(clientInfo={"name": 1})}}),
    lambda headers, body: (headers, {**body, "params": {**body["params"], "_meta": envelope(clientCapabilities=1)}}),
    lambda headers, body: (headers, {**body, "params": {**body["params"], "_meta": envelope(protocolVersion="x")}}),
    lambda headers, body: (headers, [body]),
]


@pytest.mark.parametrize("number", range(len(UNUSUAL)))
async def test_what_is_unusual_is_left_to_the_sdk(number: int, counted: list[str]) -> None:
    async with BridgeServer(tools=[add], http_address="127.0.0.1:0") as server, RawClient(server) as client:
        headers, body = UNUSUAL[number](*new_request("tools/call", {"name": "add", "arguments": {"a": 1}}))
        response = await soon(client.http.post(client.url, headers=headers, json=body))
        assert counted == []
        assert 400 <= response.status_code < 500


async def test_a_client_may_leave_out_who_it_is(counted: list[str]) -> None:
    async with BridgeServer(tools=[add], http_address="127.0.0.1:0") as server, RawClient(server) as client:
        headers, body = new_request("tools/call", {"name": "add", "arguments": {"a": 1}})
        del body["params"]["_meta"]["io.modelcontextprotocol/clientInfo"]
        response = await soon(client.http.post(client.url, headers=headers, json=body))
        assert response.json()["result"]["structuredContent"] == 2
        assert counted == ["add"]


async def test_a_repeated_header_is_left_to_the_sdk(counted: list[str]) -> None:
    async with BridgeServer(tools=[add], http_address="127.0.0.1:0") as server, RawClient(server) as client:
        headers, body = new_request("tools/call", {"name": "add", "arguments": {"a": 1}})
        twice = [*headers.items(), ("mcp-name", "add")]
        response = await soon(client.http.post(client.url, headers=twice, json=body))
        assert (counted, response.status_code) == ([], 400)
