"""Whether this process traces; says so without OpenTelemetry."""

import os
from collections.abc import Mapping

# Any of them turns traces and metrics on.
VARIABLES = (
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
    "OTEL_TRACES_EXPORTER",
    "OTEL_METRICS_EXPORTER",
)


def is_wanted(otel: bool | None, environ: Mapping[str, str] = os.environ) -> bool:
    """Returns whether traces and metrics are asked for.

    Args:
        otel: The setting; None: the standard variables say so.
        environ: The environment.
    """
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    return any(environ.get(name, "").strip() for name in VARIABLES) if otel is None else otel
