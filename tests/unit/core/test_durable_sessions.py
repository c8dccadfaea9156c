"""Sessions on their way into a durable store, and out of it: when they are there for others."""

import asyncio
from typing import Any

import pytest

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.core.sessions import SessionStore
from grpc_tool_bridge.errors import (
    AlreadyExistsError,
    ResourceExhaustedError,
    SessionExpiredError,
    SessionNotFoundError,
    StoreError,
)
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.values.serialization import serialize_value
from support.held_store import HeldStore
from support.waiting import soon, turns


class Stage:
    """A hub whose store takes changes when it is told to."""

    def __init__(self, *tools: Any, **settings: Any) -> None:
        self.held = HeldStore()
        self.hub = Hub(Settings(**settings), tools, durable=self.held)
        self.sessions: SessionStore = self.hub.store
        # As if it had been restored.
        self.sessions.durable = self.held

    async def stored(self, awaitable: Any) -> Any:
        """Awaits what the store has to take first."""
        task = asyncio.ensure_future(awaitable)
        while not task.done():
            await turns()
            self.held.store()
        return await task

    async def session(self, session_id: str = "s", **options: Any) -> Any:
        return await self.stored(self.sessions.create_session(session_id, **options))

    async def initialize(self, session_id: str = "s") -> pb.InitializeSessionResponse:
        return await self.hub.initialize_session(pb.InitializeSessionRequest(session_id=session_id))

    async def clean_up(self, session_id: str = "s", *, force: bool = True) -> pb.StatusResponse:
        return await self.hub.cleanup_session(pb.CleanupSessionRequest(session_id=session_id, force=force))

    async def is_valid(self) -> bool:
        return (await self.hub.heartbeat(pb.HeartbeatRequest(session_id="s"))).session_valid


async def test_a_session_is_there_once_it_is_stored() -> None:
    stage = Stage(max_sessions=1)
    told: list[str] = []
    stage.sessions.on_change = lambda operation, session: told.append(f"{operation} {session.id}")
    creating = asyncio.ensure_future(stage.sessions.create_session("s"))
    await turns()
    assert (stage.sessions.sessions(), len(stage.sessions), list(stage.sessions.from_oldest()), told) == ([], 0, [], [])
    for find in (stage.sessions.find, stage.sessions.peek):
        with pytest.raises(SessionNotFoundError):
            find("s")
    assert not await stage.is_valid()
    with pytest.raises(ResourceExhaustedError):
        await stage.sessions.create_session("another")
    stage.held.store()
    assert stage.sessions.find("s") is await soon(creating)
    assert (list(stage.sessions.from_oldest()), told) == ([creating.result()], ["started s"])


async def test_a_session_that_could_not_be_stored_was_never_there() -> None:
    stage = Stage(max_sessions=1)
    told: list[str] = []
    stage.sessions.on_change = lambda operation, session: told.append(operation)
    creating = asyncio.ensure_future(stage.sessions.create_session("s", {"text": "x" * 10_000}))
    await turns()
    assert stage.hub.memory.used > 10_000
    stage.held.fail()
    with pytest.raises(StoreError):
        await creating
    assert (told, stage.hub.memory.used) == ([], 0)
    with pytest.raises(SessionNotFoundError):
        stage.sessions.find("s")
    assert (await stage.session()).id == "s"


async def test_who_opens_a_session_that_is_being_stored_waits_for_it() -> None:
    stage = Stage()
    first, second = (asyncio.ensure_future(stage.initialize()) for _ in range(2))
    third = asyncio.ensure_future(stage.sessions.create_session("s"))
    await turns()
    assert (stage.held.waiting, first.done(), second.done(), third.done()) == (["create_session"], False, False, False)
    stage.held.store()
    assert [(await soon(each)).resumed for each in (first, second)] == [False, True]
    with pytest.raises(AlreadyExistsError):
        await soon(third)


async def test_who_waited_for_a_session_that_could_not_be_stored_creates_it() -> None:
    stage = Stage()
    first, second = (asyncio.ensure_future(stage.initialize()) for _ in range(2))
    await turns()
    stage.held.fail()
    assert (await soon(first)).error.type == "WorkerUnavailable"
    await turns()
    stage.held.store()
    assert (await soon(second)).success
    assert not second.result().resumed


async def test_a_session_lasts_until_its_end_is_stored() -> None:
    stage = Stage()
    session = await stage.session()
    variables = stage.sessions.variables("s")
    told: list[str] = []
    stage.sessions.on_change = lambda operation, _: told.append(operation)
    watch = asyncio.ensure_future(anext(variables.watch()))
    ending = asyncio.ensure_future(stage.clean_up())
    await turns()
    assert (stage.held.waiting, ending.done(), watch.done(), told, session.ended) == (
        ["end_session"],
        False,
        False,
        [],
        None,
    )
    # It is listed still, and takes nothing that would come after its end.
    assert (stage.sessions.sessions(), len(stage.sessions), list(stage.sessions.from_oldest())) == (
        [session],
        1,
        [session],
    )
    assert stage.sessions.peek("s") is session
    assert await stage.is_valid()
    for refuses in (stage.sessions.find, stage.sessions.variables, stage.hub.admission.require_session):
        with pytest.raises(SessionExpiredError, match="is being removed"):
            refuses("s")
    assert stage.sessions.find_open("s") is None
    stage.held.store()
    assert (await soon(ending)).success
    with pytest.raises(SessionExpiredError, match="it was removed"):
        await soon(watch)
    with pytest.raises(SessionExpiredError, match="it was removed"):
        stage.sessions.peek("s")
    assert (told, stage.sessions.sessions(), await stage.is_valid()) == (["ended"], [], False)


