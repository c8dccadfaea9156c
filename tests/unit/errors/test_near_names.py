"""What somebody may have meant."""

import pytest

from grpc_tool_bridge.errors import near_names as module
from grpc_tool_bridge.errors.near_names import MAX_CHARS, MAX_NAMES, did_you_mean, near_names

NAMES = ["add", "search_documents", "list_files", "multiply", "divide", *(f"tool_{number:03}" for number in range(400))]


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("ad", "add"), ("Add", "add"), ("serch_documents", "search_documents"), ("listfiles", "list_files")],
)
def test_the_name_that_was_meant_is_found_among_hundreds(wrong: str, right: str) -> None:
    assert right in near_names(wrong, NAMES)


def test_at_most_as_many_as_wanted_are_found_the_nearest_first() -> None:
    assert near_names("multipl", NAMES, n=1) == ["multiply"]
    assert len(near_names("tool_0012", NAMES)) == 3


def test_nothing_is_found_that_is_not_alike_or_too_long_or_among_too_many() -> None:
    assert near_names("zzz", NAMES) == []
    assert near_names("x" * (MAX_CHARS + 1), ["x" * MAX_CHARS]) == []
    assert near_names("add", ["x" * 10_000]) == []
    assert near_names("add", ["add"] * (MAX_NAMES + 1)) == []
    assert near_names("", ["add"]) == []


def test_few_names_are_compared_letter_by_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []

    def compare(wrong: str, names: list[str], *, n: int) -> list[str]:
        compared.extend(names)
        return names[:n]

    monkeypatch.setattr("difflib.get_close_matches", compare)
    near_names("a" * 64, [f"{'a' * 60}{number:04}" for number in range(500)])
    assert len(compared) == module.MAX_COMPARED


def test_an_error_ends_with_the_names_that_were_meant_or_with_what_to_do() -> None:
    assert did_you_mean("ad", NAMES) == "; did you mean add?"
    assert did_you_mean("tool_0012", NAMES, n=2).count(" or ") == 1
    assert did_you_mean("my thin", ["my thing"], "list them", quoted=True) == "; did you mean 'my thing'?"
    assert did_you_mean("xyzzy", NAMES, "list them") == "; list them"
    assert did_you_mean("xyzzy", NAMES) == ""
