"""The methods of the service for the tools of sessions and of workers."""

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from typing import Any

from grpc_tool_bridge.aio.turns import Turns
from grpc_tool_bridge.core.admission import Admission
from grpc_tool_bridge.core.registered_tool import Prepared, RegisteredTool, prepare_all
from grpc_tool_bridge.core.registry import ToolRegistry
from grpc_tool_bridge.core.sessions import SessionStore
from grpc_tool_bridge.core.statuses import failed_status
from grpc_tool_bridge.core.tool_views import ToolFilter
from grpc_tool_bridge.core.workers.pool import WorkerPool
from grpc_tool_bridge.core.workers.worker import WorkerLink
from grpc_tool_bridge.errors import NotFoundError, ToolBridgeError, ValidationError, error_info
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.bounds import check_request, shown
from grpc_tool_bridge.rpc.context import LOCAL, RequestContext

# Maximum number of tools that one error text names.
MAX_NAMED = 8

Admit = Callable[[Sequence[Prepared]], str]


class ToolMethods:
    """The methods for tools.

    Args:
        store: The sessions.
        registry: The tools.
        workers: The workers, which register tools.
        admission: Says whether the hub takes tools and watches.
    """

    def __init__(self, store: SessionStore, registry: ToolRegistry, workers: WorkerPool, admission: Admission) -> None:
        self._store = store
        self._registry = registry
        self._workers = workers
        self._admission = admission

    async def page(
        self, request: pb.GetSessionToolsRequest, only: ToolFilter | None = None
    ) -> pb.GetSessionToolsResponse:
        """Lists one page of the tools that a session sees; ``only`` as for ``ToolRegistry.page``."""
        check_request(request)
        session = self._store.find(request.session_id)
        page = self._registry.page(session, request.page_token, request.page_size, only)
        response = pb.GetSessionToolsResponse(revision=page.revision, next_page_token=page.next_token)
        await put_specs(page.tools, response.tools)
        return response

    async def register(
        self, request: pb.RegisterToolsRequest, context: RequestContext = LOCAL, admit: Admit | None = None
    ) -> pb.RegisterToolsResponse:
        """Registers tools of a worker; only over a link, since that is where they are called.

        Args:
            request: The request.
            context: Its context.
            admit: Called with the tools when nothing can come between it and their registration; raises a
                ToolBridgeError if they may not be registered, else returns to whom they belong. None: all may be.
        """
        link: WorkerLink | None = context.peer
        try:
            check_request(request)
            self._admission.refuse_while_draining()
            if link is None:
                raise ValidationError(
                    f"{len(request.tools)} tools were not registered: RegisterTools works over a link, "
                    "where they can be called"
                )
            async with self._workers.in_order(link):
                prepared = await prepare_all(request.tools)
                owner = "" if admit is None else admit(prepared)
                added = self._workers.register(link, request, prepared)
                for tool in added if owner else ():
                    tool.owner = owner
        except ToolBridgeError as error:
            return pb.RegisterToolsResponse(error=error_info(error))
        return pb.RegisterToolsResponse(success=True, tool_ids={tool.name: tool.id for tool in added})

    async def unregister(
        self,
        request: pb.UnregisterToolsRequest,
        context: RequestContext = LOCAL,
        admit: Callable[[RegisteredTool], None] | None = None,
    ) -> pb.StatusResponse:
        """Removes tools, all or none: over a worker's link its own, otherwise those of a session.

        Args:
            request: The request.
            context: Its context.
            admit: Called with each tool of a session; raises a ToolBridgeError if it may not be removed.
        """
        link: WorkerLink | None = context.peer
        try:
            check_request(request)
            if link is not None and self._workers.offers(link):
                async with self._workers.in_order(link):
                    taken = self._workers.unregister(link, request.session_id, request.tool_ids)
                return pb.StatusResponse(success=True, message=f"{len(taken)} tools removed")
            if not request.session_id:
                raise ValidationError(
                    "tools of every session are removed by their worker, over its link; set session_id"
                )
            session = self._store.find(request.session_id)
            own = self._registry.own(session.id)
            missing = [tool_id for tool_id in request.tool_ids if own.find(tool_id) is None]
            if missing:
                named = ", ".join(shown(tool_id) for tool_id in missing[:MAX_NAMED])
                more = f" and {len(missing) - MAX_NAMED:,} more" if len(missing) > MAX_NAMED else ""
                raise NotFoundError(
                    f"session {session.id!r} has no tools of its own called {named}{more}",
                    error_type="ToolNotFound",
                )
            if admit is not None:
                for tool_id in request.tool_ids:
                    admit(self._registry.find(session, tool_id))
            removed = self._registry.unregister(session.id, request.tool_ids)
        except ToolBridgeError as error:
            return failed_status(error)
        return pb.StatusResponse(success=True, message=f"{len(removed)} tools removed")

    async def watch(
        self, request: pb.WatchSessionToolsRequest, only: ToolFilter | None = None
    ) -> AsyncGenerator[pb.ToolUpdate, None]:
        """Yields the changes of the tools that a session sees; ``only`` as for ``ToolRegistry.watch``."""
        check_request(request)
        session = self._admission.session_to_watch(request.session_id)
        self._admission.check_watches(session, session.tool_watches)
        # Counted separately: a client that only follows the tools must not keep its session from becoming idle.
        session.tool_watches += 1
        changes = self._registry.watch(session, request.from_revision, only)
        try:
            async for change in changes:
                yield pb.ToolUpdate(
                    tool=change.tool.spec if change.tool else None,
                    operation=change.operation,
                    revision=change.revision,
                    epoch=self._store.revisions.epoch,
                )
        finally:
            session.tool_watches -= 1
            await changes.aclose()


async def put_specs(tools: Iterable[RegisteredTool], specs: Any) -> None:
    """Appends the specs of tools; yields to other tasks if there are many."""
    turns = Turns()
    for tool in tools:
        specs.append(tool.spec)
        if turns.due:
            await turns.give()
