"""Agents of LangGraph: what a run streams, which errors its model reads, what cancels and interrupts it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AnyMessage, ToolMessage
from langchain_core.tools import ToolException
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.prebuilt.tool_node import ToolInvocationError
from langgraph.types import Command, interrupt

from grpc_tool_bridge import GRPCToolBridge, LocalToolBridge, Settings, ToolContext, ToolExecutionError, tool
from grpc_tool_bridge.adapters.langgraph import refused_call, run_stream
from grpc_tool_bridge.errors import ToolCommunicationError, ValidationError
from grpc_tool_bridge.testing.background import background_bridge, running_hub
from grpc_tool_bridge.tools.questions import Question
from support.waiting import soon
from unit.adapters.acting import lost_bridge
from unit.adapters.bridges import bridge_of


@tool
async def count(to: int, ctx: ToolContext) -> AsyncIterator[int]:
    """Counts from 1."""
    for number in range(1, to + 1):
        ctx.progress(number, to, "counting")
        yield number


@tool
def add(a: int, b: int, ctx: ToolContext) -> int:
    """Adds two numbers."""
    ctx.progress(1, 2, "adding")
    return a + b


@tool
def refuse(reason: str) -> None:
    """Refuses."""
    raise ValueError(reason)


def asked(name: str, /, **arguments: Any) -> dict[str, Any]:
    return {"type": "tool_call", "id": f"of-{name}", "name": name, "args": arguments}


def graph_of(tools: list[Any], *calls: dict[str, Any], checkpointer: Any = None, **options: Any) -> Any:
    """Compiles an agent whose model makes these calls one after the other, and then tells what it was told last."""

    def model(state: MessagesState) -> dict[str, list[AnyMessage]]:
        steps = sum(isinstance(message, AIMessage) for message in state["messages"])
        if steps < len(calls):
            return {"messages": [AIMessage("", tool_calls=[calls[steps]])]}
        return {"messages": [AIMessage(str(state["messages"][-1].content))]}

    def following(state: MessagesState) -> str:
        return "tools" if isinstance(last := state["messages"][-1], AIMessage) and last.tool_calls else END

    graph = StateGraph(MessagesState)
    graph.add_node("model", model)
    graph.add_node("tools", ToolNode(tools, **options))
    graph.add_edge(START, "model")
    graph.add_conditional_edges("model", following, ["tools", END])
    graph.add_edge("tools", "model")
    return graph.compile(checkpointer=checkpointer)


GO: Any = {"messages": [("user", "go")]}


def told(name: str, values: list[tuple[str, Any]]) -> list[dict[str, Any]]:
    head = {"tool": name, "tool_call_id": f"of-{name}"}
    return [
        {"type": "tool_chunk", **head, "value": value}
        if kind == "chunk"
        else {"type": "tool_progress", **head, "current": value[0], "total": value[1], "message": value[2]}
        for kind, value in values
    ]


COUNTED = told(
    "count",
    [("progress", (1.0, 2.0, "counting")), ("chunk", 1), ("progress", (2.0, 2.0, "counting")), ("chunk", 2)],
)
ADDED = told("add", [("progress", (1.0, 2.0, "adding"))])


# --------------------------------------------------------------------------------------------------------- streams


async def test_a_runs_custom_stream_has_the_progress_and_the_values_of_its_tools() -> None:
    async with bridge_of(count, add) as bridge:
        graph = graph_of(bridge.langchain_tools(), asked("count", to=2), asked("add", a=1, b=2))
        told_of = [item async for item in graph.astream(GO, stream_mode="custom")]
    assert told_of == COUNTED + ADDED


async def test_the_custom_stream_of_a_subgraph_has_its_place() -> None:
    async with bridge_of(add) as bridge:
        outer = StateGraph(MessagesState)
        outer.add_node("inner", graph_of(bridge.langchain_tools(), asked("add", a=1, b=2)))
        outer.add_edge(START, "inner")
        items = [item async for item in outer.compile().astream(GO, stream_mode="custom", subgraphs=True)]
    ((place, item),) = items
    assert place[0].startswith("inner:")
    assert [item] == ADDED


def test_a_run_without_an_event_loop_streams_too() -> None:
    with running_hub([count, add], Settings()) as hub, background_bridge(hub.address, Settings()) as bridge:
        bridge.sync.initialize()
        graph = graph_of(bridge.sync.langchain_tools(), asked("count", to=2), asked("add", a=1, b=2))
        assert list(graph.stream(GO, stream_mode="custom")) == COUNTED + ADDED


async def test_a_tool_that_is_found_by_search_reports_its_progress() -> None:
    async with bridge_of(add) as bridge:
        call = asked("call_tool", name="add", arguments={"a": 1, "b": 2})
        graph = graph_of(bridge.langchain_tools(search=True), call)
        items = [item async for item in graph.astream(GO, stream_mode="custom")]
    assert [(item["tool"], item["message"]) for item in items] == [("call_tool", "adding")]


@pytest.mark.parametrize("mode", ["updates", ["values", "messages"]], ids=str)
async def test_a_run_whose_custom_stream_nobody_reads_makes_ordinary_calls(mode: Any) -> None:
    found: list[Any] = []

    def look(state: MessagesState) -> None:
        found.append(run_stream("look", None))

    graph = StateGraph(MessagesState)
    graph.add_node("look", look)
    graph.add_edge(START, "look")
    compiled: Any = graph.compile()
    async for _ in compiled.astream(GO, stream_mode=mode):
        pass
    list(compiled.stream(GO, stream_mode=mode))
    await compiled.ainvoke(GO)
    assert found == [None, None, None]
    assert [item async for item in compiled.astream(GO, stream_mode=["custom"])] == []
    assert found[-1] is not None


async def test_outside_of_a_graph_there_is_no_stream() -> None:
    assert run_stream("add", None) is None
    async with bridge_of(add) as bridge:
        (made,) = bridge.langchain_tools()
        assert await made.ainvoke({"a": 1, "b": 2}) == "3"


# ---------------------------------------------------------------------------------------------------------- errors


async def test_a_model_reads_which_arguments_were_refused_and_can_correct_them() -> None:
    async with bridge_of(add) as bridge:
        graph = graph_of(bridge.langchain_tools(), asked("add", a="one"), asked("add", a=1, b=2))
        messages = (await soon(graph.ainvoke(GO)))["messages"]
    refused, answered = [message for message in messages if isinstance(message, ToolMessage)]
    assert (refused.status, refused.tool_call_id) == ("error", "of-add")
    error = json.loads(str(refused.content))["error"]
    assert error["type"] == "ValidationError"
    assert {"a", "b"} <= set(error["details"])
    assert (answered.status, answered.artifact) == ("success", 3)


async def test_arguments_that_cannot_be_read_are_told_to_the_model() -> None:
    call = {**asked("call_tool"), "args": {"name": "add", "arguments": "[1"}}
    async with bridge_of(add) as bridge:
        graph = graph_of(bridge.langchain_tools(search=True), call)
        messages = (await soon(graph.ainvoke(GO)))["messages"]
    assert json.loads(str(messages[-1].content))["error"]["type"] == "ValidationError"


async def test_an_error_of_a_tool_ends_the_run_unless_it_is_to_be_handled() -> None:
    async with bridge_of(refuse) as bridge:
        call = asked("refuse", reason="too late")
        with pytest.raises(ToolException, match="too late") as caught:
            await soon(graph_of(bridge.langchain_tools(), call).ainvoke(GO))
        assert isinstance(caught.value.__cause__, ToolExecutionError)

        of_tool = graph_of(bridge.langchain_tools(handle_tool_error=True), call)
        of_node = graph_of(bridge.langchain_tools(), call, handle_tool_errors=True)
        texts = [str((await soon(graph.ainvoke(GO)))["messages"][-1].content) for graph in (of_tool, of_node)]
    assert json.loads(texts[0])["error"]["message"] == "too late"
    assert "ToolException" in texts[1]
    assert "too late" in texts[1]


async def test_a_hub_that_is_gone_is_an_exception_even_where_errors_are_handled() -> None:
    async with lost_bridge() as bridge:
        graph = graph_of(bridge.langchain_tools(handle_tool_error=True), asked("add", a=1, b=2))
        with pytest.raises(ToolCommunicationError):
            await soon(graph.ainvoke(GO))


def test_a_refused_call_has_a_problem_for_each_argument() -> None:
    error = ValidationError("add: …", details={"a": "not an integer", "origin": "bridge"})
    refused = refused_call("add", {"a": "one"}, error)
    assert isinstance(refused, ToolInvocationError)
    assert (refused.tool_name, refused.tool_kwargs) == ("add", {"a": "one"})
    assert [(item["loc"], item["msg"], item["input"]) for item in refused.source.errors()] == [
        (("a",), "not an integer", "one")
    ]
    assert json.loads(refused.message)["error"]["details"]["a"] == "not an integer"


def test_a_program_without_langgraph_gets_a_plain_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(__import__("sys").modules, "langgraph.prebuilt.tool_node")
    assert type(refused_call("add", {}, ValidationError("no"))) is ToolException


# --------------------------------------------------------------------------------------- cancellation, interruption


async def test_a_cancelled_run_cancels_its_tool() -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    @tool
    async def hang() -> None:
        """Hangs."""
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with bridge_of(hang) as bridge:
        run = asyncio.ensure_future(graph_of(bridge.langchain_tools(), asked("hang")).ainvoke(GO))
        await soon(began.wait())
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(run)
        await soon(ended.wait())


@tool
async def erase(path: str, ctx: ToolContext) -> str:
    """Erases, if the caller agrees."""
    answer = await ctx.ask(f"Erase {path}?", {"type": "object", "properties": {"reason": {"type": "string"}}})
    return f"erased {path}: {answer.content['reason']}" if answer.accepted else f"kept {path}"


def ask_person(question: Question) -> Any:
    """Interrupts the run; what it is resumed with is the answer."""
    return interrupt({"message": question.message})


async def ask_person_async(question: Question) -> Any:
    return interrupt({"message": question.message})


@pytest.mark.parametrize("on_ask", [ask_person, ask_person_async])
@pytest.mark.parametrize("over", ["memory", "tcp"])
async def test_a_tools_question_interrupts_the_run_until_it_is_answered(on_ask: Callable[..., Any], over: str) -> None:
    with running_hub([erase], Settings()) as hub:
        bridge: Any = (
            LocalToolBridge([erase], on_ask=on_ask) if over == "memory" else GRPCToolBridge(hub.address, on_ask=on_ask)
        )
        async with bridge:
            await bridge.initialize()
            graph = graph_of(bridge.langchain_tools(), asked("erase", path="/a"), checkpointer=InMemorySaver())
            config = {"configurable": {"thread_id": "1"}}
            stopped = await soon(graph.ainvoke(GO, config))
            (question,) = stopped["__interrupt__"]
            assert question.value == {"message": "Erase /a?"}
            done = await soon(graph.ainvoke(Command(resume={"reason": "old"}), config))
    assert done["messages"][-1].content == "erased /a: old"
