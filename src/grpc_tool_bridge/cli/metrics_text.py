"""What ``metrics`` prints: a table for people, plain values for programs."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from grpc_tool_bridge.cli.consoles import MAX_ROWS, rich_table
from grpc_tool_bridge.cli.durations import Durations
from grpc_tool_bridge.proto.dspex_bridge_pb2 import MetricValue


def table(found: Mapping[str, MetricValue]) -> Table:
    """Lays out a line for each metric."""
    made = rich_table(["metric", "value"], [[name, text(value)] for name, value in sorted(found.items())[:MAX_ROWS]])
    if len(found) > MAX_ROWS:
        made.add_row(f"… {len(found) - MAX_ROWS:,} more; --json gives all")
    return made


def text(value: MetricValue) -> str:
    """Writes the value of a metric for people."""
    match value.WhichOneof("value"):
        case "histogram":
            durations = Durations.read(value.histogram)
            if not durations.count:
                return "no calls"
            shown = (durations.mean_ms, durations.percentile_ms(0.5), durations.percentile_ms(0.99))
            mean, half, most = (milliseconds(each) for each in shown)
            calls = "1 call" if durations.count == 1 else f"{durations.count:,} calls"
            return f"{calls}, mean {mean}, p50 {half}, p99 {most}"
        case "integer_value":
            return f"{value.integer_value:,}"
        case "double_value":
            return f"{value.double_value:,.6g}"
    return value.string_value


def milliseconds(value: float | None) -> str:
    """Writes milliseconds with three digits; a dash for none."""
    if value is None:
        return "-"
    return f"{value / 1_000:,.3g} s" if value >= 1_000 else f"{value:.3g} ms"  # noqa: PLR2004 - a second


def facts(value: MetricValue) -> Any:
    """Describes a metric for programs: a number, a text, or a histogram of milliseconds."""
    kind = value.WhichOneof("value")
    if kind != "histogram":
        return None if kind is None else getattr(value, kind)
    durations = Durations.read(value.histogram)
    return {
        "count": durations.count,
        "sum_ms": durations.total_ms,
        "mean_ms": durations.mean_ms,
        "p50_ms": durations.percentile_ms(0.5),
        "p99_ms": durations.percentile_ms(0.99),
        "buckets": [[bound, count] for bound, count in durations.counts.items()],
    }
