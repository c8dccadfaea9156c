"""Links to the dashboard that somebody was sent: whatever they say, the page shows a view, and changes nothing."""

from collections.abc import AsyncIterator
from urllib.parse import urlencode

import pytest
import pytest_asyncio
from playwright.async_api import Request

from grpc_tool_bridge import BridgeServer
from support.browser import Tab
from support.needs import needs

pytestmark = [needs("chromium"), pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("browser")]

# What every object of JavaScript has, and what is no value of any parameter.
STRANGE = ["constructor", "__proto__", "javascript:alert(1)"]
PARAMETERS = [
    "theme", "q", "state", "tool", "session", "worker", "slow", "call", "epoch", "by", "span", "line", "sort",
    "variable", "vq", "agent", "run", "of", "table", "find", "limit", "hide", "args", "form", "timeout", "key",
]  # fmt: skip
VIEWS = ["calls", "tools", "sessions", "approvals", "workers", "hubs", "agents", "performance", "limits"]
# Enough to overflow the stack of what goes through it, and as long as an address may be.
DEEP = "[" * 12_000 + "]" * 12_000

# Shows entries three times, and returns the texts that are there then.
KEYED = """async () => {
  const { Keyed } = await import("/dashboard/keyed.js");
  const parent = document.createElement("ul");
  const rows = new Keyed(parent, {
    key: ({ id }) => id,
    make: () => ({ element: document.createElement("li") }),
    fill: ({ element }, { text }) => { element.textContent = text; },
  });
  for (const text of ["a", "b", "c"]) rows.show(["x", "y", "x", "x"].map((id) => ({ id, text: text + id })));
  return [...parent.children].map((element) => element.textContent);
}"""


async def add(a: int, b: int = 0) -> int:
    """Adds."""
    return a + b


@pytest_asyncio.fixture(loop_scope="module")
async def origin() -> AsyncIterator[str]:
    async with BridgeServer(tools=[add], http_address="127.0.0.1:0") as hub:
        assert hub.http_address is not None
        yield f"http://{hub.http_address}"


def watch(tab: Tab) -> list[str]:
    """Returns the requests from now on that are no plain questions."""
    others: list[str] = []

    def take(told: Request) -> None:
        if told.method != "GET":
            others.append(f"{told.method} {told.url}")

    tab.context.on("request", take)
    return others


def faults(tab: Tab) -> list[str]:
    """Returns what is wrong with the page itself; the hub may well refuse what it asks."""
    return [text for text in (*tab.errors, *tab.violations) if not text.startswith("Failed to load resource")]


@pytest.mark.parametrize("strange", STRANGE, ids=ascii)
async def test_a_link_with_whatever_in_it_shows_a_view_and_changes_nothing(tab: Tab, origin: str, strange: str) -> None:
    changing = watch(tab)
    for view in (strange, *VIEWS):
        await tab.page.goto(f"{origin}/?{urlencode({'view': view, **dict.fromkeys(PARAMETERS, strange)})}")
        await tab.page.locator("#main > *").first.wait_for(state="attached")
        await tab.page.locator("#link-state.live").wait_for()
        assert faults(tab) == [], view
    assert changing == []
    assert tab.requested_outside(origin) == []


async def test_a_link_to_a_tool_with_arguments_of_any_depth_shows_it_and_calls_nothing(tab: Tab, origin: str) -> None:
    changing = watch(tab)
    for args in (
        DEEP,
        f'{{"a": {DEEP}}}',
        f'{{"a": {"[" * 500}{"]" * 500}}}',
        '{"__proto__": {"a": 1}, "a": {"$type": "x"}}',
    ):
        await tab.page.goto(f"{origin}/?{urlencode({'view': 'tools', 'tool': 'add', 'args': args})}")
        panel = tab.page.get_by_role("complementary", name="The selected tool")
        await panel.get_by_role("button", name="Call", exact=True).wait_for()
        assert faults(tab) == []
    assert changing == []


async def test_what_is_there_twice_is_shown_twice(tab: Tab, origin: str) -> None:
    await tab.page.goto(origin)
    assert await tab.page.evaluate(KEYED) == ["cx", "cy", "cx", "cx"]
