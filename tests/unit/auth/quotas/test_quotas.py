import logging
import os
from pathlib import Path

import pytest

from grpc_tool_bridge.auth.quotas import quotas as module
from grpc_tool_bridge.auth.quotas.quotas import QuotaFile, Quotas
from grpc_tool_bridge.auth.quotas.rules import QuotaRule
from grpc_tool_bridge.rpc.authentication import Principal

ANALYST = Principal("reports", frozenset({"analysts"}))
RULES = (QuotaRule(groups=frozenset({"analysts"}), sessions=1), QuotaRule(("*",), sessions=2))


def test_the_first_rule_that_applies_is_the_quota_of_a_principal() -> None:
    quotas = Quotas(RULES, 10)
    analyst, other = quotas.of(ANALYST), quotas.of(Principal("other"))
    assert analyst is not None
    assert other is not None
    assert (analyst.rule, other.rule) == RULES
    assert Quotas(RULES[:1], 10).of(Principal("other")) is None


def test_each_principal_has_a_quota_of_its_own_whatever_token_it_comes_with() -> None:
    quotas = Quotas(RULES, 10)
    assert quotas.of(ANALYST) is quotas.of(Principal("reports", frozenset({"analysts", "more"})))
    assert quotas.of(ANALYST) is not quotas.of(Principal("other", frozenset({"analysts"})))


def test_other_rules_keep_what_was_used_by_those_whose_rule_stays() -> None:
    quotas = Quotas(RULES, 10)
    analyst, other = quotas.of(ANALYST), quotas.of(Principal("other"))
    quotas.replace((QuotaRule(groups=frozenset({"analysts"}), sessions=1), QuotaRule(("*",), sessions=3)))
    assert quotas.of(ANALYST) is analyst
    assert quotas.of(Principal("other")) is not other


def test_what_is_remembered_of_principals_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PRINCIPALS", 10)
    quotas = Quotas(RULES, 10)
    for number in range(100):
        quotas.of(Principal(f"p{number}"))
    assert len(quotas._usages) == len(quotas._by_name) == 10


def test_refusals_are_counted() -> None:
    quotas = Quotas((QuotaRule(("*",), calls_per_minute=1),), 10)
    used = quotas.of(ANALYST)
    assert used is not None
    used.take(1)
    with pytest.raises(Exception, match="a minute"):
        used.take(1)
    assert quotas.refused() == 1


async def test_a_file_that_changes_is_read_again_and_a_bad_one_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "quotas.toml"

    def write(text: str, at: int) -> None:
        path.write_text(text)
        os.utime(path, ns=(at, at))

    write('[[quotas]]\nprincipals = ["*"]\nsessions = 1\n', 1)
    file = QuotaFile(path, 10)
    assert not await file.look()
    write('[[quotas]]\nprincipals = ["*"]\nsessions = 5\n', 2)
    assert await file.look()
    used = file.quotas.of(ANALYST)
    assert used is not None
    assert used.rule.sessions == 5
    write("[[nothing]]", 3)
    with caplog.at_level(logging.ERROR):
        assert not await file.look()
        assert not await file.look()
    assert [record.message for record in caplog.records if "stay as they were" in record.message] == [
        f"the quotas stay as they were: {path}: unknown table or field 'nothing'; write [[quotas]] above each quota"
    ]
    path.unlink()
    assert not await file.look()
    assert file.quotas.of(ANALYST) is used


def test_the_count_of_refusals_does_not_fall_with_other_rules_or_with_who_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_PRINCIPALS", 2)
    quotas = Quotas((QuotaRule(("*",), calls_per_minute=1),), 10)
    for name in ("a", "b", "c", "d"):
        used = quotas.of(Principal(name))
        assert used is not None
        used.take(1)
        with pytest.raises(Exception, match="a minute"):
            used.take(1)
    assert quotas.refused() == 4
    quotas.replace((QuotaRule(("*",), calls_per_minute=2),))
    for name in ("d", "e", "f"):
        quotas.of(Principal(name))
    assert quotas.refused() == 4
    assert len(quotas._by_name) == 2
