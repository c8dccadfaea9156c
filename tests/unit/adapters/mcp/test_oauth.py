import asyncio
import json
import logging
import re
from pathlib import Path

import httpx2
import pytest
from mcp.shared.auth import OAuthToken

from grpc_tool_bridge.adapters.mcp import OAuthOptions, import_mcp
from grpc_tool_bridge.adapters.mcp.config import config_of
from grpc_tool_bridge.adapters.mcp.oauth import Redirect, TokenFile, auth_of
from grpc_tool_bridge.errors import UnavailableError, ValidationError
from grpc_tool_bridge.server import LocalToolBridge
from support.waiting import soon, until
from unit.adapters.mcp.http_server import Site, http_site


def names_in(folder: Path) -> list[str]:
    return [item.name for item in folder.iterdir()]


async def authorize(caplog: pytest.LogCaptureFixture) -> None:
    """Does what a person does: opens the address that the log shows."""
    await until(lambda: "authorize the bridge at" in caplog.text, "for the address")
    found = re.search(r"authorize the bridge at (\S+)", caplog.text)
    assert found is not None
    async with httpx2.AsyncClient(follow_redirects=True) as browser:
        page = await browser.get(found[1])
    assert "The bridge is authorized" in page.text


async def add_one(site: Site, options: OAuthOptions) -> int:
    async with import_mcp(site.url, name="site", oauth=options) as server, LocalToolBridge(server.tools) as bridge:
        await bridge.initialize()
        return int(await soon(bridge.tools["site.add"](a=1)))


async def test_a_person_authorizes_once_and_the_tokens_are_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = OAuthOptions(token_file=tmp_path / "folder" / "tokens.json")
    async with http_site(guarded=True) as site:
        adding = asyncio.ensure_future(add_one(site, options))
        await soon(authorize(caplog))
        assert await soon(adding) == 2
        assert options.token_file is not None
        assert options.token_file.stat().st_mode & 0o777 == 0o600
        caplog.clear()
        assert await soon(add_one(site, options)) == 2
        assert "authorize the bridge" not in caplog.text
        assert site.grants == ["authorization_code"]


async def test_a_client_can_authorize_itself() -> None:
    async with http_site(guarded=True) as site:
        options = OAuthOptions(client_id="me", client_secret="s3cret", issuer=site.base, client_credentials=True)
        assert await soon(add_one(site, options)) == 2
        assert site.grants == ["client_credentials"]


async def test_without_a_token_the_error_says_what_to_do() -> None:
    async with http_site(guarded=True) as site:
        with pytest.raises(UnavailableError, match="HTTP status 401; give a token as a header"):
            await soon(import_mcp(site.url, name="site").__aenter__())


async def test_headers_are_sent_and_never_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with http_site(guarded=True) as site:
        site.tokens.add("s3cret")
        url = f"{site.url}?key=0ther"
        source = import_mcp(url, name="site", headers={"Authorization": "Bearer s3cret", "X-Who": "me"})
        async with source as server:
            assert "site.add" in [tool.spec.name for tool in server.tools]
        assert {request["x-who"] for request in site.seen} == {"me"}
    # The server runs in this process, and may log what it likes.
    lines = [record.getMessage() for record in caplog.records if not record.name.startswith(("mcp.server", "uvicorn"))]
    assert any("HTTP Request" in line for line in lines)
    assert not any("s3cret" in line or "0ther" in line for line in lines)


async def test_tokens_of_several_servers_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    one, two = TokenFile(path, "one", "https://one"), TokenFile(path, "two", "https://two")
    await one.set_tokens(OAuthToken(access_token="a"))
    await two.set_tokens(OAuthToken(access_token="b"))
    found = await one.get_tokens()
    assert found is not None
    assert found.access_token == "a"
    assert json.loads(path.read_text()).keys() == {"one", "two"}
    assert names_in(tmp_path) == ["tokens.json"]
    path.write_text("{")
    with pytest.raises(ValidationError, match="not a file of tokens"):
        await one.get_tokens()


async def test_tokens_of_one_address_are_not_sent_to_another(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    await TokenFile(path, "one", "https://one.example/mcp").set_tokens(OAuthToken(access_token="a"))
    moved = TokenFile(path, "one", "https://two.example/mcp")
    assert await moved.get_tokens() is None
    assert await moved.get_client_info() is None
    await moved.set_tokens(OAuthToken(access_token="b"))
    assert await TokenFile(path, "one", "https://one.example/mcp").get_tokens() is None


async def test_the_way_back_is_taken_by_those_alone_who_know_the_state() -> None:
    redirect = Redirect("s", 0)
    await redirect.ask("https://example.com?state=abc")
    async with httpx2.AsyncClient() as browser:
        for query in ("error=access_denied", "error=access_denied&state=x", "code=c&state=x"):
            assert (await browser.get(f"{redirect.uri}?{query}")).status_code == 404
        assert (await browser.get(f"{redirect.uri}?code=c&state=abc")).status_code == 200
    assert (await soon(redirect.answer())).code == "c"
    await redirect.aclose()


async def test_the_way_back_takes_one_answer_and_nothing_else() -> None:
    redirect = Redirect("s", 0)
    await redirect.ask("https://example.com")
    async with httpx2.AsyncClient() as browser:
        assert (await browser.get(redirect.uri.replace("/callback", "/other?code=x"))).status_code == 404
        assert (await browser.get(redirect.uri)).status_code == 404
        answer = await browser.get(f"{redirect.uri}?error=access_denied")
        assert "was not authorized" in answer.text
    with pytest.raises(ValidationError, match="access_denied"):
        await soon(redirect.answer())
    await redirect.aclose()


def test_what_is_missing_for_a_client_is_named() -> None:
    config = config_of("https://example.com", oauth=OAuthOptions(client_credentials=True, client_id="x"))
    with pytest.raises(ValidationError, match="need client_secret and issuer, too"):
        auth_of(config)
