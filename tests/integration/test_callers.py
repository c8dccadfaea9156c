"""What a tool is told of who has called it, over every edge, and that nobody can tell it so who may not."""

from contextlib import AsyncExitStack
from typing import Any

import grpc
import httpx
import pytest
from google.protobuf.json_format import MessageToDict

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, ToolContext, ToolExecutionError, ToolWorker, tool
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.proto.dspex_bridge_pb2_grpc import SnakepitBridgeStub
from grpc_tool_bridge.rpc.callers import PRINCIPAL_KEY, caller_text
from grpc_tool_bridge.rpc.methods import ORIGIN_KEY
from grpc_tool_bridge.tools.middleware import CallNext, ToolCall
from grpc_tool_bridge.transport.link_stub import LinkStub
from grpc_tool_bridge.values.serialization import deserialize_value
from integration.agent_runtime import SIGNATURE, ObedientAgents
from integration.caller_tools import ALL, asks, marks, who, who_in_process, who_in_thread, who_streams
from integration.mcp_clients import OLD, VERSIONS, RawClient
from integration.mcp_grpc_peers import call_of, stub_of
from support.callers import ADA, EVE, WORKER, bridge, hub, told, worker
from support.waiting import soon

FORGED = {PRINCIPAL_KEY: caller_text(EVE), "tool-bridge-asks": "true", "colour": "red"}


def methods_of(client: GRPCToolBridge) -> Any:
    """The methods of the hub, as a client sends them."""
    return client.client.stub


