"""A tool made of other tools is called like any other, over every transport, and runs in the hub."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from grpc_tool_bridge import (
    ResourceLimits,
    ToolContext,
    ToolExecutionError,
    ToolSpec,
    ToolTimeoutError,
    ToolType,
    ValidationError,
    each,
    parallel,
    pipeline,
    step,
    tool,
)
from integration.connections import Connect
from support.waiting import soon, until


async def fetch(url: str) -> dict[str, Any]:
    return {"text": f"text of {url}", "links": [f"{url}/1", f"{url}/2"]}


def summarize(text: str, words: int = 2) -> str:
    return " ".join(text.split()[:words])


async def count(limit: int) -> AsyncIterator[int]:
    for number in range(limit):
        yield number


def fail(reason: str) -> None:
    raise LookupError(reason)


REPORT = pipeline(
    "report",
    "Fetches a page and what it links to, and summarises them.",
    [
        step("fetch", url="$url", as_="page"),
        parallel(
            step("summarize", "$page.text", words="$words", as_="summary"),
            each("$page.links", step("fetch", "$item"), as_="linked"),
        ),
        each("$linked", step("summarize", "$item.text", 3), as_="others"),
    ],
    inputs={"url": str, "words": (int, 2)},
    result={"summary": "$summary", "others": "$others"},
)


async def test_it_is_described_and_called_like_any_other_tool(connect: Connect) -> None:
    world = await connect(fetch, summarize, REPORT)
    report = world.tools["report"]
    assert report.spec.type == ToolType.COMPOSITE
    assert report.spec.description == "Fetches a page and what it links to, and summarises them."
    whole = {"summary": "text of", "others": ["text of u/1", "text of u/2"]}
    assert await report("u") == whole
    assert await report(url="u", words=3) == {**whole, "summary": "text of u"}
    assert [value async for value in report.stream("u")] == [whole]
    with pytest.raises(ToolExecutionError) as caught:
        await report(words="3")
    assert caught.value.error_type == "ValidationError"
    assert {"url", "words"} <= set(caught.value.details)
    await world.quiet()


async def test_its_client_makes_one_call_whatever_the_number_of_steps(connect: Connect) -> None:
    @tool
    def who(ctx: ToolContext) -> list[Any]:
        return [ctx.session_id, 0 < ctx.time_left() <= 5]

    made = pipeline("twice", "", [each([1, 2], step("who"))])
    world = await connect(who, made, max_session_calls=1)
    assert await world.tools["twice"].with_options(timeout=5)() == [[world.session_id, True]] * 2


async def test_a_streaming_step_gives_the_list_of_what_it_yields(connect: Connect) -> None:
    world = await connect(count, pipeline("listed", "", [step("count", 3)]))
    assert await world.tools["listed"]() == [0, 1, 2]


async def test_the_error_of_a_step_arrives_whole_with_the_step_s_name(connect: Connect) -> None:
    made = pipeline("lookup", "", [step("fetch", "u"), step("fail", "$why")], inputs={"why": str})
    world = await connect(fetch, fail, made)
    with pytest.raises(ToolExecutionError) as caught:
        await world.tools["lookup"]("not there")
    error = caught.value
    assert (error.tool_name, error.error_type, error.message) == ("lookup", "LookupError", "not there")
    assert "raise LookupError(reason)" in error.remote_traceback
    assert error.details == {"step": "2", "tool": "fail", "origin": "tool"}
    assert not error.retryable
    await world.quiet()


async def test_wrong_arguments_of_a_step_keep_the_text_for_each_of_them(connect: Connect) -> None:
    world = await connect(summarize, pipeline("wrong", "", [step("summarize", words="$n")], inputs={"n": str}))
    with pytest.raises(ToolExecutionError) as caught:
        await world.tools["wrong"]("x")
    assert caught.value.error_type == "ValidationError"
    assert caught.value.details["text"] == "missing"
    assert caught.value.details["words"] == "should be a valid integer, got 'x' (str)"
    assert caught.value.details["step"] == "1"


async def test_a_step_whose_tool_is_not_there_says_so(connect: Connect) -> None:
    world = await connect(fetch, pipeline("broken", "", [step("fetsh", "u")]))
    with pytest.raises(ToolExecutionError, match="sees no tool 'fetsh'; did you mean fetch") as caught:
        await world.tools["broken"]()
    assert (caught.value.error_type, caught.value.details["step"]) == ("ToolNotFound", "1")


async def test_a_value_without_the_part_that_a_step_wants_is_told(connect: Connect) -> None:
    world = await connect(fetch, summarize, pipeline("p", "", [step("fetch", "u"), step("summarize", "$last.txt")]))
    with pytest.raises(ToolExecutionError) as caught:
        await world.tools["p"]()
    assert caught.value.error_type == "ValidationError"
    assert "step 2 (summarize): '$last.txt': $last has no 'txt'; it is a dict with 'text', 'links'" in str(caught.value)


class Hanging:
    """A tool that waits until it is cancelled, and what it saw of it."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.ended = threading.Event()

    async def hang(self) -> None:
        self.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()


