"""Evil exceptions and results, of every kind of tool, over every transport and from a worker: each is answered once."""

import asyncio
import gc
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from grpc_tool_bridge import ToolExecutionError
from integration.connections import Connect, read
from integration.evil_tools import GIVING, RAISED, RAISING, RESULTS, TOOLS, WITH_CODE, WITHOUT_CODE
from integration.test_contract_errors import offered
from support.waiting import soon

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


@pytest.fixture(autouse=True)
def nobody_minds_what_del_raises(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a ``__del__`` raises is printed by Python, and is nobody's error; pytest would put it into its report."""
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    yield
    gc.collect()


where = pytest.mark.parametrize("where", ["hub", "worker"])


async def _failure(call: Any) -> tuple[str, str, str]:
    """Class, text and origin of what a call fails with."""
    try:
        value = await soon(call)
    except ToolExecutionError as error:
        return error.error_type, error.message, error.details["origin"]
    return "", repr(value), ""


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


@pytest.mark.parametrize("tool", [tool.spec.name for tool in RAISING])
async def test_a_traceback_of_an_evil_exception_shows_the_line_that_raised_it(connect: Connect, tool: str) -> None:
    world = await connect(*TOOLS, show_tracebacks=True)
    rows = [
        ("text", "SystemExit"),
        ("note", "KeyboardInterrupt"),
        ("attributes", "ValueError"),
        ("group", "ValueError"),
    ]
    rows += [(what, "") for what in ("long chain", "syntax", "huge", "surrogate", "cycle", "many members")]
    for what, raised in rows:
        with pytest.raises(ToolExecutionError) as caught:
            await soon(world.tools[tool](what, raised))
        assert "raise made(what, raised)" in caught.value.remote_traceback, what


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
        tools = [("raise_in_coroutine", "text"), ("raise_in_thread", "metaclass"), ("give_in_coroutine", "class")]
        items = [{"tool_id": tool, "args": [what, raised]} for tool, what in tools for raised in RAISED]
        results = await soon(world.bridge.execute_batch(items))
        names = [getattr(result, "error_type", result) for result in results]
        assert names == [name for name in ("EvilText", "EvilMetaclass", "said") for _ in RAISED]


@where
@pytest.mark.parametrize("tool", ["raise_in_async_generator", "raise_in_generator", "raise_in_generator_in_process"])
async def test_a_stream_gives_its_values_and_ends_with_the_evil_exception(
    connect: Connect, where: str, tool: str
) -> None:
    async with offered(connect, where, *TOOLS) as world:
        for what, raised, name, text in ROWS[:: len(RAISED) - 1]:
            values: list[Any] = []
            with pytest.raises(ToolExecutionError) as caught:
                await read(world.tools[tool].stream(what, raised), values)
            assert values == [1]
            assert caught.value.error_type.startswith(name)
            assert caught.value.message.startswith(text)


@pytest.mark.parametrize("raised", RAISED)
async def test_a_stream_that_is_left_raises_nothing_of_its_tools_clean_up(connect: Connect, raised: str) -> None:
    cleaned = asyncio.Event()

    async def count() -> AsyncIterator[int]:
        try:
            for number in range(1_000_000):
                yield number
                await asyncio.sleep(0)
        finally:
            cleaned.set()
            raise RAISED[raised]

    world = await connect(count)
    stream = world.tools["count"].stream()
    assert await anext(stream) == 0
    await soon(stream.aclose())
    await soon(cleaned.wait())
    await world.quiet()
