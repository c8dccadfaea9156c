"""Sends spans and metrics to a collector, and says once if there is none."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, Literal

from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricsData
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.telemetry.recorded import RecordedSpan

Signal = Literal["traces", "metrics"]

# What the exporters say of each try that fails, ``Told`` says once.
_NOISY = (
    "opentelemetry.exporter.otlp.proto.grpc.exporter",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.exporter.otlp.proto.http.metric_exporter",
    "opentelemetry.sdk._shared_internal",
    "opentelemetry.sdk.metrics._internal.export",
)
_PROTOCOLS = ("grpc", "http/protobuf")
_MODULES = {
    ("grpc", "traces"): ("opentelemetry.exporter.otlp.proto.grpc.trace_exporter", "OTLPSpanExporter"),
    ("grpc", "metrics"): ("opentelemetry.exporter.otlp.proto.grpc.metric_exporter", "OTLPMetricExporter"),
    ("http/protobuf", "traces"): ("opentelemetry.exporter.otlp.proto.http.trace_exporter", "OTLPSpanExporter"),
    ("http/protobuf", "metrics"): ("opentelemetry.exporter.otlp.proto.http.metric_exporter", "OTLPMetricExporter"),
}

_log = logging.getLogger(__name__)


def make_exporter(signal: Signal, environ: Mapping[str, str] = os.environ) -> Any:
    """Returns the exporter that the standard variables ask for; None: nothing is exported.

    Raises:
        ValidationError: They ask for one that there is not.
    """
    name = f"OTEL_{signal.upper()}_EXPORTER"
    kind = environ.get(name, "").strip().lower() or "otlp"
    if kind == "none":
        return None
    if kind != "otlp":
        raise ValidationError(f"{name}={kind:.100}: there are otlp and none")
    name = f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL"
    protocol = environ.get(name) or environ.get("OTEL_EXPORTER_OTLP_PROTOCOL") or "grpc"
    if protocol not in _PROTOCOLS:
        raise ValidationError(f"{name}={protocol:.100}: there are {' and '.join(_PROTOCOLS)}")
    module, exporter = _MODULES[protocol, signal]
    for noisy in _NOISY:
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    return getattr(import_module(module), exporter)()


class Told:
    """Logs once that nothing can be exported, and once that it can again.

    Args:
        what: Such as "spans".
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._fails = False

    def note(self, *, ok: bool) -> None:
        """Takes note of a try."""
        if ok is not self._fails:
            return
        self._fails = not ok
        if ok:
            _log.info("%s reach the collector again", self._what)
        else:
            _log.warning(
                "%s do not reach the collector and are lost (OTEL_EXPORTER_OTLP_ENDPOINT says where it is); "
                "calls are not held up, and nothing more is said until they do",
                self._what,
            )


class ToldSpanExporter(SpanExporter):
    """Exports spans by another exporter.

    Args:
        exporter: The other one.
        readable: Makes a span of the SDK of one of the bridge's.
    """

    def __init__(self, exporter: SpanExporter, readable: Callable[[RecordedSpan], ReadableSpan]) -> None:
        self._exporter = exporter
        self._readable = readable
        self._told = Told("spans")

    def export(self, spans: Sequence[Any]) -> SpanExportResult:
        """See ``SpanExporter``."""
        read = self._readable
        result = self._exporter.export([read(span) if isinstance(span, RecordedSpan) else span for span in spans])
        self._told.note(ok=result is SpanExportResult.SUCCESS)
        return result

    def shutdown(self, timeout_millis: float = 0) -> None:
        """See ``SpanExporter``."""
        del timeout_millis
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """See ``SpanExporter``."""
        return self._exporter.force_flush(timeout_millis)


class ToldMetricExporter(MetricExporter):
    """Exports metrics by another exporter.

    Args:
        exporter: The other one.
        exported: Called after each try.
    """

    def __init__(self, exporter: MetricExporter, exported: Callable[[], None]) -> None:
        super().__init__(exporter._preferred_temporality, exporter._preferred_aggregation)  # noqa: SLF001 - as its reader
        self._exporter = exporter
        self._exported = exported
        self._told = Told("metrics")

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:
        """See ``MetricExporter``."""
        result = self._exporter.export(metrics_data, timeout_millis=timeout_millis, **kwargs)
        self._told.note(ok=result is MetricExportResult.SUCCESS)
        self._exported()
        return result

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """See ``MetricExporter``."""
        self._exporter.shutdown(timeout_millis=timeout_millis, **kwargs)

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """See ``MetricExporter``."""
        return self._exporter.force_flush(timeout_millis)
