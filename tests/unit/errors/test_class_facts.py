"""What a class says of itself without being asked."""

from typing import Any, NoReturn

from grpc_tool_bridge.errors.class_facts import ABSENT, class_name, class_path, exact_text, static_attribute


class Meta(type):
    def __getattribute__(cls, name: str) -> Any:
        raise SystemExit(name)

    def __hash__(cls) -> int:
        raise SystemExit

    def __str__(cls) -> str:
        raise SystemExit


def evil_class() -> Any:
    """Makes one here: pytest asks whatever stands in a module."""
    made: Any = Meta("Evil", (), {"known": 7, "__module__": __name__})
    return made


class Text(str):
    __slots__ = ()

    def __len__(self) -> NoReturn:
        raise SystemExit

    def __str__(self) -> NoReturn:
        raise SystemExit


def test_a_class_is_named_without_its_metaclass() -> None:
    evil = evil_class()
    assert class_name(evil) == "Evil"
    assert class_path(evil) == f"{__name__}.Evil"


def test_a_class_without_a_name_has_a_name() -> None:
    assert class_name(type("", (), {})) == "?"


def test_a_module_that_says_nothing_is_left_out() -> None:
    assert class_path(ValueError) == "ValueError"
    assert class_path(type("Odd", (), {"__module__": 7})) == "Odd"


def test_an_attribute_is_found_without_its_metaclass_and_not_bound() -> None:
    evil = evil_class()
    assert static_attribute(evil, "known") == 7
    assert static_attribute(bool, "__index__") is vars(int)["__index__"]
    assert static_attribute(evil, "unknown") is ABSENT


def test_a_text_of_a_subclass_becomes_exactly_a_text() -> None:
    text = exact_text(Text("said"))
    assert type(text) is str
    assert text == "said"
