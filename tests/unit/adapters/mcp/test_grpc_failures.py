from typing import Any

import grpc
import pytest

from grpc_tool_bridge.adapters.mcp.connection import UnreachableError
from grpc_tool_bridge.adapters.mcp.grpc_failures import call_failure, list_failure
from grpc_tool_bridge.adapters.mcp.results import Shape
from grpc_tool_bridge.errors import NotFoundError, ResourceExhaustedError, UnavailableError
from grpc_tool_bridge.transport.status import as_rpc_error, rpc_error

SHAPE = Shape("t", "s")
Code = grpc.StatusCode


@pytest.mark.parametrize(
    ("error", "kind", "text", "retryable"),
    [
        (rpc_error(Code.DEADLINE_EXCEEDED, "x"), "TimeoutError", "did not answer in time", True),
        (rpc_error(Code.UNAVAILABLE, "no\nroute"), "WorkerUnavailable", "noroute", True),
        (rpc_error(Code.CANCELLED, ""), "WorkerUnavailable", "ended before its answer", True),
        (rpc_error(Code.UNAUTHENTICATED, "who?"), "Unauthenticated", "who?", False),
        (
            rpc_error(Code.RESOURCE_EXHAUSTED, "CLIENT: Received message larger than max"),
            "MessageTooLarge",
            "max",
            False,
        ),
        (rpc_error(Code.DATA_LOSS, ""), "McpError", "DATA_LOSS", False),
        (as_rpc_error(NotFoundError("no t", error_type="ToolNotFound")), "ToolNotFound", "no t", False),
        (as_rpc_error(ResourceExhaustedError("full")), "ResourceExhausted", "full", True),
    ],
)
def test_the_status_of_a_call_is_an_error(error: Any, kind: str, text: str, retryable: bool) -> None:
    found = call_failure(error, SHAPE)
    assert (found.error_type, found.retryable) == (kind, retryable)
    assert text in found.message
    assert found.details["server"] == "s"


def test_why_the_connection_is_gone_is_told() -> None:
    assert "it burnt" in call_failure(rpc_error(Code.UNAVAILABLE, "x"), SHAPE, "it burnt").message


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (rpc_error(Code.UNAVAILABLE, "x"), UnreachableError, "x"),
        (rpc_error(Code.DEADLINE_EXCEEDED, ""), UnreachableError, "DEADLINE_EXCEEDED"),
        (as_rpc_error(ResourceExhaustedError("full")), UnreachableError, "full"),
        (rpc_error(Code.UNAUTHENTICATED, "who?"), UnavailableError, "who?.*UNAUTHENTICATED.*give a token as a header"),
        (rpc_error(Code.UNIMPLEMENTED, ""), UnavailableError, "no reason.*--mcp-grpc"),
        (rpc_error(Code.INTERNAL, "x"), UnavailableError, "see its log"),
    ],
)
def test_only_what_may_succeed_later_is_tried_again(error: Any, kind: type[Exception], text: str) -> None:
    found = list_failure(error)
    assert type(found) is kind
    with pytest.raises(kind, match=text):
        raise found
