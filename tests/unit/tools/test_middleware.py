"""Chains of middleware, and what is refused as middleware."""

from collections.abc import AsyncIterator
from functools import wraps
from typing import Any

import pytest

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, LocalToolBridge, ProtocolError, ToolSpec, ValidationError
from grpc_tool_bridge.tools.middleware import CallNext, ToolCall, chain_of, checked_iterator


class Call(ToolCall):
    """A call that answers with its arguments."""

    def __init__(self, *args: Any, is_stream: bool = False, **kwargs: Any) -> None:
        super().__init__(
            spec=ToolSpec(name="add"),
            session_id="s",
            request_id="r-1",
            metadata={},
            timeout=1.0,
            kind="call",
            is_stream=is_stream,
            side="client",
            args=args,
            kwargs=kwargs,
        )

    async def proceed(self) -> Any:
        return self.args, self.kwargs


async def passes(call: ToolCall, call_next: CallNext) -> Any:
    return await call_next(call)


async def adds(call: ToolCall, call_next: CallNext) -> Any:
    call.args = (*call.args, len(call.args))
    call.kwargs = {**call.kwargs, "more": True}
    return await call_next(call)


class Object:
    async def __call__(self, call: ToolCall, call_next: CallNext) -> Any:
        return "object", await call_next(call)


def decorated(function: Any) -> Any:
    @wraps(function)
    def wrapper(*args: Any) -> Any:
        return function(*args)

    return wrapper


def test_without_middleware_there_is_no_chain() -> None:
    assert chain_of(()) is None


async def test_a_chain_runs_the_first_one_outermost_and_the_call_innermost() -> None:
    chain = chain_of([Object(), passes, adds, adds, decorated(passes)])
    assert chain is not None
    assert await chain(Call("x", k=1)) == ("object", (["x", 1, 2], {"k": 1, "more": True}))
    # Built once, it serves every call.
    assert await chain(Call()) == ("object", ([0, 1], {"more": True}))


async def test_its_arguments_are_the_call_s_own() -> None:
    given = [1, 2]
    call = Call(*given)
    call.args.append(3)
    assert given == [1, 2]
    assert await call.read_arguments() == ([1, 2, 3], {})
    assert repr(call) == "<ToolCall add of 's', call, request r-1>"


def not_async(call: ToolCall, call_next: CallNext) -> Any:
    return call_next(call)


async def takes_a_call_alone(call: ToolCall) -> Any:
    return call


@pytest.mark.parametrize(
    ("middleware", "text"),
    [
        ([not_async], r"middleware\[0\]: not_async must be an async function"),
        ([passes, takes_a_call_alone], r"middleware\[1\]: takes_a_call_alone\(call\) is called with two arguments"),
        ([lambda: None], r"middleware\[0\]: <lambda> must be an async function"),
        ([passes, "name"], r"middleware\[1\] is 'name'; it must be an async function"),
        ([passes, None], r"middleware\[1\] is None; it must be"),
        ([Object], r"middleware\[0\] is .*Object.*it must be"),
        ([object()], r"middleware\[0\] is .*it must be"),
        (passes, r"middleware is .*it must be a list of async functions"),
    ],
)
def test_what_cannot_be_middleware_is_refused_by_name_where_it_is_given(middleware: Any, text: str) -> None:
    for make in (LocalToolBridge, BridgeServer, GRPCToolBridge):
        with pytest.raises(ValidationError, match=text):
            make(middleware=middleware)


async def test_the_result_of_a_stream_must_be_an_async_iterator() -> None:
    async def values() -> AsyncIterator[int]:
        yield 1

    assert [value async for value in checked_iterator(Call(), values())] == [1]
    with pytest.raises(ProtocolError, match=r"answered a stream of add with list; .*call\.is_stream"):
        checked_iterator(Call(), [1])
