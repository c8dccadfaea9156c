"""The id by which a worker is called for a version of a tool."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.registered_tool import RegisteredTool
from grpc_tool_bridge.core.tool_scopes import ToolScope
from grpc_tool_bridge.core.workers.addressing import addressed, with_tool_id
from grpc_tool_bridge.core.workers.worker import Worker
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolCallRequest, ToolSpec, ToolStreamRequest
from grpc_tool_bridge.rpc.buffers import Buffers
from grpc_tool_bridge.values.serialization import serialize_value


def worker(*tools: RegisteredTool) -> Worker:
    made = Worker("w", cast("Any", SimpleNamespace(features=frozenset())))
    made.tools.update(tools)
    return made


def versions(*texts: str) -> list[RegisteredTool]:
    known = ToolScope()
    tools = [RegisteredTool(ToolSpec(name="t", tool_id="i", version=text), None, 1, Settings()) for text in texts]
    for tool in tools:
        known.add(tool)
    return tools


def called(tool: RegisteredTool, of: Worker) -> str:
    payload = ToolCallRequest(session_id="s", tool_id=tool.id).SerializeToString()
    return ToolCallRequest.FromString(bytes(addressed(tool, of, payload))).tool_id


def test_a_worker_of_one_version_is_called_by_the_id_that_it_gave() -> None:
    one, two = versions("1", "2")
    assert called(two, worker(two)) == "i"
    assert called(two.pinned, worker(two)) == "i"
    assert called(one.pinned, worker(one)) == "i"
    (alone,) = versions("1")
    assert called(alone.pinned, worker(alone)) == "i"


def test_a_worker_of_several_versions_is_told_which_one_is_meant() -> None:
    one, two = versions("1", "2")
    both = worker(one, two)
    assert [called(tool, both) for tool in (two, two.pinned, one.pinned)] == ["i@2", "i@2", "i@1"]


def test_a_request_that_says_it_already_is_not_copied() -> None:
    one, two = versions("1", "2")
    payload = ToolCallRequest(session_id="s", tool_id="i").SerializeToString()
    assert addressed(two, worker(two), payload) is payload
    assert addressed(one.pinned, worker(one, two), payload) is payload


CALL = ToolCallRequest(session_id="s", tool_id="a@1", args=[serialize_value(1)], timeout_ms=5, request_id="r")


@pytest.mark.parametrize(
    "session_id", ["s", "", "s" * 200], ids=["usual", "without a session", "longer than is read at once"]
)
@pytest.mark.parametrize("kind", [ToolCallRequest, ToolStreamRequest])
def test_all_but_the_id_stays_as_it_is(session_id: str, kind: Any) -> None:
    request = kind(session_id=session_id, tool_id="a@1", args=[serialize_value(1)], timeout_ms=5)
    for payload in (request.SerializeToString(), Buffers([request.SerializeToString()])):
        changed = with_tool_id(payload, "b")
        assert type(changed) is type(payload)
        read = kind.FromString(bytes(changed))
        request.tool_id = "b"
        assert read == request
        request.tool_id = "a@1"


def test_a_large_request_is_not_copied() -> None:
    large = memoryview(bytes(100_000))
    head = ToolCallRequest(session_id="s", tool_id="a@1").SerializeToString()
    changed = with_tool_id(Buffers([head, large]), "b")
    assert isinstance(changed, Buffers)
    assert any(buffer is large for buffer in changed.buffers)
