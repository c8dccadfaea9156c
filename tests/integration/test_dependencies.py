"""Parameters with ``Depends``: made for a call and closed after it, wherever the tool runs."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import pytest

from grpc_tool_bridge import (
    BridgeServer,
    Depends,
    LocalToolBridge,
    Settings,
    ToolBridge,
    ToolContext,
    ToolExecutionError,
    ToolTimeoutError,
    ToolWorker,
    pipeline,
    step,
    tool,
)
from integration import dependent_tools as made
from support.waiting import soon, until

# Where a tool may run: a thread or the event loop of the hub, a worker, a process.
PLACES = ("thread", "loop", "worker", "process")
Opened = Callable[..., Awaitable[ToolBridge]]

ORDER = ["open none", "cache", "query cats", "no cache", "close none"]


@pytest.fixture(autouse=True)
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Reads what happened, in this process and in others."""
    path = tmp_path / "log"
    path.touch()
    monkeypatch.setenv(made.LOG, str(path))
    return lambda: path.read_text().splitlines()


@asynccontextmanager
async def reached(place: str, *functions: Any, overrides: Any = None, **settings: Any) -> AsyncIterator[ToolBridge]:
    """Offers functions in a place, and gives a bridge to them."""
    given = Settings(shutdown_grace=0, **settings)
    offered = [tool(executor="process")(each) for each in functions] if place == "process" else list(functions)
    async with BridgeServer(tools=[] if place == "worker" else offered, settings=given) as server:
        worker = ToolWorker(server.address, offered, settings=given) if place == "worker" else None
        if worker is not None:
            await worker.start()
        (worker or server).dependency_overrides = overrides or {}
        async with server.bridge() as bridge:
            await bridge.initialize()
            yield bridge
        if worker is not None:
            await worker.close()


def of(place: str, name: str) -> Any:
    return getattr(made, f"{name}_async" if place == "loop" else name)


@pytest.mark.parametrize("place", PLACES)
async def test_dependencies_are_made_once_for_a_call_and_closed_in_reverse_order(
    place: str, log: Callable[[], list[str]]
) -> None:
    function = of(place, "query")
    async with reached(place, function) as bridge:
        search = bridge.tools[function.__name__]
        assert await soon(search("cats")) == "cats in none, 3"
        assert log() == ORDER
        assert await soon(search("cats", limit=1)) == "cats in none, 1"
        assert log() == ORDER * 2


@pytest.mark.parametrize("place", PLACES)
async def test_callers_do_not_see_dependencies_and_cannot_give_them(place: str) -> None:
    function = of(place, "query")
    async with reached(place, function) as bridge:
        search = bridge.tools[function.__name__]
        schema = json.loads(search.spec.input_schema)
        assert sorted(schema["properties"]) == ["limit", "words"]
        assert [item.name for item in search.spec.arguments] == ["words", "limit"]
        with pytest.raises(ToolExecutionError, match=r"'db': is filled in by the bridge; omit it|unknown"):
            await soon(bridge.call_tool(function.__name__, "cats", db="mine"))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("way", ["stream", "call"])
async def test_dependencies_of_a_stream_live_until_its_end(place: str, way: str, log: Callable[[], list[str]]) -> None:
    function = of(place, "rows")
    async with reached(place, function) as bridge:
        rows: Any = bridge.tools[function.__name__]
        found = [item async for item in rows.stream(3)] if way == "stream" else await soon(rows(3))
        assert found == ["none 0", "none 1", "none 2"]
        assert log() == ["open none", "cache", "no cache", "close none"]


@pytest.mark.parametrize("place", ["thread", "loop", "worker"])
async def test_a_reader_that_leaves_a_stream_closes_its_dependencies(place: str, log: Callable[[], list[str]]) -> None:
    function = of(place, "rows")
    async with reached(place, function) as bridge:
        rows: Any = bridge.tools[function.__name__]
        stream = rows.stream(1_000_000)
        assert await anext(stream) == "none 0"
        await stream.aclose()
        await until(lambda: log()[-1] == "close none")
        assert log()[:2] == ["open none", "cache"]


