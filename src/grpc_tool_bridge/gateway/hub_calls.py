"""How the routes reach the hub."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from functools import partial
from typing import Any

from starlette.requests import Request

from grpc_tool_bridge.aio.eager import EagerTasks
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.gateway.bodies import read_json
from grpc_tool_bridge.gateway.errors import HttpError
from grpc_tool_bridge.gateway.events import Event, EventStream, client_left, wants_lines
from grpc_tool_bridge.rpc.context import RequestContext
from grpc_tool_bridge.rpc.tracing import process, trace_of

# JSON of a payload may be longer than the payload itself: escapes, base64.
BODY_FACTOR = 2


class HubCalls:
    """What every route needs to make a call of the hub.

    Args:
        hub: The hub.

    Attributes:
        hub: As given.
    """

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
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

    def context(self, request: Request) -> RequestContext:
        """Returns the context of a call."""
        context = RequestContext(principal=request.scope.get("principal"))
        if process.tracing is not None:
            context.system, context.trace = "http", trace_of(request.headers)
        return context

    def event_stream(self, request: Request, events: AsyncGenerator[Event, None]) -> EventStream:
        """Makes a response that goes on, in the form that its reader asks for."""
        return EventStream(events, lines=wants_lines(request))


def _set(future: "asyncio.Future[Any]", result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    elif isinstance(error, asyncio.CancelledError):
        future.cancel()
    else:
        future.set_exception(error)
