"""The seams of the hub: what runs a tool, what may refuse a call, what follows calls, and what outlives the process.

Each is a protocol with few verbs. The hub asks nothing else of what stands behind them.
"""

from collections.abc import AsyncGenerator, Awaitable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from grpc_tool_bridge.aio.eager import Done
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    LogRecord,
    Progress,
    ToolCallItem,
    ToolCallRequest,
    ToolCallResponse,
    ToolCallResult,
    ToolStreamChunk,
    ToolStreamRequest,
)
from grpc_tool_bridge.rpc.context import RequestContext

# The call as the hub has it: a HubCall, with its session, its tool and its deadline.
C_contra = TypeVar("C_contra", contravariant=True)


class Cancellable(Protocol):
    """What goes on in the background."""

    def cancel(self) -> object:
        """Ends it; whoever waits for it is called back with CancelledError."""


class Abortable(Protocol):
    """What waits for the outcome of a call."""

    @property
    def payload(self) -> bytes:
        """The bytes of its request, where they are still held; else empty."""

    def abort(self, error: BaseException) -> None:
        """Ends it with an error."""


class Backend(Protocol[C_contra]):
    """Runs the calls of a tool: the functions of this process, a worker, another hub.

    A call goes through ``prepare``, which refuses what cannot be run before the call takes a permit, and then through
    ``call`` or ``stream``.
    """

    def prepare(
        self, call: C_contra, request: ToolCallRequest | ToolCallItem | ToolStreamRequest, payload: bytes, size: int
    ) -> Awaitable[None] | None:
        """Checks the request and keeps in ``call.prepared`` what is needed of it, so that nothing else holds it.

        Args:
            call: The call.
            request: What it asks for.
            payload: The request's bytes; empty: the transport has none.
            size: Their number; 0: not known.

        Returns:
            None, or what to await where the request is large.

        Raises:
            ToolBridgeError: The request cannot be run.
        """

    def call(
        self, call: C_contra, request: Any, answer: ToolCallResponse | ToolCallResult, *, as_bytes: bool
    ) -> Awaitable[bytes | None]:
        """Runs the call and fills in ``answer``: ``success`` and the result, or the error.

        Args:
            call: The call; it was admitted.
            request: As given to ``prepare``.
            answer: What the caller gets.
            as_bytes: Whether the caller takes the whole answer as bytes.

        Returns:
            What to await; it gives the serialized ToolCallResponse, where the backend has it as bytes and ``as_bytes``
            is set; ``answer`` has only ``success`` then. Else None.

        Raises (when it is awaited):
            BaseException: Any; it becomes the call's error.
        """
        ...

    def stream(
        self, call: C_contra, request: ToolStreamRequest, *, as_bytes: bool
    ) -> AsyncGenerator[ToolStreamChunk | bytes, None]:
        """Runs a stream; yields its chunks but the last one.

        The last one is made by the hub, unless the backend puts it into ``call.last_chunk``, and its error, if it is
        one, into ``call.error``.

        Raises:
            BaseException: Any; the stream ends with it.
        """

    def try_call(self, call: C_contra, request: ToolCallRequest, payload: bytes, done: Done) -> Cancellable | None:
        """Starts a call that is called back, where it need not wait for anything but its outcome.

        Args:
            call: The call; it was admitted, and nobody prepared it.
            request: What it asks for.
            payload: The request's bytes.
            done: Called once, and not before this returns: with an object that has ``success`` and ``data``, the
                serialized ToolCallResponse; or with the error.

        Returns:
            What ends it; None where the call cannot go this way, and nothing has happened.

        Raises:
            ToolBridgeError: The request cannot be run.
        """


class Authorizer(Protocol):
    """Decides whether a call may be made. There is none by default: everybody may call what their session sees."""

    def authorize(self, call: Any, context: RequestContext) -> None:
        """Lets a call pass, or raises AccessError. ``call`` has ``session`` and ``tool``, ``context`` its principal."""


class Tracer(Protocol):
    """Follows calls: each that was opened, its nested ones and agents' runs included. There is none by default."""

    def begin(self, call: Any, context: RequestContext) -> None:
        """Called when a call was opened; it waits for its permits next."""

    def end(self, call: Any, *, ok: bool, duration_us: int) -> None:
        """Called once for each call that began, with its outcome and the microseconds that it took."""


class CallObserver(Protocol):
    """Is told more of calls than a tracer, while somebody watches them. There is none otherwise."""

    def started(self, call: Any, request: Any) -> None:
        """Called when a call was opened; ``request`` is what it asks for, None where that is not known."""

    def moved(self, call: Any) -> None:
        """Called when a call begins to wait, has waited, or was given to a worker."""

    def told(self, call: Any, event: Progress | LogRecord) -> None:
        """Called with what its tool reports on the way; from any thread."""

    def ended(self, call: Any, *, ok: bool, duration_us: int, outcome: Any) -> None:
        """Called once for each call that began.

        Args:
            call: The call.
            ok: Whether it succeeded.
            duration_us: Microseconds that it took.
            outcome: What has ``result`` and ``error``; the bytes of a ToolCallResponse; the ErrorInfo or the exception
                that it ended with; or None, where that is not known.
        """


@dataclass(frozen=True, slots=True)
class Record:
    """One change of the hub's state, for a journal.

    Attributes:
        kind: "session-created", "session-ended", "variable-set" or "variable-deleted".
        session_id: Whose state.
        name: Of the variable; empty for a session.
        value: What is there now, a Session or a Variable; None where it is gone.
    """

    kind: str
    session_id: str
    name: str = ""
    value: Any = None


class Journal(Protocol):
    """Keeps the hub's state beyond its process. There is none by default: what the hub holds ends with it.

    Sessions stay the working set in memory; a journal is told of each change, in order.
    """

    def append(self, record: Record) -> None:
        """Takes a change; called in the event loop, so that it must not block."""

    def replay(self) -> Iterable[Record]:
        """Gives back the changes that make the present state, in order."""
