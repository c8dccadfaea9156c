"""The dashboard while the demo runs: what README.md shows of it. With TEST_WRITE_PICTURES=1 its pictures are taken."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from support.browser import open_tab
from support.needs import needs
from support.patience import PATIENCE
from support.png import shrunk, size_of

pytestmark = [needs("chromium"), pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("browser")]

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs" / "images"
SIZE = (1600, 1000)
# The stream of a run that has ended: Chromium calls it cut off if its last bytes are read before it is told of its end.
RUN_LEFT = re.compile(r"/runs/demo-run: net::ERR_ABORTED$")
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


class Demo:
    """The demo, which stays until it is stopped."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.said = ""

    async def says(self, pattern: str) -> str:
        """Waits for a line, and returns what the group of its pattern matches."""
        assert self._process.stdout is not None
        while True:
            line = (await asyncio.wait_for(self._process.stdout.readline(), 2 * PATIENCE)).decode()
            assert line, self.said
            self.said += line
            if found := re.search(pattern, line):
                return found[1]

    async def stop(self) -> None:
        """Presses Ctrl-C."""
        self._process.send_signal(signal.SIGINT)
        rest, _ = await asyncio.wait_for(self._process.communicate(), 2 * PATIENCE)
        self.said += rest.decode()
        assert self._process.returncode == 0, self.said


@pytest_asyncio.fixture(loop_scope="module")
async def demo() -> AsyncIterator[Demo]:
    """Starts the demo, and stops it."""
    # No model of whoever runs the tests is asked.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TOOL_BRIDGE_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "examples" / "demo.py"),
        "--stay",
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    running = Demo(process)
    try:
        yield running
        await running.stop()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def go(page: Page, query: str) -> None:
    """Follows a link of the page."""
    await page.evaluate("""(query) => {
      history.pushState(null, "", query);
      dispatchEvent(new PopStateEvent("popstate"));
    }""", query)  # fmt: skip


async def test_the_dashboard_shows_what_the_demo_does(browser: Browser, demo: Demo) -> None:
    url = await demo.says(r"its dashboard is at (\S+)")
    tab = await open_tab(browser, viewport={"width": SIZE[0], "height": SIZE[1]})
    page = tab.page
    await page.goto(url)
    await page.locator("#link-state.live").wait_for()
    await demo.says("(stays until Ctrl-C)")
    for tool in ("search_docs", "scan_tree", "summarize", "calculate", "count_primes"):
        await go(page, f"?tool={tool}")
        await page.locator("main .list .row .tool").get_by_text(tool).locator("visible=true").first.wait_for()
    # The agent's run, with its steps.
    await go(page, "?call=demo-run&span=30")
    detail = page.locator("main .detail")
    for text in ("Done in 2 steps", "I know enough to answer."):
        await detail.get_by_text(text).first.wait_for()
    pictures = {}
    for theme in THEMES:
        await page.emulate_media(color_scheme=theme)
        pictures[theme] = await page.screenshot(animations="disabled", caret="hide")
        assert size_of(pictures[theme]) == SIZE
    assert [text for text in tab.complaints if not RUN_LEFT.search(text)] == []
    if os.environ.get("TEST_WRITE_PICTURES"):
        for theme, picture in pictures.items():
            (IMAGES / f"dashboard-{theme}.png").write_bytes(shrunk(picture))
