"""The index of tools: what is found, in which order, and that any query is safe."""

import gc
import sqlite3
import sys
from collections.abc import Iterable
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from grpc_tool_bridge.errors import UnimplementedError, ValidationError
from grpc_tool_bridge.llm import tool_search
from grpc_tool_bridge.llm.tool_search import MAX_LIMIT, ToolIndex
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ArgumentSpec, ToolSpec


def put(index: ToolIndex, specs: Iterable[ToolSpec]) -> None:
    index.change({spec.name: spec for spec in specs})


def tool(name: str, description: str = "", **arguments: str) -> ToolSpec:
    told = [ArgumentSpec(name=argument, description=text) for argument, text in arguments.items()]
    return ToolSpec(name=name, description=description, arguments=told)


TOOLS = [
    tool("weather_now", "The present weather.", city="Name of the city"),
    tool("forecast", "The weather of the next days in a city.", city="Where", days="How many"),
    tool("send_email", "Sends a letter to somebody.", address="Who gets it", subject="In a line"),
    tool("getUserAccount", "Looks somebody up.", login="Name"),
    tool("files.read", "Reads a file.", path="Which"),
    tool("files.write", "Writes a file.", path="Which", content="What"),
    tool("add", "Adds numbers.", a="A number", b="Another one"),
    tool("查询", "查询城市天气", 城市="哪里"),
]


def index_of(specs: Iterable[ToolSpec]) -> ToolIndex:
    index = ToolIndex()
    put(index, specs)
    return index


@pytest.fixture(scope="module")
def index() -> ToolIndex:
    return index_of(TOOLS)


def names(index: ToolIndex, query: str, **options: Any) -> list[str]:
    return [found.name for found in index.search(query, **options)]


def test_a_result_says_all_of_its_tool(index: ToolIndex) -> None:
    found = index.search("numbers")[0]
    assert (found.name, found.description, found.spec) == ("add", "Adds numbers.", TOOLS[6])
    assert found.score > 0


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("weather in a city", "weather_now"),
        ("what will the weather be in the next days?", "forecast"),
        ("mailing an address", "send_email"),
        ("user account", "getUserAccount"),
        ("getuseraccount", "getUserAccount"),
        ("read", "files.read"),
        ("reading of files", "files.read"),
        ("content", "files.write"),
        ("forec", "forecast"),
        ("天气", "查询"),
        ("FORECAST", "forecast"),
        ("Files Write", "files.write"),
        ("adds", "add"),
    ],
)
def test_the_best_match_comes_first(index: ToolIndex, query: str, first: str) -> None:
    assert names(index, query)[0] == first


def test_not_every_word_has_to_match_and_what_matches_more_comes_first(index: ToolIndex) -> None:
    assert names(index, "unheard weather city unknown")[:2] == ["weather_now", "forecast"]
    assert names(index, "nothing such") == []


def test_a_word_counts_most_in_the_name_and_least_in_an_argument() -> None:
    others = [tool(f"other{number}", "Something else.") for number in range(20)]
    index = index_of([tool("a", "", zebra="x"), tool("b", "A zebra."), tool("zebra_c"), *others])
    assert names(index, "zebra") == ["zebra_c", "b", "a"]


def test_stop_words_do_not_find_tools(index: ToolIndex) -> None:
    others = [tool(f"t{number}", "of the in for") for number in range(50)]
    assert names(index_of([*others, tool("zebra")]), "in the zebra for of") == ["zebra"]


def test_the_tool_that_is_named_comes_first_whatever_matches_better() -> None:
    index = index_of(
        [tool("run", "Starts."), *(tool(f"run_run_{number}", "Run, run, run.") for number in range(20)), tool("Run")]
    )
    assert names(index, "run", limit=3)[:2] == ["run", "Run"]
    assert names(index, " Run ", limit=3)[:2] == ["Run", "run"]
    found = index.search("run", limit=3)
    assert found[0].score > found[2].score


