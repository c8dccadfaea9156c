"""By which id a worker is called for a tool that has versions.

A worker knows a tool by the id under which it registered it. Only one that offers several versions of a tool is told
which of them is meant, by an id such as ``add@1``.
"""

from grpc_tool_bridge.core.registered_tool import RegisteredTool
from grpc_tool_bridge.core.workers.worker import Worker
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolCallRequest
from grpc_tool_bridge.rpc.buffers import Buffers, Payload
from grpc_tool_bridge.tools.tool_versions import versioned
from grpc_tool_bridge.values.call_bytes import UNREADABLE, read_names, request_head

# The ids of a session and of a tool are in the first bytes of a request.
_HEAD_BYTES = 4_096


def addressed(tool: RegisteredTool, worker: Worker, payload: Payload) -> Payload:
    """Returns the bytes of a call or of a stream with the id by which its worker knows the tool.

    Args:
        tool: The tool under the name by which it was called; its id is the one in the request.
        worker: The worker.
        payload: The serialized request.
    """
    base = tool.base or tool
    beside = base.versions.values() if base.versions is not None else ()
    several = any(other is not base and other in worker.tools for other in beside)
    wanted = versioned(base.id, base.version) if several else base.id
    return payload if wanted == tool.id else with_tool_id(payload, wanted)


def with_tool_id(payload: Payload, tool_id: str) -> Payload:
    """Returns the bytes of a call or of a stream of another tool; a large one is not copied."""
    try:
        session_id, _, place = read_names(payload[:_HEAD_BYTES])
    except UNREADABLE:
        # Of a field that comes twice, the last one counts.
        start, rest = b"", [*_parts(payload, 0), ToolCallRequest(tool_id=tool_id).SerializeToString()]
    else:
        start, rest = request_head(session_id, tool_id), _parts(payload, place)
    return b"".join((start, *rest)) if type(payload) is bytes else Buffers((start, *rest))


def _parts(payload: Payload, place: int) -> list[bytes | memoryview]:
    """Returns a payload from a place on."""
    return payload.cut(place, len(payload)).buffers if isinstance(payload, Buffers) else [memoryview(payload)[place:]]
