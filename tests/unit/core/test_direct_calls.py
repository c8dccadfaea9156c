"""Which calls the hub takes the short way; all others are left as they are, with nothing done."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from types import ModuleType
from typing import Annotated, Any

import pytest
from pydantic import AfterValidator

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core import admission, direct_calls
from grpc_tool_bridge.core import sample as sampling
from grpc_tool_bridge.core.calls import HubCall
from grpc_tool_bridge.core.executor import Executor
from grpc_tool_bridge.core.forwarder import Forwarded
from grpc_tool_bridge.core.observers import Observers
from grpc_tool_bridge.core.registry import ToolRegistry
from grpc_tool_bridge.core.sample import Sample
from grpc_tool_bridge.core.session import Session
from grpc_tool_bridge.core.sessions import SessionStore
from grpc_tool_bridge.core.workers.pool import WorkerPool
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    RegisterToolsRequest,
    SessionConfig,
    ToolCallRequest,
    ToolCallResponse,
    ToolSpec,
)
from grpc_tool_bridge.rpc.context import RequestContext
from grpc_tool_bridge.runner import direct
from grpc_tool_bridge.runner.direct import MAX_BYTES
from grpc_tool_bridge.tools.context import ToolContext
from grpc_tool_bridge.tools.tool import as_tool, tool
from grpc_tool_bridge.values.call_bytes import arguments_of, request_head, request_tail
from grpc_tool_bridge.values.serialization import deserialize_value, serialize_value
from support.clock import Clock
from support.patience import PATIENCE
from support.waiting import until
from unit.core.workers.test_pool import CALM, FakeLink


async def add(a: int, b: int = 1) -> int:
    return a + b


async def echo(value: Any) -> Any:
    return value


def in_thread(a: int) -> int:
    return a


async def contextual(a: int, ctx: ToolContext) -> int:
    return a


async def stream(a: int) -> AsyncIterator[int]:
    yield a


@tool(limits={"rate_limit_per_minute": 1_000})
async def rated(a: int) -> int:
    return a


class World:
    """A hub's inner parts, with tools of its own and one of a worker."""

    def __init__(self, **settings: Any) -> None:
        self.store = SessionStore(Settings(**{**CALM, "worker_grace_period": 3_600, **settings}))
        self.registry = ToolRegistry(self.store)
        self.pool = WorkerPool(self.registry)
        self.executor = Executor(self.store, self.registry)
        self.link = FakeLink(self.pool)
        self.session: Session
        self.answers: list[Any] = []

    async def open(self, **config: Any) -> None:
        self.session = await self.store.create_session("s", config=SessionConfig(**config))
        self.registry.register_batch("", [add, echo, in_thread, contextual, stream, rated])
        spec = ToolSpec()
        spec.CopyFrom(as_tool(add).spec)
        spec.tool_id = spec.name = "remote"
        self.pool.register(self.link, RegisterToolsRequest(tools=[spec]))

    def begin(self, payload: bytes, **context: Any) -> Any:
        made = RequestContext(payload=payload, **context)
        begun = self.executor.try_begin(made, lambda answer, error: self.answers.append((answer, error)))
        assert made.payload == (payload if begun is None or isinstance(begun, Forwarded) else b"")
        return begun

    def counted(self) -> Any:
        """Returns what the hub counts of calls."""
        metrics = [(tool.metrics.active, tool.metrics.calls) for tool in self.store.tools.values()]
        return self.executor.admission.active, self.session.active, self.session.calls, metrics


def request(name: str, *args: Any, timeout_ms: int = 30_000, session_id: str = "s", **kwargs: Any) -> bytes:
    arguments = arguments_of(args, kwargs)
    assert arguments is not None
    return request_head(session_id, name) + arguments + request_tail(timeout_ms)


