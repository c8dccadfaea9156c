"""Toolsets, marks and versions of tools over HTTP, over MCP, and on the command line."""

import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp.shared.exceptions import MCPError

from grpc_tool_bridge import BridgeServer, Settings, ValidationError
from grpc_tool_bridge.cli.tool_sources import load_tools
from grpc_tool_bridge.llm.mcp_names import TAGS_META
from integration.mcp_clients import VERSIONS, sdk_client
from integration.test_cli import Cli, popen, read_line, runner, serving
from support.patience import PATIENCE
from support.waiting import soon

TOOLS = str(Path(__file__).parent / "organized_tools.py")


def served(**settings: Any) -> BridgeServer:
    return BridgeServer(
        tools=load_tools([TOOLS]), http_address="127.0.0.1:0", settings=Settings(shutdown_grace=0, **settings)
    )


# ---------------------------------------------------------------------------------------------------------------- HTTP


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with (
        served() as server,
        httpx.AsyncClient(base_url=f"http://{server.http_address}", timeout=PATIENCE) as client,
    ):
        assert (await client.post("/api/sessions", json={"session_id": "s"})).status_code == 201
        yield client


async def listed(http: httpx.AsyncClient, path: str) -> list[str]:
    response = await http.get(path)
    assert response.status_code == 200, response.text
    return [item["name"] for item in response.json()["tools"]]


@pytest.mark.parametrize("path", ["/api/sessions/s/tools?", "/api/tools?", "/api/tools?session_id=s&"])
async def test_lists_over_http_are_without_hidden_tools_and_take_tags(http: httpx.AsyncClient, path: str) -> None:
    assert await listed(http, path) == ["add", "add@1", "books.cancel", "books.get", "plus"]
    assert await listed(http, f"{path}tags=math") == ["add", "plus"]
    assert await listed(http, f"{path}tags=shop,read") == ["books.get"]
    assert await listed(http, f"{path}tags=nothing") == []
    refused = await http.get(f"{path}tags=a+b")
    assert (refused.status_code, "a tag is 1 to 64" in refused.text) == (422, True)


async def test_pages_of_some_tags_are_told_from_those_of_others(http: httpx.AsyncClient) -> None:
    page = (await http.get("/api/tools?tags=math&page_size=1")).json()
    token = page["next_page_token"]
    assert await listed(http, f"/api/tools?tags=math&page_size=1&page_token={token}") == ["plus"]
    assert (await http.get(f"/api/tools?tags=shop&page_size=1&page_token={token}")).status_code == 422


async def test_a_search_over_http_finds_what_is_listed_and_current(http: httpx.AsyncClient) -> None:
    path = "/api/sessions/s/tools?search="
    assert sorted(await listed(http, path)) == ["add", "books.cancel", "books.get", "plus"]
    assert await listed(http, f"{path}order&tags=write") == ["books.cancel"]


async def test_what_is_not_listed_is_described_and_called_by_its_name(http: httpx.AsyncClient) -> None:
    for path in ("/api/sessions/s/tools/reset", "/api/sessions/s/tools/add@1"):
        assert (await http.get(path)).json()["name"] == path.rpartition("/")[2]
    described = (await http.get("/api/tools/add@1")).json()["spec"]
    assert (described["name"], described["tool_id"], described["version"]) == ("add@1", "add@1", "1")
    assert (await http.get("/api/tools/add@2?session_id=s")).json()["spec"]["name"] == "add@2"
    assert (await http.get("/api/tools/add@3")).status_code == 404
    results = {
        name: (await http.post(f"/api/sessions/s/tools/{name}/execute", json={"args": args})).json()["result"]
        for name, args in (("reset", []), ("add", [1, 2]), ("add@1", [1, 2]), ("add@2", [1, 2]))
    }
    assert results == {"reset": "reset", "add": 103, "add@1": 3, "add@2": 103}


async def test_a_line_of_a_list_says_its_tags_and_what_replaces_it(http: httpx.AsyncClient) -> None:
    lines = {line["name"]: line for line in (await http.get("/api/tools")).json()["tools"]}
    assert (lines["plus"]["deprecated"], lines["plus"]["tags"]) == ("use add", ["math"])
    assert (lines["add"]["deprecated"], lines["books.get"]["tags"]) == ("", ["read", "shop"])
    assert [(line["name"], line["version"]) for line in lines.values() if line["version"]] == [
        ("add", "2"),
        ("add@1", "1"),
    ]


