"""pandas objects as Arrow tables and back, with a check that nothing changes on the way.

pyarrow keeps most of a frame in the "pandas" metadata of the schema. What it drops and can be restored (columns of
Python objects, a RangeIndex of columns, the frequency of dates, the name of a Series) is noted beside it. The check
converts a table of no rows there and back, which shows every change of dtypes, labels and names at no cost in rows.
"""

import json
from typing import TYPE_CHECKING, Any

from grpc_tool_bridge.errors import SerializationError
from grpc_tool_bridge.wire.packages import need

if TYPE_CHECKING:
    from pandas import DataFrame, Index, Series

_NOTES = b"dspex.bridge"
_NAME_TYPES = frozenset({str, int, bool, type(None)})


def frame_to_table(frame: "DataFrame") -> Any:
    """Converts a DataFrame to a pyarrow.Table that ``table_to_frame`` gives back unchanged.

    Raises:
        SerializationError: Arrow would change it; the text says what.
    """
    return _to_table(frame, {})


def series_to_table(series: "Series[Any]") -> Any:
    """Converts a Series to a pyarrow.Table of one column and its index.

    Raises:
        SerializationError: Arrow would change it, or its name is neither text, int, bool, None nor a tuple of those.
    """
    name: Any = series.name
    parts = name if type(name) is tuple else (name,)
    if not set(map(type, parts)) <= _NAME_TYPES:
        raise _inexact(f"its name {name!r} is neither a str, int, bool, None nor a tuple of those")
    frame = series.to_frame(name=name if type(name) is str else "values")
    frame.attrs = series.attrs
    return _to_table(frame, {"name": list(name) if type(name) is tuple else name})


def index_to_table(index: "Index[Any]") -> Any:
    """Converts an Index of any kind to a pyarrow.Table.

    Raises:
        SerializationError: Arrow would change it.
    """
    return _to_table(need("pandas").DataFrame(index=index), {})


def table_to_frame(table: Any) -> "DataFrame":
    """Converts a pyarrow.Table to the DataFrame that it was made of; any other table as pyarrow does."""
    pd = need("pandas")
    notes = _notes_of(table)
    frame: DataFrame = table.to_pandas()
    _check_notes(notes, table)
    for position, missing in notes.get("objects", []):
        values = table.column(position).to_pylist()
        if missing == "nan":
            values = [float("nan") if value is None else value for value in values]
        frame.isetitem(position, pd.Series(values, dtype=object, index=frame.index))
    if "rows" in notes:
        *bounds, name = notes["rows"]
        frame = frame.reindex(pd.RangeIndex(*bounds, name=name))
    if "range" in notes:
        frame.columns = pd.RangeIndex(*notes["range"], name=frame.columns.name)
    for axis in ("index", "columns"):
        freq = notes.get(f"{axis}_freq")
        if freq is not None:
            labels = getattr(frame, axis)
            if not isinstance(labels, pd.DatetimeIndex | pd.TimedeltaIndex):
                raise SerializationError(f"the notes of a frame give a frequency to {axis} that are no dates")
            # pandas refuses a frequency that the dates do not have.
            labels.freq = freq
    return frame


def table_to_series(table: Any) -> "Series[Any]":
    """Converts a pyarrow.Table to the Series that it was made of."""
    frame = table_to_frame(table)
    if frame.shape[1] != 1:
        raise SerializationError(f"a Series came as a table of {frame.shape[1]} columns")
    series: Series[Any] = frame.iloc[:, 0]
    notes = _notes_of(table)
    if "name" in notes:
        series.name = tuple(notes["name"]) if isinstance(notes["name"], list) else notes["name"]
    series.attrs = frame.attrs
    return series


def table_to_index(table: Any) -> "Index[Any]":
    """Converts a pyarrow.Table to the Index that it was made of."""
    return table_to_frame(table).index


