"""``/mcp`` as a part of the HTTP gateway."""

import asyncio
import builtins
import logging
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from grpc_tool_bridge import BridgeServer, Settings
from integration.mcp_clients import ACCEPT, Frames, RawClient, new_request
from support.jwts import AUDIENCE, ISSUER, jwks_of, token_of
from support.waiting import soon, until

PAGE = "https://chat.example.com"


async def echo(text: str) -> str:
    """Echoes."""
    return text


def _server(**settings: Any) -> BridgeServer:
    return BridgeServer(tools=[echo], http_address="127.0.0.1:0", settings=Settings(**settings))


@pytest.mark.parametrize("method", ["HEAD", "PUT", "PATCH"])
async def test_other_methods_are_refused(method: str) -> None:
    async with _server() as server, RawClient(server) as client:
        response = await soon(client.http.request(method, client.url))
        assert response.status_code == 405
        assert response.headers["allow"] == "DELETE, GET, POST"


async def test_a_page_of_an_allowed_origin_may_use_it() -> None:
    async with _server(http_origins=[PAGE]) as server, RawClient(server) as client:
        wanted = "authorization, content-type, mcp-protocol-version, mcp-session-id, mcp-param-region, x-other"
        headers = {
            "origin": PAGE,
            "access-control-request-method": "POST",
            "access-control-request-headers": wanted,
        }
        response = await soon(client.http.options(client.url, headers=headers))
        assert response.status_code == 204
        allowed = response.headers["access-control-allow-headers"].split(", ")
        names = {
            "mcp-session-id",
            "mcp-protocol-version",
            "mcp-method",
            "mcp-name",
            "last-event-id",
            "mcp-param-region",
        }
        assert names <= set(allowed)
        assert "x-other" not in allowed
        client.http.headers["origin"] = PAGE
        opened = await client.connect()
        assert opened.headers["access-control-allow-origin"] == PAGE
        assert "mcp-session-id" in opened.headers["access-control-expose-headers"]


@pytest.mark.parametrize("headers", [{"host": "evil.example.com"}, {"origin": "http://evil.example.com"}])
async def test_strangers_are_kept_out(headers: dict[str, str]) -> None:
    async with _server() as server, RawClient(server) as client:
        given, body = new_request("tools/list")
        response = await soon(client.http.post(client.url, headers={**given, **headers}, json=body))
        assert response.status_code == 403


async def test_a_token_is_needed_where_one_is_set(tmp_path: Any) -> None:
    path = tmp_path / "token"
    path.write_text("secret-token-of-the-hub")
    path.chmod(0o600)
    async with _server(token_file=str(path)) as server, RawClient(server) as client:
        assert (await soon(client.new("tools/list"))).status_code == 401
        client.http.headers["authorization"] = "Bearer secret-token-of-the-hub"
        assert (await soon(client.new("tools/list"))).status_code == 200


