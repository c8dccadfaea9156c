"""The dashboard's sessions and their variables in a browser."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import quote

import httpx
import pytest_asyncio
from playwright.async_api import Locator, expect

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, ToolWorker
from support.browser import Tab
from support.dashboard import BROWSER_TESTS, MARKUP, Dashboard, HeldTool, dashboard
from support.waiting import soon

pytestmark = BROWSER_TESTS

SECRET = "hush-hush"
# A browser's console counts such answers as errors.
CONFLICT = "Failed to load resource: the server responded with a status of 409 (Conflict)"
NOT_FOUND = "Failed to load resource: the server responded with a status of 404 (Not Found)"


class Hub(Dashboard):
    """A hub with a tool that waits."""

    def __init__(self, server: BridgeServer, client: httpx.AsyncClient, calls: HeldTool) -> None:
        super().__init__(server, client)
        self.calls = calls

    async def put(self, name: str, value: Any, *, session: str = "demo", **metadata: Any) -> int:
        """Sets a variable; returns its revision."""
        name = "%77atch" if name == "watch" else quote(name, safe="")
        body = {"value": value, "metadata": metadata}
        answer = await self.client.put(f"/api/sessions/{session}/variables/{name}", json=body)
        assert answer.status_code == 200, answer.text
        revision: int = answer.json()["revision"]
        return revision

    async def value(self, name: str) -> Any:
        """Reads a variable of the session "demo"."""
        name = "%77atch" if name == "watch" else quote(name, safe="")
        return (await self.client.get(f"/api/sessions/demo/variables/{name}")).json()["value"]


Serve = Callable[..., Awaitable[Hub]]


@pytest_asyncio.fixture(loop_scope="module")
async def serve() -> AsyncIterator[Serve]:
    """Starts hubs."""
    async with AsyncExitStack() as stack:

        async def start(address: str = "127.0.0.1:0", **settings: Any) -> Hub:
            calls = HeldTool()
            made = await stack.enter_async_context(dashboard([calls.wait], http_address=address, **settings))
            return Hub(made.server, made.client, calls)

        yield start


@pytest_asyncio.fixture(loop_scope="module")
async def hub(serve: Serve) -> Hub:
    """A hub with a session "demo"."""
    hub = await serve()
    await hub.session("demo", user="ada")
    return hub


def row(tab: Tab, label: str, text: str) -> Locator:
    """Returns the row of a list that has a text."""
    return tab.page.get_by_role("grid", name=label, exact=True).get_by_role("row").filter(has_text=text)


def variable(tab: Tab) -> Locator:
    """Returns where the selected variable is shown."""
    return tab.page.get_by_role("region", name="The selected variable")


# ----------------------------------------------------------------------------------------------------- all sessions


async def test_sessions_are_listed_and_come_and_go_as_they_do_in_the_hub(tab: Tab, hub: Hub) -> None:
    await hub.open(tab, "sessions")
    await expect(row(tab, "Sessions", "user: ada")).to_be_visible()
    # What events tell is shown although the list is not answered again.
    await tab.page.route("**/api/sessions?*", lambda route: None)
    await hub.session("later")
    await expect(row(tab, "Sessions", "later")).to_be_visible()
    await hub.client.delete("/api/sessions/later")
    await expect(row(tab, "Sessions", "later")).to_have_count(0)
    assert tab.complaints == []


async def test_a_thousand_sessions_are_found_by_words_and_sorted_and_the_address_keeps_both(
    tab: Tab, serve: Serve
) -> None:
    hub = await serve(max_sessions=2_000)
    for start in range(0, 1_200, 100):
        await asyncio.gather(
            *(hub.session(f"user-{number:04}", plan=f"p{number}") for number in range(start, start + 100))
        )
    await hub.open(tab, "sessions")
    await expect(tab.page.get_by_text("1,200 sessions")).to_be_visible()
    assert await tab.page.get_by_role("row").count() < 100
    await tab.page.get_by_label("Sort by").select_option("Name")
    first = tab.page.get_by_role("grid").locator(".row[aria-rowindex='2']")
    await expect(first).to_contain_text("user-0000")
    await tab.page.get_by_label("Find").fill("P1199")
    await expect(tab.page.get_by_text("1 of 1,200 sessions")).to_be_visible()
    await expect(first).to_contain_text("user-1199")
    await tab.page.reload()
    await expect(tab.page.get_by_label("Find")).to_have_value("P1199")
    await expect(tab.page.get_by_label("Sort by")).to_have_value("name")
    await expect(first).to_contain_text("user-1199")
    # Leaving a page ends its streams.
    assert (tab.errors, tab.violations) == ([], [])


async def test_a_session_is_opened_by_keyboard_alone_and_left_again(tab: Tab, hub: Hub) -> None:
    await hub.put("city", "Berlin")
    await hub.open(tab, "sessions")
    await expect(row(tab, "Sessions", "demo")).to_be_visible()
    await tab.page.get_by_role("grid", name="Sessions").focus()
    await tab.page.keyboard.press("ArrowDown")
    await tab.page.keyboard.press("Enter")
    await expect(tab.page.get_by_role("heading", name="demo")).to_be_visible()
    assert "session=demo" in tab.page.url
    await tab.page.get_by_role("link", name="Close").focus()
    await tab.page.keyboard.press("Enter")
    await expect(tab.page.get_by_role("heading", name="demo")).to_have_count(0)
    assert await tab.page.evaluate("document.activeElement.getAttribute('aria-label')") == "Sessions"


async def test_on_a_narrow_screen_a_session_takes_the_place_of_the_list_and_has_the_focus(tab: Tab, hub: Hub) -> None:
    await tab.page.set_viewport_size({"width": 360, "height": 740})
    await hub.open(tab, "sessions")
    await row(tab, "Sessions", "demo").click()
    heading = tab.page.get_by_role("heading", name="demo")
    await expect(heading).to_be_focused()
    assert await tab.page.evaluate("document.documentElement.scrollWidth") <= 360


# ------------------------------------------------------------------------------------------------------ one session


async def test_a_session_shows_its_facts_and_links_to_its_calls(tab: Tab, hub: Hub) -> None:
    await hub.put("city", "Berlin")
    await hub.open(tab, "sessions", session="demo")
    await expect(tab.page.locator(".session .facts").first).to_contain_text("Variables1")
    await expect(tab.page.locator(".session")).to_contain_text("userada")
    calls = await tab.page.locator(".session").get_by_role("link", name="Calls").get_attribute("href")
    assert calls == "?session=demo"
    await tab.page.get_by_text("Own tools").click()
    await expect(tab.page.get_by_text("None: it uses the hub's tools.")).to_be_visible()
    assert tab.complaints == []


async def test_ending_a_session_waits_for_its_calls_or_cancels_them_as_one_chooses(tab: Tab, hub: Hub) -> None:
    call = asyncio.create_task(hub.client.post("/api/sessions/demo/tools/wait/execute", json={}))
    await soon(hub.calls.begun.wait())
    await hub.open(tab, "sessions", session="demo")
    await expect(tab.page.get_by_text("2 calls and watches")).to_be_visible()
    await tab.page.get_by_role("button", name="End session…").click()
    dialog = tab.page.get_by_role("dialog", name="End this session?")
    await dialog.get_by_role("button", name="Back").click()
    await expect(dialog).to_have_count(0)
    assert await tab.page.evaluate("document.activeElement.textContent") == "End session…"
    await tab.page.keyboard.press("Enter")
    await dialog.get_by_label("Cancel its calls in flight;").check()
    await dialog.get_by_role("button", name="End session").click()
    await expect(tab.page.get_by_text("Its variables, tools and agents are gone.")).to_be_visible()
    await expect(row(tab, "Sessions", "demo")).to_have_count(0)
    answer = await soon(call)
    assert answer.json()["error"]["type"] != ""
    assert answer.status_code >= 400


async def test_a_session_ends_after_its_calls_where_nobody_wants_them_cancelled(tab: Tab, hub: Hub) -> None:
    call = asyncio.create_task(hub.client.post("/api/sessions/demo/tools/wait/execute", json={}))
    await soon(hub.calls.begun.wait())
    await hub.open(tab, "sessions", session="demo")
    await expect(tab.page.get_by_text("2 calls and watches")).to_be_visible()
    dialog = tab.page.get_by_role("dialog", name="End this session?")
    for _ in range(2):
        await tab.page.get_by_role("button", name="End session…").click()
        await dialog.get_by_role("button", name="End session").click()
        await expect(dialog).to_contain_text("Waiting for its calls to finish…")
        # Who does not want to wait leaves it as it is.
        await dialog.get_by_role("button", name="Back").click()
    assert (await hub.client.get("/api/sessions/demo")).status_code == 200
    await tab.page.get_by_role("button", name="End session…").click()
    await dialog.get_by_role("button", name="End session").click()
    await expect(dialog).to_contain_text("Waiting for its calls to finish…")
    hub.calls.may_end.set()
    assert (await soon(call)).json()["result"] == "done"
    await expect(tab.page.get_by_text("Its variables, tools and agents are gone.")).to_be_visible()


async def test_the_tools_of_a_session_alone_are_listed_with_it(tab: Tab, hub: Hub) -> None:
    async def own() -> None:
        """Is the session's alone."""

    async with ToolWorker(hub.server.address, [own], session_id="demo"):
        await hub.open(tab, "sessions", session="demo")
        await tab.page.get_by_text("Own tools").click()
        tools = tab.page.locator(".session details").get_by_role("listitem")
        await expect(tools).to_have_text(["own Is the session's alone."])
        href = await tools.get_by_role("link").get_attribute("href")
        assert href == "?view=tools&session=demo&tool=own"


