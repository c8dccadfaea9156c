"""Converts Python values to google.protobuf.Any and back, without loss and without pickle.

Scalars travel in the wrapper types of google.protobuf. Containers use the first form that restores them unchanged:
ListValue or Struct if small, Json, RichValue. Arrays, frames and registered classes have forms of their own. Subclasses
and look-alikes travel as the nearest of these, and objects with fields as dicts. The last resort is the ``str`` of an
unknown class, marked by the type URL; everything else is refused.
"""

import re
from collections.abc import Callable
from typing import Any, TypeVar

from google.protobuf.any_pb2 import Any as AnyMessage

from grpc_tool_bridge.errors import MessageTooLargeError, SerializationError
from grpc_tool_bridge.optional import DATA_PACKAGES
from grpc_tool_bridge.proto.dspex_bridge_pb2 import RichValue
from grpc_tool_bridge.rpc.large_messages import LargeValue
from grpc_tool_bridge.rpc.nodes import NODE_BYTES, check_value
from grpc_tool_bridge.rpc.wireformat import TYPE_PREFIX, bytes_field
from grpc_tool_bridge.values import arrow as frames
from grpc_tool_bridge.values import data, jsontext, scalars, structs, tensor
from grpc_tool_bridge.values.codecs import CodecTable
from grpc_tool_bridge.values.exactness import is_json_exact
from grpc_tool_bridge.values.foreign import foreign, in_place
from grpc_tool_bridge.values.plain import ITERATOR_BYTES, Writing, read_iterators, to_plain
from grpc_tool_bridge.values.rich import RichReader, is_rich, pack_rich
from grpc_tool_bridge.values.rows import has_own_text, is_data, is_own, public_name
from grpc_tool_bridge.values.scalars import JSON_URL, SCALARS, Packed

__all__ = [
    "Writing",
    "deserialize_value",
    "pack_json",
    "pack_value",
    "python_type_name",
    "read_iterators",
    "register_codec",
    "serialize_value",
]

T = TypeVar("T")

MAX_DEPTH = 100
_UNKNOWN = "python."
# How many NumPy arrays or scalars of one value may be written in an event loop, at some 10 µs each; a frame counts as
# a hundred.
_WORK_IN_LOOP = 2_000
_WORK_OF_FRAME = 100
_AS_USUAL = Writing()


def serialize_value(
    value: Any, *, strict: bool = False, max_depth: int = MAX_DEPTH, max_bytes: int | None = None
) -> AnyMessage:
    """Writes a Python value as an Any.

    Args:
        value: Any value; docs/reference/values.md lists how each type travels.
        strict: Whether a class without a form is refused; otherwise it becomes its ``str``, marked by the type URL.
        max_depth: Levels of nested containers allowed.
        max_bytes: Maximum size of the payload in bytes; None: no limit.

    Returns:
        A new Any.

    Raises:
        SerializationError: The value cannot be represented exactly, is nested too deep or contains itself.
        MessageTooLargeError: It takes more than ``max_bytes``, or an iterator in it yields more than that (10 MB if
            ``max_bytes`` is None).
    """
    scalar = SCALARS.get(type(value))
    if scalar is not None:
        type_url, payload = scalar(value)
    else:
        how = _AS_USUAL
        if strict or max_depth != MAX_DEPTH or max_bytes is not None:
            most = ITERATOR_BYTES if max_bytes is None else max_bytes
            how = Writing(strict=strict, max_depth=max_depth, max_bytes=most)
        with in_place():
            type_url, payload = pack_value(value, how)
    if max_bytes is not None and len(payload) > max_bytes:
        raise MessageTooLargeError.of(f"a value of type {python_type_name(value)}", len(payload), max_bytes)
    return AnyMessage(type_url=type_url, value=payload)


