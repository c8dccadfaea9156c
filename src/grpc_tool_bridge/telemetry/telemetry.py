"""The traces and metrics of a process, from start to stop."""

import asyncio
import threading
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context, attach
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from grpc_tool_bridge.errors import ConflictError
from grpc_tool_bridge.rpc.tracing import ReadMetrics, process
from grpc_tool_bridge.telemetry.conventions import SCHEMA_URL
from grpc_tool_bridge.telemetry.exporting import ToldMetricExporter, ToldSpanExporter, make_exporter
from grpc_tool_bridge.telemetry.metrics import HubMetrics
from grpc_tool_bridge.telemetry.recorded import RecordedSpan, RecordingTracer, SdkTracer, Starter
from grpc_tool_bridge.telemetry.sampling import DrawnSampler, Sampling
from grpc_tool_bridge.telemetry.tracing import OtelTracing

NAME = "grpc_tool_bridge"
# What the SDK calls a service that nobody has named.
_UNNAMED = "unknown_service"

# What becomes of the spans and metrics that wait is not worth more seconds at the end.
FLUSH_SECONDS = 3.0


def _forget(span: RecordedSpan) -> None:
    """Exports nothing."""


class _Hashed(Resource):
    """A resource that knows its hash: the exporter asks for it with each span, and it takes longer than all else."""

    def __init__(self, resource: Resource) -> None:
        super().__init__(resource.attributes, resource.schema_url)
        self._hash = hash(resource)

    def __eq__(self, other: object) -> bool:
        return self is other or super().__eq__(other)

    def __hash__(self) -> int:
        return self._hash


def _resource(service: str) -> Resource:
    found = Resource.create()
    if str(found.attributes.get("service.name", _UNNAMED)).startswith(_UNNAMED):
        found = found.merge(Resource({"service.name": service}))
    return _Hashed(found)


class Telemetry:
    """The traces and metrics of this process; one at a time.

    Args:
        service: The name of the service, unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES has one.
        provider: Makes and exports the spans; None: one that the standard variables configure.
        exporter: Exports the spans of that one; None: the variables say which.
        delay: Milliseconds that spans wait for others before they are exported; None: OTEL_BSP_SCHEDULE_DELAY.
        with_metrics: Whether metrics of hubs are exported, too.

    Raises:
        ConflictError: There is one already.
        ValidationError: A variable asks for an exporter that there is not.
    """

    def __init__(
        self,
        service: str = "grpc-tool-bridge",
        *,
        provider: trace.TracerProvider | None = None,
        exporter: SpanExporter | None = None,
        delay: int | None = None,
        with_metrics: bool = True,
    ) -> None:
        if process.tracing is not None:
            raise ConflictError("telemetry was started in this process already; stop that first")
        self._sampling, release = Sampling(), version("grpc-tool-bridge")
        self._resource = _resource(service)
        self._own: TracerProvider | None = None
        if provider is None:
            provider = self._own = TracerProvider(
                sampler=DrawnSampler(self._sampling.sampler()), resource=self._resource, shutdown_on_exit=False
            )
            exporter = exporter or make_exporter("traces")
            starter: Starter = RecordingTracer(_forget)
            if exporter is not None:
                scope = InstrumentationScope(NAME, release, SCHEMA_URL)
                told = ToldSpanExporter(exporter, lambda span: span.readable(self._resource, scope))
                processor = BatchSpanProcessor(told, schedule_delay_millis=delay)
                self._own.add_span_processor(processor)
                starter = RecordingTracer(processor.on_end)  # type: ignore[arg-type]  # it is one when it is exported
            # What else makes spans in this process, such as the SDK of MCP, takes it.
            trace.set_tracer_provider(self._own)
        else:
            starter = SdkTracer(provider.get_tracer(NAME, release, SCHEMA_URL))
        self._stops: list[Callable[[], Any]] = []
        self._hubs: list[HubMetrics] = []
        self._meters = self._meter_provider() if self._own is not None and with_metrics else None
        self.tracing = process.tracing = OtelTracing(starter, self._sampling)

    def _meter_provider(self) -> MeterProvider | None:
        exporter = make_exporter("metrics")
        if exporter is None:
            return None
        told = ToldMetricExporter(exporter, self._after_export)
        provider = MeterProvider([PeriodicExportingMetricReader(told)], self._resource, shutdown_on_exit=False)
        self._stops.append(provider.shutdown)
        process.export_metrics = self._export
        return provider

    def _export(self, read: ReadMetrics) -> Callable[[], None]:
        assert self._meters is not None  # noqa: S101 - or this is not called
        meter = self._meters.get_meter(NAME, version("grpc-tool-bridge"), SCHEMA_URL)
        hub = HubMetrics(meter, read, asyncio.get_running_loop())
        self._hubs.append(hub)
        # Its instruments are known once it was read, which the thread of the exporter does.
        first = threading.Thread(target=self._after_export, daemon=True, name="telemetry-metrics")
        first.start()
        return hub.end

    def _after_export(self) -> None:
        for hub in list(self._hubs):
            hub.refresh()
            hub.make_instruments()

    def begin_unsampled(self) -> None:
        """Makes spans of users' own code in this task, and in all that it starts, be part of calls or not recorded.

        Without that, each of them would begin a trace of its own in a call that is not sampled.
        """
        if self._sampling.honours_parent and self._sampling.ratio < 1:
            nowhere = SpanContext(1, 1, is_remote=False, trace_flags=TraceFlags(0))
            attach(trace.set_span_in_context(NonRecordingSpan(nowhere), Context()))

    def stop(self, seconds: float = FLUSH_SECONDS) -> None:
        """Exports what waits, for at most ``seconds``, and ends."""
        process.tracing = process.export_metrics = None
        stops = [*self._stops, *([] if self._own is None else [self._own.shutdown])]
        ending = threading.Thread(target=lambda: [stop() for stop in stops], daemon=True, name="telemetry-stop")
        ending.start()
        ending.join(seconds)
