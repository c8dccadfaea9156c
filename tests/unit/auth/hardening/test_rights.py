"""What a policy leaves to everybody."""

from pathlib import Path
from typing import Any

import pytest

from grpc_tool_bridge.auth.hardening.rights import policy
from unit.auth.hardening.deployments import TOKEN, found, hub, texts

RULE = '[[rules]]\nname = "some"\n{effect} = {actions}\nprincipals = {who}\nresources = {what}\n'


def rule(actions: str = '["call"]', who: str = '["ann"]', what: str = '["weather.*"]', effect: str = "allow") -> str:
    return RULE.format(actions=actions, who=who, what=what, effect=effect)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (rule(), "ok"),
        (rule('["*"]', '["*"]', '["*"]'), "fail"),
        (rule('["administer"]', '["*"]', '["hubs"]'), "warn"),
        (rule('["register"]', '["*"]', '["work.*"]'), "warn"),
        (rule('["approve"]', '["*"]', '["pay"]'), "warn"),
        (rule('["call"]', '["*"]', '["*"]'), "warn"),
        (rule('["call"]', '["*"]'), "ok"),
        (rule('["*"]', '["*"]', '["*"]', effect="deny"), "ok"),
        ("", "warn"),
        ("rules = 3", "fail"),
    ],
)
def test_a_rule_for_everybody_is_told(tmp_path: Path, text: str, status: str) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(text)

    assert found(policy, hub({"policy": path, "tokens_file": "tokens"})) == [("policy", status)]


@pytest.mark.parametrize("settings", [{}, {"token": TOKEN}, {"tokens_file": "tokens"}])
def test_no_policy_is_told(settings: dict[str, Any]) -> None:
    assert found(policy, hub(settings)) == [("policy", "warn")]
    assert ("administer" in texts(policy, hub(settings))) is ("tokens_file" not in settings)


def test_a_policy_needs_callers_that_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(rule())

    assert found(policy, hub({"policy": path})) == [("policy", "fail"), ("policy", "ok")]
    assert found(policy, hub({"policy": path, "token": TOKEN})) == [("policy", "warn")]
    assert found(policy, hub({"policy": tmp_path / "none", "tokens_file": "t"})) == [("policy", "fail")]
