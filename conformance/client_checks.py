"""What a peer must do as a client of a real hub."""

from collections.abc import Awaitable, Callable
from typing import Any

from conformance.descriptions import describe, same_meaning
from conformance.stage import SESSION, Stage, integers

_TOKEN = "conformance-token"

# A call may be sent over a link that is lost, but not over one lost link after the other.
_TRIES = 5

Check = Callable[[Stage], Awaitable[None]]


async def _connect(stage: Stage) -> None:
    opened = await stage.ok("connect", address=stage.address, session_id=SESSION)
    assert opened["session_id"] == SESSION
    assert {"echo", "fail", "count", "wait"} <= set(opened["tools"])


async def _call(stage: Stage) -> None:
    answer = await stage.ok("call", tool="echo", args=[describe("é")])
    assert same_meaning(describe("é"), answer["meaning"]), answer


async def _call_by_name(stage: Stage) -> None:
    answer = await stage.ok("call", tool="echo", kwargs={"value": describe([1, {"b": 2.0, "a": None}])})
    assert same_meaning(describe([1, {"b": 2.0, "a": None}]), answer["meaning"]), answer


async def _large(stage: Stage) -> None:
    answer = await stage.ok("call", tool="echo", args=[describe("x" * 3_000_000)])
    assert same_meaning(describe("x" * 3_000_000), answer["meaning"])


async def _tool_raises(stage: Stage) -> None:
    error = await stage.error("call", tool="fail", args=[describe("no such thing")])
    assert (error["type"], error["origin"]) == ("ValueError", "tool"), error
    assert "no such thing" in error["message"]


async def _no_tool(stage: Stage) -> None:
    error = await stage.error("call", tool="no_such_tool", args=[])
    assert error["type"] == "ToolNotFound", error


async def _wrong_argument(stage: Stage) -> None:
    error = await stage.error("call", tool="count", args=[describe("many")])
    assert error["type"] == "ValidationError", error


async def _deadline(stage: Stage) -> None:
    error = await stage.error("call", tool="wait", args=[], timeout_ms=200)
    assert error["type"] == "TimeoutError", error
    await stage.until(lambda: not stage.tools.waiting, "the end of the tool at its deadline")


async def _cancel(stage: Stage) -> None:
    cancelled = stage.tools.cancelled
    await stage.ok("start", call="c", tool="wait", args=[])
    await stage.until(lambda: stage.tools.waiting == 1, "the start of the tool")
    await stage.ok("cancel", call="c")
    error = await stage.error("wait", call="c")
    assert error["type"] == "Cancelled", error
    await stage.until(lambda: stage.tools.cancelled == cancelled + 1, "the cancellation of the tool")


async def _many_calls(stage: Stage) -> None:
    for number in range(50):
        await stage.ok("start", call=f"n{number}", tool="echo", args=integers(number))
    for number in reversed(range(50)):
        answer = await stage.ok("wait", call=f"n{number}")
        assert same_meaning(describe(number), answer["meaning"]), answer


async def _stream(stage: Stage) -> None:
    answer = await stage.ok("stream", tool="count", args=integers(1_000))
    assert answer["items"] == integers(*range(1_000)), answer["items"][:5]


async def _stream_that_fails(stage: Stage) -> None:
    error = await stage.error("stream", tool="fail", args=[describe("no")])
    assert (error["type"], error["origin"]) == ("ValueError", "tool"), error


async def _stream_that_is_left(stage: Stage) -> None:
    left = stage.tools.left
    answer = await stage.ok("stream", tool="count", args=integers(10_000_000), take=3)
    assert answer["items"] == integers(0, 1, 2)
    await stage.until(lambda: stage.tools.left == left + 1, "the end of the tool whose stream was left")


async def _variables(stage: Stage) -> None:
    value = describe({"b": 1, "a": [2.0]})
    first = await stage.ok("set_variable", name="v", meaning=value)
    assert same_meaning(value, (await stage.ok("get_variable", name="v"))["meaning"])
    assert await stage.bridge.session_context.get_variable("v") == {"b": 1, "a": [2.0]}
    await stage.ok("set_variable", name="v", meaning=describe(2), expected_revision=first["revision"])
    stale = await stage.error("set_variable", name="v", meaning=describe(3), expected_revision=first["revision"])
    assert stale["type"] == "RevisionConflict", stale
    await stage.ok("delete_variable", name="v")
    assert (await stage.error("get_variable", name="v"))["type"] == "VariableNotFound"
    assert (await stage.error("delete_variable", name="v"))["type"] == "VariableNotFound"


async def _watch(stage: Stage) -> None:
    await stage.bridge.session_context.set_variable("w", 1)
    await stage.ok("watch", names=["w"])
    await _next(stage, "set", describe(1))
    await stage.bridge.session_context.set_variable("w", 2)
    await _next(stage, "update", describe(2))
    stage.proxy.cut()
    await stage.bridge.session_context.set_variable("w", 3)
    await _next(stage, "update", describe(3))
    await stage.bridge.session_context.delete_variable("w")
    await _next(stage, "delete", None)


