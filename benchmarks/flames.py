"""A flame graph of an event loop, as SVG: which functions it spends its time in, and who calls them.

The root is at the top. A function is as wide as its part of the time, and stands below the one that calls it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.sax.saxutils import escape, quoteattr

_WIDTH, _MARGIN = 1_200, 16
_ROW, _LINE = 17, 20
_CHAR = 6.7
# Narrower functions are left out, and said to be.
_LEAST = 0.004

# Frames below these are what the loop runs.
_RUNS = ("Handle._run", "BaseEventLoop._run_once")
# In it, the loop waits.
_WAITS = "Selector.select"

# By the beginning of a file's path; the first that fits.
_ROOMS = {
    "grpc_tool_bridge/link": ("link", "#9ad3c3"),
    "grpc_tool_bridge/transport": ("transport", "#a9c8ee"),
    "grpc_tool_bridge/core": ("core", "#f5c38b"),
    "grpc_tool_bridge/runner": ("runner", "#f3a6a0"),
    "grpc_tool_bridge/tools": ("tools", "#eec4dc"),
    "grpc_tool_bridge/values": ("values", "#c9bfea"),
    "grpc_tool_bridge/client": ("client", "#f0dd8c"),
    "grpc_tool_bridge": ("other rooms", "#cfe3a8"),
    "asyncio": ("asyncio", "#d5d9de"),
    "grpc/": ("gRPC", "#b9c4cf"),
    "benchmarks": ("the benchmark itself", "#e6e2d8"),
    "": ("other libraries", "#e3e3e3"),
}
_KINDS = {room: f"k{number}" for number, room in enumerate(_ROOMS)}

_STYLE = """
  text { font: 11px ui-monospace, "DejaVu Sans Mono", Menlo, monospace; fill: #1f2328; }
  .title, .note { font-family: system-ui, "Segoe UI", Helvetica, Arial, sans-serif; }
  .title { font-size: 17px; font-weight: 600; }
  .note { font-size: 12px; }
  .ground { fill: #ffffff; stroke: #d0d7de; }
  g rect { stroke: #ffffff; stroke-width: .6; }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #151b23; stroke: #3d444d; }
    g rect { stroke: #151b23; }
    .title { fill: #f0f6fc; }
    .note { fill: #9198a1; }
  }
"""


@dataclass(slots=True)
class Frame:
    """A function, as it is called by the one above.

    Attributes:
        name: Its qualified name, and its file in parentheses.
        samples: In how many samples it was seen.
        callees: What it calls.
    """

    name: str
    samples: int = 0
    callees: dict[str, "Frame"] = field(default_factory=dict)

    @property
    def depth(self) -> int:
        """How many frames stand below one another, this one included."""
        return 1 + max((callee.depth for callee in self.callees.values()), default=0)


def read(stacks: str) -> Frame:
    """Reads what py-spy has written as ``raw``: a line for each stack, with its frames from the root and its samples.

    Only the thread of the event loop counts, and only while it does not wait.

    Raises:
        ValueError: It is not such a text, or nothing ran in an event loop.
    """
    root = Frame("the event loop")
    for line in stacks.splitlines():
        text, _, count = line.rpartition(" ")
        if not text or not count.isdigit():
            raise ValueError(f"it is no line of a profile: {line!r:.100}")
        found = _in_loop(text.split(";"))
        if found is not None:
            _add(root, found, int(count))
    if not root.samples:
        raise ValueError("nothing ran in an event loop while it was profiled")
    return root


def draw(root: Frame, title: str, notes: list[str]) -> str:
    """Draws a flame graph.

    Args:
        root: What was read.
        title: What it shows.
        notes: Lines below the title.

    Returns:
        The SVG, which has no script; the full name and the part of each function show when it is pointed at.
    """
    shown = list(_shown(root, 0.0, 0))
    rooms = [room for room in _ROOMS if any(room == _room(frame) for frame, _, _ in shown[1:])]
    top = _MARGIN + _LINE * (2 + len(notes)) + 12
    height = top + _ROW * (1 + max(depth for _, _, depth in shown)) + _MARGIN
    unit = (_WIDTH - 2 * _MARGIN) / root.samples
    parts = [_text(title, "title", _MARGIN, _MARGIN + 14)]
    parts += [_text(note, "note", _MARGIN, _MARGIN + 14 + _LINE * number) for number, note in enumerate(notes, start=1)]
    parts += _legend(rooms, top - 22)
    parts += [_box(root, frame, _MARGIN + start * unit, top + depth * _ROW, unit) for frame, start, depth in shown]
    colours = "\n".join(f"  .{_KINDS[room]} {{ fill: {_ROOMS[room][1]}; }}" for room in rooms)
    size = f'width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}"'
    ground = f'<rect class="ground" x="0.5" y="0.5" width="{_WIDTH - 1}" height="{height - 1}" rx="8"/>'
    lines = [
        f"<title>{escape(title)}</title>",
        f"<style>{_STYLE}  .{_ROOT} {{ fill: #f6f0e4; }}\n{colours}\n</style>",
        ground,
    ]
    return f'<svg xmlns="http://www.w3.org/2000/svg" role="img" {size}>\n' + "\n".join([*lines, *parts]) + "\n</svg>\n"


_ROOT = "root"


def _in_loop(frames: list[str]) -> list[str] | None:
    """Returns the frames below the loop's own; None if the loop waits, or the thread has none."""
    if _WAITS in frames[-1]:
        return None
    for runs in _RUNS:
        for place, frame in enumerate(frames):
            if frame.startswith(f"{runs} "):
                return frames[place + 1 :]
    return None


def _add(root: Frame, frames: list[str], count: int) -> None:
    root.samples += count
    here = root
    for name in frames:
        here = here.callees.setdefault(name, Frame(name))
        here.samples += count


def _shown(root: Frame, start: float, depth: int, whole: int = 0) -> Iterator[tuple[Frame, float, int]]:
    """Yields each frame that is wide enough, where it begins in samples, and its depth."""
    whole = whole or root.samples
    yield root, start, depth
    for callee in sorted(root.callees.values(), key=lambda frame: frame.name):
        if callee.samples >= whole * _LEAST:
            yield from _shown(callee, start, depth + 1, whole)
        start += callee.samples


def _box(root: Frame, frame: Frame, x: float, y: float, unit: float) -> str:
    width = frame.samples * unit
    kind = _ROOT if frame is root else _KINDS[_room(frame)]
    told = quoteattr(f"{frame.name}: {frame.samples / root.samples:.1%}")[1:-1]
    label = _label(frame, f"{frame.samples / root.samples:.0%}", int((width - 6) / _CHAR))
    written = _text(label, "", x + 3, y + 12) if label else ""
    return (
        f'<g><title>{told}</title><rect class="{kind}" x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_ROW}"/>'
        f"{written}</g>"
    )


def _label(frame: Frame, part: str, room: int) -> str:
    """Returns what fits into so many characters, if that says something."""
    name = frame.name.partition(" (")[0]
    # The end of a qualified name says more than its beginning.
    last = name.rpartition(".")[2]
    for label in (f"{name} {part}", name, last):
        if len(label) <= room:
            return label
    return f"{last[: room - 1]}…" if room >= 4 else ""


def _legend(rooms: list[str], y: int) -> list[str]:
    parts, x = [], float(_MARGIN)
    for room in rooms:
        name = _ROOMS[room][0]
        parts.append(f'<rect class="{_KINDS[room]}" x="{x:.0f}" y="{y}" width="11" height="11" rx="2"/>')
        parts.append(_text(name, "note", x + 16, y + 10))
        x += 34 + 6.6 * len(name)
    return parts


def _room(frame: Frame) -> str:
    path = frame.name.partition(" (")[2]
    return next(room for room in _ROOMS if path.startswith(room))


def _text(text: str, kind: str, x: float, y: float) -> str:
    of_kind = f' class="{kind}"' if kind else ""
    return f'<text{of_kind} x="{x:.1f}" y="{y}">{escape(text)}</text>'
