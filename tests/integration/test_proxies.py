"""A hub is reached directly unless somebody named a proxy, over every way there is to it."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc.aio
import pytest
import trustme
from pydantic import SecretStr

from grpc_tool_bridge import (
    BridgeServer,
    GRPCToolBridge,
    Settings,
    ToolBridgeClient,
    ToolCommunicationError,
    ToolWorker,
)
from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.proto.dspex_bridge_pb2_grpc import SnakepitBridgeStub
from grpc_tool_bridge.testing import MockBridgeServer
from integration.connect_proxy import ConnectProxy, connect_proxy
from integration.connections import RemoteBridge
from support.waiting import soon

SECRET = "s3cr3t-w0rd"
TOKEN = "open-sesame-4711"

# Each way in which the environment sends gRPC through a proxy.
VARIABLES = ["grpc_proxy", "https_proxy", "http_proxy"]


def add(a: int, b: int) -> int:
    return a + b


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, "no_grpc_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
async def proxy() -> AsyncIterator[ConnectProxy]:
    async with connect_proxy() as made:
        yield made


@pytest.fixture
async def hub() -> AsyncIterator[BridgeServer]:
    async with BridgeServer(tools=[add], settings=Settings(shutdown_grace=0)) as server:
        yield server


async def through_the_environment(hub: BridgeServer) -> None:
    """Makes a call with a bare channel, as a check that the environment does lead to the proxy."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(hub.address, options=options) as channel:
        await SnakepitBridgeStub(channel).HealthCheck(pb.HealthCheckRequest())  # type: ignore[misc]  # sync types


@pytest.mark.parametrize("variable", [*VARIABLES, "GRPC_ADDRESS_HTTP_PROXY"])
async def test_the_environment_leads_nobody_through_a_proxy(
    remote_bridge: RemoteBridge,
    hub: BridgeServer,
    proxy: ConnectProxy,
    variable: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    named = proxy.address if variable.isupper() else f"http://{proxy.address}"
    monkeypatch.setenv(variable, named)
    monkeypatch.setenv("GRPC_ADDRESS_HTTP_PROXY_ENABLED_ADDRESSES", "127.0.0.0/8")
    await through_the_environment(hub)
    assert len(proxy.asked) == 1

    async with remote_bridge(hub.address) as bridge, ToolWorker(hub.address, [times]):
        await soon(bridge.initialize())
        await bridge.client.refresh_tools()
        assert await soon(bridge.tools["times"](6, 7)) == 42
    client = ToolBridgeClient(hub.address)
    assert await soon(client.health_check())
    await client.close()
    with MockBridgeServer() as mock:
        mock.set_response("HealthCheck", pb.HealthCheckResponse())
        stub = SnakepitBridgeStub(mock.channel())
        await stub.HealthCheck(pb.HealthCheckRequest())  # type: ignore[misc]  # sync types
    assert len(proxy.asked) == 1


def times(a: int, b: int) -> int:
    return a * b


async def test_a_wrong_proxy_in_the_environment_cuts_nobody_off(
    remote_bridge: RemoteBridge, hub: BridgeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with remote_bridge(hub.address) as bridge, ToolWorker(hub.address, [times]):
        await soon(bridge.initialize())
        assert await soon(bridge.tools["add"](1, 2)) == 3


@pytest.mark.parametrize("user", ["", "ann%40home:s3cr3t-w0rd@"])
async def test_a_proxy_that_is_named_is_gone_through_whatever_the_environment_says(
    remote_bridge: RemoteBridge, hub: BridgeServer, proxy: ConnectProxy, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    monkeypatch.setenv("grpc_proxy", "http://127.0.0.1:1")
    named = f"http://{user}{proxy.address}"
    async with remote_bridge(hub.address, proxy=named) as bridge, ToolWorker(hub.address, [times], proxy=named):
        await soon(bridge.initialize())
        assert await soon(bridge.tools["add"](1, 2)) == 3
    client = ToolBridgeClient(hub.address, proxy=named)
    assert await soon(client.health_check())
    await client.close()
    assert len(proxy.asked) == 3
    for head in proxy.asked:
        assert head.startswith(f"CONNECT {hub.address} HTTP/1.1\r\n")
        # What RFC 7617 makes of ann@home:s3cr3t-w0rd.
        assert ("Proxy-Authorization: Basic YW5uQGhvbWU6czNjcjN0LXcwcmQ=" in head) is bool(user)


async def test_env_goes_by_the_environment(
    remote_bridge: RemoteBridge, hub: BridgeServer, proxy: ConnectProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://{proxy.address}")
    async with remote_bridge(hub.address, proxy="env") as bridge:
        await soon(bridge.initialize())
    assert len(proxy.asked) == 1
    monkeypatch.setenv("no_proxy", "127.0.0.0/8")
    async with remote_bridge(hub.address, proxy="env") as bridge:
        await soon(bridge.initialize())
    assert len(proxy.asked) == 1


async def test_tls_is_between_the_client_and_the_hub_behind_the_proxy(
    remote_bridge: RemoteBridge, proxy: ConnectProxy, tmp_path: Path
) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    files = {name: tmp_path / name for name in ("ca", "cert", "key")}
    authority.cert_pem.write_to_path(str(files["ca"]))
    issued.cert_chain_pems[0].write_to_path(str(files["cert"]))
    issued.private_key_pem.write_to_path(str(files["key"]))
    files["key"].chmod(0o600)
    settings = Settings(tls_cert=files["cert"], tls_key=files["key"], token=SecretStr(TOKEN), shutdown_grace=0)
    named = f"http://{proxy.address}"
    async with BridgeServer("localhost:0", [add], settings=settings) as hub:
        async with remote_bridge(hub.address, token=TOKEN, tls_ca=files["ca"], proxy=named) as bridge:
            await soon(bridge.initialize())
            assert await soon(bridge.tools["add"](1, 2)) == 3
        assert proxy.asked[0].startswith(f"CONNECT {hub.address} ")
        # The certificate is for localhost, and is asked for by that name and no other.
        other = hub.address.replace("localhost", "127.0.0.1")
        async with remote_bridge(other, token=TOKEN, tls_ca=files["ca"], proxy=named) as bridge:
            with pytest.raises(ToolCommunicationError, match="Hostname Verification"):
                await bridge.initialize(connect_timeout=0)
    assert len(proxy.asked) == 2
    assert TOKEN not in str(proxy.asked)


async def test_a_proxy_that_refuses_is_named_without_its_password(
    remote_bridge: RemoteBridge, hub: BridgeServer, proxy: ConnectProxy, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    proxy.answer = "HTTP/1.1 407 Proxy Authentication Required"
    async with remote_bridge(hub.address, proxy=f"http://ann:{SECRET}@{proxy.address}") as bridge:
        with pytest.raises(ToolCommunicationError, match="407") as caught:
            await bridge.initialize(connect_timeout=0)
    assert f"{hub.address} (through the proxy http://***@{proxy.address})" in str(caught.value)
    assert SECRET not in f"{caught.value} {caught.value!r} {caplog.text}"


async def test_a_token_without_tls_goes_through_no_proxy_elsewhere() -> None:
    with pytest.raises(ValidationError, match=r"through the proxy http://\*\*\*@proxy:1 without TLS"):
        GRPCToolBridge("127.0.0.1:1", token=TOKEN, proxy=f"http://ann:{SECRET}@proxy:1")


async def test_a_channel_that_is_given_has_its_own_way() -> None:
    async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
        with pytest.raises(ValidationError, match="has its own connection; leave the proxy out"):
            ToolBridgeClient(channel, proxy="http://proxy:1")
