"""Large bytes and texts of the vectors are written by a rule."""

import base64
from typing import Any

import pytest
from conformance.payloads import expand, read_bytes, write_bytes, write_text
from hypothesis import given
from hypothesis import strategies as st


def test_a_run_of_equal_bytes_is_written_by_a_rule() -> None:
    assert write_bytes(b"ab" + bytes(700_000) + b"c") == [
        {"base64": "YWI="},
        {"repeat": "AA==", "times": 700_000},
        {"base64": "Yw=="},
    ]


@given(st.lists(st.tuples(st.binary(max_size=3), st.sampled_from([1, 255, 256, 300]))))
def test_bytes_are_read_as_they_were_written(parts: list[tuple[bytes, int]]) -> None:
    data = b"".join(part * times for part, times in parts)
    assert read_bytes(write_bytes(data)) == data


@pytest.mark.parametrize(
    ("entry", "expanded"),
    [
        ({"text": write_text("a" * 300)}, {"text": "a" * 300}),
        ({"any": write_bytes(bytes(300))}, {"any": base64.b64encode(bytes(300)).decode()}),
        ({"items": [], "steps": [{"events": []}]}, {"items": [], "steps": [{"events": []}]}),
        # A meaning has base64 beside its kind, so that it is no piece.
        ([{"kind": "bytes", "base64": "AA=="}], [{"kind": "bytes", "base64": "AA=="}]),
    ],
)
def test_rules_are_expanded(entry: Any, expanded: Any) -> None:
    assert expand(entry) == expanded
