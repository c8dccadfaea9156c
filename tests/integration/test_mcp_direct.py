"""Plain calls take a short way, and their answers are those of the SDK."""

import asyncio
import json
from typing import Any

import pytest

from grpc_tool_bridge import BridgeServer, Image, ToolContext
from grpc_tool_bridge.gateway.mcp import event_store, session_calls
from grpc_tool_bridge.gateway.mcp.direct import DirectCalls
from grpc_tool_bridge.gateway.mcp.session_calls import SessionCalls
from integration.mcp_clients import ACCEPT, RawClient, answer_of, envelope, new_request, old_body, without_id
from support.waiting import soon, until


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
        taken.append(call.plain.params.name)
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
        assert without_id(short.json()) == without_id(long.json())
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


BODIES: list[Any] = [
    lambda body: body.encode("utf-16"),
    lambda body: b"\xef\xbb\xbf" + body.encode(),
    lambda body: body.replace("'?'", '"\\ud800"').encode(),
]


@pytest.mark.parametrize("number", range(len(BODIES)))
@pytest.mark.parametrize("is_new", [True, False], ids=["2026", "2025"])
async def test_bytes_that_are_unusual_are_left_to_the_sdk(
    number: int, is_new: bool, counted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SessionCalls, "answer", None)
    async with BridgeServer(tools=[add], http_address="127.0.0.1:0") as server, RawClient(server) as client:
        params = {"name": "add", "arguments": {"a": "?"}}
        headers, body = new_request("tools/call", params)
        if not is_new:
            await soon(client.connect())
            headers, body = {**ACCEPT, **client.session}, old_body("tools/call", params)
        data = BODIES[number](json.dumps(body).replace('"?"', "'?'" if number == 2 else "1"))
        response = await soon(client.http.post(client.url, headers=headers, content=data))
        assert counted == []
        assert response.status_code < 500


async def test_a_type_that_begins_like_json_is_left_to_the_sdk(counted: list[str]) -> None:
    async with BridgeServer(tools=[add], http_address="127.0.0.1:0") as server, RawClient(server) as client:
        headers, body = new_request("tools/call", {"name": "add", "arguments": {"a": 1}})
        headers["content-type"] = "application/jsonl"
        await soon(client.http.post(client.url, headers=headers, json=body))
        assert counted == []


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


# --------------------------------------------------------------------------------------------- within a session, 2025


@pytest.fixture
def in_session(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Returns the tools that were called the short way of a session."""
    taken: list[str] = []
    answer = SessionCalls.answer

    async def count(calls: SessionCalls, call: Any, *args: Any) -> None:
        taken.append(call.plain.params.name)
        await answer(calls, call, *args)

    monkeypatch.setattr(SessionCalls, "answer", count)
    return taken


@pytest.mark.parametrize("params", CALLS, ids=str)
async def test_both_ways_of_a_session_answer_the_same(params: dict[str, Any], in_session: list[str]) -> None:
    tools = [add, fail, mixed, nothing]
    async with BridgeServer(tools=tools, http_address="127.0.0.1:0") as server, RawClient(server) as client:
        await client.connect()
        short = await soon(client.old("tools/call", params, 7))
        assert in_session == [params["name"]]
        assert short.headers["content-type"] == "application/json"
        assert short.headers["mcp-session-id"] == client.session["mcp-session-id"]
        long = await soon(client.old("tools/call", {**params, "_meta": {"example.com/extra": 1}}, 7))
        assert len(in_session) == 1
        assert without_id(short.json()) == without_id(answer_of(long))


@pytest.mark.parametrize(
    "change",
    [
        {"accept": "application/json"},
        {"content-type": "text/plain"},
        {"mcp-protocol-version": "2024-11-05"},
    ],
    ids=str,
)
async def test_what_is_unusual_in_a_session_is_left_to_the_sdk(change: dict[str, str], in_session: list[str]) -> None:
    async with BridgeServer(tools=[add], http_address="127.0.0.1:0") as server, RawClient(server) as client:
        await client.connect()
        client.session.update(change)
        await soon(client.old("tools/call", {"name": "add", "arguments": {"a": 1}}))
        assert in_session == []


async def test_a_session_that_is_not_begun_calls_nothing(in_session: list[str]) -> None:
    async with BridgeServer(tools=[add], http_address="127.0.0.1:0") as server, RawClient(server) as client:
        answer = await soon(client.old("tools/call", {"name": "add", "arguments": {"a": 1}}))
        assert answer.status_code == 400
        client.session = {"mcp-session-id": "made-up"}
        answer = await soon(client.old("tools/call", {"name": "add", "arguments": {"a": 1}}))
        assert (answer.status_code, in_session) == (404, [])


async def test_a_slow_call_gets_a_stream_that_can_be_read_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_calls, "SOON_SECONDS", 0.0)
    monkeypatch.setattr(session_calls, "PING_SECONDS", 0.01)
    go = asyncio.Event()

    async def slow() -> str:
        """Waits."""
        await go.wait()
        return "late"

    async with BridgeServer(tools=[slow], http_address="127.0.0.1:0") as server, RawClient(server) as client:
        await client.connect()
        async with client.stream("POST", body=old_body("tools/call", {"name": "slow"}, 3)) as frames:
            assert await soon(frames.next()) is None
            assert frames.last_id
            assert frames.retry == "1000"
            line = await soon(anext(frames.lines))
            assert line == ": ping"
            go.set()
            answer = await soon(frames.message())
            assert answer["result"]["content"][0]["text"] == "late"


async def test_an_older_client_gets_no_event_without_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_calls, "SOON_SECONDS", 0.0)
    go = asyncio.Event()

    async def slow() -> str:
        """Waits."""
        await go.wait()
        return "late"

    async with BridgeServer(tools=[slow], http_address="127.0.0.1:0") as server, RawClient(server) as client:
        await client.connect(version="2025-06-18")
        async with client.stream("POST", body=old_body("tools/call", {"name": "slow"}, 3)) as frames:
            go.set()
            assert (await soon(frames.next()))["id"] == 3


async def test_many_log_lines_arrive_in_order_however_slowly_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_store, "MAX_CLIENT_EVENTS", 150)

    async def tell(ctx: ToolContext) -> str:
        """Tells."""
        for number in range(600):
            ctx.log(str(number))
        return "told"

    async with BridgeServer(tools=[tell], http_address="127.0.0.1:0") as server, RawClient(server) as client:
        await client.connect()
        async with client.stream("POST", body=old_body("tools/call", {"name": "tell"}, 3)) as frames:
            found = [(await soon(frames.message()))["params"]["data"] for _ in range(600)]
            assert found == [str(number) for number in range(600)]
            assert (await soon(frames.message()))["id"] == 3


async def test_calls_with_the_same_id_are_both_answered() -> None:
    go = asyncio.Event()

    async def slow() -> str:
        """Waits."""
        await go.wait()
        return "late"

    async with BridgeServer(tools=[slow, add], http_address="127.0.0.1:0") as server, RawClient(server) as client:
        await client.connect()
        waiting = asyncio.create_task(client.old("tools/call", {"name": "slow"}, 5))
        await until(lambda: server.hub.admission.active)
        second = await soon(client.old("tools/call", {"name": "add", "arguments": {"a": 1}}, 5))
        assert answer_of(second)["result"]["content"][0]["text"] == "2"
        go.set()
        await soon(waiting)
