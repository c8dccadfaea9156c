"""The dashboard's view of limits in a browser: how full each of them is, and what the hub says of itself."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest_asyncio
from playwright.async_api import Locator, Page, expect

from grpc_tool_bridge import BridgeServer, ResourceLimits, Settings, ToolWorker, tool
from support.browser import Tab
from support.dashboard import BROWSER_TESTS, dashboard
from support.patience import PATIENCE

pytestmark = BROWSER_TESTS


async def linger() -> str:
    """Takes its time."""
    await asyncio.sleep(3 * PATIENCE)
    return "done"


async def work() -> str:
    """Takes its time, in a worker."""
    return await linger()


@tool(limits=ResourceLimits(max_concurrent_calls=2, rate_limit_per_minute=5))
async def limited() -> str:
    """Has limits of its own."""
    return "done"


Serve = Callable[..., Awaitable[httpx.AsyncClient]]


@pytest_asyncio.fixture(loop_scope="module")
async def serve() -> AsyncIterator[Serve]:
    """Starts hubs; gives a client of each."""
    async with AsyncExitStack() as stack:

        async def start(*, has_worker: bool = False, **settings: Any) -> httpx.AsyncClient:
            hub = await stack.enter_async_context(dashboard([linger, limited], **settings))
            if has_worker:
                worker = ToolWorker(hub.server.address, tools=[work], worker_id="w<b>", capacity=1)
                await stack.enter_async_context(worker)
            return hub.client

        yield start


async def begin(client: httpx.AsyncClient, session: str) -> httpx.Response:
    """Opens a session."""
    return await client.post("/api/sessions", json={"session_id": session})


async def call(client: httpx.AsyncClient, session: str, name: str) -> None:
    """Calls a tool; the hub may end before the call does."""
    try:
        await client.post(f"/api/sessions/{session}/tools/{name}/execute", json={})
    except httpx.HTTPError:
        return


def meter(page: Page, title: str, setting: str) -> Locator:
    """Returns what is shown of a limit."""
    heading = page.get_by_role("heading", name=title, exact=True)
    return page.locator(".meters > li").filter(has=heading).filter(has=page.get_by_text(setting, exact=True))


async def test_a_limit_fills_up(tab: Tab, serve: Serve) -> None:
    client = await serve(max_sessions=10)
    for number in range(8):
        await begin(client, f"s{number}")
    await tab.page.goto(f"{client.base_url}/?view=limits")
    sessions = meter(tab.page, "Sessions", "max_sessions")
    await expect(sessions).to_contain_text("8 of 10 · 80%")
    await expect(sessions.locator(".mark")).to_have_text("")
    await begin(client, "s8")
    await expect(sessions).to_contain_text("9 of 10 · 90%")
    await expect(sessions.locator(".mark")).to_have_text("Nearly full")
    await tab.page.get_by_text(re.compile(r"^1 of \d+ limits is reached or nearly reached")).wait_for()
    await begin(client, "s9")
    await expect(sessions).to_contain_text("10 of 10 · 100%")
    await expect(sessions.locator(".mark")).to_have_text("Full")
    # The fullest is the first, and it is as it says.
    await expect(tab.page.locator(".meters > li").first).to_contain_text("10 of 10")
    await expect(sessions).to_contain_text("Another session is refused until one ends.")
    assert (await begin(client, "s10")).status_code == 429
    bar = sessions.get_by_role("meter", name="Sessions")
    await expect(bar).to_have_attribute("aria-valuenow", "100")
    await client.delete("/api/sessions/s9")
    await expect(bar).to_have_attribute("aria-valuenow", "90")
    assert tab.complaints == []
    assert tab.requested_outside(str(client.base_url).rstrip("/")) == []


async def test_calls_that_wait_are_counted_and_lead_to_whose_limit_it_is(tab: Tab, serve: Serve) -> None:
    client = await serve(max_session_calls=1, has_worker=True)
    await begin(client, "a<b>c")
    await begin(client, "other")
    running = [asyncio.create_task(call(client, "a<b>c", "linger")) for _ in range(3)]
    running.append(asyncio.create_task(call(client, "other", "work")))
    try:
        await tab.page.goto(f"{client.base_url}/?view=limits")
        link = tab.page.get_by_role("link", name="Session a<b>c")
        of_session = meter(tab.page, "Calls", "max_session_calls").filter(has=link)
        await expect(of_session).to_contain_text("2 waiting")
        await expect(of_session).to_contain_text("1 of 1 · 100%")
        await expect(of_session.get_by_role("link")).to_have_attribute("href", "?view=sessions&session=a%3Cb%3Ec")
        of_worker = meter(tab.page, "Calls", "worker --capacity")
        await expect(of_worker).to_contain_text("1 of 1 · 100%")
        await expect(of_worker.get_by_role("link")).to_have_attribute("href", "?view=workers&worker=w%3Cb%3E")
        assert tab.complaints == []
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def test_the_limits_of_a_tool_are_its_own(tab: Tab, serve: Serve) -> None:
    client = await serve()
    await begin(client, "demo")
    for _ in range(5):
        await call(client, "demo", "limited")
    await tab.page.goto(f"{client.base_url}/?view=limits")
    rate = meter(tab.page, "Calls per minute", "rate_limit_per_minute")
    await expect(rate).to_contain_text("of 5 per minute")
    await expect(rate.get_by_role("link")).to_have_attribute("href", "?view=tools&tool=limited")
    assert tab.complaints == []


async def test_bytes_are_written_for_people_and_every_limit_says_what_happens(tab: Tab, serve: Serve) -> None:
    client = await serve(max_hub_bytes=3 * 2**29)
    await begin(client, "demo")
    await tab.page.goto(f"{client.base_url}/?view=limits")
    await expect(meter(tab.page, "Memory for sessions and connections", "max_hub_bytes")).to_contain_text("of 1.5 GiB")
    told = (await client.get("/api/limits")).json()["limits"]
    for limit in told:
        shown = meter(tab.page, limit["title"], limit["name"]).locator(".what").first
        assert len(await shown.inner_text()) > len(limit["name"]) + 10, limit["name"]
    for sentence in await tab.page.locator(".what").all_inner_texts():
        assert re.search(r"[a-z]\.$", sentence)
    assert tab.complaints == []


async def test_a_store_is_shown_with_its_limit_and_its_last_failure(tab: Tab, serve: Serve, tmp_path: Path) -> None:
    client = await serve(store=f"sqlite:///{tmp_path}/hub.db", max_store_bytes=2**18)
    await begin(client, "demo")
    await tab.page.goto(f"{client.base_url}/?view=limits")
    store = meter(tab.page, "File of the store", "max_store_bytes")
    await expect(store).to_contain_text("of 256 KiB")
    await expect(store.locator(".what").first).to_contain_text("Changes are refused")
    facts = tab.page.get_by_role("region", name="This hub")
    await expect(facts).to_contain_text("in a store, when it restarts, too")
    await expect(facts).not_to_contain_text("has reached its limit")
    refused = await client.put("/api/sessions/demo/variables/x", json={"value": "x" * 300_000})
    assert refused.status_code == 429
    await expect(facts).to_contain_text("has reached its limit")
    assert tab.complaints == []


async def test_limits_are_found_and_the_address_says_so(tab: Tab, serve: Serve) -> None:
    client = await serve()
    await tab.page.goto(f"{client.base_url}/?view=limits&q=max_tool+specs")
    shown = tab.page.locator(".meters > li")
    await expect(shown).to_have_count(1)
    await expect(tab.page.get_by_label("Find")).to_have_value("max_tool specs")
    await tab.page.get_by_label("Find").fill("nothing like it")
    await tab.page.get_by_text("No limit matches.").wait_for()
    await expect(shown).to_have_count(0)
    assert tab.page.url.endswith("/?view=limits&q=nothing+like+it")
    assert tab.complaints == []


async def test_the_hub_says_what_it_is(tab: Tab, serve: Serve) -> None:
    client = await serve(has_worker=True)
    await begin(client, "demo")
    await tab.page.goto(f"{client.base_url}/?view=limits")
    card = tab.page.get_by_role("region", name="This hub")
    told = (await client.get("/api/hub")).json()

    def fact(title: str) -> Locator:
        return card.locator("dl > div").filter(has=tab.page.get_by_text(title, exact=True)).locator("dd")

    await expect(fact("Version")).to_have_text(told["version"])
    await expect(fact("Python")).to_have_text(told["python"])
    await expect(fact("gRPC address")).to_have_text(told["address"])
    await expect(fact("Accepts calls")).to_have_text("yes")
    await expect(fact("Workers")).to_have_text("1")
    await expect(fact("Uptime")).to_have_text(re.compile(r"^\d+ s$|^\d+ min \d+ s$"))
    assert tab.complaints == []


async def test_a_hub_that_is_gone_is_told_and_one_that_is_back_is_shown(tab: Tab) -> None:
    async with BridgeServer(http_address="127.0.0.1:0", settings=Settings(max_sessions=7)) as hub:
        address = hub.http_address
        assert address is not None
        await tab.page.goto(f"http://{address}/?view=limits")
        await expect(meter(tab.page, "Sessions", "max_sessions")).to_contain_text("0 of 7")
    await tab.page.get_by_role("alert").filter(has_text="The hub cannot be reached.").wait_for()
    # What was last known is still there.
    await expect(meter(tab.page, "Sessions", "max_sessions")).to_contain_text("0 of 7")
    async with BridgeServer(http_address=address, settings=Settings(max_sessions=9)):
        await expect(meter(tab.page, "Sessions", "max_sessions")).to_contain_text("0 of 9")
        await expect(tab.page.get_by_text("The hub cannot be reached.")).to_be_hidden()
