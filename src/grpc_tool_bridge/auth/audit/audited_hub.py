"""Stands before a hub, and audits what is asked of it that is no call."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, NamedTuple

from grpc_tool_bridge.core.guards import Audit
from grpc_tool_bridge.core.hub_front import HubFront
from grpc_tool_bridge.core.statuses import failed_status
from grpc_tool_bridge.errors import AccessError, ToolBridgeError, error_info
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.context import LOCAL, RequestContext

# Names of tools in the line of one registration; the others are counted.
MAX_NAMED = 20

_DENIED = "PermissionDenied"


class Audited(NamedTuple):
    """How a method is audited.

    Attributes:
        action: What it does, in the words of a policy where that has one.
        resource: Returns what it does it with.
        failed: Makes its answer for an error; None: the error is raised.
    """

    action: str
    resource: Callable[[Any], str]
    failed: Callable[[ToolBridgeError], Any] | None = None


def _named(names: list[str]) -> str:
    more = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _failed_opening(error: ToolBridgeError) -> pb.InitializeSessionResponse:
    return pb.InitializeSessionResponse(error=error_info(error))


def _failed_registration(error: ToolBridgeError) -> pb.RegisterToolsResponse:
    return pb.RegisterToolsResponse(error=error_info(error))


METHODS: dict[str, Audited] = {
    "initialize_session": Audited("open", lambda request: request.session_id, _failed_opening),
    "cleanup_session": Audited("end", lambda request: request.session_id, failed_status),
    "share_session": Audited("share", lambda request: request.share.group or request.share.principal, failed_status),
    "unshare_session": Audited("unshare", lambda request: request.group or request.principal, failed_status),
    "get_session_variable": Audited("read", lambda request: request.variable_name),
    "list_session_variables": Audited("read", lambda request: f"{request.prefix}*"),
    "set_session_variable": Audited("write", lambda request: request.variable_name, failed_status),
    "delete_session_variable": Audited("delete", lambda request: request.variable_name, failed_status),
    "register_tools": Audited(
        "register", lambda request: _named([spec.name for spec in request.tools]), _failed_registration
    ),
    "unregister_tools": Audited("unregister", lambda request: _named(list(request.tool_ids)), failed_status),
    "cancel_agent_run": Audited("cancel", lambda request: request.run_id, failed_status),
    "cancel_call": Audited("cancel", lambda request: request.call_id, failed_status),
    "decide_approval": Audited(
        "approve", lambda request: f"{'grant' if request.grant else 'deny'} {request.approval_id}", failed_status
    ),
    "get_metrics": Audited("metrics", lambda request: _named(list(request.metric_names)) or "*"),
}


class AuditedHub(HubFront):
    """A hub whose methods have a line in the audit trail, besides its calls, which have theirs.

    A request that is refused by its rights has a line that says so; one that fails otherwise has the line of what was
    allowed. While the trail must be written and cannot be, nothing is done.

    Args:
        hub: The hub, or what guards it.
        audit: Its trail.
    """

    def __init__(self, hub: Any, audit: Audit) -> None:
        super().__init__(hub)
        self._audit = audit
        for name, audited in METHODS.items():
            setattr(self, name, self._audited(name, audited))

    def _audited(self, name: str, audited: Audited) -> Callable[..., Any]:
        async def method(request: Any, context: RequestContext = LOCAL) -> Any:
            try:
                self._refuse_unwritten()
                response = await self.methods.call(name, request, context)
            except AccessError as error:
                self._tell(audited, request, context, denied=error.message)
                if audited.failed is None:
                    raise
                return audited.failed(error)
            except ToolBridgeError as error:
                if audited.failed is None:
                    raise
                return audited.failed(error)
            failure = getattr(response, "error", None)
            denied = failure.message if failure is not None and failure.type == _DENIED else ""
            self._tell(audited, request, context, denied=denied, session_id=getattr(response, "session_id", ""))
            return response

        method.__doc__ = "As in ``Hub``, with a line in the audit trail."
        return method

    async def watch_session_variables(
        self, request: pb.WatchVariablesRequest, context: RequestContext = LOCAL
    ) -> AsyncGenerator[pb.VariableUpdate, None]:
        """As in ``Hub``, with a line in the audit trail when the first change is told, or the watch is refused."""
        watch = Audited("read", lambda request: _named(list(request.variable_names)) or "*")
        self._refuse_unwritten()
        told = False
        try:
            changes = self.methods.call("watch_session_variables", request, context)
            async with aclosing(changes):
                async for change in changes:
                    if not told:
                        told = True
                        self._tell(watch, request, context)
                    yield change
        except AccessError as error:
            self._tell(watch, request, context, denied=error.message)
            raise

    def _refuse_unwritten(self) -> None:
        if self._audit.refuses:
            raise self._audit.refusal()

    def _tell(
        self, audited: Audited, request: Any, context: RequestContext, *, denied: str = "", session_id: str = ""
    ) -> None:
        session_id = session_id or getattr(request, "session_id", "")
        self._audit.decision(
            context.principal,
            audited.action,
            audited.resource(request) or session_id,
            allowed=not denied,
            peer=context.source,
            session_id=session_id,
            reason=denied,
        )
