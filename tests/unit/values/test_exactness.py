"""Which containers JSON restores unchanged, and that nothing else is taken for one of them."""

import enum
import json
from collections import OrderedDict
from math import inf, isfinite, nan
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grpc_tool_bridge.errors import MessageTooLargeError, SerializationError
from grpc_tool_bridge.values import exactness
from grpc_tool_bridge.values.exactness import is_json_exact
from support.soak import examples

ROWS = 40


class Key(str):
    """A key that equals a text and is none."""

    __slots__ = ()


class Colour(enum.IntEnum):
    RED = 1


ODD = {
    "a tuple": (1, 2),
    "an empty tuple": (),
    "a set": {1},
    "bytes": b"x",
    "nan": nan,
    "inf": inf,
    "-inf": -inf,
    "complex": 1j,
    "an enum": Colour.RED,
    "a text of a subclass": Key("a"),
    "an ordered dict": OrderedDict(a=1),
    "an object": object(),
    "a class": int,
    "int keys": {1: 2},
    "int keys among texts": {"a": 1, 2: 3},
    "a key of a subclass": {Key("a"): 1},
    "a key of a subclass among texts": {"b": 1, Key("a"): 1},
    "a key of None": {None: 1},
}


def tables(odd: Any) -> dict[str, Any]:
    """Puts a value last in tables of several shapes, where all other rows have plain values in its place."""
    rows: list[Any] = [{"id": n, "score": n + 0.5, "tags": ["a", None], "at": {"x": [0.5, True]}} for n in range(ROWS)]
    return {
        "alone": [odd],
        "under a key": {"a": odd},
        "in a column of numbers": [*rows, {"id": odd, "score": 1.5, "tags": ["a", None], "at": {}}],
        "in a column of floats": [*rows, {"id": 1, "score": odd, "tags": ["a", None], "at": {}}],
        "in a column of lists": [*rows, {"id": 1, "score": 1.5, "tags": odd, "at": {}}],
        "in a column of dicts": [*rows, {"id": 1, "score": 1.5, "tags": [], "at": odd}],
        "deeper": [*rows, {"id": 1, "score": 1.5, "tags": ["a", None], "at": {"x": [0.5, odd]}}],
        "in uneven rows": [[0.5] * (n % 3) for n in range(ROWS)] + [[1, "a", odd]],
        "in rows of one item": [[0.5] for _ in range(ROWS)] + [[odd]],
        "among a hundred": [1.5, "a", None, [], {}] * 20 + [odd],
    }


@pytest.mark.parametrize("where", tables(0))
@pytest.mark.parametrize("name", ODD)
def test_one_odd_value_is_found_wherever_it_is(name: Any, where: Any) -> None:
    assert is_json_exact(tables(1.5)[where], max_depth=100)
    assert not is_json_exact(tables(ODD[name])[where], max_depth=100)


def test_floats_whose_sum_overflows_are_finite() -> None:
    assert is_json_exact([1e308] * 100, max_depth=1)
    assert is_json_exact([[1e308, 1] for _ in range(ROWS)], max_depth=2)


def test_keys_are_texts_though_python_keeps_the_dict_as_one_of_any_keys() -> None:
    table: dict[Any, Any] = {1: 1, "a": [(1,)]}
    del table[1]
    assert not is_json_exact(table, max_depth=100)
    table["a"] = [1]
    assert is_json_exact(table, max_depth=100)


leaves = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=2) | st.sampled_from(list(ODD.values()))
)
json_values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=1) | st.integers(), inner, max_size=3),
    max_leaves=6,
)


def is_exact_by_each(value: Any) -> bool:
    """Says the same, one value after the other."""
    kind = type(value)
    if kind is list:
        return all(map(is_exact_by_each, value))
    if kind is dict:
        return all(type(key) is str for key in value) and all(map(is_exact_by_each, value.values()))
    return kind in (str, int, bool, type(None)) or (kind is float and isfinite(value))


@settings(max_examples=examples(300), deadline=None)
@given(json_values, json_values, st.lists(st.text(max_size=1)))
def test_the_answer_is_that_of_looking_at_each_value(usual: Any, odd: Any, keys: list[str]) -> None:
    value = [[usual, 1.5]] * ROWS + [[odd, 1.5]] + [dict.fromkeys(keys, usual)] * ROWS + [dict.fromkeys(keys, odd)]
    expected = is_exact_by_each(value)
    assert is_json_exact(value, max_depth=100) is expected
    if expected:
        assert json.loads(json.dumps(value)) == value


@pytest.mark.parametrize("name", ODD)
def test_the_answer_does_not_depend_on_what_the_collector_visits(name: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exactness, "get_referents", lambda *_: [])
    for where, table in tables(ODD[name]).items():
        assert not is_json_exact(table, max_depth=100), where
        assert is_json_exact(tables("a")[where], max_depth=100), where


def test_levels_are_counted_in_every_column() -> None:
    def table(levels: int) -> Any:
        value: Any = 1
        for _ in range(levels - 2):
            value = [value]
        return [[1, 1.5, "a"] for _ in range(ROWS)] + [[1, 1.5, value]]

    assert is_json_exact(table(7), max_depth=7)
    with pytest.raises(SerializationError, match="nested deeper"):
        is_json_exact(table(8), max_depth=7)


@pytest.mark.parametrize("width", [2, 3, ROWS])
def test_a_container_that_holds_one_many_times_is_bounded_however_it_is_split(width: int) -> None:
    value: Any = [1.5] * width
    for _ in range(60):
        value = [value] * width
    with pytest.raises(SerializationError, match="more than 10,000,000 items"):
        is_json_exact(value, max_depth=100)
    rows: Any = {"a": 1}
    for _ in range(30):
        rows = {str(key): rows for key in range(width)}
    with pytest.raises(SerializationError, match="more than 10,000,000 items"):
        is_json_exact([rows] * ROWS, max_depth=100)


def test_nodes_are_counted_with_keys() -> None:
    value = [{"a": 1, "b": 2} for _ in range(20_000)]
    assert is_json_exact(value, max_depth=100, max_nodes=100_001)
    with pytest.raises(MessageTooLargeError, match="the limit is 100,000"):
        is_json_exact(value, max_depth=100, max_nodes=100_000)


def test_a_large_value_with_shared_parts_that_fits_is_exact() -> None:
    part = [1, 2, "a"]
    assert is_json_exact([part] * 50_000, max_depth=2)
    assert is_json_exact([[part, [part]] for _ in range(50_000)], max_depth=4)
