"""What each principal may use of a hub, over links, RPCs and HTTP, and taking turns where all want the same."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import httpx
import pytest
from pydantic import SecretStr

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, Settings, ToolContext, ToolWorker, tool
from grpc_tool_bridge.errors import ResourceExhaustedError, ToolBridgeError, ValidationError
from grpc_tool_bridge.rpc.authentication import Principal
from integration.agent_runtime import SIGNATURE, ObedientAgents
from support.waiting import soon, until
from trust.hubs import told_apart

NAMES = ("ann", "bob", "eve")


@tool
async def add(a: int, b: int) -> int:
    return a + b


@tool
def blocking_add(a: int, b: int) -> int:
    return a + b


@tool
async def numbers(most: int) -> Any:
    for number in range(most):
        yield number


@tool
async def twice(ctx: ToolContext, a: int) -> int:
    return int(await ctx.call_tool("add", a, a)) + int(await ctx.call_tool("add", a, a))


class Gate:
    """A tool whose calls run until it is opened."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.open = asyncio.Event()

    def tool(self, at_once: int = 1) -> Any:
        async def wait(who: str) -> str:
            self.order.append(who)
            await self.open.wait()
            return who

        return tool(limits={"max_concurrent_calls": at_once})(wait)


TOOLS = [add, blocking_add, numbers, twice]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "quotas.toml"


