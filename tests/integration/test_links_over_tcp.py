"""Links over TCP, at the address that a hub takes them at: TLS, tokens, large values, and peers that stall."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, Settings, ToolWorker
from grpc_tool_bridge.errors import AccessError, ToolCommunicationError, ValidationError
from grpc_tool_bridge.transport.addresses import split_address
from support.certificates import certificate_files
from support.patience import PATIENCE
from support.waiting import soon, until


async def echo(value: Any) -> Any:
    return value


async def count(until: int) -> AsyncIterator[str]:
    for number in range(until):
        yield str(number % 10) * 50_000


class Hub:
    """A hub that takes links over TCP, with TLS and a token or without.

    Attributes:
        server: The hub.
        files: Of its certificate.
        options: For a bridge that may use it.
    """

    def __init__(self, server: BridgeServer, files: dict[str, Path] | None) -> None:
        self.server = server
        self.files = files
        self.options: dict[str, Any] = {"link_address": server.link_address}
        if files is not None:
            self.options |= {"tls_ca": files["ca"], "token": "right"}

    def bridge(self, **options: Any) -> GRPCToolBridge:
        return GRPCToolBridge(self.server.address, **{"transport": "socket", **self.options, **options})


@pytest.fixture(params=["plain", "tls"])
async def hub(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Hub]:
    files = certificate_files(tmp_path) if request.param == "tls" else None
    settings: dict[str, Any] = {"link_address": "127.0.0.1:0", "shutdown_grace": 0}
    if files is not None:
        settings |= {"tls_cert": files["cert"], "tls_key": files["key"], "token": "right"}
    async with BridgeServer(tools=[echo, count], settings=Settings(**settings)) as server:
        yield Hub(server, files)


async def test_calls_streams_and_large_values_go_over_it(hub: Hub) -> None:
    async with hub.bridge() as bridge:
        await bridge.initialize()
        assert bridge.client.linked_over == ("TCP" if hub.files is None else "TCP with TLS")
        assert await soon(bridge.tools["echo"](1)) == 1
        large = "x" * 5_000_000
        assert await soon(bridge.tools["echo"](large)) == large
        assert await soon(asyncio.gather(*(bridge.tools["echo"](n) for n in range(500)))) == list(range(500))
        assert [value[:1] async for value in bridge.tools["count"].stream(60)] == [str(n % 10) for n in range(60)]


async def test_a_worker_serves_over_it(hub: Hub) -> None:
    async def double(n: int) -> int:
        return 2 * n

    async with (
        ToolWorker(hub.server.address, tools=[double], transport="socket", **hub.options) as worker,
        hub.bridge() as bridge,
    ):
        assert (worker._client.linked_over or "").startswith("TCP")
        await bridge.initialize()
        assert await soon(bridge.tools["double"](21)) == 42


@pytest.mark.parametrize("hub", ["tls"], indirect=True)
@pytest.mark.parametrize("token", ["wrong", None])
async def test_a_wrong_token_is_refused_as_over_grpc(hub: Hub, token: str | None) -> None:
    errors = []
    for options in ({}, {"link_address": None, "transport": "link"}):
        async with hub.bridge(token=token, **options) as bridge:
            with pytest.raises(AccessError) as raised:
                await bridge.initialize()
            errors.append((raised.value.error_type, str(raised.value)))
    assert errors[0] == errors[1]
    assert errors[0][0] == "Unauthenticated"


@pytest.mark.parametrize("hub", ["tls"], indirect=True)
async def test_a_certificate_that_is_not_trusted_is_not_used(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = certificate_files(tmp_path / "other")["ca"]
    async with hub.bridge(tls_ca=other) as bridge:
        with pytest.raises(ToolCommunicationError, match="no link over a socket: the certificate is not trusted"):
            await bridge.initialize(connect_timeout=0)


async def test_where_nobody_takes_links_they_go_over_grpc(hub: Hub) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with hub.bridge(link_address=f"127.0.0.1:{port}", transport="link") as bridge:
        await bridge.initialize()
        assert (bridge.client.linked_over or "").startswith("gRPC, because ")
        assert await soon(bridge.tools["echo"](1)) == 1


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0"])
async def test_beyond_loopback_a_hub_needs_tls_and_a_token(address: str) -> None:
    server = BridgeServer(settings=Settings(link_address=address))
    with pytest.raises(ValidationError, match=r"link_address .* can be reached from other machines, and TLS and a"):
        await server.start()


def test_a_token_is_not_sent_beyond_loopback_without_tls() -> None:
    with pytest.raises(ValidationError, match=r"the token would be sent to hub\.example\.com:1 without TLS"):
        GRPCToolBridge("127.0.0.1:1", token="t", link_address="hub.example.com:1")
    GRPCToolBridge("127.0.0.1:1", token="t", link_address="hub.example.com:1", allow_insecure=True)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"link_address": "nowhere"}, "not a valid address"),
        ({"link_address": "unix:/run/hub.sock"}, "link_address: "),
        ({"link_address": "127.0.0.1:2", "proxy": "http://127.0.0.1:3"}, "links over TCP use no proxy"),
    ],
)
def test_a_link_address_that_cannot_be_used_is_refused_at_once(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        GRPCToolBridge("127.0.0.1:1", **options)


@pytest.mark.parametrize("address", ["nowhere", "unix:/run/hub.sock"])
async def test_a_hub_says_which_of_its_addresses_is_wrong(address: str) -> None:
    with pytest.raises(ValidationError, match="address"):
        await BridgeServer(settings=Settings(link_address=address)).start()


async def test_a_link_address_in_use_leaves_nothing_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(OSError, match=f"cannot listen at link_address {where}: "):
            await BridgeServer(settings=Settings(link_address=where)).start()
    async with BridgeServer(settings=Settings(link_address=where)) as server:
        assert server.link_address == where
        with pytest.raises(OSError, match="cannot listen at 127"):
            await BridgeServer(server.address, settings=Settings(link_address="127.0.0.1:0")).start()


# ------------------------------------------------------------------------------------------------------------ stalls


@pytest.mark.parametrize("hub", ["tls"], indirect=True)
async def test_connections_that_stall_in_the_handshake_count_and_have_an_end(hub: Hub, tmp_path: Path) -> None:
    assert hub.files is not None
    settings = Settings(
        link_address="127.0.0.1:0",
        tls_cert=hub.files["cert"],
        tls_key=hub.files["key"],
        token="right",  # type: ignore[arg-type]  # pydantic makes it a secret
        max_connections=4,
        hello_timeout=0.5,
        shutdown_grace=0,
    )
    async with BridgeServer(tools=[echo], settings=settings) as server, AsyncExitStack() as stack:
        (listener,) = server._server._listeners
        where = split_address(server.link_address or "")
        silent = [stack.enter_context(socket.create_connection(where)) for _ in range(8)]
        await until(lambda: len(listener._serving) == 4)
        await until(lambda: not listener._serving)
        for one in silent:
            one.settimeout(PATIENCE)
            assert await asyncio.to_thread(_rest, one) == b""
        async with GRPCToolBridge(
            server.address, link_address=server.link_address, tls_ca=hub.files["ca"], token="right", transport="socket"
        ) as bridge:
            await bridge.initialize()
            assert await soon(bridge.tools["echo"](1)) == 1


def _rest(connected: socket.socket) -> bytes:
    try:
        return connected.recv(1)
    except ConnectionResetError:
        return b""


@pytest.mark.parametrize("hub", ["tls"], indirect=True)
async def test_a_peer_without_tls_gets_nothing(hub: Hub) -> None:
    async with hub.bridge(tls_ca=None, token=None) as bridge:
        with pytest.raises(ToolCommunicationError):
            await bridge.initialize(connect_timeout=0)