def clock_of_calls(monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> Clock:
    """Returns the clock of calls, from their beginning to their end, and of ``module``."""
    clock = Clock(monkeypatch, module)
    for each in (direct, direct_calls):
        monkeypatch.setattr(each, "monotonic", clock.monotonic)
    return clock


def answer_of(begun: Any) -> ToolCallResponse:
    """Runs a call that ends in its first step."""
    with pytest.raises(StopIteration) as end:
        begun.send(None)
    return ToolCallResponse.FromString(end.value.value)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    await made.open()
    yield made
    await made.pool.aclose()
    await made.executor.aclose()


async def test_a_usual_call_of_an_async_function_is_run(world: World) -> None:
    begun = world.begin(request("add", 1, b=5))
    assert world.counted()[:2] == (0, 0)
    assert deserialize_value(answer_of(begun).result) == 6
    assert world.counted()[:3] == (0, 0, None)
    metrics = world.store.tools["add"].metrics
    assert (metrics.calls, metrics.errors, metrics.active, sum(metrics.buckets)) == (1, 0, 0, 1)


async def test_a_usual_call_of_a_worker_s_tool_is_forwarded_unread(world: World) -> None:
    payload = request("remote", 1)
    begun = world.begin(payload)
    assert isinstance(begun, Forwarded)
    assert world.link.payloads == [payload]
    assert world.counted()[:2] == (1, 1)
    begun.cancel()
    assert world.counted()[:2] == (0, 0)


@pytest.mark.parametrize(
    "payload",
    [
        request("nothing", 1),
        request("add", 1, session_id="another"),
        request("add"),
        request("add", "one"),
        request("add", 1, c=2),
        request("add", 1, a=2),
        request("echo", "x" * MAX_BYTES),
        request("in_thread", 1),
        request("contextual", 1),
        request("stream", 1),
        request("rated", 1),
        request("remote", "one"),
        request("remote", 1, c=2),
        request("remote"),
        request("add", 1)[:-2],
        request("add", 1, timeout_ms=0) + ToolCallRequest(timeout_ms=-1).SerializeToString(),
        request("add", 1) + ToolCallRequest(request_id="r").SerializeToString(),
        request("remote", 1)[:-2],
        request("remote", 1) + ToolCallRequest(idempotency_key="k").SerializeToString(),
        b"",
        b"\xff" * 20,
    ],
)
async def test_any_other_call_is_left_to_the_executor_and_nothing_is_done(world: World, payload: bytes) -> None:
    before = world.counted()
    assert world.begin(payload) is None
    assert world.counted() == before
    assert not world.link.payloads


@pytest.mark.parametrize("name", ["add", "remote"])
async def test_a_call_whose_deadline_has_passed_is_left_to_the_executor(world: World, name: str) -> None:
    assert world.begin(request(name, 1), deadline=time.monotonic() - 1) is None
    assert world.begin(request(name, 1), deadline=time.monotonic() + PATIENCE) is not None


def refuses(world: World) -> None:
    world.executor.admission.authorizer = object()  # type: ignore[assignment]


def watches(world: World) -> None:
    world.executor.admission.observer = object()  # type: ignore[assignment]


def drains(world: World) -> None:
    world.executor.admission.draining = True


def closes(world: World) -> None:
    world.session.closing = 1


def caches(world: World) -> None:
    world.session.caching = True


@pytest.mark.parametrize("name", ["add", "remote"])
@pytest.mark.parametrize("change", [refuses, watches, drains, closes, caches])
async def test_what_concerns_more_than_the_call_leaves_it_to_the_executor(
    world: World, name: str, change: Callable[[World], None]
) -> None:
    assert world.begin(request(name, 1)) is not None
    before = world.counted()
    change(world)
    assert world.begin(request(name, 1)) is None
    assert world.counted() == before


class Follows:
    """A tracer that follows calls, or none of them."""

    def __init__(self, *, all_of_them: bool) -> None:
        self._all = all_of_them
        self.began: list[str] = []

    def follows(self, context: object) -> bool:
        del context
        return self._all

    def begin(self, call: HubCall, context: object) -> None:
        del context
        self.began.append(call.tool.name)

    def end(self, call: HubCall, **how: object) -> None:
        """Is told of the end."""


@pytest.mark.parametrize("follows", [False, True])
async def test_a_traced_call_of_a_worker_alone_is_left_to_the_executor(world: World, follows: bool) -> None:
    tracer = Follows(all_of_them=follows)
    world.executor.admission.tracer = tracer
    own = world.begin(request("add", 1))
    assert own is not None
    assert (world.begin(request("remote", 1)) is None) is follows
    with pytest.raises(StopIteration):
        own.send(None)
    assert ("add" in tracer.began) is follows


async def test_an_observer_of_a_sample_is_told_of_its_calls_and_the_others_are_counted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Observer(Observers):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[tuple[bool | None, Any]] = []

        def started(self, call: Any, request: Any) -> None:
            self.seen.append((call.watched, request))

    clock = clock_of_calls(monkeypatch, sampling)
    admission, observer = world.executor.admission, Observer()
    admission.observer, admission.sample = observer, Sample()
    admission.sample.follow([(1, "s")])
    # Whether it has a place in the sample is decided when it is told.
    for name in ("add", "remote"):
        begun = world.begin(request(name, 1))
        if name == "add":
            assert observer.seen == []
            assert answer_of(begun).success
    assert observer.seen == [(None, request("add", 1)), (None, request("remote", 1))]
    observer.seen.clear()
    while admission.sample.take("s"):
        pass
    assert answer_of(world.begin(request("add", 1))).success
    assert (admission.sample.omitted("s"), observer.seen) == (1, [])
    assert isinstance(world.begin(request("remote", 1)), Forwarded)
    assert observer.seen == [(False, request("remote", 1))]
    # Nobody watches any more when it starts.
    clock.now += 1
    begun = world.begin(request("add", 1))
    admission.observer = admission.sample = None
    assert answer_of(begun).success
    assert len(observer.seen) == 1
    assert world.counted()[0] == 2


async def test_a_call_that_may_be_kept_is_noted_when_it_ends(world: World) -> None:
    notable, metrics = world.executor.admission.notable, world.store.tools["add"].metrics
    answer_of(world.begin(request("add", 1)))
    assert len(await notable.calls("slow")) == 1
    metrics.noted_us = 10**9
    answer_of(world.begin(request("add", 1)))
    assert len(await notable.calls("slow")) == 1
    # The next half minute.
    notable.turns_at = 0
    answer_of(world.begin(request("add", 1)))
    assert len(await notable.calls("slow")) == 2
    assert world.counted()[:2] == (0, 0)
    assert metrics.calls == 3


async def test_what_a_worker_ran_is_counted_as_its_own(world: World) -> None:
    (worker,) = world.pool.workers()
    answer_of(world.begin(request("add", 1)))
    assert worker.metrics.calls == 0
    answer = ToolCallResponse(success=True, result=serialize_value(1)).SerializeToString()
    assert isinstance(world.begin(request("remote", 1)), Forwarded)
    world.link.reply(answer)
    assert isinstance(world.begin(request("remote", 1)), Forwarded)
    world.link.end(13, "broken")
    assert (worker.metrics.calls, worker.metrics.errors) == (2, 1)
    found = await world.executor.admission.notable.calls("slow", worker_id=worker.id)
    assert sorted(info.state for info in found) == ["done", "failed"]


async def test_a_request_over_the_hub_s_own_limit_is_left_to_the_executor() -> None:
    world = World(max_message_bytes=500)
    await world.open()
    assert world.begin(request("echo", "x" * 300)) is not None
    assert world.begin(request("echo", "x" * 500)) is None
    await world.pool.aclose()


async def test_a_fault_of_the_hub_is_not_taken_for_an_unusual_request(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(*_: Any) -> None:
        raise AttributeError("a fault")

    monkeypatch.setattr(world.store, "tool_of", fault)
    with pytest.raises(AttributeError, match="a fault"):
        world.begin(request("add", 1))


async def test_binding_is_part_of_the_time_of_a_call(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(value: int) -> int:
        clock.now += 2
        return value

    async def checked(value: Annotated[int, AfterValidator(slow)]) -> int:
        return value

    world.registry.register_batch("", [checked])
    clock = clock_of_calls(monkeypatch, admission)
    answer_of(world.begin(request("checked", 1)))
    assert world.store.tools["checked"].metrics.total_us == 2_000_000


async def test_a_session_is_not_idle_while_a_call_of_it_runs_or_waits() -> None:
    world = World(session_idle_timeout=0.001, max_session_calls=1)
    await world.open()
    go_on = asyncio.Event()

    async def hold() -> int:
        await go_on.wait()
        return 1

    async def run(begun: Any) -> Any:
        return await begun

    world.registry.register_batch("", [hold])
    running = [asyncio.ensure_future(run(world.begin(request("hold")))) for _ in range(2)]
    await until(lambda: world.session.active == 2)
    # Longer ago than a session may be idle.
    world.session.last_activity -= 60
    assert world.store.expire_idle() == 0
    go_on.set()
    assert [ToolCallResponse.FromString(answer).success for answer in await asyncio.gather(*running)] == [True, True]
    assert world.counted()[:2] == (0, 0)
    assert not world.session.calls
    world.session.last_activity -= 60
    assert world.store.expire_idle() == 1
    assert world.begin(request("hold")) is None
    await world.pool.aclose()
    await world.executor.aclose()


async def test_full_permits_leave_a_worker_s_call_to_the_executor_and_hold_up_a_call_of_the_hub(world: World) -> None:
    world.session.max_calls = 1
    held = world.begin(request("remote", 1))
    assert isinstance(held, Forwarded)
    assert world.begin(request("remote", 2)) is None
    assert world.session.active == 1
    # It is counted, and waits, once it is run.
    waiting = world.begin(request("add", 1))
    assert world.session.active == 1
    waiting.close()
    assert world.counted()[:2] == (1, 1)
    held.cancel()


class Allows:
    """Access to some tools."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def allows(self, session: Any, tool_name: str, principal: Any, *, streams: bool = False) -> bool:
        return tool_name in self.names


@pytest.mark.parametrize("name", ["add", "remote"])
async def test_an_allowed_call_stays_on_the_fast_path_and_a_refused_one_is_left_to_the_executor(
    world: World, name: str
) -> None:
    access: Any = Allows(name)
    world.executor.admission.access = access
    assert world.begin(request(name, 1)) is not None
    access.names = ()
    before = world.counted()
    assert world.begin(request(name, 1)) is None
    assert world.counted() == before
