"""Spans that cost little to make.

A span of the SDK is built of some thirty objects by code that a call in a hundred finds in no cache of the processor.
These keep what they are given, and become spans of the SDK in the thread that exports them.
"""

import time
from collections.abc import Callable, Mapping
from random import getrandbits
from typing import Any, Protocol

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from grpc_tool_bridge.telemetry.sampling import ROOT

_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_MAX_ATTRIBUTES = 128

Ended = Callable[["RecordedSpan"], None]


class Starter(Protocol):
    """Starts spans."""

    def start(self, name: str, kind: SpanKind, parent: SpanContext, attributes: dict[str, Any]) -> trace.Span:
        """Starts a span.

        Args:
            name: Its name.
            kind: Its kind.
            parent: The context of its parent; one that is not valid: it begins a trace.
            attributes: Its attributes, which become the span's.
        """
        ...


class RecordedSpan(trace.Span):
    """A span that is recorded.

    Args:
        name: Its name.
        kind: Its kind.
        parent: The context of its parent; None: it begins a trace.
        attributes: Its attributes, which are kept as they are.
        ended: Called once with it, when it has ended.

    Attributes:
        context: As the SDK has it.
    """

    def __init__(
        self,
        name: str,
        kind: SpanKind,
        parent: SpanContext | None,
        attributes: dict[str, Any],
        ended: Ended,
    ) -> None:
        self.name = name
        self.kind = kind
        self.parent = parent
        self.attributes = attributes
        self._ended: Ended | None = ended
        self._began = time.time_ns()
        self._end_time = 0
        self._status: Status | None = None
        self._events: list[Event] = []
        trace_id = getrandbits(128) if parent is None else parent.trace_id
        state = None if parent is None else parent.trace_state
        self.context = SpanContext(trace_id, getrandbits(64) or 1, False, _SAMPLED, state)

    def get_span_context(self) -> SpanContext:
        """See ``trace.Span``."""
        return self.context

    def is_recording(self) -> bool:
        """See ``trace.Span``."""
        return self._ended is not None

    def set_attribute(self, key: str, value: Any) -> None:
        """See ``trace.Span``."""
        if len(self.attributes) < _MAX_ATTRIBUTES or key in self.attributes:
            self.attributes[key] = value

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """See ``trace.Span``."""
        for key, value in attributes.items():
            self.set_attribute(key, value)

    def add_event(self, name: str, attributes: Any = None, timestamp: int | None = None) -> None:
        """See ``trace.Span``."""
        if len(self._events) < _MAX_ATTRIBUTES:
            self._events.append(Event(name, attributes, timestamp))

    def update_name(self, name: str) -> None:
        """See ``trace.Span``."""
        self.name = name

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """See ``trace.Span``."""
        self._status = status if isinstance(status, Status) else Status(status, description)

    def record_exception(
        self, exception: BaseException, attributes: Any = None, timestamp: int | None = None, escaped: bool = False
    ) -> None:
        """Records the type of an exception; its text may quote the arguments of a call."""
        del escaped
        self.add_event("exception", {**(attributes or {}), "exception.type": type(exception).__name__}, timestamp)

    def end(self, end_time: int | None = None) -> None:
        """See ``trace.Span``."""
        ended, self._ended = self._ended, None
        if ended is not None:
            self._end_time = time.time_ns() if end_time is None else end_time
            ended(self)

    def readable(self, resource: Resource, scope: InstrumentationScope) -> ReadableSpan:
        """Returns it as the SDK has it, once it has ended."""
        return ReadableSpan(
            self.name,
            self.context,
            self.parent,
            resource,
            self.attributes,
            self._events,
            kind=self.kind,
            status=self._status or Status(),
            start_time=self._began,
            end_time=self._end_time,
            instrumentation_scope=scope,
        )


class RecordingTracer:
    """Starts such spans.

    Args:
        ended: Called with each, when it has ended.
    """

    def __init__(self, ended: Ended) -> None:
        self._ended = ended

    def start(self, name: str, kind: SpanKind, parent: SpanContext, attributes: dict[str, Any]) -> trace.Span:
        """See ``Starter``."""
        return RecordedSpan(name, kind, parent if parent.is_valid else None, attributes, self._ended)


class SdkTracer:
    """Starts spans of a provider that is not the bridge's own.

    Args:
        tracer: Of that provider.
    """

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer

    def start(self, name: str, kind: SpanKind, parent: SpanContext, attributes: dict[str, Any]) -> trace.Span:
        """See ``Starter``."""
        context = trace.set_span_in_context(trace.NonRecordingSpan(parent), ROOT) if parent.is_valid else ROOT
        return self._tracer.start_span(name, context=context, kind=kind, attributes=attributes)
