"""Fields on a line of the log: no text can pass for another field, or for another line."""

import pytest

from grpc_tool_bridge.errors.log_fields import MAX_FIELD_CHARS, fields_text, log_extra


def test_fields_are_written_as_names_and_values() -> None:
    assert fields_text({"tool": "files.read", "n": 3, "ms": 1.5, "ok": True}) == "tool=files.read n=3 ms=1.5 ok=True"
    assert fields_text({}) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("", '""'),
        ("two words", '"two words"'),
        ("a=b", '"a=b"'),
        ('x" session=other', '"x\\" session=other"'),
        ("first\nsecond", '"first\\nsecond"'),
        ("\x1b[2J", '"\\u001b[2J"'),
        ("a\u2028b", '"a\\u2028b"'),
        ("a\u202eb", '"a\\u202eb"'),
        ("grün", "grün"),
        ("zwei grüne", '"zwei grüne"'),
    ],
)
def test_what_is_no_plain_word_is_quoted(value: str, text: str) -> None:
    assert fields_text({"f": value}) == f"f={text}"
    assert fields_text({value or "_": "v"}) == f"{text if value else '_'}=v"


def test_a_long_value_is_cut() -> None:
    written = fields_text({"f": "x" * 5_000})
    assert written.endswith('…"')
    assert len(written) == MAX_FIELD_CHARS + len('f=""')


def test_a_record_has_its_event_and_a_copy_of_the_fields() -> None:
    fields = {"i": 3}
    extra = log_extra("did", fields, session_id="s")
    fields["i"] = 4
    assert extra == {"event": "did", "fields": {"i": 3}, "session_id": "s"}
