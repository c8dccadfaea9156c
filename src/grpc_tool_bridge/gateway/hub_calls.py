"""How the routes reach the hub."""

from collections.abc import AsyncGenerator
from typing import Any

from starlette.requests import Request

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.gateway.bodies import read_json
from grpc_tool_bridge.gateway.events import Event, EventStream, wants_lines
from grpc_tool_bridge.rpc.context import RequestContext

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

    async def body(self, request: Request) -> Any:
        """Reads the JSON of a request, within the limits of the hub; raises as ``read_json``."""
        limit = BODY_FACTOR * self._settings.max_message_bytes
        return await read_json(request, limit, self._settings.request_timeout)

    def context(self, request: Request) -> RequestContext:
        """Makes the context of a call."""
        return RequestContext(principal=request.scope.get("principal"))

    def event_stream(self, request: Request, events: AsyncGenerator[Event, None]) -> EventStream:
        """Makes a response that goes on, in the form that its reader asks for."""
        return EventStream(events, lines=wants_lines(request))
