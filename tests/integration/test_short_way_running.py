"""The usual call, which takes a short way at each end, is seen to be the same as any other call: while it runs."""

import asyncio
import contextlib
import contextvars
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import AfterValidator

from grpc_tool_bridge import Question, SessionConfig, ToolContext, tool
from grpc_tool_bridge.errors import AccessError, UnavailableError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import CleanupSessionRequest, ToolCallRequest, ToolCallResponse
from grpc_tool_bridge.testing import Recorder
from integration.both_ways import PLACES, Open, World, logged, outcome, plain, same
from support.waiting import until

pytestmark = pytest.mark.parametrize("place", PLACES)


class Gate:
    """Tools that wait until they may go on, and what they saw."""

    def __init__(self) -> None:
        self.entered: list[Any] = []
        self.ended: list[Any] = []
        self.go_on = asyncio.Event()

    async def work(self, number: int = 0) -> int:
        """Waits."""
        self.entered.append(number)
        try:
            await self.go_on.wait()
        except BaseException as error:
            self.ended.append((number, type(error).__name__))
            raise
        self.ended.append((number, "returned"))
        return number

    async def stubborn(self, way: str) -> Any:
        """Does something else where it is cancelled."""
        self.entered.append(way)
        try:
            await self.go_on.wait()
        except asyncio.CancelledError as error:
            self.ended.append(way)
            match way:
                case "returns":
                    return "late"
                case "returns a list":
                    return ["late"]
                case "returns no value":
                    return object
                case "returns an awaitable":
                    return asyncio.sleep(0, "late")
                case "raises":
                    raise LookupError("while it was cancelled") from error
                case "waits on":
                    await asyncio.sleep(0)
                    return "late"
        return "in time"


WAYS = ("returns", "returns a list", "returns no value", "returns an awaitable", "raises", "waits on")


async def counting(world: World, *names: str) -> Any:
    """Returns what the hub counts, once nothing runs."""
    await world.quiet()
    return [world.counts(name) for name in names], world.hub.store.find(
        "s"
    ).active if world.hub.store.sessions() else None


async def test_calls_that_run_and_wait_are_listed_and_those_beyond_the_limit_refused(place: str) -> None:
    async def scenario(start: Open) -> Any:
        gate = Gate()
        world = await start(gate.work, max_session_calls=2, max_session_waiting=1)
        calls = []
        for number in (1, 2, 3):
            calls.append(asyncio.create_task(world.call("work", number)))
            await until(lambda: world.hub.store.find("s").active == len(calls))
        await until(lambda: len(gate.entered) == 2)
        seen = [await world.running(), world.counts("work"), world.hub.admission.active, await world.call("work", 4)]
        gate.go_on.set()
        seen.append(await asyncio.gather(*calls))
        return *seen, gate.entered, await counting(world, "work")

    await same(scenario, place)


async def test_a_tool_s_own_limit_and_a_rate(place: str) -> None:
    async def scenario(start: Open) -> Any:
        gate = Gate()

        @tool(limits={"rate_limit_per_minute": 2})
        async def rated() -> int:
            return 1

        world = await start(tool(limits={"max_concurrent_calls": 1})(gate.work), rated)
        calls = [asyncio.create_task(world.call("work", number)) for number in range(3)]
        await until(lambda: world.hub.store.find("s").active == 3)
        await until(lambda: gate.entered)
        seen = [await world.running(), list(gate.entered)]
        gate.go_on.set()
        seen += [await asyncio.gather(*calls), [await world.call("rated") for _ in range(3)]]
        return seen, await counting(world, "work", "rated")

    await same(scenario, place)


