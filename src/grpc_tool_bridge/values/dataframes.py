"""Converts pandas objects to Arrow tables and back, and checks that nothing changes on the way.

pyarrow keeps most of a frame in the "pandas" metadata of the schema. What it drops or refuses (columns of Python
objects and of some dtypes, a RangeIndex of columns, labels of mixed kinds, the frequency of dates, the name of a
Series) is noted beside it. The check converts a table without rows there and back, which shows every change of dtypes,
labels and names at no cost in rows.
"""

import json
from typing import TYPE_CHECKING, Any

from grpc_tool_bridge.errors import SerializationError
from grpc_tool_bridge.optional import need
from grpc_tool_bridge.rpc.nodes import MAX_NODES
from grpc_tool_bridge.values.arrow_stream import check_expansion, read_inner, write_inner
from grpc_tool_bridge.values.cells import read_label, write_label
from grpc_tool_bridge.values.columns import (
    Encoded,
    Form,
    Place,
    decode_column,
    encode_categories,
    encode_column,
    encode_level,
    is_native,
    is_same_dtype,
    labelled,
)
from grpc_tool_bridge.values.jsontext import too_many

if TYPE_CHECKING:
    from pandas import DataFrame, Index, Series

_NOTES = b"dspex.bridge"
_OWNERS = ("frame", "series")
_NAME_TYPES = frozenset({str, int, bool, type(None)})

Notes = dict[str, Any]


def frame_to_table(frame: "DataFrame") -> Any:
    """Converts a DataFrame to a pyarrow.Table that ``table_to_frame`` restores unchanged.

    Raises:
        SerializationError: Arrow would change it; the text says what, and how to fix it.
    """
    return _to_table(frame, {}, "frame")


def series_to_table(series: "Series[Any]") -> Any:
    """Converts a Series to a pyarrow.Table of one column and its index; raises as ``frame_to_table``."""
    name: Any = series.name
    parts = name if type(name) is tuple else (name,)
    if set(map(type, parts)) <= _NAME_TYPES:
        notes = {"name": list(name) if type(name) is tuple else name}
    else:
        notes = {"label": _label(name)}
    frame = series.to_frame(name=name if type(name) is str else "values")
    frame.attrs = series.attrs
    return _to_table(frame, notes, "series")


def index_to_table(index: "Index[Any]") -> Any:
    """Converts an Index of any kind to a pyarrow.Table; raises as ``frame_to_table``."""
    return _to_table(need("pandas").DataFrame(index=index), {}, "index")


def table_to_frame(table: Any) -> "DataFrame":
    """Converts a pyarrow.Table to the DataFrame that it was made from; any other table as pyarrow does."""
    pd = need("pandas")
    notes = _notes_of(table)
    forms = _forms_of(notes, table)
    zeros = _zeros(table.num_rows)
    plain = _replaced(table, dict.fromkeys(forms, zeros))
    check_expansion(plain.schema)
    frame: DataFrame = plain.to_pandas()
    width = frame.shape[1]
    levels = {}
    for position, form in forms.items():
        values = decode_column(table.column(position), form)
        if position < width:
            frame.isetitem(position, pd.Series(values, dtype=values.dtype, index=frame.index))
        else:
            levels[position - width] = values
    if "rows" in notes:
        *bounds, name = notes["rows"]
        frame = frame.reindex(_bounded(pd.RangeIndex(*bounds, name=name)))
    read_index(frame, levels, notes)
    if "columns" in notes:
        frame.columns = table_to_index(read_inner(notes["columns"]))
    read_range(frame, notes)
    return frame


def table_to_series(table: Any) -> "Series[Any]":
    """Converts a pyarrow.Table to the Series that it was made from."""
    frame = table_to_frame(table)
    if frame.shape[1] != 1:
        raise SerializationError(f"a Series came as a table of {frame.shape[1]} columns")
    series: Series[Any] = frame.iloc[:, 0]
    notes = _notes_of(table)
    if "name" in notes:
        series.name = tuple(notes["name"]) if isinstance(notes["name"], list) else notes["name"]
    elif "label" in notes:
        series.name = read_label(notes["label"])
    series.attrs = frame.attrs
    return series


def table_to_index(table: Any) -> "Index[Any]":
    """Converts a pyarrow.Table to the Index that it was made from."""
    return table_to_frame(table).index


def _label(name: Any) -> str:
    try:
        return write_label(name)
    except SerializationError as failure:
        raise _inexact(f"its name {name!r:.80}: {failure}; run: series = series.rename({str(name)[:80]!r})") from None


