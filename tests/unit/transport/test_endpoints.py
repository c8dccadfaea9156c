"""How the way of a link is chosen: the local socket where that may be trusted, else gRPC."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, Settings, ToolWorker
from grpc_tool_bridge.errors import AccessError, ToolBridgeError, ToolCommunicationError, ValidationError
from grpc_tool_bridge.link import socket_dialer, socket_places
from grpc_tool_bridge.link.socket_places import find
from grpc_tool_bridge.transport import endpoints
from grpc_tool_bridge.transport.addresses import loopback_name
from grpc_tool_bridge.transport.channel import Connection
from grpc_tool_bridge.transport.endpoints import SocketEndpoint, endpoint_of
from grpc_tool_bridge.transport.frames import GrpcEndpoint


async def add(a: int, b: int) -> int:
    return a + b


@pytest.fixture
async def server() -> AsyncIterator[BridgeServer]:
    async with BridgeServer(tools=[add], settings=Settings(shutdown_grace=0)) as server:
        yield server


async def linked_over(address: str, **options: Any) -> str | None:
    """Opens a session and makes a call; returns what its link went over."""
    async with GRPCToolBridge(address, **options) as bridge:
        await bridge.initialize()
        assert await bridge.tools["add"](1, 2) == 3
        return bridge.client.linked_over


# ------------------------------------------------------------------------------------------------------- by argument


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"address": "hub.example.com:1"}, "belongs to a hub at a loopback host:port"),
        ({"address": "0.0.0.0:1"}, "belongs to a hub at a loopback host:port"),
        ({"address": "unix:/run/hub.sock"}, "belongs to a hub at a loopback host:port"),
        ({"address": "127.0.0.1:1", "tls": True}, "TLS was asked for, which a local socket has not"),
        ({"address": "127.0.0.1:1", "tls_ca": Path("ca.pem")}, "TLS was asked for, which a local socket has not"),
        ({"address": "127.0.0.1:1", "proxy": "http://127.0.0.1:2"}, "it is reached through a proxy"),
    ],
)
def test_a_connection_that_cannot_go_over_a_local_socket_goes_over_grpc(options: dict[str, Any], why: str) -> None:
    connection = Connection(**options)
    assert type(endpoint_of(connection)) is GrpcEndpoint
    with pytest.raises(ValidationError, match=f"transport='socket' cannot reach .*{why}"):
        endpoint_of(connection, "socket")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "localhost:1", "[::1]:1", "ipv4:127.0.0.1:1", "127.0.0.2:1"])
def test_a_loopback_address_may_have_one(address: str) -> None:
    assert type(endpoint_of(Connection(address=address))) is SocketEndpoint


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("127.0.0.1:50051", "127.0.0.1:50051"),
        ("ipv4:127.0.0.1:50051", "127.0.0.1:50051"),
        ("LocalHost:1", "localhost:1"),
        ("[0:0:0:0:0:0:0:1]:1", "[::1]:1"),
        ("ipv6:[::1]:1", "[::1]:1"),
        ("dns:localhost:1", "localhost:1"),
        ("ipv4:127.0.0.1:1,127.0.0.1:2", None),
        ("10.0.0.1:1", None),
        ("unix:/run/hub.sock", None),
        ("unix-abstract:hub", None),
        ("dns://8.8.8.8/localhost:1", None),
    ],
)
def test_both_ends_write_an_address_in_one_form(address: str, name: str | None) -> None:
    assert loopback_name(address) == name


@pytest.mark.parametrize("make", [GRPCToolBridge, ToolWorker])
def test_another_transport_is_named_in_the_error(make: Any) -> None:
    with pytest.raises(ValidationError, match=r"transport must be 'link'.*not 'pigeon'"):
        make("127.0.0.1:1", transport="pigeon")


# ------------------------------------------------------------------------------------------------------------- by hub


@pytest.mark.parametrize("transport", ["link", "socket"])
async def test_a_hub_s_local_socket_is_used(server: BridgeServer, transport: Any) -> None:
    assert await linked_over(server.address, transport=transport) == "a local socket"


async def test_a_worker_uses_it_too(server: BridgeServer) -> None:
    async def double(n: int) -> int:
        return 2 * n

    async with ToolWorker(server.address, tools=[double], transport="socket") as worker:
        assert worker._client.linked_over == "a local socket"
        async with GRPCToolBridge(server.address) as bridge:
            await bridge.initialize()
            assert await bridge.tools["double"](21) == 42


async def test_a_hub_without_one_is_reached_over_grpc_and_the_reason_is_told() -> None:
    async with BridgeServer(tools=[add], settings=Settings(local_socket=False)) as server:
        assert await linked_over(server.address) == f"gRPC, because no hub has a local socket for {server.address}"
        with pytest.raises(ToolCommunicationError, match="no link over a socket: no hub has a local socket"):
            await linked_over(server.address, transport="socket")


async def test_another_name_of_the_same_hub_has_none(server: BridgeServer) -> None:
    named = server.address.replace("127.0.0.1", "localhost")
    assert await linked_over(named) == f"gRPC, because no hub has a local socket for {named}"


@pytest.mark.parametrize("token", ["right", "wrong", None])
async def test_the_token_is_checked_as_over_grpc(token: str | None) -> None:
    errors = []
    for local in (True, False):
        async with BridgeServer(tools=[add], settings=Settings(token="right", local_socket=local)) as server:  # type: ignore[arg-type]  # pydantic makes it a secret
            try:
                over = await linked_over(server.address, token=token)
                assert token == "right"
                assert (over == "a local socket") == local
            except AccessError as error:
                errors.append((error.error_type, str(error)))
    assert len(errors) in (0, 2)
    assert len(set(errors)) <= 1
    assert bool(errors) == (token != "right")


async def test_a_socket_that_gives_no_link_keeps_nobody_from_the_hub(
    server: BridgeServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    # As if the hub behind the socket were another one.
    monkeypatch.setattr(socket_dialer, "hello_metadata", lambda token, address: {"address": "127.0.0.1:1"})
    over = await linked_over(server.address) or ""
    assert over.startswith("gRPC, because its socket gives no link: ")
    assert f"the hub at this socket is {server.address}" in over
    assert "gives no link, which goes over gRPC instead" in caplog.text
    with pytest.raises(ToolBridgeError, match="the hub at this socket is"):
        await linked_over(server.address, transport="socket")


async def test_a_socket_that_is_not_safe_is_not_used(server: BridgeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    path = find(server.address)[0]
    path.chmod(0o666)
    assert await linked_over(server.address) == f"gRPC, because others can connect to {path}; remove it"


async def test_a_hub_that_finds_no_safe_place_serves_over_grpc(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(socket_places, "folders", list)
    async with BridgeServer(tools=[add]) as server:
        assert f"there is no local socket for links to {server.address}, which go over gRPC" in caplog.text
        assert (await linked_over(server.address) or "").startswith("gRPC")


async def test_a_channel_is_opened_only_when_a_link_needs_it(
    server: BridgeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[object] = []
    monkeypatch.setattr(endpoints, "GrpcEndpoint", opened.append)
    assert await linked_over(server.address) == "a local socket"
    assert opened == []


async def test_a_link_follows_a_hub_from_one_way_to_the_other() -> None:
    over = []
    address = "127.0.0.1:0"
    for local in (True, False, True):
        async with BridgeServer(address, tools=[add], settings=Settings(local_socket=local)) as server:
            address = server.address
            over.append((await linked_over(address) or "").partition(",")[0])
    assert over == ["a local socket", "gRPC", "a local socket"]
