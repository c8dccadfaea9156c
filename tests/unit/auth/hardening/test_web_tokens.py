"""JWTs that are believed too much."""

import json
from pathlib import Path
from typing import Any

import pytest

from grpc_tool_bridge.auth.hardening.web_tokens import web_tokens
from unit.auth.hardening.deployments import found, hub, texts

JWT: dict[str, Any] = {
    "jwt_issuer": "https://login.example/", "jwt_audience": "hub", "jwt_keys": "https://login.example/keys",
}  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"jwt_leeway": 120.0}, "jwt_leeway is 120 s"),
        ({"jwt_issuer": "http://login.example/"}, "jwt_issuer is an http:// URL"),
        ({"jwt_keys": "http://127.0.0.1/keys"}, "jwt_keys is an http:// URL"),
        ({"jwt_name_claim": "email"}, "jwt_name_claim is email"),
    ],
)
def test_each_weak_setting_is_told(settings: dict[str, Any], said: str) -> None:
    made = hub({**JWT, **settings})

    assert found(web_tokens, made) == [("jwt", "warn")]
    assert said in texts(web_tokens, made)


def test_the_defaults_are_good_and_no_jwts_are_no_finding() -> None:
    assert found(web_tokens, hub(JWT)) == [("jwt", "ok")]
    assert found(web_tokens, hub()) == []


def test_keys_that_the_hub_would_refuse_are_told(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"keys": [{"kty": "RSA", "n": "sw", "e": "AQAB"}]}))

    assert found(web_tokens, hub({**JWT, "jwt_keys": str(path)})) == [("jwt", "fail")]
    assert found(web_tokens, hub({**JWT, "jwt_keys": str(tmp_path / "none")})) == [("jwt", "fail")]