def _notes_of(table: Any) -> dict[str, Any]:
    notes = json.loads((table.schema.metadata or {}).get(_NOTES, b"{}"))
    if not isinstance(notes, dict):
        raise SerializationError("the notes of a frame are not a JSON object")
    if "rows" in notes and table.num_columns:
        raise SerializationError("the notes of a frame give its number of rows, although it has columns")
    return notes


def _forms_of(notes: dict[str, Any], table: Any) -> dict[int, Form]:
    """Returns the forms of columns by position.

    No writer names a column twice: a few bytes of that would cost any amount of time and memory.
    """
    found = [(position, ["objects", missing]) for position, missing in notes.get("objects", [])]
    found += [(position, form) for position, *form in notes.get("forms", [])]
    forms = dict(found)
    if len(forms) < len(found) or not forms.keys() <= set(range(table.num_columns)):
        raise SerializationError("the notes of a frame name a column twice, or one that it does not have")
    return forms


def _zeros(length: int) -> Any:
    """Stands for a column that is hidden from pyarrow."""
    return need("numpy").zeros(length, "int8")


def _replaced(table: Any, columns: dict[int, Any]) -> Any:
    """Replaces columns in one step: one by one, it would take quadratic time."""
    if not columns:
        return table
    pa = need("pyarrow")
    arrays, fields = table.columns, list(table.schema)
    for position, column in columns.items():
        arrays[position] = column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([pa.array(column)])
        fields[position] = pa.field(fields[position].name, arrays[position].type)
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields, table.schema.metadata))


def _to_table(frame: "DataFrame", notes: dict[str, Any], code: str) -> Any:
    pa, pd = need("pyarrow"), need("pandas")
    if frame.attrs and not _is_plain_json(frame.attrs):
        raise _inexact(f"its attrs are not plain JSON; run: {code}.attrs = {{}}")
    encoded = _encode_columns(frame, code)
    plain = frame.copy(deep=False)
    for position in encoded:
        plain.isetitem(position, _zeros(len(frame)))
    if are_kept(frame.columns):
        notes |= range_note(frame.columns) | freq_note("columns", frame.columns)
    else:
        # Of any kind, as an index may be; only our reader uses them.
        notes["columns"] = write_inner(_to_table(pd.DataFrame(index=frame.columns), {}, f"{code}.columns"))
        plain.columns = text_labels(frame.columns)
    plain.index, levels, axis_notes = write_index(frame.index, f"{code}.index" if code in _OWNERS else code)
    notes |= axis_notes | _rows_note(plain)
    encoded |= {position + frame.shape[1]: level for position, level in levels.items()}
    table = _replaced(pa.Table.from_pandas(plain), {position: column for position, (column, _) in encoded.items()})
    notes["objects"] = [(place, *form[1:]) for place, (_, form) in encoded.items() if form[0] == "objects"]
    notes["forms"] = [(place, *form) for place, (_, form) in encoded.items() if form[0] != "objects"]
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), _NOTES: json.dumps(notes).encode()})
    _check_shape(frame.iloc[:0], table_to_frame(table.slice(0, 0)), frame.index)
    return table


def _encode_columns(frame: "DataFrame", code: str) -> dict[int, Encoded]:
    found = {}
    for position, dtype in enumerate(frame.dtypes):
        if not is_native(dtype):
            label = frame.columns[position]
            place = Place(f"column {label!r:.80}", code if code == "series" else f"{code}[{label!r:.80}]")
            encoded = encode_column(frame.iloc[:, position], place)
            if encoded is not None:
                found[position] = encoded
    return found


def _rows_note(frame: "DataFrame") -> dict[str, Any]:
    rows: Any = frame.index
    if type(rows) is need("pandas").RangeIndex and not len(frame.columns):
        # A table without columns has no rows either.
        _bounded(rows)
        return {"rows": [rows.start, rows.stop, rows.step, rows.name]}
    return {}


def _bounded(rows: "Index[Any]") -> "Index[Any]":
    """Returns the rows of a frame without columns, which take no bytes, if somebody can list them."""
    if len(rows) > MAX_NODES:
        raise too_many(MAX_NODES)
    return rows


def _is_plain_json(value: Any) -> bool:
    try:
        return repr(json.loads(json.dumps(value, allow_nan=False))) == repr(value)
    except (TypeError, ValueError):
        return False


