"""What a tool's marks say, in whatever language its spec was written."""

from typing import Any

import pytest

from grpc_tool_bridge.errors import ArgumentTypeError, ValidationError
from grpc_tool_bridge.llm.tool_marks import (
    checked_tags,
    deprecated_of,
    described,
    has_tags,
    is_for_models,
    is_hidden,
    is_older_version,
    tags_of,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec


def spec(name: str = "t", description: str = "", **metadata: str) -> ToolSpec:
    return ToolSpec(name=name, description=description, metadata=metadata)


@pytest.mark.parametrize(("text", "tags"), [("a,b", ("a", "b")), (" b , a,,b", ("a", "b")), ("", ()), (",", ())])
def test_tags_are_read_sorted_and_each_once(text: str, tags: tuple[str, ...]) -> None:
    assert tags_of(spec(tags=text)) == tags
    assert tags_of(spec()) == ()


def test_a_tool_has_all_of_the_tags_that_are_asked_for() -> None:
    assert has_tags(spec(tags="a,b"), ["a"])
    assert has_tags(spec(tags="a,b"), ["b", "a"])
    assert has_tags(spec(), [])
    assert not has_tags(spec(tags="a,b"), ["a", "c"])
    assert not has_tags(spec(tags="ab"), ["a"])


@pytest.mark.parametrize(("value", "hidden"), [("true", True), ("false", False), ("", False), ("True", False)])
def test_a_tool_is_hidden_only_by_the_word_true(value: str, hidden: bool) -> None:
    assert is_hidden(spec(hidden=value)) is hidden
    assert not is_hidden(spec())


def test_a_model_is_given_a_tool_without_marks_alone() -> None:
    assert is_for_models(spec(tags="a"))
    for other in (spec(hidden="true"), spec(deprecated="use u"), spec("t@1")):
        assert not is_for_models(other)
    assert is_older_version(spec("t@1"))


def test_a_deprecated_tool_says_so_before_its_description() -> None:
    assert described(spec(description="Adds.")) == "Adds."
    assert described(spec(description="Adds.", deprecated="use u")) == "Deprecated: use u\n\nAdds."
    assert described(spec(deprecated="use u")) == "Deprecated: use u"
    assert deprecated_of(spec()) == ""


def test_tags_are_checked() -> None:
    assert checked_tags(iter(["b", "a", "b"])) == ("a", "b")
    assert checked_tags(["x" * 64, "a_b-c.d:e"]) == ("a_b-c.d:e", "x" * 64)


@pytest.mark.parametrize(
    "tags", [["x" * 65], [""], ["a,b"], ["a+b"], ["ä"], [1], [str(number) for number in range(101)]]
)
def test_what_is_no_tag_is_refused(tags: Any) -> None:
    with pytest.raises(ValidationError, match=r"a tag is 1 to 64|100 are allowed"):
        checked_tags(tags)


def test_one_text_is_no_list_of_tags() -> None:
    with pytest.raises(ArgumentTypeError, match="tags is 'db'; it must be a list of texts"):
        checked_tags("db")
