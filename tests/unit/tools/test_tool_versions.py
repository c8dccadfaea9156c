"""Which of two versions of a tool is the newer, and their names."""

import itertools

import pytest

from grpc_tool_bridge.tools.tool_versions import VERSION, exact_id, split_version, version_key, versioned

ASCENDING = [
    ["spring", "", "1.x", "9" * 30, "1..2"],
    ["0", "0.0"],
    ["1.dev1"],
    ["1.0.dev2"],
    ["1.0a1.dev3", "1.0a1.dev3+g1f2e3d4"],
    ["1.0a1", "1.0-alpha.1", "1.0.alpha1", "1a1"],
    ["1.0a1.post1.dev2"],
    ["1.0a1.post1"],
    ["1.0a2"],
    ["1.0b1", "1-beta.1"],
    ["1.0rc1", "1.0c1", "1.0-pre.1", "1.0.preview1"],
    ["1.0", "1", "v1.0.0", "1.0+build.7", "V1"],
    ["1.0.post1.dev4"],
    ["1.0.post1", "1.0.r1"],
    ["1.0.1.dev1+d20260101"],
    ["1.0.1-7"],
    ["1.0.1-x.7.z.92"],
    ["1.0.1"],
    ["1.9"],
    ["1.10"],
    ["2.0"],
    ["2024-05-01"],
    ["2024-12-01"],
    ["2025-01-01"],
    ["1!0.5"],
]


def test_versions_compare_as_semver_and_pep_440_say() -> None:
    for older, newer in itertools.pairwise(ASCENDING):
        for one, other in itertools.product(older, newer):
            assert version_key(one) < version_key(other), (one, other)


@pytest.mark.parametrize("same", ASCENDING)
def test_versions_that_say_the_same_are_equal(same: list[str]) -> None:
    assert len({version_key(text) for text in same}) == 1


@pytest.mark.parametrize(
    ("name", "parts"), [("add@1.0", ("add", "1.0")), ("add", ("add", "")), ("a@b@c", ("a", "b@c"))]
)
def test_a_name_with_a_version_is_split_at_the_first_sign(name: str, parts: tuple[str, str]) -> None:
    assert split_version(name) == parts


def test_the_name_of_a_version_can_be_split_again() -> None:
    assert split_version(versioned("files.read", "1.0+b")) == ("files.read", "1.0+b")


@pytest.mark.parametrize(
    ("text", "fits"),
    [("1.0", True), ("1.0+b_c!2-d", True), ("", False), ("a b", False), ("1@2", False), ("x" * 65, False)],
)
def test_a_version_that_is_part_of_a_name_has_few_characters(text: str, fits: bool) -> None:
    assert (VERSION.fullmatch(text) is not None) is fits


def test_the_exact_id_of_a_tool_without_a_version_is_its_own() -> None:
    assert exact_id("add", "") == "add"
    assert exact_id("add", "1") == "add@1"
