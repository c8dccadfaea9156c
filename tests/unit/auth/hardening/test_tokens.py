"""Tokens that are weak, old, or never expire."""

import json
from pathlib import Path
from typing import Any

import pytest

from grpc_tool_bridge.auth.hardening.tokens import DAY, named_tokens, shared_token
from grpc_tool_bridge.auth.identity.tokens_file import iso_time
from unit.auth.hardening.deployments import NOW, SECRET, TOKEN, found, hub, secret_file, texts


def line(name: str, *, age: float = 1.0, days: float | None = 60.0, number: int = 0) -> str:
    """Returns a line of a file of tokens: how old the token is, and in how many days it expires."""
    fields: dict[str, Any] = {"id": f"{name}{'a' * 12}"[:11] + "abcdefg"[number], "name": name, "groups": []}
    ends = None if days is None else iso_time(NOW + days * DAY)
    fields |= {"salt": "00", "hash": "11", "created": iso_time(NOW - age * DAY), "expires": ends}
    return json.dumps(fields) + "\n"


@pytest.mark.parametrize(
    ("lines", "status", "said"),
    [
        ([line("ann")], "ok", "all expire"),
        ([line("ann", days=None)], "warn", "never expire: ann"),
        ([line("ann", age=400)], "warn", "over a year old: ann"),
        ([line("ann", days=3)], "warn", "within 14 days and are not replaced: ann"),
        ([line("ann", days=3), line("ann", number=1)], "ok", "all expire"),
        ([line("ann", age=90), line("ann", age=30, number=1)], "warn", "two are valid for over 14 days for ann"),
        ([line("ann", days=-1)], "warn", "no valid token"),
        ([], "warn", "no valid token"),
        (["nonsense\n"], "fail", "serve refuses to start"),
    ],
)
def test_a_token_by_name_expires_and_is_replaced(tmp_path: Path, lines: list[str], status: str, said: str) -> None:
    made = hub({"tokens_file": secret_file(tmp_path, "tokens", "".join(lines))})

    assert found(named_tokens, made) == [("tokens", status)]
    assert said in texts(named_tokens, made)


def test_a_long_list_is_cut(tmp_path: Path) -> None:
    many = "".join(line(chr(ord("a") + number) * 3, days=None) for number in range(8))

    assert "8 tokens never expire" in texts(named_tokens, hub({"tokens_file": secret_file(tmp_path, "tokens", many)}))
    assert "and 3 more" in texts(named_tokens, hub({"tokens_file": secret_file(tmp_path, "tokens", many)}))


def test_a_token_for_all_is_long_and_in_a_file(tmp_path: Path) -> None:
    assert found(shared_token, hub()) == []
    assert found(shared_token, hub({"token_file": secret_file(tmp_path, "token")})) == [("token", "ok")]
    assert found(shared_token, hub({"token_file": secret_file(tmp_path, "short", "abc")})) == [("token", "fail")]
    assert found(shared_token, hub({"token": TOKEN})) == [("token", "warn")]
    assert SECRET not in texts(shared_token, hub({"token": TOKEN}))
    assert found(shared_token, hub({"token_file": secret_file(tmp_path, "empty", " ")})) == [("token", "fail")]
