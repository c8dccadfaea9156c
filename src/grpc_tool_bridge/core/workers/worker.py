"""One worker that has dialled in."""

import time
from collections.abc import Callable, Collection
from typing import Protocol

from grpc_tool_bridge.core.registered_tool import RegisteredTool
from grpc_tool_bridge.link.calls import WorkerCall
from grpc_tool_bridge.rpc.methods import AGENTS_FEATURE

# Calls at once of a worker that does not say how many it takes.
DEFAULT_CAPACITY = 100


class WorkerLink(Protocol):
    """A worker's link, as the hub's transport has it.

    Attributes:
        on_writable: Called after each frame that was read or written, where it is set: there may be room for calls.
    """

    on_writable: Callable[[], None] | None

    @property
    def features(self) -> Collection[str]:
        """What the worker says that it can do besides running tools."""

    @property
    def peer(self) -> str:
        """What the worker calls itself, for logs."""

    @property
    def open_calls(self) -> int:
        """Calls of the hub that were given and have not come to their end, those that were cancelled included."""

    def calls(self) -> list[WorkerCall]:
        """Lists those of them that somebody waits for."""

    def has_sent(self, call: WorkerCall) -> bool:
        """Tells whether all of a call has been sent, so that its tool may have begun."""

    def send(self, call: WorkerCall, payload: bytes) -> None:
        """Sends a call; raises MessageTooLargeError."""

    def cancel(self, call: WorkerCall) -> None:
        """Tells the worker that a call is wanted no more."""

    def grant(self, call: WorkerCall, size: int) -> None:
        """Tells the worker that so many bytes of a stream were used."""

    def ping(self) -> None:
        """Asks for a sign of life; ``WorkerPool.on_pong`` is called when it comes."""

    def release(self) -> None:
        """Tells a worker that drains that no call of it is left and none will come."""

    def abort(self, why: str) -> None:
        """Ends the link."""


class Worker:
    """One worker.

    Attributes:
        id: As it calls itself.
        link: Where it is reached.
        capacity: Calls that it takes at once.
        tools: What it offers.
        suspect: Whether it does not answer.
        gone: Whether it takes no new calls for good: it drains, or its link has ended.
        reserved: Calls that are about to be sent.
        runs_agents: Whether it is an agent runtime, too.
        missed: Pings in a row that it has not answered.
        connected_at: Seconds since the epoch.
    """

    def __init__(self, worker_id: str, link: WorkerLink) -> None:
        self.id = worker_id
        self.link = link
        self.capacity = DEFAULT_CAPACITY
        self.tools: set[RegisteredTool] = set()
        self.suspect = False
        self.gone = False
        self.reserved = 0
        self.runs_agents = AGENTS_FEATURE in link.features
        self.missed = 0
        self.connected_at = time.time()

    @property
    def active(self) -> int:
        """Calls that it has, or is about to get."""
        return self.link.open_calls + self.reserved

    @property
    def has_room(self) -> bool:
        """Whether it takes a call now."""
        return self.active < self.capacity and not self.suspect
