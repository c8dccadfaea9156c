"""Which words of tools and queries are compared."""

import pytest

from grpc_tool_bridge.llm.search_words import (
    MAX_ARGUMENTS_CHARS,
    MAX_DESCRIPTION_CHARS,
    MAX_QUERY_WORDS,
    plain_name,
    query_words,
    texts_of,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ArgumentSpec, ToolSpec


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("get_weather", "get weather"),
        ("files.read-all", "files read all"),
        ("getHTTPResponse", "get HTTP Response getHTTPResponse"),
        ("toUtf8", "to Utf 8 toUtf8"),
        ("天气", " 天  气 "),
    ],
)
def test_a_name_is_split_into_its_words(name: str, words: str) -> None:
    assert texts_of(ToolSpec(name=name))[0] == words


def test_the_arguments_are_indexed_with_their_descriptions_their_values_and_the_examples() -> None:
    unit = ArgumentSpec(name="tempUnit", description="Of the answer.", allowed_values=["celsius", "kelvin"])
    spec = ToolSpec(name="a", arguments=[unit], examples=["a('Paris')"])
    assert texts_of(spec)[2] == "temp Unit tempUnit Of the answer. celsius kelvin a('Paris')"


def test_a_tool_that_lists_no_arguments_has_those_of_its_schema() -> None:
    schema = """{"properties": {"city": {"title": "City", "description": "Where.", "enum": ["Rome", 1]}, "other": 5}}"""
    assert texts_of(ToolSpec(name="a", input_schema=schema))[2].split() == ["city", "City", "Where.", "Rome", "other"]
    for broken in ("[", "[]", '{"properties": 1}', "[" * 100_000):
        assert texts_of(ToolSpec(name="a", input_schema=broken))[2].strip() == ""


def test_of_one_tool_only_so_much_is_indexed() -> None:
    many = [ArgumentSpec(name=f"a{number}", description="x" * 100_000) for number in range(1_000)]
    _, description, arguments = texts_of(ToolSpec(name="a", description="x" * 100_000, arguments=many))
    assert len(description) == MAX_DESCRIPTION_CHARS
    assert len(arguments) <= MAX_ARGUMENTS_CHARS + 1


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("Weather in a city", ["weather", "city"]),
        ("weather WEATHER", ["weather"]),
        ("getUser", ["get", "user", "getuser"]),
        ('"a NEAR(b) *', ["near", "b"]),
        ("to do", ["to", "do"]),
        ("天气预报", ["天 气", "气 预", "预 报"]),
        ("天 x", ["天", "x"]),
        ("", []),
        ("*?!", []),
        ("\ud800", []),
    ],
)
def test_a_query_has_the_words_that_say_something(query: str, words: list[str]) -> None:
    assert query_words(query) == words


def test_of_a_long_query_the_first_words_count() -> None:
    words = query_words(" ".join(f"word{chr(97 + number % 26)}{chr(97 + number // 26)}" for number in range(600)))
    assert len(words) == MAX_QUERY_WORDS
    assert words[0] == "wordaa"


def test_names_are_alike_without_case_and_separators() -> None:
    assert {plain_name(name) for name in ("get_user", "getUser", "Get user", "GET-USER.")} == {"getuser"}
