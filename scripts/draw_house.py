"""Draws the package for docs/design.md: the floors of its rooms, and the path of a call.

Both come from the code: the floors from import-linter's contract in pyproject.toml, their texts from the docstrings of
the rooms; the path from observed calls. ``--check`` draws nothing and fails if a picture, or the list in the page, is
not up to date.
"""

import argparse
import asyncio
import importlib
import re
import sys
import threading
import tomllib
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from html import escape
from pathlib import Path
from types import FrameType
from typing import Any

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, ToolWorker
from grpc_tool_bridge.core.metrics import ToolMetrics

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "design.md"
PICTURES = ROOT / "docs" / "images"

PACKAGE = "grpc_tool_bridge"
# Number of observed calls; the path that most of them took is drawn.
CALLS = 25
QUIET_SECONDS = 0.1
# Seconds that a call may take; only bounds a hang.
PATIENCE = 60.0

# The files of each end of a call of each tool, in order; and how often which of them were seen.
Files = dict[str, dict[str, list[str]]]
Ways = defaultdict[str, Counter[tuple[str, ...]]]
ENDS = ("client", "hub", "worker")
TITLES = {"add": "A tool of the hub", "mul": "A worker's tool"}
MARKED = re.compile(r"(<!-- files of a call -->\n)(.*?)(\n<!-- end -->)", re.DOTALL)

WIDTH, ROW, GAP, MARGIN = 960, 58, 8, 12
STYLE = (
    "text{font-family:system-ui,sans-serif;fill:#1f2933}.name{font-size:15px;font-weight:600}.noun{font-size:11px}"
    ".box{fill:#eef4fb;stroke:#7b9cc4}.lane{fill:#f7f9fb;stroke:#c5ced8}.small{font-size:12px}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.box{fill:#1d2b3a;stroke:#5b7ea8}"
    ".lane{fill:#131a22;stroke:#3a4654}}"
)


# -------------------------------------------------------------------------------------------------------- floors


def floors() -> list[list[str]]:
    """Reads which rooms stand on one floor, from the top."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = settings["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract["id"] == "floors"]
    return [[room.strip() for room in re.split(r"[|:]", floor)] for floor in layers]


def noun(room: str) -> str:
    """Returns the first sentence of a room's docstring."""
    text = importlib.import_module(f"{PACKAGE}.{room}").__doc__ or ""
    return text.split("\n\n")[0].replace("\n", " ").split(". ")[0].rstrip(".").replace("``", "")


def draw_floors() -> str:
    """Draws the floors."""
    rows = floors()
    parts = []
    for number, rooms in enumerate(rows):
        y = MARGIN + number * (ROW + GAP)
        width = (WIDTH - 2 * MARGIN - GAP * (len(rooms) - 1)) / len(rooms)
        for place, room in enumerate(rooms):
            x = MARGIN + place * (width + GAP)
            parts.append(f'<rect class="box" x="{x:.0f}" y="{y}" width="{width:.0f}" height="{ROW}" rx="6"/>')
            parts.append(f'<text class="name" x="{x + 10:.0f}" y="{y + 20}">{room}</text>')
            for line, words in enumerate(_wrapped(noun(room), int(width / 6.8))):
                parts.append(f'<text class="noun" x="{x + 10:.0f}" y="{y + 36 + 14 * line}">{escape(words)}</text>')
    height = MARGIN * 2 + len(rows) * (ROW + GAP) - GAP
    return _svg(parts, height, "Rooms by floor; each imports only what stands below it")


# ---------------------------------------------------------------------------------------------- the way of a call


class Watch:
    """Notes the files that the threads of hub, worker and client enter while it is on."""

    def __init__(self) -> None:
        self.on = False
        self.entered: dict[str, dict[str, None]] = {}

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        """Takes an event of the interpreter."""
        name = frame.f_code.co_filename
        if self.on and event == "call" and f"/{PACKAGE}/" in name and "/proto/" not in name:
            files = self.entered.setdefault(threading.current_thread().name, {})
            files[name.rpartition(f"/{PACKAGE}/")[2]] = None


async def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


async def mul(a: int, b: int) -> int:
    """Multiplies."""
    return a * b


@asynccontextmanager
async def elsewhere(name: str, make: Callable[[], Any], watch: Watch) -> AsyncIterator[Any]:
    """Runs a hub or a worker in a thread of its own; gives it."""
    loop = asyncio.get_running_loop()
    started: asyncio.Future[Any] = loop.create_future()
    ended = threading.Event()

    async def live() -> None:
        stop = asyncio.Event()
        there = asyncio.get_running_loop()
        async with make() as thing:
            loop.call_soon_threadsafe(started.set_result, (thing, lambda: there.call_soon_threadsafe(stop.set)))
            await stop.wait()

    def run() -> None:
        sys.setprofile(watch)
        asyncio.run(live())
        sys.setprofile(None)
        ended.set()

    threading.Thread(target=run, name=name, daemon=True).start()
    thing, stop = await asyncio.wait_for(started, PATIENCE)
    try:
        yield thing
    finally:
        stop()
        await asyncio.to_thread(ended.wait, PATIENCE)


