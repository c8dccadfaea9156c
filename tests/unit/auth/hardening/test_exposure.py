"""Where a hub listens, and what keeps strangers out there."""

from pathlib import Path
from typing import Any

import pytest

from grpc_tool_bridge.auth.hardening.exposure import http, identities, insecure, mcp, tls
from unit.auth.hardening.deployments import EVERYWHERE, TOKEN, found, hub, texts

OPEN = {"address": EVERYWHERE}
TLS: dict[str, Any] = {"tls_cert": "cert.pem", "tls_key": "key.pem"}


@pytest.mark.parametrize(
    ("settings", "given", "status"),
    [
        ({}, {}, "ok"),
        (TLS, OPEN, "ok"),
        ({}, OPEN, "fail"),
        ({}, {"http": "[::]:8080"}, "fail"),
        ({"link_address": EVERYWHERE}, {}, "fail"),
        ({"allow_insecure": True}, OPEN, "fail"),
        ({}, {"address": "unix:/run/hub.sock"}, "ok"),
    ],
)
def test_an_address_that_others_reach_needs_tls(settings: dict[str, Any], given: dict[str, Any], status: str) -> None:
    assert found(tls, hub(settings, **given)) == [("tls", status)]


def test_what_the_hub_refuses_is_told_as_such() -> None:
    assert "serve refuses to start" in texts(tls, hub({}, **OPEN))
    assert "serve refuses to start" in texts(identities, hub({}, **OPEN))
    for rule in (tls, identities):
        assert "serve refuses" not in texts(rule, hub({"allow_insecure": True}, **OPEN))


@pytest.mark.parametrize(
    ("settings", "given", "statuses"),
    [
        ({}, {}, ["warn"]),
        ({}, OPEN, ["fail"]),
        ({"allow_insecure": True}, OPEN, ["fail"]),
        ({"token": TOKEN}, OPEN, ["warn"]),
        ({"tokens_file": "tokens"}, OPEN, ["ok"]),
        ({"unix_users": "*"}, {}, ["ok"]),
        ({"tokens_file": "tokens", "token": TOKEN}, OPEN, ["ok", "warn"]),
    ],
)
def test_callers_that_are_not_told_apart_are_told(
    settings: dict[str, Any], given: dict[str, Any], statuses: list[str]
) -> None:
    assert [status for _, status in found(identities, hub(settings, **given))] == statuses


@pytest.mark.parametrize(
    ("settings", "given", "status"),
    [({}, {}, "ok"), ({"allow_insecure": True}, {}, "warn"), ({"allow_insecure": True}, OPEN, "fail")],
)
def test_a_check_that_is_switched_off_is_told(settings: dict[str, Any], given: dict[str, Any], status: str) -> None:
    assert found(insecure, hub(settings, **given)) == [("allow_insecure", status)]


@pytest.mark.parametrize(
    ("settings", "where", "expected"),
    [
        ({}, None, [("http", "ok")]),
        ({}, "127.0.0.1:8080", [("http", "warn"), ("origins", "ok")]),
        ({}, "0.0.0.0:8080", [("http", "fail"), ("origins", "ok")]),
        ({"token": TOKEN}, "0.0.0.0:8080", [("http", "ok"), ("origins", "ok")]),
        ({"token": TOKEN, "http_origins": "http://a.example"}, "h:1", [("http", "ok"), ("origins", "warn")]),
        ({"token": TOKEN, "http_origins": "http://localhost:3000"}, "h:1", [("http", "ok"), ("origins", "ok")]),
    ],
)
def test_the_gateway_is_open_without_a_token_and_to_pages_that_come_in_plain(
    settings: dict[str, Any], where: str | None, expected: list[tuple[str, str]]
) -> None:
    assert found(http, hub(settings, http=where)) == expected


def test_mcp_shows_every_tool_unless_they_are_named(tmp_path: Path) -> None:
    web: dict[str, Any] = {"http": "127.0.0.1:8080"}

    assert found(mcp, hub()) == []
    assert found(mcp, hub(**web)) == [("mcp", "warn")]
    assert found(mcp, hub({"mcp_tools": "weather.*"}, **web)) == []
    assert found(mcp, hub({"policy": tmp_path / "policy.toml"}, **web)) == []
    assert found(mcp, hub({"mcp_tools": "weather.*", "mcp_grpc": True})) == [("mcp", "warn")]