async def test_the_document_is_without_hidden_tools_and_older_versions(http: httpx.AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()
    own = {path.split("/")[5] for path in document["paths"] if "/tools/" in path and "{tool}" not in path}
    assert {"add", "plus", "books.get", "books.cancel"} <= own
    assert not own & {"reset", "add@1", "add%401"}
    operation = document["paths"]["/api/sessions/{session_id}/tools/plus/execute"]["post"]
    assert operation["deprecated"] is True
    assert operation["description"].startswith("Deprecated: use add")
    assert "deprecated" not in document["paths"]["/api/sessions/{session_id}/tools/add/execute"]["post"]


# ----------------------------------------------------------------------------------------------------------------- MCP


@pytest.mark.parametrize("version", VERSIONS)
async def test_an_mcp_client_sees_tags_and_what_is_deprecated_and_nothing_that_is_hidden(version: str) -> None:
    async with served() as server, sdk_client(server, version) as client:
        tools = {item.name: item for item in (await soon(client.list_tools())).tools}
        assert list(tools) == ["add", "books_cancel", "books_get", "plus"]
        assert tools["books_get"].meta == {TAGS_META: ["read", "shop"]}
        assert tools["plus"].description == "Deprecated: use add\n\nAdds two numbers."
        for name, arguments, text in (("reset", {}, "reset"), ("add@1", {"a": 1, "b": 2}, "3")):
            assert (await soon(client.call_tool(name, arguments))).content[0].text == text


@pytest.mark.parametrize("version", VERSIONS)
async def test_an_mcp_client_chooses_by_tags_and_older_versions_by_name(version: str) -> None:
    async with served() as server, sdk_client(server, version, "?tools=tag:shop%2Bread,tag:math,add@1") as client:
        names = [item.name for item in (await soon(client.list_tools())).tools]
        assert names == ["add", "add_1", "books_get", "plus"]
        assert (await soon(client.call_tool("add_1", {"a": 1, "b": 2}))).content[0].text == "3"


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_setting_chooses_for_mcp_clients_that_do_not(version: str) -> None:
    async with served(mcp_tools=("tag:shop",)) as server:
        async with sdk_client(server, version) as client:
            names = [item.name for item in (await soon(client.list_tools())).tools]
            assert names == ["books_cancel", "books_get"]
            with pytest.raises(MCPError, match="among those that the address chooses"):
                await soon(client.call_tool("add", {"a": 1, "b": 2}))
        async with sdk_client(server, version, "?tools=add") as client:
            assert [item.name for item in (await soon(client.list_tools())).tools] == ["add"]


def test_a_setting_that_is_no_choice_is_refused_at_once() -> None:
    with pytest.raises(ValidationError, match="a tag is 1 to 64 letters"):
        served(mcp_tools=("search", "tag:a b"))


# -------------------------------------------------------------------------------------------------------- command line


@pytest.fixture(scope="module")
def hub() -> Iterator[dict[str, Any]]:
    with serving("--tools", TOOLS, "--prefix", "p.", stderr=subprocess.DEVNULL) as (announced, _):
        yield announced


@pytest.fixture
def cli(hub: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    monkeypatch.setenv("TOOL_BRIDGE_ADDRESS", hub["address"])
    return runner(capsys)


def shown(cli: Cli, *words: str) -> list[str]:
    return [item["name"] for item in json.loads(cli("tools", *words, "--json"))]


def test_the_tools_of_a_module_and_its_toolsets_are_served_under_a_prefix(hub: dict[str, Any], cli: Cli) -> None:
    assert hub["tools"] == ["p.add", "p.add", "p.books.cancel", "p.books.get", "p.plus", "p.reset"]
    assert cli("call", "p.books.get", "3") == "books 3\n"


def test_tools_are_listed_by_tags_and_hidden_ones_if_asked_for(cli: Cli) -> None:
    visible = ["p.add", "p.add@1", "p.books.cancel", "p.books.get", "p.plus"]
    assert shown(cli) == visible
    assert shown(cli, "--hidden") == [*visible, "p.reset"]
    assert shown(cli, "--tag", "read") == ["p.books.get"]
    assert shown(cli, "--tag", "read", "--hidden") == ["p.books.get", "p.reset"]
    assert shown(cli, "--tag", "math", "--tag", "shop") == []
    assert shown(cli, "--search", "order", "--tag", "write") == ["p.books.cancel"]
    assert "No tool matches" in cli("tools", "--tag", "nothing")


def test_what_is_hidden_or_older_is_shown_and_called_by_its_name(cli: Cli) -> None:
    assert "\nhidden\ntags: read\n" in cli("tools", "p.reset")
    assert "\nversion 1\n" in cli("tools", "p.add@1")
    assert (cli("call", "p.reset"), cli("call", "p.add@1", "1", "2"), cli("call", "p.add@2", "1", "2")) == (
        "reset\n",
        "3\n",
        "103\n",
    )
    assert "has no tool 'p.add@3'; did you mean p.add@1" in cli("tools", "p.add@3", code=1)


def test_a_deprecated_tool_says_what_to_use(cli: Cli) -> None:
    assert "deprecated: use add" in cli("tools")
    assert "Deprecated: use add\n\nAdds two numbers.\n" in cli("tools", "p.plus")
    facts = json.loads(cli("tools", "p.plus", "--json"))
    assert (facts["deprecated"], facts["hidden"], facts["tags"]) == ("use add", False, ["math"])


def test_a_worker_has_a_prefix(hub: dict[str, Any], cli: Cli) -> None:
    words = (f"{TOOLS}:books", "--prefix", "w.", "--address", hub["address"], "--json")
    process = popen("worker", *words, stderr=subprocess.DEVNULL)
    try:
        assert json.loads(read_line(process))["tools"] == ["w.books.cancel", "w.books.get"]
        assert cli("call", "w.books.get", "4") == "books 4\n"
    finally:
        process.terminate()
        process.wait(PATIENCE)
        process.communicate()


def test_a_prefix_that_cannot_be_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    text = runner(capsys)("serve", "--tools", TOOLS, "--prefix", "a b", code=2)
    assert text.startswith("error: --prefix: prefix is 'a b'; it must be the beginning of names")
