"""Sessions that their owners share, over HTTP and by the command line."""

import asyncio
import json
import re
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import pytest

from grpc_tool_bridge import BridgeServer, GRPCToolBridge
from grpc_tool_bridge.auth.audit.keys import make_key
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.errors import UnimplementedError
from support.patience import PATIENCE
from support.programs import environment
from support.waiting import soon
from trust.hubs import server_with, told_apart

POLICY = """
[[rules]]
name = "everybody"
allow = ["open", "read", "write"]
principals = ["*"]
resources = ["*"]

[[rules]]
name = "helpers"
allow = ["share"]
principals = ["helper"]
resources = ["*"]

[[rules]]
name = "no helping of bob"
deny = ["share"]
principals = ["denied"]
resources = ["*"]
"""
GROUPS: dict[str, set[str]] = {"ann": set(), "bob": set(), "eve": {"team"}, "helper": set(), "denied": set()}


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncGenerator[BridgeServer, None]:
    told_apart(monkeypatch, GROUPS)
    async with server_with(POLICY, tmp_path / "policy.toml", http_address="127.0.0.1:0") as made:
        for name in ("ann", "denied"):
            answer = await ask(made, name, "POST", "/api/sessions", {"session_id": f"of-{name}"})
            assert answer.status_code == 201
        yield made


async def ask(server: BridgeServer, who: str, verb: str, path: str, body: Any = None) -> httpx.Response:
    """Makes a request of a principal over HTTP."""
    headers = {"authorization": f"Bearer {who}"}
    async with httpx.AsyncClient(base_url=f"http://{server.http_address}", headers=headers) as client:
        answer: httpx.Response = await soon(client.request(verb, path, json=body))
        return answer


SHARES = "/api/sessions/of-ann/shares"


async def may_enter(server: BridgeServer, who: str) -> bool:
    return (await ask(server, who, "GET", "/api/sessions/of-ann")).status_code == 200


async def test_a_session_is_shared_listed_and_taken_back_over_http(server: BridgeServer) -> None:
    assert not await may_enter(server, "bob")

    answer = await ask(server, "ann", "POST", SHARES, {"principal": "bob", "rights": ["read"]})
    assert (answer.status_code, "shared with 'bob': read" in answer.json()["message"]) == (200, True)
    assert await may_enter(server, "bob")
    listed = (await ask(server, "bob", "GET", SHARES)).json()
    assert listed == {"owner": "ann", "shares": [{"principal": "bob", "group": "", "rights": ["read"]}]}

    assert (await ask(server, "ann", "POST", SHARES, {"group": "team"})).status_code == 200
    assert await may_enter(server, "eve")
    assert (await ask(server, "ann", "DELETE", f"{SHARES}?group=team")).status_code == 200
    assert not await may_enter(server, "eve")
    assert (await ask(server, "ann", "DELETE", f"{SHARES}?principal=bob")).status_code == 200
    assert not await may_enter(server, "bob")


async def test_only_who_owns_it_or_a_rule_gives_it_to_shares_a_session(server: BridgeServer) -> None:
    await ask(server, "ann", "POST", SHARES, {"principal": "bob"})

    assert (await ask(server, "bob", "POST", SHARES, {"principal": "eve"})).status_code == 403
    assert (await ask(server, "bob", "DELETE", f"{SHARES}?principal=bob")).status_code == 403
    denied = await ask(server, "denied", "POST", "/api/sessions/of-denied/shares", {"principal": "eve"})
    assert denied.status_code == 403
    assert (await ask(server, "helper", "POST", SHARES, {"principal": "eve"})).status_code == 200


@pytest.mark.parametrize(("verb", "query"), [("GET", ""), ("POST", ""), ("DELETE", "?principal=bob")])
async def test_a_session_of_another_looks_like_one_that_is_nowhere(server: BridgeServer, verb: str, query: str) -> None:
    body = {"principal": "bob"} if verb == "POST" else None
    answers = [
        await ask(server, "eve", verb, f"/api/sessions/{name}/shares{query}", body) for name in ("of-ann", "nowhere")
    ]

    told = [{key: answer.json()["error"][key] for key in ("type", "message", "details")} for answer in answers]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert json.dumps(told[0]).replace("of-ann", "nowhere") == json.dumps(told[1])


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "one principal or one group"),
        ({"principal": "bob", "group": "team"}, "one principal or one group"),
        ({"principal": "bob", "rights": ["reed"]}, "did you mean"),
        ({"principal": "bob", "rights": [3]}, "list of strings"),
        ({"principal": 3}, "principal must be"),
        ({"who": "bob"}, "who"),
    ],
)
async def test_a_wrong_share_is_refused_with_what_is_wrong(server: BridgeServer, body: Any, said: str) -> None:
    answer = await ask(server, "ann", "POST", SHARES, body)

    assert answer.status_code == 422
    assert said in answer.json()["error"]["message"]


