"""What goes on in a hub, as whoever runs it sees it, over every transport."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing
from typing import Any

import grpc.aio
import pytest
from pydantic import SecretStr

from grpc_tool_bridge import (
    AccessError,
    BridgeServer,
    CallCancelledError,
    CallStatus,
    GRPCToolBridge,
    NotFoundError,
    ResourceExhaustedError,
    SessionNotFoundError,
    Settings,
    ToolBridge,
    ToolContext,
    ToolExecutionError,
    ToolWorker,
    UnavailableError,
    ValidationError,
    serialize_value,
)
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.proto.dspex_bridge_pb2_grpc import SnakepitBridgeStub, ToolBridgeAdminStub
from integration.agent_runtime import SIGNATURE, ObedientAgents
from integration.connections import Connect, RemoteBridge, World, loop_threads, read
from support.waiting import soon, until

TOKEN = "hush"


async def add(a: int, b: int) -> int:
    return a + b


async def divide(a: int, b: int) -> float:
    return a / b


async def hang(word: str = "", number: int = 0) -> str:
    await asyncio.Event().wait()
    return f"{word}{number}"


async def nest(ctx: ToolContext, tool: str = "hang") -> Any:
    return await ctx.call_tool(tool)


async def report(ctx: ToolContext) -> str:
    ctx.progress(1, 2, "half")
    ctx.log("half way", step=1)
    await asyncio.Event().wait()
    return ""


async def numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


class Tasks:
    """Calls that go on in the background, ended with the test."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[Any]] = []

    def start(self, call: Any) -> "asyncio.Task[Any]":
        task: asyncio.Task[Any] = asyncio.ensure_future(call)
        self._tasks.append(task)
        return task

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest.fixture
async def tasks() -> AsyncIterator[Tasks]:
    made = Tasks()
    yield made
    await made.end()


async def calls_of(bridge: ToolBridge, **asked: Any) -> list[CallStatus]:
    return [call async for call in bridge.admin.calls(**asked)]


async def until_calls(bridge: ToolBridge, count: int, **asked: Any) -> list[CallStatus]:
    """Waits until the hub tells of so many calls that all run."""
    found: list[CallStatus] = []

    async def look() -> None:
        nonlocal found
        while True:
            found = await calls_of(bridge, **asked)
            if len(found) == count:
                return
            # A hub in this process answers at once, and others have no turn meanwhile.
            await asyncio.sleep(0)

    await soon(look())
    return found


class Watch:
    """Watches a hub in the background."""

    def __init__(self, bridge: ToolBridge, *given: Any, **asked: Any) -> None:
        self.events: list[Any] = []
        self.task = asyncio.ensure_future(read(bridge.admin.watch(*given, **asked), self.events))

    async def begun(self, world: World, count: int = 1) -> None:
        await until(lambda: len(world.hub._feed._watchers) == count, "for the watch to begin")

    async def sees(self, count: int) -> list[Any]:
        await until(lambda: len(self.events) >= count or self.task.done(), f"for {count} events")
        return self.events

    async def until(self, **wanted: Any) -> Any:
        """Waits for an event that is so."""

        def find() -> Any:
            return next(
                (event for event in self.events if all(getattr(event, key) == wanted[key] for key in wanted)), None
            )

        await until(lambda: find() or self.task.done(), f"for {wanted}")
        found = find()
        assert found is not None, self.task
        return found


@pytest.fixture
async def watches() -> AsyncIterator[list[Watch]]:
    made: list[Watch] = []
    yield made
    for watch in made:
        watch.task.cancel()
    await asyncio.gather(*(watch.task for watch in made), return_exceptions=True)


# ---------------------------------------------------------------------------------------------------------- lists


async def test_sessions_are_listed_as_they_describe_themselves(connect: Connect) -> None:
    world = await connect(add)
    other = await world.attach("other", metadata={"user": "ann"})
    await other.session_context.set_variable("x", 1)
    found = [session async for session in world.bridge.admin.sessions()]
    assert [session.session_id for session in found] == [world.session_id, "other"]
    asked = await other.client.session_info()
    assert (dict(found[1].metadata), found[1].variable_count, found[1].tool_count) == ({"user": "ann"}, 1, 1)
    assert found[1].created_at == asked.created_at


