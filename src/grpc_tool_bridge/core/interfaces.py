"""Interfaces of the hub: what runs a tool, authorizes a call, observes calls, and stores the state of the hub.

Each is a protocol with few methods, and the hub uses no others.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

from google.protobuf import any_pb2

from grpc_tool_bridge.aio.eager import Done
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.sealed import UnreadableValue, ValuePlace
from grpc_tool_bridge.core.session_access import SessionAccess
from grpc_tool_bridge.core.stored import CommitTimes, StoredCall, StoredRun, StoredSession, StoredState
from grpc_tool_bridge.core.variable import Change, Variable
from grpc_tool_bridge.core.writes import Settled, Write
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    CreateReActAgentRequest,
    HubInfo,
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

    def follows(self, context: RequestContext) -> bool:
        """Returns whether a call from outside is to be followed, before anything is done for it.

        What it has decided is kept in ``context.trace``, where ``begin`` finds it.
        """

    def begin(self, call: Any, context: RequestContext) -> None:
        """Called when a call is counted; sets ``call.trace`` if it follows it. Permits are acquired after that."""

    def end(self, call: Any, *, ok: bool, duration_us: int, outcome: Any) -> None:
        """Called once for each call that began, or just those with a ``trace``.

        Args:
            call: The call.
            ok: Whether it succeeded.
            duration_us: Duration in microseconds.
            outcome: As for ``CallObserver.ended``.
        """


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


class ValueSealer(Protocol):
    """Seals values that a durable store is about to write, and opens what it reads. There is none by default."""

    @property
    def seals_all(self) -> bool:
        """Whether the values of all variables are sealed, and not those of secret ones alone."""

    def seal(self, value: any_pb2.Any, place: ValuePlace, *, secret: bool) -> any_pb2.Any:
        """Returns a value sealed with the present key, for one place.

        Args:
            value: The value.
            place: Where it will be stored.
            secret: Whether its variable is secret.
        """
        ...

    def open(self, value: any_pb2.Any, place: ValuePlace, *, secret: bool) -> any_pb2.Any | UnreadableValue:
        """Returns what was sealed, or what stands for it: its key is not there, or it was damaged or moved.

        Args:
            value: A sealed value.
            place: Where it is stored.
            secret: Whether it is stored as that of a secret variable.
        """
        ...

    def is_due(self, value: any_pb2.Any, *, secret: bool) -> bool:
        """Returns whether a stored value ought to be sealed anew: it has an older key, or none though it should.

        Args:
            value: As it is stored.
            secret: Whether it is stored as that of a secret variable.
        """
        ...


@runtime_checkable
class DurableStore(Protocol):
    """Keeps the state of a hub beyond the life of its process. There is none by default.

    Sessions are served from memory; a store takes each change, in order. What a verb returns can be awaited until the
    change is stored, and no caller is answered before that. If a change cannot be stored, so cannot those that came
    after it and are not stored yet: what was built on it in memory is undone with it.

    All verbs are called in the hub's event loop, and none of them blocks it. A change that could not be stored raises,
    where it is awaited, ResourceExhaustedError if the store is full, else StoreError. The changes that only take away
    (``free_call``, ``drop_chunks``, ``drop_run``) are tried again with later ones until they are
    stored.

    Several hubs may share a store that checks ``previous`` of a change itself: then a change that another hub came
    before is a ConflictError.
    """

    async def open(self, settings: Settings) -> StoredState:
        """Takes the store for this hub, and returns what is in it.

        Args:
            settings: How long and how much of what has ended is kept.

        Raises:
            StoreError: Another hub has it, it cannot be read or written, or a newer version wrote it.
        """

    async def aclose(self) -> None:
        """Stores what is on its way, and gives the store back."""

    def abandon(self) -> None:
        """Gives the store back from an event loop that has ended; changes on their way are lost."""

    def reserve_revisions(self, up_to: int) -> Write:
        """Lets no later life of the hub give a revision up to this one again."""

    # ----------------------------------------------------------------------------------------------- sessions

    def create_session(self, session: StoredSession, settled: Settled | None = None) -> Write:
        """Keeps a new session."""

    def set_access(self, session_id: str, access: SessionAccess, settled: Settled | None = None) -> Write:
        """Keeps who may use a session from now on."""

    def end_session(self, session_id: str, why: str, settled: Settled | None = None) -> Write:
        """Removes a session and all that belongs to it, and remembers why it ended."""

    # ---------------------------------------------------------------------------------------------- variables

    def set_variable(
        self, session_id: str, variable: Variable, *, previous: int, hides: bool, settled: Settled
    ) -> Write:
        """Keeps the next state of a variable, and the change for watches.

        Args:
            session_id: Its session.
            variable: The new state, whose value is encoded.
            previous: Revision of the state that it replaces; 0: it is new.
            hides: Whether it became secret, and with it what it was before.
            settled: Told first when it is stored or not.
        """

    def delete_variable(self, session_id: str, change: Change, *, settled: Settled) -> Write:
        """Removes a variable, and keeps the change for watches; ``change.previous`` is the state that it removes."""

    async def changes_after(self, session_id: str, revision: int) -> list[Change] | None:
        """Returns the stored changes of a session's variables after a revision, in order.

        Returns:
            None if some of them are no longer kept (``watch_history``, ``watch_history_bytes``).

        Raises:
            StoreError: They cannot be read.
        """

    # ---------------------------------------------------------------------------- calls with an idempotency key

    async def begin_call(self, session_id: str, key: str, used_for: bytes, *, again: bool) -> StoredCall | None:
        """Notes that a call with a key begins, unless one with that key has begun before.

        Args:
            session_id: Its session.
            key: Its key.
            used_for: Digest of its request.
            again: Whether to begin it also if an earlier one with the same request has no answer.

        Returns:
            None if it may begin; otherwise the earlier one, which is not older than ``answer_ttl``.

        Raises:
            ResourceExhaustedError: The store is full.
            StoreError: It could not be stored.
        """

    def keep_answer(self, session_id: str, key: str, answer: ToolCallResponse, settled: Settled | None = None) -> Write:
        """Keeps the answer of a call that ``begin_call`` let begin, for ``answer_ttl`` seconds."""

    def free_call(self, session_id: str, key: str) -> Write:
        """Forgets a call that ``begin_call`` let begin: it has no answer to keep."""

    # ------------------------------------------------------------------------------------------ agents and runs

    def add_agent(
        self,
        session_id: str,
        agent_id: str,
        definition: CreateReActAgentRequest,
        *,
        settled: Settled | None = None,
    ) -> Write:
        """Keeps an agent; one that is there already stays as it is."""

    def begin_run(self, session_id: str, run: StoredRun) -> Write:
        """Keeps a new run, which has no chunks."""

    def add_chunk(
        self, session_id: str, run_id: str, sequence: int, data: bytes, *, is_last: bool, settled: Settled | None = None
    ) -> Write:
        """Keeps the next chunk of a run."""

    def drop_chunks(self, session_id: str, run_id: str, before: int) -> Write:
        """Forgets the chunks of a run before one."""

    def drop_run(self, session_id: str, run_id: str) -> Write:
        """Forgets a run."""

    # -------------------------------------------------------------------------------------------------- itself

    @property
    def failure(self) -> str:
        """Why the last change could not be stored, without a value; empty once one could."""

    @property
    def is_shared(self) -> bool:
        """Whether another hub may have a session next, which knows only what is stored."""

    @property
    def is_failing(self) -> bool:
        """Whether nothing can be stored. A store that has reached its limit still takes what frees room."""

    def watch_failure(self, changed: Callable[[], None]) -> None:
        """Calls ``changed`` in the loop when ``is_failing`` has changed."""

    def counts(self) -> dict[str, int | float | str]:
        """Returns the store's metrics by name, each beginning with "store_".

        A store that has nothing to say of one leaves it out: ``store_changes`` that were stored, and ``store_failures``
        to do so; ``store_waiting``, changes that are not stored yet; ``store_bytes`` and ``store_log_bytes``, its size,
        and ``store_limit_bytes``, how large it may become, 0 for any size.
        """

    def commit_times(self) -> CommitTimes:
        """Returns how long its commits took."""


class Recorder(Protocol):
    """Records what clients and the hub say to one another. There is none by default."""

    def attach(self, hub: Any) -> Any:
        """Begins to record a hub; returns what is to be served instead of it."""

    async def aclose(self) -> None:
        """Ends the recording."""


class HubDirectory(Protocol):
    """The hubs of a cluster, as one of them sees them. There is none by default."""

    @property
    def name(self) -> str:
        """The name of this hub."""

    @property
    def incarnation(self) -> str:
        """Identifies this life of the hub; another one after it was declared dead and began anew."""

    def hubs(self) -> Sequence[HubInfo]:
        """Returns a new row for each hub, this one too, and those that have gone lately.

        Each row has the name, the incarnation, the address, ``is_self``, ``state`` (and the ``reason``), ``room`` and,
        for other hubs, ``link`` and ``link_error``. What only a hub itself knows is asked of it.
        """
        ...

    async def ask(self, incarnation: str, method: str, request: bytes, timeout: float, caller: str) -> bytes:
        """Makes a unary request to another hub over its link, which answers it itself.

        Args:
            incarnation: Which hub.
            method: The name of the method.
            request: The serialized request.
            timeout: Seconds for the answer.
            caller: On whose behalf, as ``told_of`` writes it; empty: on this hub's own.

        Returns:
            The serialized response.

        Raises:
            ToolBridgeError: What the hub answered; or UnavailableError, it has no link or did not answer.
        """
        ...

    def counts(self) -> Mapping[str, int | float | str]:
        """Returns the metrics of the cluster by name, each beginning with "cluster_".

        What there is nothing to say of is left out. Gauges: ``cluster_hubs_serving``, ``cluster_hubs_cut_off``,
        ``cluster_hubs_gone``, ``cluster_links``, ``cluster_sessions_owned``, ``cluster_certain`` (0 or 1). Counters:
        ``cluster_forwarded_requests``, ``cluster_peer_calls_sent``, ``cluster_peer_calls_run``, ``cluster_takes``,
        ``cluster_sessions_lost``, ``cluster_renewals`` and the ``cluster_renewal_seconds`` that they took together,
        ``cluster_renewal_failures``, ``cluster_frames_sent``, ``cluster_frames_received``,
        ``cluster_frames_refused``, ``cluster_fenced_writes``, ``cluster_reconnects``.
        """
        ...


class PeerMemory(Protocol):
    """The connections of a hub, and what they hold."""

    def __len__(self) -> int:
        """Counts those that have something open."""

    @property
    def links(self) -> int:
        """Links that are open."""

    @property
    def used(self) -> int:
        """Bytes that all connections hold."""

    @property
    def limit(self) -> int:
        """Bytes that one connection may hold."""

    @property
    def most_used(self) -> int:
        """Bytes that the largest connection holds."""

    @property
    def refused(self) -> int:
        """Number of refused charges."""
