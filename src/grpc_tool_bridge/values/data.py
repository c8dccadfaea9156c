"""Encodes objects of numpy, pandas, polars and pyarrow, and look-alikes, as the nearest type in the table of values.

A subclass travels as its base. A foreign object that exports itself as an Arrow table or as an array travels as that.
Other objects of these packages are refused with a hint what to send: their text would be mistaken for the value.
"""

from collections.abc import Callable
from typing import Any

from grpc_tool_bridge.errors import MessageTooLargeError, SerializationError
from grpc_tool_bridge.optional import home_of, is_subclass_of_data, need
from grpc_tool_bridge.values import arrow as frames
from grpc_tool_bridge.values import tensor
from grpc_tool_bridge.values.conversions import plain_data
from grpc_tool_bridge.values.foreign import foreign
from grpc_tool_bridge.values.rich import is_rich, pack_rich
from grpc_tool_bridge.values.rows import ARRAY_PROTOCOLS, TABLE_PROTOCOLS, public_name
from grpc_tool_bridge.values.scalars import SCALARS, Packed

# More than any message may hold; a reader of batches may be endless.
_MAX_STREAM_BYTES = 1 << 30


def pack_data(value: Any) -> Packed | None:
    """Writes an object of the four packages, or one that exports itself as a table or an array; None for any other.

    Raises:
        SerializationError: It has no exact form; the text says what to send in its place.
        MessageTooLargeError: It is a stream of batches that is larger than any message may be.
    """
    kind = type(value)
    package = home_of(kind)
    if package is None:
        return _pack_stranger(value)
    if is_subclass_of_data(kind):
        foreign(value)
    plain = plain_data(value)
    if plain is not value:
        return _pack_plain(plain)
    packed = _PACKERS[package](value)
    return _pack_stranger(value) or _refuse(value) if packed is None else packed


def _pack_plain(plain: Any) -> Packed:
    scalar = SCALARS.get(type(plain))
    if scalar is not None:
        return scalar(plain)
    if is_rich(type(plain)):
        return pack_rich(plain, _pack_part)
    return _pack_part(plain)


def _pack_part(value: Any) -> Packed:
    return pack_data(value) or _refuse(value)


def _pack_numpy(value: Any) -> Packed | None:
    np = need("numpy")
    if isinstance(value, np.ma.MaskedArray):
        if np.ma.is_masked(value):
            raise SerializationError(
                "an array with masked values has no exact form; send its filled(...), or its tolist(), with None there"
            )
        value = value.data
    return tensor.pack_tensor(value)


def _pack_pandas(value: Any) -> Packed | None:
    pd = need("pandas")
    for name in ("DataFrame", "Series"):
        base = getattr(pd, name)
        if isinstance(value, base):
            return frames.pack_frame(f"pandas.{name}", value if type(value) is base else _as_base(base, value))
    if isinstance(value, pd.Index):
        return frames.pack_frame("pandas.Index", value)
    if isinstance(value, pd.api.extensions.ExtensionArray):
        return frames.pack_frame("pandas.Series", pd.Series(value, dtype=value.dtype))
    return None


def _as_base(base: Any, value: Any) -> Any:
    plain = base(value)
    plain.attrs = value.attrs
    return plain.set_flags(allows_duplicate_labels=value.flags.allows_duplicate_labels)


def _pack_polars(value: Any) -> Packed | None:
    pl = need("polars")
    if isinstance(value, pl.LazyFrame):
        foreign(value)
        try:
            value = value.collect()
        except (Exception, pl.exceptions.PanicException) as failure:
            raise SerializationError(
                f"collect() of a polars.LazyFrame raised {type(failure).__name__}: {str(failure)[:500]}"
            ) from failure
    elif isinstance(value, pl.Series):
        value = value.to_frame()
    return frames.pack_frame("polars.DataFrame", value) if isinstance(value, pl.DataFrame) else None


def _pack_pyarrow(value: Any) -> Packed | None:
    pa = need("pyarrow")
    if isinstance(value, pa.Tensor):
        return tensor.pack_tensor(value.to_numpy())
    if isinstance(value, pa.RecordBatchReader):
        foreign(value)
        value = _read_batches(value)
    elif isinstance(value, pa.RecordBatch):
        value = pa.Table.from_batches([value])
    elif isinstance(value, pa.ChunkedArray | pa.Array):
        value = pa.Table.from_arrays([value], ["values"])
    return frames.pack_frame("pyarrow.Table", value) if isinstance(value, pa.Table) else None