def test_equal_matches_are_ordered_by_name() -> None:
    shuffled = [tool(f"zebra_{letter}") for letter in "dbeca"]
    assert names(index_of(shuffled), "zebra") == [f"zebra_{letter}" for letter in "abcde"]
    assert names(index_of(reversed(shuffled)), "zebra", limit=2) == ["zebra_a", "zebra_b"]


@pytest.mark.parametrize("query", ["", " ", "*", '"', "\0", "☀"])
def test_a_query_without_words_lists_the_tools_by_name(index: ToolIndex, query: str) -> None:
    assert names(index, query, limit=3) == sorted(spec.name for spec in TOOLS)[:3]


def test_only_tools_of_the_prefix_are_found(index: ToolIndex) -> None:
    assert names(index, "", prefix="files.") == ["files.read", "files.write"]
    assert names(index, "which file", prefix="files.w") == ["files.write"]
    assert names(index, "files.read", prefix="add") == []
    assert names(index, "which", prefix="%") == []


def test_only_tools_that_are_allowed_are_found(index: ToolIndex) -> None:
    assert names(index, "weather", allows=lambda spec: spec.name != "weather_now") == ["forecast"]
    assert names(index, "weather_now", allows=lambda spec: len(spec.arguments) > 1) == ["forecast"]


def test_an_error_of_what_allows_is_raised_as_it_is(index: ToolIndex) -> None:
    def allows(spec: ToolSpec) -> bool:
        raise LookupError(spec.name)

    with pytest.raises(LookupError, match=r"^'?weather_now"):
        index.search("present", allows=allows)
    assert names(index, "present") == ["weather_now"]


def test_a_word_that_thousands_have_is_not_left_out_when_few_may_be_found() -> None:
    count = tool_search._MAX_RANKED * 2
    index = index_of([tool(f"t{number}", "common words here") for number in range(count)])
    put(index, [tool("last", "common words here"), tool("rare", "zebra")])
    assert names(index, "common zebra", limit=1) == ["rare"]
    assert names(index, "common zebra", prefix="la") == ["last"]
    assert names(index, "common words", prefix="la") == ["last"]
    assert len(names(index, "common words", limit=5)) == 5


def test_tools_with_each_of_several_common_words_come_before_those_with_one() -> None:
    count = tool_search._MAX_RANKED + 1
    index = index_of([tool(f"a{number}", "common") for number in range(count)])
    put(index, [tool(f"b{number}", "words") for number in range(count)])
    put(index, [tool("both", "common words")])
    assert names(index, "common words", limit=3)[0] == "both"


@pytest.mark.parametrize(("limit", "error"), [(0, "1 or more"), (MAX_LIMIT + 1, "up to 100"), ("8", "whole number")])
def test_a_limit_that_is_none_is_refused(index: ToolIndex, limit: Any, error: str) -> None:
    with pytest.raises(ValidationError, match=error):
        index.search("x", limit=limit)


@pytest.mark.parametrize("wrong", [{"query": None}, {"query": b"x"}, {"query": "x", "prefix": 1}])
def test_a_query_or_prefix_that_is_no_text_is_refused(index: ToolIndex, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="it must be a text"):
        index.search(**wrong)


HOSTILE = [
    *(
        '"',
        '""',
        "a OR",
        "NEAR(a b)",
        "name:add",
        "^add",
        "-add",
        "a*",
        "(",
        "{name} : a",
        "a AND NOT",
        "';--",
        "'",
        "%",
    ),
    *("\0add", "\ud800", "x" * 10_000, '" ' * 5_000, "a " * 5_000, "e\u0301", "👩\u200d👧", "\u202e", "\u017f", "\\"),
]


@pytest.mark.parametrize("query", HOSTILE)
def test_no_query_is_syntax(index: ToolIndex, query: str) -> None:
    index.search(query)
    index.search(query, prefix=query, allows=bool)


