from pathlib import Path

import pytest

from grpc_tool_bridge import ValidationError
from grpc_tool_bridge.auth.quotas.rules import QuotaRule, read_quotas
from grpc_tool_bridge.rpc.authentication import Principal


def written(folder: Path, text: str) -> Path:
    path = folder / "quotas.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_of_quotas_is_read_in_order(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
        [[quotas]]
        groups = ["analysts"]
        calls_per_minute = 600
        concurrent_calls = 20

        [[quotas]]
        principals = ["*"]
        sessions = 10
        bytes_per_minute = 50_000_000
        agent_tokens_per_day = 1_000_000
        """,
    )
    assert read_quotas(path) == (
        QuotaRule(groups=frozenset({"analysts"}), calls_per_minute=600, concurrent_calls=20),
        QuotaRule(("*",), sessions=10, bytes_per_minute=50_000_000, agent_tokens_per_day=1_000_000),
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[[quota]]", "unknown table or field 'quota'; did you mean quotas"),
        ("quotas = 3", r"write \[\[quotas\]\] above each"),
        ("[[quotas]]\nsessions = 3", "quota 1 says nobody"),
        ('[[quotas]]\nprincipals = ["a"]', "quota 1 limits nothing"),
        ('[[quotas]]\nprincipals = ["a"]\nsession = 3', "quota 1: unknown field 'session'; did you mean sessions"),
        ('[[quotas]]\nprincipals = "a"\nsessions = 3', "principals must be a list of texts"),
        ('[[quotas]]\nprincipals = [""]\nsessions = 3', "is no text of 1 to 256"),
        ('[[quotas]]\nprincipals = ["a"]\nsessions = 0', "sessions must be an integer of 1 or more, not 0"),
        ('[[quotas]]\nprincipals = ["a"]\nsessions = true', "sessions must be an integer of 1 or more, not True"),
        ('[[quotas]]\nprincipals = ["a"]\nsessions = 1.5', "sessions must be an integer of 1 or more, not 1.5"),
        ("[[quotas", "is not valid TOML"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(text: str, why: str, tmp_path: Path) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ValidationError, match=why) as refused:
        read_quotas(path)
    assert str(path) in refused.value.message


def test_a_file_that_everybody_can_change_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "")
    path.chmod(0o666)
    with pytest.raises(ValidationError, match="chmod o-w"):
        read_quotas(path)


def test_a_rule_applies_by_name_or_by_group() -> None:
    rule = QuotaRule(("reports-*",), frozenset({"analysts"}), sessions=1)
    assert rule.applies_to(Principal("reports-bot"))
    assert rule.applies_to(Principal("x", frozenset({"analysts", "others"})))
    assert not rule.applies_to(Principal("x", frozenset({"others"})))
