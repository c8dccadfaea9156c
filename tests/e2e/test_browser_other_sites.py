"""What a page of another site does to a hub from a browser that can reach it: nothing."""

import json
from collections.abc import AsyncIterator
from urllib.parse import urlencode

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser
from pydantic import SecretStr

from grpc_tool_bridge import BridgeServer, Settings
from support.browser import Site, Tab, open_tab
from support.needs import needs
from support.patience import PATIENCE
from support.waiting import until

pytestmark = [needs("chromium"), pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("browser")]

SESSION = "/api/sessions/s"
# Ways to make a browser ask for an address. Each returns what it can read of the answer, or nothing.
HELPERS = """
const read = async (url, options) => {
  const response = await fetch(url, options);
  return response.type === "opaque" ? "" : `${response.status} ${response.type}`;
};
const loaded = (made, url) => new Promise((done) => {
  made.onload = made.onerror = made.onloadedmetadata = done;
  made[made.rel ? "href" : made.data === undefined ? "src" : "data"] = url;
  document.head.append(made);
});
const make = (tag, properties) => Object.assign(document.createElement(tag), properties);
"""
GETS = {
    "fetch": "read(url)",
    "no-cors": 'read(url, { mode: "no-cors" })',
    "with-cookies": 'read(url, { mode: "no-cors", credentials: "include" })',
    "without-referrer": 'read(url, { mode: "no-cors", credentials: "include", referrerPolicy: "no-referrer" })',
    "as-a-stream": 'read(url, { mode: "no-cors", headers: { Accept: "text/event-stream" } })',
    "keepalive": 'read(url, { mode: "no-cors", keepalive: true })',
    "event-source": """new Promise((done) => {
      const stream = new EventSource(url, { withCredentials: true });
      for (const name of ["data", "complete", "open"]) stream.addEventListener(name, () => done("read"));
      stream.onerror = () => { stream.close(); done(""); };
    })""",
    "web-socket": """new Promise((done) => {
      const socket = new WebSocket(url.replace("http:", "ws:"));
      socket.onopen = () => done("read");
      socket.onerror = () => done("");
    })""",
    "img": 'loaded(make("img"), url).then((event) => event.type === "load" ? "read" : "")',
    "img-without-referrer": 'loaded(make("img", { referrerPolicy: "no-referrer" }), url).then(() => "")',
    "script": 'loaded(make("script"), url).then((event) => event.type === "load" ? "read" : "")',
    "module": 'import(url).then(() => "read")',
    "video": 'loaded(make("video"), url).then((event) => event.type === "error" ? "" : "read")',
    "style": 'loaded(make("link", { rel: "stylesheet" }), url).then((event) => event.type === "load" ? "read" : "")',
    "prefetch": 'loaded(make("link", { rel: "prefetch" }), url).then(() => "")',
    "object": """new Promise((done) => {
      const made = make("object", { data: url, onload: done, onerror: done });
      document.body.append(made);
    }).then(() => "")""",
    "iframe": """new Promise((done) => {
      const made = make("iframe", { src: url, onload: () => done(made.contentDocument ? "read" : "") });
      document.body.append(made);
    })""",
    "form": """new Promise((done) => {
      const [path, query] = url.split("?");
      const frame = make("iframe", { name: "of-form" });
      const form = make("form", { action: path, target: "of-form" });
      for (const [name, value] of new URLSearchParams(query)) form.append(make("input", { name, value }));
      document.body.append(frame, form);
      frame.onload = () => done(frame.contentDocument ? "read" : "");
      form.submit();
    })""",
}
# What a page needs the help of its style, a worker, another frame or its own server for.
GETS |= {
    "xhr": """new Promise((done) => {
      const request = new XMLHttpRequest();
      request.onload = () => done("read");
      request.onerror = () => done("");
      request.open("GET", url);
      request.send();
    })""",
    "redirect": 'read(`/to/${url}`, { mode: "no-cors", credentials: "include" })',
    "img-redirect": 'loaded(make("img"), `/to/${url}`).then((event) => event.type === "load" ? "read" : "")',
    "embed": 'Promise.resolve(document.body.append(make("embed", { src: url }))).then(() => "")',
    "input": 'loaded(make("input", { type: "image" }), url).then((event) => event.type === "load" ? "read" : "")',
    "preload": 'loaded(make("link", { rel: "preload", as: "image" }), url).then(() => "")',
    "background": """new Promise((done) => {
      document.body.style.backgroundImage = `url("${url}")`;
      setTimeout(() => done(""));
    })""",
    "font": 'new FontFace("stolen", `url("${url}")`).load().then(() => "read")',
    "import-scripts": """new Promise((done) => {
      const text = `try { importScripts("${url}"); postMessage("read"); } catch { postMessage(""); }`;
      new Worker(URL.createObjectURL(new Blob([text]))).onmessage = (event) => done(event.data);
    })""",
    "worker": """new Promise((done) => {
      const text = `fetch("${url}", { mode: "no-cors" }).then(() => postMessage(""), () => postMessage(""))`;
      new Worker(URL.createObjectURL(new Blob([text]))).onmessage = (event) => done(event.data);
    })""",
    "sandbox": """new Promise((done) => {
      const text = `<script>fetch("${url}").then(() => parent.postMessage("read", "*"),
        () => parent.postMessage("", "*"))<\\/script>`;
      addEventListener("message", (event) => done(event.data), { once: true });
      document.body.append(make("iframe", { sandbox: "allow-scripts", srcdoc: text }));
    })""",
    "refresh": """new Promise((done) => {
      const made = make("iframe", { srcdoc: `<meta http-equiv="refresh" content="0; url=${url}">` });
      document.body.append(made);
      made.onload = () => { if (!made.contentDocument) done(""); };
    })""",
}
POSTS = {
    "ping": """new Promise((done) => {
      make("a", { href: "#", ping: url }).click();
      setTimeout(() => done(""));
    })""",
    "redirected": 'read(`/to/${url}`, { method: "POST", body, mode: "no-cors", credentials: "include" })',
    "form-as-text": """new Promise((done) => {
      const frame = make("iframe", { name: "of-post" });
      const form = make("form", { action: url, method: "post", enctype: "text/plain", target: "of-post" });
      form.append(make("input", { name: body.slice(0, -1) + ', "context": {"x": "', value: '"}}' }));
      document.body.append(frame, form);
      frame.onload = () => done(frame.contentDocument ? "read" : "");
      form.submit();
    })""",
    "text": 'read(url, { method: "POST", body, mode: "no-cors", credentials: "include" })',
    "no-type": 'read(url, { method: "POST", body: new Blob([body]), mode: "no-cors" })',
    "json": 'read(url, { method: "POST", body, headers: { "Content-Type": "application/json" } })',
    "json-as-text": 'read(url, { method: "POST", body, mode: "no-cors", headers: { "Content-Type": "text/plain" } })',
    "json-with-cookies": """read(url, {
      method: "POST", body, credentials: "include", headers: { "Content-Type": "application/json" } })""",
    "beacon": 'Promise.resolve(navigator.sendBeacon(url, body)).then(() => "")',
    "beacon-json": """Promise.resolve(
      navigator.sendBeacon(url, new Blob([body], { type: "application/json" }))).then(() => "")""",
}