async def test_pages_go_on_while_sessions_come_and_go(connect: Connect) -> None:
    world = await connect(max_sessions=10_000)
    for number in range(250):
        await world.hub.store.create_session(f"s{number}")
    seen = []
    request = pb.ListSessionsRequest(page_size=7)
    stub = world.bridge.client.stub
    while True:
        page = await stub.ListSessions(request)
        assert len(page.sessions) <= 7
        seen += [session.session_id for session in page.sessions]
        number = len(seen)
        # One that was listed goes, the last of the page among them, and others come.
        await world.hub.store.cleanup_session(seen[-1])
        if number < 300:
            await world.hub.store.create_session(f"late{number}")
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert len(seen) == len(set(seen))
    assert [name for name in seen if name.startswith("s") and name[1:].isdecimal()] == [f"s{n}" for n in range(250)]


@pytest.mark.parametrize("method", ["ListSessions", "ListWorkers", "ListCalls", "ListRuns", "ListOffers"])
async def test_a_page_that_cannot_be_is_refused(connect: Connect, method: str) -> None:
    world = await connect(add)
    request = {
        "ListSessions": pb.ListSessionsRequest,
        "ListWorkers": pb.ListWorkersRequest,
        "ListCalls": pb.ListCallsRequest,
        "ListRuns": pb.ListRunsRequest,
        "ListOffers": pb.ListOffersRequest,
    }[method]
    for given in ({"page_token": "no token"}, {"page_token": "WyJ4Il0="}, {"page_size": -1}):
        with pytest.raises(ValidationError) as caught:
            await world.bridge.client.call(method, request(**given))
        assert next(iter(given)) in caught.value.message


async def test_a_hub_without_a_cluster_lists_itself_and_what_it_offers(connect: Connect) -> None:
    world = await connect(add)
    [hub] = await world.bridge.admin.hubs()
    assert (hub.is_self, hub.state, hub.incarnation, hub.link) == (True, "serving", "", "")
    assert hub.tools == 1
    offers = [offer async for offer in world.bridge.admin.offers("add")]
    assert [(offer.tool, offer.hub, offer.worker_id) for offer in offers] == [("add", "", "")]
    assert [offer async for offer in world.bridge.admin.offers("none")] == []
    with pytest.raises(NotFoundError, match="no hub 'other'"):
        await anext(world.bridge.admin.sessions(hub="other"))


async def test_two_thousand_sessions_are_listed_while_others_are_answered(connect: Connect) -> None:
    world = await connect(add, max_sessions=10_000)
    for number in range(2_000):
        await world.hub.store.create_session(f"s{number}")
    served = 0

    async def ask() -> None:
        nonlocal served
        while True:
            assert await world.bridge.client.health_check()
            served += 1
            await asyncio.sleep(0)

    asking = asyncio.ensure_future(ask())
    found = [session.session_id async for session in world.bridge.admin.sessions()]
    asking.cancel()
    assert len(found) == 2_001
    assert served


async def test_calls_are_listed_with_the_calls_of_their_tools(connect: Connect, tasks: Tasks) -> None:
    world = await connect(hang, nest)
    tasks.start(world.tools["nest"]())
    outer, inner = await until_calls(world.bridge, 2)
    assert (outer.tool_id, outer.parent_id, outer.state) == ("nest", "", "running")
    assert (inner.tool_id, inner.parent_id, inner.session_id) == ("hang", outer.call_id, world.session_id)
    assert 0 < inner.time_left <= 30
    assert inner.started_at >= outer.started_at
    assert inner.worker_id == ""
    assert await until_calls(world.bridge, 2, session_id=world.session_id)
    other = await world.attach("other")
    assert await calls_of(other, session_id="other") == []
    with pytest.raises(SessionNotFoundError):
        await calls_of(world.bridge, session_id="none")


async def test_a_call_that_waits_for_a_permit_says_so(connect: Connect, tasks: Tasks) -> None:
    world = await connect(hang, config=pb.SessionConfig(max_concurrent_tools=1))
    tasks.start(world.tools["hang"]())
    (first,) = await until_calls(world.bridge, 1)
    tasks.start(world.tools["hang"]())
    found = await until_calls(world.bridge, 2)
    assert [call.state for call in found] == ["running", "waiting"]
    # An id stays a call's own.
    assert found[0].call_id == first.call_id


