"""What a tool returns, made to fit what its function says that it returns."""

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
    """Makes a result fit the return annotation, as an argument is made to fit a parameter's.

    Args:
        check: Of the annotation.
        value: What the function gave.
        max_bytes: Bytes that an iterator in it may fill.

    Returns:
        The result as its type: a list of a generator, a dict of a Counter, a model of a dict.

    Raises:
        TypeError: It is something else, which is an error of the tool.
        MessageTooLargeError: An iterator gives too much.
        ForeignCodeError: Code of a stranger's would run in an event loop.
    """
    if type(value) in check.accepts:
        return value
    if is_bulky(value):
        # Checking it is not a stranger's work, but enough of it to hold up a loop.
        foreign(value)
    kind: Any = type(value)
    check_access(value)
    if check.reads_iterators or is_iterator(kind):
        value = read_iterators(value, max_bytes=max_bytes)
    try:
        return check.validator.validate_python(value)
    except CheckError as error:
        # To say what is wrong runs code of what it is wrong with: its text, its length.
        foreign(value)
        read = read_iterators(value, max_bytes=max_bytes)
        if read is not value:
            return fitted(check, read, max_bytes=max_bytes)
        raise TypeError(
            f"its result {describe_problems(error)}, by its return annotation; return what that says, change it, or "
            "make the tool with check_result=False"
        ) from None


def result_writing(spec: ToolSpec, *, max_depth: int, max_bytes: int, max_nodes: int | None = None) -> Writing:
    """Says how a result, or one value of a stream, is written: by the tool's output schema.

    Args:
        spec: Of the tool.
        max_depth: Levels of nested containers allowed.
        max_bytes: Bytes of a message.
        max_nodes: Elements, keys, texts and numbers of a message; None for any.
    """
    declares = declared_in(spec.output_schema, spec.return_type.python_type)
    return Writing(max_depth=max_depth, output=True, declares=declares, max_bytes=max_bytes, max_nodes=max_nodes)


def streams(value: Any) -> bool:
    """Whether a value is read one item after another, and only once."""
    kind: Any = type(value)
    return issubclass(kind, AsyncIterator) or is_iterator(kind)


def has_items(value: Any) -> bool:
    """Whether the result of a declared stream is the list of its values."""
    kind = type(value)
    return issubclass(kind, AsyncIterable | Iterable) and not issubclass(kind, str | bytes | bytearray | Mapping)
