"""Converts objects of numpy, pandas, polars and pyarrow to plain Python, and plain Python to their classes.

A value travels as the nearest type in the table of values; a receiver that declares a class of a data package gets it
made from that. A Series of polars travels as a frame, an array of pandas as a Series.
"""

import sys
from collections.abc import Callable
from datetime import date, datetime, timedelta
from math import isnan
from typing import Any

from grpc_tool_bridge.errors import SerializationError
from grpc_tool_bridge.optional import home_of
from grpc_tool_bridge.rpc.nodes import MAX_NODES

_NANOS_IN_MICRO = 1_000

# Each item of a list is a Python object; those of an array are not.
MAX_LISTED = MAX_NODES

# The Python types that NumPy has scalars for, besides dates.
_PLAIN = (bool, int, float, complex, str, bytes)


def plain_data(value: Any) -> Any:
    """Returns a scalar of pandas or pyarrow as a plain value, such as a datetime or None; other values unchanged.

    Raises:
        SerializationError: The plain value would not be exact.
    """
    package = home_of(type(value))
    if package is None:
        return value
    convert = _SCALARS.get(package)
    module = sys.modules.get(package)
    return value if convert is None or module is None else convert(value, module)


def _pandas_scalar(value: Any, pd: Any) -> Any:
    if value is pd.NaT or value is pd.NA:
        return None
    if isinstance(value, pd.Timestamp):
        if value.nanosecond:
            raise _scalar_too_fine(value, 'value.floor("us")')
        return _converted(value, lambda: value.to_pydatetime(warn=False))
    if isinstance(value, pd.Timedelta):
        if value.nanoseconds:
            raise _scalar_too_fine(value, 'value.floor("us")')
        return _converted(value, value.to_pytimedelta)
    return value


def _pyarrow_scalar(value: Any, pa: Any) -> Any:
    if isinstance(value, pa.Buffer):
        return value.to_pybytes()
    if not isinstance(value, pa.Scalar):
        return value
    if value.type == pa.time64("ns") and value.is_valid and value.value % _NANOS_IN_MICRO:
        raise _scalar_too_fine(value, 'value.cast("time64[us]", safe=False)')
    plain = _converted(value, value.as_py)
    return plain_data(plain)


def _scalar_too_fine(value: Any, mend: str) -> SerializationError:
    return SerializationError(
        f"{value!s:.80} has nanoseconds, which a Python {type(value).__name__.lower()} does not have; send {mend}, "
        "or a Series or array of it"
    )


def _converted(value: Any, convert: Callable[[], Any]) -> Any:
    try:
        return convert()
    except Exception as failure:
        raise SerializationError(
            f"a {type(value).__name__} cannot be written as a Python value: {str(failure)[:200]}; send str() of it"
        ) from failure


_SCALARS: dict[str, Callable[[Any, Any], Any]] = {"pandas": _pandas_scalar, "pyarrow": _pyarrow_scalar}


# ---------------------------------------------------------------------------------------------------------------- lists


def to_list(value: Any) -> list[Any] | None:
    """Returns an array or a column of numpy, pandas, polars or pyarrow as a plain list; None for any other value.

    It is nested for more than one dimension. A missing value is None if its dtype has no NaN.

    Raises:
        SerializationError: A date, time or duration in it is out of Python's range or precision.
    """
    package = home_of(type(value))
    module = sys.modules.get(package or "")
    return None if package is None or module is None else _LISTS[package](value, module)


def _numpy_list(value: Any, np: Any) -> list[Any] | None:
    if not isinstance(value, np.ndarray) or not value.ndim:
        return None
    _check_count(value.size)
    dtype = value.dtype
    if dtype.names is not None:
        raise SerializationError("a structured array has no plain list; send array.tolist(), or a DataFrame of it")
    if dtype.kind in "mM":
        value = _micros(value, np)
    elif dtype.kind == "O":
        items = np.empty(value.size, dtype=object)
        for place, item in enumerate(value.ravel()):
            items[place] = plain_data(item)
        value = items.reshape(value.shape)
    return list(value.tolist())


