"""What follows calls from one process to the next, if anything does.

A process that traces sets ``process.tracing``, and whatever makes or runs calls looks there. Nothing here knows who
records the spans.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol, Self, TypeVar

from grpc_tool_bridge.errors import ToolBridgeError

T = TypeVar("T")

# Keys of W3C Trace Context: in metadata, headers and the ``_meta`` of MCP.
TRACEPARENT, TRACESTATE = "traceparent", "tracestate"

_KEYS = frozenset({TRACEPARENT, TRACESTATE})

# A feature in the hello of a peer that traces: its calls without a traceparent are not sampled.
TRACE_FEATURE = "trace"

# Characters of a tracestate that is passed on: what W3C asks for at least.
MAX_TRACESTATE_CHARS = 512
# Of a traceparent; a later version of the format may be longer.
_TRACEPARENT_CHARS = range(55, 256)


class TraceContext(NamedTuple):
    """The trace that a request belongs to, as its sender says.

    Attributes:
        traceparent: Its ids and flags.
        tracestate: What vendors add; may be empty.
    """

    traceparent: str
    tracestate: str = ""


# Of a request for which it was decided that it is not sampled.
UNSAMPLED = TraceContext("")


class Span(Protocol):
    """A part of a trace that is recorded. As a context manager, it is current inside, and ends with it."""

    @property
    def headers(self) -> Mapping[str, str]:
        """What makes a request its child: ``traceparent``, and ``tracestate`` if there is one."""

    @property
    def ids(self) -> tuple[str, str]:
        """The ids of the trace and of the span, in hex."""

    def use(self) -> AbstractContextManager[None]:
        """Makes it the current span; it goes on after that."""

    def add(self, attributes: Mapping[str, Any]) -> None:
        """Adds attributes."""

    def end(self, error_type: str = "") -> None:
        """Ends it; as an error if it is given a type of one."""

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None: ...


class CallSpan(Span, Protocol):
    """The span of a call at the process that admits or runs it."""

    def waits(self) -> None:
        """Notes that the call begins to wait for permits or for a worker."""

    def waited(self) -> None:
        """Notes that the wait is over."""

    def around(self, call: Any, running: Awaitable[T]) -> Coroutine[Any, Any, T]:
        """Returns a coroutine that runs the tool of a call within a span of its own."""

    def around_stream(self, call: Any, values: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
        """Returns a generator that runs a tool that yields within a span of its own."""


class Tracing(Protocol):
    """Makes the spans of a process; each method returns None if the trace is not sampled.

    Attributes:
        module_of_processes: The module whose ``start`` begins to trace in a process that runs tools.
    """

    module_of_processes: str

    def draws(self) -> bool:
        """Decides whether a request that is made now is traced."""

    def sent(self, method: str, name: str, session_id: str, *, linked: bool, drawn: bool = False) -> Span | None:
        """Returns the span of a request that this process makes as a client.

        Args:
            method: Such as "ExecuteTool".
            name: The tool, or the id of the agent.
            session_id: The session.
            linked: Whether it goes over a link.
            drawn: Whether ``draws`` has decided that it is traced.
        """

    def follows(self, context: Any) -> bool:
        """Returns whether a request is traced; called once for it, before ``served``, if it is a usual one."""

    def begin(self, call: Any, context: Any) -> None:
        """Begins the span of a call of a hub; see ``Tracer``."""

    def end(self, call: Any, *, ok: bool, duration_us: int, outcome: Any) -> None:
        """Ends the span of a call of a hub, likewise."""

    def served(self, call: Any, context: Any) -> CallSpan | None:
        """Returns the span of a call that a hub has sent to this process.

        Args:
            call: The call.
            context: The context of its request.
        """

    def agent(self, agent_id: str, session_id: str, model: str, context: Any) -> Span | None:
        """Returns the span of a run of an agent."""

    def step(self, number: int) -> Span | None:
        """Returns the span of a step of the run whose span is current."""

    def asked(self, model: str) -> Span | None:
        """Returns the span of a request to a model."""

    def called(self, path: str, address: str) -> Span | None:
        """Returns the span of a request to a gRPC service; ``path`` is that of its method."""

    def headers(self) -> Mapping[str, str]:
        """Returns what makes a request the child of the current span; nothing if that is not sampled."""

    def ids(self) -> tuple[str, str] | None:
        """Returns the ids of the current trace and span."""

    def received(self, context: TraceContext) -> AbstractContextManager[None]:
        """Makes the span of a request that came current, so that what is called within is its child."""


# Reads the metrics of a hub: families as of ``prometheus_client``.
ReadMetrics = Callable[[], Coroutine[Any, Any, Iterable[Any]]]


class _Process:
    """What is known of this process.

    Attributes:
        tracing: Makes its spans; None: it does not trace.
        export_metrics: Exports the metrics of a hub: takes what reads them in the running event loop, and returns what
            ends that; None: metrics are not exported.
    """

    tracing: Tracing | None = None
    export_metrics: Callable[[ReadMetrics], Callable[[], None]] | None = None


process = _Process()


def usage(asked: int, answered: int) -> dict[str, int]:
    """Returns the attributes for the tokens of a model: those of prompts and those of answers."""
    return {"gen_ai.usage.input_tokens": asked, "gen_ai.usage.output_tokens": answered}


def error_type_of(error: BaseException) -> str:
    """Returns the type of an error, as spans have it: that of the bridge's error, else the name of its class."""
    return error.error_type if isinstance(error, ToolBridgeError) else type(error).__name__


def trace_of(metadata: Mapping[str, str]) -> TraceContext | None:
    """Returns the trace that metadata names; None: none."""
    traceparent = metadata.get(TRACEPARENT)
    if traceparent is None or len(traceparent) not in _TRACEPARENT_CHARS:
        return None
    tracestate = metadata.get(TRACESTATE, "")
    return TraceContext(traceparent, tracestate if len(tracestate) <= MAX_TRACESTATE_CHARS else "")


def is_trace_only(keys: AbstractSet[str]) -> bool:
    """Returns whether metadata with these keys says nothing but which trace its request belongs to."""
    return keys <= _KEYS


def hello_features() -> tuple[str, ...]:
    """Returns the features in this process's hello that are about traces."""
    return (TRACE_FEATURE,) if process.tracing is not None else ()
