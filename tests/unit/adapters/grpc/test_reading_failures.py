"""Why a service could not be read."""

from typing import Any

import grpc
import grpc.aio
import pytest

from grpc_tool_bridge.adapters.grpc.bounds import Bounds
from grpc_tool_bridge.adapters.grpc.reading_failures import probe, reading_failure
from grpc_tool_bridge.errors import ProtocolError, UnavailableError, ValidationError
from support.grpc_services.serving import serving
from support.waiting import soon

Code = grpc.StatusCode
REFUSED = "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Connection refused"
BAD_CERTIFICATE = (
    "failed to connect to all addresses; last error: UNKNOWN: Ssl handshake failed: CERTIFICATE_VERIFY_FAILED"
)


def status(code: grpc.StatusCode, said: str = "") -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), said)


@pytest.mark.parametrize(
    ("error", "connected", "text", "is_away", "is_final"),
    [
        (status(Code.UNAVAILABLE, REFUSED), False, "ipv4:127.0.0.1:1: Connection refused", True, False),
        (status(Code.UNAVAILABLE), True, "the connection was lost", True, False),
        (status(Code.UNAVAILABLE, BAD_CERTIFICATE), False, "CERTIFICATE_VERIFY_FAILED", True, True),
        (status(Code.UNAUTHENTICATED, "who?"), True, "UNAUTHENTICATED: who?; give it a token as metadata", False, True),
        (status(Code.RESOURCE_EXHAUSTED, "big"), True, "raise max_message_bytes", False, True),
        (status(Code.INTERNAL, "a\nb"), True, "it answers INTERNAL: a b", False, True),
        (status(Code.DEADLINE_EXCEEDED), False, "no connection within 20 s", True, False),
        (status(Code.DEADLINE_EXCEEDED), True, "it did not describe itself within 20 s", False, True),
        (TimeoutError(), False, "no connection within 20 s", True, False),
        (TimeoutError(), True, "it did not describe itself within 20 s", False, True),
        (ProtocolError("it lies"), True, "it lies", False, True),
        (RuntimeError("odd"), True, "RuntimeError: odd", False, True),
    ],
)
def test_each_failure_says_why_and_whether_it_passes(
    error: Exception, connected: bool, text: str, is_away: bool, is_final: bool
) -> None:
    failure = reading_failure(error, Bounds(), is_connected=connected)
    assert text in failure.text
    assert (failure.is_away, failure.is_final) == (is_away, is_final)


def test_the_error_names_the_service() -> None:
    wrong = reading_failure(ValidationError("no such file"), Bounds(), is_connected=False).error_of("w")
    assert isinstance(wrong, ValidationError)
    assert wrong.message == "gRPC service w: no such file"
    other = reading_failure(ProtocolError("it lies"), Bounds(), is_connected=False).error_of("w")
    assert isinstance(other, UnavailableError)


async def test_a_probe_is_content_with_any_answer(unused_tcp_port: int) -> None:
    async with serving() as address, grpc.aio.insecure_channel(address) as channel:
        await soon(probe(channel, Bounds()))
    absent: Any = grpc.aio.insecure_channel(f"127.0.0.1:{unused_tcp_port}")
    async with absent as channel:
        with pytest.raises(grpc.aio.AioRpcError):
            await soon(probe(channel, Bounds()))
