"""The methods of the services, from their descriptor: their names, messages and shapes."""

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
        name: As in the service, such as "ExecuteTool"; no two of a hub share one, since a link knows them by it alone.
        attribute: As in Python, such as "execute_tool".
        path: As on the wire.
        request, response: Message classes.
        request_streaming, response_streaming: Whether many of them are sent.
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

# What a link's hello names where its peer serves the methods of agents, and a session's capabilities where one does.
AGENTS_FEATURE = "agents"

# What runs tools or agents: the context of their requests has its payload and its parent.
RUN_TOOLS = frozenset({"ExecuteTool", "StreamTool", "BatchExecuteTools", "ExecuteAgent"})

# What WatchEvents tells of; also the names of the subjects of an AdminEvent.
EVENT_KINDS = ("call", "worker", "session", "log")

# Names, in the metadata of a call that a worker's tool makes, the call of the hub that the tool runs for.
ORIGIN_KEY = "tool-bridge-origin"

# Says, in the metadata of a call that a hub makes of a worker, how many calls are above it; none where it is not there.
DEPTH_KEY = "tool-bridge-depth"

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
