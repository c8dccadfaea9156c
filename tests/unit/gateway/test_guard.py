"""What a browser may be made to do is refused before anything runs."""

from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from grpc_tool_bridge.gateway.guard import Guard
from grpc_tool_bridge.rpc.budgets import Budget

HUB = "http://127.0.0.1:8080"
STREAM = "/api/sessions/a%2Fb/tools/t/stream"
MOZILLA = {"user-agent": "Mozilla/5.0 (X11; Linux x86_64)"}


class App:
    """What is guarded; it knows which requests came."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
async def client(app: App) -> AsyncIterator[httpx.AsyncClient]:
    memory = Budget(1_000_000, owner="the hub", setting="max_hub_bytes")
    hosts, origins = ("hub.example",), ("https://hub.example",)
    guard = Guard(app, authenticator=None, memory=memory, write_timeout=60, hosts=hosts, origins=origins)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(guard), base_url=HUB) as made:
        yield made


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"sec-fetch-site": "none", "sec-fetch-mode": "navigate"}, "opened in a browser"),
        ({"sec-fetch-site": "same-origin", "sec-fetch-mode": "navigate"}, "opened in a browser"),
        ({"sec-fetch-site": "same-origin", "sec-purpose": "prefetch"}, "opened in a browser"),
        (MOZILLA, "does not say which page"),
        ({**MOZILLA, "referer": "http://127.0.0.1:8081/"}, "does not say which page"),
        ({**MOZILLA, "referer": f"{HUB}.evil.example/"}, "does not say which page"),
    ],
    ids=str,
)
async def test_a_tool_is_not_run_for_a_browser_that_may_be_made_to_ask(
    client: httpx.AsyncClient, app: App, headers: dict[str, str], why: str
) -> None:
    response = await client.get(STREAM, headers=headers)
    assert response.status_code == 403
    assert why in response.json()["error"]["message"]
    assert app.asked == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"user-agent": "curl/8"},
        {**MOZILLA, "sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"},
        {**MOZILLA, "referer": f"{HUB}/docs"},
        {**MOZILLA, "origin": HUB},
    ],
    ids=str,
)
async def test_a_tool_is_run_for_a_page_of_the_hub_and_for_programs(
    client: httpx.AsyncClient, app: App, headers: dict[str, str]
) -> None:
    assert (await client.get(STREAM, headers=headers)).status_code == 200
    assert app.asked == [STREAM]


async def test_pages_behind_a_proxy_that_ends_tls_may_call_by_its_name(client: httpx.AsyncClient, app: App) -> None:
    page = {**MOZILLA, "host": "hub.example", "sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"}
    assert (await client.post("/api/sessions", headers={**page, "origin": "https://hub.example"})).status_code == 200
    assert (await client.get(STREAM, headers=page)).status_code == 200
    other = {**page, "origin": "https://other.example"}
    assert (await client.post("/api/sessions", headers=other)).status_code == 403
    assert app.asked == ["/api/sessions", STREAM]


@pytest.mark.parametrize("path", ["/docs", "/api/sessions", "/api/sessions/s/variables/stream", "/healthz"])
async def test_what_runs_nothing_may_be_opened(client: httpx.AsyncClient, path: str) -> None:
    headers = {**MOZILLA, "sec-fetch-site": "none", "sec-fetch-mode": "navigate"}
    assert (await client.get(path, headers=headers)).status_code == 200
    assert (await client.get(path, headers=MOZILLA)).status_code == 200


LINK = {**MOZILLA, "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}


@pytest.mark.parametrize("path", ["/", "/docs", "/docs?q=1"])
async def test_a_page_may_be_opened_by_a_link_of_another_site(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path, headers=LINK)).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/api/sessions", {}),
        ("GET", "/docs/", {}),
        ("POST", "/docs", {}),
        ("GET", "/docs", {"sec-fetch-dest": "iframe"}),
        ("GET", "/docs", {"sec-fetch-mode": "no-cors"}),
        ("GET", "/docs", {"origin": "https://other.example"}),
        ("GET", "/docs", {"origin": "null"}),
    ],
    ids=str,
)
async def test_nothing_else_may_be_opened_by_another_site(
    client: httpx.AsyncClient, app: App, method: str, path: str, headers: dict[str, str]
) -> None:
    assert (await client.request(method, path, headers={**LINK, **headers})).status_code == 403
    assert app.asked == []
