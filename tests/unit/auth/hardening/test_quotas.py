"""Callers that may take all there is."""

from pathlib import Path
from typing import Any

import pytest

from grpc_tool_bridge.auth.hardening.quotas import quotas
from unit.auth.hardening.deployments import TOKEN, found, hub, texts

TEAM = '[[quotas]]\ngroups = ["team"]\nconcurrent_calls = 50\n'
ALL = '[[quotas]]\nprincipals = ["*"]\ncalls_per_minute = 600\n'
APART: dict[str, Any] = {"tokens_file": "tokens"}


@pytest.mark.parametrize(
    ("text", "settings", "status"),
    [
        (TEAM + ALL, APART, "ok"),
        (TEAM, APART, "warn"),
        ("", APART, "warn"),
        (ALL, {"token": TOKEN}, "fail"),
        ("quotas = 3", APART, "fail"),
    ],
)
def test_each_caller_has_a_quota(tmp_path: Path, text: str, settings: dict[str, Any], status: str) -> None:
    path = tmp_path / "quotas.toml"
    path.write_text(text)

    assert found(quotas, hub({"quotas": path, **settings})) == [("quotas", status)]


def test_none_matter_where_callers_are_told_apart(tmp_path: Path) -> None:
    assert found(quotas, hub()) == []
    assert found(quotas, hub(APART)) == [("quotas", "warn")]
    assert "serve refuses to start" in texts(quotas, hub({**APART, "quotas": tmp_path / "none"}))