def _micros(value: Any, np: Any) -> Any:
    """Returns dates and durations in at most microseconds, as Python has them."""
    exact = value
    unit, _ = np.datetime_data(value.dtype)
    if unit in ("ns", "ps", "fs", "as"):
        value = value.astype(f"{value.dtype.kind}8[us]")
        if not np.array_equal(value.astype(exact.dtype), exact, equal_nan=True):
            raise _array_too_fine('array.astype("datetime64[us]")' if exact.dtype.kind == "M" else "timedelta64[us]")
    value = value.astype(object)
    # If Python cannot represent a date or duration, numpy returns a number.
    if any(type(item) is int for item in value.ravel()):
        raise SerializationError(f"an array of dtype {exact.dtype} holds a date or duration out of Python's range")
    return value


def _pandas_list(value: Any, pd: Any) -> list[Any] | None:
    if isinstance(value, pd.api.extensions.ExtensionArray):
        value = pd.Series(value, dtype=value.dtype)
    if not isinstance(value, pd.Series | pd.Index):
        return None
    _check_count(len(value))
    dtype = value.dtype
    if isinstance(dtype, pd.SparseDtype):
        return _numpy_list(value.to_numpy(), sys.modules["numpy"])
    if isinstance(dtype, pd.ArrowDtype):
        return _pyarrow_list(value.array.__arrow_array__(), sys.modules["pyarrow"])
    items = map(plain_data, value.tolist())
    if pd.api.types.is_object_dtype(dtype) or dtype.kind in "fc":
        return list(items)
    # Text and categories yield NaN for a missing value, although it is not one of their values.
    return [None if type(item) is float and isnan(item) else item for item in items]


def _polars_list(value: Any, pl: Any) -> list[Any] | None:
    if not isinstance(value, pl.Series):
        return None
    _check_count(len(value))
    dtype = value.dtype
    if dtype.is_numeric() or dtype in (pl.String, pl.Boolean, pl.Binary, pl.Object, pl.Date, pl.Null):
        return list(value.to_list())
    return _pyarrow_list(value.to_arrow(compat_level=pl.CompatLevel.oldest()), sys.modules["pyarrow"])


def _pyarrow_list(value: Any, pa: Any) -> list[Any] | None:
    if not isinstance(value, pa.Array | pa.ChunkedArray):
        return None
    _check_count(_values_in(value, pa))
    if "time64[ns]" in str(value.type):
        # Arrow would truncate the nanoseconds silently.
        try:
            value = value.cast(pa.time64("us"))
        except pa.ArrowException as failure:
            raise _array_too_fine('array.cast("time64[us]", safe=False)') from failure
    try:
        items = value.to_pylist()
    except (ValueError, OverflowError) as failure:
        raise SerializationError(f"an array of type {value.type} has no plain list: {str(failure)[:200]}") from failure
    return list(map(_plain, items))


def _check_count(count: int) -> None:
    if count > MAX_LISTED:
        raise SerializationError(
            f"an array of {count:,} values is over the limit of {MAX_LISTED:,} for a list; declare a class such as "
            "numpy.ndarray, or send less"
        )


def _values_in(value: Any, pa: Any) -> int:
    """Counts the values of an array, including nested ones."""
    count = len(value)
    for chunk in value.chunks if isinstance(value, pa.ChunkedArray) else [value]:
        kind = chunk.type
        if any(is_list(kind) for is_list in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)):
            count += _values_in(chunk.flatten(), pa)
        elif pa.types.is_struct(kind):
            count += sum(_values_in(part, pa) for part in chunk.flatten())
    return count


def _plain(value: Any) -> Any:
    if type(value) is list or type(value) is tuple:
        return type(value)(map(_plain, value))
    if type(value) is dict:
        return {key: _plain(item) for key, item in value.items()}
    return plain_data(value)


def _array_too_fine(mend: str) -> SerializationError:
    return SerializationError(f"an array holds nanoseconds, which Python's dates and times do not have; send {mend}")


_LISTS: dict[str, Callable[[Any, Any], list[Any] | None]] = {
    "numpy": _numpy_list,
    "pandas": _pandas_list,
    "polars": _polars_list,
    "pyarrow": _pyarrow_list,
}


# ------------------------------------------------------------------------------------------- classes that are asked for


