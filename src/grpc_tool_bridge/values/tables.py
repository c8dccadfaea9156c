"""Frames and arrays of the data packages as tables and JSON.

Inspecting a value imports no data package: the package of an existing value is already imported.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from grpc_tool_bridge.optional import need
from grpc_tool_bridge.values.tensor import check_lists

# What an array may take whose items are as long as its dtype says.
MAX_TEXTS_BYTES = 64 * 1024 * 1024

# Scalars of NumPy that are written as Python's; NumPy 1 calls one of them bool_.
_SCALARS = (
    "bool", "bool_", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float16", "float32", "float64", "complex64", "complex128",
)  # fmt: skip
_EXACT_AS_TEXT = ("datetime64", "timedelta64", "longdouble")

# By name or by code; numpy itself accepts lists of several, for which it evaluates the text.
_DTYPE = re.compile(r"[<>|=]?[A-Za-z]+[0-9]{0,10}_?(\[[0-9]{0,9}[A-Za-zμ]{1,7}\])?")


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under column names.

    Attributes:
        rows: The rows, each as long as ``columns``.
        index: Labels of the rows, if they are more than row numbers.
        total: The number of all rows; ``rows`` may be only the first ones.
    """

    columns: Sequence[Any]
    rows: Sequence[Sequence[Any]]
    index: Sequence[Any] | None = None
    total: int = 0


def frame_table(value: Any, limit: int | None = None) -> Table | None:
    """Reads a frame or a series as a table with at most the given number of rows; None for any other value."""
    name = _package_name(value)
    if name in ("pandas.DataFrame", "pandas.Series"):
        part = value if limit is None else value.head(limit)
        frame = part if name == "pandas.DataFrame" else part.to_frame()
        default = type(frame.index).__name__ == "RangeIndex" and frame.index.start == 0 and frame.index.step == 1
        index = None if default else frame.index.tolist()
        columns = [column.tolist() for _, column in frame.items()]
        return Table(list(frame.columns), _rows(columns, len(frame)), index, len(value))
    if name == "pyarrow.Table":
        part = value if limit is None else value.slice(0, limit)
        columns = [column.to_pylist() for column in part.columns]
        return Table(part.column_names, _rows(columns, part.num_rows), None, value.num_rows)
    if name == "polars.DataFrame":
        part = value if limit is None else value.head(limit)
        return Table(part.columns, part.rows(), None, value.height)
    return None


def frame_json(value: Any, to_json: Callable[[Any], Any]) -> dict[str, Any] | None:
    """Writes a frame as ``{"columns": …, "rows": …}``, with its ``index`` if it has one of its own."""
    table = frame_table(value)
    if table is None:
        return None
    whole: dict[str, Any] = {
        "columns": [to_json(column) for column in table.columns],
        "rows": [[to_json(cell) for cell in row] for row in table.rows],
    }
    if table.index is not None:
        whole["index"] = [to_json(label) for label in table.index]
    return {"$type": _package_name(value), "value": whole}


def array_json(value: Any, to_json: Callable[[Any], Any]) -> dict[str, Any] | None:
    """Writes a numpy array as ``{"dtype": …, "data": …}``, a numpy scalar as the Python value, and a pandas Index.

    An empty array has its ``shape`` as well; a scalar that Python's types would change is written as an array is.
    """
    package, _, name = (_package_name(value) or "").partition(".")
    if package == "numpy" and name == "ndarray":
        if not value.size:
            # Not as the lists in it, of which there may be very many.
            empty = {"dtype": value.dtype.str, "data": [], "shape": list(value.shape)}
            return {"$type": "numpy.ndarray", "value": empty}
        whole = {"dtype": value.dtype.str, "data": to_json(value.tolist())}
        return {"$type": "numpy.ndarray", "value": whole}
    if package == "numpy" and name in _EXACT_AS_TEXT:
        # Without its unit, a number of nanoseconds is one of anything.
        data = int(value.astype("i8")) if name == "timedelta64" else str(value)
        return {"$type": f"numpy.{name}", "value": {"dtype": value.dtype.str, "data": to_json(data)}}
    if package in ("numpy", "pandas") and hasattr(value, "tolist"):
        return {"$type": f"{package}.{name}", "value": to_json(value.tolist())}
    return None


def is_missing(value: Any) -> bool:
    """Returns whether a cell is one of pandas' missing values."""
    return type(value).__name__ in ("NaTType", "NAType")


def _read_frame(value: Any) -> Any:
    return need("pandas").DataFrame(value["rows"], columns=value["columns"], index=value.get("index"))


def _read_array(value: Any) -> Any:
    numpy = need("numpy")
    if not _DTYPE.fullmatch(value["dtype"]):
        raise ValueError(f"{value['dtype'][:40]!r} is not a dtype of numpy, such as 'float64'")
    kind = numpy.dtype(value["dtype"])
    # A few characters could name items of gigabytes.
    if kind.kind in "SUV" and numpy.array(value["data"], dtype=object).size * kind.itemsize > MAX_TEXTS_BYTES:
        raise ValueError(f"an array of {kind.str} may take {MAX_TEXTS_BYTES:,} bytes at most")
    array = numpy.array(value["data"], dtype=kind)
    if "shape" in value:
        array = array.reshape(value["shape"])
        check_lists(array.shape)
    return array


def _read_table(value: Any) -> Any:
    rows = [dict(zip(value["columns"], row, strict=True)) for row in value["rows"]]
    return need("pyarrow").Table.from_pylist(rows)


def _read_polars(value: Any) -> Any:
    polars = need("polars")
    try:
        return polars.DataFrame(value["rows"], schema=value["columns"], orient="row")
    except polars.exceptions.PanicException as failure:
        # It is no Exception, and would pass everyone who takes one.
        raise ValueError(f"polars cannot read it: {failure}") from None


def _scalar_reader(name: str) -> Callable[[Any], Any]:
    return lambda value: need("numpy").dtype(name).type(value)


# The readers of the forms written here, by ``$type``.
ARRAY_READERS: Mapping[str, Callable[[Any], Any]] = {
    "pandas.DataFrame": _read_frame,
    "pandas.Series": lambda value: _read_frame(value).iloc[:, 0],
    "pandas.Index": lambda value: need("pandas").Index(value),
    "polars.DataFrame": _read_polars,
    "pyarrow.Table": _read_table,
    "numpy.ndarray": _read_array,
    **{f"numpy.{name}": _scalar_reader(name.removesuffix("_")) for name in _SCALARS},
    **{f"numpy.{name}": lambda value: _read_array(value)[()] for name in _EXACT_AS_TEXT},
}


def _package_name(value: Any) -> str | None:
    kind = type(value)
    package = kind.__module__.partition(".")[0]
    return f"{package}.{kind.__qualname__}" if package in ("numpy", "pandas", "polars", "pyarrow") else None


def _rows(columns: Sequence[Sequence[Any]], count: int) -> list[tuple[Any, ...]]:
    return list(zip(*columns, strict=True)) if columns else [()] * count
