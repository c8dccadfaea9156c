"""Values as the class of a data package that a parameter is annotated with.

A Series of polars travels as a frame, an array of pandas as a Series; who asks for the one gets it of the other.
"""

import sys
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

from grpc_tool_bridge.optional import home_of

# Of Python, what NumPy has scalars for, besides dates.
_PLAIN = (bool, int, float, complex, str, bytes)


def read_as(cls: type, value: Any) -> Any:
    """Makes an object of a class of numpy, pandas, polars or pyarrow, or a subclass, from the row it travels in.

    Args:
        cls: The class that is asked for.
        value: What arrived.

    Returns:
        An instance of ``cls``, or ``value`` itself where none can be made of it.
    """
    if isinstance(value, cls):
        return value
    package = home_of(cls)
    module = sys.modules.get(package or "")
    if module is None:
        return value
    try:
        made = _MAKERS[package or ""](cls, value, module)
    # What cannot be made is refused by the check of the class, in its own words.
    except Exception:  # noqa: BLE001
        return value
    return made if isinstance(made, cls) else value


def _of_numpy(cls: Any, value: Any, np: Any) -> Any:
    if cls is np.ma.MaskedArray:
        return np.ma.MaskedArray(value) if isinstance(value, np.ndarray) else value
    return _numpy_scalar(cls, value, np) if issubclass(cls, np.generic) else value


def _numpy_scalar(cls: Any, value: Any, np: Any) -> Any:
    """Makes a scalar of NumPy of Python's, or of another of NumPy's, where it means the same."""
    if issubclass(cls, np.datetime64):
        return cls(value) if isinstance(value, date) and getattr(value, "tzinfo", None) is None else value
    # It is a number to NumPy.
    if issubclass(cls, np.timedelta64):
        return cls(value) if isinstance(value, timedelta) else value
    if isinstance(value, np.generic):
        value = value.item()
    if not isinstance(value, _PLAIN) or issubclass(cls, np.bool_) != isinstance(value, bool):
        return value
    if isinstance(value, str | bytes) and value[-1:] in ("\0", b"\0"):
        # NumPy would cut it off.
        return value
    made = cls(value)
    # A float may be rounded, as it is wherever one is kept in fewer digits; nothing else is changed.
    same = made == value or (made != made and value != value)  # noqa: PLR0124 - a NaN
    return made if same else value


def _of_pandas(cls: type, value: Any, pd: Any) -> Any:
    if isinstance(value, pd.Series) and issubclass(cls, pd.api.extensions.ExtensionArray):
        return value.array
    # What the values of a column of dates are, taken one by one.
    home = home_of(type(value))
    if cls is pd.Timestamp and (isinstance(value, datetime) or (home == "numpy" and value.dtype.kind == "M")):
        return pd.Timestamp(value)
    if cls is pd.Timedelta and (isinstance(value, timedelta) or (home == "numpy" and value.dtype.kind == "m")):
        return pd.Timedelta(value)
    return _subclassed(cls, value, (pd.DataFrame, pd.Series))


def _of_polars(cls: type, value: Any, pl: Any) -> Any:
    if not isinstance(value, pl.DataFrame):
        return value
    if cls is pl.Series and value.width == 1:
        return value.to_series()
    if cls is pl.LazyFrame:
        return value.lazy()
    return _subclassed(cls, value, (pl.DataFrame,))


def _of_pyarrow(cls: Any, value: Any, pa: Any) -> Any:
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
    """Makes a subclass of a frame's class, where it is made as its base is: others may do anything."""
    for base in bases:
        if issubclass(cls, base) and isinstance(value, base) and cls.__init__ is base.__init__:  # type: ignore[misc]  # compared, not called
            return cls(value)
    return value


_MAKERS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "numpy": _of_numpy,
    "pandas": _of_pandas,
    "polars": _of_polars,
    "pyarrow": _of_pyarrow,
}
