"""Names: anything that a reader can see, by a rule that does not depend on the version of Python."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_tool_bridge.core.names import NAME_PATTERN, check_name
from grpc_tool_bridge.errors import ValidationError


def is_hidden(character: str) -> bool:
    return not re.fullmatch(NAME_PATTERN, character) or "\ud800" <= character <= "\udfff" or is_tag(character)


def is_tag(character: str) -> bool:
    return "\U000e0000" <= character <= "\U000e00ff"


@pytest.mark.parametrize(
    "hidden", ["\n", "\x1b", "\x7f", "\x85", "\xa0", "\u200b", "\u202e", "\u2066", "\ufeff", "\ufffe"]
)
def test_a_name_has_nothing_that_hides_or_turns_text(hidden: str) -> None:
    with pytest.raises(ValidationError, match="printable"):
        check_name(f"a{hidden}b", "a name")


def test_every_character_that_python_prints_may_be_in_a_name() -> None:
    for character in map(chr, range(0x110000)):
        if character.isprintable():
            check_name(character, "a name")
            assert re.search(NAME_PATTERN, character) or is_tag(character)


@given(st.text(max_size=300))
def test_any_text_is_a_name_or_a_validation_error(name: str) -> None:
    fine = 0 < len(name) <= 256 and not any(map(is_hidden, name))
    if fine:
        check_name(name, "a name")
    else:
        with pytest.raises(ValidationError):
            check_name(name, "a name")
