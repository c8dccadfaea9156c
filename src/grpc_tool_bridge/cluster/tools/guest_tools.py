"""The tools that workers of this hub offer for sessions of other hubs.

They are registered here for a guest, and offered to the hub that owns the session. They follow the session where it
goes.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from grpc_tool_bridge.aio.backoff import back_off
from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.cluster.tools.guests import Guests, free
from grpc_tool_bridge.cluster.tools.offering import Offering
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.core.registered_tool import RegisteredTool, prepare_all
from grpc_tool_bridge.core.session import Session
from grpc_tool_bridge.core.statuses import failed_status
from grpc_tool_bridge.core.tool_scopes import ToolScope
from grpc_tool_bridge.core.workers.backend import is_local, workers_of
from grpc_tool_bridge.errors import SessionError, ToolBridgeError, error_info
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.bounds import check_request
from grpc_tool_bridge.tools.tool_versions import exact_id

_log = logging.getLogger(__name__)

# Returns the incarnation of the hub that owns a session; raises SessionError if it has ended, and another
# ToolBridgeError if nobody can say now.
OwnerOf = Callable[[str], Awaitable[str]]


class GuestTools:
    """The tools for guests.

    Args:
        hub: This hub.
        guests: Its guests.
        offering: Offers the tools to the owners of the sessions.
        owner_of: Looks up the owner of a session.
    """

    def __init__(self, hub: Hub, guests: Guests, offering: Offering, owner_of: OwnerOf) -> None:
        self._workers = hub.workers
        self._registry = hub.registry
        self._store = hub.store
        self._admission = hub.admission
        self._guests = guests
        self._offering = offering
        self._owner_of = owner_of
        self._tasks = TaskSet()
        offering.on_empty = guests.release
        # Sessions whose owner is not known.
        self._homeless: dict[str, None] = {}

    async def aclose(self) -> None:
        """Looks for no more owners."""
        await self._tasks.aclose()

    # ------------------------------------------------------------------------------------------------ workers

    async def register(self, link: Any, request: pb.RegisterToolsRequest) -> pb.RegisterToolsResponse:
        """Registers tools of a worker of this hub for a session that another hub owns; errors are in the answer.

        Args:
            link: The worker's.
            request: Its request, with the id of that session.
        """
        try:
            check_request(request)
            self._admission.refuse_while_draining()
            prepared = await prepare_all(request.tools)
            owner = await self._owner_of(request.session_id)
            async with self._workers.in_order(link):
                self._guests.keep(request.session_id)
                try:
                    added = self._workers.register(link, request, prepared)
                    try:
                        await self._offering.offer_session(request.session_id, owner)
                    except BaseException:
                        self._workers.unregister(
                            link, request.session_id, [exact_id(tool.id, tool.version) for tool in added]
                        )
                        raise
                finally:
                    self._drop_empty(request.session_id)
        except ToolBridgeError as error:
            return pb.RegisterToolsResponse(error=error_info(error))
        return pb.RegisterToolsResponse(success=True, tool_ids={tool.name: tool.id for tool in added})

    async def unregister(self, link: Any, request: pb.UnregisterToolsRequest) -> pb.StatusResponse:
        """Removes such tools; arguments as for ``register``."""
        removed: list[str] = []
        try:
            check_request(request)
            if request.session_id in self._store.guests and self._workers.offers(link):
                async with self._workers.in_order(link):
                    removed = self._workers.unregister(link, request.session_id, request.tool_ids)
        except ToolBridgeError as error:
            return failed_status(error)
        return pb.StatusResponse(success=True, message=f"{len(removed)} tools removed")

    def _drop_empty(self, session_id: str) -> None:
        guest = self._store.guests.get(session_id)
        if guest is not None and not (guest.tools and guest.tools.count):
            self._offering.forget_session(session_id)
            self._guests.release(session_id)

    # ----------------------------------------------------------------------------------------------- sessions

    def session_ended(self, session_id: str) -> None:
        """Removes the tools of a session that has ended at another hub."""
        guest = self._store.guests.get(session_id)
        if guest is None:
            return
        self._offering.forget_session(session_id)
        self._homeless.pop(session_id, None)
        self._workers.session_ended(guest)
        if guest.tools:
            self._store.tools_removed(guest.tools.all())
        guest.tools = None
        self._guests.release(session_id)
        free(guest)

    def adopted(self, session: Session) -> None:
        """Moves the tools for a session to the session itself: it has come to this hub."""
        guest = self._store.guests.get(session.id)
        if guest is None:
            return
        self._offering.forget_session(session.id)
        self._homeless.pop(session.id, None)
        tools, guest.tools = guest.tools, None
        self._guests.release(session.id)
        if tools:
            session.tools = tools
            session.tools_revision = session.tools_removed_at = self._store.revisions.next()

    def forgot(self, session: Session) -> None:
        """Keeps the tools that workers of this hub offer for a session that moves to another hub; call it first."""
        kept: list[RegisteredTool] = []
        gone: list[RegisteredTool] = []
        for tool in session.tools.all() if session.tools else ():
            (kept if is_local(tool) and workers_of(tool) else gone).append(tool)
        if not kept:
            return
        guest = self._guests.keep(session.id)
        guest.tools, session.tools = ToolScope(), ToolScope()
        for tool in gone:
            session.tools.add(tool)
        for tool in kept:
            tool.versions = None
            guest.tools.add(tool)
        self.find_owner(session.id)

    def owner_gone(self, incarnation: str) -> None:
        """Looks for the new owners of the sessions of a hub that is gone."""
        for session_id in self._offering.sessions_of(incarnation):
            self._offering.forget_session(session_id)
            self.find_owner(session_id)

    def find_owner(self, session_id: str) -> None:
        """Offers the tools of a session to its owner once there is one."""
        searching = bool(self._homeless)
        self._homeless[session_id] = None
        if not searching:
            self._tasks.spawn(self._find_owners(), "find owners of sessions")

    async def _find_owners(self) -> None:
        pauses = back_off()
        while self._homeless:
            for session_id in list(self._homeless):
                if await self._found(session_id):
                    self._homeless.pop(session_id, None)
                    pauses = back_off()
            if self._homeless:
                await asyncio.sleep(next(pauses))

    async def _found(self, session_id: str) -> bool:
        """Returns whether nothing more is to be done for the tools of a session."""
        if session_id not in self._store.guests:
            return True
        try:
            owner = await self._owner_of(session_id)
            if session_id in self._store.guests:
                await self._offering.offer_session(session_id, owner)
        except SessionError:
            self.session_ended(session_id)
        except ToolBridgeError as error:
            _log.debug("the tools of session %s are not offered to its owner yet: %s", session_id, error)
            return False
        return True
