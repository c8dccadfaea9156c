"""Globs, and finding the one that matches."""

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_tool_bridge.auth.policy.globs import GlobMap, matches

TEXT = st.text(alphabet="ab.[", max_size=8)
GLOB = st.text(alphabet="ab.[*?", max_size=6).filter(lambda glob: glob.count("*") <= 3)


@pytest.mark.parametrize(
    ("glob", "text", "expected"),
    [
        ("weather.*", "weather.current", True),
        ("weather.*", "weather", False),
        ("*.current", "weather.current", True),
        ("w?ather", "weather", True),
        ("w?ather", "wather", False),
        ("a*b*c", "a-b-b-c", True),
        ("a*b*c", "a-c-b", False),
        ("[ab]", "a", False),
        ("[ab]", "[ab]", True),
        ("*", "", True),
        ("a*a", "a", False),
        ("*\n", "x\n", True),
    ],
)
def test_a_glob_matches_all_of_a_text(glob: str, text: str, expected: bool) -> None:
    assert matches(glob, text) is expected
    assert (GlobMap([(glob, 1)]).find(text) == 1) is expected


@given(st.lists(GLOB, max_size=6), TEXT)
def test_a_value_is_found_if_one_of_the_globs_matches(globs: list[str], text: str) -> None:
    expected = any(fnmatch.fnmatchcase(text, glob.replace("[", "[[]")) for glob in globs)
    assert (GlobMap((glob, glob) for glob in globs).find(text) is not None) is expected


def test_a_long_text_takes_no_long_time() -> None:
    assert not matches("*a*a*a*a*a*a*a*b", "a" * 20_000)
