"""numpy arrays and scalars as Tensor.

A Tensor of no dimensions in an Any is a scalar; a 0-d array travels in RichValue.tensor, which is always an array.

The data is the last field, and protobuf would copy it several times: it is written and read around protobuf, with one
copy at each end.
"""

import re
import sys
from math import prod
from typing import TYPE_CHECKING, Any

from grpc_tool_bridge.errors import SerializationError
from grpc_tool_bridge.optional import need
from grpc_tool_bridge.proto.dspex_bridge_pb2 import RichValue, Tensor
from grpc_tool_bridge.rpc.nodes import MAX_NODES
from grpc_tool_bridge.rpc.wireformat import LENGTH, TYPE_PREFIX, read_varint, varint
from grpc_tool_bridge.values.scalars import RICH_URL, Packed

if TYPE_CHECKING:
    from numpy import ndarray

TENSOR_URL = TYPE_PREFIX + "dspex.bridge.Tensor"

# The limit of NumPy 2; older versions have half of it, and raise.
MAX_DIMENSIONS = 64

# How many lists one item may be nested in, for all that a tensor has more of them than of items.
_LISTS_PER_ITEM = 8

# Items of an array whose items take no bytes, such as texts of no characters.
_MAX_WIDTHLESS = 1_000

_DATA_TAG = 3 << 3 | LENGTH
_DATA_HEADER = bytes((_DATA_TAG,))
# A Tensor has three fields; one with more is left to protobuf.
_MAX_FIELDS = 3

_PLAIN_KINDS = "biufcmMSUV"
# The possible dtype.str of these kinds; numpy itself accepts much more, some of it by evaluating text.
_DTYPE = re.compile(r"[<>|=][biufcmMSUV][0-9]{0,9}(\[[0-9]{0,9}(generic|Y|M|W|D|h|m|s|ms|us|μs|ns|ps|fs|as)\])?")


def pack_tensor(value: Any) -> Packed | None:
    """Writes an array or a scalar of numpy; None for other objects of numpy.

    Raises:
        SerializationError: Its dtype holds Python objects or fields, a text in it ends with NUL characters, or it is
            hardly more than dimensions.
    """
    np = need("numpy")
    if isinstance(value, np.ndarray):
        # A subclass becomes a plain array: numpy.matrix, numpy.memmap.
        payload = _payload(np.asarray(value))
        if value.ndim == 0:
            return RICH_URL, RichValue(tensor=Tensor.FromString(payload)).SerializeToString()
        return TENSOR_URL, payload
    if not isinstance(value, np.generic):
        return None
    array = np.asarray(value)
    if array.dtype.kind in "SU" and len(array[()]) != len(value):
        raise SerializationError("a numpy text that ends with NUL characters loses them; send a str or bytes")
    return TENSOR_URL, _payload(array)


def _payload(array: "ndarray[Any, Any]") -> bytes:
    """Returns the bytes of a Tensor."""
    np = need("numpy")
    dtype = array.dtype
    if dtype.kind not in _PLAIN_KINDS or dtype.names is not None or np.dtype(dtype.str) != dtype:
        raise SerializationError(
            f"an array of dtype {str(dtype)[:80]!r} has no plain form; convert it with astype() to numbers, bool, "
            "dates or fixed-width text, or send it as a list"
        )
    check_lists(array.shape)
    head = Tensor(dtype=dtype.str, shape=array.shape).SerializeToString()
    if not array.nbytes:
        return head
    # As bytes, since dates and fixed-width texts have no buffer. Nothing is copied unless the array is not contiguous.
    data = array.ravel().view("u1").data
    return b"".join((head, _DATA_HEADER, varint(array.nbytes), data))


def check_lists(shape: tuple[int, ...]) -> None:
    """Refuses an array that is hardly more than dimensions: whoever writes it as lists would make billions of them.

    Raises:
        SerializationError: It is one.
    """
    lists, rows = 1, 1
    for dimension in shape[:-1]:
        rows *= dimension
        lists += rows
    if lists > MAX_NODES + _LISTS_PER_ITEM * prod(shape):
        raise SerializationError(
            f"a tensor of the shape {shape[:8]} would be {lists:,} nested lists, with {prod(shape):,} items; reshape it"
        )


def read_tensor(payload: bytes, _: int) -> Any:
    """Reads a Tensor from an Any: a writable array, or a scalar if it has no dimensions."""
    array = _read(*_parts(payload))
    return array if array.ndim else array[()]


def read_array(message: Tensor) -> "ndarray[Any, Any]":
    """Reads a Tensor as an array of its shape, even if 0-d.

    Raises:
        SerializationError: numpy is missing, or dtype, shape and data do not match, or a text is not valid.
    """
    return _read(message, memoryview(message.data))


def _parts(payload: bytes) -> tuple[Tensor, memoryview]:
    """Returns a Tensor without its data, and its data, which is not copied if it is the last field."""
    position = 0
    for _ in range(_MAX_FIELDS):
        if position >= len(payload):
            break
        start = position
        tag, position = read_varint(payload, position)
        if tag & 7 != LENGTH:
            break
        size, position = read_varint(payload, position)
        if tag == _DATA_TAG and position + size == len(payload):
            return Tensor.FromString(payload[:start]), memoryview(payload)[position:]
        position += size
    message = Tensor.FromString(payload)
    return message, memoryview(message.data)


def _read(message: Tensor, data: memoryview) -> "ndarray[Any, Any]":
    """Makes an array of the dtype and shape of a Tensor, and of a copy of ``data``."""
    np = need("numpy")
    if len(message.shape) > MAX_DIMENSIONS:
        raise SerializationError(
            f"a tensor has {len(message.shape):,} dimensions; NumPy arrays have at most {MAX_DIMENSIONS}"
        )
    shape = tuple(message.shape)
    if min(shape, default=0) < 0:
        raise SerializationError(f"a tensor has the shape {shape[:8]}; no dimension may be negative")
    if not _DTYPE.fullmatch(message.dtype):
        raise SerializationError(f"{message.dtype[:40]!r} is not a plain dtype of numpy, such as '<f8'")
    dtype = np.dtype(message.dtype)
    # In Python's integers, which do not overflow; nothing is allocated before.
    size = prod(shape) * dtype.itemsize
    if size != len(data) or (not dtype.itemsize and prod(shape) > _MAX_WIDTHLESS):
        raise SerializationError(
            f"a tensor of dtype {message.dtype} and shape {shape[:8]} takes {size:,} bytes, "
            f"but {len(data):,} were received"
        )
    if dtype.kind == "U" and size and np.frombuffer(data, f"{dtype.byteorder}u4").max() > sys.maxunicode:
        # NumPy takes them, and fails with a SystemError once somebody looks at one.
        raise SerializationError(f"a tensor of dtype {message.dtype} has a character beyond U+10FFFF")
    check_lists(shape)
    # A copy, since an array over bytes would be read-only; by NumPy, which aligns it.
    buffer = np.frombuffer(data, "u1").copy() if size else bytearray()
    array: ndarray[Any, Any] = np.ndarray(shape, dtype, buffer=buffer)
    return array