def read_as(cls: type, value: Any) -> Any:
    """Makes an object of a class of a data package, or a subclass, from the type it travels as, if possible."""
    if isinstance(value, cls):
        return value
    package = home_of(cls)
    module = sys.modules.get(package or "")
    if module is None:
        return value
    try:
        made = _MAKERS[package or ""](cls, value, module)
    # If it fails, the check of the class refuses the value.
    except Exception:  # noqa: BLE001
        return value
    return made if isinstance(made, cls) else value


def _as_numpy(cls: Any, value: Any, np: Any) -> Any:
    if cls is np.ma.MaskedArray:
        return np.ma.MaskedArray(value) if isinstance(value, np.ndarray) else value
    return _numpy_scalar(cls, value, np) if issubclass(cls, np.generic) else value


def _numpy_scalar(cls: Any, value: Any, np: Any) -> Any:
    """Converts a scalar of Python or NumPy to a NumPy scalar, if it keeps its value."""
    if issubclass(cls, np.datetime64):
        return cls(value) if isinstance(value, date) and getattr(value, "tzinfo", None) is None else value
    # NumPy takes it for a number.
    if issubclass(cls, np.timedelta64):
        return cls(value) if isinstance(value, timedelta) else value
    if isinstance(value, np.generic):
        value = value.item()
    if not isinstance(value, _PLAIN) or issubclass(cls, np.bool_) != isinstance(value, bool):
        return value
    if isinstance(value, str | bytes) and value[-1:] in ("\0", b"\0"):
        # NumPy would truncate it.
        return value
    made = cls(value)
    # A float may be rounded to the precision of the type; nothing else may change.
    same = made == value or (made != made and value != value)  # noqa: PLR0124 - a NaN
    return made if same else value


def _as_pandas(cls: type, value: Any, pd: Any) -> Any:
    if isinstance(value, pd.Series) and issubclass(cls, pd.api.extensions.ExtensionArray):
        return value.array
    # The scalar classes of a column of dates.
    home = home_of(type(value))
    if cls is pd.Timestamp and (isinstance(value, datetime) or (home == "numpy" and value.dtype.kind == "M")):
        return pd.Timestamp(value)
    if cls is pd.Timedelta and (isinstance(value, timedelta) or (home == "numpy" and value.dtype.kind == "m")):
        return pd.Timedelta(value)
    return _subclassed(cls, value, (pd.DataFrame, pd.Series))


def _as_polars(cls: type, value: Any, pl: Any) -> Any:
    if not isinstance(value, pl.DataFrame):
        return value
    if cls is pl.Series and value.width == 1:
        return value.to_series()
    if cls is pl.LazyFrame:
        return value.lazy()
    return _subclassed(cls, value, (pl.DataFrame,))


def _as_pyarrow(cls: Any, value: Any, pa: Any) -> Any:
    if issubclass(cls, pa.Buffer):
        return pa.py_buffer(value) if isinstance(value, bytes) else value
    if issubclass(cls, pa.Scalar):
        return pa.scalar(value)
    return _of_table(cls, value, pa) if isinstance(value, pa.Table) else value


def _of_table(cls: Any, value: Any, pa: Any) -> Any:
    if cls is pa.RecordBatch:
        batches = value.combine_chunks().to_batches()
        return batches[0] if len(batches) == 1 else pa.RecordBatch.from_pylist([], schema=value.schema)
    if cls is pa.RecordBatchReader:
        return value.to_reader()
    if value.column_names != ["values"]:
        return value
    (column,) = value.columns
    if cls is pa.ChunkedArray:
        return column
    if issubclass(cls, pa.Array):
        joined = column.combine_chunks()
        return joined if isinstance(joined, pa.Array) else pa.concat_arrays(joined.chunks)
    return value


def _subclassed(cls: Any, value: Any, bases: tuple[type, ...]) -> Any:
    """Makes a subclass of a frame's class, if it is constructed like its base: others may do anything."""
    for base in bases:
        if issubclass(cls, base) and isinstance(value, base) and cls.__init__ is base.__init__:  # type: ignore[misc]  # compared, not called
            return cls(value)
    return value


_MAKERS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "numpy": _as_numpy,
    "pandas": _as_pandas,
    "polars": _as_polars,
    "pyarrow": _as_pyarrow,
}
