"""The files of the dashboard: what is served, how it is cached, and how large it is."""

import gzip
import re
from collections.abc import AsyncIterator
from importlib.resources import files

import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr

from grpc_tool_bridge import BridgeServer, Settings
from grpc_tool_bridge.gateway.dashboard_files import CONTENT_POLICY

FOLDER = files("grpc_tool_bridge.gateway").joinpath("dashboard")
# Of all files together, as a browser receives them.
MAX_BYTES = 150_000
MARKUP = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function")
OTHERS = ["../app.py", "%2e%2e/login.html", "..%2fapp.py", "views", "views/", "", "/etc/passwd"]


def names_in(folder: object = FOLDER, prefix: str = "") -> list[str]:
    """Returns the paths of all files of the dashboard."""
    found: list[str] = []
    for entry in folder.iterdir():  # type: ignore[attr-defined]
        found += names_in(entry, f"{prefix}{entry.name}/") if entry.is_dir() else [f"{prefix}{entry.name}"]
    return found


@pytest_asyncio.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with (
        BridgeServer(http_address="127.0.0.1:0") as hub,
        httpx.AsyncClient(base_url=f"http://{hub.http_address}") as client,
    ):
        yield client


async def test_the_page_and_all_that_it_loads_are_served_under_its_policy(client: httpx.AsyncClient) -> None:
    page = await client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    loaded = re.findall(r'(?:src|href)="(/[^"]+)"', page.text)
    assert loaded
    for path in ["/", *loaded, *(f"/dashboard/{name}" for name in names_in())]:
        response = await client.get(path)
        assert response.status_code == 200, path
        assert response.headers["content-security-policy"] == CONTENT_POLICY
        assert response.headers["x-content-type-options"] == "nosniff"
    assert CONTENT_POLICY.startswith("default-src 'self'; frame-ancestors 'none'")


async def test_nothing_is_inline_and_nothing_comes_from_elsewhere(client: httpx.AsyncClient) -> None:
    page = (await client.get("/")).text
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon[a-z]+=", page)
    for name in names_in():
        text = FOLDER.joinpath(name).read_text(encoding="utf-8")
        for address in re.findall(r"https?://[^\"'\s)]+", text):
            assert address == "http://www.w3.org/2000/svg", f"{name}: {address}"
        # Text of tools and models can never become markup.
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text), (
            name
        )


async def test_all_files_together_are_small(client: httpx.AsyncClient) -> None:
    received = 0
    for name in names_in():
        async with client.stream("GET", f"/dashboard/{name}", headers={"accept-encoding": "gzip"}) as packed:
            received += sum([len(part) async for part in packed.aiter_raw()])
    assert 50_000 < received < MAX_BYTES


async def test_a_browser_takes_a_file_once_until_it_changes(client: httpx.AsyncClient) -> None:
    first = await client.get("/dashboard/main.js")
    assert first.headers["cache-control"] == "no-cache"
    again = await client.get("/dashboard/main.js", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = await client.get("/dashboard/main.js", headers={"if-none-match": '"another"'})
    assert (other.status_code, other.content) == (200, first.content)


async def test_a_file_is_packed_for_who_can_unpack_it(client: httpx.AsyncClient) -> None:
    async with client.stream("GET", "/dashboard/main.js", headers={"accept-encoding": "gzip"}) as packed:
        assert packed.headers["content-encoding"] == "gzip"
        raw = b"".join([part async for part in packed.aiter_raw()])
    for refused in ("identity", "gzip;q=0", "gzip; q=0.0, br"):
        plain = await client.get("/dashboard/main.js", headers={"accept-encoding": refused})
        assert "content-encoding" not in plain.headers
        assert gzip.decompress(raw) == plain.content


@pytest.mark.parametrize("name", OTHERS)
async def test_no_other_file_is_served(client: httpx.AsyncClient, name: str) -> None:
    request = client.build_request("GET", "/")
    request.url = request.url.copy_with(raw_path=f"/dashboard/{name}".encode())
    response = await client.send(request)
    assert (response.status_code, response.json()["error"]["type"]) == (404, "RouteNotFound")


async def test_a_hub_with_a_token_shows_its_log_in_instead() -> None:
    async with (
        BridgeServer(http_address="127.0.0.1:0", settings=Settings(token=SecretStr("a-token-of-some-length"))) as hub,
        httpx.AsyncClient(base_url=f"http://{hub.http_address}") as client,
    ):
        page = await client.get("/?view=tools", headers={"accept": "text/html"})
        assert page.status_code == 401
        assert "Log in" in page.text
        assert (await client.get("/dashboard/main.js")).status_code == 401
