"""Decisions: which rule decides, and that many rules are no more work."""

from collections import Counter
from typing import Any

import pytest

from grpc_tool_bridge.auth.policy import decisions as module
from grpc_tool_bridge.auth.policy import globs
from grpc_tool_bridge.auth.policy.decisions import MAX_DECISIONS, MAX_PRINCIPALS, Decisions
from grpc_tool_bridge.auth.policy.model import Action
from grpc_tool_bridge.auth.policy.reading import parse_policy
from grpc_tool_bridge.rpc.authentication import Principal

BOB, ANA = Principal("bob"), Principal("ana", frozenset({"team"}))
POLICY = """
[[rules]]
name = "team"
allow = ["call", "read"]
groups = ["team"]
resources = ["weather.*", "plan"]
[[rules]]
name = "bob"
allow = ["call"]
principals = ["b?b"]
resources = ["*"]
[[rules]]
name = "never"
deny = ["call"]
principals = ["*"]
resources = ["*.delete"]
"""


def test_a_rule_that_denies_wins_and_what_no_rule_allows_is_denied() -> None:
    found = Decisions(parse_policy(POLICY))
    assert found.decide(ANA, Action.CALL, "weather.now").rule == "team"
    assert found.decide(BOB, Action.CALL, "weather.now").rule == "bob"
    denied = found.decide(BOB, Action.CALL, "weather.delete")
    assert not denied
    assert (denied.rule, denied.why) == ("never", "rule 'never' (deny, line 12) decides")
    nothing = found.decide(BOB, Action.READ, "plan")
    assert not nothing
    assert nothing.rule == ""
    assert nothing.why == "no rule allows bob to read anything"
    assert "has this resource" in found.decide(ANA, Action.READ, "other").why
    assert "no rule is for eve" in Decisions(parse_policy("")).decide(Principal("eve"), Action.CALL, "x").why
    assert found.of(BOB).denies(Action.CALL, "x.delete")
    assert not found.of(BOB).denies(Action.READ, "x.delete")


def test_groups_belong_to_the_principal_not_to_its_name() -> None:
    found = Decisions(parse_policy(POLICY))
    assert found.decide(Principal("ana", frozenset({"team"})), Action.CALL, "weather.now")
    assert not found.decide(Principal("ana"), Action.CALL, "weather.now")


def test_versions_of_a_tool_are_called_by_its_name() -> None:
    rules = Decisions(parse_policy(POLICY)).of(BOB)
    assert rules.may_call("weather.now@2")
    assert not rules.may_call("weather.delete@2")
    assert rules.calls == {"weather.now@2": True, "weather.delete@2": False}


def test_what_was_decided_is_kept_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Decisions(parse_policy(POLICY))
    rules = found.of(BOB)
    first = found.decide(BOB, Action.CALL, "x")
    assert found.decide(BOB, Action.CALL, "x") is first
    for number in range(2 * MAX_DECISIONS):
        rules.decide(Action.CALL, f"x{number}")
        rules.may_call(f"x{number}")
    assert len(rules._known) <= MAX_DECISIONS
    assert len(rules.calls) <= MAX_DECISIONS
    for number in range(2 * MAX_PRINCIPALS):
        found.of(Principal(f"p{number}"))
    assert len(found._by_id) <= MAX_PRINCIPALS
    assert len(found._by_key) <= MAX_PRINCIPALS


def test_a_thousand_rules_are_as_much_work_as_ten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts the globs that are looked at one by one, for a resource that was not asked for before."""
    seen: Counter[int] = Counter()

    def looks(count: int) -> Any:
        rule = (
            '[[rules]]\nname = "{0}"\nallow = ["call"]\nprincipals = ["p{0}", "bob"]\nresources = ["t{0}.*", "x{0}"]\n'
        )
        found = Decisions(parse_policy("".join(rule.format(number) for number in range(count))))
        real = globs.matches
        monkeypatch.setattr(globs, "matches", lambda *args: (seen.update([count]), real(*args))[1])
        assert found.decide(BOB, Action.CALL, "t7.a")
        assert not found.decide(BOB, Action.CALL, "nothing")
        monkeypatch.setattr(globs, "matches", real)
        (allowing,) = found.of(BOB)._allowing.values()
        return len(allowing._prefixes) + len(allowing._suffixes)

    assert looks(1_000) <= looks(10) + 4
    assert not seen
    assert module.Decisions is Decisions
