"""Results without tags, where a schema says what they mean."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from grpc_tool_bridge import tool
from grpc_tool_bridge.gateway.plain_results import plain_writer
from grpc_tool_bridge.values.tagged_json import to_json

DAY = date(2024, 2, 28)
MOMENT = datetime(2024, 2, 28, 12, tzinfo=UTC)


@dataclass
class Stay:
    begin: date
    nights: int = 1


def schema_of(annotation: Any) -> str:
    def made() -> Any: ...

    made.__annotations__["return"] = annotation
    return str(tool(made).spec.output_schema)


@pytest.mark.parametrize(
    ("annotation", "value", "written"),
    [
        (date, DAY, "2024-02-28"),
        (datetime, MOMENT, "2024-02-28T12:00:00Z"),
        (time, time(1, 2), "01:02:00"),
        (timedelta, timedelta(seconds=90), "PT1M30S"),
        (UUID, UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (bytes, b"\x00\xff\xfe", "AP/+"),
        (date | None, DAY, "2024-02-28"),
        (list[date], [DAY, DAY], ["2024-02-28", "2024-02-28"]),
        (tuple[int, date], (1, DAY), [1, "2024-02-28"]),
        (set[int], {1, 2}, [1, 2]),
        (dict[str, date], {"a": DAY}, {"a": "2024-02-28"}),
        (Stay, {"begin": DAY, "nights": 2}, {"begin": "2024-02-28", "nights": 2}),
        (list[Stay], [{"begin": DAY}], [{"begin": "2024-02-28"}]),
    ],
    ids=str,
)
def test_what_the_schema_declares_is_plain(annotation: Any, value: Any, written: Any) -> None:
    assert plain_writer(schema_of(annotation))(value) == written


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Any, DAY),
        (str | date, DAY),
        (str, DAY),
        (date, MOMENT),
        (int, 2**60),
        (float, float("nan")),
        (Decimal, Decimal("1.5")),
        (dict[int, date], {1: 2}),
        (dict[str, int], {"$type": 1, "value": 2}),
        (str, "\ud800"),
    ],
    ids=repr,
)
def test_what_it_leaves_open_and_what_json_cannot_hold_stay_tagged(annotation: Any, value: Any) -> None:
    assert plain_writer(schema_of(annotation))(value) == to_json(value)
    assert isinstance(to_json(value), dict)


@pytest.mark.parametrize(
    "schema",
    [
        "", "{", "[]", "7", "[" * 100_000, '{"$ref": "#/$defs/a"}', '{"$ref": "#/$defs/a", "$defs": 1}', '{"anyOf": 1}',
        '{"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}', '{"type": "string", "format": []}',
    ],
    ids=lambda schema: schema[:40],
)  # fmt: skip
def test_a_schema_that_says_nothing_leaves_results_tagged(schema: str) -> None:
    assert plain_writer(schema)(DAY) == to_json(DAY)