def _check_shape(before: "DataFrame", after: "DataFrame", index: "Index[Any]") -> None:
    """Compares everything about a frame except its rows."""
    check_axis("columns", before.columns, after.columns)
    if [*map(labelled, before.columns)] != [*map(labelled, after.columns)]:
        raise _inexact(f"its column names {list(before.columns)[:5]} become {list(after.columns)[:5]}")
    # pyarrow notes a RangeIndex as such, whatever the number of rows.
    if type(index) is not need("pandas").RangeIndex:
        check_axis("index", before.index, after.index)
    for name, old, new in zip(before.columns, before.dtypes, after.dtypes, strict=True):
        if not is_same_dtype(old, new):
            raise _inexact(
                f'column {name!r} of dtype {old} becomes {new}; run: frame[{name!r}] = frame[{name!r}].astype("string")'
            )
    if before.attrs != after.attrs:
        raise _inexact("its attrs are not kept; run: frame.attrs = {}")
    if before.flags != after.flags:
        raise _inexact("its flags are not kept; run: frame = frame.set_flags(allows_duplicate_labels=True)")


# ---------------------------------------------------------------------------------------------------- index and columns


def freq_note(axis: str, labels: "Index[Any]") -> Notes:
    """Notes the frequency of dates, which pyarrow drops."""
    pd = need("pandas")
    if isinstance(labels, pd.DatetimeIndex | pd.TimedeltaIndex) and labels.freq is not None:
        return {f"{axis}_freq": labels.freqstr}
    return {}


def range_note(columns: Any) -> Notes:
    """Notes that the columns are a range: pyarrow keeps only the numbers."""
    if type(columns) is need("pandas").RangeIndex:
        return {"range": [columns.start, columns.stop, columns.step]}
    return {}


def read_range(frame: "DataFrame", notes: Notes) -> None:
    """Restores the columns of a frame that ``range_note`` noted, and the frequency if they are dates."""
    if "range" in notes:
        frame.columns = need("pandas").RangeIndex(*notes["range"], name=frame.columns.name)
    _set_freq(frame, "columns", notes)


def write_index(index: "Index[Any]", code: str) -> tuple["Index[Any]", dict[int, Encoded], Notes]:
    """Converts an index for Arrow; ``code`` is the Python expression for it.

    Returns:
        An index that pyarrow keeps, the replacement columns by level, and notes for ``read_index``.

    Raises:
        SerializationError: A label has no exact form.
    """
    pd = need("pandas")
    place = Place("its index", code)
    notes = freq_note("index", index)
    if type(index) is pd.RangeIndex:
        encoded = {}
    else:
        found = {number: _encode_level(index, number, place) for number in range(index.nlevels)}
        encoded = {number: column for number, column in found.items() if column is not None}
    multi = isinstance(index, pd.MultiIndex)
    exact = [number for number in range(index.nlevels) if _hides_its_dtype(index, number)]
    if not encoded and _are_plain_names(index) and (not multi or index.nlevels > 1):
        return index, {}, notes
    notes["index"] = {"names": _write_names(index, place), "multi": multi, "exact": exact}
    if encoded:
        levels = [_zeros(len(index)) if number in encoded else level for number, level in enumerate(_levels_of(index))]
        index = _built(levels, [None] * len(levels), [], multi=len(levels) > 1)
    else:
        index = index.set_names([None] * index.nlevels)
    return index, encoded, notes


def read_index(frame: "DataFrame", levels: dict[int, Any], notes: Notes) -> None:
    """Restores the index of a frame that ``write_index`` noted, from the levels that were read separately."""
    note = notes.get("index")
    if max(levels, default=-1) >= (frame.index.nlevels if note else 0):
        raise SerializationError("the notes of a frame give forms to columns that it does not have")
    if note is not None:
        names = _read_names(note["names"])
        if levels or note["multi"]:
            whole = [levels.get(number, level) for number, level in enumerate(_levels_of(frame.index))]
            frame.index = _built(whole, names, note["exact"], multi=note["multi"])
        else:
            frame.index = frame.index.set_names(names)
    _set_freq(frame, "index", notes)


def _levels_of(index: "Index[Any]") -> list["Index[Any]"]:
    if isinstance(index, need("pandas").MultiIndex):
        # A name can be a number, which would be mistaken for the number of a level.
        index = index.set_names([None] * index.nlevels)
        return [index.get_level_values(number) for number in range(index.nlevels)]
    return [index]


def _encode_level(index: Any, number: int, place: Place) -> Encoded | None:
    pd = need("pandas")
    values = _levels_of(index)[number]
    if _hides_its_dtype(index, number):
        codes: Any = index.codes[number]
        return encode_categories(pd.Series(pd.Categorical.from_codes(codes, categories=index.levels[number])), place)
    return encode_level(pd.Series(values.array, dtype=values.dtype), place)


