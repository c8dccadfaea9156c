"""How a client opens its session."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from grpc_tool_bridge import (
    SessionConfig,
    ToolCommunicationError,
    ValidationError,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    ErrorInfo,
    InitializeSessionResponse,
)
from unit.client.fakes import OPENED, FakeTransport, client_of, rpc_error


async def test_a_session_is_opened_with_what_was_given() -> None:
    transport = FakeTransport(InitializeSession=OPENED)
    client = client_of(transport, session_id=None)

    assert await client.initialize_session("s", metadata={"a": "b"}, config=SessionConfig(default_timeout_ms=5)) is True

    request = transport.request("InitializeSession")
    assert (request.session_id, dict(request.metadata), request.config.default_timeout_ms) == ("s", {"a": "b"}, 5)
    assert (client.session_id, client.created_session) == ("s", True)
    assert client.tools["add"].spec.tool_id == "id-1"


async def test_an_id_is_generated_once_for_all_tries(waits: list[float]) -> None:
    lost = rpc_error(grpc.StatusCode.UNAVAILABLE)
    transport = FakeTransport(InitializeSession=[lost, lost, InitializeSessionResponse(success=True)])
    client = client_of(transport, session_id=None)

    await client.initialize_session()

    ids = {transport.request("InitializeSession", index).session_id for index in range(3)}
    assert ids == {client.session_id}
    assert len(waits) == 2


async def test_a_session_whose_first_answer_was_lost_is_its_creator_s_all_the_same(waits: list[float]) -> None:
    there = InitializeSessionResponse(success=True, resumed=True)
    transport = FakeTransport(InitializeSession=[rpc_error(grpc.StatusCode.UNAVAILABLE), there])
    client = client_of(transport, session_id=None)

    await client.initialize_session()

    assert client.created_session


async def test_the_session_that_the_hub_names_counts() -> None:
    transport = FakeTransport(InitializeSession=InitializeSessionResponse(success=True, session_id="other"))
    client = client_of(transport, session_id=None)

    await client.initialize_session("mine")

    assert client.session_id == "other"


async def test_a_hub_that_is_not_there_is_an_error_once_the_time_is_over(waits: list[float]) -> None:
    transport = FakeTransport(InitializeSession=rpc_error(grpc.StatusCode.UNAVAILABLE, "refused"))

    with pytest.raises(ToolCommunicationError, match="refused") as caught:
        await client_of(transport).initialize_session("s", connect_timeout=0)

    assert caught.value.__notes__ == [
        f"Does a hub run at {transport.where}? grpc-tool-bridge serve --tools … starts one."
    ]
    assert transport.count("InitializeSession") == 1
    assert waits == []


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.DEADLINE_EXCEEDED])
async def test_only_a_hub_that_is_not_there_is_tried_again(code: grpc.StatusCode, waits: list[float]) -> None:
    transport = FakeTransport(InitializeSession=rpc_error(code))

    with pytest.raises(ToolCommunicationError):
        await client_of(transport).initialize_session("s")

    assert transport.count("InitializeSession") == 1


async def test_a_session_that_is_refused_leaves_the_client_without_one() -> None:
    refusal = InitializeSessionResponse(error=ErrorInfo(type="ValidationError", message="a session id is …"))
    client = client_of(FakeTransport(InitializeSession=refusal), session_id=None)

    with pytest.raises(ValidationError, match="a session id"):
        await client.initialize_session("\n")

    assert client.session_id is None


async def test_the_hub_s_idle_time_sets_the_heartbeat() -> None:
    class Call:
        def __init__(self, trailer: tuple[tuple[str, str], ...] | None) -> None:
            self._trailer = trailer

        def __await__(self) -> Iterator[Any]:
            async def respond() -> InitializeSessionResponse:
                return OPENED

            return respond().__await__()

        async def trailing_metadata(self) -> tuple[tuple[str, str], ...] | None:
            return self._trailer

    async def interval(trailer: tuple[tuple[str, str], ...] | None) -> float:
        transport = FakeTransport(InitializeSession=lambda request: Call(trailer))
        client = client_of(transport)
        await client.initialize_session("s")
        return client.heartbeat_interval

    assert await interval((("other", "1"), ("tool-bridge-idle-timeout-ms", "3000"))) == 1.0
    assert await interval((("tool-bridge-idle-timeout-ms", "soon"),)) == 100.0
    assert await interval(None) == 100.0
