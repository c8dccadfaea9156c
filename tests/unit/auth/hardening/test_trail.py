"""Audit trails that are missing, or that show too little or too much."""

from pathlib import Path
from typing import Any

import pytest

from grpc_tool_bridge.auth.audit.keys import make_key
from grpc_tool_bridge.auth.hardening.trail import audit
from unit.auth.hardening.deployments import found, hub, secret_file, texts


def audited(folder: Path, **settings: Any) -> dict[str, Any]:
    key = folder / "key"
    folder.chmod(0o700)
    if not key.exists():
        make_key(key)
    return {"audit": "file:/var/log/audit.log", "audit_key_file": key, "tokens_file": "tokens", **settings}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"tokens_file": None}, "callers are not told apart"),
        ({"audit_on_failure": "count"}, "audit_on_failure is count"),
        ({"audit_sync": "never"}, "audit_sync is never"),
        ({"audit_arguments": True}, "audit_arguments: who reads"),
        ({"audit_results": True}, "audit_results: who reads"),
        ({"audit": "syslog:udp://log.example:514"}, "in plain"),
        ({"audit": "syslog:tcp://log.example:601"}, "in plain"),
    ],
)
def test_each_weakness_is_told(tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    made = hub(audited(tmp_path, **settings))

    assert found(audit, made) == [("audit", "warn")]
    assert said in texts(audit, made)


@pytest.mark.parametrize("target", ["file:/var/log/a", "stdout", "syslog", "syslog:udp://127.0.0.1:514"])
def test_a_trail_is_good(tmp_path: Path, target: str) -> None:
    assert found(audit, hub(audited(tmp_path, audit=target))) == [("audit", "ok")]


def test_no_trail_and_one_that_the_hub_refuses_are_told(tmp_path: Path) -> None:
    assert found(audit, hub()) == [("audit", "warn")]
    refused = [
        audited(tmp_path, audit="nowhere"),
        audited(tmp_path, audit_key_file=secret_file(tmp_path, "no-key")),
        audited(tmp_path, audit_key_file=tmp_path / "none"),
    ]
    for settings in refused:
        assert "serve refuses to start" in texts(audit, hub(settings))
