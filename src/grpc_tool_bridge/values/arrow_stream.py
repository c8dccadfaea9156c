"""Tables as Arrow IPC streams, and the check that a peer's stream does not expand to much more than its size.

A few bytes of Arrow can mean gigabytes: buffers may be compressed, rows of nulls take no space, and views and
dictionaries let one text appear in every row. The messages show how much there will be before they are read.
"""

import base64
import io
from collections.abc import Iterable
from struct import unpack_from
from typing import Any

from google.protobuf import wrappers_pb2

from grpc_tool_bridge.errors import SerializationError
from grpc_tool_bridge.optional import need
from grpc_tool_bridge.rpc.nodes import MAX_NODES
from grpc_tool_bridge.rpc.wireformat import bytes_header, read_bytes_field
from grpc_tool_bridge.values.jsontext import too_many

# From the flatbuffers of Arrow's format (Message.fbs): kinds of messages, and positions of fields in their tables.
_SCHEMA, _DICTIONARY_BATCH, _RECORD_BATCH = 1, 2, 3
_SCHEMA_FIELDS, _FIELD_CHILDREN = 1, 5
_MESSAGE_KIND, _MESSAGE_HEADER = 1, 2
_DICTIONARY_DATA = 1
_BATCH_LENGTH, _BATCH_NODES, _BATCH_COMPRESSION = 0, 1, 3
_NODE_BYTES = 16

# Each column takes pandas and polars some 50 µs, regardless of its contents.
MAX_COLUMNS = 10_000
MAX_NESTING = 100

# Values without size that are allowed in each stream nested in another.
_INNER_ALLOWANCE = 1_024


def write_stream(table: Any) -> bytes:
    """Writes a table as a BytesValue with an IPC stream, copying the data once."""
    if table.num_columns > MAX_COLUMNS:
        raise SerializationError(
            f"a table has {table.num_columns:,} columns, the limit is {MAX_COLUMNS:,}; send it as rows, or in parts"
        )
    pa = need("pyarrow")
    mock = pa.MockOutputStream()
    with pa.ipc.new_stream(mock, table.schema) as writer:
        writer.write_table(table)
    # Its reader refuses what is hardly more than rows.
    limit = MAX_NODES + 8 * mock.size()
    if table.num_rows * max(table.num_columns, 1) > limit:
        raise too_many(limit)
    header = bytes_header(mock.size())
    # The only way to fill a bytes object in place: BytesIO lends its buffer, and returns it without a copy.
    holder = io.BytesIO(bytes(len(header) + mock.size()))
    with holder.getbuffer() as view:
        view[: len(header)] = header
        with view[len(header) :] as rest:
            _fill(rest, table)
    return holder.getvalue()


def _fill(view: memoryview, table: Any) -> None:
    pa = need("pyarrow")
    with pa.FixedSizeBufferWriter(pa.py_buffer(view)) as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


def read_stream(payload: bytes) -> Any:
    """Reads a table from a BytesValue with an IPC stream from any peer.

    Raises:
        SerializationError: It expands to much more than its size; the caller converts other errors.
    """
    stream = read_bytes_field(payload)
    if stream is None:
        stream = memoryview(wrappers_pb2.BytesValue.FromString(payload).value)
    return _read(stream, MAX_NODES)


def write_inner(table: Any) -> str:
    """Writes a small table as text, for the notes of another."""
    pa = need("pyarrow")
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return base64.b64encode(sink.getvalue()).decode()


def read_inner(text: str) -> Any:
    """Reads what ``write_inner`` or a peer wrote; raises as ``read_stream``."""
    return _read(memoryview(base64.b64decode(text, validate=True)), _INNER_ALLOWANCE)


def _read(stream: memoryview, allowance: int) -> Any:
    pa = need("pyarrow")
    check_stream(stream, allowance)
    table = pa.ipc.open_stream(pa.py_buffer(stream)).read_all()
    # Offsets and lengths come from a peer: unchecked, a wrong one reads memory outside the table.
    table.validate(full=True)
    return table


def check_stream(stream: memoryview, allowance: int) -> None:
    """Checks the messages of an IPC stream before they are read.

    Args:
        stream: The stream.
        allowance: How many values without size, such as nulls, are allowed.

    Raises:
        SerializationError: It is compressed, has too many columns, or more values than its bytes account for.
    """
    pa = need("pyarrow")
    values = 0
    # The smallest value takes a bit; the allowance is for nulls and structs, which take none.
    limit = allowance + 8 * len(stream)
    for message in pa.ipc.MessageReader.open_stream(pa.py_buffer(stream)):
        metadata = memoryview(message.metadata)
        _check_schema(metadata)
        values += _values(metadata)
        if values > limit:
            raise too_many(limit)