@pytest.mark.parametrize("place", ["thread", "worker", "process"])
async def test_a_result_is_encoded_before_its_dependencies_are_closed(place: str) -> None:
    async with reached(place, made.lazy) as bridge:
        assert await soon(bridge.tools["lazy"](3)) == ["0", "1", "2"]


async def test_a_result_of_a_coroutine_is_encoded_before_its_dependencies_are_closed() -> None:
    async def row(db: made.SomeDb) -> Any:
        # Read in a thread, since that runs code of the tool.
        return (db.is_open for _ in range(2))

    async def lazy_rows(db: made.SomeDb) -> Any:
        async def read() -> AsyncIterator[bool]:
            yield db.is_open

        return read()

    async with reached("loop", row, lazy_rows) as bridge:
        assert await soon(bridge.tools["row"]()) == [True, True]
        assert await soon(bridge.tools["lazy_rows"]()) == [True]


@pytest.mark.parametrize("place", ["thread", "worker", "process"])
async def test_blocking_providers_run_in_the_thread_of_their_tool(place: str) -> None:
    async with reached(place, made.same_thread) as bridge:
        assert await soon(bridge.tools["same_thread"]()) is True


async def test_blocking_providers_of_a_coroutine_do_not_block_the_event_loop() -> None:
    entered, go = threading.Event(), threading.Event()

    def slow() -> Iterator[int]:
        entered.set()
        assert go.wait(60)
        yield 1

    async def wait(value: Annotated[int, Depends(slow)]) -> int:
        return value

    async with reached("loop", wait) as bridge:
        running = asyncio.ensure_future(bridge.tools["wait"]())
        await until(entered.is_set)
        # This loop runs the hub.
        go.set()
        assert await soon(running) == 1


@pytest.mark.parametrize("place", ["thread", "worker", "process"])
async def test_a_dependency_sees_the_error_of_its_tool(place: str, log: Callable[[], list[str]]) -> None:
    async with reached(place, made.fail) as bridge:
        with pytest.raises(ToolExecutionError, match=r"^fail: ValueError: no none"):
            await soon(bridge.tools["fail"]())
        assert log() == ["open none", "ValueError", "close none"]


@pytest.mark.parametrize("place", ["thread", "worker", "process"])
async def test_an_error_of_a_provider_is_that_of_the_tool_and_names_the_dependency(
    place: str, log: Callable[[], list[str]]
) -> None:
    async with reached(place, made.need_unreachable) as bridge:
        with pytest.raises(ToolExecutionError) as caught:
            await soon(bridge.tools["need_unreachable"]())
        assert caught.value.error_type == "ConnectionError"
        assert caught.value.message == "refused\nnote: raised by the dependency 'other' (unreachable)"
        assert log() == ["open none", "ConnectionError", "close none"]


@pytest.mark.parametrize("place", ["thread", "worker", "process"])
async def test_an_error_at_the_end_of_a_dependency_fails_the_call(place: str, log: Callable[[], list[str]]) -> None:
    async with reached(place, made.commit) as bridge:
        with pytest.raises(ToolExecutionError, match="disk full\nnote: raised while closing the dependency 'value'"):
            await soon(bridge.tools["commit"]())
        assert log()[-1] == "close none"


async def test_a_provider_that_handles_the_error_of_its_tool_does_not_undo_it() -> None:
    @asynccontextmanager
    async def forgiving() -> AsyncIterator[None]:
        try:
            yield
        except ValueError:
            return

    def forgiving_here() -> Iterator[None]:
        try:
            yield
        except ValueError:
            return

    async def coroutine(it: Annotated[None, Depends(forgiving)]) -> int:
        raise ValueError("still")

    def function(it: Annotated[None, Depends(forgiving)], too: Annotated[None, Depends(forgiving_here)]) -> int:
        raise ValueError("still")

    async with reached("loop", coroutine, function) as bridge:
        for each in bridge.tools.values():
            with pytest.raises(ToolExecutionError, match="ValueError: still"):
                await soon(each())


