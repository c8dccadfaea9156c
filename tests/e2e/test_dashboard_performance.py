"""The dashboard's view of performance in a browser: charts, counts, the slowest and the failed calls."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Locator, Page, expect

from grpc_tool_bridge import ToolWorker
from grpc_tool_bridge.core import history
from support.browser import Tab
from support.dashboard import BROWSER_TESTS, Dashboard, dashboard
from support.patience import PATIENCE

pytestmark = BROWSER_TESTS
HOSTILE = "<img src=x onerror=alert(1)>\u202eright to left\n\u2028__proto__ " + "x" * 100_000
POINT = re.compile(r"[ML]([\d.]+) ([\d.]+)")


async def add(a: int, b: int = 1) -> int:
    """Adds `a` and `b`."""
    return a + b


async def fail(text: str = "no") -> int:
    """Fails."""
    raise LookupError(text)


async def linger(seconds: float) -> str:
    """Takes its time."""
    await asyncio.sleep(seconds)
    return "done"


Serve = Callable[..., Awaitable[Dashboard]]


@pytest_asyncio.fixture(loop_scope="module")
async def serve(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Serve]:
    """Starts hubs with a session "demo", which count often; gives what calls their tools."""
    monkeypatch.setattr(history, "INTERVAL_SECONDS", 0.25)
    async with AsyncExitStack() as stack:

        async def start(*tools: Any, worker: Any = None) -> Dashboard:
            hub = await stack.enter_async_context(dashboard([*tools] or [add, fail, linger]))
            if worker is not None:
                await stack.enter_async_context(ToolWorker(hub.server.address, tools=[worker], worker_id="w<b>1"))
            await hub.session("demo")
            return hub

        yield start


def row(page: Page, name: str) -> Locator:
    """Returns the row of a tool or a worker in the table of counts."""
    return page.locator(".counts tbody tr").filter(has=page.get_by_role("link", name=name, exact=True))


def summary(page: Page, text: str | re.Pattern[str]) -> Locator:
    """Returns what stands above the charts, once it says this."""
    return page.locator(".performance > .summary").filter(has_text=text)


async def line(page: Page, name: str) -> list[tuple[float, float]]:
    """Returns the points of a line of a chart."""
    drawn = await page.locator(f".plot .line.{name}").get_attribute("d")
    return [(float(x), float(y)) for x, y in POINT.findall(drawn or "")]


# -------------------------------------------------------------------------------------------------------- the numbers


async def test_the_numbers_are_those_of_the_calls_that_were_made(tab: Tab, serve: Serve) -> None:
    calls = await serve()
    for number in range(5):
        await calls.call("add", a=number)
    for _ in range(2):
        await calls.call("fail")
    await tab.page.goto(f"{calls.origin}/?view=performance")
    await summary(tab.page, "7 calls in the last 5 minutes, 2 failed (29%) · 0 in flight").wait_for()
    await expect(row(tab.page, "add").locator("td.calls")).to_have_text("5")
    await expect(row(tab.page, "add").locator("td.errors")).to_have_text("0")
    await expect(row(tab.page, "fail").locator("td.calls")).to_have_text("2")
    await expect(row(tab.page, "fail").locator("td.errors")).to_have_text("2 (100%)")
    (counts,) = (await calls.client.get("/api/history/tools?find=ADD")).json()["tools"]
    shown = await row(tab.page, "add").locator("td.p50").inner_text()
    assert float(shown.split()[0]) == pytest.approx(counts["p50_ms"], abs=0.006)
    await expect(tab.page.get_by_text("2 tools, over the last ten minutes")).to_be_visible()
    assert tab.complaints == []
    assert tab.requested_outside(calls.origin) == []


async def test_calls_that_are_made_while_one_looks_appear(tab: Tab, serve: Serve) -> None:
    calls = await serve()
    await tab.page.goto(f"{calls.origin}/?view=performance&minutes=1")
    await summary(tab.page, "No calls ended in the last minute · 0 in flight").wait_for()
    waiting = asyncio.create_task(calls.call("linger", seconds=3 * PATIENCE))
    try:
        await summary(tab.page, "1 in flight").wait_for()
        await calls.call("add", a=1)
        await summary(tab.page, "1 call in the last minute, none failed · 1 in flight").wait_for()
    finally:
        (running,) = (await calls.client.get("/api/calls")).json()["calls"]
        await tab.page.request.delete(f"{calls.origin}/api/calls/{running['call_id']}")
        await waiting
    assert tab.complaints == []


async def test_an_idle_hub_has_flat_lines_and_says_that_nothing_was_called(tab: Tab, serve: Serve) -> None:
    calls = await serve()
    await tab.page.goto(f"{calls.origin}/?view=performance&minutes=10")
    await summary(tab.page, "No calls ended in the last 10 minutes").wait_for()
    latency = tab.page.get_by_role("figure", name="Latency")
    await expect(latency.get_by_text("No calls in this time.")).to_be_visible()
    assert await line(tab.page, "p50") == []
    drawn = await line(tab.page, "calls")
    assert len({y for _, y in drawn}) == 1
    await expect(tab.page.get_by_role("figure", name="Calls per second").get_by_text("No calls")).to_be_hidden()
    await tab.page.get_by_text("No tool had a call in the last ten minutes.").wait_for()
    await tab.page.get_by_text("No call has failed in the last ten minutes.").wait_for()
    await tab.page.get_by_text("p50, p95 and p99 are the latencies").wait_for()
    assert tab.complaints == []


# ------------------------------------------------------------------------------------------------- one tool or worker


async def test_a_tool_is_chosen_by_the_address_and_in_the_table(tab: Tab, serve: Serve) -> None:
    calls = await serve()
    for _ in range(3):
        await calls.call("add", a=1)
    await calls.call("fail")
    await tab.page.goto(f"{calls.origin}/?view=performance&tool=fail")
    await tab.page.get_by_role("heading", name="Tool fail").wait_for()
    await summary(tab.page, "1 call in the last 5 minutes, 1 failed (100%)").wait_for()
    await row(tab.page, "add").get_by_role("link").click()
    await summary(tab.page, "3 calls in the last 5 minutes, none failed").wait_for()
    assert tab.page.url == f"{calls.origin}/?view=performance&tool=add"
    await expect(row(tab.page, "add")).to_have_attribute("aria-current", "true")
    # Its slowest calls are listed with it.
    listed = tab.page.locator(".notable.slow tbody th")
    await expect(listed).to_have_text(["add"] * 3)
    await tab.page.locator(".links").get_by_role("link", name="All calls").click()
    await summary(tab.page, "4 calls").wait_for()
    await expect(listed).to_have_count(4)
    await tab.page.go_back()
    await tab.page.get_by_role("heading", name="Tool add").wait_for()
    assert tab.complaints == []


async def test_a_worker_is_chosen(tab: Tab, serve: Serve) -> None:
    calls = await serve(add, worker=linger)
    await calls.call("linger", seconds=0)
    await calls.call("add", a=1)
    await tab.page.goto(f"{calls.origin}/?view=performance&tool=add")
    await summary(tab.page, "1 call in").wait_for()
    await tab.page.get_by_role("navigation", name="What is counted").get_by_role("link", name="Workers").click()
    await tab.page.get_by_text("1 worker, over the last ten minutes").wait_for()
    await row(tab.page, "w<b>1").get_by_role("link").click()
    await tab.page.get_by_role("heading", name="Worker w<b>1").wait_for()
    await summary(tab.page, "1 call in the last 5 minutes, none failed").wait_for()
    assert tab.page.url == f"{calls.origin}/?view=performance&table=workers&worker=w%3Cb%3E1"
    assert tab.complaints == []


async def test_many_tools_are_sorted_found_and_shown_in_part(tab: Tab, serve: Serve) -> None:
    def named(name: str) -> Any:
        async def answer() -> str:
            return name

        answer.__name__ = name
        return answer

    calls = await serve(*(named(f"tool_{number:03}") for number in range(120)), named("__proto__"))
    for number in range(120):
        await calls.call(f"tool_{number:03}")
    await calls.call("__proto__")
    await calls.call("__proto__")
    await tab.page.goto(f"{calls.origin}/?view=performance")
    rows = tab.page.locator(".counts tbody tr")
    await tab.page.get_by_text("100 of 121 tools, over the last ten minutes").wait_for()
    await expect(rows).to_have_count(100)
    await expect(rows.first.locator("th")).to_have_text("__proto__")
    await tab.page.get_by_role("columnheader", name="Name").get_by_role("link").click()
    await expect(rows.nth(1).locator("th")).to_have_text("tool_000")
    await expect(tab.page.get_by_role("columnheader", name="Name")).to_have_attribute("aria-sort", "ascending")
    await tab.page.get_by_role("link", name="Show all").click()
    await expect(rows).to_have_count(121)
    await tab.page.get_by_label("Find").fill("OL_11")
    await tab.page.get_by_text("10 tools with this in the name").wait_for()
    await expect(rows).to_have_count(10)
    assert tab.page.url == f"{calls.origin}/?view=performance&sort=name&limit=all&find=OL_11"
    await tab.page.get_by_label("Find").fill("nothing")
    await tab.page.get_by_text("No tool with this in its name had a call").wait_for()
    assert tab.complaints == []


async def test_the_row_that_somebody_is_in_stays_in_its_place_and_keeps_the_focus(tab: Tab, serve: Serve) -> None:
    calls = await serve()
    await calls.call("add", a=1)
    await calls.call("add", a=1)
    await calls.call("fail")
    await tab.page.goto(f"{calls.origin}/?view=performance")
    names = tab.page.locator(".counts tbody th")
    await expect(names).to_have_text(["add", "fail"])
    await row(tab.page, "fail").get_by_role("link").focus()
    for _ in range(5):
        await calls.call("fail")
    await expect(row(tab.page, "fail").locator("td.calls")).to_have_text("6")
    await expect(names).to_have_text(["add", "fail"])
    await expect(row(tab.page, "fail").get_by_role("link")).to_be_focused()
    await tab.page.get_by_label("Find").focus()
    await expect(names).to_have_text(["fail", "add"])


# ------------------------------------------------------------------------------------------- slowest and failed calls


async def test_a_slow_and_a_failed_call_are_one_click_away(tab: Tab, serve: Serve) -> None:
    calls = await serve()
    await calls.call("linger", seconds=0.2)
    await calls.call("fail", text=HOSTILE)
    await tab.page.goto(f"{calls.origin}/?view=performance")
    slow, failed = tab.page.locator(".notable.slow"), tab.page.locator(".notable.failed")
    await expect(slow.locator("tbody tr").first).to_contain_text(re.compile(r"linger.*\d{3} ms"))
    await expect(failed.locator("tbody tr")).to_contain_text("LookupError: <img src=x onerror=alert(1)>")
    await expect(failed.get_by_text("1 call, the newest first")).to_be_visible()
    await slow.get_by_role("link", name="linger").click()
    await tab.page.wait_for_url(re.compile(r"\?call=[^&]+$"))
    await expect(tab.page.get_by_role("heading", name="linger")).to_be_visible()
    await tab.page.go_back()
    await failed.get_by_role("link", name="fail").click()
    await expect(tab.page.get_by_role("heading", name="fail")).to_be_visible()
    assert await tab.page.locator("img").count() == 0
    assert tab.complaints == []


async def test_a_call_that_the_page_was_not_told_of_is_known_where_its_link_leads_to(tab: Tab, serve: Serve) -> None:
    calls = await serve()
    # No event comes, and nothing that ended is listed.
    await tab.page.route("**/api/events?*", lambda route: None)
    await tab.page.goto(f"{calls.origin}/?view=performance")
    await calls.call("linger", seconds=0.1)
    await tab.page.locator(".notable.slow").get_by_role("link", name="linger").click()
    await expect(tab.page.get_by_role("heading", name="linger")).to_be_visible()
    assert tab.complaints == []


# --------------------------------------------------------------------------------------------------------- the charts


async def test_a_chart_is_read_by_keyboard_and_all_of_them_show_the_same_moment(
    tab: Tab, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two points are never of the same second, which is what is shown of them.
    monkeypatch.setattr(history, "INTERVAL_SECONDS", 1.1)
    calls = await serve()
    await calls.call("fail")
    await tab.page.goto(f"{calls.origin}/?view=performance")
    await summary(tab.page, "1 call").wait_for()
    plot = tab.page.get_by_role("slider", name="Calls per second: a moment")
    # Two points at least.
    await expect(plot).not_to_have_attribute("aria-valuemax", "0")
    await plot.focus()
    await tab.page.keyboard.press("Home")
    values = re.compile(r"^\d\d:\d\d:\d\d: Calls [\d.]+, Errors [\d.]+$")
    await expect(plot).to_have_attribute("aria-valuetext", values)
    await expect(plot).to_have_attribute("aria-valuenow", "0")
    moments = tab.page.locator("figcaption .moment")
    (moment,) = set(await moments.all_inner_texts())
    assert moment.startswith("at ")
    await expect(tab.page.locator(".plot .cross:not([hidden])")).to_have_count(3)
    await tab.page.keyboard.press("ArrowRight")
    await expect(plot).to_have_attribute("aria-valuenow", "1")
    await expect(moments.first).not_to_have_text(moment)
    await tab.page.keyboard.press("ArrowLeft")
    await expect(moments.first).to_have_text(moment)
    await tab.page.keyboard.press("Escape")
    await expect(moments.first).to_contain_text("latest:")
    assert tab.complaints == []


async def test_a_chart_shows_the_moment_under_the_pointer(tab: Tab, serve: Serve) -> None:
    calls = await serve()
    await calls.call("add", a=1)
    await tab.page.goto(f"{calls.origin}/?view=performance&minutes=1")
    await summary(tab.page, "1 call").wait_for()
    plot = tab.page.get_by_role("slider", name="Latency: a moment")
    await plot.hover()
    await expect(tab.page.locator("figcaption .moment").first).to_have_text(re.compile(r"^at \d"))
    await tab.page.get_by_label("Find").hover()
    await expect(tab.page.locator("figcaption .moment").first).to_contain_text("latest:")


async def test_a_line_is_hidden_by_its_legend_and_the_address_says_so(tab: Tab, serve: Serve) -> None:
    calls = await serve()
    await calls.call("fail")
    await tab.page.goto(f"{calls.origin}/?view=performance")
    await summary(tab.page, "1 call").wait_for()
    legend = tab.page.get_by_role("button", name="Errors")
    await expect(legend).to_have_attribute("aria-pressed", "true")
    assert await line(tab.page, "errors")
    await legend.focus()
    await tab.page.keyboard.press("Space")
    await expect(legend).to_have_attribute("aria-pressed", "false")
    await expect(tab.page.locator(".plot .line.errors")).to_have_attribute("d", "")
    assert tab.page.url == f"{calls.origin}/?view=performance&hide=errors"
    await expect(legend).to_be_focused()
    await tab.page.keyboard.press("Space")
    await expect(tab.page.locator(".plot .line.errors")).not_to_have_attribute("d", "")
    assert tab.page.url == f"{calls.origin}/?view=performance"
    assert tab.complaints == []


async def test_a_chart_is_a_table_as_well(tab: Tab, serve: Serve) -> None:
    calls = await serve()
    for _ in range(4):
        await calls.call("fail")
    await tab.page.goto(f"{calls.origin}/?view=performance")
    await summary(tab.page, "4 calls").wait_for()
    chart = tab.page.get_by_role("figure", name="Calls per second")
    await chart.get_by_text("As a table").click()
    rows = chart.locator("tbody tr")
    await expect(rows).not_to_have_count(0)
    failed = rows.filter(has_not=tab.page.locator("td:last-child").get_by_text("0", exact=True))
    points = (await calls.client.get("/api/history")).json()["points"]
    await expect(failed).to_have_count(sum(point["errors"] > 0 for point in points))
    # The newest is the first.
    times = await rows.locator("th").all_inner_texts()
    at = [datetime.fromisoformat(point["at"]).astimezone().strftime("%H:%M:%S") for point in points]
    shown = [time[-8:] for time in times[::-1]]
    assert shown[: len(at)] == at[: len(shown)]
    await expect(rows).not_to_have_count(len(times))
    assert (await rows.locator("th").all_inner_texts())[-len(times) :] == times
    assert tab.complaints == []


async def test_a_screen_reader_finds_charts_tables_and_ranges(tab: Tab, serve: Serve) -> None:
    calls = await serve()
    await calls.call("add", a=1)
    await tab.page.goto(f"{calls.origin}/?view=performance&minutes=1")
    await row(tab.page, "add").wait_for()
    tree = await tab.page.locator("main").aria_snapshot()
    for part in (
        'heading "All calls" [level=1]',
        'figure "Latency"',
        'slider "Latency: a moment"',
        'button "p95',
        'rowheader "add"',
        'columnheader "Calls"',
        'navigation "The last minutes"',
    ):
        assert part in tree
    await expect(tab.page.get_by_role("link", name="1 minute")).to_have_attribute("aria-current", "true")
    await tab.page.get_by_role("link", name="10 minutes").click()
    assert tab.page.url == f"{calls.origin}/?view=performance&minutes=10"
    assert tab.complaints == []


# ----------------------------------------------------------------------------------------- a hub that was gone, unseen


async def test_a_hub_that_was_gone_leaves_a_gap(tab: Tab) -> None:
    async with dashboard([add]) as calls:
        await calls.session("demo")
        await calls.call("add", a=1)
        address = calls.server.http_address
        await calls.open(tab, "performance", minutes="1")
        await summary(tab.page, "1 call").wait_for()
    await tab.page.get_by_role("alert").filter(has_text="The hub cannot be reached.").first.wait_for()
    async with dashboard([add], http_address=address) as calls:
        await calls.session("demo")
        await calls.call("add", a=1)
        # Those of the hub before are there as well.
        await summary(tab.page, "2 calls").wait_for()
        await expect(tab.page.get_by_text("The hub cannot be reached.")).to_have_count(0)
        drawn = await tab.page.locator(".plot .line.calls").get_attribute("d")
        assert drawn is not None
        assert drawn.count("M") == 2


async def test_a_page_that_nobody_sees_asks_for_nothing(tab: Tab, serve: Serve) -> None:
    calls = await serve()
    await tab.page.clock.install()
    await tab.page.goto(f"{calls.origin}/?view=performance")
    await summary(tab.page, "No calls ended").wait_for()
    hide = """(hidden) => {
      Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
      document.dispatchEvent(new Event("visibilitychange"));
    }"""
    await tab.page.evaluate(hide, True)
    # What was asked for before is answered.
    await tab.page.clock.run_for(10_000)
    await tab.page.evaluate("fetch('/api/hub').then((answer) => answer.text())")
    asked = len(tab.requested)
    await tab.page.clock.run_for(30_000)
    await tab.page.evaluate("fetch('/api/hub').then((answer) => answer.text())")
    assert [url for url in tab.requested[asked:] if "/api/history" in url] == []
    await calls.call("add", a=1)
    await tab.page.evaluate(hide, False)
    await summary(tab.page, "1 call in").wait_for()
    assert tab.complaints == []
