"""Values as JSON and as tables."""

import datetime as dt
import io
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from grpc_tool_bridge.cli import consoles, output
from grpc_tool_bridge.cli.events import EventView
from grpc_tool_bridge.cli.streams import PipeClosedError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import LogRecord, Progress
from grpc_tool_bridge.values import tagged_json

MOMENT = dt.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=dt.UTC)

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.datetimes()
    | st.dates()
    | st.times()
    | st.uuids()
    | st.decimals(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.integers(-(10**9), 10**9).map(lambda n: dt.timedelta(milliseconds=n))
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text() | st.integers() | st.sampled_from(["$type", "value"]), inner, max_size=3)
        | st.sets(st.integers() | st.text(), max_size=3)
        | st.frozensets(st.integers(), max_size=3)
    ),
    max_leaves=8,
)


@given(values)
def test_any_value_comes_back_from_json_as_it_was(value: Any) -> None:
    text = tagged_json.dumps(value)
    assert text.isascii()
    assert "\n" not in text
    again = tagged_json.loads(text)
    assert (again, type(again)) == (value, type(value))


def test_what_json_cannot_hold_is_tagged() -> None:
    value = {"when": MOMENT, "raw": b"x", "nan": float("nan"), "id": UUID(int=1), "cost": Decimal("1.50")}
    assert json.loads(tagged_json.dumps(value)) == {
        "when": {"$type": "datetime", "value": "2026-01-02T03:04:05.000006+00:00"},
        "raw": {"$type": "bytes", "value": "eA=="},
        "nan": {"$type": "float", "value": "nan"},
        "id": {"$type": "UUID", "value": "00000000-0000-0000-0000-000000000001"},
        "cost": {"$type": "Decimal", "value": "1.50"},
    }


@pytest.mark.parametrize(
    "value",
    [
        pd.DataFrame({"a": [1, 2], "b": ["x", None]}),
        pd.DataFrame({"a": [1.5]}, index=["row"]),
        pd.DataFrame(),
        pd.Series([1, 2], name="n"),
        pd.Index([1]),
        pa.table({"a": [1]}),
        pl.DataFrame({"a": [1]}),
        np.array([[1, 2], [3, 4]], dtype="<i2"),
        np.zeros((0, 3)),
        np.array(["2026-01-02"], dtype="M8[ns]"),
    ],
)
def test_frames_and_arrays_come_back_from_json(value: Any) -> None:
    again = tagged_json.loads(tagged_json.dumps(value))
    assert type(again) is type(value)
    assert np.array_equal(again, value) if isinstance(value, np.ndarray) else again.equals(value)


@pytest.mark.parametrize(
    "value",
    [
        np.int64(2**60), np.uint8(5), np.float32(0.1), np.float64("nan"), np.bool_(True), np.complex64(1j),
        np.longdouble("1.1"), np.datetime64("2026-01-02T03:04:05", "ms"), np.datetime64("NaT", "s"),
        np.timedelta64(5, "ns"),
    ],
    ids=repr,
)  # fmt: skip
def test_scalars_of_numpy_come_back_with_their_types_and_units(value: Any) -> None:
    again = tagged_json.loads(tagged_json.dumps(value))
    assert (type(again), again.dtype, repr(again)) == (type(value), value.dtype, repr(value))


@pytest.mark.parametrize(
    "value",
    [
        dt.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")),
        dt.datetime(2026, 5, 4, fold=1),  # noqa: DTZ001 - without a zone, too
        dt.datetime(2026, 5, 4, tzinfo=dt.timezone(dt.timedelta(hours=1), "CET")),
        dt.time(1, 2, tzinfo=dt.timezone(dt.timedelta(hours=1), "CET")),
        dt.timedelta(days=999_999, microseconds=1),
        dt.timedelta.max,
        dt.timedelta.min,
    ],
    ids=repr,
)
def test_moments_come_back_with_their_zones_and_durations_to_the_microsecond(value: Any) -> None:
    assert repr(tagged_json.loads(tagged_json.dumps(value))) == repr(value)


@pytest.mark.parametrize("dtype", ["<U500000000", "S1000000000", "V1000000000"])
def test_an_array_cannot_name_a_size_that_its_text_does_not_have(dtype: str) -> None:
    text = json.dumps({"$type": "numpy.ndarray", "value": {"dtype": dtype, "data": ["x"]}})
    with pytest.raises(ValueError, match="67,108,864 bytes at most"):
        tagged_json.loads(text)


@pytest.mark.parametrize("dtype", ["200000000f8", "f8,f8", "(2,)f8", "__import__('os'),", "object[", "2 f8"])
def test_a_dtype_is_one_name(dtype: str) -> None:
    text = json.dumps({"$type": "numpy.ndarray", "value": {"dtype": dtype, "data": ["x"]}})
    with pytest.raises(ValueError, match="is not a dtype of numpy, such as 'float64'"):
        tagged_json.loads(text)