def _notes_of(table: Any) -> dict[str, Any]:
    notes = json.loads((table.schema.metadata or {}).get(_NOTES, b"{}"))
    if not isinstance(notes, dict):
        raise SerializationError("the notes of a frame are no JSON object")
    return notes


def _check_notes(notes: dict[str, Any], table: Any) -> None:
    """Refuses notes that no writer makes: a few bytes of them would ask for any amount of time and memory."""
    is_dictionary = need("pyarrow").types.is_dictionary
    positions = [position for position, _ in notes.get("objects", [])]
    dictionaries = [place for place in positions if is_dictionary(table.schema.field(place).type)]
    if len(set(positions)) < len(positions) or dictionaries:
        raise SerializationError("the notes of a frame name a column of objects twice, or one that is a dictionary")
    if "rows" in notes and table.num_columns:
        raise SerializationError("the notes of a frame number its rows, but it has columns, which do so themselves")


def _inexact(what: str) -> SerializationError:
    return SerializationError(f"Arrow would change this pandas object: {what}; change it before sending it")


def _to_table(frame: "DataFrame", notes: dict[str, Any]) -> Any:
    pa = need("pyarrow")

    is_object = need("pandas").api.types.is_object_dtype
    _check_labels(frame)
    table = pa.Table.from_pandas(frame)
    notes |= _axis_notes(frame)
    notes["objects"] = [
        (position, _check_objects(frame.iloc[:, position], table.column(position)))
        for position, dtype in enumerate(frame.dtypes)
        if is_object(dtype)
    ]
    metadata = {**(table.schema.metadata or {}), _NOTES: json.dumps(notes).encode()}
    table = table.replace_schema_metadata(metadata)
    _check_values(frame, table)
    _check_shape(frame.iloc[:0], table_to_frame(table.slice(0, 0)), frame.index)
    return table


def _axis_notes(frame: "DataFrame") -> dict[str, Any]:
    pd = need("pandas")
    notes: dict[str, Any] = {}
    columns: Any = frame.columns
    if type(columns) is pd.RangeIndex:
        notes["range"] = [columns.start, columns.stop, columns.step]
    rows: Any = frame.index
    if type(rows) is pd.RangeIndex and not len(columns):
        # A table of no columns has no rows either.
        notes["rows"] = [rows.start, rows.stop, rows.step, rows.name]
    for axis in ("index", "columns"):
        labels = getattr(frame, axis)
        if isinstance(labels, pd.DatetimeIndex | pd.TimedeltaIndex) and labels.freq is not None:
            notes[f"{axis}_freq"] = labels.freqstr
    return notes


def _check_labels(frame: "DataFrame") -> None:
    """Refuses what pyarrow would only warn of."""
    pd = need("pandas")
    if not frame.columns.is_unique:
        raise _inexact("it has two columns of the same name")
    if not isinstance(frame.columns, pd.MultiIndex) and len({type(name) for name in frame.columns}) > 1:
        raise _inexact("its column names are of mixed types")
    for name in (*frame.index.names, *frame.columns.names):
        if name is not None and type(name) is not str:
            raise _inexact(f"the name {name!r} of its index or columns is no str")
    if frame.attrs and not _is_plain_json(frame.attrs):
        raise _inexact("its attrs are no plain JSON")


def _is_plain_json(value: Any) -> bool:
    try:
        return repr(json.loads(json.dumps(value, allow_nan=False))) == repr(value)
    except (TypeError, ValueError):
        return False


def _check_objects(series: "Series[Any]", column: Any) -> str:
    """Compares a column of Python objects with what Arrow makes of it; returns how a missing one is written."""
    before, after = series.tolist(), column.to_pylist()
    missing = {repr(old) for old, new in zip(before, after, strict=True) if new is None}
    if not (missing <= {"None"} or missing <= {"nan"}):
        raise _inexact(f"column {series.name!r} mixes {' and '.join(sorted(missing))} as missing values")
    for old, new in zip(before, after, strict=True):
        if new is not None and not _is_same(old, new):
            raise _inexact(f"column {series.name!r} holds {_brief(old)}, which becomes {_brief(new)}")
    return "nan" if "nan" in missing else "none"


