"""The gateway says of itself what it does: a document, and a page that shows it."""

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import date
from html.parser import HTMLParser
from typing import Any

import httpx
import jsonschema
import pytest
from openapi_spec_validator import validate
from pydantic import SecretStr

from grpc_tool_bridge import BridgeServer, Settings, ToolWorker, tool
from support.waiting import until

TOOLS = "/api/sessions/{session_id}/tools"
SECRET = "a-token-of-these-tests"


@tool
def add(a: int, b: int = 2) -> int:
    """Adds two numbers."""
    return a + b


@tool(name="days.of-week_1")
async def days(first: date) -> Any:
    """Yields days."""
    yield first


@tool
def day(at: date) -> tuple[date, int]:
    """Returns a day."""
    return at, 2**60


class Web:
    """A hub over HTTP, and a client of it."""

    def __init__(self, server: BridgeServer, client: httpx.AsyncClient) -> None:
        self.server = server
        self.client = client

    async def document(self, **query: str) -> dict[str, Any]:
        response = await self.client.get("/openapi.json", params=query)
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found


@pytest.fixture
async def web() -> AsyncIterator[Web]:
    async with AsyncExitStack() as stack:
        server = BridgeServer(tools=[add, days, day], http_address="127.0.0.1:0", settings=Settings(shutdown_grace=0.0))
        await stack.enter_async_context(server)
        client = httpx.AsyncClient(base_url=f"http://{server.http_address}", timeout=30)
        yield Web(server, await stack.enter_async_context(client))


async def test_the_document_is_valid_and_each_tool_has_its_paths(web: Web) -> None:
    found = await web.document()
    validate(found)
    for name in ("add", "days.of-week_1", "day"):
        assert found["paths"][f"{TOOLS}/{name}/execute"]["post"]["summary"] == f"Calls {name}."
        assert found["paths"][f"{TOOLS}/{name}/stream"].keys() == {"get", "post"}


async def test_what_a_tool_answers_is_valid_by_its_own_schema(web: Web) -> None:
    found = await web.document()
    await web.client.post("/api/sessions", json={"session_id": "s"})
    calls = {"add": {"a": 1}, "day": {"at": "2024-02-28"}, "days.of-week_1": {"first": "2024-02-28"}}
    for name, kwargs in calls.items():
        answer = await web.client.post(f"/api/sessions/s/tools/{name}/execute", json={"kwargs": kwargs})
        schema = {"$ref": f"#/components/schemas/tool.{name}.answer", "components": found["components"]}
        jsonschema.Draft202012Validator(schema).validate(answer.json())
        assert answer.json()["success"]


async def test_a_call_by_the_document_is_taken_and_one_against_it_refused_with_the_schema_of_errors(web: Web) -> None:
    found = await web.document()
    await web.client.post("/api/sessions", json={"session_id": "s"})
    operation = found["paths"][f"{TOOLS}/add/execute"]["post"]
    body = {
        **operation["requestBody"]["content"]["application/json"]["schema"],
        "components": found["components"],
    }
    error = {"$ref": "#/components/schemas/Error", "components": found["components"]}
    bodies: list[Any] = [{"kwargs": {"a": 1}}, {"kwargs": {}}, {"kwargs": {"a": "x"}}, {"nothing": 1}]
    for given in [*bodies, {"kwargs": {"a": 1}, "timeout_ms": -1}]:
        valid = jsonschema.Draft202012Validator(body).is_valid(given)
        answer = await web.client.post("/api/sessions/s/tools/add/execute", json=given)
        assert answer.status_code == (200 if valid else 422)
        assert str(answer.status_code) in operation["responses"]
        assert valid or jsonschema.Draft202012Validator(error).is_valid(answer.json())


async def test_the_fields_of_each_body_are_those_that_its_route_takes(web: Web) -> None:
    paths = (await web.document())["paths"]
    await web.client.post("/api/sessions", json={"session_id": "s"})
    operations = [(path, method, each) for path in paths for method, each in paths[path].items()]
    checked = 0
    for path, method, operation in operations:
        if "requestBody" not in operation or operation["tags"] == ["tools of this hub"]:
            continue
        url = path.format(session_id="s", tool="add", name="x", agent="x", approval="x")
        answer = await web.client.request(method, url, json={"value": 1, "no such field": 1})
        taken = re.search(r"it takes ([\w, ]+)", answer.json()["error"]["message"])
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        assert taken is not None, url
        assert {*taken[1].split(", ")} == schema["properties"].keys() - {"value"}, url
        checked += 1
    assert checked == 11


