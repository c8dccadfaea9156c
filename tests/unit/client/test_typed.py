"""The base of the modules that ``stubs`` writes."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from grpc_tool_bridge import LocalToolBridge, ToolContext
from grpc_tool_bridge.client.typed import OMITTED, BlockingTools, TypedTools
from support.waiting import soon


def show(*args: Any, **kwargs: Any) -> list[Any]:
    return [list(args), kwargs]


async def tell(n: int, ctx: ToolContext) -> AsyncIterator[str]:
    for number in range(n):
        ctx.progress(number, n)
        yield f"{number} {ctx.metadata.get('who')}"


class Inner(TypedTools):
    def tell(self, n: int) -> AsyncIterator[str]:
        return self._stream("tell", (n,), {})


class Api(TypedTools):
    async def show(self, *args: Any, **kwargs: Any) -> Any:
        return await self._call("show", args, kwargs)

    @property
    def inner(self) -> Inner:
        return self._nested(Inner)


class BlockingApi(BlockingTools):
    def show(self, *args: Any, **kwargs: Any) -> Any:
        return self._call("show", args, kwargs)

    def tell(self, n: int) -> Any:
        return self._stream("tell", (n,), {})


async def test_an_argument_that_was_omitted_is_not_sent() -> None:
    async with LocalToolBridge([show]) as bridge:
        await soon(bridge.initialize())
        api = Api(bridge)
        assert await soon(api.show(1, None, OMITTED, OMITTED, a=OMITTED, b=2)) == [[1, None], {"b": 2}]
        assert await soon(api.show(OMITTED)) == [[], {}]
        with pytest.raises(TypeError, match="show: argument 1 is missing"):
            await soon(api.show(OMITTED, 1))
    assert repr(OMITTED) == "..."


async def test_settings_are_those_of_all_tools_in_all_namespaces() -> None:
    told: list[float] = []
    async with LocalToolBridge([tell]) as bridge:
        await soon(bridge.initialize())
        api = Api(bridge)
        mine = api.with_options(metadata={"who": "me"}).with_options(on_progress=lambda event: told.append(event.total))
        assert [text async for text in mine.inner.tell(2)] == ["0 me", "1 me"]
        assert told == [2, 2]
        assert [text async for text in api.inner.tell(1)] == ["0 None"]


def test_blocking_tools_block() -> None:
    with LocalToolBridge([show, tell]).sync as bridge:
        bridge.initialize()
        api = BlockingApi(bridge)
        assert api.show(1, a=OMITTED) == [[1], {}]
        assert list(api.with_options(metadata={"who": "me"}).tell(2)) == ["0 me", "1 me"]
