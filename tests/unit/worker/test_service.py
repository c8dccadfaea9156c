"""The tools of a worker, as the methods that a hub calls."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.errors import AlreadyExistsError, CallCancelledError
from grpc_tool_bridge.link.server import served_methods
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    ToolCallRequest,
    ToolCallResponse,
    ToolStreamChunk,
    ToolStreamRequest,
)
from grpc_tool_bridge.rpc.context import RequestContext
from grpc_tool_bridge.rpc.methods import METHODS
from grpc_tool_bridge.runner.direct import MAX_BYTES
from grpc_tool_bridge.tools.context import ToolContext, ToolRuntime
from grpc_tool_bridge.tools.tool import tool
from grpc_tool_bridge.values.call_bytes import arguments_of, request_head, request_tail
from grpc_tool_bridge.values.serialization import deserialize_value, serialize_value
from grpc_tool_bridge.worker.service import ServedCall, ToolService
from support.waiting import soon, until


async def add(a: int, b: int = 1) -> int:
    return a + b


async def fail() -> None:
    raise ValueError("no")


async def count(to: int) -> AsyncIterator[int]:
    for number in range(to):
        yield number


class Hanging:
    """Tools that wait, and whether they still do."""

    def __init__(self) -> None:
        self.waiting = 0

    async def hang(self) -> None:
        self.waiting += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.waiting -= 1

    async def hang_stream(self) -> AsyncIterator[int]:
        yield 0
        await self.hang()


def make(*tools: Any, runtimes: list[ServedCall] | None = None, **settings: Any) -> ToolService:
    def runtime_of(call: ServedCall) -> ToolRuntime:
        if runtimes is not None:
            runtimes.append(call)
        return cast("ToolRuntime", None)

    return ToolService(tools, Settings(**settings), runtime_of)


def request(name: str, *args: Any, request_id: str = "") -> ToolCallRequest:
    return ToolCallRequest(
        session_id="s", tool_id=name, args=[serialize_value(arg) for arg in args], request_id=request_id
    )


def stream_request(name: str, *args: Any) -> ToolStreamRequest:
    return ToolStreamRequest(
        session_id="s", tool_id=name, args=[serialize_value(arg) for arg in args], stream_id="stream"
    )


async def read(service: ToolService, name: str, *args: Any, deadline: float | None = None) -> list[ToolStreamChunk]:
    chunks = service.stream_tool(stream_request(name, *args), RequestContext(deadline=deadline))
    return [chunk async for chunk in chunks if isinstance(chunk, ToolStreamChunk)]


def test_it_has_the_tools_in_their_order() -> None:
    service = make(count, tool(name="plus")(add))
    assert [item.spec.name for item in service.tools] == ["count", "plus"]


def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(AlreadyExistsError, match="this worker has a tool named 'add' already"):
        make(add, tool(name="add")(count))
    with pytest.raises(AlreadyExistsError, match="two tools have the id 'add'"):
        make(add, tool(name="other", tool_id="add")(count))
    with pytest.raises(AlreadyExistsError, match="only one of the two has a version"):
        make(add, tool(name="add", version="1")(count))


def test_versions_of_a_tool_are_each_offered() -> None:
    service = make(*(tool(name="add", version=version)(add) for version in ("2", "1")))
    assert [item.spec.version for item in service.tools] == ["2", "1"]


def test_what_can_be_no_tool_is_refused() -> None:
    with pytest.raises(TypeError):
        make("add")


class TestCalls:
    async def test_a_call_is_answered_with_its_result_and_what_it_took(self) -> None:
        response = await soon(make(add).execute_tool(request("add", 1, request_id="r")))
        assert response.success
        assert deserialize_value(response.result) == 2
        assert response.request_id == "r"
        assert response.metrics.duration_ms >= 1

    @pytest.mark.parametrize(
        ("name", "args", "kind"),
        [
            ("fail", (), "ValueError"),
            ("add", ("one",), "ValidationError"),
            ("nothing", (), "ToolNotFound"),
            ("x" * 1_000, (), "ToolNotFound"),
        ],
    )
    async def test_what_goes_wrong_is_an_answer(self, name: str, args: tuple[Any, ...], kind: str) -> None:
        response = await soon(make(add, fail).execute_tool(request(name, *args)))
        assert not response.success
        assert response.error.type == kind
        assert len(response.error.message) < 500

    async def test_a_deadline_that_has_passed_runs_nothing(self) -> None:
        hanging = Hanging()
        response = await soon(
            make(hanging.hang).execute_tool(request("hang"), RequestContext(deadline=time.monotonic()))
        )
        assert response.error.type == "TimeoutError"

    async def test_a_deadline_ends_the_tool(self) -> None:
        hanging = Hanging()
        service = make(hanging.hang)
        response = await soon(service.execute_tool(request("hang"), RequestContext(deadline=time.monotonic() + 0.02)))
        assert response.error.type == "TimeoutError"
        assert not hanging.waiting
        assert not service._calls

    async def test_without_a_deadline_the_settings_have_one(self) -> None:
        hanging = Hanging()
        response = await soon(make(hanging.hang, call_timeout=0.02).execute_tool(request("hang")))
        assert response.error.type == "TimeoutError"

    async def test_a_hub_that_wants_the_call_no_more_ends_the_tool_and_gets_no_answer(self) -> None:
        hanging = Hanging()
        service = make(hanging.hang)
        task = asyncio.create_task(service.execute_tool(request("hang")))
        await until(lambda: hanging.waiting)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(task)
        assert not hanging.waiting
        assert not service._calls

    async def test_a_worker_that_leaves_ends_all_calls_with_its_reason(self) -> None:
        hanging = Hanging()
        service = make(hanging.hang, hanging.hang_stream)
        calls = [asyncio.create_task(service.execute_tool(request("hang"))) for _ in range(2)]
        stream = asyncio.create_task(read(service, "hang_stream"))
        await until(lambda: hanging.waiting == 3)
        service.cancel_all(CallCancelledError("it leaves"))
        for call in calls:
            error = (await soon(call)).error
            assert (error.type, error.message) == ("Cancelled", "it leaves")
        assert (await soon(stream))[-1].error.message == "it leaves"
        assert not hanging.waiting
        await service.aclose()

    async def test_a_tool_gets_the_context_of_its_call(self) -> None:
        made: list[ServedCall] = []
        seen: list[Any] = []

        async def look(ctx: ToolContext) -> None:
            seen.append((ctx.session_id, ctx.tool_name, ctx.request_id, dict(ctx.metadata)))
            left.append(ctx.time_left())

        left: list[float] = []
        asked = request("look", request_id="r")
        asked.context["trace"] = "7"
        service = make(look, runtimes=made)
        assert (
            await soon(service.execute_tool(asked, RequestContext(deadline=time.monotonic() + 5, parent="here")))
        ).success
        assert seen == [("s", "look", "r", {"trace": "7"})]
        assert 0 < left[0] <= 5
        assert [call.origin for call in made] == ["here"]


def usual(name: str, *args: Any, **kwargs: Any) -> bytes:
    arguments = arguments_of(args, kwargs)
    assert arguments is not None
    return request_head("s", name) + arguments + request_tail(30_000)


class TestUsualCalls:
    def begin(self, service: ToolService, payload: bytes, **context: Any) -> Any:
        made = RequestContext(payload=payload, **context)
        begun = service.try_begin_tool(made, lambda *_: None)
        assert made.payload == (payload if begun is None else b"")
        return begun

    async def test_one_is_answered_in_bytes(self) -> None:
        begun = self.begin(make(add), usual("add", 1, b=2))
        with pytest.raises(StopIteration) as end:
            begun.send(None)
        response = ToolCallResponse.FromString(end.value.value)
        assert (response.success, deserialize_value(response.result)) == (True, 3)

    async def test_one_that_waits_ends_at_its_deadline_and_with_its_worker(self) -> None:
        hanging = Hanging()
        service = make(hanging.hang)

        async def run(**context: Any) -> Any:
            return await self.begin(service, usual("hang"), **context)

        response = await soon(run(deadline=time.monotonic() + 0.5))
        assert response.error.type == "TimeoutError"
        running = asyncio.ensure_future(run())
        await until(lambda: hanging.waiting)
        service.cancel_all(CallCancelledError("the worker leaves"))
        assert (await soon(running)).error.message == "the worker leaves"
        assert not hanging.waiting
        assert not service._calls

    @pytest.mark.parametrize(
        "payload",
        [
            usual("nothing"),
            usual("add", "one"),
            usual("add"),
            usual("add", 1)[:-1],
            usual("count", 1),
            usual("plain"),
            usual("add", 1) + ToolCallRequest(request_id="r").SerializeToString(),
            usual("add", *["x"] * MAX_BYTES),
            b"",
        ],
    )
    async def test_any_other_is_left_to_the_general_way(self, payload: bytes) -> None:
        def plain() -> None: ...

        assert self.begin(make(add, count, plain), payload) is None

    async def test_one_whose_deadline_has_passed_is_left_too(self) -> None:
        assert self.begin(make(add), usual("add", 1), deadline=time.monotonic() - 1) is None

    async def test_a_fault_is_not_taken_for_an_unusual_request(self, monkeypatch: pytest.MonkeyPatch) -> None:
        service = make(add)

        def fault(*_: Any) -> None:
            raise AttributeError("a fault")

        monkeypatch.setattr("grpc_tool_bridge.worker.service.runs_directly", fault)
        with pytest.raises(AttributeError, match="a fault"):
            self.begin(service, usual("add", 1))


class TestStreams:
    async def test_values_come_one_by_one_and_then_the_end(self) -> None:
        chunks = await soon(read(make(count), "count", 3))
        assert [chunk.sequence for chunk in chunks] == [0, 1, 2, 3]
        assert [deserialize_value(chunk.data) for chunk in chunks[:-1]] == [0, 1, 2]
        assert chunks[-1].complete.total_chunks == 3
        assert {chunk.stream_id for chunk in chunks} == {"stream"}

    async def test_a_stream_without_an_id_gets_one(self) -> None:
        asked = stream_request("count", 1)
        asked.stream_id = ""
        chunks = make(count).stream_tool(asked)
        ids = {chunk.stream_id async for chunk in chunks if isinstance(chunk, ToolStreamChunk)}
        assert len(ids) == 1
        assert all(ids)

    @pytest.mark.parametrize(
        ("name", "args", "kind"), [("nothing", (), "ToolNotFound"), ("count", ("x",), "ValidationError")]
    )
    async def test_what_goes_wrong_is_the_last_chunk(self, name: str, args: tuple[Any, ...], kind: str) -> None:
        (chunk,) = await soon(read(make(count), name, *args))
        assert (chunk.sequence, chunk.error.type) == (0, kind)

    async def test_a_deadline_is_the_last_chunk(self) -> None:
        hanging = Hanging()
        chunks = await soon(read(make(hanging.hang_stream), "hang_stream", deadline=time.monotonic() + 0.02))
        assert [chunk.WhichOneof("content") for chunk in chunks] == ["data", "error"]
        assert chunks[-1].error.type == "TimeoutError"
        assert not hanging.waiting

    async def test_a_reader_that_leaves_ends_the_tool(self) -> None:
        ended = asyncio.Event()

        async def endless() -> AsyncIterator[int]:
            try:
                while True:
                    yield 1
            finally:
                ended.set()

        chunks = make(endless).stream_tool(stream_request("endless"))
        await soon(anext(chunks))
        await soon(chunks.aclose())
        assert ended.is_set()

    async def test_a_cancellation_from_outside_goes_on(self) -> None:
        hanging = Hanging()
        service = make(hanging.hang_stream)
        task = asyncio.create_task(read(service, "hang_stream"))
        await until(lambda: hanging.waiting)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(task)
        assert not hanging.waiting


def test_it_serves_nothing_of_the_admin_service() -> None:
    admin = {name for name, method in METHODS.items() if method.path.startswith("/dspex.bridge.ToolBridgeAdmin/")}
    assert len(admin) == 12
    assert not served_methods(make(add)).keys() & admin