@pytest.mark.parametrize("limit", ["call", "tool", "session"])
async def test_deadlines_and_tools_that_heed_them_or_not(place: str, limit: str) -> None:
    async def scenario(start: Open) -> Any:
        gate = Gate()
        limits = {"timeout_ms": 100} if limit == "tool" else {}
        config = SessionConfig(default_timeout_ms=100) if limit == "session" else None
        world = await start(*(tool(limits=limits)(each) for each in (gate.work, gate.stubborn)), config=config)
        tools = {name: world.bridge.tools[name] for name in ("work", "stubborn")}
        if limit == "call":
            tools = {name: made.with_options(timeout=0.1) for name, made in tools.items()}
        if limit == "session":
            # The client's own requests say how long.
            seen = [await world.send(ToolCallRequest(session_id="s", tool_id="work").SerializeToString())]
        else:
            seen = [await outcome(tools["work"](1))]
            seen += await asyncio.gather(*(outcome(tools["stubborn"](way)) for way in WAYS))
        return seen, sorted(map(str, gate.ended)), await counting(world, "work", "stubborn")

    await same(scenario, place, usual=None if limit == "session" else True)


async def test_a_deadline_that_passes_while_the_call_waits_for_a_permit(place: str) -> None:
    async def scenario(start: Open) -> Any:
        gate = Gate()
        world = await start(gate.work, max_session_calls=1)
        first = asyncio.create_task(world.call("work", 1))
        await until(lambda: gate.entered)
        seen = [await outcome(world.bridge.tools["work"].with_options(timeout=0.1)(2))]
        gate.go_on.set()
        return [*seen, await first], gate.entered, await counting(world, "work")

    await same(scenario, place)


async def test_a_tool_that_never_heeds_its_cancellation_goes_on_without_a_caller(place: str) -> None:
    async def scenario(start: Open) -> Any:
        gate = Gate()

        async def deaf() -> str:
            gate.entered.append(1)
            while not gate.go_on.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await gate.go_on.wait()
            gate.ended.append(1)
            return "late"

        world = await start(deaf)
        seen = [await outcome(world.bridge.tools["deaf"].with_options(timeout=0.05)())]
        gate.go_on.set()
        await until(lambda: gate.ended)
        return seen, await counting(world, "deaf")

    await same(scenario, place)


End = Callable[[World, "list[asyncio.Task[Any]]"], Awaitable[Any]]


async def by_client(world: World, calls: "list[asyncio.Task[Any]]") -> None:
    for call in calls:
        call.cancel()


async def by_operator(world: World, calls: "list[asyncio.Task[Any]]") -> Any:
    listed = [call async for call in world.bridge.admin.calls()]
    return [plain(str(await outcome(world.bridge.admin.cancel_call(call.call_id)))) for call in listed]


async def by_session(world: World, calls: "list[asyncio.Task[Any]]") -> None:
    await world.hub.cleanup_session(CleanupSessionRequest(session_id="s", force=True))


async def by_drain(world: World, calls: "list[asyncio.Task[Any]]") -> Any:
    await world.hub.drain(0)
    return await world.call("work", 9)


async def by_link(world: World, calls: "list[asyncio.Task[Any]]") -> None:
    assert world.server._server.drop_links("s") == 1


