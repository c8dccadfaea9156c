"""What people write, pass and return arrives as it was meant, wherever the tool runs, or is refused aloud."""

import asyncio
import fractions
import itertools
import json
import re
from typing import Any

import pytest
from pydantic import SecretBytes, SecretStr

from grpc_tool_bridge import MessageTooLargeError, SerializationError, ToolExecutionError, tool
from integration import meaning_tools as tools
from integration.connections import Connect, Reach, read
from support.waiting import soon


def same(back: Any, wanted: Any) -> bool:
    return type(back) is type(wanted) and back == wanted and repr(back) == repr(wanted)


@pytest.mark.parametrize("name", tools.VALUES)
async def test_a_look_alike_loses_only_its_class(reach: Reach, name: str) -> None:
    make, wanted = tools.VALUES[name]
    bridge = await reach(tools.echo, tools.each)
    assert same(await bridge.tools["echo"](make()), wanted)
    assert same(await bridge.tools["echo"](value=[make()]), [wanted])
    assert same([chunk async for chunk in bridge.tools["each"].stream(make())], [wanted, [wanted]])
    await bridge.session_context.set_variable("v", make())
    assert same(await bridge.session_context.get_variable("v"), wanted)
    [back] = await bridge.execute_batch([{"tool_id": "echo", "args": [make()]}])
    assert same(back, wanted)


async def test_each_result_is_what_its_tool_declares(reach: Reach) -> None:
    bridge = await reach(*(function for function, _ in tools.RESULTS.values()))
    for function, wanted in tools.RESULTS.values():
        back = await bridge.tools[function.__name__]()
        assert same(back, wanted), function.__name__


async def test_a_result_that_is_not_what_its_tool_declares_is_an_error_of_the_tool(reach: Reach) -> None:
    bridge = await reach(*(function for function, _ in tools.WRONG.values()))
    for function, problem in tools.WRONG.values():
        with pytest.raises(ToolExecutionError, match=problem) as caught:
            await bridge.tools[function.__name__]()
        assert caught.value.error_type == "TypeError"
        assert caught.value.details["origin"] == "tool"
        assert "return annotation" in str(caught.value)


async def test_a_chunk_that_is_not_what_its_tool_declares_ends_the_stream(reach: Reach) -> None:
    bridge = await reach(tools.wrong_chunk)
    got: list[Any] = []
    with pytest.raises(ToolExecutionError, match="valid integer"):
        await read(bridge.tools["wrong_chunk"].stream(), got)
    assert got == [1]


async def test_a_result_is_not_looked_at_where_the_tool_asks_for_that(connect: Connect) -> None:
    world = await connect(tool(check_result=False)(tools.texts_for_numbers))
    assert await world.tools["texts_for_numbers"]() == [1, "2"]


@pytest.mark.parametrize("name", tools.STREAMS)
async def test_what_a_function_returns_streams_or_is_collected(reach: Reach, name: str) -> None:
    if reach.place == "process" and name in tools.IN_NO_PROCESS:
        with pytest.raises(ValueError, match=r"event loop|object"):
            tool(executor="process")(tools.STREAMS[name])
        return
    bridge = await reach(tools.STREAMS[name])
    [proxy] = bridge.tools.values()
    assert [chunk async for chunk in proxy.stream(3)] == [0, 1, 2]
    assert await proxy(3) == [0, 1, 2]
    assert await proxy(0) == []


@pytest.mark.parametrize("name", tools.AWAITABLES)
async def test_what_a_function_returns_is_awaited(reach: Reach, name: str) -> None:
    bridge = await reach(tools.AWAITABLES[name])
    [proxy] = bridge.tools.values()
    assert await proxy() == 5
    assert [chunk async for chunk in proxy.stream()] == [5]


@pytest.mark.parametrize("function", [tools.endless, tools.endless_list, tools.endless_inside])
async def test_an_endless_iterator_is_too_large(reach: Reach, function: Any) -> None:
    bridge = await reach(function, max_message_bytes=100_000)
    with pytest.raises(ToolExecutionError) as caught:
        await bridge.tools[function.__name__]()
    assert caught.value.error_type == "MessageTooLarge"