def _is_same(old: Any, new: Any) -> bool:
    # The repr tells 1 from True and 1.0, and Decimal("1.1") from Decimal("1.10"), also inside containers.
    return type(old) is type(new) and (old == new if type(old) is str else repr(old) == repr(new))


def _brief(value: Any) -> str:
    return f"{repr(value)[:80]} ({type(value).__name__})"


def _check_values(frame: "DataFrame", table: Any) -> None:
    """Checks what depends on the values of columns and labels that are no Python objects."""
    np = need("numpy")
    pd = need("pandas")
    for name, dtype in zip(frame.columns, frame.dtypes, strict=True):
        if isinstance(dtype, pd.Float32Dtype | pd.Float64Dtype):
            values = frame[name].to_numpy(dtype=float, na_value=0.0)
            if np.isnan(values).any():
                raise _inexact(f"column {name!r} of dtype {dtype} holds NaN beside NA")
    if any(map(pd.api.types.is_object_dtype, _dtypes(frame.index))):
        after = table_to_frame(table).index.tolist()
        for old, new in zip(frame.index.tolist(), after, strict=True):
            if not _is_same(old, new):
                raise _inexact(f"its index holds {_brief(old)}, which becomes {_brief(new)}")


def _dtypes(index: "Index[Any]") -> list[Any]:
    pd = need("pandas")
    return list(index.dtypes) if isinstance(index, pd.MultiIndex) else [index.dtype]


def _check_shape(before: "DataFrame", after: "DataFrame", index: "Index[Any]") -> None:
    """Compares everything about a frame but its rows."""
    pd = need("pandas")
    _check_axis("columns", before.columns, after.columns)
    if [*map(_labelled, before.columns)] != [*map(_labelled, after.columns)]:
        raise _inexact(f"its column names {list(before.columns)[:5]} become {list(after.columns)[:5]}")
    # pyarrow notes a RangeIndex as such, which holds for all of the rows or none.
    if type(index) is not pd.RangeIndex:
        _check_axis("index", before.index, after.index)
    for name, old, new in zip(before.columns, before.dtypes, after.dtypes, strict=True):
        if not _is_same_dtype(old, new):
            raise _inexact(f"column {name!r} of dtype {old} becomes {new}")
    if before.attrs != after.attrs or before.flags != after.flags:
        raise _inexact("its attrs or flags are not kept")


def _labelled(label: Any) -> tuple[type, str]:
    return type(label), repr(label)


def _check_axis(axis: str, before: "Index[Any]", after: "Index[Any]") -> None:
    if type(before) is not type(after) or list(before.names) != list(after.names):
        raise _inexact(f"its {axis} {_described(before)} become {_described(after)}")
    if not all(map(_is_same_dtype, _dtypes(before), _dtypes(after))):
        raise _inexact(f"its {axis} of dtype {_dtypes(before)} become {_dtypes(after)}")
    if getattr(before, "freq", None) != getattr(after, "freq", None):
        raise _inexact(f"the frequency of its {axis} is not kept")


def _described(index: "Index[Any]") -> str:
    return f"{type(index).__name__} {list(index.names)}"


def _is_same_dtype(old: Any, new: Any) -> bool:
    pd = need("pandas")
    if isinstance(old, pd.CategoricalDtype) and isinstance(new, pd.CategoricalDtype):
        # Of unordered categories pandas' own comparison ignores the order.
        return (
            old.ordered == new.ordered
            and _is_same_dtype(old.categories.dtype, new.categories.dtype)
            and [*map(_labelled, old.categories)] == [*map(_labelled, new.categories)]
        )
    return bool(type(old) is type(new) and old == new)