async def test_a_page_that_nobody_sees_lets_go_of_the_session_and_shows_it_again_when_it_is_seen(
    tab: Tab, hub: Hub
) -> None:
    hide = "(hidden) => { window.isHidden = hidden; document.dispatchEvent(new Event('visibilitychange')); }"
    await tab.page.add_init_script("Object.defineProperty(document, 'hidden', { get: () => window.isHidden === true })")
    await tab.page.clock.install()
    await hub.put("city", "Berlin")
    await hub.open(tab, "sessions", session="demo", variable="city")
    value = variable(tab).get_by_label("Value", exact=True)
    await expect(value).to_have_text('"Berlin"')
    await tab.page.evaluate(hide, arg=True)
    await tab.page.clock.run_for(61_000)
    await expect(tab.page.get_by_text("Paused", exact=True)).to_be_visible()

    async def let_go() -> None:
        while (await hub.client.get("/api/sessions/demo")).json()["active_operations"]:
            pass

    await soon(let_go())
    await hub.put("city", "Ulm")
    await tab.page.evaluate(hide, arg=False)
    await expect(value).to_have_text('"Ulm"')


async def test_a_session_that_is_not_there_is_said_and_is_shown_as_soon_as_it_is(tab: Tab, hub: Hub) -> None:
    await hub.open(tab, "sessions", session="nobody")
    await expect(tab.page.get_by_text("nobody").last).to_be_visible()
    await expect(tab.page.locator(".session .failure")).to_contain_text("nobody")
    await hub.session("nobody")
    await expect(tab.page.get_by_role("button", name="End session…")).to_be_visible()
    assert set(tab.complaints) == {NOT_FOUND}


