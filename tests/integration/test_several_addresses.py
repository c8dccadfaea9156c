"""Clients and workers with several addresses: what becomes of sessions, calls, watches and tools as a hub goes."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from grpc_tool_bridge import (
    BridgeServer,
    GRPCToolBridge,
    Settings,
    ToolBridgeClient,
    ToolBridgeError,
    ToolCommunicationError,
    ToolWorker,
    VariableChange,
)
from grpc_tool_bridge.errors import AccessError, SessionNotFoundError, ToolExecutionError, ValidationError
from grpc_tool_bridge.transport import channel
from integration.connections import read
from support.waiting import soon, until

HUB = Path(__file__).parent.parent / "e2e" / "hub_process.py"

# Nobody listens at either.
NOBODY, NOBODY_ELSE = "127.0.0.1:1", "127.0.0.1:2"


class Gate:
    """A tool that waits."""

    def __init__(self) -> None:
        self.started = 0
        self.go_on = asyncio.Event()

    async def work(self) -> str:
        self.started += 1
        await self.go_on.wait()
        return "done"


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def hub(stack: AsyncExitStack, name: str, *tools: Any, **settings: Any) -> BridgeServer:
    """Starts a hub whose tool ``who`` says its name."""

    def who() -> str:
        return name

    made = Settings(**{"shutdown_grace": 5.0, **settings})
    server = BridgeServer(tools=[who, *tools], address="127.0.0.1:0", settings=made)
    return await stack.enter_async_context(server)


async def opened(stack: AsyncExitStack, *addresses: str, **options: Any) -> GRPCToolBridge:
    bridge = GRPCToolBridge(",".join(addresses), **options)
    stack.push_async_callback(bridge.close)
    await soon(bridge.initialize())
    return bridge


async def served_by(bridge: GRPCToolBridge, name: str) -> None:
    """Waits until calls are answered by a hub; those that fail as the other one goes are made again."""

    async def look() -> None:
        while True:
            with contextlib.suppress(ToolBridgeError):
                if await bridge.tools["who"]() == name:
                    return
            await asyncio.sleep(0.01)

    await soon(look())


# ------------------------------------------------------------------------------------------------- which hub is used


@pytest.mark.parametrize("transport", ["link", "socket", "rpc"])
async def test_the_first_that_answers_is_used_in_the_order_given(stack: AsyncExitStack, transport: Any) -> None:
    first, second = await hub(stack, "first"), await hub(stack, "second")
    bridge = await opened(stack, NOBODY, first.address, second.address, transport=transport)
    assert await bridge.tools["who"]() == "first"
    assert repr(bridge).startswith(f"<GRPCToolBridge at {first.address}, session ")
    assert bridge.client.where == first.address
    if transport != "rpc":
        assert bridge.client.linked_over == f"a local socket, to {first.address}"


async def test_links_over_tcp_and_grpc_are_taken_too(stack: AsyncExitStack) -> None:
    over_grpc = await hub(stack, "over gRPC", local_socket=False)
    over_tcp = await hub(stack, "over TCP", link_address="127.0.0.1:0")
    bridge = await opened(stack, NOBODY, over_grpc.address)
    assert str(bridge.client.linked_over).startswith("gRPC, because ")
    addresses = {"link_address": f"{NOBODY},{over_tcp.link_address}", "transport": "socket"}
    bridge = await opened(stack, NOBODY, over_tcp.address, **addresses)
    assert bridge.client.linked_over == f"TCP, to {over_tcp.address}"


async def test_a_client_with_several_addresses_makes_plain_rpcs(stack: AsyncExitStack) -> None:
    server = await hub(stack, "it")
    client = ToolBridgeClient(f"{NOBODY},{server.address}")
    stack.push_async_callback(client.close)
    assert await client.health_check()
    await client.initialize_session()
    assert await client.call_tool("who") == "it"


def test_a_blocking_bridge_takes_several_addresses_too() -> None:
    with GRPCToolBridge(f"{NOBODY},{NOBODY_ELSE}").sync as bridge, pytest.raises(ToolCommunicationError):
        bridge.initialize(connect_timeout=0)


# ---------------------------------------------------------------------------------------------------- as a hub goes


async def test_as_a_hub_stops_new_calls_go_to_the_next_and_old_ones_finish(stack: AsyncExitStack) -> None:
    gate = Gate()
    first, second = await hub(stack, "first", gate.work), await hub(stack, "second", gate.work)
    renewed = asyncio.Event()
    bridge = await opened(stack, first.address, second.address, on_session_renewed=renewed.set)
    session_id = bridge.session_id
    old = asyncio.create_task(bridge.tools["work"]())
    await until(lambda: gate.started)
    closing = asyncio.create_task(first.stop())
    await served_by(bridge, "second")
    assert renewed.is_set()
    assert (bridge.session_id, bridge.client.where) == (session_id, second.address)
    gate.go_on.set()
    assert await soon(old) == "done"
    await soon(closing)


async def test_a_call_that_waits_as_every_hub_is_gone_goes_to_the_first_that_comes(stack: AsyncExitStack) -> None:
    first, second = await hub(stack, "first"), await hub(stack, "second")
    bridge = await opened(stack, first.address, second.address)
    await first.stop()
    await second.stop()
    await until(lambda: not bridge.client.is_linked)
    assert bridge.client.where == f"{first.address}, {second.address}"
    call = asyncio.create_task(bridge.client.health_check())
    back = BridgeServer(address=second.address)
    await stack.enter_async_context(back)
    assert await soon(call)
    assert bridge.client.where == second.address


@pytest.mark.parametrize("transport", ["link", "rpc"])
async def test_a_hub_that_cannot_serve_is_passed_over_as_a_session_is_opened(
    stack: AsyncExitStack, transport: Any
) -> None:
    first, second = await hub(stack, "first"), await hub(stack, "second")
    # It still takes links, and answers UNAVAILABLE.
    first.hub.admission.draining = True
    bridge = await opened(stack, first.address, second.address, transport=transport)
    assert await bridge.tools["who"]() == "second"


async def test_a_hub_that_cannot_serve_is_passed_over_as_a_session_is_resumed(stack: AsyncExitStack) -> None:
    first, second, third = [await hub(stack, name) for name in ("first", "second", "third")]
    bridge = await opened(stack, first.address, second.address, third.address)
    second.hub.admission.draining = True
    await first.stop()
    await served_by(bridge, "third")
    assert bridge.client.where == third.address


async def test_where_no_hub_can_resume_a_session_calls_say_why_and_go_on_once_one_can(stack: AsyncExitStack) -> None:
    first, second = await hub(stack, "first"), await hub(stack, "second")
    bridge = await opened(stack, first.address, second.address)
    second.hub.admission.draining = True
    await first.stop()
    await until(lambda: not bridge.client.is_linked)
    with pytest.raises(ToolCommunicationError) as caught:
        await bridge.tools["who"].with_options(timeout=0.5)()
    assert caught.value.retryable
    assert "the hub is shutting down" in str(caught.value) or "no answer within" in str(caught.value)
    second.hub.admission.draining = False
    await served_by(bridge, "second")


async def test_with_plain_rpcs_calls_go_to_the_next_hub_which_may_not_have_the_session(stack: AsyncExitStack) -> None:
    first, second = await hub(stack, "first"), await hub(stack, "second")
    bridge = await opened(stack, first.address, second.address, transport="rpc")
    await first.stop()
    with pytest.raises(ToolExecutionError) as caught:
        await bridge.tools["who"]()
    assert caught.value.error_type == "SessionNotFound"
    with pytest.raises(SessionNotFoundError):
        await bridge.client.session_info()
    await bridge.initialize()
    assert await bridge.tools["who"]() == "second"


async def test_a_hub_that_comes_back_elsewhere_has_the_session_and_watches_miss_nothing(
    stack: AsyncExitStack, tmp_path: Path
) -> None:
    store = f"sqlite:///{tmp_path / 'hub.db'}"
    first = await stack.enter_async_context(BridgeServer(address="127.0.0.1:0", store=store))
    # A free port, at which the hub is started again.
    probe = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    elsewhere = f"127.0.0.1:{probe.sockets[0].getsockname()[1]}"
    probe.close()
    await probe.wait_closed()
    bridge = await opened(
        stack, first.address, elsewhere, on_session_renewed=lambda: pytest.fail("it was created anew")
    )
    variables = bridge.session_context
    changes: list[VariableChange] = []
    watching = asyncio.create_task(read(variables.watch_variables("x"), changes))
    stack.callback(watching.cancel)
    for value in range(3):
        await variables.set_variable("x", value)
    await first.stop()
    await stack.enter_async_context(BridgeServer(address=elsewhere, store=store))
    for value in range(3, 6):
        await soon(variables.set_variable("x", value))
    await until(lambda: any(change.value == 5 for change in changes), "for the last change")
    assert bridge.client.where == elsewhere
    revisions = [change.revision for change in changes]
    assert revisions == sorted(set(revisions))
    # Those that were written while the watch was read.
    assert [change.value for change in changes][-3:] == [3, 4, 5]


# ----------------------------------------------------------------------------------------------------------- workers


async def test_a_worker_serves_the_first_hub_and_the_next_one_as_that_goes(
    stack: AsyncExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    def away() -> str:
        return "from the worker"

    first, second = await hub(stack, "first"), await hub(stack, "second")
    addresses = f"{NOBODY},{first.address},{second.address}"
    worker = ToolWorker(addresses, [away])
    assert worker.address == f"{NOBODY}, {first.address}, {second.address}"
    await stack.enter_async_context(worker)
    assert worker.address == first.address
    bridge = await opened(stack, first.address)
    assert await bridge.tools["away"]() == "from the worker"
    caplog.set_level(logging.INFO, "grpc_tool_bridge")
    await first.stop()
    bridge = await opened(stack, second.address)
    await until(lambda: "away" in bridge.tools)
    assert await bridge.tools["away"]() == "from the worker"
    await until(lambda: any("registered" in record.getMessage() for record in caplog.records))
    said = [record.getMessage() for record in caplog.records]
    assert any(
        text.startswith(f"the link to {first.address} was lost: ")
        and text.endswith(f"; the next hub is {second.address}")
        for text in said
    )
    assert f"the tools are registered at {second.address} again" in said


async def test_a_worker_passes_over_a_hub_that_takes_no_tools_now(stack: AsyncExitStack) -> None:
    def away() -> str:
        return "from the worker"

    first, second, third = [await hub(stack, name) for name in ("first", "second", "third")]
    second.hub.admission.draining = True
    worker = ToolWorker(f"{second.address},{first.address},{third.address}", [away], session_id="s")
    await stack.enter_async_context(worker)
    await until(lambda: worker.address == first.address)
    await first.stop()
    await until(lambda: worker.address == third.address)
    bridge = GRPCToolBridge(third.address)
    stack.push_async_callback(bridge.close)
    await bridge.initialize("s")
    await until(lambda: "away" in bridge.tools)


# ------------------------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize("transport", ["link", "rpc"])
async def test_where_nobody_answers_the_error_names_every_address_and_why(transport: Any) -> None:
    bridge = GRPCToolBridge(f"{NOBODY},{NOBODY_ELSE}", transport=transport)
    with pytest.raises(ToolCommunicationError) as caught:
        await bridge.initialize(connect_timeout=0)
    await bridge.close()
    text = caught.value.message
    assert text.startswith(f"no answer from the hub at {NOBODY}, {NOBODY_ELSE}: none of the 2 hubs serves: {NOBODY}: ")
    assert f"; {NOBODY_ELSE}: " in text
    assert text.count("Connection refused") == 2
    assert caught.value.code_name == "UNAVAILABLE"
    hint = f"Does a hub run at {NOBODY}, {NOBODY_ELSE}? grpc-tool-bridge serve --tools … starts one."
    assert caught.value.__notes__ == [hint]


async def test_a_token_that_every_hub_refuses_is_an_error_of_access(stack: AsyncExitStack) -> None:
    servers = [
        BridgeServer(address="127.0.0.1:0", settings=Settings(token=SecretStr("right-s3cr3t"))) for _ in range(2)
    ]
    for server in servers:
        await stack.enter_async_context(server)
    bridge = GRPCToolBridge(",".join(server.address for server in servers), token="wrong-s3cr3t")
    stack.push_async_callback(bridge.close)
    with pytest.raises(AccessError) as caught:
        await soon(bridge.initialize())
    assert caught.value.message.startswith(f"none of the 2 hubs serves: {servers[0].address}: ")
    assert "s3cr3t" not in str(caught.value)


def test_the_token_is_not_sent_unencrypted_to_any_of_them() -> None:
    with pytest.raises(ValidationError) as caught:
        GRPCToolBridge("127.0.0.1:1,far:2", token="t")
    assert caught.value.message.startswith("the token would be sent to far:2 without TLS")
    with pytest.raises(ValidationError):
        GRPCToolBridge("127.0.0.1:1,127.0.0.1:2", token="t", link_address="127.0.0.1:3,far:4")


def test_only_sockets_reach_hubs_that_all_have_one() -> None:
    with pytest.raises(ValidationError) as caught:
        GRPCToolBridge("127.0.0.1:1,far:2", transport="socket")
    assert caught.value.message.startswith("transport='socket' cannot reach far:2: ")


# ------------------------------------------------------------------------------------------ processes that are killed


@asynccontextmanager
async def hub_process() -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """Runs a hub as a process; gives it and its address."""
    process = await asyncio.create_subprocess_exec(sys.executable, str(HUB), stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield process, (await soon(process.stdout.readline())).decode().strip()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def test_calls_go_on_at_the_next_hub_after_kill_9(stack: AsyncExitStack) -> None:
    process, first = await stack.enter_async_context(hub_process())
    _, second = await stack.enter_async_context(hub_process())
    bridge = await opened(stack, first, second)
    answers: list[int] = []
    failures: list[ToolBridgeError] = []

    async def keep_calling() -> None:
        while bridge.client.where != second or len(answers) < 200:
            try:
                answers.append(await bridge.tools["calculate"](expression="6*7"))
            except ToolBridgeError as error:
                failures.append(error)

    calling = [asyncio.create_task(keep_calling()) for _ in range(5)]
    await until(lambda: len(answers) > 50)
    process.kill()
    await soon(asyncio.gather(*calling))
    assert set(answers) == {42}
    # Only those in flight, one for each caller.
    assert len(failures) <= len(calling)
    assert all(isinstance(error, ToolCommunicationError) and error.retryable for error in failures)


@pytest.mark.parametrize(("transport", "refuse_sockets"), [("link", False), ("link", True), ("rpc", False)])
async def test_a_hub_that_is_stopped_is_noticed_and_left(
    stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch, transport: Any, refuse_sockets: bool
) -> None:
    monkeypatch.setattr(channel, "KEEPALIVE_OF_SEVERAL", (1.0, 1.0))
    if refuse_sockets:
        monkeypatch.setattr("grpc_tool_bridge.transport.endpoints.why_no_socket", lambda _: "the test says so")
    process, first = await stack.enter_async_context(hub_process())
    _, second = await stack.enter_async_context(hub_process())
    bridge = await opened(stack, first, second, transport=transport)
    assert bridge.client.where == first
    os.kill(process.pid, signal.SIGSTOP)
    with pytest.raises(ToolCommunicationError) as caught:
        await soon(bridge.tools["calculate"](expression="6*7"))
    assert caught.value.code_name == "UNAVAILABLE"
    await soon(bridge.initialize())
    assert await soon(bridge.tools["calculate"](expression="6*7")) == 42
    assert bridge.client.where == second


async def test_an_idle_client_leaves_a_hub_that_is_stopped(
    stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "KEEPALIVE_OF_SEVERAL", (1.0, 1.0))
    process, first = await stack.enter_async_context(hub_process())
    _, second = await stack.enter_async_context(hub_process())
    bridge = await opened(stack, first, second)
    os.kill(process.pid, signal.SIGSTOP)
    await until(lambda: bridge.client.is_linked and bridge.client.where == second)


async def test_a_hub_that_is_stopped_keeps_nobody_from_the_next_one(
    stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "KEEPALIVE_OF_SEVERAL", (1.0, 0.5))
    process, first = await stack.enter_async_context(hub_process())
    _, second = await stack.enter_async_context(hub_process())
    os.kill(process.pid, signal.SIGSTOP)
    bridge = await opened(stack, first, second)
    assert bridge.client.where == second
