"""What the store keeps in plain, and how hubs reach NATS."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from grpc_tool_bridge.auth.hardening.deployment import NatsFacts
from grpc_tool_bridge.auth.hardening.sealing import cluster, sealing
from grpc_tool_bridge.auth.secrets.keys import new_key
from unit.auth.hardening.deployments import TOKEN, found, hub, secret_file, texts

STORE = {"store": "sqlite:////srv/hub.db"}


def test_secrets_in_a_store_need_a_key_in_a_file(tmp_path: Path) -> None:
    key = new_key().line()

    assert found(sealing, hub()) == [("secrets", "ok")]
    assert found(sealing, hub(STORE)) == [("secrets", "warn")]
    with_file = {**STORE, "secrets_key_file": secret_file(tmp_path, "keys", key)}
    assert found(sealing, hub(with_file)) == [("secrets", "ok")]
    assert "all variables" in texts(sealing, hub({**with_file, "secrets_seal_all": True}))
    in_environment = hub({**STORE, "secrets_key": SecretStr(key)})
    assert found(sealing, in_environment) == [("secrets", "warn")]
    assert key not in texts(sealing, in_environment)


def test_a_key_that_the_hub_refuses_is_told(tmp_path: Path) -> None:
    for path in (secret_file(tmp_path, "keys"), tmp_path / "none"):
        assert "serve refuses to start" in texts(sealing, hub({**STORE, "secrets_key_file": path}))


def nats(*, is_local: bool = False, tls: bool = True, has_credentials: bool = False) -> NatsFacts:
    return NatsFacts("tls://nats:4222/hubs", is_local=is_local, tls=tls, has_credentials=has_credentials)


CREDS: dict[str, Any] = {"nats_creds": "hub.creds"}


@pytest.mark.parametrize(
    ("facts", "settings", "status", "refuses"),
    [
        (nats(), CREDS, "ok", False),
        (nats(is_local=True, tls=False), {}, "ok", False),
        (nats(), {}, "fail", True),
        (nats(tls=False), CREDS, "fail", True),
        (nats(tls=False), {"allow_insecure": True, **CREDS}, "fail", False),
        (nats(has_credentials=True), {}, "warn", False),
    ],
)
def test_nats_elsewhere_needs_tls_and_credentials(
    facts: NatsFacts, settings: dict[str, Any], status: str, refuses: bool
) -> None:
    made = hub({"cluster_secret": TOKEN, **settings}, nats=facts)

    assert found(cluster, made)[0] == ("nats", status)
    assert ("serve refuses" in texts(cluster, made)) is refuses


def test_hubs_of_a_cluster_need_a_secret_in_a_file(tmp_path: Path) -> None:
    facts = nats(is_local=True)

    assert found(cluster, hub()) == []
    for settings, status in (
        ({}, "warn"),
        ({"cluster_secret": TOKEN}, "warn"),
        ({"cluster_secret_file": secret_file(tmp_path, "secret")}, "ok"),
        ({"cluster_secret_file": secret_file(tmp_path, "short", "abc")}, "fail"),
        ({"cluster_secret_file": tmp_path / "none"}, "fail"),
    ):
        made = hub(settings, nats=facts)
        assert found(cluster, made)[1:] == [("cluster_secret", status)]
        assert "abc" not in texts(cluster, made)
