"""Names with every character that they may have, over every transport."""

from contextlib import aclosing

import pytest

from grpc_tool_bridge import NotFoundError, tool
from integration.connections import Connect
from support.waiting import soon

NAMES = [
    "a/b", "/", "//", "a/../b", ".", "..", "...", "50%", "%2F", "%2e%2e", "%zz", "a b", " ", "+", "a,b", ",",
    "?x=1#y", "&",
    "=", ";", ":", "\\", "'\"", "<b>", "ü",
    "日本", "🙂",
    "e\u0301", "watch", "Watch", "batch", "execute", "stream", "names",
    "[1]", "{x}", "~", "@", "$type", "null", "x" * 256, "ü" * 256,
]  # fmt: skip


async def test_a_variable_may_have_any_name(connect: Connect) -> None:
    world = await connect()
    variables = world.variables
    for number, name in enumerate(NAMES):
        await variables.set_variable(name, number)
    assert [await variables.get_variable(name) for name in NAMES] == list(range(len(NAMES)))
    for number, name in enumerate(NAMES):
        async with aclosing(variables.watch_variables(name)) as changes:
            change = await soon(anext(changes))
        assert (change.name, change.value) == (name, number)
    assert sorted(info.name for info in await variables.list_variables()) == sorted(NAMES)
    for name in NAMES:
        await variables.delete_variable(name)
        with pytest.raises(NotFoundError):
            await variables.get_variable(name)


async def test_several_are_watched_by_their_names(connect: Connect) -> None:
    world = await connect()
    for name in NAMES:
        await world.variables.set_variable(name, name)
    wanted = ["a,b", "a/b", "watch", "&"]
    async with aclosing(world.variables.watch_variables(*wanted)) as changes:
        assert sorted([(await soon(anext(changes))).value for _ in wanted]) == sorted(wanted)


async def test_a_session_may_have_any_name(connect: Connect) -> None:
    world = await connect()
    for name in NAMES:
        bridge = await world.attach(name)
        assert (await bridge.client.session_info()).session_id == name
        assert await bridge.session_context.set_variable("x", 1)
        await bridge.close()


async def test_a_tool_is_called_by_its_name(connect: Connect) -> None:
    names = [".", "..", "add", "batch", "execute", "stream", "a.b", "a-b", "a_1", "x" * 64]

    async def answer(word: str) -> str:
        return word

    world = await connect(*(tool(name=name)(answer) for name in names))
    for name in names:
        assert await world.tools[name](name) == name
        assert [value async for value in world.tools[name].stream(name)] == [name]
