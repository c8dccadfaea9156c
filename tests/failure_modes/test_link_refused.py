"""Hubs that take no link: for want of the right token, of trust, or because they know none."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from pydantic import SecretStr

from failure_modes.links import Connect, Gate, echo
from grpc_tool_bridge import AccessError, BridgeServer, GRPCToolBridge, Settings, ToolCommunicationError
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.link.socket_dialer import dial_local
from grpc_tool_bridge.rpc.methods import METHODS
from grpc_tool_bridge.testing import ToxicProxy
from grpc_tool_bridge.transport import endpoints
from grpc_tool_bridge.transport.channel import AuthorizedChannel
from grpc_tool_bridge.transport.servicer import service_handler
from integration.connections import read
from support.certificates import certificate_files
from support.waiting import soon, until

TOKEN = "open-sesame-4711"


async def count(upto: int) -> AsyncIterator[int]:
    for number in range(upto):
        yield number


@pytest.fixture
def dials(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The links that clients with a token dial."""
    made: list[str] = []
    dial = AuthorizedChannel.stream_stream

    def record(self: AuthorizedChannel, path: str, *args: Any, **kwargs: Any) -> Any:
        made.append(path)
        return dial(self, path, *args, **kwargs)

    async def record_local(address: str, token: str | None) -> Any:
        made.append(METHODS["Link"].path)
        return await dial_local(address, token)

    monkeypatch.setattr(AuthorizedChannel, "stream_stream", record)
    monkeypatch.setattr(endpoints, "dial_local", record_local)
    return made


# ------------------------------------------------------------------------------------------------ tokens and TLS


async def test_a_wrong_token_is_told_at_once_and_not_tried_for_ever(dials: list[str]) -> None:
    async with (
        BridgeServer(tools=[echo], settings=Settings(token=SecretStr(TOKEN), shutdown_grace=0)) as server,
        GRPCToolBridge(server.address, token="wrong") as bridge,
    ):
        for tries in (1, 2):
            with pytest.raises(AccessError, match="the token is wrong") as caught:
                await soon(bridge.initialize(connect_timeout=60))
            assert caught.value.error_type == "Unauthenticated"
            # Whoever asks again asks the hub again; nobody else does.
            assert dials == [METHODS["Link"].path] * tries
        # Calls that wait for the link are told as well, all of them by one dial.
        bridge.client.session_id = "s"
        calls = [bridge.call_tool("echo", number) for number in range(5)]
        errors = await soon(asyncio.gather(*calls, return_exceptions=True))
        assert {getattr(error, "error_type", error) for error in errors} == {"Unauthenticated"}
        assert len(dials) == 3


async def test_over_tls_and_with_a_token_a_lost_link_comes_back(tmp_path: Path, dials: list[str]) -> None:
    files = certificate_files(tmp_path)
    gate = Gate()
    settings = Settings(tls_cert=files["cert"], tls_key=files["key"], token=SecretStr(TOKEN), shutdown_grace=0)
    async with (
        BridgeServer(tools=[echo, gate.work], settings=settings) as server,
        ToxicProxy(server.address) as proxy,
        GRPCToolBridge(proxy.address, token=TOKEN, tls_ca=files["ca"]) as bridge,
    ):
        await soon(bridge.initialize())
        call = asyncio.create_task(bridge.call_tool("work"))
        await gate.running()
        proxy.cut()
        with pytest.raises(ToolCommunicationError, match="was lost"):
            await soon(call)
        assert await soon(bridge.call_tool("echo", "again")) == "again"
        assert (len(server.hub.store), proxy.accepted) == (1, 2)
        assert len(dials) >= 2
        async with GRPCToolBridge(proxy.address, token=TOKEN) as plain:
            with pytest.raises(ToolCommunicationError) as caught:
                await soon(plain.initialize(connect_timeout=0.2))
            assert caught.value.code.name == "UNAVAILABLE"


# ------------------------------------------------------------------------------------------------ hubs without links


@pytest.fixture
async def old_hub() -> AsyncIterator[tuple[Hub, str]]:
    """A hub whose servicer has every method but Link."""
    hub = Hub(Settings(), [echo, count])
    await hub.start()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((service_handler(hub),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield hub, f"127.0.0.1:{port}"
    await hub.drain(0)
    await server.stop(0)
    await hub.aclose()


async def test_a_hub_without_links_is_called_by_plain_rpcs_with_one_line_in_the_log(
    old_hub: tuple[Hub, str], caplog: pytest.LogCaptureFixture
) -> None:
    hub, address = old_hub
    caplog.set_level(logging.INFO, "grpc_tool_bridge")
    async with GRPCToolBridge(address) as bridge:
        tools = await soon(bridge.initialize())
        assert await soon(asyncio.gather(*(tools["echo"](number) for number in range(20)))) == list(range(20))
        values: list[int] = []
        await soon(read(tools["count"].stream(3), values))
        assert values == [0, 1, 2]
        await bridge.session_context.set_variable("x", 1)
        watch = bridge.session_context.watch_variables("x")
        assert (await soon(anext(watch))).value == 1
        await watch.aclose()
        assert not bridge.client.is_linked
        await until(lambda: not hub.admission.active)
    told = [record.getMessage() for record in caplog.records if record.name.startswith("grpc_tool_bridge")]
    assert told == [f"the hub at {address} does not support Link; each call is an RPC of its own"]
    assert not len(hub.store)


async def test_calls_that_came_before_the_hub_said_that_it_knows_no_links_are_made_all_the_same(
    old_hub: tuple[Hub, str],
) -> None:
    hub, address = old_hub
    async with GRPCToolBridge(address, keep_session=True) as bridge:
        session = await hub.store.create_session("s", {})
        bridge.client.session_id = session.id
        values: list[int] = []
        stream = read(bridge.client.stream_tool("count", 3), values)
        changes = bridge.session_context.watch_variables(include_initial=False)
        watch = asyncio.create_task(anext(changes))
        answers = await soon(asyncio.gather(*(bridge.call_tool("echo", n) for n in range(5)), stream))
        assert answers[:5] == list(range(5))
        assert values == [0, 1, 2]
        await until(lambda: session.watches == 1)
        await bridge.session_context.set_variable("x", 1)
        assert (await soon(watch)).value == 1
        await changes.aclose()


async def test_a_bridge_that_is_told_to_makes_plain_rpcs_where_there_are_links(over_link: Connect) -> None:
    world = await over_link(echo, options={"transport": "rpc"})
    assert await soon(world.bridge.tools["echo"](1)) == 1
    assert not world.links()
    assert not world.bridge.client.resumes
