"""What this hub shows of a session that another hub has: the session with the tools that it sees, to read only."""

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.core.registered_tool import RegisteredTool
from grpc_tool_bridge.core.session import Session
from grpc_tool_bridge.core.session_access import read_access
from grpc_tool_bridge.core.tool_scopes import ToolScope
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb

# Tools of another hub are read again after this time, and of so many sessions at most.
_KEPT_SECONDS = 1.0
_MAX_KEPT = 100

_PAGE_SIZE = 1_000

# Answer GetSessionTools and GetSessionInfo, wherever the session is.
Page = Callable[[pb.GetSessionToolsRequest], Awaitable[pb.GetSessionToolsResponse]]
Info = Callable[[pb.GetSessionInfoRequest], Awaitable[pb.SessionInfo]]


class SessionViews:
    """Makes views of sessions that other hubs have.

    Args:
        hub: The hub of this process.
        page: Reads a page of a session's tools.
        info: Reads what a session is, with who may use it.
    """

    def __init__(self, hub: Hub, page: Page, info: Info) -> None:
        self._hub = hub
        self._page = page
        self._info = info
        # By session, each with the time when it is read again; the earliest first.
        self._kept: OrderedDict[str, tuple[float, Session]] = OrderedDict()

    async def view(self, session_id: str) -> Session:
        """Returns a session of another hub, with its tools.

        Raises:
            SessionError: There is no such session.
            ToolBridgeError: It cannot be read now.
        """
        now = time.monotonic()
        kept = self._kept.get(session_id)
        if kept is not None and kept[0] > now:
            return kept[1]
        view = Session(session_id, {}, None)
        info = await self._info(pb.GetSessionInfoRequest(session_id=session_id))
        view.access = read_access(info.access) if info.HasField("access") else None
        view.tools, view.tools_revision = await self._tools(session_id)
        self._kept.pop(session_id, None)
        self._kept[session_id] = now + _KEPT_SECONDS, view
        if len(self._kept) > _MAX_KEPT:
            self._kept.popitem(last=False)
        return view

    async def _tools(self, session_id: str) -> tuple[ToolScope, int]:
        scope = ToolScope()
        request = pb.GetSessionToolsRequest(session_id=session_id, page_size=_PAGE_SIZE)
        while True:
            answer = await self._page(request)
            for spec in answer.tools:
                shared = self._hub.store.tools.get(spec.tool_id)
                if shared is None or shared.spec != spec:
                    tool = RegisteredTool(spec, None, answer.revision, self._hub.settings)
                    tool.session_id = session_id
                    scope.add(tool)
            request.page_token = answer.next_page_token
            if not request.page_token:
                return scope, answer.revision
