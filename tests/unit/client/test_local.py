"""Calls of a hub in the same process."""

import pytest

from grpc_tool_bridge.client.local import LocalTransport
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.errors import UnimplementedError
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.methods import METHODS
from grpc_tool_bridge.rpc.session_defaults import read_defaults


async def test_a_hub_in_the_process_is_called_under_the_stubs_names() -> None:
    hub = Hub()
    transport = LocalTransport(hub)
    assert transport.where == "this process"
    response = await transport.stub.InitializeSession(pb.InitializeSessionRequest(session_id="s"))
    assert response.success
    await transport.close()
    assert (await transport.stub.Heartbeat(pb.HeartbeatRequest(session_id="s"))).session_valid


async def test_whoever_opens_a_session_in_the_process_is_told_its_facts() -> None:
    call = LocalTransport(Hub()).stub.InitializeSession(pb.InitializeSessionRequest(session_id="s"))
    assert await call.trailing_metadata() == ()
    await call
    assert read_defaults(await call.trailing_metadata())["idle-timeout"] == 300


class NoHub:
    """Offers no method at all."""

    def session_defaults(self, session_id: str) -> dict[str, int]:
        return {}


def test_what_a_hub_does_not_offer_is_named() -> None:
    stub = LocalTransport(NoHub()).stub
    for name in METHODS:
        with pytest.raises(UnimplementedError, match=f"this hub does not offer {name}"):
            getattr(stub, name)
    with pytest.raises(AttributeError, match="Nothing"):
        stub.Nothing  # noqa: B018 - reading it is the test