async def ways() -> dict[str, Ways]:
    """Watches calls of a tool of the hub and of one of a worker; returns which ways they took, and how often."""
    watch = Watch()
    threading.current_thread().name = "client"
    found = {}
    async with (
        elsewhere("hub", lambda: BridgeServer(tools=[add]), watch) as hub,
        elsewhere("worker", lambda: ToolWorker(hub.address, tools=[mul]), watch),
        GRPCToolBridge(hub.address) as bridge,
    ):
        tools = await bridge.initialize()
        while "mul" not in tools:
            await bridge.client.refresh_tools()
        sys.setprofile(watch)
        for name in TITLES:
            counts = hub.hub.metrics.of_tool(tools[name].name)
            found[name] = await _ways_of(lambda name=name: tools[name](3, 4), watch, counts)  # type: ignore[misc]
        sys.setprofile(None)
    return found


async def _ways_of(call: Callable[[], Awaitable[Any]], watch: Watch, counts: ToolMetrics) -> Ways:
    for _ in range(20):
        await call()
    seen: Ways = defaultdict(Counter)
    for _ in range(CALLS):
        # What the call before it has left to do is done.
        await asyncio.sleep(QUIET_SECONDS)
        # A call that is watched is slow, and the hub looks at those that are among the slowest.
        counts.noted_us = sys.maxsize
        watch.entered, watch.on = {}, True
        await call()
        watch.on = False
        for end, files in watch.entered.items():
            seen[end][tuple(files)] += 1
    return seen


def usual(found: dict[str, Ways]) -> Files:
    """Returns the way that most calls took; an end that few calls entered was busy with something else, as a ping."""
    return {
        name: {
            end: list(seen[end].most_common(1)[0][0]) for end in ENDS if seen.get(end, Counter()).total() > CALLS / 2
        }
        for name, seen in found.items()
    }


def drawn(page: str) -> Files:
    """Reads the way that the page shows."""
    listing = MARKED.search(page)
    assert listing is not None
    shown: list[dict[str, list[str]]] = []
    for line in listing[2].splitlines():
        if line.startswith("**"):
            shown.append({})
        elif line.startswith("- "):
            end, _, files = line.removeprefix("- ").partition(": ")
            shown[-1][end] = re.findall(r"`(.+?)`", files)
    return dict(zip(TITLES, shown, strict=True))


def call_list(found: Files) -> str:
    """Writes the files of both calls, in the order in which they are entered."""
    lines = []
    for name, title in TITLES.items():
        files = {file for end in found[name].values() for file in end}
        lines.append(f"**{title}** ({len(files)} files):")
        lines += [f"- {end}: {', '.join(f'`{file}`' for file in files)}" for end, files in found[name].items()]
        lines.append("")
    return "\n".join(lines).rstrip()


def draw_call(found: Files) -> str:
    """Draws the way of a call of a worker's tool: a lane for each end, from the left to the right."""
    lanes = found["mul"]
    width = (WIDTH - 2 * MARGIN - 40 * (len(lanes) - 1)) / len(lanes)
    height = 46 + 18 * max(len(files) for files in lanes.values())
    parts = []
    for number, (end, files) in enumerate(lanes.items()):
        x = MARGIN + number * (width + 40)
        parts.append(f'<rect class="lane" x="{x:.0f}" y="{MARGIN}" width="{width:.0f}" height="{height}" rx="8"/>')
        parts.append(f'<text class="name" x="{x + 12:.0f}" y="{MARGIN + 24}">{end}</text>')
        for line, file in enumerate(files):
            parts.append(f'<text class="small" x="{x + 12:.0f}" y="{MARGIN + 46 + 18 * line}">{file}</text>')
        if number:
            parts.append(f'<text class="name" x="{x - 31:.0f}" y="{MARGIN + height / 2:.0f}">⇄</text>')
    return _svg(parts, height + 2 * MARGIN, "The files that a call of a worker's tool enters, at each end")


# ------------------------------------------------------------------------------------------------------- writing


def _wrapped(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def _svg(parts: list[str], height: float, title: str) -> str:
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}</style>",
            *parts,
            "</svg>",
            "",
        ]
    )


def _page(listing: str) -> str:
    return MARKED.sub(lambda found: found[1] + listing + found[3], PAGE.read_text())


def main() -> int:
    """Draws, or checks what was drawn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="draw nothing; fail where something has changed")
    check = parser.parse_args().check
    found = asyncio.run(ways())
    files = usual(found)
    if check:
        # On a busy machine most calls may take another way than on a quiet one; the one that is shown is among them.
        shown = drawn(PAGE.read_text())
        if all(tuple(way) in found[name][end] for name, ends in shown.items() for end, way in ends.items()):
            files = shown
    wanted = {
        PICTURES / "floors.svg": draw_floors(),
        PICTURES / "call.svg": draw_call(files),
        PAGE: _page(call_list(files)),
    }
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    if check:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is not what the code says; run: make pictures", file=sys.stderr)
        return 1 if stale else 0
    PICTURES.mkdir(exist_ok=True)
    for path in stale:
        path.write_text(wanted[path])
        print(path.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
