"""Bounds that hold nobody."""

import pytest

from grpc_tool_bridge.auth.hardening.limits import BOUNDS, bounds
from grpc_tool_bridge.config import Settings
from unit.auth.hardening.deployments import EVERYWHERE, found, hub, texts


def test_the_defaults_are_within_all_bounds() -> None:
    assert found(bounds, hub()) == [("limits", "ok")]
    assert BOUNDS.keys() <= Settings.model_fields.keys()


@pytest.mark.parametrize("name", BOUNDS)
def test_a_bound_that_is_too_large_is_told_with_what_it_lets_happen(name: str) -> None:
    kind = type(getattr(Settings(), name))
    made = hub({name: kind(BOUNDS[name].most) + kind(1)})

    assert found(bounds, made) == [("limits", "warn")]
    assert texts(bounds, made).startswith(f"{name} is ")


def test_a_bound_that_is_missing_is_told() -> None:
    assert "rate_limit_per_minute" in texts(bounds, hub(address=EVERYWHERE))
    for settings in ({"rate_limit_per_minute": 60}, {"max_tool_calls": 9}, {"quotas": "quotas.toml"}):
        assert found(bounds, hub(settings, address=EVERYWHERE)) == [("limits", "ok")]
    assert "max_store_bytes" in texts(bounds, hub({"store": "sqlite:////srv/hub.db", "max_store_bytes": 0}))
    assert "agent_max_total_tokens" in texts(bounds, hub({"agent_model": "a/b"}))
    assert "agent_max_total_tokens" in texts(bounds, hub(agents=True))
    assert found(bounds, hub({"agent_max_total_tokens": 9}, agents=True)) == [("limits", "ok")]
    assert "audit_keep" in texts(bounds, hub({"audit": "file:/var/log/a", "audit_key_file": "key"}))
