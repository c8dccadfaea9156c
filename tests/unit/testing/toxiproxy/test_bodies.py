"""JSON read as Go reads it into a struct."""

import json
from typing import Any

import pytest

from grpc_tool_bridge.testing.toxiproxy.bodies import MAX_BYTES, read, read_list, read_object
from grpc_tool_bridge.testing.toxiproxy.errors import ApiError

FIELDS = {"name": str, "count": int, "share": float, "enabled": bool, "inner": dict}


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("{}", {}),
        ("null", {}),
        ('{"name": "a", "count": 1, "share": 1, "enabled": true, "inner": {"x": 1}} more', None),
        ('{"NAME": "a", "Count": 2}', {"name": "a", "count": 2}),
        ('{"name": null, "other": [1]}', {}),
        ('{"name": "a", "name": "b"}', {"name": "b"}),
        ('{"count": 9223372036854775807}', {"count": 2**63 - 1}),
        ('{"name": "\\ud800"}', {"name": "?"}),
    ],
)
def test_fields_are_read_by_name_and_type(text: str, given: dict[str, Any] | None) -> None:
    expected = json.loads(text.removesuffix(" more")) if given is None else given
    assert read_object(read(text.encode()), FIELDS, "Thing") == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "EOF"),
        (" \n", "EOF"),
        ("{", "json: "),
        ("NaN", "json: invalid character 'N' looking for beginning of value"),
        ("[" * 100_000, "json: "),
        ("[]", "json: cannot unmarshal array into Go value of type Thing"),
        ('"a"', "json: cannot unmarshal string into Go value of type Thing"),
        ('{"name": 1}', "json: cannot unmarshal number 1 into Go struct field Thing.name of type string"),
        ('{"count": true}', "json: cannot unmarshal bool into Go struct field Thing.count of type int64"),
        ('{"count": 1.0}', "json: cannot unmarshal number 1.0 into Go struct field Thing.count of type int64"),
        ('{"count": 9223372036854775808}', "json: cannot unmarshal number 9223372036854775808 into"),
        ('{"share": 1e39}', "json: cannot unmarshal number 1e+39 into Go struct field Thing.share of type float32"),
        ('{"share": 1e999}', "json: cannot unmarshal number inf into"),
        (f'{{"share": {"9" * 5_000}}}', "json: cannot unmarshal number inf into"),
        ('{"inner": []}', "json: cannot unmarshal array into Go struct field Thing.inner of type object"),
        (f'"{"x" * MAX_BYTES}"', f"it has {MAX_BYTES + 2} bytes, and may have {MAX_BYTES}"),
    ],
    ids=lambda text: text[:30],
)
def test_what_does_not_fit_is_refused(text: str, message: str) -> None:
    with pytest.raises(ApiError) as refused:
        read_object(read(text.encode()), FIELDS, "Thing")
    assert refused.value.status == 400
    assert refused.value.message.startswith(f"bad request body: {message}")


def test_bytes_that_are_no_text_are_read_as_go_reads_them() -> None:
    assert read_object(read(b'{"name": "\xff"}'), FIELDS, "Thing") == {"name": "\ufffd"}


def test_a_list_may_be_null() -> None:
    assert (read_list(None, "Thing"), read_list([1], "Thing")) == (None, [1])
    with pytest.raises(ApiError, match=r"cannot unmarshal object into Go value of type \[\]Thing"):
        read_list({}, "Thing")
