"""The index and the columns of a DataFrame: labels that Arrow has no place for stand in the notes of the table."""

from typing import TYPE_CHECKING, Any

from grpc_tool_bridge.errors import SerializationError
from grpc_tool_bridge.wire.cells import read_label, write_label
from grpc_tool_bridge.wire.columns import (
    Encoded,
    Place,
    encode_level,
    is_native,
    is_same_dtype,
    labelled,
    read_labels,
    write_labels,
)
from grpc_tool_bridge.wire.packages import need

if TYPE_CHECKING:
    from pandas import DataFrame, Index

Notes = dict[str, Any]


def write_columns(labels: Any, code: str) -> tuple["Index[Any]", Notes]:
    """Finds what stands for the columns in Arrow.

    Args:
        labels: ``frame.columns``.
        code: Python that names the frame.

    Returns:
        Labels that pyarrow keeps, which are ``labels`` where it keeps those, and notes for ``read_columns``.

    Raises:
        SerializationError: Some label has no exact form.
    """
    pd = need("pandas")
    if type(labels) is pd.RangeIndex and _are_plain_names(labels):
        return labels, {"range": [labels.start, labels.stop, labels.step]}
    if _is_kept(labels):
        return labels, _freq_note("columns", labels)
    place = Place("its columns", f"{code}.columns")
    note = {
        "levels": [write_labels(level, place) for level in levels_of(labels)],
        "names": _write_names(labels, place),
        "multi": isinstance(labels, pd.MultiIndex),
    }
    return pd.Index(_unique_texts(labels), dtype=object), {"columns": note, **_freq_note("columns", labels)}


def read_columns(frame: "DataFrame", notes: Notes) -> None:
    """Gives a frame the columns that ``write_columns`` noted."""
    note = notes.get("columns")
    if note is not None:
        levels = [read_labels(text) for text in note["levels"]]
        frame.columns = _built(levels, _read_names(note["names"]), multi=note["multi"])
    if "range" in notes:
        frame.columns = need("pandas").RangeIndex(*notes["range"], name=frame.columns.name)
    _set_freq(frame, "columns", notes)


def write_index(index: "Index[Any]", code: str) -> tuple["Index[Any]", dict[int, Encoded], Notes]:
    """Finds what stands for the index in Arrow.

    Args:
        index: ``frame.index``.
        code: Python that names the index.

    Returns:
        An index that pyarrow keeps, what stands in its place by level, and notes for ``read_index``.

    Raises:
        SerializationError: Some label has no exact form.
    """
    pd = need("pandas")
    place = Place("its index", code)
    notes = _freq_note("index", index)
    if type(index) is pd.RangeIndex:
        encoded = {}
    else:
        found = {number: encode_level(series_of(level), place) for number, level in enumerate(levels_of(index))}
        encoded = {number: column for number, column in found.items() if column is not None}
    multi = isinstance(index, pd.MultiIndex)
    if not encoded and _are_plain_names(index) and (not multi or index.nlevels > 1):
        return index, {}, notes
    notes["index"] = {"names": _write_names(index, place), "multi": multi}
    if encoded:
        levels = [_zeros(len(index)) if number in encoded else level for number, level in enumerate(levels_of(index))]
        index = _built(levels, [None] * len(levels), multi=len(levels) > 1)
    else:
        index = index.set_names([None] * index.nlevels)
    return index, encoded, notes


def read_index(frame: "DataFrame", levels: dict[int, Any], notes: Notes) -> None:
    """Gives a frame the index that ``write_index`` noted, of the levels that were read apart."""
    pd = need("pandas")
    note = notes.get("index")
    if note is not None:
        names = _read_names(note["names"])
        if levels or note["multi"]:
            whole = [
                pd.Index(levels[number], dtype=levels[number].dtype) if number in levels else level
                for number, level in enumerate(levels_of(frame.index))
            ]
            frame.index = _built(whole, names, multi=note["multi"])
        else:
            frame.index = frame.index.set_names(names)
    elif levels:
        raise SerializationError("the notes of a frame give forms to columns that it does not have")
    _set_freq(frame, "index", notes)


def levels_of(index: "Index[Any]") -> list["Index[Any]"]:
    """Gives the labels of each level."""
    if isinstance(index, need("pandas").MultiIndex):
        return [index.get_level_values(number) for number in range(index.nlevels)]
    return [index]


def series_of(labels: "Index[Any]") -> Any:
    """Gives labels as a column."""
    return need("pandas").Series(labels.array, dtype=labels.dtype)


def check_axis(axis: str, before: "Index[Any]", after: "Index[Any]") -> None:
    """Compares everything about two axes but their labels.

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


def _is_kept(labels: "Index[Any]") -> bool:
    """Tells that pyarrow keeps these labels of columns."""
    pa, pd = need("pyarrow"), need("pandas")
    dtypes = _dtypes(labels)
    # Of objects pyarrow may warn, and what it makes of them is for their values to say.
    if not _are_plain_names(labels) or not all(map(is_native, dtypes)):
        return False
    try:
        if not labels.is_unique:
            return False
        if type(labels) is pd.Index and (dtypes == ["int64"] or dtypes == [pd.Index(["x"]).dtype]):
            return True
        back = pa.Table.from_pandas(pd.DataFrame(columns=labels, index=[], dtype="int8")).to_pandas().columns
        # The frequency has a note of its own.
        if isinstance(labels, pd.DatetimeIndex | pd.TimedeltaIndex):
            back.freq = labels.freq
        check_axis("columns", labels, back)
    # Arrow has texts as names; of which class its errors are for others, depends on them.
    except Exception:  # noqa: BLE001
        return False
    return [*map(labelled, labels)] == [*map(labelled, back)]


def _unique_texts(labels: "Index[Any]") -> list[str]:
    texts = [str(label) for label in labels]
    if len(set(texts)) == len(texts):
        return texts
    return [f"{number} {text}" for number, text in enumerate(texts)]


def _zeros(length: int) -> Any:
    np, pd = need("numpy"), need("pandas")
    return pd.Index(np.zeros(length, "int8"))


def _built(levels: list[Any], names: list[Any], *, multi: bool) -> Any:
    if multi:
        return need("pandas").MultiIndex.from_arrays(levels, names=names)
    (labels,) = levels
    return labels.set_names(names)


def _write_names(index: "Index[Any]", place: Place) -> str:
    try:
        return write_label(list(index.names))
    except SerializationError as failure:
        raise place.inexact(f"has the names {list(index.names)!r:.80}: {failure}", f"set_names({[None] * index.nlevels})") from failure


def _read_names(text: str) -> list[Any]:
    names = read_label(text)
    if not isinstance(names, list):
        raise SerializationError("the notes of a frame give no list of names")
    return names


def _freq_note(axis: str, labels: "Index[Any]") -> Notes:
    pd = need("pandas")
    if isinstance(labels, pd.DatetimeIndex | pd.TimedeltaIndex) and labels.freq is not None:
        return {f"{axis}_freq": labels.freqstr}
    return {}


def _set_freq(frame: "DataFrame", axis: str, notes: Notes) -> None:
    pd = need("pandas")
    freq = notes.get(f"{axis}_freq")
    if freq is not None:
        labels = getattr(frame, axis)
        if not isinstance(labels, pd.DatetimeIndex | pd.TimedeltaIndex):
            raise SerializationError(f"the notes of a frame give a frequency to {axis} that are no dates")
        # pandas refuses a frequency that the dates do not have.
        labels.freq = freq