@pytest.mark.parametrize("force", [True, False])
async def test_a_session_whose_end_could_not_be_stored_goes_on(force: bool) -> None:
    stage = Stage()
    session = await stage.session()
    watch = asyncio.ensure_future(anext(stage.sessions.variables("s").watch()))
    ending, second = (asyncio.ensure_future(stage.clean_up(force=force)) for _ in range(2))
    await turns()
    assert stage.held.waiting == ["end_session"]
    stage.held.fail()
    failed = await soon(ending)
    assert (failed.success, failed.error.type, failed.error.retryable) == (False, "WorkerUnavailable", True)
    # Who waited tries for himself.
    await turns()
    assert stage.held.waiting == ["end_session"]
    stage.held.fail()
    assert not (await soon(second)).success
    assert stage.sessions.find("s") is session
    assert (session.ended, session.closing, watch.done()) == (None, 0, False)
    assert list(stage.sessions.from_oldest()) == [session]
    await stage.stored(stage.sessions.set_variable("s", "x", 1))
    assert (await soon(watch)).value == serialize_value(1)
    assert (await stage.stored(stage.clean_up(force=force))).success


async def test_who_opens_a_session_that_is_being_removed_gets_a_new_one_or_the_old_one_if_it_goes_on() -> None:
    stage = Stage()
    for lives_on in (True, False):
        old = await stage.session() if lives_on else stage.sessions.find("s")
        ending = asyncio.ensure_future(stage.clean_up())
        await turns()
        opening = asyncio.ensure_future(stage.initialize())
        await turns()
        assert stage.held.waiting == ["end_session"]
        if lives_on:
            stage.held.fail()
        response = await stage.stored(opening)
        assert response.success
        assert response.resumed is lives_on
        assert (stage.sessions.find("s") is old) is lives_on
        await soon(ending)


async def test_an_idle_session_whose_end_could_not_be_stored_is_left_for_its_idle_time() -> None:
    stage = Stage(session_idle_timeout=60.0)
    session: Any = await stage.session()
    session.last_activity -= 100
    assert stage.sessions.expire_idle() == 1
    assert stage.sessions.expire_idle() == 0
    stage.held.fail()
    assert stage.sessions.sessions() == [session]
    assert stage.sessions.expire_idle() == 0
    session.last_activity -= 100
    assert stage.sessions.expire_idle() == 1
    await stage.stored(stage.sessions.settle("s"))
    with pytest.raises(SessionExpiredError, match="it was idle"):
        stage.sessions.find("s")


async def test_a_call_of_a_session_that_is_being_removed_runs_until_that_is_stored() -> None:
    started = asyncio.Event()

    async def wait() -> None:
        started.set()
        await asyncio.get_running_loop().create_future()

    stage = Stage(wait)
    await stage.session()
    request = pb.ToolCallRequest(session_id="s", tool_id="wait", idempotency_key="k")
    call = asyncio.ensure_future(stage.hub.execute_tool(request))
    await turns()
    stage.held.store()
    await soon(started.wait())
    ending = asyncio.ensure_future(stage.clean_up())
    await turns()
    assert not call.done()
    refused = await soon(stage.hub.execute_tool(request))
    assert refused.error.type == "SessionExpired"
    stage.held.store()
    assert (await soon(ending)).success
    assert (await soon(call)).error.type == "Cancelled"
    # With its session, the store has forgotten its key.
    assert stage.held.waiting == []


async def test_drain_and_close_wait_for_what_is_on_its_way() -> None:
    started = asyncio.Event()

    async def wait() -> None:
        started.set()
        await asyncio.get_running_loop().create_future()

    stage = Stage(wait)
    await stage.session()
    await stage.hub.start()
    calls = [
        asyncio.ensure_future(
            stage.hub.execute_tool(pb.ToolCallRequest(session_id="s", tool_id="wait", idempotency_key=key))
        )
        for key in ("runs", "begins")
    ]
    await turns()
    stage.held.store(1)
    await soon(started.wait())
    setting = asyncio.ensure_future(stage.sessions.set_variable("s", "x", 1))
    await turns()
    calls[1].cancel()
    await stage.hub.drain(0)
    closing = asyncio.ensure_future(stage.hub.aclose())
    await turns()
    assert not stage.held.closed
    stage.held.store(1)
    await soon(closing)
    await soon(setting)
    assert (await soon(calls[0])).error.type == "Cancelled"
    # Both keys are free: neither call has had its effect as far as its caller knows, who was told.
    assert stage.held.done.count("free_call") == 2


@pytest.mark.parametrize("is_stored", [True, False])
async def test_who_comes_back_while_a_session_is_removed_is_told_what_became_of_it(is_stored: bool) -> None:
    # A client that is told that it is there opens it, and so would begin it anew.
    stage = Stage()
    await stage.session()
    ending = asyncio.ensure_future(stage.clean_up())
    await turns()
    asked = asyncio.ensure_future(stage.hub.get_session_info(pb.GetSessionInfoRequest(session_id="s")))
    await turns()
    assert not asked.done()
    if is_stored:
        stage.held.store()
        with pytest.raises(SessionExpiredError):
            await soon(asked)
    else:
        stage.held.fail()
        assert (await soon(asked)).session_id == "s"
    assert (await soon(ending)).success is is_stored
