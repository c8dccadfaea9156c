"""Tools of one hub, called at another."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from grpc_tool_bridge import Answer, GRPCToolBridge, ToolContext, ToolExecutionError, ToolWorker, tool
from grpc_tool_bridge.proto.dspex_bridge_pb2 import RegisterToolsRequest
from support.joined_hubs import JoinedHub, joined_hubs
from support.waiting import soon, until


async def add(a: int, b: int) -> int:
    return a + b


async def count(to: int) -> AsyncIterator[int]:
    for number in range(to):
        yield number


async def fail(text: str) -> None:
    raise LookupError(text)


def worker(hub: JoinedHub, *functions: Any) -> ToolWorker:
    """A worker of one hub, which runs one call at a time."""
    return ToolWorker(hub.server.address, functions, capacity=1)


@asynccontextmanager
async def offered(
    function: Any, in_worker: bool, *, own: Sequence[Any] = (), capacity: int = 100
) -> AsyncIterator[list[JoinedHub]]:
    """Joins two hubs, the second of which offers a function: its own, or that of its worker."""
    async with AsyncExitStack() as stack:
        hubs = await stack.enter_async_context(joined_hubs(a=own, b=[] if in_worker else [function]))
        if in_worker:
            await stack.enter_async_context(ToolWorker(hubs[1].server.address, [function], capacity=capacity))
        yield hubs


async def test_a_function_of_another_hub_is_called() -> None:
    async with joined_hubs(a=[], b=[add]) as (a, b):
        await a.knows("add")
        async with a.open_bridge() as bridge:
            await bridge.initialize()
            assert await soon(bridge.tools["add"](1, b=2)) == 3
            assert not b.hub.store.sessions()


async def test_the_tool_of_a_worker_of_another_hub_is_called() -> None:
    async with joined_hubs(a=[], b=[]) as (a, b), ToolWorker(b.server.address, [add], capacity=3):
        await a.knows("add")
        async with a.open_bridge() as bridge:
            await bridge.initialize()
            assert await soon(bridge.tools["add"](1, b=2)) == 3


async def test_a_stream_of_another_hub_is_read() -> None:
    async with joined_hubs(a=[], b=[count]) as (a, _):
        await a.knows("count")
        async with a.open_bridge() as bridge:
            await bridge.initialize()
            assert [value async for value in bridge.tools["count"].stream(4)] == [0, 1, 2, 3]


async def test_a_stream_that_is_closed_ends_at_the_other_hub() -> None:
    ended = asyncio.Event()

    async def endless() -> AsyncIterator[str]:
        try:
            while True:
                yield "x" * 10_000
        finally:
            ended.set()

    async with joined_hubs(a=[], b=[endless]) as (a, b):
        await a.knows("endless")
        async with a.open_bridge() as bridge:
            await bridge.initialize()
            stream = bridge.tools["endless"].stream()
            assert await soon(anext(stream))
            await stream.aclose()
            await soon(ended.wait())
            await until(lambda: not len(b.guests) and not b.hub.admission.active)


@pytest.mark.parametrize("in_worker", [False, True])
async def test_an_error_of_another_hub_arrives_whole(in_worker: bool) -> None:
    async with offered(fail, in_worker) as (a, _):
        await a.knows("fail")
        async with a.open_bridge() as bridge:
            await bridge.initialize()
            with pytest.raises(ToolExecutionError, match="no such thing") as caught:
                await soon(bridge.tools["fail"]("no such thing"))
            assert caught.value.error_type == "LookupError"


@pytest.mark.parametrize("in_worker", [False, True])
async def test_a_call_that_is_cancelled_ends_at_the_other_hub(in_worker: bool) -> None:
    began, cancelled = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with offered(wait, in_worker) as (a, b):
        await a.knows("wait")
        async with a.open_bridge() as bridge:
            await bridge.initialize()
            call = asyncio.ensure_future(bridge.tools["wait"]())
            await soon(began.wait())
            call.cancel()
            await soon(cancelled.wait())
            await until(lambda: not len(b.guests) and not b.hub.admission.active)


@pytest.mark.parametrize("in_worker", [False, True])
async def test_a_deadline_ends_the_call_at_the_other_hub(in_worker: bool) -> None:
    async def wait() -> None:
        await asyncio.Event().wait()

    async with offered(wait, in_worker) as (a, b):
        await a.knows("wait")
        async with a.open_bridge() as bridge:
            await bridge.initialize()
            with pytest.raises(ToolExecutionError, match=r"0\.2 s") as caught:
                await soon(bridge.tools["wait"].with_options(timeout=0.2)())
            assert caught.value.error_type == "TimeoutError"
            await until(lambda: not len(b.guests) and not b.hub.admission.active)


async def nest(ctx: ToolContext) -> list[Any]:
    """Uses all that a tool may use of its session."""
    await ctx.set_variable("seen", 7)
    values = [value async for value in ctx.stream_tool("count", 3)]
    return [await ctx.call_tool("add", 1, 2), values, await ctx.get_variable("seen"), ctx.metadata.get("who")]


@pytest.mark.parametrize("in_worker", [False, True])
async def test_nested_calls_and_variables_of_a_guest_are_those_of_its_session(in_worker: bool) -> None:
    async with offered(nest, in_worker, own=[add, count]) as (a, b):
        await a.knows("nest")
        async with a.open_bridge() as bridge:
            await bridge.initialize(metadata={"who": "me"})
            assert await soon(bridge.tools["nest"]()) == [3, [0, 1, 2], 7, "me"]
            assert await bridge.session_context.get_variable("seen") == 7
        assert not b.hub.store.sessions()


@pytest.mark.parametrize("in_worker", [False, True])
async def test_a_tool_that_calls_itself_at_the_other_hub_does_not_wait_for_itself(in_worker: bool) -> None:
    @tool(limits={"max_concurrent_calls": 1})
    async def down(ctx: ToolContext, depth: int) -> int:
        return 0 if not depth else 1 + await ctx.call_tool("down", depth - 1)

    async with offered(down, in_worker, capacity=1) as (a, _):
        await a.knows("down")
        async with a.open_bridge() as bridge:
            await bridge.initialize()
            assert await soon(bridge.tools["down"](4)) == 4


async def test_calls_are_not_nested_endlessly_over_hubs() -> None:
    async def again(ctx: ToolContext) -> None:
        await ctx.call_tool("again")

    async with joined_hubs(a=[], b=[again]) as (a, _):
        await a.knows("again")
        async with a.open_bridge() as bridge:
            await bridge.initialize()
            with pytest.raises(ToolExecutionError, match="nested 32 deep"):
                await soon(bridge.tools["again"]())


@pytest.mark.parametrize("in_worker", [False, True])
async def test_a_question_of_a_guest_reaches_the_caller(in_worker: bool) -> None:
    async def accept(question: Any) -> Answer:
        return Answer("accept")

    async def ask(ctx: ToolContext) -> str:
        return (await ctx.ask("How many?")).action

    async with offered(ask, in_worker) as (a, _):
        await a.knows("ask")
        async with GRPCToolBridge(a.server.address, on_ask=accept) as bridge:
            await bridge.initialize()
            assert await soon(bridge.tools["ask"]()) == "accept"


@pytest.mark.parametrize("in_worker", [False, True])
async def test_progress_and_logs_of_a_guest_reach_the_hub_of_its_session(in_worker: bool) -> None:
    go = asyncio.Event()

    async def work(ctx: ToolContext) -> None:
        ctx.progress(1, 2, "half")
        await go.wait()

    async with offered(work, in_worker) as (a, _):
        await a.knows("work")
        async with a.open_bridge() as bridge:
            await bridge.initialize()
            session = a.hub.store.sessions()[0]
            call = asyncio.ensure_future(bridge.tools["work"]())
            await until(lambda: any(one.progress for one in session.calls or ()))  # type: ignore[attr-defined]
            go.set()
            await soon(call)


async def test_the_id_of_a_call_is_the_same_at_both_hubs_and_at_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    async def who(ctx: ToolContext) -> str:
        return ctx.request_id

    async with offered(who, True) as (a, b):
        await a.knows("who")
        seen: list[str] = []
        end = b.hub.admission.end

        def noted(call: Any, *args: Any, **more: Any) -> int:
            seen.append(call.request_id)
            return end(call, *args, **more)

        monkeypatch.setattr(b.hub.admission, "end", noted)
        async with a.open_bridge() as bridge:
            await bridge.initialize()
            assert [await soon(bridge.tools["who"]())] == seen


async def test_a_worker_of_the_own_hub_is_called_while_it_has_room() -> None:
    entered: list[str] = []
    go = asyncio.Event()

    def make(where: str) -> Any:
        async def work() -> str:
            entered.append(where)
            await go.wait()
            return where

        return work

    async with joined_hubs(a=[], b=[]) as (a, b), worker(a, make("a")), worker(b, make("b")):
        await until(lambda: a.hub.workers.peers() and a.peer("b").tools)
        async with a.open_bridge() as bridge:
            await bridge.initialize()
            calls = [asyncio.ensure_future(bridge.tools["work"]()) for _ in range(3)]
            await until(lambda: len(entered) == 2)
            assert sorted(entered) == ["a", "b"]
            go.set()
            assert sorted((await soon(asyncio.gather(*calls)))[:2]) == ["a", "b"]


async def test_calls_that_wait_are_served_by_whichever_hub_has_room_first() -> None:
    gates = {"a": asyncio.Event(), "b": asyncio.Event()}
    ran: list[str] = []

    def make(where: str) -> Any:
        async def work() -> str:
            await gates[where].wait()
            ran.append(where)
            return where

        return work

    async with joined_hubs(a=[], b=[]) as (a, b), worker(a, make("a")), worker(b, make("b")):
        await until(lambda: a.hub.workers.peers() and a.peer("b").tools)
        async with a.open_bridge() as bridge:
            await bridge.initialize()
            calls = [asyncio.ensure_future(bridge.tools["work"]()) for _ in range(6)]
            gates["b"].set()
            await until(lambda: ran == ["b"] * 5)
            gates["a"].set()
            assert sorted(await soon(asyncio.gather(*calls))) == ["a"] + ["b"] * 5


async def test_a_call_of_another_hub_goes_to_no_third_hub() -> None:
    async def work() -> str:
        return "c"

    async with joined_hubs(a=[], b=[], c=[work]) as (a, b, c):
        await b.knows("work")
        await until(lambda: b.peer("c").tools)
        assert [key for key in b.offering._peers["a"].told if key[1] == "work"] == []
        await c.undial("a")
        await a.undial("c")
        # What b knows of c, it does not run for a.
        async with b.open_bridge() as bridge:
            await bridge.initialize()
            assert await soon(bridge.tools["work"]()) == "c"
        assert all(peer.id != "hub:b" or not peer.tools for peer in a.hub.workers.peers())


async def test_the_calls_of_a_lost_hub_go_elsewhere_if_they_may_be_repeated() -> None:
    began = asyncio.Event()

    def make(where: str, waits: bool) -> Any:
        @tool(name="work", idempotent=True)
        async def work() -> str:
            began.set()
            if waits:
                await asyncio.Event().wait()
            return where

        return work

    async with joined_hubs(a=[], b=[make("b", True)], c=[]) as (a, b, _):
        await a.knows("work")
        async with a.open_bridge() as bridge:
            await bridge.initialize()
            call = asyncio.ensure_future(bridge.tools["work"]())
            await soon(began.wait())
            async with ToolWorker(a.server.address, [make("a", False)]):
                await b.undial("a")
                assert await soon(call) == "a"


async def test_a_call_of_a_lost_hub_that_may_not_be_repeated_fails_and_says_so() -> None:
    began = asyncio.Event()

    async def work() -> None:
        began.set()
        await asyncio.Event().wait()

    async with joined_hubs(a=[], b=[work]) as (a, b):
        await a.knows("work")
        async with a.open_bridge() as bridge:
            await bridge.initialize()
            call = asyncio.ensure_future(bridge.tools["work"]())
            await soon(began.wait())
            await b.undial("a")
            with pytest.raises(ToolExecutionError, match="not marked idempotent"):
                await soon(call)


async def test_a_worker_that_is_lost_at_another_hub_is_lost_to_the_caller_too() -> None:
    began = asyncio.Event()

    def make(where: str, waits: bool) -> Any:
        @tool(name="work", idempotent=True)
        async def work() -> str:
            began.set()
            if waits:
                await asyncio.Event().wait()
            return where

        return work

    async with joined_hubs(a=[], b=[]) as (a, b):
        lost = ToolWorker(b.server.address, [make("b", True)], capacity=1)
        await lost.start()
        await a.knows("work")
        async with a.open_bridge() as bridge:
            await bridge.initialize()
            call = asyncio.ensure_future(bridge.tools["work"]())
            await soon(began.wait())
            async with ToolWorker(a.server.address, [make("a", False)]):
                await lost.close()
                assert await soon(call) == "a"


async def test_a_worker_that_restarts_at_another_hub_loses_no_calls() -> None:
    async with joined_hubs(a=[], b=[]) as (a, b):
        first = ToolWorker(b.server.address, [add], worker_id="w")
        await first.start()
        await a.knows("add")
        async with a.open_bridge() as bridge:
            await bridge.initialize()
            await first.drain()
            call = asyncio.ensure_future(bridge.tools["add"](1, 2))
            await until(lambda: a.hub.admission.active)
            async with ToolWorker(b.server.address, [add], worker_id="w"):
                assert await soon(call) == 3


async def test_a_tool_whose_worker_is_gone_for_good_goes_at_all_hubs() -> None:
    async with joined_hubs(a=[], b={"worker_grace_period": 0.0}) as (a, b):
        async with ToolWorker(b.server.address, [add]):
            await a.knows("add")
        await until(lambda: "add" not in a.hub.registry.by_name(None))


async def test_a_hub_that_drains_gets_no_new_calls_and_finishes_those_that_it_has() -> None:
    began, go = asyncio.Event(), asyncio.Event()

    async def work() -> str:
        began.set()
        await go.wait()
        return "done"

    async with joined_hubs(a={"worker_grace_period": 0.0}, b=[work]) as (a, b):
        await a.knows("work")
        async with a.open_bridge() as bridge:
            await bridge.initialize()
            call = asyncio.ensure_future(bridge.tools["work"]())
            await soon(began.wait())
            draining = asyncio.ensure_future(b.links["a"].drain(30))
            await until(lambda: "work" not in a.hub.registry.by_name(None))
            go.set()
            assert await soon(call) == "done"
            await soon(draining)


async def test_the_own_function_is_called_and_not_that_of_another_hub() -> None:
    def make(where: str) -> Any:
        async def work() -> str:
            return where

        return work

    async with joined_hubs(a=[make("a")], b=[make("b")]) as (a, b):
        await until(lambda: b.offering._peers["a"].told and a.offering._peers["b"].told)
        for hub in (a, b):
            async with hub.open_bridge() as bridge:
                await bridge.initialize()
                assert await soon(bridge.tools["work"]()) == hub.name


async def test_a_tool_of_an_own_worker_takes_the_place_of_another_of_the_same_name_and_gives_it_back() -> None:
    async def theirs(a: int) -> str:
        return "theirs"

    async def ours(a: str) -> str:
        return "ours"

    there, here = tool(name="work")(theirs), tool(name="work")(ours)
    async with joined_hubs(a={"worker_grace_period": 0.0}, b=[there]) as (a, b):
        await a.knows("work")
        async with a.open_bridge() as bridge:
            await bridge.initialize()
            assert await soon(bridge.client.tool("work")(1)) == "theirs"
            async with ToolWorker(a.server.address, [here]):
                assert await soon(bridge.client.tool("work")("x")) == "ours"
                # It is not offered to the hub that has its own.
                async with b.open_bridge() as other:
                    await other.initialize()
                    assert await soon(other.tools["work"](1)) == "theirs"
            await until(lambda: a.peer("b").tools)
            await soon(bridge.client.refresh_tools())
            assert await soon(bridge.client.tool("work")(1)) == "theirs"


async def test_tools_of_a_session_are_offered_to_the_hub_that_has_it() -> None:
    async def mine(ctx: ToolContext) -> str:
        return f"for {ctx.session_id}"

    async with joined_hubs(a=[], b=[]) as (a, b), a.open_bridge() as bridge:
        await bridge.initialize("s")
        worker = ToolWorker(b.server.address, [mine], worker_id="w")
        await worker._client.connect(5)
        request = _registration(worker, "s")
        answer = await soon(worker._transport.stub.RegisterTools(request))
        assert answer.success, answer
        await soon(bridge.client.refresh_tools())
        assert await soon(bridge.tools["mine"]()) == "for s"
        # No other session sees it.
        assert "mine" not in a.hub.registry.by_name(None)
        assert "mine" not in b.hub.registry.by_name(None)
        await worker.close()
        await until(lambda: not a.hub.store.peek("s").tools or a.peer("b").tools)


async def test_a_tool_of_a_session_whose_name_is_taken_there_is_refused_to_its_worker() -> None:
    async def mine() -> str:
        return "b"

    async def other(a: int) -> str:
        return "a"

    async with joined_hubs(a=[], b=[]) as (a, b), a.open_bridge() as bridge:
        await bridge.initialize("s")
        async with ToolWorker(a.server.address, [tool(name="mine")(other)], session_id="s"):
            worker = ToolWorker(b.server.address, [mine], worker_id="w")
            await worker._client.connect(5)
            answer = await soon(worker._transport.stub.RegisterTools(_registration(worker, "s")))
            assert not answer.success
            assert answer.error.type == "AlreadyExists"
            assert not b.hub.store.guests
            await worker.close()


def _registration(worker: ToolWorker, session_id: str) -> Any:
    return RegisterToolsRequest(session_id=session_id, tools=worker._specs, worker_id=worker.worker_id, capacity=2)
