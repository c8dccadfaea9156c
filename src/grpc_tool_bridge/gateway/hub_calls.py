"""How the routes reach the hub."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from functools import partial
from typing import Any

from starlette.requests import Request

from grpc_tool_bridge.aio.eager import EagerTasks
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.guards import Shown
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.core.session import Session
from grpc_tool_bridge.gateway.bodies import read_json
from grpc_tool_bridge.gateway.errors import HttpError
from grpc_tool_bridge.gateway.events import Event, EventStream, client_left, wants_lines
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec
from grpc_tool_bridge.rpc.authentication import Principal
from grpc_tool_bridge.rpc.context import RequestContext, WithContext
from grpc_tool_bridge.rpc.tracing import process, trace_of

# JSON of a payload may be longer than the payload itself: escapes, base64.
BODY_FACTOR = 2


class HubCalls:
    """What every route needs to make a call of the hub.

    Args:
        hub: The hub.

    Attributes:
        hub: As given.
        shown: What it shows to whom; None: everything to everybody.
    """

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.shown: Shown | None = getattr(hub, "shown", None)
        self._methods = WithContext(hub)
        self._settings: Settings = hub.settings
        self._tasks = EagerTasks()

    async def body(self, request: Request) -> Any:
        """Reads the JSON of a request, within the limits of the hub; raises as ``read_json``."""
        limit = BODY_FACTOR * self._settings.max_message_bytes
        return await read_json(request, limit, self._settings.request_timeout)

    async def answer(self, request: Request, work: Coroutine[Any, Any, Any]) -> Any:
        """Awaits what answers a request; a client that leaves cancels it.

        Raises:
            HttpError: The client has gone.
        """
        answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        task = self._tasks.start(work, partial(_set, answered))
        if task is None:
            # As most calls are: done at the first step.
            return answered.result()
        leaving = asyncio.ensure_future(client_left(request.receive))
        try:
            await asyncio.wait({answered, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if answered.done():
                return answered.result()
            raise HttpError(499, "Cancelled", "the client has gone")
        finally:
            for waiting in (task, leaving):
                waiting.cancel()
            await asyncio.wait({answered, leaving})
            if not answered.cancelled():
                # Else asyncio would say that nobody has looked at it.
                answered.exception()

    async def aclose(self) -> None:
        """Ends what still runs."""
        await self._tasks.aclose()

    def ask(self, request: Request, attribute: str, asked: Any) -> Any:
        """Calls a method of the hub on behalf of who has sent a request.

        Args:
            request: The request.
            attribute: The method, such as "list_hubs".
            asked: Its request.
        """
        return self._methods.call(attribute, asked, self.context(request))

    def check_part(self, request: Request, part: str) -> None:
        """Refuses a request for a part of the hub that its sender does not administer; raises AccessError."""
        if self.shown is not None:
            self.shown.check_part(principal_of(request), part)

    def check_metrics(self, request: Request) -> None:
        """Refuses a request for all metrics whose sender may not see them; raises AccessError."""
        if self.shown is not None:
            self.shown.check_metrics(principal_of(request))

    def tool_filter(self, request: Request, session: Session | None) -> Callable[[str], bool] | None:
        """Returns whether a tool with a name is shown to the sender of a request; None: each is."""
        shown, principal = self.shown, principal_of(request)
        if shown is None or principal is None:
            return None
        return lambda name: shown.sees_tool(session, name, principal)

    async def session(self, request: Request, session_id: str) -> Session:
        """Returns a session that the sender of a request may use; raises SessionError."""
        return self.checked(request, await self.hub.find_session(session_id))

    def checked(self, request: Request, session: Session) -> Session:
        """Returns a session, if the sender of a request may use it; raises SessionNotFoundError."""
        if self.shown is not None:
            self.shown.check_session(session, principal_of(request))
        return session

    async def spec_of(self, request: Request, session_id: str, tool_id: str) -> ToolSpec | None:
        """Returns the spec of a tool that the sender of a request sees; None: there is none."""
        spec = await self.hub.spec_of(session_id, tool_id)
        if spec is None or self.shown is None:
            return spec
        session = await self.session(request, session_id)
        return spec if self.shown.sees_tool(session, spec.name, principal_of(request)) else None

    def context(self, request: Request) -> RequestContext:
        """Returns the context of a call."""
        client = request.client
        source = "http" if client is None else f"http {client.host}:{client.port}"
        context = RequestContext(principal=principal_of(request), source=source)
        if process.tracing is not None:
            context.system, context.trace = "http", trace_of(request.headers)
        return context

    def event_stream(self, request: Request, events: AsyncGenerator[Event, None]) -> EventStream:
        """Makes a response that goes on, in the form that its reader asks for."""
        return EventStream(events, lines=wants_lines(request))


def principal_of(request: Request) -> Principal | None:
    """Returns who has sent a request; None: the hub does not authenticate."""
    principal: Principal | None = request.scope.get("principal")
    return principal


def _set(future: "asyncio.Future[Any]", result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    elif isinstance(error, asyncio.CancelledError):
        future.cancel()
    else:
        future.set_exception(error)
