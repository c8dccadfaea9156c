"""Columns of pandas that pyarrow alone would change or refuse, each as an Arrow array and a form."""

import functools
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from grpc_tool_bridge.errors import SerializationError
from grpc_tool_bridge.optional import need
from grpc_tool_bridge.values.arrow_stream import check_expansion, has_views, read_inner, write_inner
from grpc_tool_bridge.values.cells import read_label, write_label
from grpc_tool_bridge.values.forms import (
    NATIVE_KINDS,
    WIDEST_FLOAT,
    Encoded,
    Form,
    Place,
    decode_arrow,
    decode_cells,
    decode_floats,
    decode_interval,
    decode_numbers,
    decode_objects,
    decode_pandas,
    decode_text,
    encode_arrow,
    encode_floats,
    encode_interval,
    encode_numbers,
    encode_objects,
    encode_text,
    joined,
    labelled,
)

if TYPE_CHECKING:
    from pandas import Index, Series

_FORM = b"dspex.bridge.form"


def encode_column(values: "Series[Any]", place: Place) -> Encoded | None:
    """Writes a column.

    Args:
        values: The column, or a level of an index as one.
        place: What to call it.

    Returns:
        None where pyarrow reads what it writes of the column as the same.

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
    """Tells, without a look at values, that pyarrow reads what it writes of a dtype as the same."""
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
    """Writes a level of an index, as ``encode_column`` does; of fewer dtypes pyarrow keeps an index than a column."""
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
    """Reads a column, of any peer: its type and form may not fit together.

    Args:
        column: A pyarrow.ChunkedArray.
        form: What ``encode_column`` gave beside it.

    Returns:
        A numpy or pandas array of its dtype.

    Raises:
        SerializationError: The form is not known; other errors are for the caller to convert.
    """
    name, *parts = form
    decode = _DECODERS.get(name)
    if decode is None:
        raise SerializationError(f"the notes of a frame give the unknown form {str(name)[:80]!r} to a column")
    if decode is not decode_arrow:
        check_expansion([need("pyarrow").field(str(name), column.type)])
    return decode(column, *parts)


def is_same_dtype(old: Any, new: Any) -> bool:
    """Compares two dtypes of pandas, categories and their order included."""
    pd = need("pandas")
    if isinstance(old, pd.CategoricalDtype) and isinstance(new, pd.CategoricalDtype):
        # Of unordered categories pandas' own comparison ignores the order.
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
    # Of half a dozen classes are the errors for what neither package knows of the other's dtypes.
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
    # A stream of no rows has no dictionaries either.
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
    # Of objects, what equals the value that is left out is taken for it: False for 0.
    same = dense.dtype.kind != "O" or [*map(labelled, np.asarray(back))] == [*map(labelled, dense)]
    if not same or not is_same_dtype(back.dtype, dtype):
        raise place.inexact(f"of dtype {dtype} has no form", "sparse.to_dense()")
    return column, form


def _decode_sparse(column: Any, fill: str, inner: Form | None) -> Any:
    np, pd = need("numpy"), need("pandas")
    if inner is not None and inner[0] not in ("cells", "numpy", "objects"):
        raise SerializationError("the notes of a frame give no plain form to what is in a sparse column")
    dense = np.asarray(joined(column) if inner is None else decode_column(column, inner))
    fill_value = read_label(fill)
    return pd.arrays.SparseArray(dense, fill_value=fill_value, dtype=pd.SparseDtype(dense.dtype, fill_value))


def encode_categories(values: "Series[Any]", place: Place) -> Encoded:
    """Writes categories of any kind as a dictionary of their texts, and beside it as what they are."""
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
        raise SerializationError("the notes of a frame name a column of categories that is no dictionary of one piece")
    codes = np.array(joined(column).indices.fill_null(-1)) if len(column) else []
    return pd.Categorical.from_codes(codes, categories=_read_labels(categories), ordered=ordered)


def _write_labels(labels: "Index[Any]", place: Place) -> str:
    """Writes labels of one level, such as categories, as text in the notes of a table.

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
    """Reads what ``_write_labels`` wrote, or a peer; errors as of ``decode_column``."""
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


# By the name that pandas gives the dtype.
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
