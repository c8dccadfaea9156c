"""What a peer must do as a worker of a real hub."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable
from functools import partial
from typing import Any

from conformance.client_checks import Check
from conformance.descriptions import describe, same_meaning
from conformance.make import VECTORS
from conformance.payloads import expand
from conformance.stage import SESSION, Stage, UnsupportedError, value_of
from grpc_tool_bridge import GRPCToolBridge, ToolContext, ToolExecutionError

WORKER = "conformance-worker"
CAPACITY = 7

TOOLS = {"peer_echo", "peer_fail", "peer_count", "peer_wait", "peer_nested"}
# Those that a worker may do without.
MORE_TOOLS = {"peer_report", "peer_variable"}


async def _serve(stage: Stage) -> None:
    await stage.ok("serve", address=stage.address, worker_id=WORKER, capacity=CAPACITY)
    await stage.poll(partial(_lists_tools, stage.bridge), "the registration of the tools")
    worker = await _worker(stage)
    assert worker.capacity == CAPACITY, f"the hub knows the capacity {worker.capacity}"
    assert TOOLS <= set(worker.tools) <= TOOLS | MORE_TOOLS, f"it registered {worker.tools}"


async def _are_gone(stage: Stage) -> bool:
    return not TOOLS & set(await stage.bridge.client.refresh_tools())


async def _is_busy(stage: Stage) -> bool:
    return bool((await _worker(stage)).active_calls)


async def _is_idle(stage: Stage) -> bool:
    # A cancelled call counts until its end.
    return not (await _worker(stage)).active_calls


async def _failure(call: Awaitable[Any]) -> ToolExecutionError:
    """Returns the error of a call that must fail."""
    try:
        result = await call
    except ToolExecutionError as error:
        return error
    raise AssertionError(f"the call must fail, but gave {result!r:.300}")


async def _worker(stage: Stage) -> Any:
    async for worker in stage.bridge.admin.workers():
        if worker.worker_id == WORKER:
            return worker
    raise AssertionError("the hub does not have the worker")


async def _echo(stage: Stage) -> None:
    vectors = json.loads(VECTORS.read_text(encoding="utf-8"))["values"]
    for vector in map(expand, vectors):
        if vector["row"] == "unknown class":
            continue
        value = value_of(vector)
        back = await stage.bridge.tools["peer_echo"](value)
        assert same_meaning(describe(value), describe(back)), f"{vector['name']}: {back!r:.300}"


async def _fail(stage: Stage) -> None:
    error = await _failure(stage.bridge.tools["peer_fail"]("no such thing"))
    assert error.details.get("origin") == "tool", f"the details are {error.details}"
    assert "no such thing" in error.message, error


async def _missing_argument(stage: Stage) -> None:
    error = await _failure(stage.bridge.call_tool("peer_echo"))
    assert error.error_type == "ValidationError", error


async def _count(stage: Stage) -> None:
    items = [item async for item in stage.bridge.tools["peer_count"].stream(1_000)]
    assert items == [*range(1_000)], items[:5]
    assert await stage.bridge.tools["peer_count"](3) == [0, 1, 2]


async def _count_that_is_left(stage: Stage) -> None:
    stream = stage.bridge.tools["peer_count"].stream(10_000_000)
    assert [await anext(stream) for _ in range(3)] == [0, 1, 2]
    await stream.aclose()
    await stage.poll(partial(_is_idle, stage), "the end of the stream that was left")


async def _wait(stage: Stage) -> None:
    waiting = asyncio.create_task(stage.bridge.tools["peer_wait"]())
    await stage.poll(partial(_is_busy, stage), "the start of the tool")
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting
    await stage.poll(partial(_is_idle, stage), "the end of the call that was cancelled")


async def _deadline(stage: Stage) -> None:
    error = await _failure(stage.bridge.tools["peer_wait"].with_options(timeout=0.3)())
    assert error.error_type == "TimeoutError", error
    await stage.poll(partial(_is_idle, stage), "the end of the call whose time was over")


async def _nested(stage: Stage) -> None:
    value = {"b": [1, 2.0], "a": None}
    assert await stage.bridge.tools["peer_nested"](value) == value


async def _nested_when_full(stage: Stage) -> None:
    # Each call of peer_nested takes a place, and calls the hub's echo, which calls peer_echo of the same worker.
    all_run = asyncio.Barrier(CAPACITY)

    async def relay(value: Any, context: ToolContext) -> Any:
        await all_run.wait()
        return await context.call_tool("peer_echo", value)

    stage.tools.relay = relay
    try:
        answers = await asyncio.gather(*(stage.bridge.tools["peer_nested"](number) for number in range(CAPACITY)))
    finally:
        stage.tools.relay = None
    assert answers == [*range(CAPACITY)], answers


async def _many_calls(stage: Stage) -> None:
    answers = await asyncio.gather(*(stage.bridge.tools["peer_echo"](number) for number in range(200)))
    assert answers == [*range(200)], answers


async def _large(stage: Stage) -> None:
    text = "x" * 3_000_000
    assert await stage.bridge.tools["peer_echo"](text) == text


async def _reconnect(stage: Stage) -> None:
    stage.proxy.cut()
    # The hub keeps the tools for some seconds, and callers wait; a call that was just sent is lost, and tried again.
    assert await stage.bridge.execute_with_retry("peer_echo", 7) == 7


async def _restarted_hub(stage: Stage) -> None:
    async with stage.another_hub() as other, GRPCToolBridge(other.address) as bridge:
        await bridge.initialize(SESSION)
        await stage.poll(partial(_lists_tools, bridge), "the registration of the tools at a hub that has restarted")
        assert await bridge.execute_with_retry("peer_echo", 7) == 7
    await stage.poll(partial(_lists_tools, stage.bridge), "the registration of the tools again")


async def _lists_tools(bridge: GRPCToolBridge) -> bool:
    return set(await bridge.client.refresh_tools()) >= TOOLS


async def _report(stage: Stage) -> None:
    tool = _optional(stage, "peer_report")
    progress: list[Any] = []
    logs: list[Any] = []
    assert await tool.with_options(on_progress=progress.append, on_log=logs.append)() == "done"
    assert [(one.current, one.total, one.message) for one in progress] == [(1, 2, "half")], progress
    assert [(one.level, one.message) for one in logs] == [("warning", "halfway")], logs


async def _variable(stage: Stage) -> None:
    tool = _optional(stage, "peer_variable")
    await stage.bridge.session_context.set_variable("of a worker", {"b": 1, "a": 2.0})
    assert await tool("of a worker") == {"b": 1, "a": 2.0}


def _optional(stage: Stage, name: str) -> Any:
    tool = stage.bridge.tools.get(name)
    if tool is None:
        raise UnsupportedError
    return tool


async def _drain(stage: Stage) -> None:
    calls = [asyncio.create_task(stage.bridge.call_tool("peer_echo", number)) for number in range(CAPACITY)]
    await stage.ok("stop_serving")
    for number, call in enumerate(calls):
        # One that the worker did not take any more waits for another, which does not come.
        try:
            assert await call == number
        except ToolExecutionError as error:
            if error.error_type not in ("WorkerUnavailable", "ToolNotFound"):
                raise
    await stage.poll(partial(_are_gone, stage), "the removal of the tools")


WORKER_CHECKS: dict[str, Check] = {
    "worker tools: registers them": _serve,
    "worker calls: every value both ways": _echo,
    "worker calls: 3 MB both ways": _large,
    "worker calls: 200 at once, of which it takes a few": _many_calls,
    "worker calls: another tool from a tool": _nested,
    "worker calls: nested ones on a worker that is full": _nested_when_full,
    "worker errors: raised by a tool": _fail,
    "worker errors: a missing argument": _missing_argument,
    "worker streams: yields": _count,
    "worker streams: one that is left": _count_that_is_left,
    "worker cancel: of a call": _wait,
    "worker deadline: of a call": _deadline,
    "worker reconnects: and registers its tools again": _reconnect,
    "worker reconnects: to a hub that has restarted": _restarted_hub,
    "worker events: progress and a log line": _report,
    "worker variables: of the session of its call": _variable,
    "worker drains: after the calls that it took": _drain,
}
