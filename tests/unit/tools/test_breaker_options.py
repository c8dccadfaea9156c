"""When a tool is held back, as its author says."""

from typing import Any

import pytest

from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec
from grpc_tool_bridge.tools.breaker_options import BREAKER_KEY, BreakerRule, breaker_of
from grpc_tool_bridge.tools.tool import tool


def search() -> None:
    """Searches."""


@pytest.mark.parametrize("given", [{"failures": 5, "seconds": 30}, {"failures": 0}, {"seconds": 0.5}, {}])
def test_what_the_option_says_is_in_the_spec(given: dict[str, Any]) -> None:
    assert breaker_of(tool(breaker=given)(search).spec) == BreakerRule(**given)


def test_a_tool_without_the_option_says_nothing() -> None:
    spec = tool(search).spec
    assert BREAKER_KEY not in spec.metadata
    assert breaker_of(spec) == BreakerRule()


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"failure": 5}, "search: breaker has no 'failure'; did you mean failures?"),
        ({"xyz": 5}, "its fields are failures and seconds"),
        ({"failures": -1}, "failures is -1; it must be a whole number, 0"),
        ({"failures": True}, "failures is True; it must be a whole number"),
        ({"seconds": 0}, "seconds is 0; it must be a number above 0"),
        ({"seconds": float("nan")}, "seconds is nan; it must be a number above 0"),
    ],
)
def test_a_wrong_option_is_named(given: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match="search: breaker") as caught:
        tool(breaker=given)(search)
    assert text in str(caught.value)


def test_an_option_that_is_no_dict_is_refused() -> None:
    wrong: Any = 5
    with pytest.raises(TypeError, match="search: breaker must be a dict such as"):
        tool(breaker=wrong)(search)


@pytest.mark.parametrize("text", ["5", "{", '{"failures": "5"}', '{"failures": 1, "secs": 2}', "[" * 100_000])
def test_metadata_of_a_peer_that_says_nonsense_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match=r"tool 'search': metadata\['breaker'\]"):
        breaker_of(ToolSpec(name="search", metadata={BREAKER_KEY: text}))
