"""Makes the spans of a process: of requests that it sends, of calls that it serves, of agents and models."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from random import random
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.span import TraceState

from grpc_tool_bridge.core.infos import error_of
from grpc_tool_bridge.rpc.methods import METHODS
from grpc_tool_bridge.rpc.tracing import UNSAMPLED, TraceContext
from grpc_tool_bridge.telemetry import conventions as names
from grpc_tool_bridge.telemetry.recorded import Starter
from grpc_tool_bridge.telemetry.sampling import Sampling
from grpc_tool_bridge.telemetry.spans import OtelSpan, headers_of, ids_of

# How calls are made that are RPCs; those by HTTP are requests of its own.
_RPC_SYSTEMS = frozenset({"grpc", "tool_bridge"})
_NO_HEADERS: Mapping[str, str] = {}
# The parent of a span that begins a trace.
NEW = trace.INVALID_SPAN_CONTEXT
# Later versions may add fields after these four.
_TRACEPARENT = re.compile("([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_PATHS = {name: method.path.removeprefix("/") for name, method in METHODS.items()}


class OtelTracing:
    """Makes the spans of a process; see ``Tracing``, and ``Tracer`` for the calls of a hub.

    Args:
        starter: Starts them.
        sampling: Decides which traces are recorded.
    """

    module_of_processes = "grpc_tool_bridge.telemetry.tool_process"

    def __init__(self, starter: Starter, sampling: Sampling) -> None:
        self._starter = starter
        self._sampling = sampling

    # --------------------------------------------------------------------------------------------- of this process

    def draws(self) -> bool:
        """See ``Tracing``."""
        if trace.get_current_span() is trace.INVALID_SPAN:
            return random() < self._sampling.ratio  # noqa: S311 - not for security
        return self._parent_here() is not None

    def sent(self, method: str, name: str, session_id: str, *, linked: bool, drawn: bool = False) -> OtelSpan | None:
        """See ``Tracing``."""
        parent = self._recorded_here() or NEW if drawn else self._parent_here()
        if parent is None:
            return None
        is_agent = method == "ExecuteAgent"
        attributes: dict[str, Any] = {
            names.RPC_SYSTEM: "tool_bridge" if linked else "grpc",
            names.RPC_METHOD: _PATHS[method],
            names.SESSION: session_id,
        }
        if name:
            attributes[names.AGENT_ID if is_agent else names.TOOL_NAME] = name
        return self._span(_PATHS[method], SpanKind.CLIENT, parent, attributes)

    def agent(self, agent_id: str, session_id: str, model: str, context: Any) -> OtelSpan | None:
        """See ``Tracing``."""
        parent = self._parent_of(context)
        if parent is None:
            return None
        attributes: dict[str, Any] = {
            names.OPERATION: "invoke_agent",
            names.AGENT_ID: agent_id,
            names.CONVERSATION: session_id,
            **_model(model),
        }
        return self._span("invoke_agent", SpanKind.INTERNAL, parent, attributes)

    def step(self, number: int) -> OtelSpan | None:
        """See ``Tracing``."""
        parent = self._recorded_here()
        return None if parent is None else self._span("step", SpanKind.INTERNAL, parent, {names.STEP: number})

    def asked(self, model: str) -> OtelSpan | None:
        """See ``Tracing``."""
        parent = self._recorded_here()
        if parent is None:
            return None
        attributes: dict[str, Any] = {names.OPERATION: "chat", **_model(model)}
        return self._span(f"chat {attributes.get(names.MODEL, '')}".strip(), SpanKind.CLIENT, parent, attributes)

    def called(self, path: str, address: str) -> OtelSpan | None:
        """See ``Tracing``."""
        parent = self._recorded_here()
        if parent is None:
            return None
        method = path.removeprefix("/")
        attributes: dict[str, Any] = {names.RPC_SYSTEM: "grpc", names.RPC_METHOD: method, names.SERVER_ADDRESS: address}
        return self._span(method, SpanKind.CLIENT, parent, attributes)

    def headers(self) -> Mapping[str, str]:
        """See ``Tracing``."""
        known = trace.get_current_span().get_span_context()
        return headers_of(known) if known.trace_flags.sampled else _NO_HEADERS

    def ids(self) -> tuple[str, str] | None:
        """See ``Tracing``."""
        span = trace.get_current_span()
        return ids_of(span) if span.get_span_context().is_valid else None

    @contextmanager
    def received(self, context: TraceContext) -> Iterator[None]:
        """See ``Tracing``."""
        token = attach(trace.set_span_in_context(NonRecordingSpan(_extracted(context)), Context()))
        try:
            yield
        finally:
            detach(token)

    # ------------------------------------------------------------------------------------- of calls of others

    def follows(self, context: Any) -> bool:
        """See ``Tracing`` and ``Tracer``."""
        sent = context.trace
        if sent is None and getattr(context.peer, "peer_samples", False):
            return False
        if sent is UNSAMPLED or sent is _DRAWN:
            return sent is _DRAWN
        is_taken = self._sampling.draws() if sent is None else self._sampling.takes(sent)
        if not is_taken:
            context.trace = UNSAMPLED
        elif sent is None:
            # So that it is not drawn again.
            context.trace = _DRAWN
        return is_taken

    def served(self, call: Any, context: Any) -> OtelSpan | None:
        """See ``Tracing``."""
        return self._served(call, context)

    def begin(self, call: Any, context: Any) -> None:
        """See ``Tracer``."""
        if context.trace is not UNSAMPLED:
            call.trace = self._served(call, context)

    def end(self, call: Any, *, ok: bool, duration_us: int, outcome: Any) -> None:
        """See ``Tracer``."""
        del duration_us
        span: OtelSpan | None = call.trace
        if span is None:
            return
        attributes: dict[str, Any] = {names.REQUEST: call.identify()}
        if call.worker is not None:
            attributes[names.WORKER] = call.worker.id
        if call.run_id:
            attributes[names.RUN] = call.run_id
        span.add(attributes)
        span.end("" if ok else error_of(outcome).type or "_OTHER")

    def _served(self, call: Any, context: Any) -> OtelSpan | None:
        parent = self._parent_of(context, above=context.parent if context.parent is not None else call.parent)
        if parent is None:
            return None
        run_id = getattr(call, "run_id", "")
        method = context.method or ("ExecuteAgent" if run_id else "ExecuteTool")
        attributes: dict[str, Any] = {names.SESSION: call.session.id}
        if context.system in _RPC_SYSTEMS:
            attributes[names.RPC_SYSTEM] = context.system
            attributes[names.RPC_METHOD] = _PATHS[method]
        attributes[names.AGENT_ID if run_id else names.TOOL_NAME] = call.tool.name
        kind = SpanKind.SERVER if context.system or context.parent is None else SpanKind.INTERNAL
        return self._span(_PATHS[method], kind, parent, attributes)

    # --------------------------------------------------------------------------------------------------- parents

    def _span(self, name: str, kind: SpanKind, parent: SpanContext, attributes: dict[str, Any]) -> OtelSpan | None:
        span = self._starter.start(name, kind, parent, attributes)
        return OtelSpan(span, self._starter) if span.is_recording() else None

    def _parent_of(self, context: Any, above: Any = None) -> SpanContext | None:
        """Returns the parent of a request's span; None: the request is not recorded."""
        sent = context.trace
        if sent is _DRAWN:
            return NEW
        if sent is UNSAMPLED:
            return None
        if sent is not None:
            return _extracted(sent) if self._sampling.takes(sent) else None
        is_made_here = context.peer is None and not context.system
        if above is not None and hasattr(above, "trace"):
            # A call of a tool is in the trace of the call that the tool runs for, or in none.
            made_for: OtelSpan | None = above.trace
            if made_for is None:
                return None
            return (self._recorded_here() if is_made_here else None) or made_for.span.get_span_context()
        if is_made_here:
            return self._parent_here()
        if getattr(context.peer, "peer_samples", False) or not self._sampling.draws():
            return None
        return NEW

    def _parent_here(self) -> SpanContext | None:
        """Returns the parent of a span that begins in this task; None: it is not recorded."""
        known = trace.get_current_span().get_span_context()
        if known.is_valid:
            return known if known.trace_flags.sampled or not self._sampling.honours_parent else None
        return NEW if self._sampling.draws() else None

    def _recorded_here(self) -> SpanContext | None:
        """Returns the current span if it is recorded; what is part of something begins no trace."""
        known = trace.get_current_span().get_span_context()
        return known if known.trace_flags.sampled else None


# Of a request that was drawn to begin a trace.
_DRAWN = TraceContext("drawn")


def _extracted(sent: TraceContext) -> SpanContext:
    """Returns the context of a request's sender; one that names none begins a trace."""
    found = _TRACEPARENT.fullmatch(sent.traceparent)
    if found is None or found[1] == "ff":
        return NEW
    state = TraceState.from_header([sent.tracestate]) if sent.tracestate else None
    return SpanContext(int(found[2], 16), int(found[3], 16), True, TraceFlags(int(found[4], 16) & 1), state)


def _model(model: str) -> dict[str, str]:
    """Returns the attributes of a model, whose name may begin with its provider's."""
    provider, _, name = model.rpartition("/")
    return {names.MODEL: name, **({names.PROVIDER: provider} if provider else {})} if model else {}
