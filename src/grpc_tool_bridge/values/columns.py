"""Columns of pandas that pyarrow alone would change or refuse, each as an Arrow array and a form.

A form is a list in the notes of a table: a name, and what the array cannot express. The array holds the values, as far
as Arrow can represent them, so that any other reader of Arrow finds them.
"""

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

from grpc_tool_bridge.errors import SerializationError
from grpc_tool_bridge.optional import need
from grpc_tool_bridge.values.arrow_stream import check_expansion, has_views, read_inner, write_inner
from grpc_tool_bridge.values.cells import read_cell, read_label, write_cell, write_label
from grpc_tool_bridge.values.foreign import foreign

if TYPE_CHECKING:
    from pandas import Index, Series

Form = list[Any]
# An Arrow array, and the form that restores the column.
Encoded = tuple[Any, Form]

NATIVE_KINDS = "biufmM"
# Objects without foreign code.
_PLAIN = frozenset({str, int, float, bool, type(None), bytes, Decimal, UUID})
WIDEST_FLOAT = 8

_FORM = b"dspex.bridge.form"


@dataclass(frozen=True, slots=True)
class Place:
    """How an error names a column.

    Attributes:
        what: Such as "column 'a'".
        code: The Python expression for it, such as "frame['a']".
    """

    what: str
    code: str

    def inexact(self, why: str, mend: str) -> SerializationError:
        """Returns an error.

        Args:
            why: What Arrow would change, as the end of a sentence.
            mend: The method call on the column that fixes it, such as ``astype("string")``.
        """
        return SerializationError(
            f"Arrow would change this pandas object: {self.what} {why}; run: {self.code} = {self.code}.{mend}"
        )


# ---------------------------------------------------------------------------------------------------------------- forms


def object_array(values: list[Any]) -> Any:
    """Makes a numpy array of objects; numpy by itself would unpack them."""
    array = need("numpy").empty(len(values), dtype=object)
    for place, value in enumerate(values):
        array[place] = value
    return array


def labelled(label: Any) -> tuple[type, str]:
    """Returns a key that is equal for identical labels only: 1 is not True."""
    return type(label), repr(label)


def encode_objects(values: "Series[Any]", place: Place) -> Encoded:
    """Writes a column of Python objects: as an Arrow array if they are of one kind, else each as a RichValue."""
    pa = need("pyarrow")
    before = list(values.to_numpy())
    if not _PLAIN.issuperset(map(type, before)):
        # Arrow, the comparison and the error text call methods of each object.
        foreign(values)
    try:
        column = pa.array(values.to_numpy(), from_pandas=True)
        after = column.to_pylist()
    # Arrow holds values of one kind; it raises many classes of errors for others.
    except Exception:  # noqa: BLE001
        column, after = None, []
    if column is not None:
        missing = {repr(old) for old, new in zip(before, after, strict=True) if new is None}
        known = missing <= {"None"} or missing <= {"nan"}
        if known and all(new is None or _is_same(old, new) for old, new in zip(before, after, strict=True)):
            return column, ["objects", "nan" if "nan" in missing else "none"]
    return pa.array([_cell(value, place) for value in before], pa.large_binary()), ["cells"]


def _is_same(old: Any, new: Any) -> bool:
    # The repr tells 1 from True and 1.0, and Decimal("1.1") from Decimal("1.10"), also inside containers.
    return type(old) is type(new) and (old == new if type(old) is str else repr(old) == repr(new))


def _cell(value: Any, place: Place) -> bytes:
    try:
        return write_cell(value)
    except (SerializationError, RecursionError) as failure:
        reason = "is nested too deep" if isinstance(failure, RecursionError) else str(failure)[:200]
        brief = f"{repr(value)[:80]} ({type(value).__name__})"
        mend = 'map(lambda text: str(text).encode("utf-8", "replace").decode())' if type(value) is str else "map(str)"
        if hasattr(value, "tolist"):
            # For example the result of unique() of groups, whose text is multi-line.
            mend = "map(list)"
        raise place.inexact(f"holds {brief}, and {reason}", mend) from failure


