"""A collector of OpenTelemetry: a gRPC server that keeps the spans and metrics that it is sent."""

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage
from opentelemetry.proto.trace.v1.trace_pb2 import Status

SECONDS = 10.0


@dataclass(eq=False)
class Seen:
    """A span that has arrived.

    Attributes:
        name, kind: Its name; its kind in lower case, such as "server".
        trace_id, span_id, parent_id: In hex.
        attributes: By name.
        error: Whether its status is an error.
        service: The name of its service.
        began, ended: In nanoseconds.
        children: Its children, in the order in which they began.
    """

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, Any]
    error: bool
    service: str
    began: int
    ended: int
    children: list["Seen"] = field(default_factory=list)

    @property
    def short(self) -> str:
        """Its name without the package and the service of a method."""
        return self.name.rpartition("/")[2]

    def shape(self) -> Any:
        """Returns its name and kind, and the shapes of its children, if it has any."""
        own = f"{self.kind} {self.short}"
        return (own, *(child.shape() for child in self.children)) if self.children else own

    def find(self, name: str) -> "Seen":
        """Returns the first span of this name in its tree, itself first."""
        for span in self.walk():
            if span.short == name:
                return span
        raise LookupError(name)

    def walk(self) -> Iterator["Seen"]:
        """Yields the spans of its tree."""
        yield self
        for child in self.children:
            yield from child.walk()


class Collector(trace_service_pb2_grpc.TraceServiceServicer, metrics_service_pb2_grpc.MetricsServiceServicer):
    """Keeps what it is sent.

    Attributes:
        address: Where it listens.
        spans: All spans, in the order of their arrival.
        metrics: The last points of each metric, by its name.
    """

    def __init__(self) -> None:
        self.address = ""
        self.spans: list[Seen] = []
        self.metrics: dict[str, list[tuple[dict[str, Any], Any]]] = {}
        self._news = threading.Condition()

    def Export(self, request: Any, context: Any) -> Any:
        """Takes spans, or metrics."""
        del context
        is_spans = isinstance(request, trace_service_pb2.ExportTraceServiceRequest)
        with self._news:
            if is_spans:
                self.spans.extend(_spans(request))
            else:
                self.metrics.update(_metrics(request))
            self._news.notify_all()
        if is_spans:
            return trace_service_pb2.ExportTraceServiceResponse()
        return metrics_service_pb2.ExportMetricsServiceResponse()

    def roots(self) -> list[Seen]:
        """Returns the trees of what has arrived; a span whose parent has not arrived is a root."""
        with self._news:
            spans = sorted(self.spans, key=lambda span: span.began)
        known = {span.span_id: span for span in spans}
        for span in spans:
            span.children = []
        roots: list[Seen] = []
        for span in spans:
            parent = known.get(span.parent_id)
            (roots if parent is None else parent.children).append(span)
        return roots

    async def until(self, found: Callable[["Collector"], Any]) -> Any:
        """Waits until ``found`` returns something true of this collector, and returns that."""

        def wait() -> Any:
            with self._news:
                self._news.wait_for(lambda: found(self), SECONDS)
            return found(self)

        result = await asyncio.to_thread(wait)
        assert result, [root.shape() for root in self.roots()]
        return result

    async def tree(self, *names: str, parent: str = "") -> Seen:
        """Waits until spans of these names have arrived, and returns the one tree that all spans are in.

        Its root has the parent ``parent``.
        """

        def whole(own: Collector) -> Seen | None:
            roots = own.roots()
            is_whole = len(roots) == 1 and {span.short for span in own.spans}.issuperset(names)
            return roots[0] if is_whole and roots[0].parent_id == parent else None

        root: Seen = await self.until(whole)
        assert len({span.trace_id for span in root.walk()}) == 1
        return root


@contextmanager
def collecting() -> Iterator[Collector]:
    """Runs a collector."""
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]
    collector.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield collector
    finally:
        server.stop(0).wait()


def _spans(request: Any) -> Iterator[Seen]:
    for resource in request.resource_spans:
        service = _attributes(resource.resource.attributes).get("service.name", "")
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Seen(
                    span.name,
                    SpanMessage.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    _attributes(span.attributes),
                    span.status.code == Status.STATUS_CODE_ERROR,
                    service,
                    span.start_time_unix_nano,
                    span.end_time_unix_nano,
                )


def _metrics(request: Any) -> Iterator[tuple[str, list[tuple[dict[str, Any], Any]]]]:
    for resource in request.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                data = getattr(metric, metric.WhichOneof("data"))
                yield metric.name, [(_attributes(point.attributes), _value(point)) for point in data.data_points]


def _value(point: Any) -> Any:
    kind = point.WhichOneof("value") if "value" in point.DESCRIPTOR.oneofs_by_name else None
    return point if kind is None else getattr(point, kind)


def _attributes(pairs: Iterable[Any]) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