async def test_a_stream_whose_reader_is_slow_is_listed_with_the_id_that_its_caller_gave_it(connect: Connect) -> None:
    world = await connect(numbers)
    stream = world.bridge.client.stub.StreamTool(
        pb.ToolStreamRequest(
            session_id=world.session_id,
            tool_id="numbers",
            args=[serialize_value(10_000_000)],
            stream_id="mine",
        )
    )
    await soon(anext(aiter(stream)))
    (call,) = await until_calls(world.bridge, 1)
    assert (call.tool_id, call.request_id, call.state) == ("numbers", "mine", "running")
    await world.bridge.admin.cancel_call(call.call_id)
    last = None
    async for chunk in stream:
        last = chunk
    assert last is not None
    assert last.error.type == "Cancelled"


async def test_arguments_are_told_to_whoever_asks_for_them(connect: Connect, tasks: Tasks) -> None:
    world = await connect(hang)
    tasks.start(world.tools["hang"]("word", number=7))
    (call,) = await until_calls(world.bridge, 1)
    assert (call.args, call.kwargs) == ((), {})
    (call,) = await calls_of(world.bridge, include_arguments=True)
    assert [*call.args, *call.kwargs.values()] == ["word", 7]


async def test_progress_is_told_of_a_call(connect: Connect, tasks: Tasks) -> None:
    world = await connect(report)
    tasks.start(world.tools["report"]())
    (call,) = await until_calls(world.bridge, 1)
    assert call.progress == pb.Progress(current=1, total=2, message="half")


async def test_workers_are_listed_with_their_tools_and_calls(connect: Connect, tasks: Tasks) -> None:
    world = await connect()
    async with ToolWorker(world.server.address, tools=[hang, add], worker_id="w1", capacity=5):
        await until(lambda: "hang" in world.tools)
        tasks.start(world.tools["hang"]("word", 7))
        (call,) = await until_calls(world.bridge, 1, include_arguments=True)
        assert (call.worker_id, call.args) == ("w1", ("word", 7))
        (worker,) = [worker async for worker in world.bridge.admin.workers()]
        assert (worker.worker_id, worker.state, worker.capacity, worker.active_calls) == ("w1", "connected", 5, 1)
        assert (list(worker.tools), worker.tool_count) == (["add", "hang"], 2)
        assert worker.connected_at.seconds > 0
        await tasks.end()


async def test_a_call_that_a_workers_tool_makes_names_its_parent(connect: Connect, tasks: Tasks) -> None:
    world = await connect(hang)
    async with ToolWorker(world.server.address, tools=[nest], worker_id="w1"):
        await until(lambda: "nest" in world.tools)
        tasks.start(world.tools["nest"]())
        outer, inner = await until_calls(world.bridge, 2)
        assert (outer.worker_id, inner.worker_id, inner.parent_id) == ("w1", "", outer.call_id)
        await world.bridge.admin.cancel_call(outer.call_id)
        assert await until_calls(world.bridge, 0) == []


async def test_runs_are_the_parents_of_their_agents_calls(connect: Connect, tasks: Tasks) -> None:
    world = await connect(hang)
    agents = ObedientAgents()
    async with ToolWorker(world.server.address, agents=agents, worker_id="runtime"):
        await until(lambda: world.hub.agents.available)
        agent_id = await world.bridge.create_react_agent(SIGNATURE)
        asked = {"agent_id": agent_id, "input": {"call": "hang"}, "run_id": "r1"}
        running = tasks.start(read(world.bridge.execute_agent_streaming(asked), []))
        run_call, call = await until_calls(world.bridge, 2)
        assert (run_call.call_id, run_call.tool_id, run_call.worker_id) == ("r1", agent_id, "runtime")
        assert (call.tool_id, call.parent_id) == ("hang", "r1")
        (run,) = [run async for run in world.bridge.admin.runs()]
        assert (run.run_id, run.agent_id, run.session_id) == ("r1", agent_id, world.session_id)
        assert (run.state, run.readers) == ("running", 1)
        await world.bridge.admin.cancel_call("r1", "too dear")
        with pytest.raises(CallCancelledError, match="cancelled by an administrator: too dear"):
            await soon(running)
        (run,) = [run async for run in world.bridge.admin.runs(world.session_id)]
        assert run.state == "cancelled"
        assert await until_calls(world.bridge, 0) == []


# --------------------------------------------------------------------------------------------------------- cancel