@pytest.mark.parametrize("part", [step("hang"), parallel(step("hang"), step("hang")), each([1, 2], step("hang"))])
async def test_cancelling_it_cancels_the_step_that_runs(connect: Connect, part: Any) -> None:
    probe = Hanging()
    world = await connect(probe.hang, pipeline("long", "", [part]))
    calling = asyncio.ensure_future(world.tools["long"]())
    await until(probe.started.is_set, "for the step")
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(calling)
    await until(probe.ended.is_set, "for the end of the step")
    await world.quiet()


@pytest.mark.parametrize("part", [step("hang"), parallel(step("hang"), step("hang"))])
async def test_its_steps_share_its_deadline(connect: Connect, part: Any) -> None:
    probe = Hanging()
    world = await connect(probe.hang, pipeline("long", "", [part], limits={"timeout_ms": 50}))
    with pytest.raises(ToolTimeoutError):
        await soon(world.tools["long"]())
    await until(probe.ended.is_set, "for the end of the step")
    await world.quiet()


async def test_a_parallel_step_that_fails_ends_the_others(connect: Connect) -> None:
    probe = Hanging()

    async def fail_then(reason: str) -> None:
        await until(probe.started.is_set)
        raise LookupError(reason)

    made = pipeline("both", "", [parallel(step("hang"), step("fail_then", "no"))])
    world = await connect(probe.hang, fail_then, made)
    with pytest.raises(ToolExecutionError) as caught:
        await soon(world.tools["both"]())
    assert (caught.value.error_type, caught.value.details["step"]) == ("LookupError", "1.2")
    assert probe.ended.is_set()
    await world.quiet()


async def test_a_pipeline_that_calls_itself_without_end_is_told_of_the_limit(connect: Connect) -> None:
    world = await connect(pipeline("again", "", [step("again")]))
    with pytest.raises(ToolExecutionError) as caught:
        await soon(world.tools["again"]())
    assert caught.value.error_type == "ValidationError"
    assert "check whether a tool calls itself endlessly" in caught.value.message
    assert caught.value.details["tool"] == "again"
    await world.quiet()


async def test_a_pipeline_may_walk_a_tree_by_calling_itself(connect: Connect) -> None:
    node = {"name": "a", "children": [{"name": "b", "children": []}, {"name": "c", "children": []}]}
    names = pipeline(
        "names",
        "",
        [each("$node.children", step("names", "$item"), as_="below")],
        inputs={"node": dict},
        result=["$node.name", "$below"],
    )
    world = await connect(names)
    assert await world.tools["names"](node) == ["a", [["b", []], ["c", []]]]


# ------------------------------------------------------------------------------------- declared by another peer


async def test_a_spec_with_a_declaration_is_run_by_the_hub(connect: Connect) -> None:
    declaration = {
        "steps": [
            {"kind": "step", "tool": "fetch", "args": ["$url"], "as": "page"},
            {"kind": "each", "over": "$page.links", "step": {"kind": "step", "tool": "summarize", "args": ["$item"]}},
        ],
    }
    schema = {"type": "object", "properties": {"url": {"type": "string"}}, "required": ["url"]}
    spec = ToolSpec(
        name="links",
        type=ToolType.COMPOSITE,
        input_schema=json.dumps(schema),
        limits=ResourceLimits(max_concurrent_calls=1),
        metadata={"pipeline": json.dumps(declaration)},
    )
    world = await connect(fetch, summarize)
    world.hub.registry.register_batch(world.session_id, [spec])
    await world.bridge.client.refresh_tools()
    assert await world.tools["links"](url="u") == ["u/1", "u/2"]
    with pytest.raises(ToolExecutionError, match="argument 'url': missing; argument 'uri': unknown"):
        await world.tools["links"](uri="u")


async def test_what_a_hub_lists_can_be_offered_to_another_hub(connect: Connect) -> None:
    world = await connect(fetch, summarize, REPORT)
    listed = world.tools["report"].spec
    other = await connect(fetch, summarize, listed)
    assert await other.tools["report"]("u") == await world.tools["report"]("u")


async def test_a_declaration_that_cannot_be_run_is_refused_when_it_is_registered(connect: Connect) -> None:
    world = await connect(fetch)
    spec = ToolSpec(name="p", type=ToolType.COMPOSITE, metadata={"pipeline": '{"steps":[]}'})
    with pytest.raises(ValidationError, match="tool 'p': its metadata has no valid pipeline: it has no steps"):
        world.hub.registry.register_batch("", [spec])