async def test_without_the_sdk_the_answer_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("grpc_tool_bridge.gateway.mcp.")]:
        monkeypatch.delitem(sys.modules, name)
    imported = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == "mcp":
            raise ModuleNotFoundError("No module named 'mcp'", name="mcp")
        return imported(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    async with _server() as server, RawClient(server) as client:
        response = await soon(client.new("tools/list"))
        assert response.status_code == 501
        assert "grpc-tool-bridge[mcp]" in response.json()["error"]["message"]


async def test_the_end_of_the_hub_ends_streams_at_once_and_leaves_no_task() -> None:
    before = asyncio.all_tasks()
    server = _server()
    async with server, RawClient(server) as client:
        await client.connect()
        headers, body = new_request("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
        async with (
            client.stream() as old,
            client.http.stream("POST", client.url, headers=headers, json=body) as response,
        ):
            new = Frames(response)
            await soon(new.message())
            stopping = asyncio.create_task(server.stop())
            # The stream of the new protocol ends with an answer.
            assert (await soon(new.message()))["id"] == body["id"]
            with pytest.raises((EOFError, httpx.RemoteProtocolError)):
                await soon(old.next())
        await soon(stopping)
    await until(lambda: not _left(before), "for the tasks of the gateway")


def _left(before: set[Any]) -> set[Any]:
    return {task for task in asyncio.all_tasks() - before if not task.done() and task is not asyncio.current_task()}


async def test_a_large_request_is_charged_while_it_is_answered() -> None:
    used: list[int] = []
    server = _server()

    async def measure(text: str) -> int:
        """Measures."""
        used.append(server.hub.memory.used)
        return len(text)

    server = BridgeServer(tools=[measure], http_address="127.0.0.1:0")
    async with server, RawClient(server) as client:
        await client.connect()
        for call in (client.call_new, client.call_old):
            before = server.hub.memory.used
            assert (await soon(call("measure", {"text": "x" * 3_000_000})))["content"][0]["text"] == "3000000"
            assert used.pop() > before + 3_000_000
        await until(lambda: server.hub.memory.used < 1_000_000)


async def test_a_request_that_is_too_large_is_refused() -> None:
    async with _server(max_message_bytes=100_000) as server, RawClient(server) as client:
        response = await soon(client.new("tools/call", {"name": "echo", "arguments": {"text": "x" * 300_000}}))
        assert response.status_code == 413


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"1", b'{"jsonrpc":"2.0","id":1}', b"\xff", b"[" * 100_000])
async def test_garbage_is_refused(body: bytes) -> None:
    async with _server() as server, RawClient(server) as client:
        await client.connect()
        for headers in ({**ACCEPT, **client.session}, new_request("tools/call", {"name": "echo"})[0]):
            response = await soon(client.http.post(client.url, headers=headers, content=body))
            assert 400 <= response.status_code < 500
        assert (await soon(client.call_new("echo", {"text": "a"})))["content"][0]["text"] == "a"


async def test_sessions_are_not_told_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with _server() as server, RawClient(server) as client:
        await client.connect()
        await soon(client.call_old("echo", {"text": "a"}))
        await client.leave()
    assert not [record for record in caplog.records if record.name.startswith("mcp")]


async def test_an_oauth_client_finds_out_who_issues_tokens(tmp_path: Path) -> None:
    keys = tmp_path / "jwks.json"
    keys.write_bytes(jwks_of("rsa"))
    settings = {"jwt_issuer": ISSUER, "jwt_audience": [AUDIENCE], "jwt_keys": str(keys), "http_hosts": ["hub.example"]}
    async with _server(**settings) as server, RawClient(server) as client:
        headers, body = new_request("tools/list")
        refused = await soon(client.http.post(client.url, headers=headers, json=body))
        base = f"http://{server.http_address}"
        told = f'Bearer resource_metadata="{base}/.well-known/oauth-protected-resource/mcp"'
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, told)
        wrong = await soon(client.http.post(client.url, headers={**headers, "authorization": "Bearer x"}, json=body))
        assert wrong.headers["www-authenticate"].startswith('Bearer error="invalid_token", resource_metadata=')
        url = told.partition('"')[2][:-1]
        found = (await soon(client.http.get(url))).json()
        assert (found["resource"], found["authorization_servers"]) == (client.url, [ISSUER])
        assert found["bearer_methods_supported"] == ["header"]
        # A proxy has ended TLS; the audience says how the hub is reached from outside.
        outside = (await soon(client.http.get(url, headers={"host": "hub.example"}))).json()
        assert outside["resource"] == "https://hub.example/mcp"
        with_token = {**headers, "authorization": f"Bearer {token_of()}"}
        assert (await soon(client.http.post(client.url, headers=with_token, json=body))).status_code == 200
    async with _server(token="word") as server, RawClient(server) as client:
        refused = await soon(client.http.get(url.replace(base, f"http://{server.http_address}")))
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
