"""The methods of the services: names, messages and streaming, read from the descriptor."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from grpc_tool_bridge.proto import dspex_bridge_pb2


@dataclass(frozen=True, slots=True)
class Method:
    """One method.

    Attributes:
        name: As in the service, such as "ExecuteTool"; unique among all services, since a link uses nothing else.
        attribute: As in Python, such as "execute_tool".
        path: As on the wire.
        request, response: Message classes.
        request_streaming, response_streaming: Whether it is a stream of them.
    """

    name: str
    attribute: str
    path: str
    request: type[Message]
    response: type[Message]
    request_streaming: bool
    response_streaming: bool


_SERVICES = dspex_bridge_pb2.DESCRIPTOR.services_by_name

SERVICE_NAME: str = _SERVICES["SnakepitBridge"].full_name
# What a hub serves.
SERVICE_NAMES: tuple[str, ...] = (SERVICE_NAME, _SERVICES["ToolBridgeAdmin"].full_name)

# A feature in the hello of a peer that serves agents, and a capability of a session if there is such a peer.
AGENTS_FEATURE = "agents"

# Methods that run tools or agents: the context of their requests has a payload and a parent.
RUN_TOOLS = frozenset({"ExecuteTool", "StreamTool", "BatchExecuteTools", "ExecuteAgent"})

# Metadata of a call that a worker's tool makes: the number of the hub's call that the tool runs for.
ORIGIN_KEY = "tool-bridge-origin"

# Metadata of a hub's call to a worker: how many calls are above it; none if it is missing.
DEPTH_KEY = "tool-bridge-depth"

# Metadata of a hub's call to another hub: the number of the call above it that was sent over the same link.
ABOVE_KEY = "tool-bridge-above"

# Metadata of a hub's call of an agent runtime: it should tell of each request to the model, by a log record of this
# logger, whose message is JSON with "messages", and "answers" or "error".
MODEL_REPORTS_KEY = "tool-bridge-model-reports"
MODEL_LOGGER = "tool-bridge.model"

METHODS: Mapping[str, Method] = MappingProxyType(
    {
        method.name: Method(
            name=method.name,
            # Two capitals in a row, as in ReAct, belong to one word.
            attribute=re.sub(r"(?<=[a-z])(?=[A-Z])", "_", method.name.replace("ReAct", "React")).lower(),
            path=f"/{service.full_name}/{method.name}",
            request=GetMessageClass(method.input_type),
            response=GetMessageClass(method.output_type),
            request_streaming=method.client_streaming,
            response_streaming=method.server_streaming,
        )
        for service in _SERVICES.values()
        for method in service.methods
    }
)