def decode_objects(column: Any, missing: str) -> Any:
    """Reads objects of one kind."""
    if need("pyarrow").types.is_dictionary(column.type):
        raise SerializationError("the notes of a frame name a column of objects that is a dictionary")
    values = column.to_pylist()
    if missing == "nan":
        values = [float("nan") if value is None else value for value in values]
    return object_array(values)


def decode_cells(column: Any) -> Any:
    """Reads objects that were written one by one."""
    types = need("pyarrow").types
    if not types.is_large_binary(column.type) and not types.is_binary(column.type):
        raise SerializationError("the notes of a frame name a column of objects that is not binary")
    return object_array([*map(read_cell, column.to_pylist())])


def encode_numbers(values: "Series[Any]", place: Place) -> Encoded:
    """Writes a column of complex numbers, or of numbers in non-native byte order."""
    np, pa = need("numpy"), need("pyarrow")
    dtype: Any = values.dtype
    native = dtype.newbyteorder("=")
    if native.kind in NATIVE_KINDS and native.itemsize <= WIDEST_FLOAT:
        return pa.array(values.to_numpy().astype(native)), ["numpy", dtype.str]
    if native.kind == "c" and native.itemsize <= 2 * WIDEST_FLOAT:
        pairs = np.ascontiguousarray(values.to_numpy().astype(native)).view(f"f{native.itemsize // 2}")
        return pa.FixedSizeListArray.from_arrays(pa.array(pairs), 2), ["numpy", dtype.str]
    kind = {"f": "float64", "c": "complex128"}.get(native.kind, "string")
    raise place.inexact(f"of dtype {dtype} has no form", f'astype("{kind}")')


def decode_numbers(column: Any, dtype: str) -> Any:
    """Reads complex numbers, or numbers in non-native byte order."""
    np = need("numpy")
    kind = np.dtype(dtype)
    array = joined(column)
    if kind.kind == "c":
        pairs = np.array(array.flatten(), dtype=f"f{kind.itemsize // 2}")
        return pairs.view(kind.newbyteorder("=")).astype(kind)
    if kind.kind not in NATIVE_KINDS:
        raise SerializationError(f"the notes of a frame give a column the dtype {dtype[:80]!r}")
    return np.array(array).astype(kind)


def encode_floats(values: "Series[Any]") -> Encoded | None:
    """Writes a nullable column that holds both NaN and NA, which pandas would read back as NA."""
    np, pa = need("numpy"), need("pyarrow")
    array: Any = values.array
    if not np.isnan(values.to_numpy(dtype=float, na_value=0.0)).any():
        return None
    return pa.array(array), ["floats"]


def decode_floats(column: Any) -> Any:
    """Reads a nullable column in which NaN and NA differ."""
    np, pd = need("numpy"), need("pandas")
    array = joined(column)
    mask = np.array(array.is_null())
    return pd.arrays.FloatingArray(np.array(array.fill_null(0)), mask)


def decode_pandas(column: Any, metadata: str) -> Any:
    """Reads a column by the metadata that pyarrow wrote for it alone."""
    table = need("pyarrow").table({"x": column}, metadata={"pandas": metadata})
    return table.to_pandas().iloc[:, 0].array


def encode_arrow(values: "Series[Any]", place: Place) -> Encoded:
    """Writes a column of an ArrowDtype, which stays as it is."""
    dtype: Any = values.dtype
    if has_views(dtype.pyarrow_dtype):
        raise place.inexact(f"of dtype {dtype!s:.80} has no form", "tolist()")
    return values.array.__arrow_array__(), ["arrow"]


