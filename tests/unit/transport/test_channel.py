"""Channels: addresses, who may connect, and what gRPC is set to."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
import trustme

from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.proto.dspex_bridge_pb2_grpc import SnakepitBridgeStub
from grpc_tool_bridge.rpc.methods import METHODS
from grpc_tool_bridge.transport.channel import (
    AuthorizedChannel,
    Connection,
    message_options,
    server_options,
)


@pytest.mark.parametrize(("ours", "grpcs"), [(1_000_000, 4_000_000), (1, 1024 * 1024), (2**31 - 1, 2**31 - 1)])
def test_grpcs_limit_of_a_message_is_above_the_bridges_and_within_what_grpc_takes(ours: int, grpcs: int) -> None:
    assert set(message_options(ours)) == {
        ("grpc.max_send_message_length", grpcs),
        ("grpc.max_receive_message_length", grpcs),
    }


def test_a_server_never_shares_its_port_and_probes_as_it_is_told() -> None:
    options = dict(server_options(1_000_000, 30.0, 10.0))
    assert options["grpc.so_reuseport"] == 0
    assert (options["grpc.keepalive_time_ms"], options["grpc.keepalive_timeout_ms"]) == (30_000, 10_000)
    assert options["grpc.max_receive_message_length"] == 4_000_000
    # By this name and no other does gRPC know it; the attacks show that it works.
    assert options["grpc.http2.min_ping_interval_without_data_ms"] == 100


class Recorder(grpc.aio.ServerInterceptor):
    """Remembers the metadata of each call."""

    def __init__(self) -> None:
        self.tokens: list[Any] = []

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        self.tokens.append(dict(details.invocation_metadata).get("authorization"))
        return await continuation(details)


@pytest.fixture
async def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
async def ports(recorder: Recorder, authority: trustme.CA) -> AsyncIterator[tuple[int, int]]:
    """A server that offers nothing; its plain and its TLS port."""
    server = grpc.aio.server(interceptors=[recorder])
    certificate = authority.issue_cert("localhost")
    pair = (certificate.private_key_pem.bytes(), certificate.cert_chain_pems[0].bytes())
    plain = server.add_insecure_port("localhost:0")
    secure = server.add_secure_port("localhost:0", grpc.ssl_server_credentials([pair]))
    await server.start()
    yield plain, secure
    await server.stop(0)


async def code_of(channel: grpc.aio.Channel) -> grpc.StatusCode:
    try:
        stub: Any = SnakepitBridgeStub(channel)
        await stub.Heartbeat(pb.HeartbeatRequest())
    except grpc.aio.AioRpcError as error:
        return error.code()
    raise AssertionError("the server offers nothing, and answered")


async def test_a_plain_connection_reaches_a_plain_port(ports: tuple[int, int]) -> None:
    async with Connection(address=f"localhost:{ports[0]}").open() as channel:
        assert await code_of(channel) is grpc.StatusCode.UNIMPLEMENTED


async def test_tls_trusts_the_authority_that_is_named_and_no_other(
    ports: tuple[int, int], authority: trustme.CA, tmp_path: Path
) -> None:
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    address = f"localhost:{ports[1]}"
    async with Connection(address=address, tls_ca=file).open() as channel:
        assert await code_of(channel) is grpc.StatusCode.UNIMPLEMENTED
    async with Connection(address=address, tls=True).open() as channel:
        assert await code_of(channel) is grpc.StatusCode.UNAVAILABLE


async def test_a_file_of_authorities_that_is_not_there_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Connection(address="localhost:1", tls_ca=tmp_path / "none").open()


async def test_every_call_of_every_shape_carries_the_token(ports: tuple[int, int], recorder: Recorder) -> None:
    async with Connection(address=f"localhost:{ports[0]}").open() as channel:
        authorized = AuthorizedChannel(channel, "hush")
        for make in (
            authorized.unary_unary,
            authorized.unary_stream,
            authorized.stream_unary,
            authorized.stream_stream,
        ):
            method = METHODS["Heartbeat"]
            call = make(method.path, request_serializer=bytes, response_deserializer=bytes)
            streaming = make in (authorized.stream_unary, authorized.stream_stream)
            # What is sent to a server that has refused it already fails in a way of its own.
            running = call() if streaming else call(b"")
            assert await running.code() is grpc.StatusCode.UNIMPLEMENTED
    assert recorder.tokens == ["Bearer hush"] * 4


async def test_a_call_with_metadata_of_its_own_carries_the_token_as_well(
    ports: tuple[int, int], recorder: Recorder
) -> None:
    async with Connection(address=f"localhost:{ports[0]}").open() as channel:
        call = AuthorizedChannel(channel, "hush").unary_unary(METHODS["Heartbeat"].path)
        await call(b"", metadata=(("trace", "1"),)).code()
        await call(b"", metadata=()).code()
    assert recorder.tokens == ["Bearer hush"] * 2
