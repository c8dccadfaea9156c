"""A session's tools as proxies that stay the same objects while the tools change, and how a client follows them."""

import asyncio
import contextlib
import gc
import inspect
import itertools
import logging
import weakref
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc.aio import AioRpcError, Metadata

from grpc_tool_bridge import (
    AsyncGRPCProxyTool,
    StreamingGRPCProxyTool,
    ToolBridgeClient,
    ToolExecutionError,
    UnavailableError,
)
from grpc_tool_bridge.client import resume
from grpc_tool_bridge.client import tools as session_tools
from grpc_tool_bridge.client.caller import Caller
from grpc_tool_bridge.client.options import CallOptions
from grpc_tool_bridge.client.signature import MAX_SIGNATURE_CHARS
from grpc_tool_bridge.client.tools import SessionTools
from grpc_tool_bridge.errors import ResourceExhaustedError, SessionExpiredError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    ArgumentSpec,
    CompleteSignal,
    ErrorInfo,
    GetSessionToolsResponse,
    ToolCallResponse,
    ToolSpec,
    ToolStreamChunk,
    ToolType,
    ToolUpdate,
)
from grpc_tool_bridge.values.serialization import serialize_value
from support.patience import PATIENCE
from unit.client.fakes import FakeTransport

OPTIONS = CallOptions()


class Hub(FakeTransport):
    """Keeps the calls, and refuses them as it is told to."""

    def __init__(self) -> None:
        super().__init__(ExecuteTool=self.execute, StreamTool=self.stream)
        self.refusal: ErrorInfo | None = None
        self.caller = Caller(self)
        self.caller.session_id = "s"
        self.tools = SessionTools(self.caller)

    @property
    def calls(self) -> list[Any]:
        return self.requests["ExecuteTool"]

    async def execute(self, request: Any) -> ToolCallResponse:
        if self.refusal is not None:
            return ToolCallResponse(error=self.refusal)
        return ToolCallResponse(success=True, result=serialize_value("done"))

    async def stream(self, request: Any) -> AsyncIterator[ToolStreamChunk]:
        if self.refusal is not None:
            yield ToolStreamChunk(error=self.refusal)
            return
        yield ToolStreamChunk(data=serialize_value("done"))
        yield ToolStreamChunk(sequence=1, complete=CompleteSignal())

    def take(self, specs: list[ToolSpec], options: CallOptions = OPTIONS) -> list[tuple[str, str]]:
        self.caller.options = options
        return self.tools.take(specs)

    def refuse(self, error_type: str, *, origin: str = "bridge", message: str = "no") -> None:
        self.refusal = ErrorInfo(type=error_type, message=message, details={"origin": origin})


@pytest.fixture
def hub() -> Hub:
    return Hub()


def spec(name: str, *arguments: str, **fields: Any) -> ToolSpec:
    return ToolSpec(
        name=name,
        arguments=[ArgumentSpec(name=argument, python_type="int", required=True) for argument in arguments],
        **fields,
    )


def test_what_is_taken_says_what_has_changed(hub: Hub) -> None:
    proxies = hub.tools.proxies
    assert hub.take([spec("a"), spec("b")]) == [("added", "a"), ("added", "b")]
    assert hub.take([spec("b", "x"), spec("c")]) == [("removed", "a"), ("changed", "b"), ("added", "c")]
    assert hub.take([spec("b", "x"), spec("c")]) == []
    assert hub.tools.put(spec("c")) == []
    assert hub.tools.put(spec("c", "y")) == [("changed", "c")]
    assert hub.tools.remove("c") == [("removed", "c")]
    assert hub.tools.remove("c") == []
    assert hub.tools.proxies is proxies
    assert list(proxies) == ["b"]