@pytest.fixture(params=["link", "rpc"])
def transport(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(params=["hub", "worker"])
def where(request: pytest.FixtureRequest) -> Any:
    return request.param


class Chain:
    """Middleware that notes who calls."""

    def __init__(self) -> None:
        self.callers: list[Any] = []

    async def __call__(self, call: ToolCall, call_next: CallNext) -> Any:
        self.callers.append((call.principal and call.principal.name, call.via))
        return await call_next(call)


# --------------------------------------------------------------------------------------------- who has called


@pytest.mark.parametrize("name", ["who", "who_in_thread", "who_in_process"])
async def test_a_tool_sees_its_caller(transport: Any, where: Any, name: str) -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(hub(ALL if where == "hub" else ()))
        if where == "worker":
            await stack.enter_async_context(worker(server, *ALL))
        ada = await stack.enter_async_context(bridge(server, transport=transport))
        await ada.initialize()
        claims: dict[str, Any] | None = None if where == "hub" else {}
        for _ in range(2):
            assert await soon(ada.call_tool(name)) == told(ADA, claims=claims)


async def test_streams_and_items_of_batches_see_their_caller(where: Any) -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(hub([who, who_streams] if where == "hub" else ()))
        if where == "worker":
            await stack.enter_async_context(worker(server, who, who_streams))
        ada = await stack.enter_async_context(bridge(server))
        await ada.initialize()
        expected = told(ADA, claims=None if where == "hub" else {})
        assert [item async for item in ada.stream_tool("who_streams")] == [expected]
        items = [pb.ToolCallItem(tool_id="who"), pb.ToolCallItem(tool_id="who", index=1)]
        batch = pb.BatchToolCallRequest(session_id=ada.session_id or "", items=items)
        answer = await soon(methods_of(ada).BatchExecuteTools(batch))
        assert [deserialize_value(result.result) for result in answer.results] == [expected, expected]


async def test_where_nobody_is_authenticated_there_is_no_caller(where: Any) -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(BridgeServer(tools=ALL if where == "hub" else ()))
        if where == "worker":
            await stack.enter_async_context(ToolWorker(server.address, ALL))
        client = await stack.enter_async_context(GRPCToolBridge(server.address))
        await client.initialize()
        nobody: dict[str, Any] = {"name": None, "via": []}
        assert await soon(client.call_tool("who")) == nobody
        assert await soon(client.call_tool("who_in_process")) == nobody
        assert await soon(client.call_tool("asks", "who", [])) == [nobody, nobody]


async def test_a_workers_tool_is_told_of_the_claims_that_are_listed() -> None:
    settings = {"forwarded_claims": ("email", "phone")}
    async with (
        hub(settings=settings) as server,
        worker(server, who),
        bridge(server) as ada,
    ):
        await ada.initialize()
        assert await soon(ada.call_tool("who")) == told(ADA, claims={"email": "ada@example.com"})


async def test_middleware_sees_the_caller() -> None:
    at_hub, at_worker = Chain(), Chain()
    async with (
        hub([asks], middleware=[at_hub]) as server,
        worker(server, who, middleware=[at_worker]),
        bridge(server) as ada,
    ):
        await ada.initialize()
        await soon(ada.call_tool("asks", "who", []))
    assert at_hub.callers == [("ada", ()), ("ada", ("tool:asks",))]
    assert at_worker.callers == [("ada", ("tool:asks",))]


async def test_a_kept_result_is_not_given_to_another_caller() -> None:
    kept = tool(name="kept", idempotent=True)(who.function)
    async with hub([kept]) as server, bridge(server) as ada, bridge(server, "eve") as eve:
        await ada.initialize("s", config=pb.SessionConfig(enable_caching=True))
        await eve.initialize("s")
        assert await soon(ada.call_tool("kept")) == told(ADA)
        assert await soon(eve.call_tool("kept")) == told(EVE)


async def test_the_answer_to_a_key_is_not_given_to_another_caller() -> None:
    async with hub([who]) as server, bridge(server) as ada, bridge(server, "eve") as eve:
        for client in (ada, eve):
            await client.initialize("s")
        keyed = [client.tools["who"].with_options(idempotency_key="k") for client in (ada, eve)]
        assert await soon(keyed[0]()) == await soon(keyed[0]()) == told(ADA)
        with pytest.raises(ToolExecutionError) as caught:
            await soon(keyed[1]())
        assert caught.value.error_type == "IdempotencyConflict"


# -------------------------------------------------------------------------------------------------- nested calls


async def test_nested_calls_act_for_the_outermost_caller_and_say_how_they_came() -> None:
    async with (
        hub([who]) as server,
        worker(server, asks, who_in_thread),
        bridge(server) as ada,
        bridge(server, "eve") as eve,
    ):
        await ada.initialize()
        await eve.initialize()
        for client, principal in ((ada, ADA), (eve, EVE)):
            first, second = await soon(client.call_tool("asks", "who", []))
            assert first == told(principal, claims={})
            assert second == told(principal, "tool:asks")
            deep = await soon(client.call_tool("asks", "asks", ["who_in_thread"]))
            assert deep[1][1] == told(principal, "tool:asks", "tool:asks", claims={})


async def test_the_tools_of_an_agent_act_for_who_started_its_run() -> None:
    agents = ObedientAgents()
    async with (
        hub([asks]) as server,
        worker(server, who, agents=agents),
        bridge(server) as ada,
    ):
        await ada.initialize()
        agent = await soon(ada.create_react_agent(SIGNATURE))
        given = {"call": "asks", "arguments": {"name": "who", "further": []}}
        chunks = [chunk async for chunk in ada.execute_agent_streaming({"agent_id": agent, "input": given})]
    result = chunks[-1]["final_answer"]["Answer"]
    assert result == [told(ADA, f"agent:{agent}"), told(ADA, f"agent:{agent}", "tool:asks", claims={})]


# ----------------------------------------------------------------------------------------- over HTTP and MCP


async def test_a_tool_sees_who_calls_over_http(where: Any) -> None:
    async with AsyncExitStack() as stack:
        tools = [who, who_streams, marks]
        of_hub = tools if where == "hub" else ()
        server = await stack.enter_async_context(hub(of_hub, http_address="127.0.0.1:0"))
        if where == "worker":
            await stack.enter_async_context(worker(server, *tools))
        http = await stack.enter_async_context(httpx.AsyncClient(base_url=f"http://{server.http_address}"))
        eve = {"authorization": "Bearer eve"}
        assert (await http.post("/api/sessions", json={"session_id": "s"}, headers=eve)).status_code < 300
        call = "/api/sessions/s/tools/{}/execute"
        claims: dict[str, Any] | None = None if where == "hub" else {}
        for principal in (ADA, EVE):
            headers = {"authorization": f"Bearer {principal.name}"}
            answer = await soon(http.post(call.format("who"), json={"context": FORGED}, headers=headers))
            assert answer.json()["result"] == told(principal, claims=claims)
        answer = await soon(http.post(call.format("marks"), json={"context": FORGED}, headers=eve | FORGED))
        assert answer.json()["result"] == {"colour": "red"}


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_tool_sees_who_calls_by_mcp(version: str) -> None:
    async with (
        hub([who, marks], http_address="127.0.0.1:0") as server,
        worker(server, asks),
    ):
        # They share a session of the hub.
        for principal in (ADA, EVE):
            async with RawClient(server, "?session=shared") as client:
                client.http.headers["authorization"] = f"Bearer {principal.name}"
                if version == OLD:
                    await client.connect()
                call = client.call_old if version == OLD else client.call_new
                for name, arguments in (("who", {}), ("asks", {"name": "who", "further": []})):
                    result = await soon(call(name, arguments))
                    found = result["structuredContent"]
                    if name == "who":
                        assert found == told(principal)
                        continue
                    own, nested = found if isinstance(found, list) else found["result"]
                    assert (own, nested) == (told(principal, claims={}), told(principal, "tool:asks"))


async def test_a_tool_sees_who_calls_by_mcp_over_grpc() -> None:
    async with hub([who], settings={"mcp_grpc": True}) as server, stub_of(server) as stub:
        # They share a session of the hub.
        for principal in (ADA, EVE):
            said = (("authorization", f"Bearer {principal.name}"), (PRINCIPAL_KEY, caller_text(WORKER)))
            answer = await soon(stub.CallTool(call_of("who"), metadata=said))
            assert MessageToDict(answer.structured_content) == told(principal)


# ------------------------------------------------------------------------------------------ nobody can forge it


async def test_what_a_client_says_in_metadata_is_dropped(transport: Any, where: Any) -> None:
    tools = [who, marks, who_in_process]
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(hub(tools if where == "hub" else ()))
        if where == "worker":
            await stack.enter_async_context(worker(server, *tools))
        ada = await stack.enter_async_context(bridge(server, transport=transport))
        await ada.initialize("s", metadata=FORGED)
        forging = {name: ada.tools[name].with_options(metadata=FORGED) for name in ("who", "marks", "who_in_process")}
        claims: dict[str, Any] | None = None if where == "hub" else {}
        assert await soon(forging["who"]()) == told(ADA, claims=claims)
        assert await soon(forging["who_in_process"]()) == told(ADA, claims=claims)
        assert await soon(forging["marks"]()) == {"colour": "red"}
        assert [value async for value in forging["marks"].stream()] == [{"colour": "red"}]
        assert await soon(ada.call_tool("marks")) == {"colour": "red"}


async def test_the_metadata_of_a_clients_link_says_nothing_of_its_caller(where: Any) -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(hub([who] if where == "hub" else ()))
        if where == "worker":
            await stack.enter_async_context(worker(server, who))
        ada = await stack.enter_async_context(bridge(server))
        await ada.initialize()
        request = pb.ToolCallRequest(session_id=ada.session_id or "", tool_id="who")
        for metadata in ({PRINCIPAL_KEY: caller_text(EVE)}, {PRINCIPAL_KEY: "no JSON"}, FORGED):
            answer = await soon(methods_of(ada).ExecuteTool(request, metadata=tuple(metadata.items())))
            found = deserialize_value(answer.result)
            assert found == told(ADA, claims=None if where == "hub" else {})


async def test_the_metadata_of_an_rpc_says_nothing_of_its_caller() -> None:
    async with hub([who]) as server, bridge(server, transport="rpc") as ada:
        await ada.initialize()
        request = pb.ToolCallRequest(session_id=ada.session_id or "", tool_id="who", context=FORGED)
        said = (("authorization", "Bearer eve"), *{PRINCIPAL_KEY: caller_text(ADA), ORIGIN_KEY: "1"}.items())
        async with grpc.aio.insecure_channel(server.address) as channel:
            stub: Any = SnakepitBridgeStub(channel)
            answer = await soon(stub.ExecuteTool(request, metadata=said))
        assert deserialize_value(answer.result) == told(EVE)


async def test_a_worker_cannot_say_for_whom_its_nested_calls_are() -> None:
    async with hub([who]) as server, bridge(server) as ada:
        await ada.initialize()
        answers: list[Any] = []

        @tool
        async def forges(ctx: ToolContext) -> None:
            runtime: Any = ctx._runtime
            stub, number = runtime._origin.link, runtime._origin.number
            request = pb.ToolCallRequest(session_id=ctx.session_id, tool_id="who")
            for metadata in ({ORIGIN_KEY: str(number)}, {}):
                sent = tuple({**metadata, PRINCIPAL_KEY: caller_text(EVE)}.items())
                answer = await LinkStub(stub).ExecuteTool(request, metadata=sent)
                answers.append(deserialize_value(answer.result))

        async with worker(server, forges):
            await soon(ada.call_tool("forges"))
        assert answers == [told(ADA, "tool:forges"), told(WORKER)]