@given(st.text(st.characters(), max_size=200), st.text(max_size=5), st.integers(1, MAX_LIMIT))
def test_any_query_gives_tools_of_the_index_in_order_and_each_once(query: str, prefix: str, limit: int) -> None:
    found = SHARED.search(query, prefix=prefix, limit=limit)
    assert len({tool.name for tool in found}) == len(found) <= limit
    assert all(tool.name.startswith(prefix) for tool in found)
    scores = [tool.score for tool in found]
    assert scores == sorted(scores, reverse=True)
    assert found == SHARED.search(query, prefix=prefix, limit=limit)


SHARED = index_of(TOOLS)

WORDS = st.text(st.sampled_from("abAB ._-9é天\0\"'*"), max_size=12)


@given(WORDS.filter(bool), WORDS, WORDS)
def test_any_tool_is_found_by_its_name(name: str, description: str, argument: str) -> None:
    index = index_of([tool(name, description, **{argument: description}), tool("other", "Something else.")])
    assert names(index, name)[0] == name


class Changes(RuleBasedStateMachine):
    """Whatever is added, changed and removed, the index finds what a new one finds."""

    def __init__(self) -> None:
        super().__init__()
        self.index = ToolIndex()
        self.specs: dict[str, ToolSpec] = {}

    @rule(name=st.sampled_from("abcd"), description=st.sampled_from(["zebra", "zebra lion", "lion", ""]))
    def put(self, name: str, description: str) -> None:
        self.specs[name] = tool(name, description)
        put(self.index, [self.specs[name]])

    @rule(gone=st.lists(st.sampled_from("abcde")))
    def remove(self, gone: list[str]) -> None:
        for name in gone:
            self.specs.pop(name, None)
        self.index.change(dict.fromkeys(gone))

    @invariant()
    def it_is_as_a_new_one(self) -> None:
        assert len(self.index) == len(self.specs)
        assert sorted(self.index.names()) == sorted(self.specs)
        new = index_of(self.specs.values())
        for query in ("zebra", "lion zebra", "", "a"):
            mine, other = self.index.search(query), new.search(query)
            assert [(found.name, found.spec) for found in mine] == [(found.name, found.spec) for found in other]
            assert [found.score for found in mine] == pytest.approx([found.score for found in other])


TestChanges = Changes.TestCase


def test_the_spec_of_a_tool_is_that_of_its_last_change(index: ToolIndex) -> None:
    assert index.get("add") == TOOLS[6]
    assert index.get("none") is None


def test_nothing_is_left_of_tools_that_have_changed_or_gone() -> None:
    index = ToolIndex()
    for number in range(100):
        put(index, [tool("a", f"zebra {number}"), tool(f"b{number}")])
        index.change(dict.fromkeys([f"b{number}"]))
    assert {len(kept) for kept in (index._specs, index._rows, index._names, index._alike)} == {1}
    assert index._database.execute("SELECT count(*) FROM tools").fetchone() == (1,)
    assert names(index, "zebra") == ["a"]


def test_an_index_that_nobody_has_is_closed_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    index = index_of(TOOLS)
    database = index._database
    del index
    gc.collect()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        database.execute("SELECT 1")
    assert not recwarn.list


def test_a_python_without_sqlite_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sqlite3", None)
    with pytest.raises(
        UnimplementedError, match=r"cannot be searched: this Python has no sqlite3.*; use a Python with"
    ):
        ToolIndex()


def test_a_sqlite_without_fts5_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    class Plain(sqlite3.Connection):
        def execute(self, statement: str, *values: Any) -> Any:
            return super().execute(statement.replace("fts5", "fts9"), *values)

    without = ModuleType("sqlite3")
    without.__dict__.update(sqlite3.__dict__)
    without.__dict__["connect"] = Plain
    monkeypatch.setitem(sys.modules, "sqlite3", without)
    with pytest.raises(UnimplementedError, match="has no FTS5"):
        ToolIndex()
