from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from grpc_tool_bridge.adapters.grpc.problems import WrongError
from grpc_tool_bridge.adapters.grpc.times import duration, moment, read_duration, read_moment


@pytest.mark.parametrize(
    ("pair", "text"),
    [
        ((0, 0), "1970-01-01T00:00:00Z"),
        ((-1, 1), "1969-12-31T23:59:59.000000001Z"),
        ((1, 20_000_000), "1970-01-01T00:00:01.020Z"),
        ((1, 20_000), "1970-01-01T00:00:01.000020Z"),
        ((-62_135_596_800, 0), "0001-01-01T00:00:00Z"),
        ((253_402_300_799, 999_999_999), "9999-12-31T23:59:59.999999999Z"),
    ],
)
def test_a_moment_is_a_text_to_the_nanosecond(pair: tuple[int, int], text: str) -> None:
    assert read_moment(*pair) == text
    assert moment(text) == pair


@pytest.mark.parametrize("pair", [(-62_135_596_801, 0), (253_402_300_800, 0), (0, -1), (0, 1_000_000_000)])
def test_a_moment_that_is_not_valid_keeps_its_fields(pair: tuple[int, int]) -> None:
    read = read_moment(*pair)
    assert read == {"seconds": pair[0], "nanos": pair[1]}
    assert moment(read) == pair


@pytest.mark.parametrize(
    ("value", "pair"),
    [
        ("1970-01-01t01:00:00.5+01:00", (0, 500_000_000)),
        ("1970-01-01 00:00:00-00:30", (1_800, 0)),
        (datetime(1970, 1, 1, 0, 0, 1, 5, tzinfo=UTC), (1, 5_000)),
        (datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), (-1, 999_999_000)),
        (datetime(1970, 1, 1, 2, tzinfo=timezone(timedelta(hours=2, microseconds=1))), (-1, 999_999_000)),
    ],
)
def test_other_forms_of_a_moment_are_taken(value: Any, pair: tuple[int, int]) -> None:
    assert moment(value) == pair


def test_the_nanoseconds_of_pandas_are_kept() -> None:
    pandas = pytest.importorskip("pandas")
    assert moment(pandas.Timestamp("1970-01-01T00:00:00.123456789Z")) == (0, 123_456_789)
    assert duration(pandas.Timedelta(nanoseconds=1_000_000_001)) == (1, 1)


@pytest.mark.parametrize(
    "value",
    [
        "1970-01-01", "1970-01-01T00:00:00", "1970-02-30T00:00:00Z", "1970-01-01T24:00:01Z",
        "0001-01-01T00:00:00+01:00",
        "1970-01-01T00:00:00+24:00", "1970-01-01T00:00:00.1234567890Z", "\uff19970-01-01T00:00:00Z", "", 5, None,
        datetime(1970, 1, 1, tzinfo=UTC).replace(tzinfo=None),
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1))), {"seconds": 2**63},
        {"nanos": True}, {"second": 1},
    ],
)  # fmt: skip
def test_what_is_no_moment_is_refused(value: Any) -> None:
    with pytest.raises(WrongError):
        moment(value)


@pytest.mark.parametrize(
    ("pair", "text"),
    [
        ((0, 0), "0s"),
        ((1, 500_000_000), "1.500s"),
        ((0, -1), "-0.000000001s"),
        ((-2, -30_000), "-2.000030s"),
        ((315_576_000_000, 0), "315576000000s"),
    ],
)
def test_a_duration_is_a_text_of_seconds(pair: tuple[int, int], text: str) -> None:
    assert read_duration(*pair) == text
    assert duration(text) == pair


@pytest.mark.parametrize("pair", [(1, -1), (-1, 1), (315_576_000_001, 0), (0, 1_000_000_000)])
def test_a_duration_that_is_not_valid_keeps_its_fields(pair: tuple[int, int]) -> None:
    read = read_duration(*pair)
    assert read == {"seconds": pair[0], "nanos": pair[1]}
    assert duration(read) == pair


def test_a_timedelta_is_taken() -> None:
    assert duration(timedelta(seconds=-1, microseconds=-5)) == (-1, -5_000)
    assert duration(timedelta(days=1)) == (86_400, 0)


@pytest.mark.parametrize(
    "value", ["1", "1.5", "s", "1.s", "+1s", "1e3s", "315576000001s", 1.5, None, timedelta.max, {"nanos": 2**31}]
)
def test_what_is_no_duration_is_refused(value: Any) -> None:
    with pytest.raises(WrongError):
        duration(value)