async def test_a_hub_that_was_restarted_has_lost_the_session_and_the_page_says_so(tab: Tab, serve: Serve) -> None:
    hub = await serve()
    await hub.session("demo")
    await hub.put("city", "Berlin")
    await hub.open(tab, "sessions", session="demo", variable="city")
    await expect(variable(tab)).to_contain_text("Berlin")
    address = hub.server.http_address
    assert address is not None
    await hub.server.stop()
    await serve(address=address)
    await expect(tab.page.locator(".session .failure").filter(has_text="demo")).to_be_visible()
    await expect(row(tab, "Sessions", "demo")).to_have_count(0)


# -------------------------------------------------------------------------------------------------------- variables


async def test_a_variable_changes_under_ones_eyes_and_is_marked(tab: Tab, hub: Hub) -> None:
    await hub.put("count", 1)
    await hub.put("city", "Berlin", tags={"kind": "place"})
    await hub.open(tab, "sessions", session="demo", variable="count")
    value = variable(tab).get_by_label("Value")
    await expect(value).to_have_text("1")
    revision = await hub.put("count", 12345)
    await expect(value).to_have_text("12345")
    changed = row(tab, "Variables", "count")
    await expect(changed).to_have_attribute("data-change", "changed")
    await expect(changed).to_contain_text("● count")
    await expect(variable(tab)).to_contain_text(f"Revision{revision}")
    # Not for ever.
    await expect(changed).to_have_attribute("data-change", "")
    await hub.put("new", [1, 2.0])
    await expect(row(tab, "Variables", "new")).to_contain_text("[1, 2.0]")
    await hub.client.delete("/api/sessions/demo/variables/new")
    await expect(row(tab, "Variables", "new")).to_contain_text("deleted")
    await expect(row(tab, "Variables", "new")).to_have_count(0)
    await row(tab, "Variables", "city").click()
    await expect(variable(tab)).to_contain_text("kindplace")
    await tab.page.get_by_role("region", name="Variables").get_by_label("Find").fill("CIT")
    await expect(row(tab, "Variables", "count")).to_have_count(0)
    assert tab.complaints == []


