"""Agents that are declared are checked before anything is served."""

from typing import Any

import pytest

from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.gateway.declared_agents import check_declared


def test_signatures_by_name_are_taken() -> None:
    declared = {"ask": "question -> answer", "judge.v2-x_y": "text -> label: Literal['a', 'b']\nBe strict."}
    assert check_declared(declared) == declared
    assert check_declared(None) == check_declared({}) == {}


@pytest.mark.parametrize(
    ("declared", "problem"),
    [
        (["ask"], "mcp_agents is .* must be a dict of signatures by name"),
        ({"": "a -> b"}, "the agent ''"),
        ({"two words": "a -> b"}, "the agent 'two words': a name has 1 to 128 letters"),
        ({"x" * 129: "a -> b"}, "a name has 1 to 128 letters"),
        ({7: "a -> b"}, "the agent 7"),
        ({"ask": None}, "the agent ask: a signature is a text such as"),
        ({"ask": "question"}, "the agent ask: signature 'question': it needs exactly one '->'"),
        ({"ask": "q -> a: os.PathLike"}, "the agent ask: .*'os.PathLike' is not a type"),
    ],
)
def test_what_cannot_be_used_is_named(declared: Any, problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        check_declared(declared)
