"""Requests of MCP clients over gRPC: what they name, choose and say of themselves."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from grpc_tool_bridge.errors import UnimplementedError, ValidationError
from grpc_tool_bridge.gateway.mcp.sessions import SHARED_SESSION, SessionKey
from grpc_tool_bridge.gateway.mcp.tool_choice import ToolChoice, read_choice
from grpc_tool_bridge.rpc.bounds import shown
from grpc_tool_bridge.values.mcp_messages import TOOL_KEY, VERSION_KEY, VERSIONS
from grpc_tool_bridge.values.offload import in_reader
from grpc_tool_bridge.values.plain_structs import read_struct

# The keys of metadata that choose, as the parameters of an address do over HTTP: the session, and patterns of tools.
SESSION_KEY = "tool-bridge-session"
TOOLS_KEY = "tool-bridge-tools"
_KEYS = frozenset({SESSION_KEY, TOOLS_KEY, TOOL_KEY, VERSION_KEY})
# The key of a request's own metadata that says the same as that of gRPC.
_VERSION_META = "io.modelcontextprotocol/protocolVersion"
# Smaller arguments are read in the event loop.
_SMALL_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Envelope:
    """What the metadata of a request says.

    Attributes:
        key: The session of the bridge.
        choice: What the client may call.
        tool: The tool that it names for proxies; empty: none.
    """

    key: SessionKey
    choice: ToolChoice
    tool: str


def read_envelope(metadata: Iterable[tuple[str, str | bytes]] | None, common: Any, chosen: str) -> Envelope:
    """Reads the metadata of a request.

    Args:
        metadata: That of gRPC.
        common: The ``RequestFields`` of the request.
        chosen: What a client sees that chooses nothing itself; see ``read_choice``.

    Raises:
        ValidationError: A value is not valid, or is given twice.
        UnimplementedError: The version of the protocol is not served, or the request answers a question.
    """
    given = _single(metadata)
    said = common.metadata.fields[_VERSION_META].string_value if _VERSION_META in common.metadata.fields else ""
    version = given.get(VERSION_KEY, said)
    if said and said != version:
        raise ValidationError(f"the request is of two versions of MCP, {shown(version)} and {shown(said)}; name one")
    if version and version not in VERSIONS:
        raise UnimplementedError(
            f"the version {shown(version)} of MCP is not served over gRPC; use {', '.join(VERSIONS)}",
            details={"supported": ",".join(VERSIONS)},
        )
    if common.input_responses or common.HasField("request_state") or common.HasField("resume_data"):
        raise UnimplementedError(
            "the hub asks nothing over gRPC, so that there is nothing to answer or to resume; leave input_responses, "
            "request_state and resume_data out"
        )
    patterns = given.get(TOOLS_KEY, "") or chosen
    return Envelope(
        SessionKey(given.get(SESSION_KEY, "") or SHARED_SESSION),
        read_choice((patterns,) if patterns else ()),
        given.get(TOOL_KEY, ""),
    )


def _single(metadata: Iterable[tuple[str, str | bytes]] | None) -> Mapping[str, str]:
    """Returns the values of the keys that mean something here, of which each may come once."""
    found: dict[str, str] = {}
    for key, value in metadata or ():
        if key not in _KEYS or not isinstance(value, str):
            continue
        if found.setdefault(key, value) != value:
            raise ValidationError(f"the metadata {key} has two values; give one")
    return found


async def read_call(request: Any, envelope: Envelope) -> tuple[str, dict[str, Any]]:
    """Reads which tool a ``CallToolRequest`` calls, and with what arguments; reads large ones in a thread.

    Raises:
        ValidationError: It names no tool, or its metadata another one.
        SerializationError: An argument cannot be read.
    """
    name: str = request.request.name
    if not name:
        raise ValidationError("the request names no tool; set request.name")
    if envelope.tool and name not in (envelope.tool, unquote(envelope.tool)):
        # Who decides by the metadata whether a call may pass would be deceived.
        raise ValidationError(f"the metadata {TOOL_KEY} names {shown(envelope.tool)}, the request {shown(name)}")
    arguments = request.request.arguments
    if arguments.ByteSize() <= _SMALL_BYTES:
        return name, read_struct(arguments)
    return name, await in_reader(lambda: read_struct(arguments))
