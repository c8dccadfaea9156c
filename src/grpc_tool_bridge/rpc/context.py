"""The context of a request: what is known of it besides its message."""

import inspect
from collections.abc import Callable
from typing import Any

from grpc_tool_bridge.errors import UnimplementedError
from grpc_tool_bridge.rpc.asks import Asker
from grpc_tool_bridge.rpc.authentication import Principal
from grpc_tool_bridge.rpc.buffers import Payload
from grpc_tool_bridge.rpc.tracing import TraceContext


class RequestContext:
    """What is known of a request besides its message.

    It is made once, where the request enters, and passed down as one argument. An incoming call of a link is one
    itself, so nothing more is allocated for it. Each argument sets the attribute of its name; ``size`` defaults to that
    of the payload.

    Attributes:
        deadline: When the caller stops waiting, on the monotonic clock; None: the transport set no deadline.
        payload: The request's bytes, if the transport has them and accepts bytes as an answer; else empty. Before a
            call waits, this is set to empty, so that the call does not hold its request twice.
        size: Size of the request in bytes; 0: not known.
        parent: At a hub, the call whose tool made the request; at a worker, what identifies the hub's call in nested
            calls. None for a request from outside.
        peer: The connection that the request came by, if tools can be called back over it; else None.
        principal: On whose behalf it is made: who sent it, as the authenticator says; of a nested call, who sent the
            outermost one. None: the hub does not authenticate, or the hub itself makes it.
        via: How it came from the principal, such as ("agent:planner", "tool:report"); empty: it sent it itself.
        asker: Asks the sender the tool's questions; None: the sender cannot answer.
        source: Where it came from: the edge and the peer's address, such as "rpc ipv4:127.0.0.1:4711"; empty: from this
            process.
        admitted: Whether it is part of a request that was admitted already, such as an item of a batch.
        trace: The trace that it belongs to, as its sender says; None: it says none.
        method: The name of its method, if the transport has one.
        quota: What its sender may still use, of a call from outside that takes the short way; None: it has no quota.
        system: What carried it, in the words of traces: "grpc", "tool_bridge" (a link), "http"; or empty.
    """

    deadline: float | None = None
    payload: Payload = b""
    size = 0
    parent: Any = None
    peer: Any = None
    principal: Principal | None = None
    via: tuple[str, ...] = ()
    asker: Asker | None = None
    source = ""
    admitted = False
    trace: TraceContext | None = None
    method = ""
    quota: Any = None
    system = ""

    def __init__(
        self,
        *,
        deadline: float | None = None,
        parent: Any = None,
        peer: Any = None,
        payload: Payload = b"",
        size: int = 0,
        principal: Principal | None = None,
        via: tuple[str, ...] = (),
        asker: Asker | None = None,
        source: str = "",
    ) -> None:
        self.deadline = deadline
        self.parent = parent
        self.peer = peer
        self.payload = payload
        self.size = size or len(payload)
        self.principal = principal
        if via:
            self.via = via
        if asker is not None:
            self.asker = asker
        if source:
            self.source = source

    def within(self, deadline: float | None, *, admitted: bool = False) -> "RequestContext":
        """Returns the context of a request within this one, with its own deadline and without the payload."""
        made = RequestContext(
            deadline=deadline,
            parent=self.parent,
            peer=self.peer,
            principal=self.principal,
            via=self.via,
            asker=self.asker,
            source=self.source,
        )
        made.size, made.admitted = 0 if admitted else self.size, admitted
        made.trace, made.method, made.system = self.trace, self.method, self.system
        return made


def takes_context(function: Callable[..., Any]) -> bool:
    """Returns whether a method has a parameter ``context`` for the context of its request."""
    return "context" in inspect.signature(function).parameters


class WithContext:
    """Calls methods of an object with the context of the request, if they take one.

    Args:
        target: The object.
    """

    def __init__(self, target: object) -> None:
        self._target = target
        self._takes: dict[str, bool] = {}

    def call(self, attribute: str, request: Any, context: RequestContext) -> Any:
        """Calls a method of this name, and returns what it returns.

        Raises:
            UnimplementedError: There is none, such as for sessions that nobody owns.
        """
        function = getattr(self._target, attribute, None)
        if function is None:
            raise UnimplementedError(f"this hub does not support {attribute}: its settings tell no callers apart")
        takes = self._takes.get(attribute)
        if takes is None:
            takes = self._takes[attribute] = takes_context(function)
        return function(request, context) if takes else function(request)


# For requests from this process, without a parent and a deadline.
LOCAL = RequestContext()