async def test_a_call_that_is_cancelled_ends_with_the_calls_of_its_tool(connect: Connect, tasks: Tasks) -> None:
    world = await connect(hang, nest)
    calling = tasks.start(world.tools["nest"]())
    outer, _ = await until_calls(world.bridge, 2)
    await world.bridge.admin.cancel_call(outer.call_id, "it costs too much")
    with pytest.raises(ToolExecutionError) as caught:
        await soon(calling)
    assert caught.value.error_type == "Cancelled"
    assert caught.value.message == "the call was cancelled by an administrator: it costs too much"
    assert await until_calls(world.bridge, 0) == []
    with pytest.raises(NotFoundError, match=f"no call '{outer.call_id}' waits or runs"):
        await world.bridge.admin.cancel_call(outer.call_id)


async def test_a_workers_call_is_cancelled_at_the_worker(connect: Connect, tasks: Tasks) -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    world = await connect()
    async with ToolWorker(world.server.address, tools=[wait]):
        await until(lambda: "wait" in world.tools)
        calling = tasks.start(world.tools["wait"]())
        (call,) = await until_calls(world.bridge, 1)
        await soon(started.wait())
        await world.bridge.admin.cancel_call(call.call_id)
        with pytest.raises(ToolExecutionError, match="the call was cancelled by an administrator"):
            await soon(calling)
        await soon(ended.wait())


async def test_bad_arguments_are_refused_at_the_caller(connect: Connect) -> None:
    admin: Any = (await connect(add)).bridge.admin
    refused: dict[str, Callable[[], Any]] = {
        "session_id": lambda: admin.calls(session_id=1),
        "include_arguments": lambda: admin.calls(include_arguments="yes"),
        "kinds": lambda: admin.watch(kinds="call"),
        "one of kinds": lambda: admin.watch(kinds=["calls"]),
    }
    for name, call in refused.items():
        with pytest.raises(ValidationError, match=name):
            call()
    with pytest.raises(ValidationError, match="call_id"):
        await admin.cancel_call("")


# ---------------------------------------------------------------------------------------------------------- watch


async def test_a_watch_tells_how_calls_start_and_end(connect: Connect, watches: list[Watch]) -> None:
    world = await connect(add, divide)
    watches.append(watch := Watch(world.bridge, kinds=["call"]))
    await watch.begun(world)
    await world.tools["add"](1, 2)
    with pytest.raises(ToolExecutionError):
        await world.tools["divide"](1, 0)
    events = await watch.sees(4)
    told = [(event.operation, event.subject.tool_id, event.subject.state) for event in events]
    assert told == [
        ("started", "add", "running"),
        ("ended", "add", "done"),
        ("started", "divide", "running"),
        ("ended", "divide", "failed"),
    ]
    assert [event.sequence for event in events] == [1, 2, 3, 4]
    assert not any(event.dropped or event.result or event.subject.args for event in events)
    last = events[-1].subject
    assert isinstance(last, CallStatus)
    assert last.error is not None
    assert (last.error.type, last.error.message) == ("ZeroDivisionError", "")
    assert last.duration is not None
    assert last.duration > 0
    assert events[2].subject.call_id == last.call_id


async def test_a_watch_tells_arguments_results_and_texts_where_it_asks_for_them(
    connect: Connect, watches: list[Watch]
) -> None:
    world = await connect(add, divide)
    watches.append(watch := Watch(world.bridge, kinds=["call"], include_arguments=True))
    await watch.begun(world)
    await world.tools["add"](1, b=2)
    with pytest.raises(ToolExecutionError):
        await world.tools["divide"](1, 0)
    first, second, _, last = await watch.sees(4)
    assert [*first.subject.args, *first.subject.kwargs.values()] == [1, 2]
    assert second.result == 3
    assert "division by zero" in last.subject.error.message


