"""Frames and arrays as a model reads them, made plain by their own methods: none of their packages is imported."""

import math
import sys
from typing import Any

# Of a frame; a model that needs more of them calls a tool that sums them up.
MAX_ROWS = 1_000
# Of an array that is written out; of a larger one, its ends.
MAX_ITEMS = 1_000

_DOUBLE_BYTES = 8
# Units of NumPy's moments that are a date.
_DAYS = frozenset({"Y", "M", "W", "D"})


def plain_of(value: Any) -> Any:
    """Makes a frame a text, an array a list; anything else is given back."""
    package, kind = type(value).__module__.partition(".")[0], type(value).__name__
    if package == "numpy" and hasattr(value, "dtype"):
        return _array(value) if kind == "ndarray" else _items(value)
    if package == "pandas":
        return _pandas(value, kind)
    if (package, kind) == ("polars", "DataFrame"):
        return _rows(_csv(value.head(MAX_ROWS)), len(value))
    if (package, kind) == ("pyarrow", "Table"):
        return value.slice(0, MAX_ROWS).to_pylist()
    return value


def _pandas(value: Any, kind: str) -> Any:
    if kind == "Series":
        value = value.to_frame()
    elif kind != "DataFrame":
        # An index of any kind.
        return value[:MAX_ITEMS].tolist() if hasattr(value, "to_frame") else value
    labelled = type(value.index).__name__ != "RangeIndex"
    rows = _named_numbers(value.head(MAX_ROWS)).to_csv(index=labelled, lineterminator="\n")
    return _rows(rows, len(value))


def _array(value: Any) -> Any:
    if value.size <= MAX_ITEMS:
        return _items(value)
    with sys.modules["numpy"].printoptions(nanstr="NaN", infstr="Infinity"):
        return f"array of shape {value.shape}, {value.dtype}: {value}"


def _items(array: Any) -> Any:
    """Gives the items of an array, or a scalar, as Python's."""
    if array.dtype.kind == "M":
        return _moments(array)
    if array.dtype.kind == "m":
        return array.astype("m8[us]").tolist()
    if array.dtype.kind == "f" and array.dtype.itemsize < _DOUBLE_BYTES:
        # As it was written: 0.1, not 0.10000000149011612.
        return array.astype(str).astype(float).tolist()
    return array.tolist()


def _moments(array: Any) -> Any:
    numpy = sys.modules["numpy"]
    unit, _ = numpy.datetime_data(array.dtype)
    if unit in _DAYS:
        return array.astype("M8[D]").tolist()
    moments = array.astype("M8[us]")
    if numpy.all((moments == array) | numpy.isnat(array)):
        return moments.tolist()
    # Python's own have no nanoseconds, and NumPy would give numbers.
    return _without_nat(array.astype(str).tolist())


def _without_nat(items: Any) -> Any:
    if isinstance(items, list):
        return [_without_nat(item) for item in items]
    return None if items == "NaT" else items


def _number(value: Any) -> Any:
    if not isinstance(value, float) or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _named_numbers(frame: Any) -> Any:
    """Names NaN and infinity in columns of numbers, where pandas would write nothing and ``inf``."""
    changed = {}
    for position, kind in enumerate(frame.dtypes):
        column = frame.iloc[:, position]
        if getattr(kind, "kind", "") != "f" or abs(column).lt(math.inf).all():
            continue
        # Of pandas' own kinds, what is missing is not a NaN, and is written as nothing.
        of_numpy = type(kind).__module__.partition(".")[0] == "numpy"
        changed[position] = [_number(item) for item in (_items(column.to_numpy()) if of_numpy else column.tolist())]
    if not changed:
        return frame
    named = frame.copy(deep=False)
    for position, column in changed.items():
        named.isetitem(position, column)
    return named


def _csv(frame: Any) -> Any:
    try:
        infinite = [column for column in frame.iter_columns() if column.dtype.is_float() and column.is_infinite().any()]
        for column in infinite:
            frame = frame.with_columns(type(column)(column.name, [_number_text(item) for item in column.to_list()]))
        return frame.write_csv()
    except Exception:  # noqa: BLE001 - polars' own, for columns that CSV has no form for
        return frame.to_dicts()


def _number_text(value: float | None) -> str | None:
    return None if value is None else str(_number(value))


def _rows(rows: Any, count: int) -> Any:
    return f"{rows}… ({count - MAX_ROWS:,} more rows)" if isinstance(rows, str) and count > MAX_ROWS else rows
