"""Arrays and columns of the data packages as plain lists."""

import sys
from collections.abc import Callable
from math import isnan
from typing import Any

from grpc_tool_bridge.errors import SerializationError
from grpc_tool_bridge.optional import home_of
from grpc_tool_bridge.rpc.nodes import MAX_NODES
from grpc_tool_bridge.values.scalarlike import plain_data

# Of a list, each value is an object of Python's, as of any message; an array has none.
MAX_LISTED = MAX_NODES


def to_list(value: Any) -> list[Any] | None:
    """Gives the plain list that an array or a column of numpy, pandas, polars or pyarrow stands for.

    Args:
        value: Anything.

    Returns:
        A list of Python scalars, nested for more than one dimension; a missing value is None where its dtype has no
        NaN. None where ``value`` is no array or column.

    Raises:
        SerializationError: A date, time or duration in it is finer or further than Python's.
    """
    package = home_of(type(value))
    module = sys.modules.get(package or "")
    return None if package is None or module is None else _CONVERTERS[package](value, module)


def _of_numpy(value: Any, np: Any) -> list[Any] | None:
    if not isinstance(value, np.ndarray) or not value.ndim:
        return None
    _check_count(value.size)
    dtype = value.dtype
    if dtype.names is not None:
        raise SerializationError("an array of fields has no plain list; send array.tolist(), or a DataFrame of it")
    if dtype.kind in "mM":
        value = _micros(value, np)
    elif dtype.kind == "O":
        items = np.empty(value.size, dtype=object)
        for place, item in enumerate(value.ravel()):
            items[place] = plain_data(item)
        value = items.reshape(value.shape)
    return list(value.tolist())


def _micros(value: Any, np: Any) -> Any:
    """Gives dates and durations in microseconds at the finest, as Python has them."""
    exact = value
    unit, _ = np.datetime_data(value.dtype)
    if unit in ("ns", "ps", "fs", "as"):
        value = value.astype(f"{value.dtype.kind}8[us]")
        if not np.array_equal(value.astype(exact.dtype), exact, equal_nan=True):
            raise _too_fine('array.astype("datetime64[us]")' if exact.dtype.kind == "M" else "timedelta64[us]")
    value = value.astype(object)
    # Where a date or duration is not one that Python has, numpy gives a number.
    if any(type(item) is int for item in value.ravel()):
        raise SerializationError(f"an array of dtype {exact.dtype} holds what no Python date or duration can be")
    return value


def _of_pandas(value: Any, pd: Any) -> list[Any] | None:
    if isinstance(value, pd.api.extensions.ExtensionArray):
        value = pd.Series(value, dtype=value.dtype)
    if not isinstance(value, pd.Series | pd.Index):
        return None
    _check_count(len(value))
    dtype = value.dtype
    if isinstance(dtype, pd.SparseDtype):
        return _of_numpy(value.to_numpy(), sys.modules["numpy"])
    if isinstance(dtype, pd.ArrowDtype):
        return _of_pyarrow(value.array.__arrow_array__(), sys.modules["pyarrow"])
    items = map(plain_data, value.tolist())
    if pd.api.types.is_object_dtype(dtype) or dtype.kind in "fc":
        return list(items)
    # Text and categories give NaN where a value is missing, which is no value of theirs.
    return [None if type(item) is float and isnan(item) else item for item in items]


def _of_polars(value: Any, pl: Any) -> list[Any] | None:
    if not isinstance(value, pl.Series):
        return None
    _check_count(len(value))
    dtype = value.dtype
    if dtype.is_numeric() or dtype in (pl.String, pl.Boolean, pl.Binary, pl.Object, pl.Date, pl.Null):
        return list(value.to_list())
    return _of_pyarrow(value.to_arrow(compat_level=pl.CompatLevel.oldest()), sys.modules["pyarrow"])


def _of_pyarrow(value: Any, pa: Any) -> list[Any] | None:
    if not isinstance(value, pa.Array | pa.ChunkedArray):
        return None
    _check_count(_values_in(value, pa))
    if "time64[ns]" in str(value.type):
        # Arrow would cut the nanoseconds off without a word.
        try:
            value = value.cast(pa.time64("us"))
        except pa.ArrowException as failure:
            raise _too_fine('array.cast("time64[us]", safe=False)') from failure
    try:
        items = value.to_pylist()
    except (ValueError, OverflowError) as failure:
        raise SerializationError(f"an array of type {value.type} has no plain list: {str(failure)[:200]}") from failure
    return list(map(_plain, items))


def _check_count(count: int) -> None:
    if count > MAX_LISTED:
        raise SerializationError(
            f"an array of {count:,} values is made no list of more than {MAX_LISTED:,}; take it as what it is, such as "
            "numpy.ndarray, or send less"
        )


def _values_in(value: Any, pa: Any) -> int:
    """Counts the values of an array, those inside others included."""
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


def _too_fine(mend: str) -> SerializationError:
    return SerializationError(f"an array holds nanoseconds, which Python's dates and times do not have; send {mend}")


_CONVERTERS: dict[str, Callable[[Any, Any], list[Any] | None]] = {
    "numpy": _of_numpy,
    "pandas": _of_pandas,
    "polars": _of_polars,
    "pyarrow": _of_pyarrow,
}