_PACKERS: dict[str, Callable[[Any], Packed | None]] = {
    "numpy": _pack_numpy,
    "pandas": _pack_pandas,
    "polars": _pack_polars,
    "pyarrow": _pack_pyarrow,
}


def _pack_stranger(value: Any) -> Packed | None:
    """Writes an object of another package, by the protocols that its class implements."""
    kind = type(value)
    if any(hasattr(kind, protocol) for protocol in TABLE_PROTOCOLS):
        foreign(value)
        return frames.pack_frame("pyarrow.Table", _read_stranger(value, "table of Arrow", _table_of))
    if any(hasattr(kind, protocol) for protocol in ARRAY_PROTOCOLS):
        foreign(value)
        return tensor.pack_tensor(_read_stranger(value, "array", need("numpy").asarray))
    return None


def _read_stranger(value: Any, what: str, read: Callable[[Any], Any]) -> Any:
    try:
        return read(value)
    except (SerializationError, MessageTooLargeError):
        raise
    except Exception as failure:
        raise SerializationError(
            f"a {public_name(type(value))} cannot be read as {'an' if what == 'array' else 'a'} {what}: "
            f"{type(failure).__name__}: {str(failure)[:500]}; send plain data, or use register_codec"
        ) from failure


def _table_of(value: Any) -> Any:
    pa = need("pyarrow")
    if not hasattr(type(value), "__arrow_c_stream__"):
        array = pa.array(value)
        rows = pa.types.is_struct(array.type) and not array.null_count
        return pa.Table.from_struct_array(array) if rows else pa.Table.from_arrays([array], ["values"])
    try:
        reader = pa.RecordBatchReader.from_stream(value)
    except pa.ArrowInvalid:
        # A stream may also be of a single column.
        return pa.Table.from_arrays([pa.chunked_array(value)], ["values"])
    return _read_batches(reader)


def _read_batches(reader: Any) -> Any:
    batches, size = [], 0
    for batch in reader:
        size += batch.nbytes
        if size > _MAX_STREAM_BYTES:
            raise MessageTooLargeError.of("a stream of Arrow's batches", size, _MAX_STREAM_BYTES)
        batches.append(batch)
    return need("pyarrow").Table.from_batches(batches, schema=reader.schema)


def _refuse(value: Any) -> Packed:
    advice = next((_ADVICE[base.__name__] for base in type(value).__mro__ if base.__name__ in _ADVICE), "plain data")
    raise SerializationError(f"a {public_name(type(value))} has no exact form; send {advice}")


# What to send instead of a value, by the name of its class or the first base that is named here.
_ADVICE = {
    # pandas
    "Period": "its start_time, or str() of it",
    "Interval": "[interval.left, interval.right]",
    "BaseOffset": "its freqstr",
    "BaseGroupBy": "what it aggregates to, such as groups.sum()",
    "BaseWindow": "what it aggregates to, such as window.mean()",
    "ExtensionDtype": "str() of it",
    "SparseDtype": "str() of it",
    "NamedAgg": "its column and aggfunc as text",
    # polars
    "Expr": "what it selects, such as frame.select(expression)",
    "GroupBy": "what it aggregates to, such as groups.sum()",
    "LazyGroupBy": "what it aggregates to, such as groups.sum()",
    "DynamicGroupBy": "what it aggregates to, such as groups.agg(...)",
    "RollingGroupBy": "what it aggregates to, such as groups.agg(...)",
    "DataTypeClass": "str() of it",
    # pyarrow, and the DataType of polars
    "Schema": "schema.empty_table() of pyarrow, or its names and types as text",
    "Field": "its name and type as text",
    "DataType": "str() of it",
    "Dataset": "what it reads, dataset.to_table()",
    "Scanner": "what it reads, scanner.to_table()",
    "ParquetFile": "what it reads, file.read()",
    # numpy
    "dtype": "str() of it",
    "Generator": "its seed",
    "RandomState": "its seed",
    "ufunc": "its name",
    "nditer": "the array that it walks",
    "flatiter": "the array that it walks",
}
