from typing import Any

import pytest

from grpc_tool_bridge.adapters.grpc.given_names import GivenNames
from grpc_tool_bridge.adapters.grpc.problems import Problems, WrongError
from support.protos_corpus import message


def names_of(name: str) -> GivenNames:
    descriptor = message(name)
    return GivenNames(descriptor, [field.name for field in descriptor.fields])


@pytest.mark.parametrize(
    ("name", "given", "problems"),
    [
        ("every3.Names", {"snake_case": "a", "snakeCase": None}, []),
        ("every3.Names", {"snakeCase": "a", "snake_case": "b"}, [(".snake_case", "given twice, as 'snake_case' and")]),
        ("every3.Choices", {"text": "a", "number": None, "yes": True}, []),
        ("every3.Choices", {"text": "a", "nothing": None}, [(".nothing", "only one of 'text', 'number'")]),
        ("every2.Fields", {"name": None}, [(".name", "missing")]),
        ("every2.Fields", {"name": "a"}, []),
        ("every2.Fields", {"name": "a", "this": "b", "that": {}}, [(".that", "only one of 'this', 'that'")]),
    ],
)
def test_names_are_checked_with_each_other(name: str, given: dict[str, Any], problems: list[tuple[str, str]]) -> None:
    found = Problems()
    names_of(name).check(given, found)
    told: list[tuple[str, str]] = []
    try:
        found.end()
    except WrongError as error:
        told = error.problems
    assert [path for path, _ in told] == [path for path, _ in problems]
    assert all(text.startswith(begin) for (_, text), (_, begin) in zip(told, problems, strict=True))


def test_only_names_that_can_clash_are_watched() -> None:
    assert names_of("every3.Node").watched == {"byName"}
    assert names_of("every3.Choices").watched >= {"text", "number"}
    assert "beside" not in names_of("every3.Choices").watched
    assert names_of("every3.Choices").nullable == {"nothing", "value"}
    assert names_of("every2.Fields").required == ["name"]