def check_expansion(fields: Iterable[Any]) -> None:
    """Checks that no type of these fields shares data between values that pandas would copy for each of them.

    Raises:
        SerializationError: A type is a view, a run of equal values, or a dictionary inside another type.
    """
    for field in fields:
        if _shares(field.type):
            raise SerializationError(
                f"column {field.name[:80]!r} is of type {str(field.type)[:80]}, which is not read into pandas; cast it "
                "to one without views or runs, and without dictionaries inside"
            )


def has_views(kind: Any) -> bool:
    """Returns whether a type is or contains a view or a run, which pandas and pyarrow support only in part."""
    types = need("pyarrow").types
    views = (types.is_string_view, types.is_binary_view, types.is_list_view, types.is_large_list_view)
    if any(is_view(kind) for is_view in (*views, types.is_run_end_encoded)):
        return True
    return any(has_views(kind.field(number).type) for number in range(kind.num_fields))


def _shares(kind: Any, *, inside: bool = False) -> bool:
    if need("pyarrow").types.is_dictionary(kind):
        return inside or _shares(kind.value_type, inside=True)
    return has_views(kind) or any(_shares(kind.field(number).type, inside=True) for number in range(kind.num_fields))


def _values(message: memoryview) -> int:
    """Returns the number of values in all arrays of a message, including nested ones; at least that of its rows."""
    table = _table(message, 0)
    place, header = _field(message, table, _MESSAGE_KIND), _field(message, table, _MESSAGE_HEADER)
    kind = message[place] if place else 0
    if not header or kind not in (_DICTIONARY_BATCH, _RECORD_BATCH):
        return 0
    batch = _table(message, header)
    if kind == _DICTIONARY_BATCH:
        batch = _table(message, _field(message, batch, _DICTIONARY_DATA))
    if _field(message, batch, _BATCH_COMPRESSION):
        raise SerializationError("the Arrow stream is compressed; send it as it is, without a codec")
    nodes = _field(message, batch, _BATCH_NODES)
    start = nodes + unpack_from("<I", message, nodes)[0] if nodes else 0
    count = unpack_from("<I", message, start)[0] if nodes else 0
    lengths = (unpack_from("<q", message, start + 4 + number * _NODE_BYTES)[0] for number in range(count))
    values: int = sum(max(length, 0) for length in lengths)
    length = _field(message, batch, _BATCH_LENGTH)
    rows: int = unpack_from("<q", message, length)[0] if length else 0
    # A table without columns has rows too, whatever arrays its batch claims to have.
    return max(values, rows)


def _check_schema(message: memoryview) -> None:
    """Checks the number of columns of a stream, including nested ones; in flatbuffers, many may be the same one."""
    table = _table(message, 0)
    place, header = _field(message, table, _MESSAGE_KIND), _field(message, table, _MESSAGE_HEADER)
    if not header or not place or message[place] != _SCHEMA:
        return
    waiting = [(_table(message, header), _SCHEMA_FIELDS, 0)]
    count = 0
    while waiting:
        owner, number, depth = waiting.pop()
        vector = _field(message, owner, number)
        if not vector:
            continue
        start = vector + int(unpack_from("<I", message, vector)[0])
        inside = int(unpack_from("<I", message, start)[0])
        count += inside
        if count > MAX_COLUMNS or depth > MAX_NESTING:
            raise SerializationError(
                f"the Arrow stream has more than {MAX_COLUMNS:,} columns, including nested ones, or nests them "
                f"deeper than {MAX_NESTING} levels; send it as rows, or in parts"
            )
        places = range(start + 4, start + 4 + 4 * inside, 4)
        waiting.extend((_table(message, each), _FIELD_CHILDREN, depth + 1) for each in places)


def _table(data: memoryview, place: int) -> int:
    """Follows the offset at ``place`` to a table."""
    return place + int(unpack_from("<I", data, place)[0])


def _field(data: memoryview, table: int, number: int) -> int:
    """Finds a field of a table; 0 if it is absent."""
    vtable = table - unpack_from("<i", data, table)[0]
    slot = 4 + 2 * number
    offset: int = unpack_from("<H", data, vtable + slot)[0] if slot < unpack_from("<H", data, vtable)[0] else 0
    return table + offset if offset else 0
