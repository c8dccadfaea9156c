"""The round trip across languages: workers in Elixir, Node.js and Go, with one hub and callers in Python."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio

from grpc_tool_bridge import (
    BridgeServer,
    GRPCToolBridge,
    Question,
    SessionContext,
    Settings,
    Tool,
    ToolExecutionError,
    ToolWorker,
    deserialize_value,
    tool,
)
from grpc_tool_bridge.core.call_log import LOGGER
from grpc_tool_bridge.errors import ToolCommunicationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolCallRequest
from grpc_tool_bridge.testing import ScriptedLM, ToxicProxy
from support.patience import PATIENCE
from support.peers import ELIXIR, GO, LANGUAGES, NODE, Language, PeerProcess, needs_peers, peer
from support.waiting import soon

pytestmark = [needs_peers, pytest.mark.xdist_group("peers"), pytest.mark.asyncio(loop_scope="module")]

MIB = 1024 * 1024
# What a tool is told when its call is cancelled.
REASONS = {"elixir": ":shutdown", "node": "CallCancelledError", "go": "context canceled"}
# Tools that call another one.
NESTED: dict[str, tuple[str, tuple[int, ...]]] = {
    "elixir": ("elixir_double_sum", (1, 2)),
    "node": ("node_sum_of_elixir", (1,)),
    "go": ("go_sum_of_elixir", (1,)),
}
EACH = pytest.mark.parametrize("language", LANGUAGES, ids=lambda language: language.name)


async def python_add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


def new_hub(address: str = "127.0.0.1:0") -> BridgeServer:
    return BridgeServer(address, tools=[python_add], settings=Settings(shutdown_grace=0.0))


async def with_tools(bridge: GRPCToolBridge, session_id: str, *names: str) -> GRPCToolBridge:
    """Waits until a session sees these tools."""
    await bridge.initialize(session_id)
    async with asyncio.timeout(PATIENCE):
        while not set(names) <= set(bridge.tools):
            await asyncio.sleep(0.05)
            await bridge.initialize(session_id)
    return bridge


@asynccontextmanager
async def crew(hub: BridgeServer, *languages: Language, session_id: str = "s") -> AsyncIterator[GRPCToolBridge]:
    """Runs a worker in each language; gives a client that sees the tools of all."""
    async with AsyncExitStack() as stack:
        for language in languages:
            await stack.enter_async_context(peer(language, hub.address))
        bridge = await stack.enter_async_context(GRPCToolBridge(hub.address))
        yield await with_tools(bridge, session_id, *(f"{language.name}_echo" for language in languages))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub() -> AsyncIterator[BridgeServer]:
    async with new_hub() as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bridge(hub: BridgeServer) -> AsyncIterator[GRPCToolBridge]:
    async with crew(hub, *LANGUAGES) as bridge:
        yield bridge


async def test_a_tool_of_elixir_calls_one_of_python_through_its_context(bridge: GRPCToolBridge) -> None:
    assert await bridge.tools["elixir_double_sum"](2, 3) == 10


@EACH
async def test_a_tool_its_caller_and_the_hub_s_log_have_the_same_id(
    bridge: GRPCToolBridge, language: Language, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", LOGGER)
    tool = bridge.tools[f"{language.name}_request_id"]
    link, number = (await tool()).rsplit("-", 1)
    request = ToolCallRequest(session_id=bridge.session_id or "", tool_id=tool.spec.tool_id, request_id="my-own")
    assert deserialize_value((await bridge.client.stub.ExecuteTool(request)).result) == "my-own"
    (streamed,) = [chunk async for chunk in tool.stream()]
    assert streamed.rsplit("-", 1) == [link, str(int(number) + 4)]
    with pytest.raises(ToolExecutionError) as failed:
        await bridge.tools[f"{language.name}_fail"]("no water")
    (line,) = [vars(record)["fields"] for record in caplog.records if record.name == LOGGER]
    # Calls of one link are numbered.
    assert line["request_id"] == failed.value.request_id == f"{link}-{int(number) + 6}"


@pytest.mark.parametrize("reader", ["node", "go"])
async def test_a_stream_from_elixir_is_read_elsewhere(bridge: GRPCToolBridge, reader: str) -> None:
    assert await bridge.tools[f"{reader}_sum_of_elixir"](1_000) == 500_500


async def test_an_agent_has_tools_in_two_languages(hub: BridgeServer, bridge: GRPCToolBridge) -> None:
    results = await bridge.tools["search_web"]("DSPy framework")
    assert results == ["a page about DSPy framework"]
    async with ToolWorker(hub.address, agents={"lm": ScriptedLM()}):
        agent_id = await bridge.create_react_agent(
            "Question -> Answer", tool_names=["search_web", "calculate"], max_iters=3
        )
        asked = {"agent_id": agent_id, "input": {"question": "What is 2 + 2?"}, "stream": True}
        async with asyncio.timeout(PATIENCE):
            chunks = [chunk async for chunk in bridge.execute_agent_streaming(asked)]
    assert [chunk["tool_name"] for chunk in chunks if chunk["type"] == "action"] == ["calculate", "finish"]
    assert chunks[-1]["type"] == "result"
    assert "4" in str(chunks[-1]["final_answer"])


async def test_a_variable_that_elixir_sets_is_seen_in_python_and_in_node(bridge: GRPCToolBridge) -> None:
    variables = bridge.client.session_context
    await variables.set_variable("weather", "unknown")
    async with (
        asyncio.timeout(PATIENCE),
        aclosing(variables.watch_variables("weather", include_initial=True)) as python,
        aclosing(bridge.tools["node_watch"].stream("weather")) as node,
    ):
        assert ((await anext(python)).value, await anext(node)) == ("unknown", "unknown")
        for value in ("sunny", {"b": [1, 2.5, None], "a": "ä"}, 2**53 + 1):
            await bridge.tools["elixir_set"]("weather", value)
            assert ((await anext(python)).value, await anext(node)) == (value, value)


@pytest.mark.parametrize(
    ("tool", "error_type", "says"),
    [
        ("elixir_fail", "RoundTrip.KettleError", "tools.exs"),
        ("node_fail", "KettleError", "tools.mjs"),
        ("go_fail", "kettleError", ""),
    ],
)
async def test_an_exception_arrives_with_its_class_its_text_and_its_stack(
    bridge: GRPCToolBridge, tool: str, error_type: str, says: str
) -> None:
    with pytest.raises(ToolExecutionError) as caught:
        await bridge.tools[tool]("no water")
    assert (caught.value.error_type, caught.value.message) == (error_type, "no water")
    assert caught.value.details["origin"] == "tool"
    assert says in "".join(getattr(caught.value, "__notes__", []))


async def becomes(variables: SessionContext, name: str) -> Any:
    """Waits until a variable is there; returns its value."""
    watch = variables.watch_variables(name, include_initial=True)
    async with asyncio.timeout(PATIENCE), aclosing(watch):
        return (await anext(watch)).value


@EACH
async def test_a_call_that_python_cancels_stops_the_tool(bridge: GRPCToolBridge, language: Language) -> None:
    variables = bridge.client.session_context
    call = asyncio.ensure_future(bridge.tools[f"{language.name}_wait"]())
    assert await becomes(variables, f"{language.name}_begun")
    call.cancel()
    why = await becomes(variables, f"{language.name}_stopped")
    assert why == REASONS[language.name]


async def test_workers_in_three_languages_share_the_calls_of_one_tool(bridge: GRPCToolBridge) -> None:
    await with_tools(bridge, "s", "where")
    answers = await asyncio.gather(*(bridge.tools["where"]() for _ in range(50)))
    assert set(answers) == {language.name for language in LANGUAGES}


@pytest.mark.parametrize("language", [NODE, GO], ids=lambda language: language.name)
async def test_a_tool_asks_its_caller_in_python(hub: BridgeServer, bridge: GRPCToolBridge, language: Language) -> None:
    del bridge  # its workers serve every session
    asked: list[Question] = []
    answers: list[Any] = [{"name": "Ä", "age": 36}, False]

    def on_ask(question: Question) -> Any:
        asked.append(question)
        return answers.pop(0)

    async with GRPCToolBridge(hub.address, on_ask=on_ask) as asking:
        tool = (await asking.initialize("asked"))[f"{language.name}_ask"]
        assert [await tool(), await tool()] == ["accept Ä 36", "decline  0"]
    schema = asked[0].schema
    assert schema is not None
    assert (asked[0].message, sorted(schema["properties"])) == ("Who are you?", ["age", "name"])
    assert schema["properties"]["age"] == {"type": "integer", "maximum": 200}


@EACH
async def test_values_keep_their_types_on_the_way_there_and_back(bridge: GRPCToolBridge, language: Language) -> None:
    echo = bridge.tools[f"{language.name}_echo"]
    for value in (None, True, -(2**63), 2**80, 1.0, -0.0, "ä\U0001f40d", b"\x00\xff", [1, [2.0]], {"b": 1, "a": (1,)}):
        answer = await echo(value)
        assert (repr(answer), type(answer)) == (repr(value), type(value))


@EACH
async def test_what_fits_into_a_message_arrives_and_what_does_not_is_refused(
    bridge: GRPCToolBridge, language: Language
) -> None:
    make, echo = bridge.tools[f"{language.name}_bytes"], bridge.tools[f"{language.name}_echo"]
    assert await make(9 * MIB) == b"x" * (9 * MIB)
    assert await echo(b"y" * (9 * MIB)) == b"y" * (9 * MIB)
    with pytest.raises(ToolExecutionError, match="message too large") as caught:
        await make(11 * MIB)
    assert caught.value.error_type == "MessageTooLarge"
    with pytest.raises(ToolExecutionError, match="message too large"):
        await echo(b"y" * (11 * MIB))
    assert await echo(1) == 1


async def test_five_sessions_at_once_across_languages(hub: BridgeServer, bridge: GRPCToolBridge) -> None:
    del bridge  # its workers serve every session

    async def session(number: int) -> None:
        async with GRPCToolBridge(hub.address) as other:
            await other.initialize(f"concurrent_session_{number}")
            await asyncio.gather(
                *(other.tools[f"{name}_set"]("mine", number) for name in ("elixir", "node", "go") for _ in range(10))
            )
            assert await other.client.session_context.get_variable("mine") == number
            assert await other.tools["elixir_double_sum"](number, 0) == 2 * number
            assert await other.tools["node_sum_of_elixir"](10) == 55

    await soon(asyncio.gather(*(session(number) for number in range(5))))


# ------------------------------------------------------------------------------------------------------ what goes wrong


async def outcomes(call: Callable[[], Awaitable[Any]], count: int, during: Callable[[], Awaitable[Any]]) -> list[Any]:
    """Makes so many calls, ten at a time, and something else when the twentieth has ended."""
    ended = 0
    found: list[Any] = []

    async def caller() -> None:
        nonlocal ended
        while ended < count:
            ended += 1
            if ended == count // 5:
                await during()
            try:
                found.append(await call())
            except (ToolExecutionError, ToolCommunicationError) as error:
                found.append(error)

    await soon(asyncio.gather(*(caller() for _ in range(10))))
    return found


@EACH
async def test_a_worker_that_is_killed_in_the_middle_of_calls_leaves_no_wrong_answer(language: Language) -> None:
    async with new_hub() as hub, GRPCToolBridge(hub.address) as bridge, AsyncExitStack() as stack:
        name = f"{language.name}_echo"
        worker: PeerProcess = await stack.enter_async_context(peer(language, hub.address))
        await with_tools(bridge, "s", name)

        async def replace() -> None:
            await worker.kill()
            await stack.enter_async_context(peer(language, hub.address))

        found = await outcomes(lambda: bridge.tools[name]("tea"), 100, replace)
        assert all(isinstance(one, ToolExecutionError) or one == "tea" for one in found)
        assert {one.error_type for one in found if one != "tea"} <= {"WorkerUnavailable"}
        await with_tools(bridge, "s", name)
        assert await bridge.tools[name]("again") == "again"


@EACH
async def test_what_the_tools_of_a_killed_peer_have_called_is_cancelled(language: Language) -> None:
    number = 50
    all_began, all_cancelled = asyncio.Event(), asyncio.Event()
    began = cancelled = 0

    async def wait() -> None:
        nonlocal began, cancelled
        began += 1
        if began == number:
            all_began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled += 1
            if cancelled == number:
                all_cancelled.set()
            raise

    async def sum_that_waits(a: int, b: int) -> int:
        await wait()
        return a + b

    async def count_that_waits(n: int) -> AsyncIterator[int]:
        await wait()
        yield n

    # A tool of Elixir calls the one, those of the others the other.
    nested: Tool = tool(name="elixir_count")(count_that_waits)
    if language is ELIXIR:
        nested = tool(name="python_add")(sum_that_waits)
    name, arguments = NESTED[language.name]
    async with (
        BridgeServer(tools=[nested]) as hub,
        GRPCToolBridge(hub.address) as bridge,
        peer(language, hub.address) as worker,
    ):
        await with_tools(bridge, "s", name)
        calls = [asyncio.ensure_future(bridge.tools[name](*arguments)) for _ in range(number)]
        await soon(all_began.wait())
        await worker.kill()
        await soon(all_cancelled.wait())
        lost = await soon(asyncio.gather(*calls, return_exceptions=True))
    assert {type(error) for error in lost} == {ToolExecutionError}
    assert {getattr(error, "error_type", "") for error in lost} == {"WorkerUnavailable"}


async def test_workers_come_back_to_a_hub_that_was_restarted() -> None:
    async with new_hub() as first, AsyncExitStack() as stack:
        for language in LANGUAGES:
            await stack.enter_async_context(peer(language, first.address))
        async with GRPCToolBridge(first.address) as bridge:
            await with_tools(bridge, "s", *(f"{language.name}_echo" for language in LANGUAGES))
        address = first.address
        await first.stop()
        async with new_hub(address) as second, GRPCToolBridge(second.address) as bridge:
            await with_tools(bridge, "s", *(f"{language.name}_echo" for language in LANGUAGES))
            assert await bridge.tools["elixir_double_sum"](1, 1) == 4
            assert await bridge.tools["node_sum_of_elixir"](3) == 6


@EACH
async def test_a_worker_that_is_cut_off_comes_back(language: Language) -> None:
    name = f"{language.name}_echo"
    async with new_hub() as hub:
        with ToxicProxy(hub.address) as proxy:
            async with peer(language, proxy.address), GRPCToolBridge(hub.address) as bridge:
                await with_tools(bridge, "s", name)
                assert await bridge.tools[name](1) == 1
                proxy.cut()
                await with_tools(bridge, "s", name)
                assert await soon(bridge.execute_with_retry(name, 2, max_retries=20)) == 2


@pytest.mark.parametrize("language", [NODE, GO], ids=lambda language: language.name)
async def test_a_worker_that_is_asked_to_end_finishes_its_calls(language: Language) -> None:
    async with new_hub() as hub, GRPCToolBridge(hub.address) as bridge, peer(language, hub.address) as worker:
        name = f"{language.name}_echo"
        await with_tools(bridge, "s", name)
        calls = [asyncio.ensure_future(bridge.tools[name](number)) for number in range(100)]
        await calls[0]
        assert await worker.terminate() == 0
        assert await soon(asyncio.gather(*calls)) == list(range(100))
