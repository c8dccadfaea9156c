"""Callers with tokens of their own, over each way into a hub."""

import os
import pwd
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, Settings, ToolBridgeError
from grpc_tool_bridge.auth.identity import watched_file
from grpc_tool_bridge.auth.identity.tokens_file import add_token, revoke_token
from grpc_tool_bridge.cli.checks import examine
from grpc_tool_bridge.cli.options import HubOptions
from grpc_tool_bridge.cli.serve_run import _facts, _heading
from grpc_tool_bridge.link import renewal
from integration.identity_edges import EDGES, LET_IN, attempt, principals
from support.jwts import AUDIENCE, ISSUER, KeyServer, jwks_of, part, token_of
from support.waiting import soon, until


async def echo(value: Any) -> Any:
    return value


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are looked at each time that they are asked for."""
    monkeypatch.setattr(watched_file, "LOOK_SECONDS", 0.0)


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    add_token(path, "somebody")
    return path


def rewrite(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text().replace(old, new))


def save(path: Path, text: str) -> None:
    path.touch(0o600)
    path.write_text(text)


def hub_of(**settings: Any) -> BridgeServer:
    given = Settings(link_address="127.0.0.1:0", shutdown_grace=0, **settings)
    return BridgeServer(tools=[echo], http_address="127.0.0.1:0", settings=given)


@pytest.fixture
async def server(tokens: Path) -> AsyncIterator[BridgeServer]:
    async with hub_of(tokens_file=tokens, token="shared") as server:
        yield server


@pytest.mark.parametrize("edge", EDGES)
async def test_a_token_says_who_its_caller_is_until_it_is_revoked(
    server: BridgeServer, tokens: Path, edge: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, made = add_token(tokens, "reports-bot", ["analysts"])
    with principals(monkeypatch) as found:
        assert await attempt(server, edge, token) == LET_IN
    assert {(item.name, item.groups, item.method) for item in found} == {
        ("reports-bot", frozenset({"analysts"}), "token")
    }
    revoke_token(tokens, made.id)
    refusal = f"Unauthenticated: the token {made.id} of reports-bot was revoked; use another one"
    assert await attempt(server, edge, token) == refusal


@pytest.mark.parametrize("edge", EDGES)
async def test_what_is_no_valid_token_is_refused_and_the_shared_one_still_works(
    server: BridgeServer, tokens: Path, edge: str
) -> None:
    token, made = add_token(tokens, "late", seconds=-1)
    secret = token.rpartition("_")[2] if "_" not in token[16:] else token[16:]
    assert await attempt(server, edge, token) == (
        f"Unauthenticated: the token {made.id} of late has expired; use another one"
    )
    forged = [
        f"tb_{made.id}_{'A' * 43}",
        f"tb_{'a' * 12}_{secret}",
        f"tb_{made.id}",
        f"tb_{made.id}_",
        f"{token}x",
        "x" * 9_000,
        "e30.e30.",
        "shared2",
    ]
    for wrong in forged:
        assert await attempt(server, edge, wrong) == "Unauthenticated: the token is wrong"
    assert (await attempt(server, edge)).startswith("Unauthenticated: this hub requires a token")
    assert await attempt(server, edge, "shared") == LET_IN


async def _call_on_and_on(bridge: GRPCToolBridge) -> None:
    while True:
        await bridge.tools["echo"](1)


@pytest.mark.parametrize("edge", ["link", "tcp", "socket"])
async def test_a_link_ends_soon_after_its_token_and_its_client_goes_on_with_a_fresh_one(
    tokens: Path, edge: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewal, "CHECK_SECONDS", 0.02)
    monkeypatch.setattr(renewal, "DRAIN_SECONDS", 0.02)
    token, made = add_token(tokens, "bot")
    async with hub_of(tokens_file=tokens, local_socket=edge == "socket") as server:
        more: dict[str, Any] = {"link_address": server.link_address} if edge == "tcp" else {}
        given = [token]
        async with GRPCToolBridge(server.address, token=lambda: given[-1], **more) as bridge:
            await soon(bridge.initialize())
            given.append(add_token(tokens, "bot")[0])
            links = set(server._server._links._links)
            revoke_token(tokens, made.id)
            await until(lambda: not links & server._server._links._links)
            assert await soon(bridge.tools["echo"](1)) == 1
            revoke_token(tokens, given[-1].split("_")[1])
            with pytest.raises(ToolBridgeError, match="was revoked"):
                await soon(_call_on_and_on(bridge))


async def test_what_the_file_says_of_groups_counts_for_links_that_are_open(
    tokens: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewal, "CHECK_SECONDS", 0.02)
    token, _ = add_token(tokens, "bot", ["readers"])
    async with hub_of(tokens_file=tokens) as server, GRPCToolBridge(server.address, token=token) as bridge:
        await soon(bridge.initialize())
        (link,) = server._server._links._links
        assert link.principal is not None
        assert link.principal.groups == {"readers"}
        rewrite(tokens, "readers", "writers")
        await until(lambda: link.principal is not None and link.principal.groups == {"writers"})


async def test_a_browser_is_logged_in_until_its_token_is_revoked(server: BridgeServer, tokens: Path) -> None:
    import httpx

    token, made = add_token(tokens, "ann")
    async with httpx.AsyncClient(base_url=f"http://{server.http_address}") as client:
        assert (await soon(client.post("/api/login", json={"token": "wrong"}))).status_code == 401
        assert (await soon(client.post("/api/login", json={"token": token}))).status_code == 200
        assert (await soon(client.get("/api/tools"))).status_code == 200
        revoke_token(tokens, made.id)
        assert (await soon(client.get("/api/tools"))).status_code == 401


async def test_an_authenticator_of_ones_own_is_asked_over_each_way() -> None:
    from grpc_tool_bridge.errors import AccessError
    from grpc_tool_bridge.rpc.authentication import PeerInfo, Principal

    class Own:
        def authenticate(self, peer: PeerInfo) -> Principal:
            if peer.bearer_token() != b"sesame":
                raise AccessError("say the word", error_type="Unauthenticated")
            return Principal("ali", expires_at=time.time() + 60)

    settings = Settings(link_address="127.0.0.1:0", shutdown_grace=0)
    async with BridgeServer(http_address="127.0.0.1:0", settings=settings, authenticator=Own()) as server:
        for edge in EDGES:
            assert await attempt(server, edge, "sesame") == LET_IN
            assert await attempt(server, edge, "open") == "Unauthenticated: say the word"


@pytest.mark.parametrize("edge", EDGES)
async def test_a_jwt_says_who_its_caller_is(tmp_path: Path, edge: str, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = tmp_path / "jwks.json"
    keys.write_bytes(jwks_of("rsa", "ed"))
    async with hub_of(jwt_issuer=ISSUER, jwt_audience=[AUDIENCE], jwt_keys=str(keys)) as server:
        with principals(monkeypatch) as found:
            assert await attempt(server, edge, token_of("ed")) == LET_IN
        assert {(item.name, item.groups, item.method) for item in found} == {("ann", frozenset({"analysts"}), "jwt")}
        _, claims, signature = token_of().split(".")
        for wrong, text in (
            (token_of("rsa-2", kid="rsa"), "the token's signature is wrong"),
            (f"{part({'alg': 'none'})}.{claims}.", "the token is signed with 'none'"),
            (f"{part({'alg': 'HS256'})}.{claims}.{signature}", "the token is signed with 'HS256'"),
            (token_of(exp=1), "the token has expired"),
            (token_of(nbf=4_000_000_000), "the token is not valid yet"),
            (token_of(aud="https://other.example"), "the token is for another audience"),
            (token_of(iss="https://other.example"), "the token is of another issuer"),
            (token_of(kid="other"), "the token is signed with the key 'other'"),
        ):
            assert (await attempt(server, edge, wrong)).startswith(f"Unauthenticated: {text}")


@pytest.mark.parametrize("edge", EDGES)
async def test_while_the_keys_are_fetched_a_caller_is_told_to_try_again(edge: str) -> None:
    with KeyServer.serving(b"{}") as keys:
        async with hub_of(jwt_issuer=ISSUER, jwt_audience=[AUDIENCE], jwt_keys=keys.url) as server:
            found = await attempt(server, edge, token_of())
    assert found.partition(": ")[0] in ("UNAVAILABLE", "WorkerUnavailable")
    assert "are being fetched; try again" in found


async def test_a_user_of_the_machine_needs_no_token_at_the_local_socket_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    async with hub_of(unix_users=[f"{os.geteuid()}=me"], token="word") as server:
        with principals(monkeypatch) as found:
            assert await attempt(server, "socket") == LET_IN
        assert {(item.name, item.method) for item in found} == {("me", "user")}
        for edge in ("rpc", "link", "tcp", "http", "mcp"):
            assert (await attempt(server, edge)).startswith("Unauthenticated: this hub requires a token")
        assert await attempt(server, "socket", "wrong") == "Unauthenticated: the token is wrong"
    async with hub_of(unix_users=["*"]) as server:
        with principals(monkeypatch) as found:
            assert await attempt(server, "socket") == LET_IN
        assert {item.name for item in found} == {pwd.getpwuid(os.geteuid()).pw_name}
    other = os.geteuid() + 1
    async with hub_of(unix_users=[str(other)]) as server:
        assert (await attempt(server, "socket")).startswith(f"Unauthenticated: the user {os.geteuid()} needs a token")


async def test_the_start_message_and_doctor_say_how_callers_prove_who_they_are(tokens: Path) -> None:
    async with hub_of(tokens_file=tokens, unix_users=["*"]) as server:
        assert "(a token of their own or the user of their process needed)" in _heading(server, 1, None, "").plain
        assert _facts(server, None)["identities"] == ["a token of their own", "the user of their process"]
        file = tokens.parent / "token"
        save(file, add_token(tokens, "bot")[0])
        found = [check async for check in examine(HubOptions(address=server.address, token_file=file))]
        said = {check.name: check.text for check in found}
        assert said["identity"] == "callers show one of these: a token of their own, the user of their process"
        assert said["token"] == "accepted"