async def test_what_was_not_shared_cannot_be_taken_back(server: BridgeServer) -> None:
    assert (await ask(server, "ann", "DELETE", f"{SHARES}?principal=bob")).status_code == 404
    assert (await ask(server, "ann", "DELETE", SHARES)).status_code == 422


@pytest.mark.parametrize("audited", [False, True])
async def test_a_hub_that_tells_nobody_apart_shares_nothing(tmp_path: Path, *, audited: bool) -> None:
    make_key(tmp_path / "key")
    trail: dict[str, Any] = {"audit": f"file:{tmp_path}/audit.log", "audit_key_file": tmp_path / "key"}
    settings = Settings(**(trail if audited else {}))
    async with BridgeServer(http_address="127.0.0.1:0", settings=settings) as server:
        bridge = GRPCToolBridge(server.address, transport="rpc")
        async with bridge:
            await bridge.initialize("of-bob")
            with pytest.raises(UnimplementedError):
                await soon(bridge.share_session("bob"))
        await ask(server, "any", "POST", "/api/sessions", {"session_id": "of-ann"})
        assert (await ask(server, "any", "POST", SHARES, {"principal": "bob"})).status_code == 501
        assert (await ask(server, "any", "GET", SHARES)).json() == {"owner": "", "shares": []}


async def cli(server: BridgeServer, who: str, *words: str) -> tuple[int, str, str]:
    """Runs the command line of a principal; returns its exit code, its output and its errors."""
    command = [sys.executable, "-m", "grpc_tool_bridge", "sessions", *words]
    given = {**environment(), "TOOL_BRIDGE_ADDRESS": server.address, "TOOL_BRIDGE_TOKEN": who}
    program = await asyncio.create_subprocess_exec(
        *command, env=given, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(PATIENCE):
        out, err = await program.communicate()
    assert program.returncode is not None
    return program.returncode, out.decode(), err.decode()


async def test_a_session_is_shared_listed_and_taken_back_by_the_command_line(server: BridgeServer) -> None:
    code, out, _ = await cli(server, "ann", "share", "of-ann", "--with", "bob", "--right", "read")
    assert (code, "is shared with 'bob': read" in out) == (0, True)
    assert await may_enter(server, "bob")
    assert json.loads((await cli(server, "bob", "shares", "of-ann", "--json"))[1]) == {
        "session_id": "of-ann",
        "owner": "ann",
        "shares": [{"principal": "bob", "group": "", "rights": ["read"]}],
    }
    assert (await cli(server, "bob", "share", "of-ann", "--with", "eve"))[0] == 1
    assert (await cli(server, "ann", "unshare", "of-ann", "--with", "bob"))[0] == 0
    assert not await may_enter(server, "bob")


async def test_the_command_line_refuses_what_the_hub_does_and_tells_nobody_of_others_sessions(
    server: BridgeServer,
) -> None:
    errors = [await cli(server, "eve", "share", name, "--with", "bob") for name in ("of-ann", "nowhere")]
    assert [code for code, _, _ in errors] == [1, 1]
    assert errors[0][2].replace("of-ann", "nowhere") == errors[1][2]
    for words in (["share", "of-ann"], ["share", "of-ann", "--with", "a", "--group", "b"], ["unshare", "of-ann"]):
        code, _, error = await cli(server, "ann", *words)
        assert (code, "--with NAME or --group NAME" in error) == (2, True)
    code, _, error = await cli(server, "ann", "share", "of-ann", "--with", "bob", "--right", "reed")
    assert (code, "--right reed" in error) == (2, True)


async def test_the_commands_of_the_page_about_policies_do_what_it_says(server: BridgeServer) -> None:
    assert (await ask(server, "ann", "POST", "/api/sessions", {"session_id": "s1"})).status_code == 201
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "policy.md").read_text(encoding="utf-8")
    lines = re.findall(r"^grpc-tool-bridge sessions (.+)$", page, re.MULTILINE)

    outputs = [await cli(server, "ann", *line.split()) for line in lines]
    assert [code for code, _, _ in outputs] == [0, 0, 0, 0]
    assert ("other-bot" in outputs[2][1], "analysts" in outputs[2][1]) == (True, True)
    left = (await ask(server, "ann", "GET", "/api/sessions/s1/shares")).json()["shares"]
    assert left == [{"principal": "", "group": "analysts", "rights": ["calls", "read"]}]