async def test_a_watch_tells_of_a_workers_calls(connect: Connect, watches: list[Watch], tasks: Tasks) -> None:
    world = await connect()
    watches.append(watch := Watch(world.bridge, kinds=["call", "worker"], include_arguments=True))
    await watch.begun(world)
    async with ToolWorker(world.server.address, tools=[add, hang], worker_id="w1", capacity=1):
        connected = await watch.until(kind="worker", operation="connected")
        assert list(connected.subject.tools) == ["add", "hang"]
        await until(lambda: "add" in world.tools)
        assert await world.tools["add"](1, 2) == 3
        ended = await watch.until(kind="call", operation="ended")
        assert (ended.subject.state, ended.result) == ("done", 3)
        started = await watch.until(kind="call", operation="started")
        assert (started.subject.args, started.subject.call_id) == ((1, 2), ended.subject.call_id)
        tasks.start(world.tools["hang"]())
        await until_calls(world.bridge, 1)
        waiting = tasks.start(world.tools["add"](3, 4))
        await until_calls(world.bridge, 2)
        held, second = await calls_of(world.bridge)
        await world.bridge.admin.cancel_call(held.call_id)
        assert await soon(waiting) == 7
        moves = [event.subject for event in watch.events if event.operation == "moved"]
        assert [(move.state, move.worker_id) for move in moves if move.call_id == second.call_id] == [
            ("waiting", ""),
            ("running", "w1"),
        ]
    await watch.until(kind="worker", operation="disconnected")
    assert "draining" in [event.operation for event in watch.events if event.kind == "worker"]


async def test_a_watch_tells_of_sessions_progress_and_log_lines(
    connect: Connect, watches: list[Watch], tasks: Tasks
) -> None:
    world = await connect(report)
    watches.append(watch := Watch(world.bridge))
    await watch.begun(world)
    other = await world.attach("other", metadata={"user": "ann"})
    started = await watch.until(kind="session", operation="started")
    assert (started.subject.session_id, started.subject.metadata) == ("other", {"user": "ann"})
    tasks.start(other.call_tool("report"))
    line = (await watch.until(kind="log")).subject
    assert (line.logger, line.message, line.fields) == ("report", "half way", {"step": "1", "session_id": "other"})
    moved = await watch.until(kind="call", operation="moved")
    assert moved.subject.progress.message == "half"
    await tasks.end()
    await other.close()
    ended = await watch.until(kind="session", operation="ended")
    assert ended.subject.session_id == "other"


async def test_a_watch_of_a_session_tells_of_no_other(connect: Connect, watches: list[Watch]) -> None:
    world = await connect(add)
    other = await world.attach("other")
    watches.append(watch := Watch(world.bridge, "other"))
    await watch.begun(world)
    await world.tools["add"](1, 2)
    await other.tools["add"](1, 2)
    events = await watch.sees(2)
    assert {event.subject.session_id for event in events} == {"other"}


async def test_a_watch_tells_of_cancelled_calls_and_permits(
    connect: Connect, watches: list[Watch], tasks: Tasks
) -> None:
    world = await connect(hang, config=pb.SessionConfig(max_concurrent_tools=1))
    watches.append(watch := Watch(world.bridge, kinds=["call"]))
    await watch.begun(world)
    first = tasks.start(world.tools["hang"]())
    await watch.sees(1)
    tasks.start(world.tools["hang"]())
    waits = await watch.until(operation="moved")
    assert waits.subject.state == "waiting"
    first.cancel()
    ended = await watch.until(operation="ended")
    assert ended.subject.state == "cancelled"
    await watch.sees(5)
    runs = watch.events[-1]
    assert (runs.operation, runs.subject.state, runs.subject.call_id) == ("moved", "running", waits.subject.call_id)


async def test_a_slow_watcher_is_told_what_it_has_missed(connect: Connect) -> None:
    world = await connect(add)
    async with aclosing(world.bridge.admin.watch(kinds=["call"])) as events:
        first = asyncio.ensure_future(anext(events))
        await until(lambda: world.hub._feed._watchers)
        for _ in range(20_000):
            await world.hub.execute_tool(
                pb.ToolCallRequest(
                    session_id=world.session_id, tool_id="add", args=[serialize_value(1), serialize_value(2)]
                )
            )
        (watcher,) = world.hub._feed._watchers
        assert len(watcher._waiting) <= 1_000
        last = dropped = 0
        event = await soon(first)
        while not dropped:
            assert event.sequence == last + event.dropped + 1
            last, dropped = event.sequence, event.dropped
            event = await soon(anext(events))
        assert dropped > 10_000


async def test_too_many_watchers_are_refused(connect: Connect, watches: list[Watch]) -> None:
    world = await connect(add, max_admin_watches=1)
    watches.append(watch := Watch(world.bridge))
    await watch.begun(world)
    with pytest.raises(ResourceExhaustedError, match="max_admin_watches"):
        await anext(world.bridge.admin.watch())
    watch.task.cancel()
    await until(lambda: not world.hub._feed._watchers)
    assert world.hub.admission.observer is None
    assert world.hub.store.on_change is None
    assert world.hub.workers.on_change is None


