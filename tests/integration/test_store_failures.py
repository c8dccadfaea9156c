"""What callers are told of a store that fails, over every way in; and of a key whose outcome nobody knows."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import grpc.aio
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from grpc_tool_bridge import (
    BridgeServer,
    ConflictError,
    GRPCToolBridge,
    ResourceExhaustedError,
    Settings,
    ToolBridge,
    ToolBridgeError,
    ToolContext,
    ToolExecutionError,
    UnavailableError,
)
from grpc_tool_bridge.core.stored import StoredCall, StoredState
from grpc_tool_bridge.errors import StoreError
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from integration.connections import TRANSPORTS
from integration.mcp_clients import NEW, sdk_client
from support.held_store import HeldStore
from support.waiting import soon, until

GONE = StoreError("nothing was changed: the disk is gone")
FULL = ResourceExhaustedError("nothing was changed: the disk is full", details={"retry_after": "5"})

WAYS = [way for way in TRANSPORTS if way != "http lines"]


class Stage:
    """A hub with a store that fails when a test says so, and a bridge to it."""

    def __init__(self, way: str, stack: AsyncExitStack) -> None:
        self.store = HeldStore(is_quick=True)
        self.runs = 0
        self._way = way
        self._stack = stack
        self.server: BridgeServer
        self.bridge: ToolBridge

    async def start(self) -> None:
        settings = Settings(shutdown_grace=0, local_socket=self._way != "link")
        server = BridgeServer(
            tools=[self.work, self.remember], settings=settings, store=self.store, http_address="127.0.0.1:0"
        )
        self.server = await self._stack.enter_async_context(server)
        self.bridge = TRANSPORTS[self._way](self.server, keep_session=True)
        self._stack.push_async_callback(self.bridge.close)
        await self.bridge.initialize("s")

    async def work(self) -> int:
        """Has an effect."""
        self.runs += 1
        return self.runs

    async def remember(self, ctx: ToolContext) -> None:
        """Sets a variable."""
        await ctx.set_variable("x", 1)

    @property
    def variables(self) -> Any:
        return self.bridge.session_context


@pytest.fixture(params=WAYS)
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        stage = Stage(request.param, stack)
        await stage.start()
        yield stage


@pytest.mark.parametrize(
    ("error", "kind"), [(GONE, UnavailableError), (FULL, ResourceExhaustedError)], ids=["gone", "full"]
)
async def test_whoever_changes_something_is_told_why_it_could_not_be_stored(
    stage: Stage, error: ToolBridgeError, kind: type[ToolBridgeError]
) -> None:
    await stage.variables.set_variable("x", 1)
    stage.store.failing = error
    other = TRANSPORTS["local"](stage.server)
    for change in (
        stage.variables.set_variable("x", 2),
        stage.variables.set_variable("new", 2),
        stage.variables.delete_variable("x"),
        stage.bridge.client.cleanup_session(force=True),
        other.initialize("other"),
    ):
        with pytest.raises(kind, match="nothing was changed") as caught:
            await soon(change)
        assert caught.value.retryable
        assert caught.value.error_type == error.error_type
        assert caught.value.retry_after == error.retry_after
    with pytest.raises(ToolExecutionError, match="nothing was changed") as told:
        await soon(stage.bridge.tools["work"].with_options(idempotency_key="k")())
    assert (told.value.error_type, told.value.retryable, stage.runs) == (error.error_type, True, 0)
    # What needs no store goes on, and so does the rest once the store does.
    assert await stage.bridge.tools["work"]() == 1
    assert await stage.variables.get_variable("x") == 1
    assert [variable.name for variable in await stage.variables.list_variables()] == ["x"]
    stage.store.failing = None
    await stage.variables.set_variable("x", 3)
    assert await stage.bridge.tools["work"].with_options(idempotency_key="k")() == 2
    await stage.bridge.client.cleanup_session(force=True)
    assert "s" not in {session.id for session in stage.server.hub.store.sessions()}


async def test_a_key_whose_outcome_nobody_knows_is_a_conflict_that_says_so(stage: Stage) -> None:
    async def begin_call(session_id: str, key: str, used_for: bytes, *, again: bool) -> StoredCall | None:
        return StoredCall(used_for, None)

    stage.store.begin_call = begin_call  # type: ignore[method-assign]  # as a hub that was lost has left it
    with pytest.raises(ToolExecutionError, match="is not known; find out, then call with a new key") as caught:
        await stage.bridge.tools["work"].with_options(idempotency_key="order-17")()
    error = caught.value
    assert (error.error_type, error.retryable, error.details["outcome"]) == ("IdempotencyConflict", False, "unknown")
    assert error.details["origin"] == "bridge"
    with pytest.raises(ToolExecutionError):
        await stage.bridge.execute_with_retry(
            stage.bridge.tools["work"].with_options(idempotency_key="order-17"), max_retries=3
        )
    assert stage.runs == 0


@pytest.mark.parametrize("stage", ["http"], indirect=True)
async def test_over_http_the_status_says_what_may_be_tried_again(stage: Stage) -> None:
    headers = {"Idempotency-Key": "k"}
    async with httpx.AsyncClient(base_url=f"http://{stage.server.http_address}") as client:
        for error, status, retry_after in ((GONE, 503, "1"), (FULL, 429, "5")):
            stage.store.failing = error
            for response in (
                await client.put("/api/sessions/s/variables/x", json={"value": 1}),
                await client.post("/api/sessions", json={}),
                await client.delete("/api/sessions/s"),
            ):
                assert response.status_code == status, response.text
                assert response.json()["error"]["type"] == error.error_type
                assert response.json()["error"]["retryable"]
                assert response.headers.get("retry-after") == retry_after
            response = await client.post("/api/sessions/s/tools/work/execute", json={}, headers=headers)
            assert (response.status_code, response.json()["error"]["type"]) == (status, error.error_type)

        async def begin_call(session_id: str, key: str, used_for: bytes, *, again: bool) -> StoredCall | None:
            return StoredCall(used_for, None)

        stage.store.begin_call = begin_call  # type: ignore[method-assign]  # as a hub that was lost has left it
        response = await client.post("/api/sessions/s/tools/work/execute", json={}, headers=headers)
        assert (response.status_code, response.json()["error"]["details"]["outcome"]) == (409, "unknown")


@pytest.mark.parametrize("stage", ["local"], indirect=True)
async def test_over_mcp_a_tool_s_answer_says_it_and_the_connection_goes_on(stage: Stage) -> None:
    async with sdk_client(stage.server, NEW, "?session=s") as client:
        assert not (await soon(client.call_tool("remember"))).is_error
        stage.store.failing = GONE
        failed = await soon(client.call_tool("remember"))
        assert failed.is_error
        assert "nothing was changed: the disk is gone" in failed.content[0].text
        assert not (await soon(client.call_tool("work"))).is_error
        stage.store.failing = None
        assert not (await soon(client.call_tool("remember"))).is_error


# ----------------------------------------------------------------------- what clients hear of a hub that comes back


@pytest.fixture
async def restarts() -> AsyncIterator[Any]:
    async with AsyncExitStack() as stack:
        yield stack


async def test_a_client_hears_nothing_of_a_hub_that_comes_back_with_its_store(
    tmp_path: Any, restarts: AsyncExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> str:
        return "done"

    url, renewed = f"sqlite:///{tmp_path}/hub.db", []
    server = BridgeServer(tools=[work], store=url, settings=Settings(shutdown_grace=0))
    await server.start()
    address = server.address
    bridge = GRPCToolBridge(address, on_session_renewed=lambda: renewed.append(True))
    restarts.push_async_callback(bridge.close)
    await bridge.initialize()
    revision = await bridge.session_context.set_variable("x", 1, expected_revision=0)
    session_id = bridge.session_id
    for _ in range(2):
        await server.stop(0)
        server = await restarts.enter_async_context(
            BridgeServer(address, tools=[work], store=url, settings=Settings(shutdown_grace=0))
        )
        assert await soon(bridge.tools["work"]()) == "done"
        revision = await soon(bridge.session_context.set_variable("x", 2, expected_revision=revision))
    assert (bridge.session_id, renewed) == (session_id, [])
    assert "has restarted" not in caplog.text
    # A hub that has lost its store has lost the session, and says so.
    await server.stop(0)
    server = await restarts.enter_async_context(
        BridgeServer(address, tools=[work], store=f"sqlite:///{tmp_path}/new.db", settings=Settings(shutdown_grace=0))
    )
    with pytest.raises(ConflictError):
        await soon(bridge.session_context.set_variable("x", 3, expected_revision=revision))
    assert renewed == [True]
    assert (
        f"has restarted or is another one: session {session_id} was created again, and what it held is lost"
        in caplog.text
    )


async def test_a_client_of_a_session_that_a_backup_does_not_have_is_told_and_others_are_not(
    tmp_path: Any, restarts: AsyncExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(shutdown_grace=0)
    server = BridgeServer(store=f"sqlite:///{tmp_path}/hub.db", settings=settings)
    await server.start()
    address = server.address
    renewed: list[str] = []
    bridges = {}
    for name in ("old", "new"):
        bridges[name] = GRPCToolBridge(address, on_session_renewed=partial(renewed.append, name))
        restarts.push_async_callback(bridges[name].close)
        await bridges[name].initialize(name)
        await bridges[name].session_context.set_variable("x", name)
        if name == "old":
            await server.stop(0)
            (tmp_path / "backup.db").write_bytes((tmp_path / "hub.db").read_bytes())
            server = BridgeServer(address, store=f"sqlite:///{tmp_path}/hub.db", settings=settings)
            await server.start()
            await soon(bridges["old"].session_context.set_variable("x", "later"))
    await server.stop(0)
    await restarts.enter_async_context(
        BridgeServer(address, store=f"sqlite:///{tmp_path}/backup.db", settings=settings)
    )
    assert await soon(bridges["old"].session_context.get_variable("x")) == "old"
    assert await soon(bridges["new"].session_context.get_variable("x", "gone")) == "gone"
    await until(lambda: renewed)
    assert renewed == ["new"]
    assert "session new was created again" in caplog.text
    assert "session old" not in caplog.text


async def test_an_open_hub_has_the_state_that_its_store_gives_it() -> None:
    store = HeldStore(StoredState("kept", 10, [], {"gone": "it was idle"}), is_quick=True)
    async with BridgeServer(store=store) as server:
        assert server.hub.store.revisions.epoch == "kept"
        assert server.hub.counts()["hub.epoch"] == "kept"
    assert store.closed
    assert store.done[0] == store.done[-1] == "reserve_revisions"


@pytest.mark.parametrize("stage", ["http"], indirect=True)
async def test_a_hub_whose_store_cannot_be_written_is_not_ready_and_says_why(stage: Stage) -> None:
    hub, store = stage.server.hub, stage.store

    async def told() -> tuple[int, dict[str, str], dict[str, Any], int]:
        async with (
            httpx.AsyncClient(base_url=f"http://{stage.server.http_address}") as client,
            grpc.aio.insecure_channel(stage.server.address) as channel,
        ):
            ready, alive = await client.get("/readyz"), await client.get("/healthz")
            assert alive.status_code == 200
            checked = await hub.health_check(pb.HealthCheckRequest())
            standard = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
            return ready.status_code, ready.json(), dict(checked.dependencies), standard.status

    assert await told() == (200, {"status": "ok"}, {"store": 1}, 1)
    store.failure, store.is_failing = "the disk of the store is full; make room on it", True
    store.on_failure()
    assert await told() == (503, {"status": "not serving", "reason": store.failure}, {"store": 2}, 2)
    assert not await stage.bridge.client.health_check()
    # Calls go on meanwhile.
    assert await stage.bridge.tools["work"]() == 1
    store.failure, store.is_failing = "", False
    store.on_failure()
    assert await told() == (200, {"status": "ok"}, {"store": 1}, 1)
    # A store at its limit still takes what frees room: that is no reason to send nobody here.
    store.failure = "the store has reached its limit"
    assert (await told())[0] == 200