async def test_a_held_proxy_becomes_that_of_the_tool_as_it_is_now(hub: Hub) -> None:
    hub.take([spec("add", "a", description="Adds.", tool_id="add-1")])
    add = hub.tools.proxies["add"]
    await add(1)
    hub.tools.put(spec("add", "a", "b", description="Adds two.", tool_id="add-2", limits={"timeout_ms": 1_500}))
    assert hub.tools.proxies["add"] is add
    assert (add.__doc__, list(inspect.signature(add).parameters)) == ("Adds two.", ["a", "b"])
    await add(1, 2)
    assert [(call.tool_id, call.timeout_ms) for call in hub.calls] == [("add-1", 30_000), ("add-2", 1_500)]


async def test_what_with_options_made_follows_and_keeps_its_own_options(hub: Hub) -> None:
    hub.take([spec("add", "a", tool_id="add-1")])
    slow = hub.tools.proxies["add"].with_options(timeout=7)
    marked = slow.with_options(metadata={"k": "v"})
    hub.take([spec("add", "a", "b", tool_id="add-2")], CallOptions(call_timeout=60, max_message_bytes=5_000))
    for proxy in (hub.tools.proxies["add"], slow, marked):
        assert list(inspect.signature(proxy).parameters) == ["a", "b"]
        await proxy(1, 2)
    assert [(call.tool_id, call.timeout_ms, dict(call.context)) for call in hub.calls] == [
        ("add-2", 60_000, {}),
        ("add-2", 7_000, {}),
        ("add-2", 7_000, {"k": "v"}),
    ]
    with pytest.raises(ToolExecutionError, match="message too large"):
        await marked("x" * 10_000)


async def test_new_options_reach_the_proxies_of_tools_that_have_not_changed(hub: Hub) -> None:
    hub.take([spec("add", "a")])
    add = hub.tools.proxies["add"]
    await add(1)
    assert hub.take([spec("add", "a")], CallOptions(call_timeout=3)) == []
    await add(1)
    assert [call.timeout_ms for call in hub.calls] == [30_000, 3_000]


async def test_a_tool_that_begins_to_yield_and_ceases_to_is_called_as_what_it_is_by_all_who_hold_it(hub: Hub) -> None:
    hub.take([spec("count")])
    count = hub.tools.proxies["count"]
    slow = count.with_options(timeout=7)
    hub.tools.put(spec("count", type=ToolType.STREAMING))
    for proxy in (count, slow):
        assert isinstance(proxy, StreamingGRPCProxyTool)
        assert await proxy() == ["done"]
    hub.tools.put(spec("count"))
    for proxy in (count, slow):
        assert type(proxy) is AsyncGRPCProxyTool
        assert await proxy() == "done"


async def test_the_error_of_a_removed_tool_says_so_until_it_is_back(hub: Hub) -> None:
    hub.take([spec("add")])
    add = hub.tools.proxies["add"]
    slow = add.with_options(timeout=7)
    hub.refuse("ToolNotFound", message="session 's' sees no tool 'add'")
    hub.tools.remove("add")
    for proxy in (add, slow, slow.with_options(timeout=8)):
        with pytest.raises(ToolExecutionError) as caught:
            await proxy()
        assert str(caught.value) == (
            "add: ToolNotFound: session 's' sees no tool 'add'; it was removed from the session"
        )
        assert caught.value.details["removed"] == "true"
    assert hub.tools.put(spec("add")) == [("added", "add")]
    assert hub.tools.proxies["add"] is add
    with pytest.raises(ToolExecutionError) as caught:
        await slow()
    assert caught.value.message == "session 's' sees no tool 'add'"
    hub.refusal = None
    assert await add() == await slow() == "done"


async def test_a_tool_that_comes_back_is_found_by_who_holds_only_what_with_options_made(hub: Hub) -> None:
    hub.take([spec("add", "a")])
    slow = hub.tools.proxies["add"].with_options(timeout=7)
    hub.tools.remove("add")
    gc.collect()
    hub.tools.put(spec("add", "a", "b"))
    assert list(inspect.signature(slow).parameters) == ["a", "b"]