@pytest.mark.parametrize("transport", ["rpc", "link"])
async def test_a_watch_ends_when_the_hub_drains(transport: Any) -> None:
    async with BridgeServer(tools=[add]) as server, GRPCToolBridge(server.address, transport=transport) as bridge:
        stream = bridge.client.stub.WatchEvents(pb.WatchEventsRequest())
        ending = asyncio.ensure_future(anext(aiter(stream)))
        await until(lambda: server.hub._feed._watchers)
        await server.stop(0)
        with pytest.raises(grpc.aio.AioRpcError, match="the hub is shutting down") as caught:
            await soon(ending)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_watch_goes_on_at_the_hub_that_takes_the_place_of_another(watches: list[Watch]) -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(BridgeServer(tools=[add]))
        bridge = await stack.enter_async_context(GRPCToolBridge(server.address, transport="link"))
        await bridge.initialize()
        watches.append(watch := Watch(bridge, kinds=["call"]))
        await until(lambda: server.hub._feed._watchers)
        await bridge.call_tool("add", 1, 2)
        await watch.sees(2)
        await server.stop(0)
        again = await stack.enter_async_context(BridgeServer(server.address, tools=[add]))
        await until(lambda: again.hub._feed._watchers, "for the watch to go on")
        await bridge.call_tool("add", 3, 4)
        events = await watch.sees(4)
        assert [event.sequence for event in events] == [1, 2, 1, 2]
        watch.task.cancel()


async def test_a_watch_over_plain_rpc_ends_with_its_hub() -> None:
    async with BridgeServer(tools=[add]) as server, GRPCToolBridge(server.address, transport="rpc") as bridge:
        watching = asyncio.ensure_future(anext(bridge.admin.watch()))
        await until(lambda: server.hub._feed._watchers)
        await server.stop(0)
        with pytest.raises(UnavailableError, match="the hub is shutting down"):
            await soon(watching)


# ----------------------------------------------------------------------------------------------------- the service


async def test_both_services_are_behind_the_token(remote_bridge: RemoteBridge) -> None:
    settings = Settings(token=SecretStr(TOKEN))
    async with BridgeServer(tools=[add], settings=settings) as server:
        async with remote_bridge(server.address) as bridge:
            with pytest.raises(AccessError):
                await anext(bridge.admin.sessions())
            with pytest.raises(AccessError):
                await anext(bridge.admin.watch())
        async with remote_bridge(server.address, token=TOKEN) as bridge:
            assert [session async for session in bridge.admin.sessions()] == []


async def test_both_services_are_reached_with_their_own_stubs() -> None:
    async with BridgeServer(tools=[add]) as server, grpc.aio.insecure_channel(server.address) as channel:
        main: Any = SnakepitBridgeStub(channel)
        admin: Any = ToolBridgeAdminStub(channel)
        await main.InitializeSession(pb.InitializeSessionRequest(session_id="s"))
        answer = await admin.ListSessions(pb.ListSessionsRequest())
        assert [session.session_id for session in answer.sessions] == ["s"]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await admin.ListCalls(pb.ListCallsRequest(session_id="none"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert "tool-bridge-error-bin" in dict(caught.value.trailing_metadata() or ())


async def test_a_blocking_bridge_lists_cancels_and_watches() -> None:
    def use(address: str) -> None:
        bridge = GRPCToolBridge(address).sync
        bridge.initialize("mine")
        assert [session.session_id for session in bridge.admin.sessions()] == ["mine"]
        assert list(bridge.admin.calls()) == []
        with pytest.raises(NotFoundError):
            bridge.admin.cancel_call("1")
        events = bridge.admin.watch(kinds=["call"])
        # A watch begins when its first event is asked for.
        calling = asyncio.run_coroutine_threadsafe(call_when_watched(), loop)
        assert next(events).operation == "started"
        calling.result()
        events.close()
        bridge.close()

    async with BridgeServer(tools=[add]) as server:
        loop = asyncio.get_running_loop()

        async def call_when_watched() -> None:
            await until(lambda: server.hub._feed._watchers)
            async with server.bridge() as local:
                await local.initialize()
                await local.call_tool("add", 1, 2)

        await asyncio.to_thread(use, server.address)
    assert not loop_threads()
