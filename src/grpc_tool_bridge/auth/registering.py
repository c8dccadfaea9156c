"""Which tools a worker may register: those of its principal, and no other principal's."""

from collections.abc import Callable, Iterable, Sequence

from grpc_tool_bridge.auth.access import HubAccess
from grpc_tool_bridge.auth.policy.model import Action
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.core.registered_tool import Prepared, RegisteredTool
from grpc_tool_bridge.errors import AccessError
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.authentication import Principal
from grpc_tool_bridge.rpc.bounds import shown
from grpc_tool_bridge.rpc.context import RequestContext


class Registering:
    """Decides which tools workers of a hub register and remove.

    A worker's tool belongs to the principal of its link, whoever has called the tool that asks: it is that link by
    which it is called.

    Args:
        hub: The hub.
        access: Decides.
    """

    def __init__(self, hub: Hub, access: HubAccess) -> None:
        self._hub = hub
        self._access = access

    def admit(self, request: pb.RegisterToolsRequest, context: RequestContext) -> Callable[[Sequence[Prepared]], str]:
        """Returns what ``ToolMethods.register`` calls right before it registers the tools of a request."""

        def admitted(tools: Sequence[Prepared]) -> str:
            principal = principal_of_link(context)
            if principal is None or self._access.is_administrator(principal):
                return ""
            self.check_names([tool.spec.name for tool in tools], context)
            self.check_worker(request.worker_id, context)
            for tool in tools:
                self._check_place(tool, request.session_id, principal)
            return principal.name

        return admitted

    def check_names(self, names: Iterable[str], context: RequestContext) -> None:
        """Refuses tools that the policy does not let a worker's principal register; raises AccessError."""
        principal = principal_of_link(context)
        for name in names:
            self._access.check(principal, Action.REGISTER, name)

    def check_worker(self, worker_id: str, context: RequestContext) -> None:
        """Refuses the id of a worker that belongs to another principal; raises AccessError."""
        principal = principal_of_link(context)
        if not worker_id or principal is None or self._access.is_administrator(principal):
            return
        for worker in self._hub.workers.workers():
            if worker.id == worker_id and worker.link is not context.peer:
                owner = getattr(worker.link, "principal", None)
                if owner is None or owner.name != principal.name:
                    raise AccessError(f"the worker {shown(worker_id)} is another principal's; choose another id")

    def _check_place(self, tool: Prepared, session_id: str, principal: Principal) -> None:
        """Refuses a tool in whose place one of another principal is, or that would hide one from others."""
        spec, store = tool.spec, self._hub.store
        scopes = [self._hub.registry.own(session_id)]
        if session_id:
            session = store.find_holder(session_id)
            if not self._access.owns(session.access, session_id, principal):
                # In a session of one's own, one may hide what all see.
                scopes.append(store.tools)
        for scope in scopes:
            for there in (*scope.same_name(spec.name), *scope.same_id(spec.tool_id or spec.name)):
                if there.owner != principal.name:
                    raise AccessError(
                        f"there is a tool {shown(spec.name)} that is not {shown(principal.name)}'s; choose another name"
                    )

    def admit_removal(self, context: RequestContext) -> Callable[[RegisteredTool], None]:
        """Returns what ``ToolMethods.unregister`` calls with each tool of a session that it is to remove."""

        def admitted(tool: RegisteredTool) -> None:
            principal = context.principal
            if principal is None or self._access.is_administrator(principal):
                return
            self._access.check(principal, Action.REGISTER, tool.name)
            session = self._hub.store.peek(tool.session_id)
            if tool.owner != principal.name and not self._access.owns(session.access, session.id, principal):
                raise AccessError(f"the tool {shown(tool.name)} is another principal's, who may remove it")

        return admitted


def principal_of_link(context: RequestContext) -> Principal | None:
    """Returns whose link a request came by; None: it came by none, or the hub does not authenticate."""
    principal: Principal | None = getattr(context.peer, "principal", None)
    return principal if context.peer is not None else context.principal