async def test_tools_that_come_and_go_change_the_document(web: Web) -> None:
    before = await web.client.get("/openapi.json")
    assert (await web.client.get("/openapi.json")).content == before.content

    @tool
    def later(a: str) -> str:
        """Comes later."""
        return a

    async with ToolWorker(web.server.address, tools=[later], settings=Settings(shutdown_grace=0.0)):
        await until(lambda: "later" in {each.name for each in web.server.hub.registry.visible(None)})
        assert f"{TOOLS}/later/execute" in (await web.document())["paths"]
    await until(lambda: "later" not in {each.name for each in web.server.hub.registry.visible(None)})
    assert (await web.client.get("/openapi.json")).content == before.content


async def test_a_session_has_its_own_tools_in_its_document_and_in_no_other(web: Web) -> None:
    @tool
    def own(a: str) -> str:
        """Is of one session."""
        return a

    await web.client.post("/api/sessions", json={"session_id": "s"})
    await web.client.post("/api/sessions", json={"session_id": "t"})
    await web.server.hub.store.register_tools("s", [own])
    assert f"{TOOLS}/own/execute" in (await web.document(session_id="s"))["paths"]
    assert f"{TOOLS}/own/execute" not in (await web.document(session_id="t"))["paths"]
    assert f"{TOOLS}/own/execute" not in (await web.document())["paths"]
    assert (await web.client.get("/openapi.json", params={"session_id": "nobody"})).status_code == 404


class Loads(HTMLParser):
    """Collects what a page would load, and the scripts and styles in it."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.inline: list[str] = []
        self._within = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._within = tag
        self.addresses.extend(value or "" for name, value in attrs if name in ("src", "href", "action", "data"))

    def handle_data(self, data: str) -> None:
        if self._within in ("script", "style"):
            self.inline.append(data)


async def test_each_route_says_what_it_does(web: Web) -> None:
    paths = (await web.client.get("/openapi.json")).json()["paths"]
    session = paths["/api/sessions/{session_id}"]
    assert session["get"]["summary"] == "Describes a session."
    assert session["delete"]["summary"].startswith("Ends a session")


async def test_the_page_loads_nothing_from_elsewhere(web: Web) -> None:
    response = await web.client.get("/docs")
    assert response.headers["content-type"].startswith("text/html")
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy
    page = Loads()
    page.feed(response.text)
    assert page.inline
    assert [address for address in page.addresses if not address.startswith(("/", "data:"))] == []
    assert not re.search(r"https?://|//[a-z]+\.|@import|url\(|innerHTML|\beval\b", "".join(page.inline))


async def test_both_need_the_token_where_there_is_one() -> None:
    settings = Settings(token=SecretStr(SECRET), shutdown_grace=0.0)
    async with (
        BridgeServer(tools=[add], http_address="127.0.0.1:0", settings=settings) as server,
        httpx.AsyncClient(base_url=f"http://{server.http_address}", timeout=30) as client,
    ):
        for path in ("/openapi.json", "/docs"):
            assert (await client.get(path)).status_code == 401
            assert (await client.get(path, headers={"authorization": f"Bearer {SECRET}"})).status_code == 200
        found = (await client.get("/openapi.json", headers={"authorization": f"Bearer {SECRET}"})).json()
        validate(found)
        assert found["security"] == [{"bearer": []}, {"cookie": []}]


@pytest.mark.parametrize(
    "path",
    [
        "/api/sessions",
        "/api/sessions/{session_id}",
        f"{TOOLS}/batch",
        f"{TOOLS}/{{tool}}/stream",
        "/api/sessions/{session_id}/variables/watch",
        "/api/sessions/{session_id}/variables/{name}",
    ],
)
async def test_a_refused_method_names_every_method_that_the_path_has(web: Web, path: str) -> None:
    operations = (await web.document())["paths"][path]
    answer = await web.client.request("PATCH", path.format(session_id="s", tool="add", name="x"))
    assert answer.status_code == 405
    assert {*answer.headers["allow"].lower().split(", ")} - {"head"} == operations.keys()


@pytest.mark.parametrize("given", ['""', '"', "x", "1.5", "9" * 5_000])
async def test_a_revision_that_is_none_is_not_taken_for_no_condition(web: Web, given: str) -> None:
    await web.client.post("/api/sessions", json={"session_id": "s"})
    url = "/api/sessions/s/variables/x"
    answer = await web.client.put(url, json={"value": 1}, headers={"if-match": given})
    assert answer.status_code == 422
    assert "If-Match" in answer.json()["error"]["message"]
    assert (await web.client.get(url)).status_code == 404
