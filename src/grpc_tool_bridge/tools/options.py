"""The options of ``tool``, and their checks."""

import functools
import inspect
import re
import typing
from collections import abc
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.llm.tool_marks import (
    APPROVAL_KEY,
    APPROVAL_REQUIRED,
    DEPRECATED_KEY,
    HIDDEN_KEY,
    TAGS_KEY,
    checked_tags,
    tags_of,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ResourceLimits, ToolSpec, ToolType
from grpc_tool_bridge.tools.annotations import without_none
from grpc_tool_bridge.tools.breaker_options import BREAKER_KEY, breaker_text
from grpc_tool_bridge.tools.signatures import Signature
from grpc_tool_bridge.tools.typespecs import plain

ExecutorName = Literal["async", "thread", "process"]

MAX_TOOL_NAME_CHARS = 128
TOOL_NAME = re.compile(rf"[A-Za-z0-9_.-]{{1,{MAX_TOOL_NAME_CHARS}}}")
_LIST_TYPES = (list, abc.Sequence, abc.Iterable, abc.Collection, Any)


@dataclass(frozen=True, slots=True)
class ToolOptions:
    """The options of ``tool``, as given."""

    name: str | None = None
    tool_id: str | None = None
    description: str | None = None
    type: ToolType.ValueType | None = None
    version: str = ""
    idempotent: bool = False
    limits: ResourceLimits | Mapping[str, int] | None = None
    executor: ExecutorName | None = None
    examples: Iterable[str] = ()
    metadata: Mapping[str, str] | None = None
    check_result: bool = True
    breaker: Mapping[str, float] | None = None
    hidden: bool = False
    deprecated: str = ""
    tags: Iterable[str] = ()
    approval: str = ""


def fitting_name(function: Callable[..., Any], asked: str | None) -> str:
    """Returns a tool's name: the given one, else the function's.

    Raises:
        TypeError: It is not a text.
        ValueError: It is not a valid tool name.
    """
    name = own_name(function) if asked is None else asked
    if name == "<lambda>":
        raise ValueError("a lambda has no name to be called by; give it one: tool(name=...)(lambda ...)")
    return checked_name(name, "name")


def own_name(function: Callable[..., Any]) -> str:
    """Returns a function's own name: a partial's is that of its function, a callable object's that of its class."""
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__name__", None) or type(function).__name__


def fitting_type(name: str, asked: ToolType.ValueType | None, signature: Signature) -> ToolType.ValueType:
    """Returns a tool's type: that of the function, or BATCH if requested and possible.

    Raises:
        ValueError: The function cannot have the requested type.
    """
    natural = ToolType.STREAMING if signature.is_stream else ToolType.STANDARD
    if asked is None or asked == natural:
        return natural
    if asked not in ToolType.values():
        raise ValueError(f"{name}: {asked!r} is not a tool type; omit type")
    if asked != ToolType.BATCH or signature.is_stream:
        why = "a function that yields is" if signature.is_stream else "a function that does not yield is"
        raise ValueError(
            f"{name}: type {ToolType.Name(asked)} does not match: {why} {ToolType.Name(natural)}; omit type"
        )
    first = next(iter(signature.parameters), None)
    kind = plain(without_none(first.annotation)) if first is not None and first.positional else None
    if (typing.get_origin(kind) or kind) not in _LIST_TYPES:
        raise ValueError(f"{name}: a BATCH tool takes a list as its first parameter, such as 'items: list[str]'")
    return asked


def fitting_executor(
    name: str, asked: ExecutorName | None, signature: Signature, function: Callable[..., Any]
) -> ExecutorName:
    """Returns where a function runs.

    Raises:
        ValueError: It cannot run in the requested executor.
    """
    if asked not in (None, "async", "thread", "process"):
        raise ValueError(f"{name}: executor must be 'async', 'thread' or 'process', not {asked!r}")
    if asked in ("thread", "process") and signature.is_async:
        raise ValueError(f"{name}: an async function runs on the event loop; omit executor, or use a plain def")
    if asked == "process":
        what = _hidden(function, signature)
        if what:
            raise ValueError(
                f"{name}: a process finds a function by its module and its name there, so {what} cannot run in "
                "one; use a def at the top level of a module, or omit executor"
            )
    return asked or ("async" if signature.is_async else "thread")


def _hidden(function: Callable[..., Any], signature: Signature) -> str:
    """Returns why a function cannot be found by its name; nothing if it can."""
    if inspect.ismethod(function) or signature.needs_instance:
        return "a method, which needs its instance,"
    if not inspect.isfunction(function):
        return f"a {type(function).__name__} object"
    if function.__name__ == "<lambda>":
        return "a lambda"
    if "<locals>" in function.__qualname__:
        return "a function inside a function"
    return ""


def apply_options(spec: ToolSpec, options: ToolOptions) -> None:
    """Adds the options to a spec.

    Raises:
        TypeError: An option is of the wrong type.
        ValueError: An option has an invalid value.
    """
    name = spec.name
    if options.tool_id is not None:
        spec.tool_id = checked_name(options.tool_id, "tool_id")
    if options.description is not None:
        spec.description = _text(name, "description", options.description)
    spec.version = _text(name, "version", options.version)
    if not isinstance(options.idempotent, bool):
        raise TypeError(f"{name}: idempotent must be True or False, not {options.idempotent!r}")
    spec.idempotent = options.idempotent
    if isinstance(options.examples, str):
        raise TypeError(f"{name}: examples must be a list of texts, not one text; write examples=[...]")
    if not isinstance(options.examples, Iterable):
        raise TypeError(f"{name}: examples must be a list of texts, not {options.examples!r}")
    spec.examples.extend(_text(name, "an example", item) for item in options.examples)
    if not isinstance(options.metadata, Mapping | None):
        raise TypeError(f"{name}: metadata must be a dict of texts, not {options.metadata!r}")
    for key, value in (options.metadata or {}).items():
        spec.metadata[_text(name, "a key of metadata", key)] = _text(name, f"metadata[{key!r}]", value)
    put_marks(spec, hidden=options.hidden, deprecated=options.deprecated, tags=options.tags, approval=options.approval)
    if options.breaker is not None:
        spec.metadata[BREAKER_KEY] = breaker_text(name, options.breaker)
    if options.limits is not None:
        spec.limits.CopyFrom(_checked_limits(name, options.limits))


def put_marks(
    spec: ToolSpec, *, hidden: bool = False, deprecated: str = "", tags: Iterable[str] = (), approval: str = ""
) -> None:
    """Adds marks to those that a spec has.

    Raises:
        TypeError: A mark is of the wrong type.
        ValueError: A tag or the approval is not valid.
    """
    name = spec.name
    if not isinstance(hidden, bool):
        raise TypeError(f"{name}: hidden must be True or False, not {hidden!r}")
    if not isinstance(deprecated, str):
        raise TypeError(f"{name}: deprecated must say what to use instead, such as 'use plus', not {deprecated!r}")
    if not isinstance(approval, str):
        raise TypeError(f"{name}: approval must be {APPROVAL_REQUIRED!r} or '', not {approval!r}")
    if approval not in ("", APPROVAL_REQUIRED):
        raise ValueError(f"{name}: approval must be {APPROVAL_REQUIRED!r} or '', not {approval!r:.100}")
    try:
        added = checked_tags(tags)
    except ValidationError as error:
        raise type(error)(f"{name}: {error.message}") from None
    if hidden:
        spec.metadata[HIDDEN_KEY] = "true"
    if deprecated:
        spec.metadata[DEPRECATED_KEY] = deprecated
    if approval:
        spec.metadata[APPROVAL_KEY] = approval
    if added:
        spec.metadata[TAGS_KEY] = ",".join(checked_tags((*tags_of(spec), *added)))


def checked_name(text: Any, what: str) -> str:
    """Returns a tool's name, or ``what`` else is of the same form.

    Raises:
        TypeError: It is no text.
        ValueError: It is not of this form.
    """
    if not isinstance(text, str):
        raise TypeError(f"a tool's {what} must be text, not {text!r}")
    if not TOOL_NAME.fullmatch(text):
        raise ValueError(f"a tool's {what} must be 1 to 128 letters, digits, '_', '-' or '.', not {text[:130]!r}")
    return text


def _text(name: str, what: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name}: {what} must be text, not {value!r}")
    return value


def _checked_limits(name: str, limits: ResourceLimits | Mapping[str, int]) -> ResourceLimits:
    if not isinstance(limits, ResourceLimits):
        if not isinstance(limits, Mapping):
            raise TypeError(f"{name}: limits must be a dict such as {{'timeout_ms': 5000}}, not {limits!r}")
        limits = _limits_of(name, limits)
    for field, value in limits.ListFields():
        if value < 0:
            raise ValueError(f"{name}: the limit {field.name} must not be negative; 0 means no limit of its own")
    return limits


def _limits_of(name: str, limits: Mapping[str, int]) -> ResourceLimits:
    made = ResourceLimits()
    known = ResourceLimits.DESCRIPTOR.fields_by_name
    for key, value in dict(limits).items():
        if key not in known:
            raise ValueError(f"{name}: {key!r} is not a limit; the limits are {', '.join(known)}")
        if type(value) is not int:
            raise TypeError(f"{name}: the limit {key} must be a whole number, not {value!r}")
        try:
            setattr(made, key, value)
        except ValueError:
            raise ValueError(f"{name}: the limit {key} is too large: {value}") from None
    return made