# What a page does that may call: it opens a session, calls a tool and reads a stream.
CALLS = """
async (hub) => {
  const headers = { "Content-Type": "application/json", Authorization: "Bearer hush", "X-Request-Id": "own-id" };
  const post = (path, body) => fetch(`${hub}${path}`, { method: "POST", headers, body: JSON.stringify(body) });
  try {
    await post("/api/sessions", { session_id: "s" });
    const called = await post("/api/sessions/s/tools/run/execute", { kwargs: { by: "a" } });
    const { result } = await called.json();
    headers.Accept = "application/x-ndjson";
    const streamed = await post("/api/sessions/s/tools/run/stream", { kwargs: { by: "b" } });
    const [first, last] = (await streamed.text()).trim().split("\\n").map(JSON.parse);
    return [called.headers.get("x-request-id"), { result }, first.data, Object.keys(last)[0]];
  } catch (error) {
    return error.name;
  }
}
"""
# What is on the page of the tools, and not on the one that asks for the token.
PAGE = "#find"
# Requests that a driver is not told of.
UNSEEN = {"web-socket", "sandbox"}


class Tools:
    """A tool that knows who has run it."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    async def run(self, by: str) -> str:
        """Runs."""
        self.ran.append(by)
        return by


@pytest.fixture
def tools() -> Tools:
    return Tools()


class Hub:
    """A hub with one session, and how it is reached.

    Args:
        server: The hub.
        token: What it requires.
    """

    def __init__(self, server: BridgeServer, token: str | None) -> None:
        self.server = server
        self.token = token
        self.port = str(server.http_address).rpartition(":")[2]

    def origin_at(self, host: str) -> str:
        return f"http://{host}:{self.port}"

    def client(self) -> httpx.AsyncClient:
        headers = {"authorization": f"Bearer {self.token}"} if self.token else {}
        return httpx.AsyncClient(base_url=self.origin_at("127.0.0.1"), timeout=PATIENCE, headers=headers)


@pytest_asyncio.fixture(loop_scope="module", params=[None, "hush"], ids=["open", "token"])
async def hub(request: pytest.FixtureRequest, tools: Tools) -> AsyncIterator[Hub]:
    settings = Settings(token=request.param, http_hosts=("hub.example",))
    async with BridgeServer(tools=[tools.run], http_address="127.0.0.1:0", settings=settings) as server:
        made = Hub(server, request.param)
        async with made.client() as client:
            assert (await client.post("/api/sessions", json={"session_id": "s"})).status_code == 201
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def site() -> AsyncIterator[Site]:
    async with Site() as started:
        yield started


async def log_in(tab: Tab, hub: Hub, host: str) -> None:
    """Gives the browser the cookie of somebody who uses the hub, where there is one."""
    if hub.token is not None:
        await tab.page.goto(f"{hub.origin_at(host)}/docs")
        await tab.page.fill("#token", hub.token)
        await tab.page.keyboard.press("Enter")
        await tab.page.wait_for_selector("#logout:visible")


async def follow_link(tab: Tab, url: str) -> None:
    """Clicks a link to an address on the page that is open."""
    await tab.page.evaluate(
        """(href) => {
          const link = Object.assign(document.createElement("a"), { href, textContent: "the hub" });
          document.body.append(link);
        }""",
        url,
    )
    await tab.page.get_by_text("the hub").click()


async def attack(tab: Tab, base: str) -> dict[str, str]:
    """Tries every way from the page that is open; returns what it could read, by the name of the way."""
    settled: set[str] = set()
    tab.context.on("requestfinished", lambda request: settled.add(request.url))
    tab.context.on("requestfailed", lambda request: settled.add(request.url))
    tried = {}
    for name, way in GETS.items():
        tried[name] = way, f"{base}{SESSION}/tools/run/stream?{urlencode({'by': name})}", ""
    for name, way in POSTS.items():
        # The name is in the address as well, so that it can be told from the others.
        body = json.dumps({"kwargs": {"by": name}})
        tried[name] = way, f"{base}{SESSION}/tools/run/execute?{urlencode({'by': name})}", body
    read = {}
    for name, (way, url, body) in tried.items():
        script = f"async ([url, body]) => {{ {HELPERS} try {{ return await {way}; }} catch {{ return ''; }} }}"
        read[name] = await tab.page.evaluate(script, [url, body])
    urls = {url for name, (_, url, _) in tried.items() if name not in UNSEEN}
    await until(lambda: urls <= settled, f"for {urls - settled}")
    return {name: text for name, text in read.items() if text}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "hub.example"])
@pytest.mark.parametrize("other", ["127.0.0.1", "evil.example"])
async def test_a_page_of_another_site_runs_no_tool_and_reads_nothing(
    tab: Tab, hub: Hub, site: Site, tools: Tools, host: str, other: str
) -> None:
    await log_in(tab, hub, host)
    await tab.page.goto(site.origin_at(other))
    assert await attack(tab, hub.origin_at(host)) == {}
    assert tools.ran == []
    async with hub.client() as client:
        # What it tried is what runs the tool for others.
        await client.get(f"{SESSION}/tools/run/stream?by=query")
        await client.post(f"{SESSION}/tools/run/execute", json={"kwargs": {"by": "body"}})
    assert tools.ran == ["query", "body"]


@pytest.mark.parametrize("host", ["127.0.0.1", "hub.example"])
async def test_an_address_that_is_opened_runs_no_tool(tab: Tab, hub: Hub, site: Site, tools: Tools, host: str) -> None:
    await log_in(tab, hub, host)
    url = f"{hub.origin_at(host)}{SESSION}/tools/run/stream?by="
    await tab.page.goto(site.origin_at("evil.example"))
    async with tab.context.expect_page() as opening:
        await tab.page.evaluate("(url) => { window.opened = window.open(url); }", f"{url}window")
    popup = await opening.value
    await popup.wait_for_load_state()
    assert (
        await tab.page.evaluate("() => { try { return opened.document.body.innerText; } catch { return ''; } }") == ""
    )
    async with tab.page.expect_navigation() as following:
        await tab.page.evaluate("(url) => { location = url; }", f"{url}location")
    assert (await (await following.value).json())["error"]["type"] == "PermissionDenied"
    # Neither does one that a person types, or that a mail has: what a browser prefetches would run it as well.
    typed = await tab.page.goto(f"{url}typed")
    assert typed is not None
    assert typed.status == 403
    assert tools.ran == []


@pytest.mark.parametrize("host", ["127.0.0.1", "hub.example"])
@pytest.mark.parametrize("place", ["/docs?q=run", "/docs#run"])
async def test_a_link_of_another_site_opens_a_page_for_who_is_logged_in(
    tab: Tab, hub: Hub, site: Site, host: str, place: str
) -> None:
    await log_in(tab, hub, host)
    url = f"{hub.origin_at(host)}{place}"
    await tab.page.goto(site.origin_at("evil.example"))
    answers: list[tuple[str, int]] = []
    tab.page.on("response", lambda response: answers.append((response.url.partition("#")[0], response.status)))
    await follow_link(tab, url)
    await tab.page.wait_for_selector(PAGE if hub.token is None else "#logout:visible")
    assert tab.page.url == url
    opened = [status for address, status in answers if address == url.partition("#")[0]]
    # The browser keeps the cookie back at first.
    assert opened == ([200] if hub.token is None else [401, 200])
    # The page that asks for the token is not in the history of the tab.
    await tab.page.go_back()
    assert tab.page.url.rstrip("/") == site.origin_at("evil.example")


async def test_a_link_of_another_site_asks_for_the_token_once(tab: Tab, site: Site, tools: Tools) -> None:
    settings = Settings(token=SecretStr("hush"))
    async with BridgeServer(tools=[tools.run], http_address="127.0.0.1:0", settings=settings) as server:
        await tab.page.goto(site.origin_at("evil.example"))
        asked: list[str] = []
        tab.page.on("request", lambda request: asked.append(request.url.partition(server.http_address or "")[2]))
        await follow_link(tab, f"http://{server.http_address}/docs")
        await tab.page.wait_for_selector("#token:focus")
        await tab.page.wait_for_load_state("networkidle")
        assert asked == ["/docs", "/api/hub"]
        await tab.page.keyboard.type("hush")
        await tab.page.keyboard.press("Enter")
        await tab.page.wait_for_selector("#logout:visible")


async def test_a_page_that_needs_to_log_in_all_the_same_opens_itself_no_second_time(tab: Tab, tools: Tools) -> None:
    settings = Settings(token=SecretStr("hush"))
    async with BridgeServer(tools=[tools.run], http_address="127.0.0.1:0", settings=settings) as server:
        asked: list[str] = []
        tab.page.on("request", lambda request: asked.append(request.url.partition(server.http_address or "")[2]))
        # As if the cookie were good, and the browser would not send it with the page.
        await tab.page.route("**/api/hub", lambda route: route.fulfill(status=200, body="{}"))
        await tab.page.goto(f"http://{server.http_address}/docs")
        await until(lambda: asked.count("/docs") == 2, "for the page to open itself again")
        await tab.page.wait_for_load_state("networkidle")
        await tab.page.wait_for_selector("#token:focus")
        assert asked == ["/docs", "/api/hub", "/docs"]


@pytest.mark.parametrize("way", ["iframe", "fetch", "embed", "post"])
async def test_another_site_opens_a_page_only_in_a_tab_of_its_own(tab: Tab, hub: Hub, site: Site, way: str) -> None:
    ways = {
        "iframe": "document.body.append(Object.assign(document.createElement('iframe'), { src: url }))",
        "fetch": "fetch(url, { mode: 'no-cors', credentials: 'include' }).catch(() => {})",
        "embed": "document.body.append(Object.assign(document.createElement('embed'), { src: url }))",
        "post": """(() => {
          const form = Object.assign(document.createElement("form"), { action: url, method: "post" });
          document.body.append(form);
          form.submit();
        })()""",
    }
    url = f"{hub.origin_at('127.0.0.1')}/docs?{way}"
    await tab.page.goto(site.origin_at("evil.example"))
    async with tab.page.expect_response(url) as answering:
        await tab.page.evaluate(f"(url) => {{ {ways[way]}; }}", url)
    assert (await answering.value).status == 403


async def test_a_name_that_its_owner_points_at_the_hub_is_refused(tab: Tab, hub: Hub, tools: Tools) -> None:
    base = hub.origin_at("evil.example")
    await log_in(tab, hub, "127.0.0.1")
    refused = await tab.page.goto(f"{base}/docs")
    assert refused is not None
    assert (refused.status, refused.headers.get("content-type")) == (403, "application/json")
    # The refusal is a page of that name, from where all that follows is of the same origin.
    for name in ("fetch", "event-source", "xhr"):
        url = f"{base}{SESSION}/tools/run/stream?by={name}"
        await tab.page.evaluate(f"async (url) => {{ {HELPERS} try {{ await {GETS[name]}; }} catch {{ }} }}", url)
    body = {"method": "POST", "body": '{"kwargs": {"by": "x"}}', "headers": {"Content-Type": "application/json"}}
    script = "async ([url, options]) => (await fetch(url, options)).status"
    assert await tab.page.evaluate(script, [f"{base}{SESSION}/tools/run/execute", body]) == 403
    assert await tab.page.evaluate(script, [f"{base}/api/sessions", {}]) == 403
    assert tools.ran == []


async def test_an_allowed_origin_calls_streams_and_reads_the_id(browser: Browser, site: Site, tools: Tools) -> None:
    origin = site.origin_at("agents.example")
    settings = Settings(token=SecretStr("hush"), http_origins=(origin,))
    async with BridgeServer(tools=[tools.run], http_address="127.0.0.1:0", settings=settings) as server:
        for page_at, reads in ((origin, True), (site.origin_at("evil.example"), False)):
            tab = await open_tab(browser)
            await tab.page.goto(page_at)
            answers = await tab.page.evaluate(CALLS, f"http://{server.http_address}")
            assert answers == (["own-id", {"result": "a"}, "b", "complete"] if reads else "TypeError")
    assert tools.ran == ["a", "b"]


async def test_an_allowed_origin_streams_from_an_open_hub_as_events(tab: Tab, site: Site, tools: Tools) -> None:
    settings = Settings(http_origins=(site.origin_at("agents.example"),))
    async with BridgeServer(tools=[tools.run], http_address="127.0.0.1:0", settings=settings) as server:
        async with httpx.AsyncClient(base_url=f"http://{server.http_address}") as client:
            await client.post("/api/sessions", json={"session_id": "s"})
        await tab.page.goto(site.origin_at("agents.example"))
        event = await tab.page.evaluate(
            """(url) => new Promise((done) => {
              const stream = new EventSource(url);
              stream.addEventListener("data", (event) => { stream.close(); done(event.data); });
              stream.onerror = () => done("error");
            })""",
            f"http://{server.http_address}{SESSION}/tools/run/stream?by=page",
        )
    assert event == '"page"'
