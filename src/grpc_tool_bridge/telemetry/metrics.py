"""The metrics of hubs by OTLP: the numbers that ``/metrics`` has, under the same names.

There are no observable histograms: what is one for Prometheus is ``…_bucket`` (by ``le``), ``…_count`` and ``…_sum``.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from grpc_tool_bridge.rpc.tracing import ReadMetrics

# Seconds that a hub may take to read its metrics; else its last ones are exported.
READ_SECONDS = 5.0
# What was read is used for all instruments of one export.
_FRESH_SECONDS = 0.5
# Prometheus has these for a time stamp of its own.
_LEFT_OUT = ("_created", "_info")

_log = logging.getLogger(__name__)


class HubMetrics:
    """The metrics of one hub.

    Args:
        meter: Makes the instruments.
        read: Reads the metrics in the hub's event loop: families as of ``prometheus_client``.
        loop: That event loop.
    """

    def __init__(self, meter: Meter, read: ReadMetrics, loop: asyncio.AbstractEventLoop) -> None:
        self._meter = meter
        self._read = read
        self._loop = loop
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[str, str]] = {}
        self._made: set[str] = set()
        self._points: dict[str, list[Observation]] = {}
        self._read_at = -_FRESH_SECONDS
        self._ended = False

    def make_instruments(self) -> None:
        """Makes the instruments of what was read since; not to be called while metrics are collected."""
        for name, (kind, text) in list(self._seen.items()):
            if name not in self._made:
                self._made.add(name)
                make = (
                    self._meter.create_observable_counter if kind == "counter" else self._meter.create_observable_gauge
                )
                make(name, [self._observer(name)], description=text)

    def refresh(self) -> None:
        """Reads the metrics, unless that was just done; from any thread but the hub's."""
        with self._lock:
            if self._ended or time.monotonic() - self._read_at < _FRESH_SECONDS:
                return
            self._read_at = time.monotonic()
            reading = self._read()
            try:
                answer = asyncio.run_coroutine_threadsafe(reading, self._loop)
            except RuntimeError:
                # The event loop has ended.
                reading.close()
                return
            try:
                families = answer.result(READ_SECONDS)
            except Exception as error:  # noqa: BLE001 - the hub is busy, or its gateway fails
                answer.cancel()
                _log.debug("the metrics of the hub cannot be read: %s", error)
                return
            self.take(families)

    def end(self) -> None:
        """Reads no more: the hub ends; what was read last is exported once more."""
        self._ended = True

    def take(self, families: Iterable[Any]) -> None:
        """Takes what was read."""
        points: dict[str, list[Observation]] = {}
        for name, kind, text, value, labels in _samples(families):
            self._seen.setdefault(name, (kind, text))
            points.setdefault(name, []).append(Observation(value, labels))
        self._points = points

    def _observer(self, name: str) -> Any:
        def observe(options: CallbackOptions) -> Iterable[Observation]:
            del options
            self.refresh()
            return self._points.get(name, ())

        return observe


def _samples(families: Iterable[Any]) -> Iterator[tuple[str, str, str, float, dict[str, str]]]:
    """Yields the name, the kind, the text, the value and the labels of each number."""
    for family in families:
        for sample in family.samples:
            if sample.name.endswith(_LEFT_OUT):
                continue
            is_counter = family.type in ("counter", "histogram")
            name = sample.name.removesuffix("_total") if family.type == "counter" else sample.name
            yield name, "counter" if is_counter else "gauge", family.documentation, sample.value, dict(sample.labels)