async def test_the_list_of_an_endless_stream_is_too_large(reach: Reach) -> None:
    bridge = await reach(tools.endless_stream)
    with pytest.raises(MessageTooLargeError, match="endless_stream yields"):
        await bridge.tools["endless_stream"]()


async def test_what_an_iterator_raises_is_an_error_of_the_tool(reach: Reach) -> None:
    bridge = await reach(tools.fails_late)
    with pytest.raises(ToolExecutionError, match="gone") as caught:
        await bridge.tools["fails_late"]()
    assert caught.value.error_type == "LookupError"


@pytest.mark.parametrize("name", tools.ARGUMENTS)
async def test_an_argument_is_read_as_its_parameter_declares(reach: Reach, name: str) -> None:
    bridge = await reach(tools.total)
    assert await bridge.tools["total"](tools.ARGUMENTS[name]()) == 3
    assert await bridge.call_tool("total", values=tools.ARGUMENTS[name]()) == 3


async def test_an_endless_argument_is_too_large_while_others_are_served(reach: Reach) -> None:
    bridge = await reach(tools.total, tools.text)
    endless = asyncio.ensure_future(bridge.tools["total"](itertools.count()))
    assert await soon(bridge.tools["text"]("still served")) == "still served"
    with pytest.raises(MessageTooLargeError, match="iterator"):
        await endless


async def test_a_secret_reaches_only_who_declares_one(reach: Reach) -> None:
    bridge = await reach(
        tools.secret,
        tools.secret_bytes,
        tools.login,
        tools.logins,
        tools.named_secrets,
        tools.pattern,
        tools.fraction,
        tools.text,
        tools.echo,
    )
    call = bridge.tools
    assert await call["secret"](SecretStr("pw")) == "pw"
    assert await call["secret_bytes"](SecretBytes(b"\xff")) == b"\xff"
    given = tools.Login(password=SecretStr("pw"), pattern=re.compile("a", re.IGNORECASE))
    assert await call["login"](value=given) == {"password": "pw", "pattern": "(?i)a"}
    assert await call["logins"](given, given) == ["pw", "pw"]
    assert await call["named_secrets"](a=SecretStr("pw")) == {"a": "pw"}
    for pattern in (re.compile("a.c"), re.compile("A.C", re.IGNORECASE | re.DOTALL)):
        assert (await call["pattern"](pattern))[1:] == [pattern.flags, bool(pattern.match("ABC"))]
    assert await call["fraction"](fractions.Fraction(1, 3)) == "1/3"
    for value in (SecretStr("pw"), SecretBytes(b"pw"), re.compile("a+"), fractions.Fraction(1, 3), given):
        for refuse in (call["text"], call["echo"]):
            with pytest.raises(SerializationError, match="declares") as caught:
                await refuse(value)
            assert "pw" not in str(caught.value)
        with pytest.raises(SerializationError, match="declares"):
            await bridge.session_context.set_variable("v", {"a": [value]})


async def test_a_model_arrives_equal_and_leaves_as_its_output_schema_says(reach: Reach) -> None:
    bridge = await reach(tools.zoo)
    whole = json.loads(bridge.tools["zoo"].spec.output_schema)
    schema = whole["$defs"]["Zoo"]
    assert whole["$ref"] == "#/$defs/Zoo"
    result = await bridge.tools["zoo"]()
    assert set(result) == set(schema["properties"])
    assert set(schema["required"]) <= set(result)


def test_a_class_based_decorator_is_described_by_what_it_decorates() -> None:
    made = tool(tools.decorated_generator)
    assert made.spec.description == "The docstring of the tool."
    assert made.spec.name == "decorated_generator"
    assert json.loads(made.spec.input_schema)["properties"]["count"]["type"] == "integer"
    assert made.is_stream
    partial = tool(name="partial")(tools.partial_generator)
    assert partial.is_stream
