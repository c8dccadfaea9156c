"""Evil exceptions and results, of every kind of tool, over every transport and from a worker: each is answered once."""

import asyncio
from typing import Any

import pytest

from grpc_tool_bridge import ToolExecutionError
from integration.connections import Connect, World, soon
from integration.evil_tools import GIVING, RAISED, RAISING, RESULTS, TOOLS, WITH_CODE, WITHOUT_CODE
from integration.test_contract_errors import offered

# What was raised and how, with the class and the beginning of the text that are told.
ROWS = [
    *((what, raised, name, text.format(raised)) for what, (_, name, text) in WITH_CODE.items() for raised in RAISED),
    *((what, "", name, text) for what, (_, name, text) in WITHOUT_CODE.items()),
]

# How a result is refused that runs code where it is read. An Exception of a class's own text or plain data is part of
# the bridge's error; what else is raised, and what an iterator raises, is the tool's.
REFUSED = {
    "text": "SerializationError",
    "access": "SerializationError",
    "mapping": "SerializationError",
    "array": "SerializationError",
    "index": "SerializationError",
    "inside": "SerializationError",
}
NOT_SENT = {"sequence"}
GIVEN = {"class": "said"}

where = pytest.mark.parametrize("where", ["hub", "worker"])


async def _failure(call: Any) -> tuple[str, str, str]:
    """Class, text and origin of what a call fails with."""
    try:
        value = await soon(call)
    except ToolExecutionError as error:
        return error.error_type, error.message, error.details["origin"]
    return "", repr(value), ""


async def _still_works(world: World) -> None:
    assert await soon(world.tools["raise_in_coroutine"].client.get_metrics("hub.active_calls")) is not None


@where
@pytest.mark.parametrize("tool", [tool.spec.name for tool in RAISING])
async def test_each_evil_exception_is_told_by_its_class_and_text(connect: Connect, where: str, tool: str) -> None:
    async with offered(connect, where, *TOOLS) as world:
        wrong = []
        for what, raised, name, text in ROWS:
            told = await _failure(world.tools[tool](what, raised))
            if not told[0].startswith(name) or not told[1].startswith(text) or told[2] != "tool":
                wrong.append((what, raised, told))
        assert wrong == []


@where
@pytest.mark.parametrize("tool", [tool.spec.name for tool in RAISING])
async def test_a_traceback_of_an_evil_exception_ends_with_what_its_caller_is_told(
    connect: Connect, where: str, tool: str
) -> None:
    async with offered(connect, where, *TOOLS, show_tracebacks=True) as world:
        for what in ("text", "note", "attributes", "group"):
            with pytest.raises(ToolExecutionError) as caught:
                await soon(world.tools[tool](what, "SystemExit"))
            assert "raise made(what, raised)" in caught.value.remote_traceback
        for what in ("long chain", "syntax", "huge", "surrogate", "cycle", "many members"):
            with pytest.raises(ToolExecutionError) as caught:
                await soon(world.tools[tool](what))
            assert "said" in caught.value.remote_traceback[:70_000] or what == "huge"


@where
@pytest.mark.parametrize("tool", [tool.spec.name for tool in GIVING])
async def test_each_evil_result_is_sent_or_refused_once(connect: Connect, where: str, tool: str) -> None:
    async with offered(connect, where, *TOOLS) as world:
        for what in RESULTS:
            for raised in RAISED:
                error_type, text, origin = await _failure(world.tools[tool](what, raised))
                assert error_type in {raised, REFUSED.get(what), "SerializationError", "TypeError", ""}, (what, raised)
                assert (origin == "bridge") == (error_type == "SerializationError"), (what, raised, text)
                assert error_type or (what == "class" and "said" in text), (what, raised, text)


@where
async def test_evil_tools_of_a_batch_hide_no_other_result(connect: Connect, where: str) -> None:
    async with offered(connect, where, *TOOLS) as world:
        calls = [("raise_in_coroutine", {"what": "text", "raised": name}) for name in RAISED]
        calls += [("raise_in_thread", {"what": "metaclass", "raised": name}) for name in RAISED]
        calls += [("give_in_coroutine", {"what": "class", "raised": name}) for name in RAISED]
        results = await soon(asyncio.gather(*(world.tools[name](**kwargs) for name, kwargs in calls), return_exceptions=True))
        names = [getattr(result, "error_type", result) for result in results]
        assert names == ["EvilText"] * len(RAISED) + ["EvilMetaclass"] * len(RAISED) + ["said"] * len(RAISED)


@where
@pytest.mark.parametrize("tool", ["raise_in_async_generator", "raise_in_generator", "raise_in_generator_in_process"])
async def test_a_stream_gives_its_values_and_ends_with_the_evil_exception(connect: Connect, where: str, tool: str) -> None:
    async with offered(connect, where, *TOOLS) as world:
        for what, raised, name, text in ROWS[:: len(RAISED) - 1]:
            values: list[Any] = []
            with pytest.raises(ToolExecutionError) as caught:
                async for value in world.tools[tool].stream(what, raised):
                    values.append(value)
            assert values == [1]
            assert caught.value.error_type.startswith(name)
            assert caught.value.message.startswith(text)