@pytest.mark.parametrize("end", [by_client, by_operator, by_session, by_drain, by_link])
async def test_calls_that_run_or_wait_are_ended(place: str, end: End) -> None:
    async def scenario(start: Open) -> Any:
        gate = Gate()
        world = await start(gate.work, max_session_calls=2)
        calls = [asyncio.create_task(world.call("work", number)) for number in range(3)]
        await until(lambda: len(gate.entered) == 2 and world.hub.store.find("s").active == 3)
        seen = [await end(world, calls)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        await until(lambda: len(gate.ended) >= 2)
        return seen, sorted(map(str, outcomes)), sorted(gate.ended), await counting(world, "work")

    await same(scenario, place)


@pytest.mark.parametrize("idempotent", [True, False])
async def test_a_worker_that_is_lost(place: str, idempotent: bool) -> None:
    async def scenario(start: Open) -> Any:
        gate = Gate()
        offered = tool(idempotent=idempotent)(gate.work)
        world = await start(offered)
        call = asyncio.create_task(world.call("work", 1))
        await until(lambda: gate.entered)
        other = None
        for worker in world.hub.workers.workers():
            other = await start.worker(world, offered)
            worker.link.abort("the test")
        if other is not None and idempotent:
            await until(lambda: len(gate.entered) == 2)
        if other is not None:
            await until(lambda: gate.ended)
        gate.go_on.set()
        return await call, gate.entered, sorted(gate.ended), await counting(world, "work")

    await same(scenario, place)


async def test_each_call_has_its_task_and_its_context_variables(place: str) -> None:
    async def scenario(start: Open) -> Any:
        variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)
        tasks: list[Any] = []

        async def task(wait: bool, number: int) -> Any:
            before = variable.get()
            variable.set(number)
            current = asyncio.current_task()
            assert current is not None
            if wait:
                await asyncio.sleep(0)
            assert asyncio.current_task() is current
            tasks.append(current)
            return [before, variable.get(), current.cancelling(), plain(current.get_name()), current.done()]

        async def groups(wait: bool) -> Any:
            async with asyncio.timeout(5) as limit, asyncio.TaskGroup() as group:
                if wait:
                    await asyncio.sleep(0)
                made = group.create_task(asyncio.sleep(0, "made"), name="made")
            return [limit.expired(), await made]

        async def late(wait: bool) -> Any:
            async with asyncio.timeout(0.01 if wait else 0):
                await asyncio.sleep(50)

        async def failing() -> Any:
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(50))
                raise LookupError("first step")

        async def cancels_itself(wait: bool) -> Any:
            current = asyncio.current_task()
            assert current is not None
            current.cancel()
            if wait:
                await asyncio.sleep(5)
            current.uncancel()
            return "went on"

        world = await start(task, groups, late, failing, cancels_itself)
        seen = [await world.call("task", wait, number) for wait in (False, True) for number in range(3)]
        seen += await asyncio.gather(*(world.call("task", True, number) for number in range(5)))
        seen += [
            await world.call(name, wait) for name in ("groups", "late", "cancels_itself") for wait in (False, True)
        ]
        seen += [await world.call("failing"), await world.call("task", False, 9)]
        return seen, await counting(world, "task", "groups", "late", "failing", "cancels_itself")

    await same(scenario, place)


@pytest.mark.slow
async def test_what_blocks_the_event_loop_is_logged(place: str) -> None:
    def slow(value: int) -> int:
        time.sleep(0.6)
        return value

    async def in_validator(value: Annotated[int, AfterValidator(slow)]) -> int:
        return value

    async def at_once(fails: bool) -> None:
        time.sleep(0.6)  # noqa: ASYNC251 - that is what is told
        if fails:
            raise ValueError

    async def later(fails: bool) -> None:
        await asyncio.sleep(0)
        time.sleep(0.6)  # noqa: ASYNC251 - likewise
        if fails:
            raise ValueError

    async def then_waits() -> None:
        time.sleep(0.6)  # noqa: ASYNC251 - likewise
        await asyncio.sleep(0)

    async def scenario(start: Open) -> Any:
        seen = []
        for fails in (False, True):
            # One tool of one hub is told once.
            with logged("grpc_tool_bridge.runner.blocking") as lines:
                world = await start(in_validator, at_once, later, then_waits)
                seen += [await world.call("at_once", fails), await world.call("later", fails)]
                seen += [await world.call("in_validator", 1), await world.call("then_waits")]
                await world.server.stop(0)
            seen.append([line for line in lines if "blocked" in line])
        return seen

    seen = await same(scenario, place)
    assert len(seen[0][4]) == 4


