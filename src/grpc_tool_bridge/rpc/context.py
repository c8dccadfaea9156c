"""What is known of a request beside its message."""

import inspect
from collections.abc import Callable
from typing import Any

from grpc_tool_bridge.rpc.asks import Asker
from grpc_tool_bridge.rpc.authentication import Principal


class RequestContext:
    """What is known of a request beside its message.

    It is made once, where the request enters, and passed down as one argument. A link's incoming call is one itself, so
    that nothing more is allocated for it. Each argument is the attribute of its name; ``size`` is that of the payload
    where not given.

    Attributes:
        deadline: When its caller stops waiting, on the monotonic clock; None: the transport set no deadline.
        payload: The request's bytes, where the transport has them and accepts bytes as an answer; else empty. Whoever
            is about to wait sets it to empty, so that a call that waits does not hold its request twice.
        size: Bytes of the request; 0: not known.
        parent: At a hub, the call whose tool made the request; at a worker, what names the hub's call in further calls
            that are made for it. None for a request from outside.
        peer: The connection that the request came by, where the answerer can call back; else None.
        principal: Who sent it, as the authenticator says; None: nobody was asked to say who they are.
        asker: Puts a tool's questions to whoever sent it; None: they cannot answer.
        admitted: Whether it belongs to a request that was admitted already, as an item of a batch does.
    """

    deadline: float | None = None
    payload: bytes = b""
    size = 0
    parent: Any = None
    peer: Any = None
    principal: Principal | None = None
    asker: Asker | None = None
    admitted = False

    def __init__(
        self,
        *,
        deadline: float | None = None,
        parent: Any = None,
        peer: Any = None,
        payload: bytes = b"",
        size: int = 0,
        principal: Principal | None = None,
        asker: Asker | None = None,
    ) -> None:
        self.deadline = deadline
        self.parent = parent
        self.peer = peer
        self.payload = payload
        self.size = size or len(payload)
        self.principal = principal
        if asker is not None:
            self.asker = asker

    def within(self, deadline: float | None, *, admitted: bool = False) -> "RequestContext":
        """Makes the context of a request within this one, with a deadline of its own and without the payload."""
        made = RequestContext(
            deadline=deadline, parent=self.parent, peer=self.peer, principal=self.principal, asker=self.asker
        )
        made.size, made.admitted = 0 if admitted else self.size, admitted
        return made


def takes_context(function: Callable[..., Any]) -> bool:
    """Returns whether a method wants the context of its request: it has a parameter of this name."""
    return "context" in inspect.signature(function).parameters


# Of a request that was made in this process, by nobody's call and with no deadline.
LOCAL = RequestContext()