@pytest.mark.parametrize("blocks", [False, True])
async def test_a_call_that_times_out_closes_its_dependencies(blocks: bool) -> None:
    closed = asyncio.Event()
    loop = asyncio.get_running_loop()
    seen: list[BaseException] = []

    def resource() -> Iterator[int]:
        try:
            yield 1
        except BaseException as error:
            seen.append(error)
            raise
        finally:
            loop.call_soon_threadsafe(closed.set)

    async def endless(value: Annotated[int, Depends(resource)]) -> int:
        await asyncio.get_running_loop().create_future()
        return value

    def endless_here(value: Annotated[int, Depends(resource)], ctx: ToolContext) -> int:
        while not ctx.cancelled:
            threading.Event().wait(0.01)
        return value

    async with LocalToolBridge([endless_here if blocks else endless]) as bridge:
        (wait,) = (await bridge.initialize()).values()
        with pytest.raises(ToolTimeoutError):
            await wait.with_options(timeout=0.05)()
        await soon(closed.wait())
    assert [type(error) for error in seen] == ([] if blocks else [asyncio.CancelledError])


async def test_a_call_that_is_cancelled_while_a_thread_makes_a_dependency_closes_it_there() -> None:
    entered, go, closed = threading.Event(), threading.Event(), threading.Event()

    def slow() -> Iterator[int]:
        entered.set()
        assert go.wait(60)
        try:
            yield 1
        finally:
            closed.set()

    async def wait(value: Annotated[int, Depends(slow)]) -> int:
        return value

    async with LocalToolBridge([wait]) as bridge:
        tools = await bridge.initialize()
        running = asyncio.ensure_future(tools["wait"]())
        await until(entered.is_set)
        running.cancel()
        await until(running.done)
        assert not closed.is_set()
        go.set()
        await until(closed.is_set)


async def test_an_asynchronous_provider_of_a_thread_ends_with_its_call() -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def endless() -> int:
        began.set()
        try:
            await asyncio.get_running_loop().create_future()
            return 1
        finally:
            ended.set()

    def wait(value: Annotated[int, Depends(endless)]) -> int:
        return value

    async with LocalToolBridge([wait], settings=Settings(max_threads=1)) as bridge:
        tools = await bridge.initialize()
        running = asyncio.ensure_future(tools["wait"]())
        await soon(began.wait())
        running.cancel()
        await soon(ended.wait())
        await until(lambda: bridge.hub.executor.threads_busy == 0)


async def test_a_context_manager_of_asyncio_is_entered_and_left_in_one_task_for_a_thread() -> None:
    tasks: list[Any] = []

    async def grouped() -> AsyncIterator[asyncio.TaskGroup]:
        async with asyncio.TaskGroup() as group:
            tasks.append(asyncio.current_task())
            yield group
            tasks.append(asyncio.current_task())

    def use(first: Annotated[Any, Depends(grouped)], second: Annotated[Any, Depends(grouped, use_cache=False)]) -> bool:
        return first is not second

    async with LocalToolBridge([use]) as bridge:
        tools = await bridge.initialize()
        assert await soon(tools["use"]()) is True
    assert len(set(tasks)) == 1
    assert len(tasks) == 4


async def test_without_the_cache_each_parameter_has_a_value_of_its_own() -> None:
    def fresh() -> object:
        return object()

    async def compare(
        a: Annotated[object, Depends(fresh)],
        b: Annotated[object, Depends(fresh)],
        c: Annotated[object, Depends(fresh, use_cache=False)],
    ) -> list[bool]:
        return [a is b, a is c]

    async with LocalToolBridge([compare]) as bridge:
        tools = await bridge.initialize()
        assert await soon(tools["compare"]()) == [True, False]