class Watching:
    """An authorizer, a tracer and an observer: what they are told."""

    def __init__(self) -> None:
        self.told_of: list[Any] = []

    def authorize(self, call: Any, context: Any) -> None:
        self.told_of.append(("authorize", call.tool.name, call.session.id, context.principal))
        if call.tool.name == "secret":
            raise AccessError("not for you")

    def follows(self, context: Any) -> bool:
        return True

    def begin(self, call: Any, context: Any) -> None:
        self.told_of.append(("begin", call.tool.name, call.depth))

    def end(self, call: Any, *, ok: bool, duration_us: int, outcome: Any) -> None:
        self.told_of.append(("end", call.tool.name, ok, duration_us >= 0))

    def started(self, call: Any, request: Any) -> None:
        self.told_of.append(("started", call.tool.name))

    def moved(self, call: Any) -> None:
        self.told_of.append(("moved", call.tool.name))

    def told(self, call: Any, event: Any) -> None:
        self.told_of.append(("told", call.tool.name))

    def ended(self, call: Any, *, ok: bool, duration_us: int, outcome: Any) -> None:
        if isinstance(outcome, bytes):
            outcome = ToolCallResponse.FromString(outcome)
        result = getattr(outcome, "result", None)
        error = getattr(outcome, "error", outcome)
        self.told_of.append(("ended", call.tool.name, ok, plain(str(result)), getattr(error, "type", None)))


async def test_those_who_watch_from_the_start_are_told_the_same(place: str) -> None:
    async def add(a: int, b: int) -> int:
        return a + b

    async def secret() -> int:
        return 1

    async def scenario(start: Open) -> Any:
        world = await start(add, secret)
        watching: Any = Watching()
        seen = []
        for name in ("authorizer", "tracer", "observer"):
            setattr(world.hub.admission, name, watching)
            seen += [await world.call("add", 1, 2), await world.call("add", "x", 2), await world.call("secret")]
            setattr(world.hub.admission, name, None)
        return seen, watching.told_of, await counting(world, "add", "secret")

    await same(scenario, place, usual=None)


async def test_those_who_begin_to_watch_while_a_call_runs_are_told_the_same(place: str) -> None:
    async def scenario(start: Open) -> Any:
        gate = Gate()

        async def begins() -> str:
            world.hub.admission.tracer = world.hub.admission.observer = watching
            return "at once"

        world = await start(gate.work, begins)
        watching: Any = Watching()
        call = asyncio.create_task(world.call("work", 1))
        await until(lambda: gate.entered)
        world.hub.admission.tracer = world.hub.admission.observer = watching
        gate.go_on.set()
        seen = [await call]
        world.hub.admission.tracer = world.hub.admission.observer = None
        seen.append(await world.call("begins"))
        world.hub.admission.tracer = world.hub.admission.observer = None
        return seen, watching.told_of, await counting(world, "work", "begins")

    await same(scenario, place)


async def test_a_session_s_own_tool_is_called_before_the_hub_s_and_tools_are_replaced(place: str) -> None:
    async def scenario(start: Open) -> Any:
        async def which(value: int) -> str:
            return f"the hub's {value}"

        @tool(name="which")
        async def own(value: str) -> str:
            return f"the session's {value}"

        world = await start(which)
        seen = [await world.call("which", 1)]
        if place == "hub":
            await world.hub.store.register_tools("s", [own])
        else:
            await start.worker(world, own, session_id="s")
        await until(lambda: "session's" not in str(world.hub.store.find("s").tools) and world.hub.store.find("s").tools)
        proxy = world.bridge.client.tool("which")
        seen += [await outcome(proxy(1)), await outcome(proxy("x"))]
        world.hub.registry.unregister("s", ["which"])
        seen += [await outcome(proxy(1)), await outcome(proxy("x"))]
        world.hub.registry.unregister("", ["which"])
        return [*seen, await outcome(proxy(1))]

    # The bridge is told of a change when it is.
    await same(scenario, place)


async def test_a_session_that_is_being_removed_and_one_that_has_ended(place: str) -> None:
    async def scenario(start: Open) -> Any:
        gate = Gate()
        world = await start(gate.work)
        call = asyncio.create_task(world.call("work", 1))
        await until(lambda: gate.entered)
        removal = asyncio.create_task(world.hub.cleanup_session(CleanupSessionRequest(session_id="s")))
        await until(lambda: world.hub.store.find("s").closing)
        seen = [await world.call("work", 2)]
        gate.go_on.set()
        seen += [await call, (await removal).success, await world.call("work", 3)]
        return seen, gate.entered

    await same(scenario, place)