def decode_arrow(column: Any) -> Any:
    """Reads a column of an ArrowDtype."""
    if has_views(column.type):
        raise SerializationError(
            f"a column of type {column.type!s:.80} is not read into pandas; cast it to one without views"
        )
    return need("pandas").arrays.ArrowExtensionArray(column)


def encode_text(values: "Series[Any]", _: Place) -> Encoded:
    """Writes a column of text in a storage other than the default."""
    pd, pa = need("pandas"), need("pyarrow")
    dtype: Any = values.dtype
    missing = "NA" if dtype.na_value is pd.NA else "nan"
    column = pa.array(values.astype(object).to_numpy(), pa.large_string(), from_pandas=True)
    return column, ["text", dtype.storage, missing]


def decode_text(column: Any, storage: str, missing: str) -> Any:
    """Reads a column of text in its storage."""
    pd, types = need("pandas"), need("pyarrow").types
    if not types.is_string(column.type) and not types.is_large_string(column.type):
        raise SerializationError("the notes of a frame name a column of text that is not text")
    # Before 2.3, pandas has only one missing value.
    dtype = pd.StringDtype(storage) if missing == "NA" else pd.StringDtype(storage, na_value=float("nan"))
    return dtype.__from_arrow__(column)


def encode_interval(values: "Series[Any]", place: Place) -> Encoded:
    """Writes intervals of dates with a time zone; pyarrow itself keeps all other intervals."""
    pa = need("pyarrow")
    array: Any = values.array
    if not need("pandas").api.types.is_datetime64_any_dtype(array.dtype.subtype):
        raise place.inexact(f"of dtype {array.dtype} has no form", 'astype("string")')
    ends = [pa.array(end, from_pandas=True) for end in (array.left, array.right)]
    return pa.StructArray.from_arrays(ends, ["left", "right"]), ["interval", array.closed]


def decode_interval(column: Any, closed: str) -> Any:
    """Reads intervals of dates with a time zone."""
    pa, pd = need("pyarrow"), need("pandas")
    ends = pa.Table.from_arrays(joined(column).flatten(), ["left", "right"]).to_pandas()
    return pd.arrays.IntervalArray.from_arrays(ends["left"], ends["right"], closed=closed)


def joined(column: Any) -> Any:
    """Returns a ChunkedArray as one Array."""
    joined = column.combine_chunks()
    return joined if isinstance(joined, need("pyarrow").Array) else need("pyarrow").concat_arrays(joined.chunks)


# -------------------------------------------------------------------------------------------------------------- columns


def encode_column(values: "Series[Any]", place: Place) -> Encoded | None:
    """Writes a column, or a level of an index; None if pyarrow itself restores it unchanged.

    Raises:
        SerializationError: It has no exact form.
    """
    dtype: Any = values.dtype
    if isinstance(dtype, need("numpy").dtype):
        if dtype.kind == "O":
            return encode_objects(values, place)
        return None if is_native(dtype) else encode_numbers(values, place)
    if is_native(dtype):
        return None
    try:
        return _encode_extension(values, place)
    except SerializationError:
        raise
    except Exception as failure:
        raise place.inexact(f"of dtype {dtype} has no form ({str(failure)[:200]})", "astype(object)") from failure


def is_native(dtype: Any) -> bool:
    """Whether pyarrow itself is known to restore a dtype unchanged, without looking at the values."""
    if isinstance(dtype, need("numpy").dtype):
        return dtype.kind in NATIVE_KINDS and dtype.itemsize <= WIDEST_FLOAT and dtype.isnative
    pd = need("pandas")
    if isinstance(dtype, pd.Float32Dtype | pd.Float64Dtype):
        return False
    if isinstance(dtype, pd.CategoricalDtype):
        return False
    kind: Any = type(dtype)
    return _comes_back(kind, dtype)


