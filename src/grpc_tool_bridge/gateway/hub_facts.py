"""What the hub says of itself: what it is, and how much it has of everything."""

import platform
import time
from importlib.metadata import version

from starlette.requests import Request
from starlette.responses import Response

from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.gateway.errors import JsonResponse


class HubFactRoutes:
    """The route of the hub itself.

    Args:
        hub: The hub.
        needs_token: Whether callers need a token.
    """

    def __init__(self, hub: Hub, *, needs_token: bool) -> None:
        self._hub = hub
        self._needs_token = needs_token
        self._version = version("grpc-tool-bridge")

    async def read(self, request: Request) -> Response:
        """Returns what the hub is, where it listens, since when, and how much it has of everything.

        ``name`` is that in its cluster, empty without one. ``epoch`` is another one after each restart, unless a
        durable store keeps it.
        """
        del request
        hub = self._hub
        return JsonResponse(
            {
                "name": hub.hubs.name,
                "version": self._version,
                "epoch": hub.store.revisions.epoch,
                "uptime_seconds": round(time.monotonic() - hub.started_at, 3),
                "python": platform.python_version(),
                "address": hub.address,
                "serving": hub.serving,
                "needs_token": self._needs_token,
                "injects_faults": hub.chaos is not None,
                "durable": hub.durable is not None,
                "store_failure": "" if hub.durable is None else hub.durable.failure,
                "sessions": len(hub.store),
                "tools": hub.store.tools.count,
                "workers": len(hub.workers),
                "connections": 0 if hub.peer_memory is None else len(hub.peer_memory),
                "active_calls": hub.admission.active,
                "agent_runs": hub.agents.active,
                "event_watches": hub.event_watches(),
            }
        )