@pytest.fixture
async def server_of(path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    from contextlib import AsyncExitStack

    told_apart(monkeypatch, {name: {"staff"} if name != "eve" else set() for name in NAMES})
    async with AsyncExitStack() as stack:

        async def start(quotas: str, *more: Any, **settings: Any) -> BridgeServer:
            path.write_text(quotas)  # noqa: ASYNC240 - a small file
            given = Settings(tokens_file=tokens, quotas=path, shutdown_grace=0.0, **settings)
            server = BridgeServer(tools=[*TOOLS, *more], settings=given, http_address="127.0.0.1:0")
            return await stack.enter_async_context(server)

        tokens = path.with_name("tokens")
        tokens.write_text("")
        tokens.chmod(0o600)
        yield start


def bridge_of(server: BridgeServer, who: str, transport: str = "link") -> GRPCToolBridge:
    return GRPCToolBridge(server.address, token=who, transport=transport)  # type: ignore[arg-type]


def web_of(server: BridgeServer, who: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=f"http://{server.http_address}", headers={"authorization": f"Bearer {who}"}, timeout=60
    )


def refused(match: str = "principal") -> Any:
    return pytest.raises(ToolBridgeError, match=match)


CALLS = '[[quotas]]\nprincipals = ["ann"]\ncalls_per_minute = 5\n'


@pytest.mark.parametrize("transport", ["link", "rpc"])
async def test_calls_a_minute_are_counted_whatever_is_called(server_of: Any, transport: str) -> None:
    server = await server_of(CALLS)
    async with bridge_of(server, "ann", transport) as ann, bridge_of(server, "bob", transport) as bob:
        tools = await ann.initialize()
        assert await tools["add"](1, 2) == 3
        assert await tools["blocking_add"](1, 2) == 3
        assert [number async for number in tools["numbers"].stream(2)] == [0, 1]
        # Nested calls are those of a call that was counted.
        assert await tools["twice"](2) == 8
        assert await tools["add"](1, 2) == 3
        with refused("'ann' may use 5 calls a minute") as caught:
            await tools["add"](1, 2)
        assert caught.value.error_type == "RateLimitExceeded"
        assert 0 < float(caught.value.details["retry_after"]) <= 12
        with refused():
            await tools["blocking_add"](1, 2)
        with refused():
            [number async for number in tools["numbers"].stream(2)]
        others = await bob.initialize()
        for _ in range(10):
            assert await others["add"](1, 2) == 3
    metrics = await server.hub.metrics.snapshot(server.hub.counts(), ["hub.quota_refused"])
    assert metrics.metrics["hub.quota_refused"].integer_value == 3


async def test_a_batch_counts_each_of_its_calls(server_of: Any) -> None:
    server = await server_of(CALLS)
    async with bridge_of(server, "ann") as ann:
        await ann.initialize()
        found = await ann.execute_batch([{"tool_id": "add", "args": [number, 1]} for number in range(8)])
        assert sum(isinstance(each, ToolBridgeError) for each in found) == 3


async def test_calls_over_http_use_the_same_quota(server_of: Any) -> None:
    server = await server_of(CALLS)
    async with bridge_of(server, "ann") as ann, web_of(server, "ann") as web:
        tools = await ann.initialize("orders")
        for _ in range(3):
            await tools["add"](1, 2)
        path = "/api/sessions/orders/tools/add/execute"
        codes = [(await web.post(path, json={"args": [1, 2]})).status_code for _ in range(3)]
        assert codes == [200, 200, 429]
        refused = await web.post(path, json={"args": [1, 2]})
        assert int(refused.headers["retry-after"]) >= 1


async def test_bytes_of_calls_and_variables_are_counted_together(server_of: Any) -> None:
    server = await server_of('[[quotas]]\ngroups = ["staff"]\nbytes_per_minute = 10000\n')
    async with bridge_of(server, "ann") as ann, bridge_of(server, "eve") as eve:
        tools = await ann.initialize()
        await ann.session_context.set_variable("text", "x" * 6_000)
        assert await tools["add"](1, 2) == 3
        with pytest.raises(ResourceExhaustedError, match="10,000 bytes a minute"):
            await ann.session_context.set_variable("text", "y" * 6_000)
        assert await ann.session_context.get_variable("text") == "x" * 6_000
        await eve.initialize()
        for _ in range(3):
            await eve.session_context.set_variable("text", "x" * 6_000)


async def test_sessions_are_counted_until_they_end(server_of: Any) -> None:
    server = await server_of('[[quotas]]\nprincipals = ["*"]\nsessions = 2\n')
    async with bridge_of(server, "ann") as one, bridge_of(server, "ann") as two, bridge_of(server, "ann") as three:
        await one.initialize("one")
        await two.initialize("two")
        with pytest.raises(ResourceExhaustedError, match="'ann' has 2 sessions, which is its quota"):
            await three.initialize("three")
        # It is none more.
        await three.initialize("two")
        await one.client.cleanup_session(force=True)
        async with bridge_of(server, "ann") as four:
            await four.initialize("four")
        async with bridge_of(server, "bob") as other:
            await other.initialize("five")


async def test_calls_at_once_wait_and_nested_ones_need_no_place(server_of: Any) -> None:
    gate = Gate()
    server = await server_of('[[quotas]]\nprincipals = ["ann"]\nconcurrent_calls = 1\n', gate.tool())
    async with bridge_of(server, "ann") as ann, bridge_of(server, "bob") as bob:
        tools, others = await ann.initialize(), await bob.initialize()
        first = asyncio.create_task(tools["wait"]("first"))
        await until(lambda: bool(gate.order))
        second = asyncio.create_task(tools["add"](1, 2))
        third = asyncio.create_task(tools["twice"](2))
        assert await others["add"](3, 4) == 7
        quota = server.hub.admission.payers.quotas.of(Principal("ann", frozenset({"staff"}), method="token"))
        await until(lambda: quota.limiter.waiting == 2)
        assert not second.done()
        gate.open.set()
        assert await soon(first) == "first"
        assert await soon(second) == 3
        assert await soon(third) == 8
        assert (quota.limiter.used, quota.limiter.waiting) == (0, 0)


async def test_principals_take_turns_at_a_tool_that_runs_one_call_at_a_time(server_of: Any) -> None:
    gate = Gate()
    server = await server_of(CALLS.replace("ann", "nobody"), gate.tool())
    async with bridge_of(server, "ann") as ann, bridge_of(server, "bob") as bob:
        tools, others = await ann.initialize(), await bob.initialize()
        flood = [asyncio.create_task(tools["wait"](f"ann {number}")) for number in range(20)]
        limiter = server.hub.store.tools["wait"].limiter
        await until(lambda: limiter.waiting == 19)
        one = asyncio.create_task(others["wait"]("bob"))
        await until(lambda: limiter.waiting == 20)
        gate.open.set()
        await soon(asyncio.gather(one, *flood))
        assert gate.order.index("bob") <= 2


async def test_who_floods_a_worker_leaves_room_for_others(server_of: Any) -> None:
    gate = Gate()
    server = await server_of(CALLS.replace("ann", "nobody"), max_worker_waiting=10)
    async with (
        ToolWorker(server.address, [gate.tool(0)], token="eve", capacity=1),
        bridge_of(server, "ann") as ann,
        bridge_of(server, "bob") as bob,
    ):
        await until(lambda: "wait" in server.hub.registry.by_name(None))
        tools, others = await ann.initialize(), await bob.initialize()
        flood = [asyncio.create_task(tools["wait"](f"ann {number}")) for number in range(30)]
        await until(lambda: sum(task.done() for task in flood) == 30 - 11)
        # The queue is full of calls of one principal, of which the last gives way.
        one = asyncio.create_task(others["wait"]("bob"))
        await until(lambda: sum(task.done() for task in flood) == 30 - 10)
        gate.open.set()
        assert await soon(one) == "bob"
        ended = await soon(asyncio.gather(*flood, return_exceptions=True))
        assert [getattr(each, "error_type", "") for each in ended].count("ResourceExhausted") == 20
        assert gate.order.index("bob") <= 2


async def test_changes_of_the_file_hold_at_once_and_bad_ones_change_nothing(server_of: Any, path: Path) -> None:
    server = await server_of('[[quotas]]\nprincipals = ["ann"]\ncalls_per_minute = 1\n')
    async with bridge_of(server, "ann") as ann:
        tools = await ann.initialize()
        await tools["add"](1, 2)
        with refused():
            await tools["add"](1, 2)
        path.write_text("[[quotas]]\n")  # noqa: ASYNC240 - a small file
        (file,) = server._guarding._files
        assert not await file.look()
        with refused():
            await tools["add"](1, 2)
        path.write_text(CALLS)  # noqa: ASYNC240 - a small file
        assert await file.look()
        for _ in range(5):
            await tools["add"](1, 2)


def test_a_hub_that_cannot_tell_callers_apart_does_not_start_with_quotas(path: Path) -> None:
    path.write_text(CALLS)
    with pytest.raises(ValidationError, match="nothing tells this hub one from another"):
        BridgeServer(tools=TOOLS, settings=Settings(token=SecretStr("any"), quotas=path))


@tool
async def large(size: int) -> str:
    return "x" * size


@tool
async def chunks(most: int) -> Any:
    for _ in range(most):
        yield "x" * 2_000


@tool
def blocking_large(size: int) -> str:
    return "x" * size


BYTES = '[[quotas]]\nprincipals = ["ann"]\nbytes_per_minute = 10000\n'


@pytest.mark.parametrize("name", ["large", "blocking_large"])
@pytest.mark.parametrize("transport", ["link", "rpc"])
async def test_bytes_of_answers_are_taken_from_what_comes(server_of: Any, transport: str, name: str) -> None:
    server = await server_of(BYTES, large, blocking_large)
    async with bridge_of(server, "ann", transport) as ann:
        tools = await ann.initialize()
        assert len(await tools[name](15_000)) == 15_000
        with refused("10,000 bytes a minute") as caught:
            await tools[name](1)
        # More than half of a minute's bytes are owed.
        assert float(caught.value.details["retry_after"]) > 30


async def test_bytes_of_the_answers_of_a_workers_tool_are_counted(server_of: Any) -> None:
    server = await server_of(BYTES)
    async with ToolWorker(server.address, [large], token="eve"), bridge_of(server, "ann") as ann:
        await until(lambda: "large" in server.hub.registry.by_name(None))
        tools = await ann.initialize()
        assert len(await tools["large"](15_000)) == 15_000
        with refused("10,000 bytes a minute"):
            await tools["large"](1)


@pytest.mark.parametrize("transport", ["link", "rpc"])
async def test_a_stream_ends_once_the_bytes_are_used(server_of: Any, transport: str) -> None:
    server = await server_of(BYTES, chunks)
    async with bridge_of(server, "ann", transport) as ann, bridge_of(server, "bob", transport) as bob:
        tools, others = await ann.initialize(), await bob.initialize()
        read = 0
        with refused("10,000 bytes a minute") as caught:
            async for chunk in tools["chunks"].stream(50):
                read += len(chunk)
        assert caught.value.error_type == "RateLimitExceeded"
        assert read == 4 * 2_000
        assert len([chunk async for chunk in others["chunks"].stream(50)]) == 50


async def test_calls_of_who_has_a_quota_take_the_short_way(server_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server = await server_of(f"{CALLS}concurrent_calls = 3\nbytes_per_minute = 100000\n")
    general = AsyncMock(side_effect=AssertionError("the general way"))
    async with bridge_of(server, "ann") as ann:
        tools = await ann.initialize()
        with monkeypatch.context() as patched:
            patched.setattr(server.hub.executor, "run", general)
            for _ in range(5):
                assert await tools["add"](1, 2) == 3
        with refused("5 calls a minute"):
            await tools["add"](1, 2)
        quota = server.hub.admission.payers.quotas.of(Principal("ann", frozenset({"staff"}), method="token"))
        assert quota.limiter.used == 0


async def test_an_agent_whose_run_has_the_only_place_of_its_principal_calls_tools(server_of: Any) -> None:
    server = await server_of('[[quotas]]\nprincipals = ["ann"]\nconcurrent_calls = 1\ncalls_per_minute = 3\n')
    agents = ToolWorker(server.address, agents=ObedientAgents(), token="eve")
    async with agents, bridge_of(server, "ann") as ann:
        await ann.initialize()
        agent = await soon(ann.create_react_agent(SIGNATURE))
        task = {"agent_id": agent, "input": {"call": "add", "arguments": {"a": 1, "b": 2}}}

        async def run() -> list[Any]:
            return [chunk async for chunk in ann.execute_agent_streaming(task)]

        for _ in range(2):
            assert (await soon(run()))[-1]["final_answer"]["Answer"] == 3
        # To create it was one, too; what it calls itself is none.
        with refused("3 calls a minute"):
            await soon(run())
