"""What an Arrow IPC stream from a peer may stand for: not much more than it holds.

A few bytes of Arrow can mean gigabytes: buffers may be compressed, rows of nulls take no space, and views and
dictionaries let one text stand in every row. The messages say how much there will be before anything is made of them.
"""

from collections.abc import Iterator
from struct import unpack_from
from typing import Any

from grpc_tool_bridge.errors import SerializationError
from grpc_tool_bridge.wire.jsontext import MAX_ITEMS, too_many
from grpc_tool_bridge.wire.packages import need

# Of the flatbuffers of Arrow's format (Message.fbs): the kinds of message, and the places of fields in their tables.
_DICTIONARY_BATCH, _RECORD_BATCH = 2, 3
_MESSAGE_KIND, _MESSAGE_HEADER = 1, 2
_DICTIONARY_DATA = 1
_BATCH_LENGTH, _BATCH_NODES, _BATCH_COMPRESSION = 0, 1, 3
_NODE_BYTES = 16


def check_stream(stream: memoryview) -> None:
    """Checks the messages of an IPC stream before they are read.

    Raises:
        SerializationError: It is compressed, or has more values than its bytes account for.
    """
    pa = need("pyarrow")
    values = 0
    # The smallest value takes a bit; nulls and structs, which take none, are what the allowance is for.
    limit = MAX_ITEMS + 8 * len(stream)
    for message in pa.ipc.MessageReader.open_stream(pa.py_buffer(stream)):
        values += sum(_lengths(memoryview(message.metadata)))
        if values > limit:
            raise too_many(limit)


def check_expansion(schema: Any) -> None:
    """Checks that no type of a schema lets values share what becomes a copy for each of them in pandas.

    Raises:
        SerializationError: There is a view, or a dictionary inside another type.
    """
    for field in schema:
        if _shares(field.type, inside=False):
            raise SerializationError(
                f"column {field.name[:80]!r} is of type {str(field.type)[:80]}, which is not read into pandas; cast it "
                "to one without views, and without dictionaries inside"
            )


def _shares(kind: Any, *, inside: bool) -> bool:
    types = need("pyarrow").types
    if types.is_dictionary(kind):
        return inside or _shares(kind.value_type, inside=True)
    views = (types.is_string_view, types.is_binary_view, types.is_list_view, types.is_large_list_view)
    if any(is_view(kind) for is_view in views):
        return True
    return any(_shares(kind.field(number).type, inside=True) for number in range(kind.num_fields))


def _lengths(message: memoryview) -> Iterator[int]:
    """Yields the numbers of values in the arrays of one message, those inside others included."""
    table = _table(message, 0)
    place, header = _field(message, table, _MESSAGE_KIND), _field(message, table, _MESSAGE_HEADER)
    kind = message[place] if place else 0
    if not header or kind not in (_DICTIONARY_BATCH, _RECORD_BATCH):
        return
    batch = _table(message, header)
    if kind == _DICTIONARY_BATCH:
        batch = _table(message, _field(message, batch, _DICTIONARY_DATA))
    if _field(message, batch, _BATCH_COMPRESSION):
        raise SerializationError("the Arrow stream is compressed; send it as it is, without a codec")
    nodes = _field(message, batch, _BATCH_NODES)
    start = nodes + unpack_from("<I", message, nodes)[0] if nodes else 0
    count = unpack_from("<I", message, start)[0] if nodes else 0
    for number in range(count):
        yield unpack_from("<q", message, start + 4 + number * _NODE_BYTES)[0]
    length = _field(message, batch, _BATCH_LENGTH)
    if length and not count:
        yield unpack_from("<q", message, length)[0]


def _table(data: memoryview, place: int) -> int:
    """Follows the offset at ``place`` to a table."""
    return place + int(unpack_from("<I", data, place)[0])


def _field(data: memoryview, table: int, number: int) -> int:
    """Finds a field of a table; 0 where it is not there."""
    vtable = table - unpack_from("<i", data, table)[0]
    slot = 4 + 2 * number
    offset: int = unpack_from("<H", data, vtable + slot)[0] if slot < unpack_from("<H", data, vtable)[0] else 0
    return table + offset if offset else 0
