"""Tools ask the users of MCP clients, over real HTTP, in both generations of the protocol."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from mcp.client import Client
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, MISSING_REQUIRED_CLIENT_CAPABILITY, ElicitResult, InputRequiredResult

from grpc_tool_bridge import BridgeServer, Settings, ToolContext, ToolWorker, UnimplementedError, tool
from grpc_tool_bridge.client.client import ToolBridgeClient
from grpc_tool_bridge.gateway.mcp.server import make_server
from grpc_tool_bridge.gateway.mcp.sessions import SessionClients, SessionKey
from grpc_tool_bridge.gateway.mcp.tools import ToolHandlers
from grpc_tool_bridge.transport.channel import Connection
from grpc_tool_bridge.transport.link_stub import LinkTransport
from integration.mcp_clients import NEW, OLD, Person, mcp_client
from support.waiting import soon, until

NAME = {"title": "user_name", "type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}

withdrawn = asyncio.Event()


@tool
async def greet(ctx: ToolContext) -> str:
    """Asks who is there."""
    ctx.progress(1, 2, "asks")
    answer = await ctx.ask("Who is there?", NAME)
    ctx.progress(2, 2, "knows")
    return f"Hello {answer.content['name']}" if answer.accepted else f"They {answer.action}"


@tool
async def twice(ctx: ToolContext) -> list[str]:
    """Asks two things at once, and one after them."""
    first, second = await asyncio.gather(ctx.ask("First?", NAME), ctx.ask("Second?"))
    third = await ctx.ask("Third?", NAME)
    return [first.content["name"], second.action, third.content["name"]]


@tool
async def outer(ctx: ToolContext) -> str:
    """Calls a tool that asks."""
    said: str = await ctx.call_tool("greet")
    return f"It said: {said}"


@tool
async def able(ctx: ToolContext) -> str:
    """Does without an answer."""
    try:
        return (await ctx.ask("Sure?")).action
    except UnimplementedError:
        return "nobody to ask"


@tool
async def patient(ctx: ToolContext) -> str:
    """Waits for an answer that does not come, and notes its end."""
    try:
        await ctx.ask("Well?")
    except asyncio.CancelledError:
        withdrawn.set()
        raise
    return "answered"


TOOLS = [greet, twice, outer, able, patient]


# A call that waits for its user delays the end of a hub by this, like any other call.
IMPATIENT = Settings(shutdown_grace=0.05)


@pytest.fixture
async def server() -> AsyncIterator[BridgeServer]:
    withdrawn.clear()
    async with BridgeServer(tools=TOOLS, http_address="127.0.0.1:0", settings=IMPATIENT) as server:
        yield server


@pytest.fixture(params=[OLD, NEW])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def text(result: Any) -> str:
    return str(result.content[0].text)


async def test_a_tool_asks_and_its_progress_goes_on(server: BridgeServer, version: str) -> None:
    person, steps = Person({"name": "Ada"}), []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        steps.append((progress, total, message))

    async with mcp_client(server, version, elicitation_callback=person) as client:
        result = await soon(client.call_tool("greet", progress_callback=on_progress))
    assert (text(result), result.is_error) == ("Hello Ada", False)
    ((message, schema),) = person.asked
    assert message == "Who is there?"
    assert {key: schema[key] for key in ("type", "properties", "required")} == {
        key: NAME[key] for key in ("type", "properties", "required")
    }
    assert steps == [(1, 2, "asks"), (2, 2, "knows")]


@pytest.mark.parametrize("action", ["decline", "cancel"])
async def test_a_user_may_refuse(server: BridgeServer, version: str, action: Any) -> None:
    async with mcp_client(server, version, elicitation_callback=Person(ElicitResult(action=action))) as client:
        assert text(await soon(client.call_tool("greet"))) == f"They {action}"


async def test_several_questions_are_answered_and_the_outermost_caller_is_asked(
    server: BridgeServer, version: str
) -> None:
    person = Person({"name": "A"}, {}, {"name": "C"}, {"name": "D"})
    async with mcp_client(server, version, elicitation_callback=person) as client:
        assert (await soon(client.call_tool("twice"))).structured_content in (
            ["A", "accept", "C"],
            {"result": ["A", "accept", "C"]},
        )
        assert text(await soon(client.call_tool("outer"))) == "It said: Hello D"
    assert [message for message, _ in person.asked] == ["First?", "Second?", "Third?", "Who is there?"]


async def test_an_answer_that_does_not_fit_is_an_error_that_names_it(server: BridgeServer, version: str) -> None:
    async with mcp_client(server, version, elicitation_callback=Person({"name": 7})) as client:
        result = await soon(client.call_tool("greet"))
    assert result.is_error
    assert "ValidationError" in text(result)
    assert "'name' is 7, not a string" in text(result)


async def test_calls_at_once_do_not_mix_their_answers(server: BridgeServer, version: str) -> None:
    async def one(name: str) -> str:
        async with mcp_client(
            server, version, "?session=shared", elicitation_callback=Person({"name": name})
        ) as client:
            return text(await client.call_tool("greet"))

    names = [f"N{number}" for number in range(8)]
    assert await soon(asyncio.gather(*map(one, names))) == [f"Hello {name}" for name in names]


async def test_a_client_that_cannot_ask_its_user_is_told_what_it_lacks(server: BridgeServer, version: str) -> None:
    async with mcp_client(server, version) as client:
        # A tool that can do without goes on.
        assert text(await soon(client.call_tool("able"))) == "nobody to ask"
        for name in ("greet", "outer"):
            if version == OLD:
                result = await soon(client.call_tool(name))
                assert result.is_error
                assert "greet asks the user a question" in text(result)
                assert "the capability elicitation" in text(result)
                continue
            with pytest.raises(MCPError, match="greet asks the user a question") as caught:
                await soon(client.call_tool(name))
            assert caught.value.error.code == MISSING_REQUIRED_CLIENT_CAPABILITY
            assert caught.value.error.data == {"requiredCapabilities": {"elicitation": {}}}


async def test_a_call_that_is_cancelled_withdraws_its_question(server: BridgeServer) -> None:
    asked, cancelled = asyncio.Event(), asyncio.Event()

    async def person(*_: object) -> ElicitResult:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        raise AssertionError

    async with mcp_client(server, OLD, elicitation_callback=person) as client:
        call = asyncio.create_task(client.call_tool("patient"))
        await soon(asked.wait())
        call.cancel()
        await soon(withdrawn.wait())
        await soon(cancelled.wait())


async def test_a_tool_of_a_worker_asks_too(server: BridgeServer, version: str) -> None:
    @tool
    async def remote(ctx: ToolContext) -> str:
        return str((await ctx.ask("From afar?", NAME)).content["name"])

    person = Person({"name": "Ada"})
    async with (
        ToolWorker(server.address, tools=[remote]),
        mcp_client(server, version, elicitation_callback=person) as client,
    ):
        assert text(await soon(client.call_tool("remote"))) == "Ada"


# --------------------------------------------------------------------------------------------- rounds by hand, 2026


async def asked(client: Client, name: str = "greet", **given: Any) -> Any:
    return await soon(client.session.call_tool(name, {}, allow_input_required=True, **given))


async def test_the_rounds_of_a_call_have_states_of_their_own(server: BridgeServer) -> None:
    async with mcp_client(server, NEW, elicitation_callback=Person()) as client:
        first = await asked(client, "twice")
        assert isinstance(first, InputRequiredResult)
        assert list(first.input_requests or {}) == ["user_name", "ask-1"]
        answers = {
            "user_name": ElicitResult(action="accept", content={"name": "A"}),
            "ask-1": ElicitResult(action="decline"),
        }
        second = await asked(client, "twice", request_state=first.request_state, input_responses=answers)
        assert list(second.input_requests or {}) == ["user_name-2"]
        assert second.request_state not in (None, first.request_state)
        with pytest.raises(MCPError) as caught:
            await asked(client, "twice", request_state=first.request_state, input_responses=answers)
        assert caught.value.error.code == INVALID_PARAMS
        last = {"user_name-2": ElicitResult(action="accept", content={"name": "C"})}
        with pytest.raises(MCPError, match="requestState"):
            await asked(client, "twice", request_state=f"{second.request_state}-TAMPERED", input_responses=last)
        result = await asked(client, "twice", request_state=second.request_state, input_responses=last)
        assert result.structured_content == ["A", "decline", "C"]


async def test_answers_may_come_with_the_first_request(server: BridgeServer) -> None:
    async with mcp_client(server, NEW, elicitation_callback=Person()) as client:
        given = {
            "user_name": ElicitResult(action="accept", content={"name": "Ada"}),
            "other": ElicitResult(action="cancel"),
        }
        assert text(await asked(client, input_responses=given)) == "Hello Ada"
        again = await asked(client, input_responses={"wrong_key": given["user_name"]})
        assert isinstance(again, InputRequiredResult)


async def test_a_call_that_waits_for_its_user_ends_with_its_deadline(server: BridgeServer) -> None:
    @tool(limits={"timeout_ms": 200})
    async def hasty(ctx: ToolContext) -> str:
        await ctx.ask("Quick?")
        return "done"

    async with (
        ToolWorker(server.address, tools=[hasty]),
        mcp_client(server, NEW, elicitation_callback=Person()) as client,
    ):
        first = await asked(client, "hasty")
        assert isinstance(first, InputRequiredResult)
        await until(lambda: not any(session.active for session in server.hub.store.sessions()), "the end of the call")
        given = {"ask-1": ElicitResult(action="accept", content={})}
        result = await asked(client, "hasty", request_state=first.request_state, input_responses=given)
    assert result.is_error
    assert "Timeout" in text(result)


async def test_the_end_of_the_server_ends_calls_that_wait() -> None:
    withdrawn.clear()
    async with (
        BridgeServer(tools=TOOLS, http_address="127.0.0.1:0", settings=IMPATIENT) as server,
        mcp_client(server, NEW, elicitation_callback=Person()) as client,
    ):
        assert isinstance(await asked(client, "patient"), InputRequiredResult)
    await soon(withdrawn.wait())


# ------------------------------------------------------------------------------------- a hub that is reached by a link


@pytest.fixture
async def remote(server: BridgeServer) -> AsyncIterator[Any]:
    """The server of MCP over a link to the hub, as a command beside the hub has it."""
    sessions = SessionClients(
        lambda _: ToolBridgeClient(LinkTransport(Connection(address=server.address))),
        SessionKey("remote"),
        idle_timeout=60,
        most=10,
    )
    yield make_server(sessions, "1", ToolHandlers(sessions))
    await sessions.aclose()


@pytest.mark.parametrize("mode", ["legacy", NEW])
async def test_a_tool_asks_over_a_link(remote: Any, mode: str) -> None:
    person = Person({"name": "A"}, {}, {"name": "C"}, {"name": "D"})
    async with Client(remote, mode=mode, elicitation_callback=person) as client:
        result = await soon(client.call_tool("twice"))
        assert text(result).replace(" ", "") == '["A","accept","C"]'
        assert text(await soon(client.call_tool("outer"))) == "It said: Hello D"


async def test_a_client_that_cannot_answer_is_told_over_a_link_too(remote: Any) -> None:
    async with Client(remote, mode="legacy") as client:
        result = await soon(client.call_tool("greet"))
        assert result.is_error
        assert "the capability elicitation" in text(result)
    async with Client(remote, mode=NEW) as client:
        with pytest.raises(MCPError) as caught:
            await soon(client.call_tool("greet"))
        assert caught.value.error.code == MISSING_REQUIRED_CLIENT_CAPABILITY