def _hides_its_dtype(index: Any, number: int) -> bool:
    """Whether a level has missing labels that change the dtype of the others: integers become floats."""
    multi = isinstance(index, need("pandas").MultiIndex)
    return multi and index.levels[number].dtype != _levels_of(index)[number].dtype


def are_kept(labels: "Index[Any]") -> bool:
    """Whether pyarrow, with the notes of this module, preserves these column labels."""
    pa, pd = need("pyarrow"), need("pandas")
    dtypes = _dtypes(labels)
    # pyarrow may warn about objects; the comparison of values shows what it makes of them.
    if not _are_plain_names(labels) or not all(map(is_native, dtypes)):
        return False
    if type(labels) is pd.RangeIndex:
        return True
    try:
        if not labels.is_unique:
            return False
        if type(labels) is pd.Index and (dtypes == ["int64"] or dtypes == [pd.Index(["x"]).dtype]):
            return True
        back = pa.Table.from_pandas(pd.DataFrame(columns=labels, index=[], dtype="int8")).to_pandas().columns
        # The frequency is noted separately.
        if isinstance(labels, pd.DatetimeIndex | pd.TimedeltaIndex):
            back.freq = labels.freq
        check_axis("columns", labels, back)
    # Arrow accepts only texts as names; the class of its error for others varies.
    except Exception:  # noqa: BLE001
        return False
    return [*map(labelled, labels)] == [*map(labelled, back)]


def text_labels(labels: "Index[Any]") -> "Index[Any]":
    """Converts each label to text, for other readers of Arrow."""
    texts = [str(label) for label in labels]
    if len(set(texts)) < len(texts):
        texts = [f"{number} {text}" for number, text in enumerate(texts)]
    made: Index[Any] = need("pandas").Index(texts, dtype=object)
    return made


def check_axis(axis: str, before: "Index[Any]", after: "Index[Any]") -> None:
    """Compares everything about two axes except their labels.

    Raises:
        SerializationError: They differ.
    """
    if type(before) is not type(after) or [*map(labelled, before.names)] != [*map(labelled, after.names)]:
        raise _inexact(f"its {axis} {_described(before)} become {_described(after)}")
    if not all(map(is_same_dtype, _dtypes(before), _dtypes(after))):
        raise _inexact(f"its {axis} of dtype {_dtypes(before)} become {_dtypes(after)}")
    if getattr(before, "freq", None) != getattr(after, "freq", None):
        raise _inexact(f"the frequency of its {axis} is not kept; run: frame.{axis}.freq = None")


def _inexact(what: str) -> SerializationError:
    return SerializationError(f"Arrow would change this pandas object: {what}")


def _dtypes(index: "Index[Any]") -> list[Any]:
    return list(index.dtypes) if isinstance(index, need("pandas").MultiIndex) else [index.dtype]


def _described(index: "Index[Any]") -> str:
    return f"{type(index).__name__} {list(index.names)}"


def _are_plain_names(index: "Index[Any]") -> bool:
    names = [name for name in index.names if name is not None]
    return all(type(name) is str for name in names) and len(set(names)) == len(names)


def _built(levels: list[Any], names: list[Any], exact: list[int], *, multi: bool) -> Any:
    pd = need("pandas")
    if not multi:
        (labels,) = levels
        return pd.Index(labels, dtype=labels.dtype).set_names(names)
    index = pd.MultiIndex.from_arrays([pd.Index(labels, dtype=labels.dtype) for labels in levels])
    for number in exact:
        index = index.set_levels(levels[number].categories, level=number)
    # Last, for the same reason as in _levels_of.
    return index.set_names(names)


def _write_names(index: "Index[Any]", place: Place) -> str:
    try:
        return write_label(list(index.names))
    except SerializationError as failure:
        mend = f"set_names({[None] * index.nlevels})"
        raise place.inexact(f"has the names {list(index.names)!r:.80}: {failure}", mend) from failure


def _read_names(text: str) -> list[Any]:
    names = read_label(text)
    if not isinstance(names, list):
        raise SerializationError("the notes of a frame do not give a list of names")
    return names


def _set_freq(frame: "DataFrame", axis: str, notes: Notes) -> None:
    pd = need("pandas")
    freq = notes.get(f"{axis}_freq")
    if freq is not None:
        labels = getattr(frame, axis)
        if not isinstance(labels, pd.DatetimeIndex | pd.TimedeltaIndex):
            raise SerializationError(f"the notes of a frame give a frequency to {axis} that are not dates")
        # pandas refuses a frequency that does not match the dates.
        labels.freq = freq