def pack_value(value: Any, how: Writing = _AS_USUAL) -> Packed:
    """Writes a Python value as the two fields of an Any, for a message that already has the Any.

    Filling a message in place saves a copy.

    Args:
        value: As for ``serialize_value``.
        how: How it is written.

    Raises:
        SerializationError, MessageTooLargeError: As for ``serialize_value``.
        ForeignCodeError: Foreign code, or too much work, would run in an event loop; do it in a thread.
    """
    scalar = SCALARS.get(type(value))
    if scalar is not None:
        return scalar(value)
    try:
        packed = _pack(value, how)
    except RecursionError:
        raise jsontext.too_deep() from None
    if how.max_nodes is not None and len(packed[1]) > how.max_nodes * NODE_BYTES:
        check_value(*packed, f"a {python_type_name(value)}", how.max_nodes)
    return packed


def pack_json(value: Any, max_depth: int, max_nodes: int | None = None) -> Packed | None:
    """Writes a list or dict of plain data as the two fields of an Any; None for any other value.

    Args:
        value: Any value.
        max_depth: Levels of nested containers allowed.
        max_nodes: Elements, keys, texts and numbers allowed; None for any.

    Raises:
        SerializationError: It is nested too deep or contains itself, or a text in it has no UTF-8 form.
        MessageTooLargeError: It has more nodes.
        ForeignCodeError: It has so many that writing it would block an event loop; do it in a thread.
    """
    if type(value) is not list and type(value) is not dict:
        return None
    packed = structs.pack_struct(value)
    if packed is not None and max_depth >= structs.MAX_LEVELS:
        return packed
    if not is_json_exact(value, max_depth=max_depth, max_nodes=max_nodes):
        return None
    text = jsontext.encode_json(value)
    return packed or (None if text is None else (JSON_URL, bytes_field(text)))


def deserialize_value(
    any: AnyMessage | LargeValue,  # noqa: A002 - the name is the API
    *,
    max_depth: int = MAX_DEPTH,
    max_nodes: int | None = None,
) -> Any:
    """Reads a Python value from an Any.

    Args:
        any: An Any, from any peer.
        max_depth: Levels of nested containers allowed.
        max_nodes: Elements, keys, texts and numbers allowed, counted before anything is decoded; None: no limit.

    Returns:
        The value.

    Raises:
        SerializationError: The type URL is not known, or the bytes are not a value of its type.
        MessageTooLargeError: It has more nodes.
    """
    try:
        type_url = any.type_url
        # Not bytes only if its reader takes buffers, see ``LargeValue``.
        payload: Any = any.value
        read = _BY_URL.get(type_url) or _reader_of(type_url)
        if max_nodes is not None and len(payload) > max_nodes * NODE_BYTES:
            check_value(type_url, payload, "a value", max_nodes)
        return read(payload, max_depth)
    except (SerializationError, MessageTooLargeError):
        raise
    except RecursionError:
        raise jsontext.too_deep() from None
    except Exception as failure:
        # Half a dozen libraries read the peer's bytes; all that they raise means the same.
        raise _no_value(any, failure) from failure


def register_codec(cls: type[T], *, type_url: str, encode: Callable[[T], bytes], decode: Callable[[bytes], T]) -> None:
    """Registers how instances of a class are encoded, at top level and inside containers.

    Args:
        cls: The class. Its subclasses are not included.
        type_url: A name such as "acme.Money", with or without a prefix that ends in a slash. Peers that decode
            the value register the same name.
        encode: Converts an instance to bytes.
        decode: Converts bytes, possibly from an untrusted peer, to an instance. Any exception becomes a
            SerializationError.

    Raises:
        AlreadyExistsError: The class or the name is taken.
        ValidationError: ``cls`` is not a class, or ``type_url`` is not a valid name.
    """
    _codecs.add(cls, type_url=type_url, encode=encode, decode=decode)


def python_type_name(value: Any) -> str:
    """Returns the type name of a value as variables show it, such as "int", "list" or "DataFrame"."""
    return type(value).__name__


