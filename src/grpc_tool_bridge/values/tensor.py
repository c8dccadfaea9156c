"""numpy arrays and scalars as Tensor.

A Tensor of no dimensions in an Any is a scalar; a 0-d array travels in RichValue.tensor, which is always an array.
"""

import re
from math import prod
from typing import TYPE_CHECKING, Any

from grpc_tool_bridge.errors import SerializationError
from grpc_tool_bridge.optional import need
from grpc_tool_bridge.proto.dspex_bridge_pb2 import RichValue, Tensor
from grpc_tool_bridge.rpc.wireformat import TYPE_PREFIX
from grpc_tool_bridge.values.jsontext import MAX_ITEMS
from grpc_tool_bridge.values.scalars import RICH_URL, Packed

if TYPE_CHECKING:
    from numpy import ndarray

TENSOR_URL = TYPE_PREFIX + "dspex.bridge.Tensor"

# The limit of NumPy 2; older versions have half of it, and raise.
MAX_DIMENSIONS = 64

_PLAIN_KINDS = "biufcmMSUV"
# The possible dtype.str of these kinds; numpy itself accepts much more, some of it by evaluating text.
_DTYPE = re.compile(r"[<>|=][biufcmMSUV][0-9]{0,9}(\[[0-9]{0,9}(generic|Y|M|W|D|h|m|s|ms|us|μs|ns|ps|fs|as)\])?")


def pack_tensor(value: Any) -> Packed | None:
    """Writes an array or a scalar of numpy; None for other objects of numpy.

    Raises:
        SerializationError: Its dtype holds Python objects or fields, or a text in it ends with NUL characters.
    """
    np = need("numpy")
    if isinstance(value, np.ndarray):
        # A subclass becomes a plain array: numpy.matrix, numpy.memmap.
        tensor = _tensor(np.asarray(value))
        if value.ndim == 0:
            return RICH_URL, RichValue(tensor=tensor).SerializeToString()
        return TENSOR_URL, tensor.SerializeToString()
    if not isinstance(value, np.generic):
        return None
    array = np.asarray(value)
    if array.dtype.kind in "SU" and len(array[()]) != len(value):
        raise SerializationError("a numpy text that ends with NUL characters loses them; send a str or bytes")
    return TENSOR_URL, _tensor(array).SerializeToString()


def _tensor(array: "ndarray[Any, Any]") -> Tensor:
    np = need("numpy")
    dtype = array.dtype
    if dtype.kind not in _PLAIN_KINDS or dtype.names is not None or np.dtype(dtype.str) != dtype:
        raise SerializationError(
            f"an array of dtype {str(dtype)[:80]!r} has no plain form; convert it with astype() to numbers, bool, "
            "dates or fixed-width text, or send it as a list"
        )
    return Tensor(dtype=dtype.str, shape=array.shape, data=array.tobytes())


def read_tensor(payload: bytes, _: int) -> Any:
    """Reads a Tensor from an Any: a writable array, or a scalar if it has no dimensions."""
    array = read_array(Tensor.FromString(payload))
    return array if array.ndim else array[()]


def read_array(message: Tensor) -> "ndarray[Any, Any]":
    """Reads a Tensor as an array of its shape, even if 0-d.

    Raises:
        SerializationError: numpy is missing, or dtype, shape and data do not match.
    """
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
    if size != len(message.data) or (not dtype.itemsize and prod(shape) > MAX_ITEMS):
        raise SerializationError(
            f"a tensor of dtype {message.dtype} and shape {shape[:8]} takes {size:,} bytes, "
            f"but {len(message.data):,} were received"
        )
    # A bytearray, since an array over bytes would be read-only.
    array: ndarray[Any, Any] = np.ndarray(shape, dtype, buffer=bytearray(message.data))
    return array
