"""How a client follows the tools of its session."""

import asyncio
import contextlib
import itertools
import logging
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc.aio import AioRpcError, Metadata

from grpc_tool_bridge import ToolBridgeClient, UnavailableError
from grpc_tool_bridge.client import resume
from grpc_tool_bridge.client import tools as session_tools
from grpc_tool_bridge.errors import ResourceExhaustedError, SessionExpiredError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import GetSessionToolsResponse, ToolSpec, ToolUpdate
from support.patience import PATIENCE
from unit.client.fakes import FakeTransport


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
    [lost(), lost(grpc.StatusCode.DEADLINE_EXCEEDED), UnavailableError("the hub shuts down")],
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
    script.answer("GetSessionTools", ToolSpec())
    client = ToolBridgeClient(script)
    client.session_id = "s"
    client.take_tool_update(ToolUpdate(operation="added", tool=ToolSpec(name="a")))
    async with asyncio.timeout(PATIENCE):
        await client.follow_tools()
    assert (list(client.tools), script.count("GetSessionTools")) == (["a"], 1)


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