def _pack(value: Any, how: Writing) -> Packed:
    packed = pack_json(value, how.max_depth, how.max_nodes)
    if packed is not None:
        return packed
    plain = to_plain(value, how, _codecs.by_class.__contains__)
    scalar = SCALARS.get(type(plain))
    if scalar is not None:
        return scalar(plain)
    if plain is not value:
        packed = pack_json(plain, how.max_depth, how.max_nodes)
        if packed is not None:
            return packed

    work = 0

    def pack(other: Any) -> Packed:
        nonlocal work
        # Looked up on the class: a lazy frame would resolve its columns.
        kind: Any = type(other)
        work += _WORK_OF_FRAME if hasattr(kind, "columns") or hasattr(kind, "to_frame") else 1
        if work > _WORK_IN_LOOP:
            # No foreign code, but enough work to block an event loop.
            foreign(other)
        return _pack_object(other, strict=how.strict)

    return pack_rich(plain, pack) if is_rich(type(plain)) else pack(plain)


def _pack_object(value: Any, *, strict: bool) -> Packed:
    """Writes a value that is neither a scalar nor a container nor plain data."""
    kind: Any = type(value)
    codec = _codecs.by_class.get(kind)
    if codec is not None:
        return codec.type_url, codec.write(value)
    packed = data.pack_data(value)
    if packed is not None:
        return packed
    if strict or is_data(kind) or not has_own_text(kind):
        raise SerializationError(
            f"a {public_name(kind)} has no exact form; send plain data, or give its class a form with register_codec"
        )
    if not is_own(kind):
        foreign(value)
    try:
        text = str(value)
    except Exception as failure:
        raise SerializationError(
            f"a {kind.__name__} has no form, and its str() raised {type(failure).__name__}: {failure}; "
            "use register_codec"
        ) from failure
    return TYPE_PREFIX + _UNKNOWN + re.sub(r"[^\w.]", "_", kind.__name__), bytes_field(scalars.utf8(text))


Reader = Callable[[bytes, int], Any]


def _reader_of(type_url: str) -> Reader:
    """Finds the reader of a type URL with an unusual prefix, or of a registered or unknown class."""
    name = type_url.rpartition("/")[2]
    reader = _READERS.get(name)
    if reader is not None:
        return reader
    codec = _codecs.by_name.get(name)
    if codec is not None:
        return lambda payload, _: codec.decode(payload)
    if name.startswith(_UNKNOWN) and len(name) > len(_UNKNOWN):
        return lambda payload, _: scalars.read_text(payload)
    if not type_url:
        raise SerializationError("the Any has no type URL, so it holds no value; None is a google.protobuf.Value")
    raise SerializationError(f"the type URL {type_url[:200]!r} is not known; use register_codec to decode it")


def _no_value(message: Any, failure: Exception) -> SerializationError:
    type_url = getattr(message, "type_url", None)
    if not isinstance(type_url, str):
        return SerializationError(f"a {type(message).__name__} is not a google.protobuf.Any")
    return SerializationError(
        f"the bytes under {type_url[:200]!r} are not a value of that type: "
        f"{type(failure).__name__}: {str(failure)[:500]}"
    )


_rich = RichReader(lambda message, depth: deserialize_value(message, max_depth=depth))
_READERS: dict[str, Reader] = {
    **scalars.READERS,
    **frames.READERS,
    "google.protobuf.Value": structs.read_value,
    "google.protobuf.ListValue": structs.read_list,
    "google.protobuf.Struct": structs.read_struct,
    "dspex.bridge.Json": jsontext.decode_json,
    "dspex.bridge.Tensor": tensor.read_tensor,
    "dspex.bridge.RichValue": lambda payload, depth: _rich.read(RichValue.FromString(payload), depth),
}
_BY_URL: dict[str, Reader] = {TYPE_PREFIX + name: reader for name, reader in _READERS.items()}
_codecs = CodecTable(
    is_reserved=lambda cls: cls in SCALARS or is_rich(cls) or cls.__module__.partition(".")[0] in DATA_PACKAGES,
    reserved_names=("google.protobuf.", "dspex.bridge.", "pandas.", "pyarrow.", "polars.", _UNKNOWN),
)
