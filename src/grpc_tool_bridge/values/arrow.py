"""Frames of pandas, pyarrow and polars as Arrow IPC streams.

The stream is in a BytesValue whose type URL names the class, so any reader of Arrow can read it. The packages are
optional, and imported when a value needs them.
"""

from collections.abc import Callable
from typing import Any

from grpc_tool_bridge.errors import SerializationError
from grpc_tool_bridge.optional import need
from grpc_tool_bridge.rpc.wireformat import TYPE_PREFIX
from grpc_tool_bridge.values import dataframes
from grpc_tool_bridge.values.arrow_stream import read_stream, write_stream
from grpc_tool_bridge.values.scalars import Packed


def pack_frame(name: str, frame: Any) -> Packed:
    """Writes a frame, an instance of exactly the class that the type URL names, such as "pandas.DataFrame".

    Raises:
        SerializationError: Arrow cannot restore it unchanged, or pyarrow is missing.
    """
    need("pyarrow")
    try:
        return TYPE_PREFIX + name, write_stream(_WRITERS[name](frame))
    except SerializationError:
        raise
    except Exception as failure:
        raise SerializationError(
            f"Arrow cannot hold this {name}: {str(failure)[:500]}; convert what it names, or send plain data"
        ) from failure


def _checked_table(table: Any) -> Any:
    if table.num_rows and not table.num_columns:
        raise SerializationError(f"a table of {table.num_rows:,} rows and no columns has no form in Arrow IPC")
    return table


def _polars_table(frame: Any) -> Any:
    polars = need("polars")
    for name, dtype in frame.schema.items():
        if _is_unknown_to_arrow(dtype, polars):
            raise _no_polars_form(name, dtype)
        if "\0" in name:
            raise SerializationError(
                f"Arrow cannot hold the column name {name!r:.80}, because of its NUL character; "
                'run: frame = frame.rename(lambda name: name.replace("\\0", ""))'
            )
    try:
        table = frame.to_arrow(compat_level=polars.CompatLevel.oldest())
    except polars.exceptions.PanicException as failure:
        # polars raises a BaseException here, although only this conversion has failed.
        raise SerializationError(f"polars cannot write this DataFrame as Arrow: {failure}") from failure
    after = _polars_frame(table.slice(0, 0)).schema
    for name, dtype in frame.schema.items():
        if after[name] != dtype:
            raise _no_polars_form(name, dtype)
    return _checked_table(table) if frame.height else table


def _is_unknown_to_arrow(dtype: Any, polars: Any) -> bool:
    # Older versions have no wide integers.
    if dtype == polars.Object or str(dtype) in ("Int128", "UInt128"):
        return True
    inner = [field.dtype for field in getattr(dtype, "fields", ())] + [getattr(dtype, "inner", None)]
    return any(_is_unknown_to_arrow(part, polars) for part in inner if part is not None)


def _no_polars_form(name: str, dtype: Any) -> SerializationError:
    if dtype.is_numeric():
        mend = "cast(pl.Int64)"
    elif dtype.is_nested():
        mend = f"cast({str(dtype).replace('128', '64')})"
    else:
        mend = 'map_elements("{}".format, return_dtype=pl.String)'
    return SerializationError(
        f"Arrow cannot hold column {name!r:.80} of dtype {dtype!s:.80} of this polars.DataFrame; "
        f"run: frame = frame.with_columns(pl.col({name!r:.80}).{mend})"
    )


def _read_pandas(restore: Callable[[Any], Any]) -> Callable[[bytes, int], Any]:
    def read(payload: bytes, _: int) -> Any:
        need("pandas")
        return restore(read_stream(payload))

    return read


def _read_polars(payload: bytes, _: int) -> Any:
    need("polars")
    return _polars_frame(read_stream(payload))


def _polars_frame(table: Any) -> Any:
    polars = need("polars")
    try:
        frame = polars.from_arrow(table)
    except polars.exceptions.PanicException as failure:
        raise SerializationError(f"polars cannot read the Arrow stream: {failure}") from failure
    if "" in table.column_names:
        # polars renames such a column to "column_0".
        frame.columns = table.column_names
    return frame


_WRITERS: dict[str, Callable[[Any], Any]] = {
    "pandas.DataFrame": dataframes.frame_to_table,
    "pandas.Series": dataframes.series_to_table,
    "pandas.Index": dataframes.index_to_table,
    "pyarrow.Table": _checked_table,
    "polars.DataFrame": _polars_table,
}

# By the name after the type URL's last slash.
READERS: dict[str, Callable[[bytes, int], Any]] = {
    "pandas.DataFrame": _read_pandas(dataframes.table_to_frame),
    "pandas.Series": _read_pandas(dataframes.table_to_series),
    "pandas.Index": _read_pandas(dataframes.table_to_index),
    "pyarrow.Table": lambda payload, _: read_stream(payload),
    "polars.DataFrame": _read_polars,
}
