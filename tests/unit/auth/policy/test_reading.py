"""Reading a policy: what is wrong is named by line, rule and field."""

from pathlib import Path

import pytest

from grpc_tool_bridge.auth.policy.model import Action
from grpc_tool_bridge.auth.policy.reading import MAX_RULES, parse_policy, read_policy
from grpc_tool_bridge.errors import ValidationError

GOOD = """
# Who may see the weather.
[[rules]]
name = "weather"
allow = ["call", "stream"]
principals = ["reports-*"]
groups = ["analysts"]
resources = ["weather.*"]

[[rules]]
name = "no secrets"
deny = ["*"]
principals = ["*"]
resources = ["*secret*"]
"""


def test_rules_are_read_with_their_lines() -> None:
    weather, secrets = parse_policy(GOOD).rules
    assert (weather.name, weather.allows, weather.line) == ("weather", True, 3)
    assert weather.actions == {Action.CALL, Action.STREAM}
    assert weather.principals == {"reports-*"}
    assert weather.groups == {"analysts"}
    assert weather.resources == {"weather.*"}
    assert (secrets.allows, secrets.line, len(secrets.actions)) == (False, 10, len(Action))
    assert str(secrets) == "rule 'no secrets' (deny, line 10)"


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("allow =", "alow =", r"line 5: rule 1 \('weather'\): alow: unknown field; did you mean allow\?"),
        ('"call"', '"cal"', r"line 5: rule 1 \('weather'\): allow: 'cal' is no action; did you mean call"),
        ('principals = ["reports-*"]', 'principals = "bob"', r"line 6: .*principals: must be a list: \['bob'\]"),
        ('resources = ["weather.*"]', "", r"line 3: .*resources: is missing; list names of tools"),
        ('["*secret*"]', '[""]', r"line 14: rule 2 .*resources: has ''"),
        ('["*secret*"]', '["*********"]', r"resources: '\*+' has over 8 stars"),
        ('name = "no secrets"', 'name = "weather"', r"line 11: rule 2 .*name: rule 1 has the same name"),
        ('name = "weather"', "name = 3", r"line 4: rule 1: name: must be a text"),
        ('deny = ["*"]', 'deny = ["*"]\nallow = ["call"]', r"line 10: .*must have one of allow and deny"),
        ('deny = ["*"]', "deny = []", r"line 12: .*deny: is empty; list actions: call, stream"),
        ('principals = ["*"]', "", r"line 10: .*says nobody"),
        ('deny = ["*"]', 'deny = ["administer"]', ""),
        ("[[rules]]", "[[rule]]", r"unknown table or field 'rule'; did you mean rules\?"),
        ("[[rules]]", "[[rules]", "is not valid TOML: .*line 3"),
        ('"*secret*"', '"' + "x" * 300 + '"', "has a text of 300 characters"),
    ],
)
def test_what_is_wrong_is_said(before: str, after: str, said: str) -> None:
    text = GOOD.replace(before, after)
    assert text != GOOD
    if not said:
        parse_policy(text)
        return
    with pytest.raises(ValidationError, match=said):
        parse_policy(text, "policy.toml")


def test_a_part_that_no_hub_has_is_a_slip() -> None:
    text = '[[rules]]\nname = "ops"\nallow = ["administer"]\ngroups = ["ops"]\nresources = ["worker"]\n'
    with pytest.raises(ValidationError, match=r"line 5: .*'worker' is no part of a hub; did you mean workers"):
        parse_policy(text)


def test_an_empty_policy_is_one_and_allows_nothing() -> None:
    assert parse_policy("").rules == ()


def test_there_is_a_limit_to_rules() -> None:
    rule = '[[rules]]\nname = "{}"\nallow = ["call"]\nprincipals = ["a"]\nresources = ["*"]\n'
    with pytest.raises(ValidationError, match="the limit is"):
        parse_policy("".join(rule.format(number) for number in range(MAX_RULES + 1)))


def test_a_file_that_all_can_change_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(GOOD)
    assert len(read_policy(path).rules) == 2
    path.chmod(0o666)
    with pytest.raises(ValidationError, match="every user of this machine can change it"):
        read_policy(path)


def test_what_is_no_text_is_said(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_bytes(b"\xff")
    with pytest.raises(ValidationError, match="is not UTF-8"):
        read_policy(path)
