"""How quick the dashboard is for whoever looks at it, measured by the browser itself."""

import asyncio
import contextlib
import os
import shutil
import statistics
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from benchmarks.dashboard import CALLS_PER_SECOND, call_steadily
from benchmarks.processes import link_bridge, running
from benchmarks.timing import NotInstalledError, Plan, Sample

if TYPE_CHECKING:
    from playwright.async_api import Browser, ViewportSize

TOOLS = 1_000
SESSIONS = 1_000
_SIZE: "ViewportSize" = {"width": 1600, "height": 900}
_LIVE = "#link-state.live"
# By then the burst of a new watch is used up, and the list is long.
_WARM_UP_SECONDS = 3.0
_WINDOW_SECONDS = 1.0

# Milliseconds from the start of the navigation to the first tool in the list.
_AWAIT_TOOL = """
new MutationObserver((_, observer) => {
  const row = document.querySelector(".body .row:not([hidden]) .tool");
  if (!row?.textContent) return;
  window.firstTool = performance.now();
  observer.disconnect();
}).observe(document, { childList: true, subtree: true, characterData: true, attributes: true });
"""
_LOADED = "performance.getEntriesByType('navigation')[0].loadEventEnd"
# Scrolls up and down for some seconds, a step in each frame; returns the times of the frames.
_SCROLL = """(seconds) => new Promise((done) => {
  const list = document.querySelector("main .list");
  const frames = [];
  let step = 40;
  const next = (now) => {
    frames.push(now);
    if (now - frames[0] > seconds * 1000) return done(frames);
    if (list.scrollTop + list.clientHeight + step > list.scrollHeight) step = -40;
    if (list.scrollTop + step < 0) step = 40;
    list.scrollTop += step;
    requestAnimationFrame(next);
  };
  requestAnimationFrame(next);
})"""


async def load(plan: Plan) -> dict[str, Sample]:
    """Time to the first row of 1,000 tools, of a hub with 1,000 sessions, in a browser that has nothing of the page."""
    taken: dict[str, list[float]] = {"dashboard": [], "bare": []}
    async with _browser() as browser, running("exposed", tools=TOOLS) as hub:
        await hub.ask("open sessions", SESSIONS)
        origin = f"http://{await hub.ask('http address')}"
        for round_number in range(-1, plan.rounds):
            measured = {
                "dashboard": await _time_to(browser, f"{origin}/?view=tools", "window.firstTool"),
                "bare": await _time_to(browser, f"{origin}/healthz", _LOADED),
            }
            if round_number >= 0:
                for name, seconds in measured.items():
                    taken[name].append(seconds)
    medians = {name: statistics.median(seconds) * 1e3 for name, seconds in taken.items()}
    details = {
        "dashboard, ms": medians["dashboard"],
        "a page of one word, ms": medians["bare"],
        "dashboard / a page of one word": medians["dashboard"] / medians["bare"],
    }
    return {"dashboard-load": Sample(taken["dashboard"], details)}


async def scroll(plan: Plan) -> dict[str, Sample]:
    """Least number of frames in a second while the list of calls scrolls, and 2,000 calls a second are made."""
    seconds = plan.amount(10, 3)
    least: list[float] = []
    mean: list[float] = []
    async with _browser() as browser, running("exposed") as hub, link_bridge(hub.address) as bridge:
        page = await browser.new_page(viewport=_SIZE)
        await page.goto(f"http://{await hub.ask('http address')}/")
        await page.locator(_LIVE).wait_for()
        add = bridge.tools["add"]
        for _ in range(plan.rounds):
            calling = asyncio.create_task(call_steadily(add, _WARM_UP_SECONDS + seconds + _WINDOW_SECONDS))
            await asyncio.sleep(_WARM_UP_SECONDS)
            frames: list[float] = await page.evaluate(_SCROLL, seconds)
            await calling
            counts = _windows(frames)
            least.append(min(counts))
            mean.append(statistics.mean(counts))
    details = {"mean, frames/s": statistics.median(mean), "calls/s": float(CALLS_PER_SECOND)}
    return {"dashboard-scroll": Sample(least, details)}


def _windows(frames: list[float]) -> list[float]:
    """Counts the frames of each whole second."""
    start, end, length = frames[0], frames[-1], _WINDOW_SECONDS * 1e3
    counts = [0.0] * int((end - start) // length)
    for moment in frames:
        window = int((moment - start) // length)
        if window < len(counts):
            counts[window] += 1
    return counts


async def _time_to(browser: "Browser", url: str, moment: str) -> float:
    """Opens a page in a browser without a cache; returns the seconds until the page has told the moment."""
    context = await browser.new_context(viewport=_SIZE)
    try:
        await context.add_init_script(_AWAIT_TOOL)
        page = await context.new_page()
        await page.goto(url)
        await page.wait_for_function(f"() => {moment} > 0")
        return float(await page.evaluate(moment)) / 1e3
    finally:
        await context.close()


@contextlib.asynccontextmanager
async def _browser() -> AsyncGenerator["Browser", None]:
    """Starts a Chromium without a window, and ends it."""
    program = shutil.which("chromium")
    if program is None:
        raise NotInstalledError("chromium is not installed; apt install chromium")
    try:
        from playwright.async_api import async_playwright  # noqa: PLC0415 - only two figures need it
    except ImportError:
        raise NotInstalledError("playwright is not installed") from None
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=program, args=flags)
        try:
            yield browser
        finally:
            await browser.close()
