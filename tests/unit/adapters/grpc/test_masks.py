from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_tool_bridge.adapters.grpc.masks import mask, read_mask
from grpc_tool_bridge.adapters.grpc.problems import WrongError


@pytest.mark.parametrize(
    ("paths", "read"),
    [
        ([], ""),
        (["a"], "a"),
        (["display_name", "a.b_c"], "displayName,a.bC"),
        (["a_1"], "a_1"),
        (["a_b_1"], ["a_b_1"]),
        (["A"], ["A"]),
        ([""], [""]),
        (["a,b"], ["a,b"]),
        ([" "], [" "]),
    ],
)
def test_a_mask_is_a_text_where_that_says_all(paths: list[str], read: Any) -> None:
    assert read_mask(paths) == read
    assert mask(read) == paths


def test_names_of_the_proto_are_taken_in_a_text() -> None:
    assert mask("display_name, homeCity") == ["display_name", "home_city"]
    assert mask(("displayName",)) == ["displayName"]


@given(st.lists(st.text(alphabet="aB_1., ", max_size=5), max_size=3))
def test_any_paths_are_read_and_written(paths: list[str]) -> None:
    assert mask(read_mask(paths)) == paths


@pytest.mark.parametrize(("value", "path"), [(5, ""), (["a", 5], "[1]"), ({"a": 1}, ""), (["\ud800"], "[0]")])
def test_what_is_no_mask_is_refused(value: Any, path: str) -> None:
    with pytest.raises(WrongError) as caught:
        mask(value)
    assert [at for at, _ in caught.value.problems] == [path]
