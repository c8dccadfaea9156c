"""Who may connect: tokens, TLS, and where a hub listens."""

import asyncio
import logging
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc

from grpc_tool_bridge import (
    AccessError,
    BridgeServer,
    GRPCToolBridge,
    Settings,
    ToolBridgeError,
    ToolCommunicationError,
    ToolExecutionError,
    ToolWorker,
    ValidationError,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolCallRequest
from grpc_tool_bridge.proto.dspex_bridge_pb2_grpc import SnakepitBridgeStub
from grpc_tool_bridge.transport.addresses import join_address
from grpc_tool_bridge.transport.channel import Connection
from integration.connections import RemoteBridge

TOKEN = "open-sesame-4711"


def add(a: int, b: int) -> int:
    return a + b


@pytest.fixture
def certificates(tmp_path: Path) -> dict[str, Path]:
    """PEM files of an authority and of a hub at 127.0.0.1."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost")
    files = {name: tmp_path / f"{name}.pem" for name in ("ca", "cert", "key")}
    authority.cert_pem.write_to_path(str(files["ca"]))
    for blob in issued.cert_chain_pems:
        blob.write_to_path(str(files["cert"]), append=True)
    issued.private_key_pem.write_to_path(str(files["key"]))
    return files


def _settings(**settings: Any) -> Settings:
    return Settings(shutdown_grace=0, **settings)


async def _open_and_fail(bridge: GRPCToolBridge) -> None:
    await bridge.initialize()
    await bridge.tools["add"](1, "x")


async def test_the_right_token_lets_every_kind_of_call_in(remote_bridge: RemoteBridge) -> None:
    async with (
        BridgeServer(tools=[add], settings=_settings(token=TOKEN)) as server,
        remote_bridge(server.address, token=TOKEN) as bridge,
    ):
        await bridge.initialize()
        assert await bridge.tools["add"](1, 2) == 3
        assert [value async for value in bridge.tools["add"].stream(1, 2)] == [3]
        await bridge.session_context.set_variable("x", 1)
        assert (await anext(bridge.session_context.watch_variables("x"))).value == 1


@pytest.mark.parametrize(
    ("token", "text"), [(None, "requires a token"), ("wrong", "token is wrong"), (TOKEN + "x", "token is wrong")]
)
async def test_a_missing_or_wrong_token_is_refused_with_a_clear_error(
    remote_bridge: RemoteBridge, token: str | None, text: str
) -> None:
    async with BridgeServer(tools=[add], settings=_settings(token=TOKEN)) as server:
        async with remote_bridge(server.address, token=token) as bridge:
            with pytest.raises(AccessError) as caught:
                await bridge.initialize()
            assert caught.value.error_type == "Unauthenticated"
            assert text in caught.value.message
            assert not caught.value.retryable
            bridge.client.session_id = "guess"
            with pytest.raises(ToolExecutionError) as calling:
                await bridge.call_tool("add", 1, 2)
            assert calling.value.error_type == "Unauthenticated"
            with pytest.raises(AccessError):
                await anext(bridge.session_context.watch_variables("x"))
        assert len(server.hub.store) == 0


async def test_a_token_without_the_word_bearer_is_refused() -> None:
    async with (
        BridgeServer(tools=[add], settings=_settings(token=TOKEN)) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await SnakepitBridgeStub(channel).ExecuteTool(  # type: ignore[misc]  # the stub's types are the sync ones
                ToolCallRequest(), metadata=(("authorization", TOKEN),)
            )
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_token_is_read_from_a_file_at_both_ends(remote_bridge: RemoteBridge, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    async with (
        BridgeServer(tools=[add], settings=_settings(token_file=file)) as server,
        remote_bridge(server.address, token_file=file) as bridge,
    ):
        await bridge.initialize()
        assert await bridge.tools["add"](1, 2) == 3


@pytest.mark.parametrize("token", ["", "two words", "ümlaut"])
async def test_a_token_that_no_header_can_carry_is_refused_without_showing_it(
    remote_bridge: RemoteBridge, token: str
) -> None:
    with pytest.raises(ValueError, match="printable ASCII") as caught:
        remote_bridge("127.0.0.1:1", token=token)
    assert not token or token not in str(caught.value)


async def test_health_is_open_without_a_token() -> None:
    async with (
        BridgeServer(settings=_settings(token=TOKEN)) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        stub = health_pb2_grpc.HealthStub(channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest())
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_a_token_is_in_no_log_and_no_text(remote_bridge: RemoteBridge, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    settings = _settings(token=TOKEN)
    async with BridgeServer(tools=[add], settings=settings) as server:
        for token in (TOKEN, "another-secret-42"):
            async with remote_bridge(server.address, token=token) as bridge:
                with pytest.raises(ToolBridgeError) as caught:
                    await _open_and_fail(bridge)
                error = caught.value
                assert token not in f"{error!r} {error} {error.details}"
                assert token not in repr(bridge) + repr(bridge.client)
    assert TOKEN not in repr(settings) + str(settings)
    assert TOKEN not in caplog.text
    assert "another-secret-42" not in caplog.text


async def test_tls_by_certificate_files_carries_calls(
    remote_bridge: RemoteBridge, certificates: dict[str, Path]
) -> None:
    settings = _settings(tls_cert=certificates["cert"], tls_key=certificates["key"], token=TOKEN)
    async with (
        BridgeServer(tools=[add], settings=settings) as server,
        remote_bridge(server.address, tls_ca=certificates["ca"], token=TOKEN) as bridge,
    ):
        await bridge.initialize()
        assert await bridge.tools["add"](1, 2) == 3


async def test_a_hub_that_the_authority_does_not_know_is_not_trusted(
    remote_bridge: RemoteBridge, certificates: dict[str, Path]
) -> None:
    other = certificates["ca"].with_name("other.pem")
    trustme.CA().cert_pem.write_to_path(str(other))
    settings = _settings(tls_cert=certificates["cert"], tls_key=certificates["key"])
    async with (
        BridgeServer(tools=[add], settings=settings) as server,
        remote_bridge(server.address, tls_ca=other) as bridge,
    ):
        with pytest.raises(ToolCommunicationError):
            await bridge.initialize(connect_timeout=0.01)


async def test_a_client_without_tls_gets_no_answer_from_a_hub_with_it(
    remote_bridge: RemoteBridge, certificates: dict[str, Path]
) -> None:
    settings = _settings(tls_cert=certificates["cert"], tls_key=certificates["key"])
    async with (
        BridgeServer(tools=[add], settings=settings) as server,
        remote_bridge(server.address) as bridge,
    ):
        with pytest.raises(ToolCommunicationError) as caught:
            await bridge.initialize(connect_timeout=0.01)
        assert server.address in str(caught.value)


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0"])
@pytest.mark.parametrize(
    ("given", "missing"),
    [((), ("TLS", "token")), (("tls",), ("token",)), (("token",), ("TLS",))],
)
async def test_a_hub_beyond_loopback_without_tls_and_token_refuses_to_start(
    certificates: dict[str, Path], address: str, given: tuple[str, ...], missing: tuple[str, ...]
) -> None:
    settings: dict[str, Any] = {"token": TOKEN} if "token" in given else {}
    if "tls" in given:
        settings |= {"tls_cert": certificates["cert"], "tls_key": certificates["key"]}
    server = BridgeServer(address, settings=_settings(**settings))
    with pytest.raises(ValidationError) as caught:
        await server.start()
    for text in (address, "allow_insecure", *missing):
        assert text in caught.value.message
    await server.stop()


async def test_allow_insecure_lets_a_hub_listen_and_the_log_warns(
    remote_bridge: RemoteBridge, caplog: pytest.LogCaptureFixture
) -> None:
    async with BridgeServer("0.0.0.0:0", tools=[add], settings=_settings(allow_insecure=True)) as server:
        port = server.address.rpartition(":")[2]
        async with remote_bridge(f"127.0.0.1:{port}") as bridge:
            await bridge.initialize()
            assert await bridge.tools["add"](1, 2) == 3
    assert "without TLS and a token" in caplog.text


async def test_a_hub_beyond_loopback_with_tls_and_token_starts(certificates: dict[str, Path]) -> None:
    settings = _settings(tls_cert=certificates["cert"], tls_key=certificates["key"], token=TOKEN)
    async with BridgeServer("0.0.0.0:0", settings=settings) as server:
        assert not server.address.endswith(":0")


async def test_a_missing_certificate_file_is_named(tmp_path: Path) -> None:
    settings = _settings(tls_cert=tmp_path / "no.pem", tls_key=tmp_path / "no.key")
    server = BridgeServer(settings=settings)
    with pytest.raises(OSError, match=r"no\.(key|pem)"):
        await server.start()
    await server.stop()


async def test_files_that_hold_no_certificate_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("no certificate")
    (tmp_path / "key.pem").write_text("no key")
    server = BridgeServer(settings=_settings(tls_cert=tmp_path / "cert.pem", tls_key=tmp_path / "key.pem"))
    with pytest.raises((OSError, ValueError)) as caught:
        await server.start()
    assert "in use" not in str(caught.value)
    await server.stop()


# ------------------------------------------------------------------------------------------- a token without TLS


def _make_bridge(address: str, **options: Any) -> Any:
    return GRPCToolBridge(address, **options)


def _make_worker(address: str, **options: Any) -> Any:
    return ToolWorker(address, [add], **options)


ELSEWHERE = [
    "hub:1",
    "10.0.0.1:1",
    "0.0.0.0:1",
    "[::]:1",
    "localhost.example:1",
    "dns:///hub:1",
    "ipv4:1.2.3.4:1",
    "xds:hub",
]


@pytest.mark.parametrize("make", [_make_bridge, _make_worker])
@pytest.mark.parametrize("address", ELSEWHERE)
def test_a_token_is_not_sent_to_another_machine_without_tls(make: Callable[..., Any], address: str) -> None:
    with pytest.raises(ValidationError, match=r"the token would be sent to .* without TLS") as caught:
        make(address, token=TOKEN)
    assert TOKEN not in f"{caught.value} {caught.value!r}"
    assert address in str(caught.value)


@pytest.mark.parametrize("make", [_make_bridge, _make_worker])
def test_a_token_is_sent_by_tls_or_within_this_machine_or_where_that_is_said(make: Callable[..., Any]) -> None:
    for address in ("127.0.0.1:1", "[::1]:1", "LOCALHOST:1", "unix:/run/hub", "unix-abstract:hub", "dns:localhost:1"):
        make(address, token=TOKEN)
    for address in ELSEWHERE:
        make(address, token=TOKEN, tls=True)
        make(address, token=TOKEN, tls_ca=Path("ca.pem"))
        make(address, token=TOKEN, allow_insecure=True)
        make(address)


def test_a_worker_takes_the_word_of_its_settings() -> None:
    ToolWorker("hub:1", [add], token=TOKEN, settings=_settings(allow_insecure=True))


async def test_a_token_that_is_refused_reaches_nobody(remote_bridge: RemoteBridge) -> None:
    async with BridgeServer(settings=_settings(token=TOKEN)) as server:
        # The same hub by an address that may be another machine's.
        address = server.address.replace("127.0.0.1", "0.0.0.0")
        with pytest.raises(ValidationError, match="without TLS"):
            remote_bridge(address, token=TOKEN)
        async with remote_bridge(address, token=TOKEN, allow_insecure=True) as bridge:
            await bridge.initialize()


def test_no_object_shows_its_token_when_it_is_printed() -> None:
    made = [
        Connection(address="hub:1", token=TOKEN, tls=True, proxy=f"http://ann:{TOKEN}@proxy:1"),
        GRPCToolBridge("localhost:1", token=TOKEN),
        ToolWorker("localhost:1", [add], token=TOKEN),
        _settings(token=TOKEN),
    ]
    for item in made:
        assert TOKEN not in f"{item!r} {item} {getattr(item, '__dict__', '')}"


@pytest.mark.parametrize("token", [TOKEN.encode(), [TOKEN], {"token": TOKEN}, TOKEN + " x", TOKEN + "\n"])
def test_a_token_that_cannot_be_is_refused_without_showing_it(token: Any) -> None:
    with pytest.raises(ValueError, match="token") as caught:
        GRPCToolBridge("localhost:1", token=token)
    assert TOKEN not in f"{caught.value} {caught.value!r}"


@pytest.fixture
def open_key(certificates: dict[str, Path]) -> Iterator[Path]:
    """The hub's key, readable by all, in a folder that all may enter."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        key = Path(shutil.copy(certificates["key"], folder))
        key.chmod(0o644)
        yield key


async def test_a_hub_serves_no_key_that_every_user_can_read(certificates: dict[str, Path], open_key: Path) -> None:
    settings = _settings(tls_cert=certificates["cert"], tls_key=open_key)
    with pytest.raises(ValidationError, match=f"tls_key {open_key}: every user of this machine can read it; chmod 600"):
        await BridgeServer(settings=settings).start()
    await asyncio.to_thread(open_key.chmod, 0o600)
    async with BridgeServer(settings=settings):
        pass


async def test_a_socket_in_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=f"there is no folder {tmp_path}/none"):
        await BridgeServer(f"unix:{tmp_path}/none/hub.sock").start()


async def test_localhost_is_found_whichever_of_its_addresses_the_hub_listens_at(remote_bridge: RemoteBridge) -> None:
    for address in {str(item[4][0]) for item in socket.getaddrinfo("localhost", None)}:
        async with (
            BridgeServer(join_address(address, 0), tools=[add]) as server,
            remote_bridge("localhost:" + server.address.rpartition(":")[2]) as bridge,
        ):
            await bridge.initialize()
            assert await bridge.tools["add"](1, 2) == 3