async def test_a_value_is_shown_and_saved_as_it_is_written_with_no_number_changed(tab: Tab, hub: Hub) -> None:
    await hub.put("limits", {"share": 1.0, "large": 2**70, "text": "Köln\n"})
    await hub.open(tab, "sessions", session="demo", variable="limits")
    await expect(variable(tab)).to_contain_text('"share": 1.0')
    await variable(tab).get_by_role("button", name="Change…").click()
    field = variable(tab).get_by_label("New value (JSON)")
    text = await field.input_value()
    await field.fill(text.replace("Köln", "Bonn"))
    await variable(tab).get_by_role("button", name="Save").click()
    await expect(field).to_have_count(0)
    saved = (await hub.client.get("/api/sessions/demo/variables/limits")).text
    assert '"share":1.0' in saved
    assert str(2**70) in saved
    large = {"$type": "int", "value": str(2**70)}
    assert await hub.value("limits") == {"share": 1.0, "large": large, "text": "Bonn\n"}
    assert tab.complaints == []


async def test_what_is_no_json_is_said_at_the_field_and_nothing_is_sent(tab: Tab, hub: Hub) -> None:
    await hub.put("city", "Berlin")
    await hub.open(tab, "sessions", session="demo", variable="city")
    await variable(tab).get_by_role("button", name="Change…").click()
    field = variable(tab).get_by_label("New value (JSON)")
    await expect(field).to_be_focused()
    await field.fill("Bonn")
    await variable(tab).get_by_role("button", name="Save").click()
    await expect(variable(tab)).to_contain_text("A text stands in quotation marks.")
    assert await field.evaluate("(field) => !field.checkValidity()")
    assert await hub.value("city") == "Berlin"
    await field.fill('"Bonn"')
    await variable(tab).get_by_role("button", name="Save").click()
    await expect(variable(tab).get_by_label("Value", exact=True)).to_have_text('"Bonn"')
    assert tab.complaints == []


async def test_a_conflict_is_told_with_both_values_and_nothing_is_overwritten_unasked(tab: Tab, hub: Hub) -> None:
    await hub.put("city", "Berlin")
    await hub.open(tab, "sessions", session="demo", variable="city")
    panel = variable(tab)
    await panel.get_by_role("button", name="Change…").click()
    await panel.get_by_label("New value (JSON)").fill('"Bonn"')
    revision = await hub.put("city", "Ulm")
    await expect(panel).to_contain_text("It was changed meanwhile")
    await panel.get_by_role("button", name="Save").click()
    alert = panel.get_by_role("alert")
    await expect(alert).to_contain_text("RevisionConflict")
    await expect(alert).to_contain_text(f'In the hub: revision {revision}"Ulm"Yours"Bonn"')
    assert await hub.value("city") == "Ulm"
    await alert.get_by_role("button", name="Overwrite with yours").click()
    await expect(panel.get_by_label("Value", exact=True)).to_have_text('"Bonn"')
    assert await hub.value("city") == "Bonn"
    assert tab.complaints == [CONFLICT]


async def test_a_variable_is_made_and_deleted_here(tab: Tab, hub: Hub) -> None:
    await hub.put("city", "Berlin")
    await hub.open(tab, "sessions", session="demo")
    await tab.page.get_by_role("button", name="New…").click()
    dialog = tab.page.get_by_role("dialog", name="New variable")
    await dialog.get_by_label("Name").fill("city")
    await dialog.get_by_label("Value (JSON)").fill("[1]")
    await dialog.get_by_role("button", name="Create").click()
    # There is one already, which is not overwritten.
    await expect(dialog.get_by_role("alert")).to_contain_text("RevisionConflict")
    await dialog.get_by_label("Name").fill("a/b, watch")
    await dialog.get_by_role("button", name="Create").click()
    await expect(variable(tab).get_by_role("heading", name="a/b, watch")).to_be_visible()
    await variable(tab).get_by_role("button", name="Delete…").click()
    await tab.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    await expect(variable(tab)).to_contain_text("No such variable.")
    assert (await hub.client.get("/api/sessions/demo/variables")).json()["variables"][0]["name"] == "city"
    assert tab.complaints == [CONFLICT]