async def _next(stage: Stage, operation: str, meaning: Any) -> None:
    update = await stage.ok("next_update")
    assert (update["name"], update["operation"]) == ("w", operation), update
    assert meaning is None or same_meaning(meaning, update["meaning"]), update


async def _reconnect(stage: Stage) -> None:
    stage.proxy.cut()
    await _call_again(stage)


async def _call_again(stage: Stage) -> None:
    """Lets the peer make a call over its next link; one that it sends before it notices the loss fails."""
    answer: dict[str, Any] = {}
    for _ in range(_TRIES):
        answer = await stage.ask("call", tool="echo", args=integers(7))
        if answer.get("error", {}).get("status") != "UNAVAILABLE":
            break
    assert "ok" in answer, f"the call failed with {answer['error']}"
    assert same_meaning(integers(7)[0], answer["ok"]["meaning"]), answer


async def _lost_call(stage: Stage) -> None:
    await stage.ok("start", call="lost", tool="wait", args=[])
    await stage.until(lambda: stage.tools.waiting == 1, "the start of the tool")
    stage.proxy.cut()
    error = await stage.error("wait", call="lost")
    assert error.get("status", error["type"]) == "UNAVAILABLE", error
    await stage.until(lambda: not stage.tools.waiting, "the end of the tool whose caller was lost")


async def _agent(stage: Stage) -> None:
    ran = await stage.ok("run_agent", signature="Question -> Answer", input={"Question": "What?"})
    assert ran["chunks"] == ["thought", "result"], ran
    assert ran["answer"] == {"Answer": "What?"}, ran


async def _list_variables(stage: Stage) -> None:
    for name in ("l-b", "l-a", "other"):
        await stage.bridge.session_context.set_variable(name, 1)
    listed = await stage.ok("list_variables", prefix="l-")
    assert listed["names"] == ["l-a", "l-b"], listed


async def _events(stage: Stage) -> None:
    answer = await stage.ok("call_with_events", tool="report", args=[])
    assert same_meaning(describe("done"), answer["meaning"]), answer
    assert answer["progress"] == [{"current": 1, "total": 2, "message": "half"}], answer
    (line,) = answer["logs"]
    assert (line["level"], line["message"], line["fields"]) == ("warning", "halfway", {"place": "é"}), answer


async def _batch(stage: Stage) -> None:
    items = [
        {"tool": "echo", "args": integers(1)},
        {"tool": "fail", "args": [describe("no")]},
        {"tool": "echo", "kwargs": {"value": describe("é")}},
    ]
    first, second, third = (await stage.ok("batch", items=items))["items"]
    assert same_meaning(describe(1), first["meaning"]), first
    assert second["error"]["type"] == "ValueError", second
    assert same_meaning(describe("é"), third["meaning"]), third


async def _restarted_hub(stage: Stage) -> None:
    async with stage.another_hub():
        await _call_again(stage)


async def _wrong_token(stage: Stage) -> None:
    async with stage.another_hub(token=_TOKEN):
        request = {"address": stage.address, "session_id": SESSION, "token": "another"}
        error = await stage.error("connect_with_token", **request)
        assert error["type"] == "Unauthenticated" or error.get("status") == "UNAUTHENTICATED", error


async def _right_token(stage: Stage) -> None:
    async with stage.another_hub(token=_TOKEN):
        await stage.ok("connect_with_token", address=stage.address, session_id=SESSION, token=_TOKEN)
        answer = await stage.ok("call", tool="echo", args=integers(7))
        assert answer["meaning"] == integers(7)[0]
        await stage.ok("close")


async def _close(stage: Stage) -> None:
    await stage.ok("close")


CLIENT_CHECKS: dict[str, Check] = {
    "client hello: opens a session and reads its tools": _connect,
    "client calls: by position": _call,
    "client calls: by name": _call_by_name,
    "client calls: 3 MB both ways": _large,
    "client calls: 50 at once": _many_calls,
    "client errors: raised by a tool": _tool_raises,
    "client errors: a tool that there is not": _no_tool,
    "client errors: a wrong argument": _wrong_argument,
    "client events: progress and log lines of a call": _events,
    "client batches: results and errors in order": _batch,
    "client streams: reads one": _stream,
    "client streams: one that fails": _stream_that_fails,
    "client streams: leaves one": _stream_that_is_left,
    "client cancel: of a call": _cancel,
    "client deadline: of a call": _deadline,
    "client reconnects: and calls again": _reconnect,
    "client reconnects: a call in flight fails": _lost_call,
    "client variables: sets, reads and deletes": _variables,
    "client variables: lists them": _list_variables,
    "client watches: also after a reconnect": _watch,
    "client agents: runs one": _agent,
    "client reconnects: to a hub that has restarted": _restarted_hub,
    "client close: leaves its session": _close,
    "client token: a wrong one": _wrong_token,
    "client token: the right one": _right_token,
}