def test_proxies_that_nobody_holds_are_not_kept(hub: Hub) -> None:
    hub.take([spec("add")])
    made = weakref.ref(hub.tools.proxies["add"].with_options(timeout=7))
    gone = weakref.ref(hub.tools.proxies["add"])
    gc.collect()
    assert made() is None
    hub.tools.remove("add")
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("kind", [ToolType.STANDARD, ToolType.STREAMING])
async def test_a_refusal_of_the_arguments_says_how_the_tool_has_changed(hub: Hub, kind: Any) -> None:
    hub.take([spec("add", "a", "b", type=kind)])
    add = hub.tools.proxies["add"]
    slow = add.with_options(timeout=7)
    hub.tools.put(spec("add", "a", "b", "carry", type=kind))
    hub.refuse("ValidationError", message="carry is missing")
    for proxy in (add, slow):
        with pytest.raises(ToolExecutionError) as caught:
            await proxy(1, 2)
        assert caught.value.error_type == "ValidationError"
        assert caught.value.message == (
            "carry is missing; the tool has changed since its proxy was made: it was add(a: int, b: int), "
            "it is now add(a: int, b: int, carry: int)"
        )
        assert caught.value.details["changed"] == "true"
    # This one was made of the tool as it is.
    with pytest.raises(ToolExecutionError) as caught:
        await add.with_options(timeout=8)(1, 2)
    assert caught.value.message == "carry is missing"


@pytest.mark.parametrize(("error_type", "origin"), [("ValidationError", "tool"), ("TypeError", "tool")])
async def test_what_a_tool_itself_raised_stays_as_it_raised_it(hub: Hub, error_type: str, origin: str) -> None:
    hub.take([spec("add", "a")])
    add = hub.tools.proxies["add"]
    hub.tools.put(spec("add", "a", "b"))
    hub.refuse(error_type, origin=origin)
    with pytest.raises(ToolExecutionError) as caught:
        await add(1)
    assert (caught.value.message, caught.value.details) == ("no", {"origin": origin})


@pytest.mark.parametrize("error_type", ["ToolNotFound", "ValidationError"])
async def test_other_refusals_of_a_tool_that_is_there_and_as_it_was_stay_as_they_are(hub: Hub, error_type: str) -> None:
    hub.take([spec("add", "a")])
    add = hub.tools.proxies["add"]
    hub.tools.put(spec("add", "a", description="The arguments are the same."))
    hub.refuse(error_type)
    with pytest.raises(ToolExecutionError) as caught:
        await add(1)
    assert caught.value.message == "no"


async def test_a_change_that_the_signature_does_not_show_is_named_without_it(hub: Hub) -> None:
    hub.take([spec("add", "a")])
    add = hub.tools.proxies["add"]
    changed = spec("add", "a")
    changed.arguments[0].validation.custom_rules.append("even")
    hub.tools.put(changed)
    hub.refuse("ValidationError")
    with pytest.raises(ToolExecutionError) as caught:
        await add(1)
    assert caught.value.message == "no; the tool has changed since its proxy was made"


async def test_signatures_that_python_has_none_of_or_are_long_do_not_hide_the_refusal(hub: Hub) -> None:
    hub.take([spec("add", "not a name")])
    add = hub.tools.proxies["add"]
    hub.tools.put(spec("add", *[f"argument_{number}" for number in range(1_000)]))
    hub.refuse("ValidationError")
    with pytest.raises(ToolExecutionError) as caught:
        await add(1)
    assert caught.value.message.startswith("no; the tool has changed since its proxy was made: it was add(…), it is")
    assert caught.value.message.endswith("…")
    assert len(caught.value.message) < MAX_SIGNATURE_CHARS + 200


