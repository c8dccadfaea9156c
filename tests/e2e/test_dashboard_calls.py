"""The dashboard's view of calls in a browser: what goes on, in a hub that the tests hold still."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, Self
from urllib.parse import quote

import httpx
import pytest_asyncio
from playwright.async_api import Locator, Page, expect

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, Settings, ToolContext
from grpc_tool_bridge.testing import ScriptedLM
from grpc_tool_bridge.testing.model_script import Failure, Held, fields, step
from support.browser import Tab
from support.dashboard import BROWSER_TESTS, MARKUP
from support.patience import PATIENCE
from support.waiting import soon

pytestmark = BROWSER_TESTS

# What the hub is asked for while it is gone.
REFUSED = re.compile("ERR_(CONNECTION|EMPTY|INCOMPLETE|NETWORK|SOCKET|FAILED|ABORTED)")
# A page that is loaded again leaves its streams.
LEFT = re.compile(r"/(events|runs|icon\.svg)\b.*ERR_ABORTED")


class Tools:
    """Tools whose calls do what a test puts into a queue: an exception or a text ends one, a number is its progress."""

    def __init__(self) -> None:
        self.queues: dict[str, asyncio.Queue[Any]] = {}
        self.ended: dict[str, str] = {}

    def __getitem__(self, name: str) -> "asyncio.Queue[Any]":
        return self.queues.setdefault(name, asyncio.Queue())

    async def work(self, name: str, context: ToolContext) -> str:
        """Works until it is told to end."""
        try:
            while not isinstance(given := await self[name].get(), str | Exception):
                context.progress(given, 4, f"at {given} of {name}")
        except asyncio.CancelledError:
            self.ended[name] = "cancelled"
            raise
        if isinstance(given, Exception):
            raise given
        return given

    async def research(self, topic: str, context: ToolContext) -> Any:
        """Has others work."""
        return await context.call_tool("work", name=topic)

    async def echo(self, text: str) -> str:
        """Returns a text."""
        return text


class Hub:
    """A hub, and calls of its tools over HTTP."""

    def __init__(self, **given: Any) -> None:
        self.given = {"http_address": "127.0.0.1:0", **given}
        self.tools = Tools()
        self.tasks: list[asyncio.Task[httpx.Response]] = []

    async def __aenter__(self) -> Self:
        self._stack = AsyncExitStack()
        tools = [self.tools.work, self.tools.research, self.tools.echo]
        self.server = await self._stack.enter_async_context(
            BridgeServer(tools=tools, settings=Settings(shutdown_grace=0.0), **self.given)
        )
        self.origin = f"http://{self.server.http_address}"
        self.client = await self._stack.enter_async_context(httpx.AsyncClient(base_url=self.origin, timeout=PATIENCE))
        await self.session("demo")
        return self

    async def __aexit__(self, *exc: object) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self._stack.aclose()

    async def restart(self) -> None:
        """Stops the hub, and starts another one at the same place."""
        await self.__aexit__()
        self.given["http_address"] = self.server.http_address
        await self.__aenter__()

    async def session(self, name: str) -> None:
        assert (await self.client.post("/api/sessions", json={"session_id": name})).status_code == 201

    def call(self, tool: str, session: str = "demo", **kwargs: Any) -> "asyncio.Task[httpx.Response]":
        """Begins a call."""
        path = f"/api/sessions/{session}/tools/{tool}/execute"
        task = asyncio.create_task(self.client.post(path, json={"kwargs": kwargs}))
        self.tasks.append(task)
        return task


Serve = Callable[..., Awaitable[Hub]]


@pytest_asyncio.fixture(loop_scope="module")
async def serve() -> AsyncIterator[Serve]:
    """Starts hubs with a session "demo"."""
    async with AsyncExitStack() as stack:

        async def start(**given: Any) -> Hub:
            return await stack.enter_async_context(Hub(**given))

        yield start


async def opened(page: Page, hub: Hub, query: str = "") -> Page:
    """Opens the view; returns its page when it is connected and has heard of what was before."""
    async with page.expect_response("**/api/history/calls?kind=slow*"):
        await page.goto(f"{hub.origin}/{query}")
    await expect(page.locator("#link-state")).to_have_text("Live")
    return page


def rows(page: Page, text: str = "") -> Locator:
    """The rows in sight."""
    return page.locator(".body .row:visible", has_text=text)


def detail(page: Page) -> Locator:
    return page.get_by_role("complementary", name="The selected call")


def field(page: Page, name: str) -> Locator:
    """The value of a fact of the selected call."""
    return (
        detail(page).locator("dt:visible", has_text=re.compile(f"^{name}$")).locator("xpath=following-sibling::dd[1]")
    )


def complaints(tab: Tab, expected: re.Pattern[str] = LEFT) -> list[str]:
    """What a page complains about, other than what is expected."""
    return [told for told in tab.complaints if not expected.search(told)]


async def test_a_call_is_seen_starting_moving_and_ending(tab: Tab, serve: Serve) -> None:
    hub = await serve()
    page = await opened(tab.page, hub)
    await page.get_by_text("No calls yet.").wait_for()
    task = hub.call("work", name="a report")
    row = rows(page, "work")
    await expect(row).to_contain_text("running")
    await hub.tools["a report"].put(1)
    await expect(row).to_contain_text("1 of 4 at 1 of a report")
    await row.click()
    await expect(detail(page).get_by_role("progressbar")).to_have_attribute("value", "1")
    await expect(detail(page).get_by_label("Arguments")).to_contain_text('"name": "a report"')
    await hub.tools["a report"].put(3)
    await expect(detail(page).get_by_role("progressbar")).to_have_attribute("value", "3")
    await hub.tools["a report"].put("the end")
    await expect(row).to_contain_text("done")
    await expect(row).to_contain_text("the end")
    await expect(field(page, "State")).to_have_text("✓ done")
    await expect(detail(page).get_by_label("Result")).to_have_text("the end")
    await expect(detail(page).get_by_role("button", name="Cancel…")).to_be_hidden()
    await expect(
        page.get_by_role("img", name=re.compile("^Timeline of the last 60 seconds: 1 call of 1 tool, 1"))
    ).to_be_visible()
    assert (await soon(task)).json()["result"] == "the end"
    assert tab.complaints == []


async def test_a_call_is_cancelled_with_a_reason_that_its_caller_is_told(tab: Tab, serve: Serve) -> None:
    hub = await serve()
    page = await opened(tab.page, hub)
    task = hub.call("work", name="long")
    await rows(page, "work").click()
    await detail(page).get_by_role("button", name="Cancel…").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_role("button", name="Back").click()
    await expect(dialog).to_be_hidden()
    await expect(field(page, "State")).to_have_text("▶ running")
    await detail(page).get_by_role("button", name="Cancel…").click()
    await dialog.get_by_label("Reason").fill("it takes too long")
    await page.keyboard.press("Enter")
    await expect(field(page, "State")).to_have_text("⊘ cancelled")
    await detail(page).get_by_text("Cancelled: call").wait_for()
    error = (await soon(task)).json()["error"]
    assert error["message"] == "the call was cancelled by an administrator: it takes too long"
    assert hub.tools.ended == {"long": "cancelled"}
    assert tab.complaints == []


async def test_calls_are_under_the_call_that_made_them(tab: Tab, serve: Serve) -> None:
    hub = await serve()
    page = await opened(tab.page, hub)
    hub.call("research", topic="bridges")
    await expect(rows(page)).to_have_count(2)
    grid = page.get_by_role("treegrid", name="Calls")
    await expect(grid.get_by_role("row", expanded=True)).to_contain_text("research")
    levels = await rows(page).evaluate_all("(rows) => rows.map((row) => [row.ariaLevel, row.children[1].textContent])")
    assert levels == [["1", "▾research"], ["2", "work"]]
    # By keyboard: fold, unfold, go in and out.
    await grid.focus()
    for key in ("ArrowDown", "ArrowLeft"):
        await page.keyboard.press(key)
    await expect(rows(page)).to_have_text([re.compile("▸research · 1 call")])
    for key in ("ArrowRight", "ArrowRight"):
        await page.keyboard.press(key)
    await expect(page.locator(".row.current")).to_contain_text("work")
    await page.keyboard.press("Enter")
    await expect(field(page, "Called by")).to_have_text("research")
    await grid.focus()
    await page.keyboard.press("ArrowLeft")
    await page.keyboard.press("Enter")
    await detail(page).get_by_role("heading", name="1 nested call").wait_for()
    await detail(page).get_by_role("link", name="work").click()
    await hub.tools["bridges"].put("all of them")
    await expect(detail(page).get_by_label("Result")).to_have_text("all of them")
    await expect(rows(page, "done")).to_have_count(2)
    assert tab.complaints == []


async def test_an_agent_s_steps_are_seen_as_they_happen_and_again_after_a_reload(tab: Tab, serve: Serve) -> None:
    held = Held(step("I have it.", "finish"))
    answers: list[str | Failure | Held] = [
        step("I look it up.", "echo", text=f"{MARKUP} four"),
        held,
        fields(reasoning="So it is.", Answer="four"),
    ]
    hub = await serve(agents={"lm": ScriptedLM(answers)})
    async with GRPCToolBridge(hub.server.address) as bridge:
        await bridge.initialize("agents")
        agent = await bridge.create_react_agent("Question -> Answer", tool_names=["echo"])
        page = await opened(tab.page, hub)
        task = asyncio.create_task(_run(bridge, agent))
        run = rows(page, f"{agent} (agent)")
        await run.click()
        steps = detail(page).locator(".steps")
        await expect(steps).to_contain_text("I look it up.")
        await expect(steps).to_contain_text(f"{MARKUP} four")
        await expect(page.locator(".row[aria-level='2']:visible")).to_contain_text("echo")
        await soon(held.asked())
        await page.reload()
        await expect(steps).to_contain_text("I look it up.")
        await expect(field(page, "State")).to_have_text("▶ running")
        held.release()
        await expect(detail(page).get_by_text("four", exact=True)).to_be_visible()
        await expect(steps).to_contain_text("I have it.")
        assert (await soon(task))[-1]["stop_reason"] == "finished"
        # It is known for a while.
        await expect(detail(page).locator(".run-state")).to_contain_text("Done")
    assert await page.locator("img[src='x']").count() == 0
    assert complaints(tab) == []


async def _run(bridge: GRPCToolBridge, agent: str) -> list[dict[str, Any]]:
    asked = {"agent_id": agent, "input": {"question": "2 + 2?"}, "run_id": "mine", "stream": True}
    return [chunk async for chunk in bridge.execute_agent_streaming(asked)]


async def test_an_error_is_shown_with_its_traceback(tab: Tab, serve: Serve) -> None:
    hub = await serve()
    page = await opened(tab.page, hub)
    await hub.tools["x"].put(LookupError("no such report"))
    await soon(hub.call("work", name="x"))
    await expect(rows(page, "failed")).to_contain_text("LookupError: no such report")
    await rows(page, "failed").click()
    await detail(page).get_by_text("Traceback", exact=True).click()
    await expect(detail(page).locator("details pre")).to_contain_text("raise given")
    href = await detail(page).get_by_role("link", name="Call again").get_attribute("href")
    assert href == "?view=tools&tool=work&session=demo&args=%7B%22name%22%3A%22x%22%7D"
    assert tab.complaints == []


async def test_a_call_by_position_is_made_again_with_its_arguments(tab: Tab, serve: Serve) -> None:
    hub = await serve()
    page = await opened(tab.page, hub)
    await soon(asyncio.create_task(hub.client.post("/api/sessions/demo/tools/echo/execute", json={"args": ["again"]})))
    await rows(page).click()
    await expect(detail(page).get_by_label("Arguments")).to_have_text(re.compile(r'^\[\s*"again"\s*\]$'))
    await expect(field(page, "Started")).to_have_text(re.compile(r"^[\d:.]+ \S+$"))
    await detail(page).get_by_role("link", name="Call again").click()
    await expect(page.get_by_role("complementary").get_by_label("text", exact=True)).to_have_value("again")
    assert tab.complaints == []


async def test_what_failed_before_the_page_was_opened_is_there(tab: Tab, serve: Serve) -> None:
    hub = await serve()
    await hub.tools["x"].put(LookupError("long ago"))
    await soon(hub.call("work", name="x"))
    page = await opened(tab.page, hub, "?state=failed")
    await expect(rows(page)).to_contain_text("long ago")
    await rows(page).click()
    await detail(page).get_by_text("Its arguments and its result are not known").wait_for()
    assert tab.complaints == []


async def test_filters_and_the_selected_call_stand_in_the_address_and_survive_a_reload(tab: Tab, serve: Serve) -> None:
    hub = await serve()
    await hub.session("other")
    page = await opened(tab.page, hub)
    hub.call("work", name="a")
    hub.call("work", "other", name="b")
    await hub.tools["c"].put(ValueError("needle in hay"))
    await soon(hub.call("work", name="c"))
    await expect(rows(page)).to_have_count(3)
    await page.get_by_label("Find").fill("NEEDLE hay")
    await expect(rows(page)).to_have_count(1)
    await page.get_by_label("Find").fill("")
    await page.get_by_role("button", name="Failed").click()
    await expect(rows(page)).to_have_text([re.compile("needle")])
    await page.get_by_role("button", name="Running").click()
    await expect(rows(page, "running")).to_have_count(2)
    await expect(rows(page)).to_have_count(2)
    await page.get_by_role("button", name="Running").click()
    await page.get_by_role("combobox", name="Session", exact=True).fill("other")
    await page.keyboard.press("Enter")
    await expect(rows(page)).to_have_text([re.compile("other")])
    await page.get_by_role("combobox", name="State", exact=True).select_option("running")
    await rows(page).click()
    await expect(field(page, "Session")).to_have_text("other")
    await page.reload()
    await expect(field(page, "Session")).to_have_text("other")
    await expect(rows(page)).to_have_text([re.compile("other")])
    assert await page.get_by_role("combobox", name="Session", exact=True).input_value() == "other"
    assert await page.get_by_role("combobox", name="State", exact=True).input_value() == "running"
    # A step back is what was before, and none of it is lost.
    await page.go_back()
    await expect(detail(page)).to_be_hidden()
    await page.get_by_role("button", name="Clear filters").click()
    await expect(rows(page, "running")).to_have_count(2)
    await page.get_by_role("button", name="Slow").click()
    await expect(page).to_have_url(re.compile("slow=1000"))
    await expect(page.get_by_role("button", name="Slow")).to_have_attribute("aria-pressed", "true")
    assert complaints(tab) == []


async def test_while_it_is_paused_newer_calls_wait_and_are_counted(tab: Tab, serve: Serve) -> None:
    hub = await serve()
    page = await opened(tab.page, hub)
    await soon(hub.call("echo", text="first"))
    await expect(rows(page)).to_have_count(1)
    await page.get_by_role("button", name="Pause").click()
    await soon(hub.call("echo", text="second"))
    await soon(hub.call("echo", text="third"))
    await page.get_by_text("Paused: 2 newer calls wait").wait_for()
    await expect(rows(page)).to_have_text([re.compile("first")])
    await page.get_by_label("Find").fill("echo")
    await page.get_by_text("1 of 3 listed").wait_for()
    await expect(rows(page)).to_have_text([re.compile("first")])
    await page.get_by_role("button", name="Pause").click()
    await expect(rows(page)).to_have_text([re.compile("third"), re.compile("second"), re.compile("first")])
    assert tab.complaints == []


async def test_what_was_left_out_is_counted_and_seen_if_it_goes_on_for_long(tab: Tab, serve: Serve) -> None:
    hub = await serve()
    page = await opened(tab.page, hub)
    async with GRPCToolBridge(hub.server.address) as bridge:
        tools = await bridge.initialize("many")
        before = [asyncio.ensure_future(tools["echo"](f"{number}")) for number in range(800)]
        long = asyncio.ensure_future(tools["work"]("long"))
        await asyncio.gather(*before)
        await page.get_by_text(re.compile(r"^Since this page was opened: [\d,]+ calls not listed")).wait_for()
        await page.get_by_label("Find").fill("work")
        await expect(rows(page)).to_contain_text("running")
        await hub.tools["long"].put("at last")
        assert await soon(long) == "at last"
        await expect(rows(page)).not_to_contain_text("running")
    assert tab.complaints == []


async def test_a_hub_that_was_started_anew_is_found_and_its_calls_are_its_own(tab: Tab, serve: Serve) -> None:
    hub = await serve()
    page = await opened(tab.page, hub)
    hub.call("work", name="old")
    await rows(page, "running").click()
    identity = await field(page, "Call id").inner_text()
    await hub.restart()
    await expect(page.locator("#link-state")).to_have_text("Live")
    await expect(field(page, "State")).to_contain_text("before the hub restarted")
    hub.call("work", name="new")
    await expect(rows(page, "running")).to_have_count(1)
    await expect(rows(page)).to_have_count(2)
    await expect(detail(page).get_by_label("Arguments")).to_contain_text("old")
    await rows(page, "running").click()
    await expect(detail(page).get_by_label("Arguments")).to_contain_text("new")
    # The new hub counts from the beginning, too.
    assert await field(page, "Call id").inner_text() == identity
    await hub.tools["new"].put("done here")
    await expect(rows(page, "done here")).to_have_count(1)
    assert complaints(tab, REFUSED) == []


async def test_two_pages_show_the_same_and_one_that_nobody_sees_leaves_its_connection(tab: Tab, serve: Serve) -> None:
    hub = await serve()
    first = await opened(tab.page, hub)
    second = await opened(await tab.context.new_page(), hub)
    hub.call("work", name="a")
    for page in (first, second):
        await expect(rows(page, "running")).to_have_count(1)
    third = await opened(await tab.context.new_page(), hub)
    await _hide(first, hidden=True)
    await expect(first.locator("#link-state")).to_have_text("Live")
    # Those that stay connected are few, as a browser has but six connections to a hub.
    await opened(await tab.context.new_page(), hub)
    await expect(first.locator("#link-state")).to_have_text("Paused")
    await expect(second.locator("#link-state")).to_have_text("Live")
    await hub.tools["a"].put("the end")
    await expect(rows(second, "the end")).to_have_count(1)
    # It ended while nobody told the first page; that it did is known as soon as somebody looks.
    await expect(rows(first, "running")).to_have_count(1)
    await _hide(first, hidden=False)
    await expect(rows(first, "running")).to_have_count(0)
    await expect(rows(first)).to_have_text([re.compile("done|unknown")])
    await soon(hub.call("echo", text="again"))
    for page in (first, second, third):
        await expect(rows(page, "again")).to_have_count(1)
    assert complaints(tab) == []


async def _hide(page: Page, *, hidden: bool) -> None:
    """Makes a page believe that nobody sees it; a browser without a window shows all of them."""
    await page.evaluate(
        """(hidden) => {
          Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
          document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


async def test_all_is_done_by_keyboard_alone(tab: Tab, serve: Serve) -> None:
    hub = await serve()
    page = await opened(tab.page, hub)
    task = hub.call("work", name="by keys")
    await soon(hub.call("echo", text="other"))
    await expect(rows(page)).to_have_count(2)

    async def press(*keys: str) -> None:
        for key in keys:
            await page.keyboard.press(key)

    async def tab_to(locator: Locator) -> None:
        async with asyncio.timeout(PATIENCE):
            while not await locator.evaluate("(element) => element === document.activeElement"):
                await press("Tab")

    await tab_to(page.get_by_label("Find"))
    await page.keyboard.type("by-nobody")
    await page.get_by_text("No call matches.").wait_for()
    await press("Control+A", "Delete")
    await tab_to(page.get_by_role("treegrid"))
    await press("End", "Enter")
    await expect(detail(page).get_by_role("heading", level=2)).to_have_text("work")
    cancel = detail(page).get_by_role("button", name="Cancel…")
    await tab_to(cancel)
    await press("Enter")
    await page.keyboard.type("enough")
    await press("Enter")
    assert (await soon(task)).json()["error"]["message"].endswith(": enough")
    await expect(field(page, "State")).to_have_text("⊘ cancelled")
    await tab_to(detail(page).get_by_role("link", name="Close"))
    await press("Enter")
    await expect(detail(page)).to_be_hidden()
    assert await page.evaluate("document.activeElement.role") == "treegrid"
    assert tab.complaints == []


async def test_the_list_keeps_its_place_where_somebody_reads_and_follows_at_its_top(tab: Tab, serve: Serve) -> None:
    hub = await serve()
    page = await opened(tab.page, hub)
    async with GRPCToolBridge(hub.server.address) as bridge:
        tools = await bridge.initialize("many")
        for number in range(120):
            await tools["echo"](f"number {number}.")
        await expect(rows(page).first).to_contain_text("number 119.")
        grid = page.get_by_role("treegrid")
        await grid.focus()
        for _ in range(3):
            await page.keyboard.press("PageDown")
        await page.evaluate("new Promise(requestAnimationFrame)")
        current = page.locator(".row.current")
        kept = await current.inner_text()
        place = await current.bounding_box()
        last = 120

        async def more() -> None:
            nonlocal last
            for _ in range(30):
                await tools["echo"](f"number {last}.")
                last += 1
            await page.get_by_text(f"{last} listed").wait_for()
            await page.evaluate("new Promise(requestAnimationFrame)")

        await more()
        await expect(current).to_have_text(kept, use_inner_text=True)
        assert await current.bounding_box() == place
        # At the top, too, the row where the keyboard is stays.
        await page.keyboard.press("Home")
        await expect(current).to_contain_text(f"number {last - 1}.")
        kept = await current.inner_text()
        await more()
        await expect(current).to_have_text(kept, use_inner_text=True)
        await expect(current).to_be_in_viewport()
        # Without the keyboard, what is at the top of what somebody has scrolled to.
        await page.get_by_role("button", name="To the top").click()
        await page.get_by_label("Find").focus()
        await grid.hover()
        await page.mouse.wheel(0, 340)
        await expect(page.get_by_role("button", name="To the top")).to_be_visible()
        row = rows(page, f"number {last - 20}.")
        place = await row.bounding_box()
        await more()
        assert await row.bounding_box() == place
        await page.get_by_role("button", name="To the top").click()
        await expect(rows(page).first).to_contain_text(f"number {last - 1}.")
        await more()
        await expect(rows(page).first).to_contain_text(f"number {last - 1}.")
    assert tab.complaints == []


async def test_what_tools_and_callers_write_is_text(tab: Tab, serve: Serve) -> None:
    hub = await serve()
    name = f"{MARKUP} __proto__"
    await hub.session(name)
    page = await opened(tab.page, hub)
    path = f"/api/sessions/{quote(name, safe='')}"
    for text in (MARKUP, "\u202eright to left", "a\nb\r\nc\u2028d", "__proto__", "x" * 60_000):
        answer = await hub.client.post(f"{path}/tools/echo/execute", json={"kwargs": {"text": text}})
        assert answer.json()["result"] == text
    await hub.tools["bad"].put(ValueError(f"{MARKUP}\n" * 5_000))
    await soon(hub.call("work", name="bad"))
    await expect(rows(page)).to_have_count(6)
    heights = await rows(page).evaluate_all("(rows) => [...new Set(rows.map((row) => row.offsetHeight))]")
    assert heights == [34]
    for row in await rows(page).all():
        await row.click()
        await expect(detail(page).get_by_label("Arguments")).to_be_visible()
    await page.get_by_label("Find").fill(MARKUP)
    await expect(rows(page)).to_have_count(6)
    assert await page.locator("img").count() == 0
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert tab.complaints == []


async def test_a_call_that_nobody_knows_is_said_to_be_unknown(tab: Tab, serve: Serve) -> None:
    hub = await serve()
    page = await opened(tab.page, hub, "?call=4711")
    await expect(detail(page).get_by_role("heading")).to_have_text("Call not found")
    await detail(page).get_by_role("link", name="Close").click()
    await expect(detail(page)).to_be_hidden()
    assert tab.complaints == []


async def test_a_time_line_is_clicked_on_and_can_be_hidden(tab: Tab, serve: Serve) -> None:
    hub = await serve()
    page = await opened(tab.page, hub)
    hub.call("work", name="a")
    await expect(rows(page)).to_have_count(1)
    line = page.get_by_role("img", name=re.compile("Timeline"))
    box = await line.bounding_box()
    assert box is not None
    # What runs reaches to where now is.
    await page.mouse.move(box["x"] + box["width"] - 2, box["y"] + 6)
    await expect(page.locator(".tip")).to_contain_text("work · running")
    await page.mouse.down()
    await page.mouse.up()
    await expect(detail(page).get_by_role("heading", level=2)).to_have_text("work")
    await page.get_by_role("button", name="Timeline").click()
    await expect(line).to_be_hidden()
    await page.reload()
    await expect(rows(page)).to_have_count(1)
    await expect(line).to_be_hidden()
    assert complaints(tab) == []
