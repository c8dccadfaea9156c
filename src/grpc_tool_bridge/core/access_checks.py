"""Refuses what a caller may not do, as if what it may not see were not there."""

from grpc_tool_bridge.core.ended_sessions import no_session
from grpc_tool_bridge.core.guards import Access
from grpc_tool_bridge.core.registered_tool import RegisteredTool
from grpc_tool_bridge.core.registry import ToolRegistry
from grpc_tool_bridge.core.session import Session
from grpc_tool_bridge.core.sessions import SessionStore
from grpc_tool_bridge.errors import NotFoundError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import STREAMING
from grpc_tool_bridge.rpc.authentication import Principal
from grpc_tool_bridge.rpc.context import RequestContext
from grpc_tool_bridge.tools.tool_versions import split_version


def check_entry(access: Access, store: SessionStore, session_id: str, context: RequestContext) -> None:
    """Raises the error of a session that is not there for one that the caller may not use."""
    principal = principal_of(context)
    if principal is not None and not access.may_enter(store.peek(session_id), principal):
        raise no_session(session_id)


def check_tool(
    access: Access,
    registry: ToolRegistry,
    session: Session,
    tool: RegisteredTool | None,
    tool_id: str,
    context: RequestContext,
    *,
    streams: bool = False,
) -> None:
    """Refuses a call of a tool that the caller may not call; one that it does not see is as good as not there.

    Raises:
        NotFoundError: The caller does not see it.
        AccessError: The caller sees it.
    """
    principal = principal_of(context)
    name = split_version(tool_id)[0] if tool is None else tool.name
    if access.allows(session, name, principal, streams=streams):
        return
    # Of a tool with one result, a stream has the events of a call besides.
    if streams and tool is not None and tool.spec.type != STREAMING and access.allows(session, name, principal):
        return
    if tool is not None:
        refused = access.refusal(session, name, principal, streams=streams)
        if access.sees(session, name, principal):
            raise refused
    raise unseen(access, registry, session, tool_id, context)


def unseen(
    access: Access | None, registry: ToolRegistry, session: Session, tool_id: str, context: RequestContext
) -> NotFoundError:
    """Returns the error for a tool that the caller does not see; it names no other that the caller does not see."""
    principal = principal_of(context)
    if access is None or principal is None:
        return registry.not_found(session, tool_id)
    return registry.not_found(session, tool_id, lambda name: access.sees(session, name, principal))


def principal_of(context: RequestContext) -> Principal | None:
    """Returns who makes a request: for a nested call, whoever has made the outermost one."""
    parent = context.parent
    return context.principal if parent is None else parent.principal