async def test_a_call_that_runs_while_the_tool_changes_is_not_disturbed(hub: Hub) -> None:
    hub.take([spec("add", "a", tool_id="add-1")])
    add = hub.tools.proxies["add"]
    large = asyncio.ensure_future(add("x" * 300_000))
    await asyncio.sleep(0)
    hub.tools.put(spec("add", "a", tool_id="add-2"))
    assert await large == "done"
    assert await add(1) == "done"
    assert [call.tool_id for call in hub.calls] == ["add-1", "add-2"]


def test_a_name_that_is_not_there_is_a_key_error_that_says_which_are_like_it(hub: Hub) -> None:
    hub.take([spec("calculate_sum")])
    tools = hub.tools.proxies

    with pytest.raises(KeyError, match=r"the session has no tool 'calculate_sun'; did you mean calculate_sum\?"):
        tools["calculate_sun"]
    for name in ("x", "x" * 100_000, 3):
        with pytest.raises(KeyError, match=r"list\(bridge.tools\) shows the names"):
            tools[name]  # type: ignore[index]  # what a caller may do all the same
    assert tools.get("x") is None
    assert "x" not in tools


# ---------------------------------------------------------------------------------------------------- following


class Script(FakeTransport):
    """A hub whose watch tells what a test puts into ``updates``; an exception there ends it, as does None."""

    def __init__(self) -> None:
        super().__init__(GetSessionTools=self.list, WatchSessionTools=self.watch)
        self.tools = ["a"]
        self.revision = 7
        self.ended = 0
        self.updates: asyncio.Queue[ToolUpdate | BaseException | None] = asyncio.Queue()

    async def list(self, request: Any) -> GetSessionToolsResponse:
        assert request.session_id == "s"
        return GetSessionToolsResponse(tools=[ToolSpec(name=name) for name in self.tools], revision=self.revision)

    async def watch(self, request: Any) -> AsyncIterator[ToolUpdate]:
        try:
            while (update := await self.updates.get()) is not None:
                if isinstance(update, BaseException):
                    raise update
                yield update
        finally:
            self.ended += 1


