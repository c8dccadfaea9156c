"""Usual calls without the layers of the general way: one Call at most, counted once, and ended once."""

import asyncio
import gc
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, cast

import pytest

from grpc_tool_bridge.aio import forks
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.errors import CallCancelledError, ResourceExhaustedError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolCallResponse
from grpc_tool_bridge.runner.calls import Call
from grpc_tool_bridge.runner.direct import DirectRunner, runs_directly
from grpc_tool_bridge.runner.runner import ToolRunner
from grpc_tool_bridge.tools.context import ToolContext
from grpc_tool_bridge.tools.tool import Tool, as_tool, tool
from grpc_tool_bridge.values.serialization import deserialize_value
from support.waiting import soon, turns, until


class Session:
    """The session of the calls."""

    id = "s"

    def __init__(self) -> None:
        self.calls: set[Call] | None = None


class Named:
    """A tool and its name."""

    def __init__(self, function: Any) -> None:
        self.tool: Tool | None = as_tool(function)
        self.name: str = self.tool.spec.name


class Owner:
    """Counts the calls; holds them up if it is full."""

    def __init__(self, runner: ToolRunner) -> None:
        self.session = Session()
        self.runner = runner
        self.direct: DirectRunner[Session, Named, str] = DirectRunner(runner, self)
        self.full = False
        self.permit: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.entered = 0
        self.made: list[Call] = []
        self.ended: list[tuple[str | None, Call | None, Any]] = []

    def enter(self, session: Session, named: Named, note: Any) -> str | None:
        self.entered += 1
        return None if self.full else "permit"

    def make_call(self, session: Session, named: Named, deadline: float, opened_at: float, note: object = None) -> Call:
        call = Call(session, named, deadline, parent=None, orphaned=self.runner.tasks, opened_at=opened_at)
        self.made.append(call)
        return call

    async def acquire(self, call: Call) -> str:
        call.wait_for("a permit")

        async def granted() -> None:
            await self.permit

        await call.step(granted())
        call.stop_waiting()
        return "permit"

    def end(
        self,
        session: Session,
        named: Named,
        opened_at: float,
        held: str | None,
        call: Call | None,
        answer: Any,
        note: object = None,
    ) -> None:
        self.ended.append((held, call, answer))
        if call is not None:
            call.disarm()

    def run(self, function: Any, *args: Any, seconds: float = 60.0) -> Any:
        """Returns the coroutine of a call."""
        now = time.monotonic()
        return self.direct.run(self.session, Named(function), (args, {}), now + seconds, now, None, None)

    async def answer(self, function: Any, *args: Any, seconds: float = 60.0) -> ToolCallResponse:
        """Runs a call in this task; returns its answer."""
        answer = await soon(_awaited(self.run(function, *args, seconds=seconds)))
        return ToolCallResponse.FromString(answer) if type(answer) is bytes else cast("ToolCallResponse", answer)


async def _awaited(coroutine: Any) -> Any:
    return await coroutine


@pytest.fixture
async def owner() -> AsyncIterator[Owner]:
    runner = ToolRunner(Settings(), lambda _: cast("Any", None))
    made = Owner(runner)
    yield made
    await runner.aclose()


async def add(a: int, b: int = 1) -> int:
    return a + b


async def add_later(a: int, b: int = 1) -> int:
    await asyncio.sleep(0)
    return a + b


def blocking() -> None: ...


def generator() -> Iterator[int]:
    yield 1


async def stream() -> AsyncIterator[int]:
    yield 1


async def contextual(ctx: ToolContext) -> None: ...


@pytest.mark.parametrize(
    ("function", "directly"),
    [
        (add, True),
        (add_later, True),
        (blocking, False),
        (tool(executor="async")(blocking), False),
        (generator, False),
        (stream, False),
        (contextual, False),
    ],
)
def test_only_async_functions_without_a_context_run_directly(function: Any, directly: bool) -> None:
    assert runs_directly(as_tool(function)) == directly


async def test_a_call_that_does_not_wait_needs_no_call_and_is_answered_in_bytes(owner: Owner) -> None:
    with pytest.raises(StopIteration) as end:
        owner.run(add, 1).send(None)
    response = ToolCallResponse.FromString(end.value.value)
    assert (response.success, deserialize_value(response.result)) == (True, 2)
    assert response.metrics.duration_ms == response.metrics.duration_us // 1_000 + 1
    assert not owner.made
    assert owner.ended == [("permit", None, end.value.value)]


async def test_a_call_that_waits_is_one_call_whose_arguments_can_be_listed(owner: Owner) -> None:
    response = await owner.answer(add_later, 1)
    assert deserialize_value(response.result) == 2
    [call] = owner.made
    assert call.prepared == ((1,), {})
    assert call.over
    assert owner.session.calls == set()
    assert len(owner.ended) == 1