def encode_level(values: "Series[Any]", place: Place) -> Encoded | None:
    """Writes a level of an index like ``encode_column``; pyarrow preserves fewer dtypes of an index."""
    encoded = encode_column(values, place)
    if encoded is not None:
        return encoded
    pd, pa = need("pandas"), need("pyarrow")
    dtype: Any = values.dtype
    kept = (need("numpy").dtype, pd.DatetimeTZDtype, pd.PeriodDtype, pd.IntervalDtype, pd.CategoricalDtype)
    if isinstance(dtype, kept) or is_same_dtype(dtype, pd.Index(["x"]).dtype):
        return None
    if isinstance(dtype, pd.ArrowDtype):
        return encode_arrow(values, place)
    table = pa.Table.from_pandas(values.to_frame("x"), preserve_index=False)
    return table.column(0), ["pandas", table.schema.metadata[b"pandas"].decode()]


def decode_column(column: Any, form: Form) -> Any:
    """Reads a pyarrow.ChunkedArray from any peer as an array of numpy or pandas; its type and form may not match.

    Raises:
        SerializationError: The form is not known; the caller converts other errors.
    """
    name, *parts = form
    decode = _DECODERS.get(name)
    if decode is None:
        raise SerializationError(f"the notes of a frame give the unknown form {str(name)[:80]!r} to a column")
    if decode is not decode_arrow:
        check_expansion([need("pyarrow").field(str(name), column.type)])
    return decode(column, *parts)


def is_same_dtype(old: Any, new: Any) -> bool:
    """Compares two dtypes of pandas, including categories and their order."""
    pd = need("pandas")
    if isinstance(old, pd.CategoricalDtype) and isinstance(new, pd.CategoricalDtype):
        # pandas' own comparison ignores the order of unordered categories.
        return (
            old.ordered == new.ordered
            and is_same_dtype(old.categories.dtype, new.categories.dtype)
            and [*map(labelled, old.categories)] == [*map(labelled, new.categories)]
        )
    return bool(type(old) is type(new) and old == new)


@functools.lru_cache(maxsize=256)
def _comes_back(_: type, dtype: Any) -> bool:
    pa, pd = need("pyarrow"), need("pandas")
    if isinstance(dtype, pd.ArrowDtype) and has_views(dtype.pyarrow_dtype):
        return False
    # For dtypes of the other package, both raise errors of half a dozen classes.
    try:
        back = pa.Table.from_pandas(pd.DataFrame({"x": pd.Series([], dtype=dtype)})).to_pandas()
    except Exception:  # noqa: BLE001
        return False
    return is_same_dtype(dtype, back.dtypes.iloc[0])


def _are_native_categories(categories: Any) -> bool:
    dtype = categories.dtype
    if isinstance(dtype, need("numpy").dtype):
        return dtype.kind in "biuf" and dtype.isnative and dtype.str[1:] != "f2"
    return is_same_dtype(dtype, need("pandas").Index(["x"]).dtype)


def _encode_extension(values: "Series[Any]", place: Place) -> Encoded | None:
    pd = need("pandas")
    dtype: Any = values.dtype
    if isinstance(dtype, pd.Float32Dtype | pd.Float64Dtype):
        return encode_floats(values)
    # A stream without rows has no dictionaries either.
    if isinstance(dtype, pd.CategoricalDtype) and len(values) and _are_native_categories(dtype.categories):
        return None
    for name, encode in _ENCODERS.items():
        if isinstance(dtype, getattr(pd, name)):
            return encode(values, place)
    raise place.inexact(f"of dtype {str(dtype)[:80]} has no form", "astype(object)")


def _encode_sparse(values: "Series[Any]", place: Place) -> Encoded:
    np, pa, pd = need("numpy"), need("pyarrow"), need("pandas")
    dtype: Any = values.dtype
    dense = np.asarray(values.array)
    column, inner = encode_column(pd.Series(dense, dtype=dense.dtype), place) or (pa.array(dense), None)
    form = ["sparse", write_label(dtype.fill_value), inner]
    back = decode_column(pa.chunked_array([column]), form)
    # Among objects, anything equal to the fill value would be read as it: False for 0.
    same = dense.dtype.kind != "O" or [*map(labelled, np.asarray(back))] == [*map(labelled, dense)]
    if not same or not is_same_dtype(back.dtype, dtype):
        raise place.inexact(f"of dtype {dtype} has no form", "sparse.to_dense()")
    return column, form


