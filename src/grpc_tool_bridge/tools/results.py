"""Converts what a tool returns to its return annotation."""

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from typing import Any

from pydantic_core import ValidationError as CheckError

from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec
from grpc_tool_bridge.tools.checks import Check
from grpc_tool_bridge.tools.wording import describe_problems
from grpc_tool_bridge.values.foreign import foreign, is_bulky
from grpc_tool_bridge.values.guarded import declared_in
from grpc_tool_bridge.values.rows import check_access, is_iterator
from grpc_tool_bridge.values.serialization import Writing, read_iterators


def fitted(check: Check, value: Any, *, max_bytes: int) -> Any:
    """Converts a result to the return annotation, as an argument is converted to a parameter's.

    Args:
        check: The check of the annotation.
        value: What the function returned.
        max_bytes: Maximum bytes that an iterator in it may produce.

    Returns:
        The converted result: a generator becomes a list, a Counter a dict, a dict a model.

    Raises:
        TypeError: It does not match, which is an error of the tool.
        MessageTooLargeError: An iterator yields too much.
        ForeignCodeError: Foreign code would run in an event loop.
    """
    if type(value) in check.accepts:
        return value
    if is_bulky(value):
        # No foreign code, but enough work to block an event loop.
        foreign(value)
    kind: Any = type(value)
    check_access(value)
    if check.reads_iterators or is_iterator(kind):
        value = read_iterators(value, max_bytes=max_bytes)
    try:
        return check.validator.validate_python(value)
    except CheckError as error:
        # Describing the problem runs code of the value: its repr, its length.
        foreign(value)
        read = read_iterators(value, max_bytes=max_bytes)
        if read is not value:
            return fitted(check, read, max_bytes=max_bytes)
        raise TypeError(
            f"its result {describe_problems(error)}, by its return annotation; return what that says, change it, or "
            "make the tool with check_result=False"
        ) from None


def result_writing(spec: ToolSpec, *, max_depth: int, max_bytes: int, max_nodes: int | None = None) -> Writing:
    """Returns how a result, or one value of a stream, is written: by the tool's output schema.

    Args:
        spec: The tool's spec.
        max_depth: Levels of nested containers allowed.
        max_bytes: Maximum bytes of a message.
        max_nodes: Maximum elements, keys, texts and numbers of a message; None: no limit.
    """
    declares = declared_in(spec.output_schema, spec.return_type.python_type)
    return Writing(max_depth=max_depth, output=True, declares=declares, max_bytes=max_bytes, max_nodes=max_nodes)


def streams(value: Any) -> bool:
    """Whether a value is an iterator: read item by item, and only once."""
    kind: Any = type(value)
    return issubclass(kind, AsyncIterator) or is_iterator(kind)


def has_items(value: Any) -> bool:
    """Whether the result of a declared stream is the list of its values."""
    kind = type(value)
    return issubclass(kind, AsyncIterable | Iterable) and not issubclass(kind, str | bytes | bytearray | Mapping)
