"""The picture of a report, as SVG: ``python -m benchmarks.picture FILE.json OUT.svg``."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from benchmarks.machine import in_words

_WIDTH, _MARGIN = 840, 24
_LABELS, _BARS = 250, 450
_ROW, _BAR, _HEADING, _LINE = 30, 18, 40, 18

# The picture has its own background, so it is readable on any page, and dark on a dark one. No variables: some SVG
# viewers do not support them.
_COLOURS = """
  text {{ fill: {text}; }}
  .quiet {{ fill: {quiet}; }}
  rect.ground {{ fill: {ground}; stroke: {edge}; }}
  rect.bridge {{ fill: {bridge}; }}
  rect.peer {{ fill: {peer}; }}
"""
_LIGHT = _COLOURS.format(
    text="#1f2328", quiet="#59636e", ground="#ffffff", edge="#d0d7de", bridge="#0a7c66", peer="#8c96a3"
)
_DARK = _COLOURS.format(
    text="#f0f6fc", quiet="#9198a1", ground="#151b23", edge="#3d444d", bridge="#2bbf9e", peer="#6b7684"
)
_STYLE = f"""
  text {{ font: 14px system-ui, "Segoe UI", Helvetica, Arial, sans-serif; }}
  .title {{ font-size: 19px; font-weight: 600; }}
  .heading, text.bridge {{ font-weight: 600; }}
  .quiet {{ font-size: 12px; }}
{_LIGHT}
  @media (prefers-color-scheme: dark) {{
{_DARK}
  }}
"""


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a bar gets its value.

    Attributes:
        label: Label of the bar.
        figure: The figure in the report.
        detail: The absolute number.
        ours: Whether it is the bridge's own.
    """

    label: str
    figure: str
    detail: str
    ours: bool = False


_RATES = (
    _Source("this bridge, on one machine", "link-100", "link, calls/s", ours=True),
    _Source("this bridge, over gRPC", "grpc-link-100", "gRPC link, calls/s", ours=True),
    _Source("this bridge, an RPC per call", "link-100", "plain RPC, calls/s", ours=True),
    _Source("this bridge, a worker's tool", "worker-100", "worker, calls/s", ours=True),
    _Source("grpc.aio unary, nothing else", "link-100", "bare, calls/s"),
    _Source("NATS request and reply", "nats-100", "NATS, calls/s"),
    _Source("MCP SDK over stdio", "mcp-stdio-100", "MCP, calls/s"),
    _Source("MCP SDK over streamable HTTP", "link-mcp", "MCP, calls/s"),
)
_TIMES = (
    _Source("this bridge, on one machine", "link-one", "link p50, µs", ours=True),
    _Source("this bridge, an RPC per call", "plain-rpc", "plain RPC p50, µs", ours=True),
    _Source("this bridge, a worker's tool", "worker-one", "worker p50, µs", ours=True),
    _Source("grpc.aio unary, nothing else", "link-one", "bare p50, µs"),
    _Source("asyncio TCP echo of 100 bytes", "echo-one", "echo p50, µs"),
    _Source("NATS request and reply", "nats-one", "NATS p50, µs"),
    _Source("MCP SDK over stdio", "mcp-stdio-one", "MCP p50, µs"),
    _Source("MCP SDK over streamable HTTP", "mcp-http-one", "MCP p50, µs"),
)

_Bars = Sequence[tuple[_Source, float]]


def draw(report: Mapping[str, Any]) -> str:
    """Draws calls per second of 100 concurrent calls, and the median time of one call.

    Args:
        report: As ``--json`` writes it; missing figures are left out.

    Returns:
        The SVG.

    Raises:
        ValueError: It is not a report, or has nothing to draw.
    """
    try:
        details = {figure["name"]: figure.get("details", {}) for figure in report["figures"]}
        about, rounds = report["machine"], report["plan"]["rounds"]
        how = "Each call adds two integers. Client, server and worker are a process each, on one machine."
        notes = [f"{how} Median of {rounds} rounds.", in_words(about)]
        rates, times = _bars(_RATES, details), _bars(_TIMES, details)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it is no report of the benchmarks: {error!r}") from None
    if not rates and not times:
        wanted = sorted({source.figure for source in (*_RATES, *_TIMES)})
        raise ValueError(f"it has nothing to draw; that needs one of {', '.join(wanted)}")
    rates, times = sorted(rates, key=lambda bar: -bar[1]), sorted(times, key=lambda bar: bar[1])
    canvas = _Canvas()
    canvas.text("What a call costs", "title")
    canvas.panel("100 calls at once, calls per second (more is better)", rates, lambda value: f"{value:,.0f} /s")
    canvas.panel("One call at a time, median in µs (less is better)", times, lambda value: f"{value:,.0f} µs")
    for note in notes:
        canvas.text(note, "quiet")
    return canvas.finish()


def main(arguments: Sequence[str] | None = None) -> int:
    """Draws a report from a file; returns 0, or 2 if it cannot be drawn."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.picture", description="Draw a report as SVG.")
    parser.add_argument("report", type=Path, help="what --json has written")
    parser.add_argument("picture", type=Path, help="the SVG to write")
    options = parser.parse_args(arguments)
    try:
        options.picture.write_text(draw(json.loads(options.report.read_text(encoding="utf-8"))), encoding="utf-8")
    except (OSError, ValueError) as error:
        print(f"{options.report} was not drawn: {error}", file=sys.stderr)
        return 2
    return 0


def _bars(sources: Sequence[_Source], details: Mapping[str, Mapping[str, float]]) -> _Bars:
    found = ((source, details.get(source.figure, {}).get(source.detail)) for source in sources)
    return [(source, value) for source, value in found if value is not None]


class _Canvas:
    """An SVG that grows downwards."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._y = _MARGIN

    def text(self, text: str, kind: str) -> None:
        """Writes a line."""
        self._y += _LINE
        self._put(text, kind, _MARGIN, self._y)
        self._y += 4

    def panel(self, heading: str, bars: _Bars, words: Callable[[float], str]) -> None:
        """Draws bars below a heading; nothing if there are none."""
        if not bars:
            return
        self._y += _HEADING
        self._put(heading, "heading", _MARGIN, self._y)
        self._y += 12
        longest = max(value for _, value in bars)
        start = _MARGIN + _LABELS
        for source, value in bars:
            kind = "bridge" if source.ours else "peer"
            baseline = self._y + _BAR - 4
            width = max(1.0, _BARS * value / longest)
            self._put(source.label, kind, start - 10, baseline, anchor="end")
            self._parts.append(
                f'<rect class="{kind}" x="{start}" y="{self._y}" width="{width:.1f}" height="{_BAR}" rx="2"/>'
            )
            self._put(words(value), kind, start + width + 8, baseline)
            self._y += _ROW

    def finish(self) -> str:
        """Returns the SVG."""
        height = self._y + _MARGIN
        size = f'width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}"'
        ground = f'<rect class="ground" x="0.5" y="0.5" width="{_WIDTH - 1}" height="{height - 1}" rx="8"/>'
        parts = "\n".join(["<title>What a call costs</title>", f"<style>{_STYLE}</style>", ground, *self._parts])
        return f'<svg xmlns="http://www.w3.org/2000/svg" role="img" {size}>\n{parts}\n</svg>\n'

    def _put(self, text: str, kind: str, x: float, y: float, *, anchor: str = "start") -> None:
        self._parts.append(f'<text class="{kind}" x="{x:.1f}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>')


if __name__ == "__main__":
    sys.exit(main())