async def test_a_call_that_waited_for_its_permit_stays_one_call_when_its_tool_waits(owner: Owner) -> None:
    owner.full = True
    go_on = asyncio.Event()

    async def hold() -> str:
        await go_on.wait()
        return "done"

    call = asyncio.ensure_future(owner.answer(hold))
    await until(lambda: owner.session.calls)
    owner.permit.set_result(None)
    await turns()
    assert owner.session.calls == set(owner.made)
    assert len(owner.made) == 1
    go_on.set()
    assert deserialize_value((await call).result) == "done"
    assert owner.session.calls == set()
    assert [held for held, _, _ in owner.ended] == ["permit"]


async def test_a_call_that_waited_can_still_be_cancelled_while_its_tool_runs(owner: Owner) -> None:
    owner.full = True
    running = asyncio.ensure_future(owner.answer(asyncio.Event().wait))
    await until(lambda: owner.made)
    owner.permit.set_result(None)
    await turns()
    owner.made[0].cancel(CallCancelledError("somebody said stop"))
    assert (await running).error.message == "somebody said stop"


async def test_what_refuses_the_permit_is_the_answer_and_nothing_was_held(owner: Owner) -> None:
    owner.full = True
    owner.permit.set_exception(ResourceExhaustedError("full"))
    response = await owner.answer(add, 1)
    assert (response.error.type, response.error.details["origin"]) == ("ResourceExhausted", "bridge")
    assert [held for held, _, _ in owner.ended] == [None]


async def test_a_call_that_is_closed_before_its_first_step_was_never_counted(owner: Owner) -> None:
    owner.run(add, 1).close()
    assert owner.entered == 0
    assert not owner.ended


async def test_a_call_that_is_closed_while_it_waits_closes_its_tool_and_ends_once(owner: Owner) -> None:
    closed: list[str] = []

    async def hold() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            closed.append("tool")

    async def step_and_close() -> None:
        coroutine = owner.run(hold)
        coroutine.send(None)
        coroutine.close()

    await step_and_close()
    assert closed == ["tool"]
    assert [held for held, _, _ in owner.ended] == ["permit"]
    assert owner.session.calls == set()


async def test_a_caller_that_cancels_gets_no_answer_and_the_call_ends_once(owner: Owner) -> None:
    running = asyncio.ensure_future(owner.answer(asyncio.Event().wait))
    await until(lambda: owner.session.calls)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert [(held, answer) for held, _, answer in owner.ended] == [("permit", None)]


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError])
async def test_whatever_a_tool_raises_is_an_answer(owner: Owner, error: type[BaseException]) -> None:
    async def raises() -> None:
        raise error("said")

    response = await owner.answer(raises)
    assert (response.error.type, response.error.message) == (error.__name__, "said")
    assert response.error.details["origin"] == "tool"
    assert response.metrics.duration_ms >= 1
    assert len(owner.made) == len(owner.ended) == 1


@pytest.mark.parametrize(
    ("value", "expected"), [("x" * 100, "x" * 100), ([1, 2], [1, 2]), (2**200, 2**200), (asyncio.sleep, "later")]
)
async def test_other_results_are_encoded_as_those_of_any_call(owner: Owner, value: Any, expected: Any) -> None:
    async def give() -> Any:
        return value(0, "later") if callable(value) else value

    response = await owner.answer(give)
    assert deserialize_value(response.result) == expected


@pytest.mark.parametrize("late", ["late", ["late"], 2**200])
async def test_a_value_that_comes_after_the_deadline_is_too_late(owner: Owner, late: Any) -> None:
    async def ignores() -> Any:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return late

    response = await owner.answer(ignores, seconds=0.01)
    assert response.error.type == "TimeoutError"


async def test_an_awaitable_that_comes_after_the_deadline_is_awaited_like_any(owner: Owner) -> None:
    awaited: list[str] = []

    async def cleans_up() -> None:
        awaited.append("up")

    async def ignores() -> Any:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return cleans_up()

    response = await owner.answer(ignores, seconds=0.01)
    assert response.error.type == "TimeoutError"
    assert awaited == ["up"]


class Ended(BaseException):
    """A process that would have ended."""


@pytest.mark.parametrize("step", ["returns", "raises", "waits"])
async def test_a_process_that_the_tool_forked_ends_before_it_answers(
    owner: Owner, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def end() -> None:
        forks.process.ends = False
        raise Ended

    monkeypatch.setattr(forks, "end", end)

    async def forked() -> None:
        # What a fork in the event loop sets in the new process.
        forks.process.ends = True
        if step == "raises":
            raise LookupError
        if step == "waits":
            await asyncio.sleep(0)

    try:
        response = await owner.answer(forked)
        assert response.error.type == "Ended"
    except Ended:
        pass
    assert not forks.process.ends


async def test_what_a_failed_tool_held_is_freed_without_the_garbage_collector(owner: Owner) -> None:
    class Large:
        """What a tool holds."""

    left: list[Callable[[], Any]] = []

    async def holds() -> None:
        held = Large()
        left.append(weakref.ref(held))
        raise LookupError("no")

    gc.collect()
    gc.disable()
    try:
        await owner.answer(holds)
        owner.ended.clear()
        owner.made.clear()
        assert left[0]() is None
    finally:
        gc.enable()