async def test_breakers_chaos_caches_and_keys(place: str) -> None:
    rules = {"seed": 7, "rules": [{"tool": "flaky", "first_call": 2, "last_call": 2, "error": "ResourceExhausted"}]}

    async def scenario(start: Open) -> Any:
        runs: list[str] = []

        @tool(breaker={"failures": 2, "seconds": 3_600})
        async def broken() -> None:
            runs.append("broken")
            raise OSError("gone")

        async def flaky() -> int:
            runs.append("flaky")
            return len(runs)

        @tool(idempotent=True)
        async def cached(value: int) -> int:
            runs.append("cached")
            return value

        world = await start(broken, flaky, cached, chaos=rules, config=SessionConfig(enable_caching=True))
        seen = [await world.call("broken") for _ in range(4)]
        seen += [await world.call("flaky") for _ in range(3)]
        seen += [await world.call("cached", value) for value in (1, 1, 2)]
        keyed = world.bridge.tools["flaky"].with_options(idempotency_key="k", metadata={"a": "b"})
        seen += [await outcome(keyed()) for _ in range(2)]
        return seen, runs, await counting(world, "broken", "flaky", "cached")

    await same(scenario, place, usual=None)


async def test_retries_and_errors_that_may_be_tried_again(place: str) -> None:
    async def scenario(start: Open) -> Any:
        tries: list[int] = []

        async def flaky(succeeds_at: int) -> int:
            tries.append(succeeds_at)
            if len(tries) < succeeds_at:
                raise UnavailableError("try again", details={"retry_after": "0.001"})
            return len(tries)

        world = await start(flaky)
        seen = [await world.call("flaky", 2), await world.call("flaky", 2)]
        return seen, tries, await counting(world, "flaky")

    await same(scenario, place)


async def test_a_recorded_hub(place: str, tmp_path: Path) -> None:
    async def add(a: int, b: int) -> int:
        await asyncio.sleep(0)
        return a + b

    count = iter(range(10))

    async def scenario(start: Open) -> Any:
        file = tmp_path / f"recording{next(count)}.jsonl"
        world = await start(add, recorder=Recorder(file))
        seen = [await world.call("add", 1, 2), await world.call("add", "x")]
        await world.server.stop(0)
        kept = [line for line in file.read_text().splitlines() if '"add"' in line]
        return seen, len(kept), [("ValidationError" in line, "3" in line) for line in kept]

    await same(scenario, place, usual=None)


async def test_tools_that_ask_and_tools_that_take_a_context(place: str) -> None:
    async def ask(ctx: ToolContext) -> Any:
        answer = await ctx.ask("really?", {"type": "object", "properties": {"sure": {"type": "boolean"}}})
        return [answer.action, answer.content]

    async def nested(value: int, ctx: ToolContext) -> Any:
        return [await ctx.call_tool("plain", value), ctx.tool_name, ctx.session_id, dict(ctx.metadata)]

    async def plain_tool(value: int) -> int:
        return value + 1

    async def on_ask(question: Question) -> dict[str, Any]:
        return {"sure": True}

    async def scenario(start: Open) -> Any:
        tools = [ask, nested, tool(name="plain")(plain_tool)]
        world = await start(*tools, client={"on_ask": on_ask})
        seen = [await world.call("ask"), await world.call("nested", 1), await world.call("plain", 1)]
        return seen, await counting(world, "ask", "nested", "plain")

    await same(scenario, place, usual=None)


async def test_what_a_failed_call_leaves_is_freed_at_once(place: str) -> None:
    import gc
    import weakref

    async def scenario(start: Open) -> Any:
        left: list[Any] = []

        class Large:
            """What a tool holds while it fails."""

        async def fail(wait: bool) -> None:
            held = Large()
            left.append(weakref.ref(held))
            if wait:
                await asyncio.sleep(0)
            raise LookupError("no")

        world = await start(fail, show_tracebacks=False)
        gc.collect()
        gc.disable()
        try:
            seen = [await world.call("fail", False), await world.call("fail", True)]
            await world.quiet()
            return seen, [ref() is None for ref in left]
        finally:
            gc.enable()

    seen = await same(scenario, place)
    assert seen[0][1] == [True, True]
