"""Which tools pass a filter."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.llm.tool_filter import (
    MAX_PATTERNS,
    filter_of,
    for_models,
    nothing_passes,
    pattern_for,
    settled,
    with_tags,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec

NAMES = ["weather_now", "weather_", "weather", "files.read", "files", "Weather_now", "a[b]", "a*"]


def passing(tool_filter: Any) -> list[str]:
    passes = filter_of(tool_filter)
    return [name for name in NAMES if passes(ToolSpec(name=name))]


@pytest.mark.parametrize(
    ("tool_filter", "names"),
    [
        ("weather", ["weather"]),
        ("weather_", ["weather_now", "weather_"]),
        ("weather*", ["weather_now", "weather_", "weather"]),
        ("files.", ["files.read"]),
        ("*e?d", ["files.read"]),
        ("[wW]eather_now", ["weather_now", "Weather_now"]),
        (["files", "weather"], ["weather", "files"]),
        ({"files", "a[*]"}, ["files", "a*"]),
        (iter(["files", "*read"]), ["files.read", "files"]),
        (lambda spec: len(spec.name) < 5, ["a[b]", "a*"]),
        ("nothing", []),
        ("*", NAMES),
        (["[w]eather_", "fi*es"], ["weather_now", "weather_", "files"]),
    ],
)
def test_a_filter_is_a_pattern_several_or_a_function(tool_filter: Any, names: list[str]) -> None:
    assert passing(tool_filter) == names


async def decides(spec: ToolSpec) -> bool:
    return True


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ("", "must be a text, such as"),
        ([], "has no pattern"),
        (["a", 1], "a pattern of tool_filter is 1"),
        (b"a", "must be a pattern such as"),
        (5, "must be a pattern such as"),
        ({"a": 1}, "must be a pattern such as"),
        (ToolSpec, "must be a pattern such as"),
        (decides, "not an async one"),
        ("x" * 257, "has 257 characters"),
        ([f"*{number}" for number in range(MAX_PATTERNS + 1)], "101 patterns with wildcards inside; 100 are allowed"),
        (["*a" * 51, "*b" * 50], "2 patterns with wildcards inside; .* 100 stars"),
    ],
)
def test_what_is_no_filter_is_refused(wrong: Any, error: str) -> None:
    with pytest.raises(ValidationError, match=error):
        filter_of(wrong)


def test_there_may_be_as_many_names_as_tools() -> None:
    passes = filter_of([f"tool{number}" for number in range(10_000)] + [f"more{number}_" for number in range(1_000)])
    assert passes(ToolSpec(name="tool9999"))
    assert passes(ToolSpec(name="more999_x"))
    assert not passes(ToolSpec(name="tool10000"))


def test_what_is_read_once_can_be_used_again() -> None:
    kept = settled(iter(["a", "a", "b_"]))
    assert kept == ("a", "b_")
    assert settled(kept) == kept


@given(st.text("ab*?[]!-_.:/", min_size=1, max_size=6), st.text("ab*?[]!-_.:/", min_size=1, max_size=6))
def test_the_pattern_for_a_name_matches_it_alone(name: str, other: str) -> None:
    passes = filter_of(pattern_for(name))
    assert passes(ToolSpec(name=name))
    assert passes(ToolSpec(name=other)) == (name == other)


def test_the_error_shows_the_patterns() -> None:
    assert "tool_filter, 'a', 'b';" in nothing_passes(["a", "b"]).message
    assert "a function;" in nothing_passes(lambda _: False).message


SPECS = [
    ToolSpec(name="get", metadata={"tags": "db,read"}),
    ToolSpec(name="put", metadata={"tags": "db,write"}),
    ToolSpec(name="old", metadata={"tags": "db,read", "deprecated": "use get"}),
    ToolSpec(name="own", metadata={"tags": "read", "hidden": "true"}),
    ToolSpec(name="get@1", metadata={"tags": "db,read"}),
    ToolSpec(name="tag"),
]


@pytest.mark.parametrize(
    ("tool_filter", "names"),
    [
        ("tag:read", ["get", "old", "own", "get@1"]),
        ("tag:db+read", ["get", "old", "get@1"]),
        (["tag:write", "own"], ["put", "own"]),
        (["tag:write", "tag:nothing"], ["put"]),
        ("tag*", ["tag"]),
        ("get@1", ["get@1"]),
    ],
)
def test_a_pattern_may_be_a_tag_or_several(tool_filter: Any, names: list[str]) -> None:
    assert [spec.name for spec in filter(filter_of(tool_filter), SPECS)] == names


@pytest.mark.parametrize("pattern", ["tag:", "tag:a b", "tag:a+", "tag:*"])
def test_a_pattern_of_no_tag_is_refused(pattern: str) -> None:
    with pytest.raises(ValidationError, match="a tag is 1 to 64 letters"):
        filter_of(pattern)


@pytest.mark.parametrize(
    ("tool_filter", "names"),
    [
        (None, ["get", "put", "tag"]),
        ("*", ["get", "put", "tag"]),
        ("tag:read", ["get"]),
        (["old", "own", "get@1"], ["old", "own", "get@1"]),
        (["g*", "own"], ["get", "own"]),
        (lambda spec: "t" in spec.name, ["get", "put", "tag"]),
    ],
)
def test_a_model_is_given_hidden_deprecated_and_older_tools_by_name_alone(tool_filter: Any, names: list[str]) -> None:
    assert [spec.name for spec in filter(for_models(tool_filter), SPECS)] == names


@pytest.mark.parametrize(
    ("tool_filter", "tags", "names"),
    [
        (None, ["db", "read"], ["get", "old", "get@1"]),
        ("get*", ["db"], ["get", "get@1"]),
        ("tag:read", ["db"], ["get", "old", "get@1"]),
        (lambda spec: spec.name != "old", ["read"], ["get", "own", "get@1"]),
    ],
)
def test_tags_are_asked_for_beside_a_filter(tool_filter: Any, tags: list[str], names: list[str]) -> None:
    made = with_tags(tool_filter, tags)
    assert made is not None
    assert [spec.name for spec in filter(filter_of(made), SPECS)] == names


def test_tags_alone_are_a_pattern_that_others_can_read() -> None:
    assert with_tags(None, ["b", "a"]) == "tag:a+b"
    assert with_tags(None, ()) is None
    assert with_tags("x", ()) == "x"
    many = [f"{number}{'x' * 60}" for number in range(9)]
    made = with_tags(None, many)
    assert callable(made)
    assert filter_of(made)(ToolSpec(name="t", metadata={"tags": ",".join(many)}))
