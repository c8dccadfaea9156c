"""The index and the columns of a DataFrame: labels that Arrow has no place for stand in the notes of the table."""

from typing import TYPE_CHECKING, Any

from grpc_tool_bridge.errors import SerializationError
from grpc_tool_bridge.optional import need
from grpc_tool_bridge.values.cells import read_label, write_label
from grpc_tool_bridge.values.columns import encode_categories, encode_level, is_native, is_same_dtype
from grpc_tool_bridge.values.forms import Encoded, Place, labelled

if TYPE_CHECKING:
    from pandas import DataFrame, Index

Notes = dict[str, Any]


def freq_note(axis: str, labels: "Index[Any]") -> Notes:
    """Notes the frequency of dates, which pyarrow drops."""
    pd = need("pandas")
    if isinstance(labels, pd.DatetimeIndex | pd.TimedeltaIndex) and labels.freq is not None:
        return {f"{axis}_freq": labels.freqstr}
    return {}


def range_note(columns: Any) -> Notes:
    """Notes that the columns are numbers of a range: pyarrow keeps the numbers alone."""
    if type(columns) is need("pandas").RangeIndex:
        return {"range": [columns.start, columns.stop, columns.step]}
    return {}


def read_range(frame: "DataFrame", notes: Notes) -> None:
    """Gives a frame the columns that ``range_note`` noted, and their frequency where they are dates."""
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
    """Gives a frame the index that ``write_index`` noted, of the levels that were read apart."""
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
        # A name can be a number, which would be taken for that of a level.
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
    """Tells that labels are missing in a level, and the others are read as of another dtype: integers as floats."""
    multi = isinstance(index, need("pandas").MultiIndex)
    return multi and index.levels[number].dtype != _levels_of(index)[number].dtype


def are_kept(labels: "Index[Any]") -> bool:
    """Tells that pyarrow, with the notes of this module, keeps these labels of columns."""
    pa, pd = need("pyarrow"), need("pandas")
    dtypes = _dtypes(labels)
    # Of objects pyarrow may warn, and what it makes of them is for their values to say.
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
        # The frequency has a note of its own.
        if isinstance(labels, pd.DatetimeIndex | pd.TimedeltaIndex):
            back.freq = labels.freq
        check_axis("columns", labels, back)
    # Arrow has texts as names; of which class its errors are for others, depends on them.
    except Exception:  # noqa: BLE001
        return False
    return [*map(labelled, labels)] == [*map(labelled, back)]


def text_labels(labels: "Index[Any]") -> "Index[Any]":
    """Makes a text of each label, for other readers of Arrow."""
    texts = [str(label) for label in labels]
    if len(set(texts)) < len(texts):
        texts = [f"{number} {text}" for number, text in enumerate(texts)]
    made: Index[Any] = need("pandas").Index(texts, dtype=object)
    return made


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


def _zeros(length: int) -> Any:
    np, pd = need("numpy"), need("pandas")
    return pd.Index(np.zeros(length, "int8"))


def _built(levels: list[Any], names: list[Any], exact: list[int], *, multi: bool) -> Any:
    pd = need("pandas")
    if not multi:
        (labels,) = levels
        return pd.Index(labels, dtype=labels.dtype).set_names(names)
    index = pd.MultiIndex.from_arrays([pd.Index(labels, dtype=labels.dtype) for labels in levels])
    for number in exact:
        index = index.set_levels(levels[number].categories, level=number)
    # At last, for the same reason as in _levels_of.
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
        raise SerializationError("the notes of a frame give no list of names")
    return names


def _set_freq(frame: "DataFrame", axis: str, notes: Notes) -> None:
    pd = need("pandas")
    freq = notes.get(f"{axis}_freq")
    if freq is not None:
        labels = getattr(frame, axis)
        if not isinstance(labels, pd.DatetimeIndex | pd.TimedeltaIndex):
            raise SerializationError(f"the notes of a frame give a frequency to {axis} that are no dates")
        # pandas refuses a frequency that the dates do not have.
        labels.freq = freq