async def test_batches_and_pipelines_have_dependencies(log: Callable[[], list[str]]) -> None:
    composite = pipeline(name="both", description="Both.", steps=[step("query", "dogs"), step("query_async", "cats")])
    async with LocalToolBridge([made.query, made.query_async, composite]) as bridge:
        tools = await bridge.initialize()
        assert await soon(tools["both"]()) == "cats in none, 3"
        assert log().count("close none") == 2
        results = await soon(
            bridge.execute_batch([{"tool_id": name, "args": ["a"]} for name in ("query", "query_async")])
        )
        assert results == ["a in none, 3", "a in none, 3"]
        assert log().count("close none") == 4


async def test_a_function_that_returns_an_awaitable_or_an_iterator_has_them_until_the_end() -> None:
    def later(db: made.SomeDb) -> Awaitable[bool]:
        async def value() -> bool:
            await asyncio.sleep(0)
            return db.is_open

        return value()

    def items(db: made.SomeDb) -> AsyncIterator[bool]:
        async def values() -> AsyncIterator[bool]:
            yield db.is_open

        return values()

    @tool(executor="async")
    def here(db: made.SomeDb) -> Iterator[bool]:
        yield db.is_open
        yield threading.current_thread() is threading.main_thread()

    async def listed(db: made.SomeDb) -> Iterator[bool]:
        return iter([db.is_open])

    async with LocalToolBridge([later, items, here, listed]) as bridge:
        tools: Any = await bridge.initialize()
        assert await soon(tools["later"]()) is True
        for name, values in (("items", [True]), ("here", [True, True]), ("listed", [True])):
            assert await soon(tools[name]()) == values
            assert [item async for item in tools[name].stream()] == values


async def test_what_does_not_stream_can_be_read_as_a_stream() -> None:
    async with LocalToolBridge([made.query, made.query_async]) as bridge:
        await bridge.initialize()
        for name in ("query", "query_async"):
            assert [item async for item in bridge.stream_tool(name, "a")] == ["a in none, 3"]


@pytest.mark.parametrize("place", PLACES)
async def test_providers_can_be_replaced(place: str) -> None:
    function = of(place, "query")
    async with reached(place, function, overrides={made.get_db: made.get_test_db}) as bridge:
        assert await soon(bridge.tools[function.__name__]("cats")) == "cats in test, 3"


async def test_replaced_providers_come_back() -> None:
    async with LocalToolBridge([made.query]) as bridge:
        tools = await bridge.initialize()
        bridge.dependency_overrides[made.get_db] = lambda: made.Db("mine")
        assert await soon(tools["query"]("a")) == "a in mine, 3"
        bridge.dependency_overrides.clear()
        assert await soon(tools["query"]("a")) == "a in none, 3"


async def test_a_replacement_that_cannot_be_called_is_a_clear_error() -> None:
    def needs(url: str) -> made.Db:
        return made.Db(url)

    async with LocalToolBridge([made.query]) as bridge:
        tools = await bridge.initialize()
        bridge.dependency_overrides[made.get_db] = needs
        with pytest.raises(ToolExecutionError, match=r"its provider .*needs: parameter 'url' is neither a ToolContext"):
            await soon(tools["query"]("a"))


async def test_a_replacement_that_a_process_cannot_find_is_a_clear_error() -> None:
    async with reached("process", made.query, overrides={made.get_db: lambda: made.Db("mine")}) as bridge:
        with pytest.raises(ToolExecutionError, match=r"its dependency's provider .*top level of a module"):
            await soon(bridge.tools["query"]("a"))


async def test_a_provider_sees_the_context_of_its_call() -> None:
    async with LocalToolBridge([made.query]) as bridge:
        await bridge.initialize()
        options = bridge.tools["query"].with_options(metadata={"db": "of the call"})
        assert await soon(options("a")) == "a in of the call, 3"


def test_a_tool_called_directly_is_the_function() -> None:
    made_tool = tool(made.query)
    db = made.Db("mine")
    assert made_tool("a", db, {"db": db}, made.Counter(db)) == "a in mine, 3"
