"""A connected worker."""

import time
from collections.abc import Callable, Collection
from typing import Protocol

from grpc_tool_bridge.config import DEFAULT_CAPACITY
from grpc_tool_bridge.core.metrics import ToolMetrics
from grpc_tool_bridge.core.registered_tool import RegisteredTool
from grpc_tool_bridge.link.calls import WorkerCall
from grpc_tool_bridge.rpc.buffers import Payload
from grpc_tool_bridge.rpc.callers import PRINCIPAL_FEATURE
from grpc_tool_bridge.rpc.methods import AGENTS_FEATURE


class WorkerLink(Protocol):
    """The link to a worker, as the transport provides it.

    Attributes:
        on_writable: If set, called after each frame that was read or written, since there may be room for calls.
    """

    on_writable: Callable[[], None] | None

    @property
    def features(self) -> Collection[str]:
        """What the worker can do besides running tools, as its hello says."""

    @property
    def peer(self) -> str:
        """The worker's name for logs."""

    @property
    def open_calls(self) -> int:
        """Calls of the hub that have not ended, including cancelled ones."""

    def calls(self) -> list[WorkerCall]:
        """Returns the open calls that still have a caller."""

    def has_sent(self, call: WorkerCall) -> bool:
        """Returns whether all of a call was sent, so that its tool may have begun."""

    def send(self, call: WorkerCall, payload: Payload) -> None:
        """Sends a call; raises MessageTooLargeError."""

    def cancel(self, call: WorkerCall) -> None:
        """Cancels a call."""

    def grant(self, call: WorkerCall, size: int) -> None:
        """Grants the worker ``size`` more bytes of a stream."""

    def ping(self) -> None:
        """Sends a ping; ``WorkerPool.on_pong`` is called when it is answered."""

    def release(self) -> None:
        """Tells a draining worker that its last call has ended and no more will come."""

    def abort(self, why: str) -> None:
        """Ends the link."""


class Worker:
    """One worker.

    Attributes:
        is_peer: Whether it is another hub.
        id: Its id.
        link: Its link.
        capacity: Maximum number of concurrent calls.
        tools: The tools that it offers.
        suspect: Whether it does not answer pings.
        gone: Whether it gets no more calls: it is draining, or its link has ended.
        reserved: Calls that are about to be sent.
        runs_agents: Whether it is also an agent runtime.
        takes_caller: Whether its tools can be told on whose behalf they are called.
        missed: Consecutive pings that it has not answered.
        connected_at: Seconds since the epoch.
        metrics: Counts the calls that it ran; its running ones are ``active``.
    """

    is_peer = False

    def __init__(self, worker_id: str, link: WorkerLink) -> None:
        self.id = worker_id
        self.link = link
        self.capacity = DEFAULT_CAPACITY
        self.tools: set[RegisteredTool] = set()
        self.suspect = False
        self.gone = False
        self.reserved = 0
        self.runs_agents = AGENTS_FEATURE in link.features
        self.takes_caller = PRINCIPAL_FEATURE in link.features
        self.missed = 0
        self.connected_at = time.time()
        self.metrics = ToolMetrics()

    @property
    def active(self) -> int:
        """Calls that it has or is about to get."""
        return self.link.open_calls + self.reserved

    @property
    def has_room(self) -> bool:
        """Whether it can take a call now."""
        return self.active < self.capacity and not self.suspect