@pytest.mark.parametrize("dtype", ["float32", "<f8", "datetime64[25us]", "bool_", "U1", "|b1"])
def test_a_dtype_may_be_given_by_name_or_by_code(dtype: str) -> None:
    text = json.dumps({"$type": "numpy.ndarray", "value": {"dtype": dtype, "data": []}})
    assert tagged_json.loads(text).dtype == np.dtype(dtype)


def test_an_array_cannot_have_more_lists_than_items() -> None:
    text = '{"$type": "numpy.ndarray", "value": {"dtype": "<f8", "data": [], "shape": [1000000, 1000000, 0]}}'
    with pytest.raises(ValueError, match="nested lists, with 0 items; reshape it"):
        tagged_json.loads(text)


def test_cells_of_frames_are_values_too() -> None:
    frame = pd.DataFrame({"t": [pd.Timestamp("2026-01-02"), pd.NaT]})
    rows = json.loads(tagged_json.dumps(frame))["value"]["rows"]
    assert rows == [[{"$type": "datetime", "value": "2026-01-02T00:00:00"}], [None]]


def test_what_cannot_be_read_back_names_its_type() -> None:
    text = tagged_json.dumps(range(3))
    assert json.loads(text)["$type"] == "range"
    with pytest.raises(ValueError, match="is not supported here; supported: bytes"):
        tagged_json.loads(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"$type": "UUID", "value": 5}',
        '{"$type": "bytes", "value": "?"}',
        '{"$type": "pandas.Series", "value": {}}',
        "Infinity",
        "{",
    ],
)
def test_what_is_no_value_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        tagged_json.loads(text)


def printed(value: Any, **options: Any) -> list[str]:
    out = Console(file=io.StringIO(), width=80, color_system=None, highlight=False, markup=False, **options)
    output.print_value(value, out)
    assert isinstance(out.file, io.StringIO)
    return [line.rstrip() for line in out.file.getvalue().splitlines()]


@pytest.mark.parametrize(
    "frame", [pa.table({"a": [1]}), pl.DataFrame({"a": [1]}), pd.Series([1], name="a"), pd.DataFrame({"a": [1]})]
)
def test_every_kind_of_frame_is_a_table(frame: Any) -> None:
    lines = printed(frame)
    assert (lines[0].strip(), lines[2].strip()) == ("a", "1")


def test_a_long_table_is_cut_and_says_so() -> None:
    lines = printed([{"n": number} for number in range(consoles.MAX_ROWS + 1_000)])
    assert lines[-1] == "… 1,000 more rows; --json gives all"
    assert len(lines) == consoles.MAX_ROWS + 3
    assert printed(pd.DataFrame({"n": range(consoles.MAX_ROWS + 1)}))[-1] == "… 1 more rows; --json gives all"


def test_what_is_no_table_is_printed_as_python_writes_it() -> None:
    assert printed({"a": (1, None)}) == ["{'a': (1, None)}"]
    assert printed([]) == ["[]"]
    assert printed(b"x", force_terminal=True) == ["b'x'"]


def test_text_on_one_screen_with_a_bar_goes_by_the_bars_console() -> None:
    assert printed("[bold]", stderr=True) == ["[bold]"]


class Closed(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_a_closed_pipe_is_an_error_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", Closed())
    with pytest.raises(PipeClosedError):
        output.print_json(1)
    with pytest.raises(PipeClosedError):
        output.print_value([1])


@pytest.fixture
def screens() -> Iterator[tuple[io.StringIO, EventView]]:
    err = io.StringIO()
    with EventView(
        Console(file=io.StringIO()), Console(file=err, force_terminal=True, color_system=None, width=80)
    ) as view:
        yield err, view


def test_progress_becomes_a_bar_with_its_message(screens: tuple[io.StringIO, EventView]) -> None:
    err, view = screens
    view.progress(Progress(current=1, total=4, message="reading\n[x]"))
    view.__exit__(None, None, None)
    assert "reading [x]" in err.getvalue()
    assert "25%" in err.getvalue()


def test_a_log_record_becomes_a_line(screens: tuple[io.StringIO, EventView]) -> None:
    err, view = screens
    view.log(LogRecord(level="warning", logger="scan", message="odd\x1b[2J", fields={"path": "a", "n": "1"}))
    assert err.getvalue().strip() == "warning scan: odd\\x1b[2J n=1 path=a"


def test_values_and_bar_share_a_console_where_they_share_a_screen() -> None:
    out, err = (Console(file=io.StringIO(), force_terminal=True) for _ in range(2))
    assert EventView(out, err).out is err
    assert EventView(Console(file=io.StringIO()), err).out is not err


def test_an_empty_array_is_written_by_its_shape_not_by_the_lists_in_it() -> None:
    text = tagged_json.dumps(np.zeros((100_000, 0)))
    assert json.loads(text)["value"] == {"dtype": "<f8", "data": [], "shape": [100_000, 0]}
    assert tagged_json.loads(text).shape == (100_000, 0)
