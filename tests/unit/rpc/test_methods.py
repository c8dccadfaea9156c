"""The methods of the services, as the contract lists them."""

import pytest

from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.methods import METHODS, SERVICE_NAME, SERVICE_NAMES

UNARY = [
    "InitializeSession",
    "CleanupSession",
    "GetSessionInfo",
    "Heartbeat",
    "GetSessionTools",
    "RegisterTools",
    "UnregisterTools",
    "ExecuteTool",
    "BatchExecuteTools",
    "GetSessionVariable",
    "SetSessionVariable",
    "DeleteSessionVariable",
    "ListSessionVariables",
    "CreateReActAgent",
    "CancelAgentRun",
    "HealthCheck",
    "GetMetrics",
    "ListHubs",
    "ListOffers",
    "ListSessions",
    "ListWorkers",
    "ListCalls",
    "CancelCall",
    "ListApprovals",
    "DecideApproval",
    "ShareSession",
    "UnshareSession",
    "ListRuns",
]
SERVER_STREAMING = ["WatchSessionTools", "StreamTool", "WatchSessionVariables", "ExecuteAgent", "WatchEvents"]


def test_every_method_of_the_contract_is_there_with_its_shape() -> None:
    shapes = {name: (method.request_streaming, method.response_streaming) for name, method in METHODS.items()}
    assert shapes == (
        dict.fromkeys(UNARY, (False, False)) | dict.fromkeys(SERVER_STREAMING, (False, True)) | {"Link": (True, True)}
    )


@pytest.mark.parametrize(
    ("name", "attribute"),
    [
        ("ExecuteTool", "execute_tool"),
        ("CreateReActAgent", "create_react_agent"),
        ("BatchExecuteTools", "batch_execute_tools"),
        ("Link", "link"),
    ],
)
def test_a_method_is_called_in_python_as_python_calls_things(name: str, attribute: str) -> None:
    assert METHODS[name].attribute == attribute


def test_a_method_knows_its_path_and_messages() -> None:
    method = METHODS["ExecuteTool"]
    assert method.path == "/dspex.bridge.SnakepitBridge/ExecuteTool"
    assert (method.request, method.response) == (pb.ToolCallRequest, pb.ToolCallResponse)
    assert METHODS["ListCalls"].path == "/dspex.bridge.ToolBridgeAdmin/ListCalls"
    assert SERVICE_NAMES == (SERVICE_NAME, "dspex.bridge.ToolBridgeAdmin")
    assert SERVICE_NAME == "dspex.bridge.SnakepitBridge"


def test_no_two_methods_share_a_name_in_python() -> None:
    assert len({method.attribute for method in METHODS.values()}) == len(METHODS)


def test_the_methods_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        METHODS["New"] = METHODS["Link"]  # type: ignore[index]  # that it cannot be is the point