class Following:
    """A client that follows the tools of a script.

    Args:
        script: Its hub.
    """

    def __init__(self, script: Script) -> None:
        self.script = script
        self.client = ToolBridgeClient(script)
        self.client.session_id = "s"
        self.client.on_tools_changed = lambda operation, name: self.told.put_nowait((operation, name))
        self.told: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        self.task = asyncio.create_task(self.client.follow_tools())

    def update(self, operation: str, name: str = "") -> None:
        self.script.updates.put_nowait(ToolUpdate(operation=operation, tool=ToolSpec(name=name)))

    async def hears(self, *changes: tuple[str, str]) -> None:
        async with asyncio.timeout(PATIENCE):
            assert [await self.told.get() for _ in changes] == list(changes)

    async def ends(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.task


@pytest.fixture
async def following(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Following]:
    """A client that has begun to follow, and waits for nothing before it tries again."""
    monkeypatch.setattr(resume, "back_off", lambda: itertools.repeat(0.0))
    made = Following(Script())
    await made.hears(("added", "a"))
    yield made
    made.task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await made.task
    assert made.script.ended == made.script.count("WatchSessionTools")


def lost(code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> AioRpcError:
    return AioRpcError(code, Metadata(), Metadata(), "lost")


async def test_it_begins_with_the_revision_up_to_which_the_tools_were_read(following: Following) -> None:
    tools = following.client.tools
    following.update("added", "b")
    await following.hears(("added", "b"))
    following.update("removed", "a")
    await following.hears(("removed", "a"))
    assert [request.from_revision for request in following.script.requests["WatchSessionTools"]] == [7]
    assert following.client.tools is tools
    assert list(tools) == ["b"]


async def test_on_a_reset_the_tools_are_read_anew_and_none_is_missing_meanwhile(following: Following) -> None:
    tool = following.client.tools["a"]
    following.script.tools = ["a", "c"]
    following.update("reset")
    following.update("added", "a")
    await following.hears(("added", "c"))
    following.update("added", "d")
    await following.hears(("added", "d"))
    assert following.client.tools["a"] is tool
    assert following.script.count("GetSessionTools") == 2


@pytest.mark.parametrize(
    "error",
    [lost(), lost(grpc.StatusCode.DEADLINE_EXCEEDED), UnavailableError("the hub is shutting down")],
    ids=["unavailable", "too late", "shutting down"],
)
async def test_after_a_loss_it_reads_the_tools_and_goes_on_from_there(following: Following, error: Exception) -> None:
    following.script.tools, following.script.revision = ["b"], 3
    following.script.updates.put_nowait(error)
    await following.hears(("removed", "a"), ("added", "b"))
    following.update("added", "c")
    await following.hears(("added", "c"))
    assert [request.from_revision for request in following.script.requests["WatchSessionTools"]] == [7, 3]


@pytest.mark.parametrize(
    "end",
    [
        None,
        lost(grpc.StatusCode.UNIMPLEMENTED),
        ResourceExhaustedError("too many watches"),
        SessionExpiredError("it was removed"),
        asyncio.CancelledError(),
        RuntimeError("a double that fails"),
    ],
    ids=["end", "unimplemented", "too many", "session", "channel closed", "double"],
)
async def test_where_the_hub_ends_it_the_tools_stay_and_nobody_is_alarmed(
    following: Following, end: BaseException | None, caplog: pytest.LogCaptureFixture
) -> None:
    following.script.updates.put_nowait(end)
    await following.ends()
    assert list(following.client.tools) == ["a"]
    assert following.script.count("WatchSessionTools") == 1
    assert not [record for record in caplog.records if record.levelno > logging.DEBUG]


async def test_another_session_of_the_client_ends_it_and_its_changes_are_not_taken(following: Following) -> None:
    following.client.session_id = "another"
    following.update("added", "b")
    await following.ends()
    assert list(following.client.tools) == ["a"]


async def test_tools_that_were_read_for_a_session_that_was_left_meanwhile_are_not_taken(following: Following) -> None:
    reading = following.client.refresh_tools()
    following.script.tools = ["b"]
    task = asyncio.ensure_future(reading)

    async def left(request: Any) -> GetSessionToolsResponse:
        following.client.session_id = "another"
        return await following.script.list(request)

    following.script.answer("GetSessionTools", left)
    async with asyncio.timeout(PATIENCE):
        await task
    assert list(following.client.tools) == ["a"]


async def test_a_callback_that_fails_is_logged_and_changes_nothing(
    following: Following, caplog: pytest.LogCaptureFixture
) -> None:
    tell = following.client.on_tools_changed

    def fail(operation: str, name: str) -> None:
        following.client.on_tools_changed = tell
        raise RuntimeError(f"the callback failed for {name}")

    following.client.on_tools_changed = fail
    following.update("added", "b")
    following.update("added", "c")
    await following.hears(("added", "c"))
    assert list(following.client.tools) == ["a", "b", "c"]
    assert "the callback failed for b" in caplog.text


async def test_an_answer_that_is_none_takes_no_tools_away() -> None:
    script = Script()
    client = ToolBridgeClient(script)
    client.session_id = "s"
    await client.refresh_tools()
    script.answer("GetSessionTools", ToolSpec())
    async with asyncio.timeout(PATIENCE):
        await client.follow_tools()
    assert (list(client.tools), script.count("GetSessionTools")) == (["a"], 2)


async def test_after_a_watch_that_lasted_it_does_not_wait_longer_than_for_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun: list[Any] = []

    def back_off() -> Any:
        begun.append(None)
        return itertools.repeat(0.0)

    monkeypatch.setattr(resume, "back_off", back_off)
    for stable, expected in ((1_000.0, 1), (-1.0, 3)):
        monkeypatch.setattr(session_tools, "STABLE_SECONDS", stable)
        begun.clear()
        following = Following(Script())
        for error in (lost(), lost(), None):
            following.script.updates.put_nowait(error)
        await following.ends()
        assert len(begun) == expected
