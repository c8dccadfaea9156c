"""Interfaces of the hub: what runs a tool, authorizes a call, observes calls, and stores the state of the hub.

Each is a protocol with few methods, and the hub uses no others.
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
from grpc_tool_bridge.rpc.buffers import Payload
from grpc_tool_bridge.rpc.context import RequestContext

# The call of the hub, a HubCall.
C_contra = TypeVar("C_contra", contravariant=True)


class Cancellable(Protocol):
    """An operation in the background."""

    def cancel(self) -> object:
        """Cancels it; its callback gets a CancelledError."""


class Abortable(Protocol):
    """A pending call."""

    @property
    def payload(self) -> Payload:
        """The bytes of its request if they are still held, else empty."""

    def abort(self, error: BaseException) -> None:
        """Ends it with ``error``."""


class Backend(Protocol[C_contra]):
    """Runs the calls of a tool: functions of this process, a worker, or another hub.

    ``prepare`` refuses an invalid call before it takes a permit; then ``call`` or ``stream`` runs it.
    """

    def prepare(
        self, call: C_contra, request: ToolCallRequest | ToolCallItem | ToolStreamRequest, payload: Payload, size: int
    ) -> Awaitable[None] | None:
        """Checks the request, and keeps in ``call.prepared`` what is needed of it, so that the rest can be freed.

        Args:
            call: The call.
            request: The request.
            payload: The request's bytes; empty if the transport has none.
            size: Bytes of the request; 0 if not known.

        Returns:
            None, or an awaitable if the request is large.

        Raises:
            ToolBridgeError: The request is not valid.
        """

    def call(
        self, call: C_contra, request: Any, answer: ToolCallResponse | ToolCallResult, *, as_bytes: bool
    ) -> Awaitable[Payload | None]:
        """Runs the call and fills in ``answer``: ``success`` and the result, or the error.

        Args:
            call: The call; it has its permits.
            request: As given to ``prepare``.
            answer: The answer to the caller.
            as_bytes: Whether the caller accepts the whole answer as bytes.

        Returns:
            An awaitable of the serialized ToolCallResponse if ``as_bytes`` is set and the backend has it as bytes;
            ``answer`` then has only ``success``. Otherwise an awaitable of None.

        Raises (when it is awaited):
            BaseException: Any exception; it becomes the call's error.
        """
        ...

    def stream(
        self, call: C_contra, request: ToolStreamRequest, *, as_bytes: bool
    ) -> AsyncGenerator[ToolStreamChunk | Payload, None]:
        """Runs a stream; yields all chunks except the last.

        The hub creates the last chunk, unless the backend sets ``call.last_chunk`` and, if the stream failed,
        ``call.error``.

        Raises:
            BaseException: Any exception; it becomes the stream's error.
        """

    def try_call(
        self, call: C_contra, request: ToolCallRequest | None, payload: Payload, done: Done
    ) -> Cancellable | None:
        """Starts a call that reports to a callback, if it has to wait only for its outcome.

        Args:
            call: The call; it has its permits, but is neither prepared nor counted.
            request: The request; None if its arguments were checked already.
            payload: The request's bytes.
            done: Called once, after this method has returned: with an object that has ``success`` and ``data`` (the
                serialized ToolCallResponse), or with the error.

        Returns:
            A handle that cancels the call; None if the call cannot be run this way, and nothing was started.

        Raises:
            ToolBridgeError: The request is not valid.
        """


class Authorizer(Protocol):
    """Decides whether a call is allowed. Without one, every caller may call every tool that its session sees."""

    def authorize(self, call: Any, context: RequestContext) -> None:
        """Checks whether a call is allowed; ``call`` has ``session`` and ``tool``, ``context`` has the principal.

        Raises:
            AccessError: The call is not allowed.
        """


class Tracer(Protocol):
    """Observes every call, including nested calls and agent runs. There is none by default."""

    def begin(self, call: Any, context: RequestContext) -> None:
        """Called when a call is counted. Most calls acquire their permits after that."""

    def end(self, call: Any, *, ok: bool, duration_us: int) -> None:
        """Called once for each call that began, with its outcome and its duration in microseconds."""


class CallObserver(Protocol):
    """Receives more details of calls than a tracer. It is set only while the hub is watched."""

    def started(self, call: Any, request: Any) -> None:
        """Called when a call is counted; ``request`` is a message or its bytes, or None if it is not known."""

    def moved(self, call: Any) -> None:
        """Called when a call begins to wait, stops waiting, or is sent to a worker."""

    def told(self, call: Any, event: Progress | LogRecord) -> None:
        """Called with progress and log records of its tool; from any thread."""

    def ended(self, call: Any, *, ok: bool, duration_us: int, outcome: Any) -> None:
        """Called once for each call that began.

        Args:
            call: The call.
            ok: Whether it succeeded.
            duration_us: Duration in microseconds.
            outcome: A message with ``result`` and ``error``; the bytes of a ToolCallResponse; the ErrorInfo or the
                exception that ended the call; or None if it is not known.
        """


@dataclass(frozen=True, slots=True)
class Record:
    """One change of the hub's state, for a journal.

    Attributes:
        kind: "session-created", "session-ended", "variable-set" or "variable-deleted".
        session_id: The session.
        name: The variable's name; empty for a session.
        value: The new state, a Session or a Variable; None if it was deleted.
    """

    kind: str
    session_id: str
    name: str = ""
    value: Any = None


class Journal(Protocol):
    """Stores the hub's state beyond the life of its process. There is none by default.

    Sessions are still served from memory; a journal receives each change, in order, once it is in effect.
    """

    def append(self, record: Record) -> None:
        """Records a change.

        It is called in the event loop, so it must not block. Nor may it raise: the change is not undone.
        """

    def replay(self) -> Iterable[Record]:
        """Returns the changes that lead to the current state, in order."""


class Recorder(Protocol):
    """Records what clients and the hub say to one another. There is none by default."""

    def attach(self, hub: Any) -> Any:
        """Begins to record a hub; returns what is to be served instead of it."""

    async def aclose(self) -> None:
        """Ends the recording."""
