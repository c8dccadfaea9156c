"""What tools of a cluster are told of who has called them, whichever hub they run at."""

import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, ToolContext, ToolWorker, tool
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.callers import PRINCIPAL_KEY, caller_text
from grpc_tool_bridge.rpc.context import RequestContext
from grpc_tool_bridge.values.serialization import deserialize_value
from integration.agent_runtime import SIGNATURE, ObedientAgents
from integration.caller_tools import asks, seen, who, who_in_process, who_streams
from support.callers import ADA, EVE, bridge, hub, told, worker
from support.nats_nodes import NatsNode, one_node
from support.waiting import soon, until


@tool
async def only_at_b(ctx: ToolContext, further: list[str]) -> list[Any]:
    nested = await ctx.call_tool(further[0]) if further else None
    return [seen(ctx), nested]


@pytest.fixture(scope="module")
def node() -> Iterator[NatsNode]:
    with one_node() as started:
        yield started


class Two:
    """Two hubs, "a" and "b", of one cluster."""

    def __init__(self, stack: AsyncExitStack, a: BridgeServer, b: BridgeServer) -> None:
        self.stack = stack
        self.a = a
        self.b = b

    async def client(self, server: BridgeServer, name: str = "ada", **how: Any) -> GRPCToolBridge:
        made = await self.stack.enter_async_context(bridge(server, name, keep_session=True, **how))
        await made.initialize("s")
        return made

    async def worker(self, server: BridgeServer, *tools: Any, **how: Any) -> ToolWorker:
        return await self.stack.enter_async_context(worker(server, *tools, **how))

    async def known(self, client: GRPCToolBridge, *names: str) -> None:
        """Waits until a client sees tools."""

        await until(lambda: set(names) <= client.tools.keys(), f"for the tools {names}")


@pytest.fixture
async def two(node: NatsNode) -> AsyncIterator[Two]:
    url = f"{node.url}/t{secrets.token_hex(4)}"
    async with AsyncExitStack() as stack:
        servers = []
        for name, tools in (("a", [who, who_in_process, who_streams]), ("b", [only_at_b])):
            server = hub(tools, settings={"hub_name": name, "shutdown_grace": 0}, store=url)
            servers.append(await stack.enter_async_context(server))
        yield Two(stack, *servers)


@pytest.mark.parametrize("transport", ["link", "rpc"])
async def test_a_request_that_is_passed_on_keeps_its_caller(two: Two, transport: Any) -> None:
    await two.client(two.a)
    for principal in (ADA, EVE):
        client = await two.client(two.b, principal.name, transport=transport)
        for _ in range(2):
            assert await soon(client.call_tool("who")) == told(principal)
        assert await soon(client.call_tool("who_in_process")) == told(principal)
        assert [item async for item in client.stream_tool("who_streams")] == [told(principal)]
        batch = pb.BatchToolCallRequest(session_id="s", items=[pb.ToolCallItem(tool_id="who")])
        answer = await soon(client.client.stub.BatchExecuteTools(batch))
        assert deserialize_value(answer.results[0].result) == told(principal)


async def test_a_tool_of_another_hub_sees_the_caller_and_calls_back_for_it(two: Two) -> None:
    client = await two.client(two.a)
    await two.known(client, "only_at_b")
    for _ in range(2):
        own, nested = await soon(client.call_tool("only_at_b", ["who"]))
        assert own == told(ADA)
        assert nested == told(ADA, "tool:only_at_b")


async def test_a_workers_tool_at_another_hub_sees_the_caller_and_calls_back_for_it(two: Two) -> None:
    await two.worker(two.b, asks)
    client = await two.client(two.a)
    await two.known(client, "asks", "only_at_b")
    for _ in range(2):
        own, nested = await soon(client.call_tool("asks", "who", []))
        assert own == told(ADA, claims={})
        assert nested == told(ADA, "tool:asks")
    deep = await soon(client.call_tool("asks", "asks", ["who"]))
    assert deep == [
        told(ADA, claims={}),
        [told(ADA, "tool:asks", claims={}), told(ADA, "tool:asks", "tool:asks")],
    ]


async def test_a_request_that_is_passed_on_to_a_workers_tool_keeps_its_caller(two: Two) -> None:
    await two.worker(two.a, asks)
    await two.client(two.a)
    client = await two.client(two.b, "eve")
    await two.known(client, "asks")
    assert await soon(client.call_tool("asks", "who", [])) == [told(EVE, claims={}), told(EVE, "tool:asks")]


async def test_the_tools_of_an_agent_of_another_hub_act_for_who_started_its_run(two: Two) -> None:
    await two.worker(two.a, asks, agents=ObedientAgents())
    await two.client(two.a, "eve")
    client = await two.client(two.b)
    agent = await soon(client.create_react_agent(SIGNATURE))
    given = {"call": "asks", "arguments": {"name": "who", "further": []}}
    chunks = [chunk async for chunk in client.execute_agent_streaming({"agent_id": agent, "input": given})]
    assert chunks[-1]["final_answer"]["Answer"] == [
        told(ADA, f"agent:{agent}", claims={}),
        told(ADA, f"agent:{agent}", "tool:asks"),
    ]


async def test_every_method_that_takes_a_context_is_told_for_whom_it_is_at_either_hub(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen_by: dict[str, list[Any]] = {}
    for name in ("get_session_variable", "set_session_variable", "initialize_session", "get_session_tools"):
        assert two.a._guarding is not None
        guard = two.a._guarding.front
        monkeypatch.setattr(guard, name, spy(getattr(guard, name), seen_by.setdefault(name, [])))
    own = await two.client(two.a)
    passed = await two.client(two.b, "eve")
    for client in (own, passed):
        await client.session_context.set_variable("x", 1)
        assert await client.session_context.get_variable("x") == 1
    for callers in seen_by.values():
        # Not in order: clients follow the tools meanwhile.
        assert {caller.name for caller in callers} == {"ada", "eve"}


def spy(method: Any, callers: list[Any]) -> Any:
    """Notes for whom a method of what guards a hub is called."""

    async def guarded(request: Any, context: RequestContext) -> Any:
        callers.append(context.principal)
        return await method(request, context)

    return guarded


async def test_a_client_cannot_say_to_another_hub_who_it_is(two: Two) -> None:
    await two.client(two.a)
    client = await two.client(two.b)
    request = pb.ToolCallRequest(session_id="s", tool_id="who", context={PRINCIPAL_KEY: caller_text(EVE)})
    answer = await soon(client.client.stub.ExecuteTool(request, metadata=((PRINCIPAL_KEY, caller_text(EVE)),)))
    assert deserialize_value(answer.result) == told(ADA)


async def test_hubs_that_do_not_authenticate_tell_of_no_caller(node: NatsNode) -> None:
    url = f"{node.url}/t{secrets.token_hex(4)}"
    async with AsyncExitStack() as stack:
        a = await stack.enter_async_context(BridgeServer(tools=[who], store=url))
        b = await stack.enter_async_context(BridgeServer(tools=[only_at_b], store=url))
        two = Two(stack, a, b)
        clients = []
        for server in (a, b):
            client = await stack.enter_async_context(GRPCToolBridge(server.address, keep_session=True))
            await client.initialize("s")
            await two.known(client, "who", "only_at_b")
            clients.append(client)
        nobody: dict[str, Any] = {"name": None, "via": []}
        for client in clients:
            assert await soon(client.call_tool("who")) == nobody
            assert await soon(client.call_tool("only_at_b", ["who"])) == [nobody, nobody]
            assert await soon(client.tools["who"].with_options(idempotency_key="k")()) == nobody
