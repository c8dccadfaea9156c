"""Comments of a file, from its source info."""

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from grpc_tool_bridge.adapters.grpc.comments import MAX_COMMENT_CHARS, comments_in


def file_with(path: list[int], *, leading: str = "", trailing: str = "", package: str = "p") -> FileDescriptorProto:
    file = FileDescriptorProto(name="a.proto", package=package)
    message = file.message_type.add(name="M")
    message.field.add(name="f", number=1)
    message.nested_type.add(name="N").field.add(name="g", number=1)
    message.enum_type.add(name="E").value.add(name="V", number=0)
    message.extension.add(name="x")
    file.service.add(name="S").method.add(name="Do")
    file.source_code_info.location.add(path=path, leading_comments=leading, trailing_comments=trailing)
    return file


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ([4, 0], "p.M"),
        ([4, 0, 2, 0], "p.M.f"),
        ([4, 0, 3, 0], "p.M.N"),
        ([4, 0, 3, 0, 2, 0], "p.M.N.g"),
        ([4, 0, 4, 0], "p.M.E"),
        ([4, 0, 4, 0, 2, 0], "p.M.E.V"),
        ([4, 0, 6, 0], "p.M.x"),
        ([6, 0], "p.S"),
        ([6, 0, 2, 0], "p.S.Do"),
    ],
)
def test_each_place_has_its_name(path: list[int], name: str) -> None:
    assert comments_in(file_with(path, leading=" A text.\n")) == {name: "A text."}


def test_without_a_package_names_have_none() -> None:
    assert comments_in(file_with([4, 0], leading=" A text.\n", package="")) == {"M": "A text."}


@pytest.mark.parametrize(
    "path", [[], [4], [4, 9], [4, -1], [99, 0], [4, 0, 2, 0, 8, 0], [4, 0, 7, 0], [6, 0, 2, 0, 4, 0]]
)
def test_other_places_are_left_out(path: list[int]) -> None:
    assert comments_in(file_with(path, leading="A text.")) == {}


def test_what_stands_before_counts_more_than_what_stands_after() -> None:
    assert comments_in(file_with([4, 0], leading=" one", trailing=" two")) == {"p.M": "one"}
    assert comments_in(file_with([4, 0], trailing=" two")) == {"p.M": "two"}


def test_signs_for_linters_and_notes_of_the_authors_are_left_out() -> None:
    text = (
        " Gets a city.\n\n (-- api-linter: core::0131=disabled\n     aip.dev/not-precedent: we --)\n"
        " buf:lint:ignore X\n   - a list\n"
    )
    assert comments_in(file_with([4, 0], leading=text)) == {"p.M": "Gets a city.\n\n  - a list"}
    assert comments_in(file_with([4, 0], leading="(-- only this --)")) == {}


def test_a_comment_is_not_longer_than_its_bound() -> None:
    assert len(comments_in(file_with([4, 0], leading="x" * 100_000))["p.M"]) <= MAX_COMMENT_CHARS + 40
