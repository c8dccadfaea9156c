"""A line is one event that can be seen whole, and ids are read strictly."""

import json

import pytest

from grpc_tool_bridge.testing.recording.lines import encode, number_text, read_call, read_session


@pytest.mark.parametrize(
    "text", ["plain", "Grüße 漢字 😀", "\u202egnp.exe", "\u200b", "\u2028", "a\nb\x00", "\\ue000", "\ue000"]
)
def test_a_line_can_be_seen_whole_and_is_read_again_as_it_was(text: str) -> None:
    line = encode({"text": text})

    assert line.isprintable()
    assert "\n" not in line
    assert json.loads(line) == {"text": text}


def test_letters_of_all_scripts_stay_readable() -> None:
    assert encode({"text": "Grüße 漢字"}) == '{"text": "Grüße 漢字"}'


@pytest.mark.parametrize("number", [(1,), (12, 3), (1, 1, 1)])
def test_the_id_of_a_call_is_read_as_it_was_written(number: tuple[int, ...]) -> None:
    assert read_call(number_text(number)) == number


@pytest.mark.parametrize(
    "text", [None, 5, "", "call-", "call-0", "call-01", "call-1.", "call-1..2", "call-1\n", "xcall-1"]
)
def test_what_is_no_id_is_not_read(text: object) -> None:
    assert read_call(text) is None
    assert read_session(text) is None
