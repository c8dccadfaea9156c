"""The cache of results: which calls share one, and what a kept result fills in."""

from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any

import pytest

from grpc_tool_bridge import tool
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core import expiring_lru as kept
from grpc_tool_bridge.core.executor import Executor
from grpc_tool_bridge.core.registered_tool import RegisteredTool
from grpc_tool_bridge.core.registry import ToolRegistry
from grpc_tool_bridge.core.result_cache import CACHED_METRIC, ResultCache
from grpc_tool_bridge.core.sessions import SessionStore
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    ErrorInfo,
    SessionConfig,
    ToolCallItem,
    ToolCallRequest,
    ToolCallResponse,
    ToolCallResult,
    ToolSpec,
)
from grpc_tool_bridge.rpc.buffers import Payload
from grpc_tool_bridge.rpc.context import RequestContext
from grpc_tool_bridge.values.serialization import deserialize_value, serialize_value


def add(a: int, b: int) -> int:
    return a + b


def multiply(a: int, b: int) -> int:
    return a * b


def register(registry: ToolRegistry) -> list[RegisteredTool]:
    registry.unregister("", ["add", "multiply"])
    return registry.register_batch("", [tool(idempotent=True)(add), tool(idempotent=True)(multiply)])


@pytest.fixture
def registry() -> ToolRegistry:
    return ToolRegistry(SessionStore())


@pytest.fixture
def adds(registry: ToolRegistry) -> RegisteredTool:
    return register(registry)[0]


def call(*args: int) -> ToolCallRequest:
    return ToolCallRequest(args=[serialize_value(value) for value in args])


def answer(value: object) -> ToolCallResponse:
    return ToolCallResponse(success=True, result=serialize_value(value))


def is_kept(cache: ResultCache, tool: RegisteredTool, request: ToolCallRequest | ToolCallItem) -> bool:
    return cache.entry(tool, request).fill(ToolCallResponse())


def test_only_the_same_tool_version_registration_and_arguments_share_a_result(registry: ToolRegistry) -> None:
    (adds, multiplies), (adds_anew, _) = register(registry), register(registry)
    cache = ResultCache(Settings())
    cache.entry(adds, call(1, 2)).keep(answer(3))
    assert is_kept(cache, adds, call(1, 2))
    assert is_kept(cache, adds, ToolCallItem(index=7, args=call(1, 2).args))
    assert not is_kept(cache, adds, call(2, 1))
    assert not is_kept(cache, multiplies, call(1, 2))
    assert not is_kept(cache, adds_anew, call(1, 2))
    adds.spec.version = "2"
    assert not is_kept(cache, adds, call(1, 2))


@pytest.mark.parametrize("message", [ToolCallResponse, ToolCallResult])
def test_a_kept_result_is_filled_in_and_named_as_kept(
    adds: RegisteredTool, message: type[ToolCallResponse | ToolCallResult]
) -> None:
    entry = ResultCache(Settings()).entry(adds, call(1, 2))
    entry.keep(answer([3, "three"]))
    filled = message()
    assert entry.fill(filled)
    assert filled.success
    assert deserialize_value(filled.result) == [3, "three"]
    assert filled.metrics.custom_metrics[CACHED_METRIC] == 1


def test_without_a_kept_result_the_answer_stays_empty(adds: RegisteredTool) -> None:
    response = ToolCallResponse()
    assert not ResultCache(Settings()).entry(adds, call(1, 2)).fill(response)
    assert response == ToolCallResponse()


def test_what_becomes_of_the_answers_does_not_change_what_is_kept(adds: RegisteredTool) -> None:
    entry, given = ResultCache(Settings()).entry(adds, call(1, 2)), answer("as it was")
    entry.keep(given)
    for message in (given, ToolCallResponse(), ToolCallResponse()):
        entry.fill(message)
        assert deserialize_value(message.result) == "as it was"
        message.result.Clear()


def test_results_are_kept_within_their_number_and_their_bytes(adds: RegisteredTool) -> None:
    few = ResultCache(Settings(max_session_cache_entries=2))
    small = ResultCache(Settings(max_session_cache_bytes=300))
    calls = [call(number) for number in range(3)]
    for request in calls:
        few.entry(adds, request).keep(answer(1))
        small.entry(adds, request).keep(answer("x" * 80))
    assert [is_kept(few, adds, request) for request in calls] == [False, True, True]
    assert [is_kept(small, adds, request) for request in calls] == [False, True, True]


class Far:
    """A backend that answers as it is told, and counts."""

    def __init__(self) -> None:
        self.runs = 0
        self.answer = answer("from afar")

    def prepare(self, call: Any, request: Any, payload: Payload, size: int) -> None:
        pass

    async def call(self, call: Any, request: Any, answer: Any, *, as_bytes: bool) -> None:
        self.runs += 1
        answer.MergeFrom(self.answer)

    def stream(self, call: Any, request: Any, *, as_bytes: bool) -> AsyncGenerator[Any, None]:
        raise NotImplementedError

    def try_call(self, call: Any, request: Any, payload: Payload, done: Any) -> None:
        pass


async def test_what_a_worker_gave_is_kept_where_it_succeeded(registry: ToolRegistry) -> None:
    (tool,) = registry.register_batch("", [ToolSpec(name="far", idempotent=True)])
    await registry.store.create_session("s", config=SessionConfig(enable_caching=True))
    workers = tool.backend = Far()
    executor = Executor(registry.store, registry)
    request = ToolCallRequest(session_id="s", tool_id="far")

    async def far() -> ToolCallResponse:
        response: ToolCallResponse = await executor.execute(
            request, RequestContext(payload=request.SerializeToString())
        )
        return response

    well, workers.answer = workers.answer, ToolCallResponse(error=ErrorInfo(type="ValueError", message="no"))
    assert [(await far()).error.type for _ in range(2)] == ["ValueError"] * 2
    workers.answer = well
    first, second = await far(), await far()
    assert workers.runs == 3
    assert [deserialize_value(response.result) for response in (first, second)] == ["from afar"] * 2
    assert [CACHED_METRIC in response.metrics.custom_metrics for response in (first, second)] == [False, True]


def test_results_are_kept_for_their_time(adds: RegisteredTool, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000.0
    monkeypatch.setattr(kept, "time", SimpleNamespace(monotonic=lambda: now))
    cache = ResultCache(Settings(cache_ttl=20))
    cache.entry(adds, call(1, 2)).keep(answer(3))
    now += 19
    assert is_kept(cache, adds, call(1, 2))
    now += 1
    assert not is_kept(cache, adds, call(1, 2))
