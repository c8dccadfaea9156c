"""The tools that other hubs offer to this one.

This hub's own come first: a name that it has itself, with a function or with another schema, is left out of what
another hub offers, until it is free. A worker's tool with the identical schema gets the other hub as one more worker.
"""

import asyncio
import logging
from collections.abc import Iterable
from typing import NamedTuple
from weakref import WeakKeyDictionary

from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.core.registered_tool import Prepared, RegisteredTool, prepare_all
from grpc_tool_bridge.core.statuses import failed_status
from grpc_tool_bridge.core.workers.registration import sort_registration
from grpc_tool_bridge.core.workers.worker import Worker, WorkerLink
from grpc_tool_bridge.errors import AlreadyExistsError, ToolBridgeError, ValidationError, error_info
from grpc_tool_bridge.errors.throttled_log import ThrottledLog
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.bounds import check_request
from grpc_tool_bridge.rpc.context import RequestContext
from grpc_tool_bridge.tools.tool_versions import exact_id, split_version

# Changes that come within this time are looked at together.
SETTLE_SECONDS = 0.02
# Tools that were left out and are remembered as said in the log.
MAX_SAID = 10_000

_log = logging.getLogger(__name__)


class _Left(NamedTuple):
    """A tool of another hub that is left out for now.

    Attributes:
        prepared: The tool.
        limit: How many calls of it the other hub takes.
    """

    prepared: Prepared
    limit: int


# By id and version.
_LeftOut = dict[tuple[str, str], _Left]


class PeerTools:
    """Registers the tools that other hubs offer; serves RegisterTools and UnregisterTools to them.

    Args:
        hub: This hub.
    """

    def __init__(self, hub: Hub) -> None:
        self._workers = hub.workers
        self._registry = hub.registry
        self._admission = hub.admission
        # What each link offers for every session, registered or not.
        self._offered: WeakKeyDictionary[WorkerLink, _LeftOut] = WeakKeyDictionary()
        self._said: dict[tuple[str, str], None] = {}
        self._throttled = ThrottledLog(_log)
        self._timer: asyncio.TimerHandle | None = None
        self._registry.make_room = self._workers.make_room
        self._registry.on_offers.append(self._changed)

    def close(self) -> None:
        """Registers nothing more."""
        self._registry.on_offers.remove(self._changed)
        self._registry.make_room = None
        if self._timer is not None:
            self._timer.cancel()

    async def register_tools(
        self, request: pb.RegisterToolsRequest, context: RequestContext
    ) -> pb.RegisterToolsResponse:
        """Registers tools of another hub: those for every session as far as they fit, those of a session all or none.

        The capacity is that of each of the tools; 0: the other hub takes no calls of them for now.
        """
        link: WorkerLink | None = context.peer
        try:
            check_request(request)
            self._admission.refuse_while_draining()
            if link is None:
                raise ValidationError("another hub registers its tools over a link")
            async with self._workers.in_order(link):
                prepared = await prepare_all(request.tools)
                if request.session_id:
                    added = self._workers.register(link, request, prepared, is_peer=True)
                else:
                    added = self._register(link, request, prepared)
        except ToolBridgeError as error:
            return pb.RegisterToolsResponse(error=error_info(error))
        return pb.RegisterToolsResponse(success=True, tool_ids={tool.name: tool.id for tool in added})

    async def unregister_tools(self, request: pb.UnregisterToolsRequest, context: RequestContext) -> pb.StatusResponse:
        """Removes tools of another hub; those that it does not offer are ignored."""
        link: WorkerLink | None = context.peer
        removed: list[str] = []
        try:
            check_request(request)
            if link is not None:
                async with self._workers.in_order(link):
                    offered = self._offered.get(link, {}) if not request.session_id else {}
                    for tool_id in request.tool_ids:
                        offered.pop(split_version(tool_id), None)
                    if self._workers.offers(link):
                        removed = self._workers.unregister(link, request.session_id, request.tool_ids)
        except ToolBridgeError as error:
            return failed_status(error)
        return pb.StatusResponse(success=True, message=f"{len(removed)} tools removed")

    def _register(
        self, link: WorkerLink, request: pb.RegisterToolsRequest, prepared: Iterable[Prepared]
    ) -> list[RegisteredTool]:
        offered = self._offered.setdefault(link, {})
        for one in prepared:
            offered[one.spec.tool_id, one.spec.version] = _Left(one, request.capacity)
        fitting = self._fitting(link, request.worker_id, prepared)
        return self._workers.register(link, request, fitting, is_peer=True)

    def _fitting(self, link: WorkerLink, worker_id: str, prepared: Iterable[Prepared]) -> list[Prepared]:
        """Returns the tools that can be registered beside those of this hub."""
        worker = self._workers.worker_of(link)
        # A hub that comes back may do so before its old link is seen to be lost.
        own = [peer for peer in self._workers.peers() if peer.id == worker_id or peer is worker]
        known, fitting = self._registry.own(""), []
        for one in prepared:
            try:
                sort_registration(known, [one], own, "the hub")
            except AlreadyExistsError as error:
                self._withdraw(worker, one)
                own_tool = known.get(one.spec.tool_id)
                if own_tool is None or own_tool.spec != one.spec:
                    # Hubs that all have the same functions are as they should be.
                    self._say(worker_id, one.spec.name, error)
            else:
                fitting.append(one)
        return fitting

    def _withdraw(self, worker: Worker | None, one: Prepared) -> None:
        """Removes what another hub offered by the id of a tool that does not fit."""
        spec = one.spec
        if worker is not None and any((tool.id, tool.version) == (spec.tool_id, spec.version) for tool in worker.tools):
            self._workers.unregister(worker.link, "", [exact_id(spec.tool_id, spec.version)])

    def _say(self, worker_id: str, name: str, error: ToolBridgeError) -> None:
        """Says once that a tool is left out."""
        if (worker_id, name) in self._said:
            return
        self._said[worker_id, name] = None
        if len(self._said) > MAX_SAID:
            del self._said[next(iter(self._said))]
        self._throttled.warning("the tool %s of %s is not used here: %s", name, worker_id, error.message)

    # ------------------------------------------------------------------------------------ what was left out

    def _changed(self) -> None:
        if self._timer is None and self._offered:
            self._timer = asyncio.get_running_loop().call_later(SETTLE_SECONDS, self._try_again)

    def _try_again(self) -> None:
        """Registers tools that were left out and fit now: those of this hub have gone."""
        self._timer = None
        for link, offered in list(self._offered.items()):
            worker = self._workers.worker_of(link)
            if worker is None or worker.gone:
                continue
            there = {(tool.id, tool.version) for tool in worker.tools if not tool.session_id}
            left = [found for key, found in offered.items() if key not in there]
            for limit in {found.limit for found in left}:
                fitting = self._fitting(link, worker.id, [found.prepared for found in left if found.limit == limit])
                if fitting:
                    request = pb.RegisterToolsRequest(worker_id=worker.id, capacity=limit)
                    try:
                        self._workers.register(link, request, fitting, is_peer=True)
                    except ToolBridgeError as error:
                        self._throttled.warning("tools of %s are not used here: %s", worker.id, error)