async def test_a_variable_of_any_name_can_be_seen_and_set(tab: Tab, hub: Hub) -> None:
    for name in ("a,b", "a/b", "watch", "100%", "%2e%2e", "ä?b#c", "__proto__", MARKUP):
        await hub.put(name, "before")
        await hub.open(tab, "sessions", session="demo", variable=name)
        panel = variable(tab)
        await expect(panel.get_by_label("Value", exact=True)).to_have_text('"before"')
        await panel.get_by_role("button", name="Change…").click()
        await panel.get_by_label("New value (JSON)").fill('"after"')
        await panel.get_by_role("button", name="Save").click()
        await expect(panel.get_by_label("Value", exact=True)).to_have_text('"after"')
        assert await hub.value(name) == "after", name
    assert tab.faults == []


async def test_a_variable_whose_name_browsers_resolve_is_seen_and_cannot_be_changed_here(tab: Tab, hub: Hub) -> None:
    async with GRPCToolBridge(hub.server.address) as bridge:
        await bridge.initialize("demo")
        await bridge.session_context.set_variable("..", "dots")
    await hub.open(tab, "sessions", session="demo", variable="..")
    await expect(variable(tab).get_by_label("Value", exact=True)).to_have_text('"dots"')
    await expect(variable(tab)).to_contain_text("A browser cannot change a variable with this name")
    await expect(variable(tab).get_by_role("button", name="Change…")).to_have_count(0)
    assert tab.complaints == []


async def test_a_secret_value_never_reaches_the_browser(tab: Tab, hub: Hub) -> None:
    told: list[str] = []
    devtools = await tab.context.new_cdp_session(tab.page)
    await devtools.send("Network.enable")
    devtools.on("Network.eventSourceMessageReceived", lambda event: told.append(event["data"]))
    bodies: list[asyncio.Task[str]] = []

    def keep(response: Any) -> None:
        if "watch" not in response.url and "/api/events" not in response.url:
            bodies.append(asyncio.ensure_future(response.text()))

    tab.page.on("response", keep)
    await hub.put("key", SECRET, secret=True)
    await hub.put("turned", "seen-by-all")
    await hub.open(tab, "sessions", session="demo", variable="key")
    await expect(row(tab, "Variables", "key")).to_contain_text("secret")
    await expect(variable(tab)).to_contain_text("Its value is secret and is not shown here.")
    await hub.put("key", f"{SECRET} again")
    # One that becomes secret.
    await hub.put("turned", f"{SECRET} too", secret=True)
    await expect(row(tab, "Variables", "turned")).to_contain_text("secret")
    await row(tab, "Variables", "turned").click()
    await expect(variable(tab)).to_contain_text("Secretyes")
    await expect(variable(tab)).to_contain_text("Size")
    # A new value can be set without seeing the old one.
    await variable(tab).get_by_role("button", name="Change…").click()
    field = variable(tab).get_by_label("New value (JSON)")
    await expect(field).to_have_value("")
    await field.fill('"another"')
    await variable(tab).get_by_role("button", name="Save").click()
    await expect(field).to_have_count(0)
    assert await hub.value("turned") == "another"
    texts = [*told, *await asyncio.gather(*bodies)]
    assert any('"key"' in text for text in told)
    assert len(bodies) > 10
    assert not [text for text in texts if SECRET in text]
    assert SECRET not in await tab.page.content()
    assert tab.complaints == []


async def test_hostile_names_and_values_stay_text(tab: Tab, hub: Hub) -> None:
    session = f"{MARKUP} \"'`"
    await hub.session(session, __proto__=MARKUP, note="x" * 5_000)
    values = {"long": "y" * 200_000, "lines": "a\r\nb\u2028c", "right-to-left": "\u202e\u2066abc", "markup": MARKUP}
    for name, value in values.items():
        await hub.put(name, value, session=quote(session, safe=""), tags={"__proto__": MARKUP})
    await hub.open(tab, "sessions", session=session, variable="long")
    await expect(tab.page.get_by_role("heading", name=session)).to_be_visible()
    await expect(variable(tab)).to_contain_text("more characters)")
    await expect(variable(tab)).to_contain_text("The value is too large to be changed here.")
    await row(tab, "Variables", "markup").click()
    await expect(variable(tab)).to_contain_text(MARKUP)
    await row(tab, "Variables", "lines").click()
    await expect(variable(tab).get_by_label("Value", exact=True)).to_contain_text("a\\r\\nb")
    await hub.put("huge", "z" * 1_500_000, session=quote(session, safe=""))
    await row(tab, "Variables", "huge").click()
    await expect(variable(tab)).to_contain_text("The value is too large to be shown here.")
    assert await tab.page.locator("img").count() == 0
    assert tab.complaints == []