def _decode_sparse(column: Any, fill: str, inner: Form | None) -> Any:
    np, pd = need("numpy"), need("pandas")
    if inner is not None and inner[0] not in ("cells", "numpy", "objects"):
        raise SerializationError("the notes of a frame give no plain form for the values of a sparse column")
    dense = np.asarray(joined(column) if inner is None else decode_column(column, inner))
    fill_value = read_label(fill)
    return pd.arrays.SparseArray(dense, fill_value=fill_value, dtype=pd.SparseDtype(dense.dtype, fill_value))


def encode_categories(values: "Series[Any]", place: Place) -> Encoded:
    """Writes categories of any kind as a dictionary of their texts, plus their actual values."""
    np, pa = need("numpy"), need("pyarrow")
    array: Any = values.array
    texts = [f"{label}" for label in array.categories]
    if len(set(texts)) < len(texts):
        texts = [f"{number} {text}" for number, text in enumerate(texts)]
    codes = np.asarray(array.codes)
    column = pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes < 0), pa.array(texts, pa.string()))
    of_categories = Place(f"{place.what}, in its categories,", f"{place.code}")
    return column, ["categories", _write_labels(array.categories, of_categories), bool(array.ordered)]


def _decode_categories(column: Any, categories: str, ordered: bool) -> Any:
    np, pd = need("numpy"), need("pandas")
    if column.num_chunks > 1 or not need("pyarrow").types.is_dictionary(column.type):
        raise SerializationError(
            "the notes of a frame name a column of categories that is not a dictionary in one chunk"
        )
    codes = np.array(joined(column).indices.fill_null(-1)) if len(column) else []
    return pd.Categorical.from_codes(codes, categories=_read_labels(categories), ordered=ordered)


def _write_labels(labels: "Index[Any]", place: Place) -> str:
    """Writes the labels of one level, such as categories, as text in the notes of a table.

    Raises:
        SerializationError: They have no exact form.
    """
    pa, pd = need("pyarrow"), need("pandas")
    values = pd.Series(labels, dtype=labels.dtype)
    encoded = encode_column(values, place)
    if encoded is not None:
        column, form = encoded
        return write_inner(pa.table({"labels": column}, metadata={_FORM: json.dumps(form)}))
    return write_inner(pa.Table.from_pandas(values.to_frame("labels"), preserve_index=False))


def _read_labels(text: str) -> "Index[Any]":
    """Reads what ``_write_labels`` or a peer wrote; raises as ``decode_column``."""
    pd = need("pandas")
    table = read_inner(text)
    form = (table.schema.metadata or {}).get(_FORM)
    if form is None:
        check_expansion(table.schema)
        array = table.to_pandas().iloc[:, 0].array
    else:
        array = decode_column(table.column(0), json.loads(form))
    labels: Index[Any] = pd.Index(array, dtype=array.dtype)
    return labels


# By pandas' name of the dtype.
_ENCODERS: dict[str, Callable[[Any, Place], Encoded]] = {
    "ArrowDtype": encode_arrow,
    "CategoricalDtype": encode_categories,
    "IntervalDtype": encode_interval,
    "SparseDtype": _encode_sparse,
    "StringDtype": encode_text,
}
_DECODERS: dict[str, Callable[..., Any]] = {
    "arrow": decode_arrow,
    "categories": _decode_categories,
    "cells": decode_cells,
    "floats": decode_floats,
    "interval": decode_interval,
    "numpy": decode_numbers,
    "objects": decode_objects,
    "pandas": decode_pandas,
    "sparse": _decode_sparse,
    "text": decode_text,
}
