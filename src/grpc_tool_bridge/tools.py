"""Tools: functions that can be called over the bridge.

``@tool`` reads a function once. What it takes and returns becomes its ToolSpec, and a binder is compiled that checks
the arguments of every call.
"""

import functools
import inspect
import re
import types
import typing
from collections import abc
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Never, overload

from grpc_tool_bridge.binding import Binder
from grpc_tool_bridge.checks import compile_check
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ResourceLimits, ToolSpec, ToolType
from grpc_tool_bridge.signatures import EMPTY, Signature, implementation, read_signature
from grpc_tool_bridge.specs import describe_tool
from grpc_tool_bridge.typespecs import plain

ExecutorName = Literal["async", "thread"]

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_LIST_TYPES = (list, abc.Sequence, abc.Iterable, abc.Collection, Any)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is the same for a function and for each of its bound methods."""

    spec: ToolSpec
    binder: Binder
    is_async: bool
    is_stream: bool
    executor: ExecutorName
    context_parameter: str | None
    needs_instance: bool


class Tool:
    """A function as a tool. Immutable; made by ``tool`` or ``as_tool``.

    It can be called as the function itself, and has its name, docstring and signature. As an attribute of a class it
    binds to the instance as a function does.

    Attributes:
        spec: What peers see of it.
        function: The user's function.
        is_async: Whether it is a coroutine function or an async generator function.
        is_stream: Whether it is a generator function, async or not.
        executor: Where it runs: "async" on the event loop, "thread" in a thread.
        context_parameter: Name of the parameter that the bridge fills in with a ToolContext.
        bind: Checks and converts ``(args, kwargs)`` of a call and returns them ready for ``function(*args, **kwargs)``,
            the context still to be added by name; raises ValidationError, whose ``details`` has a text for each wrong
            argument (``Binder.bind``).
    """

    spec: ToolSpec
    function: Callable[..., Any]
    is_async: bool
    is_stream: bool
    executor: ExecutorName
    context_parameter: str | None
    bind: Callable[[Sequence[Any], Mapping[str, Any]], tuple[Sequence[Any], dict[str, Any]]]
    __name__: str
    __wrapped__: Callable[..., Any]
    _plan: _Plan

    def __init__(self, function: Callable[..., Any], plan: _Plan) -> None:
        code = implementation(function)
        self.__dict__.update(
            spec=plan.spec,
            function=function,
            is_async=plan.is_async,
            is_stream=plan.is_stream,
            executor=plan.executor,
            context_parameter=plan.context_parameter,
            _plan=plan,
            bind=plan.binder.bind,
            __name__=_own_name(function),
            __qualname__=getattr(code, "__qualname__", _own_name(function)),
            __module__=code.__module__,
            __doc__=inspect.getdoc(code),
            __wrapped__=function,
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the function itself; nothing is checked."""
        return self.function(*args, **kwargs)

    @property
    def is_unbound(self) -> bool:
        """Whether it is a method that has yet to be reached through an instance."""
        return self._plan.needs_instance and not isinstance(self.function, types.MethodType)

    def __get__(self, instance: object, owner: type | None = None) -> "Tool":
        if instance is None or not self.is_unbound:
            return self
        return Tool(types.MethodType(self.function, instance), self._plan)

    def __setattr__(self, name: str, value: object) -> Never:
        raise AttributeError(f"tool {self.spec.name!r} cannot be changed; make another from its function")

    def __delattr__(self, name: str) -> Never:
        self.__setattr__(name, None)

    def __repr__(self) -> str:
        return f"<Tool {self.spec.name}{inspect.signature(self.function)}>"


@overload
def tool(function: Callable[..., Any], /) -> Tool: ...
@overload
def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = ...,
    tool_id: str | None = ...,
    description: str | None = ...,
    type: ToolType.ValueType | None = ...,
    version: str = ...,
    idempotent: bool = ...,
    limits: ResourceLimits | Mapping[str, int] | None = ...,
    executor: ExecutorName | None = ...,
    examples: Iterable[str] = ...,
    metadata: Mapping[str, str] | None = ...,
) -> Callable[[Callable[..., Any]], Tool]: ...
def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    tool_id: str | None = None,
    description: str | None = None,
    type: ToolType.ValueType | None = None,  # noqa: A002 - the contract's name
    version: str = "",
    idempotent: bool = False,
    limits: ResourceLimits | Mapping[str, int] | None = None,
    executor: ExecutorName | None = None,
    examples: Iterable[str] = (),
    metadata: Mapping[str, str] | None = None,
) -> Tool | Callable[[Callable[..., Any]], Tool]:
    """Makes a function a tool; also a decorator, with or without options.

    Args:
        function: A function, generator function, bound method, callable object or ``functools.partial``, async or not.
        name: The tool's name, 1 to 128 letters, digits, ``_``, ``-`` or ``.``; the function's where not given.
        tool_id: What a call names; the tool's name where not given. Of the same form.
        description: What the tool is for; the docstring without its sections where not given.
        type: BATCH for a function that takes a list of inputs. The others follow from the function.
        version: A text of your choice. Replicas of a tool share it.
        idempotent: Whether calling twice with the same arguments does no more than calling once.
        limits: A ResourceLimits, or its fields by name. 0: no limit of the tool's own.
        executor: "async" runs a sync function on the event loop: it promises not to block. Otherwise async functions
            run there, and sync ones in threads.
        examples: Calls that show how the tool is used, as text.
        metadata: Facts for whoever lists the tools.

    Returns:
        The tool, or without ``function`` a decorator that makes it.

    Raises:
        TypeError: The function cannot be a tool, or an option is of the wrong type.
        ValueError: An option does not fit the function, or has a value that cannot be.
    """
    options = _Options(name, tool_id, description, type, version, idempotent, limits, executor, examples, metadata)
    return _make(function, options) if function is not None else functools.partial(_make, options=options)


def as_tool(obj: Tool | Callable[..., Any]) -> Tool:
    """Makes a tool of what is offered as one.

    Args:
        obj: A tool, or anything that ``tool`` takes.

    Returns:
        ``obj`` itself where it is a tool, else a tool with every option at its default.

    Raises:
        TypeError: It cannot be a tool, such as a method without its instance.
        ValueError: Its name cannot be a tool's name.
    """
    made = _tool_inside(obj) or _make(obj, _Options())
    if made.is_unbound:
        qualname = made.__dict__["__qualname__"]
        raise TypeError(f"{qualname} is a method without its instance; offer it as instance.{made.__name__}")
    return made


@dataclass(frozen=True, slots=True)
class _Options:
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


def _make(function: Callable[..., Any], options: _Options) -> Tool:
    _check_callable(function)
    name = options.name if options.name is not None else _own_name(function)
    if name == "<lambda>":
        raise ValueError("a lambda has no name to be called by; give it one: tool(name=...)(lambda ...)")
    _check_name(name, "name", name)
    signature = read_signature(function, name)
    checks = {
        item.name: compile_check(item.annotation, f"{name}: parameter '{item.name}'") for item in signature.parameters
    }
    result = None if signature.result is EMPTY else compile_check(signature.result, f"{name}: the result")
    spec = describe_tool(name, _tool_type(name, options.type, signature), signature, checks, result)
    _set_options(spec, options)
    plan = _Plan(
        spec=spec,
        binder=Binder(name, signature, checks),
        is_async=signature.is_async,
        is_stream=signature.is_stream,
        executor=_executor(name, options.executor, signature),
        context_parameter=signature.context,
        needs_instance=signature.needs_instance,
    )
    return Tool(function, plan)


def _tool_inside(obj: object) -> Tool | None:
    """Finds the tool in a method or a partial that was made of one."""
    if isinstance(obj, Tool):
        return obj
    if isinstance(obj, types.MethodType) and isinstance(obj.__func__, Tool):
        return obj.__func__.__get__(obj.__self__)
    return None


def _check_callable(function: object) -> None:
    if isinstance(function, Tool):
        raise TypeError(f"{function.spec.name!r} is a tool already; give its options where it is made")
    if isinstance(function, staticmethod | classmethod):
        raise TypeError(f"put @{type(function).__name__} above @tool, not below it")
    if isinstance(function, type):
        raise TypeError(f"{function.__qualname__} is a class; offer a function, or an instance that can be called")
    if not callable(function):
        raise TypeError(f"a tool is a function or something else that can be called, not {function!r}")


def _own_name(function: Callable[..., Any]) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__name__", None) or type(function).__name__


def _check_name(text: object, what: str, label: object) -> None:
    if not isinstance(text, str):
        raise TypeError(f"{label}: the {what} of a tool is text, not {text!r}")
    if not _NAME.fullmatch(text):
        raise ValueError(f"a tool's {what} is 1 to 128 letters, digits, '_', '-' or '.'; this one is {text[:130]!r}")


def _tool_type(name: str, asked: ToolType.ValueType | None, signature: Signature) -> ToolType.ValueType:
    natural = ToolType.STREAMING if signature.is_stream else ToolType.STANDARD
    if asked is None or asked == natural:
        return natural
    if asked not in ToolType.values():
        raise ValueError(f"{name}: there is no tool type {asked!r}")
    if asked != ToolType.BATCH or signature.is_stream:
        fits = f"{ToolType.Name(natural)} follows from {'its yield' if signature.is_stream else 'its having no yield'}"
        raise ValueError(f"{name}: type {ToolType.Name(asked)} does not fit the function; {fits}, leave type out")
    first = next(iter(signature.parameters), None)
    kind = plain(first.annotation) if first is not None and first.positional else None
    if (typing.get_origin(kind) or kind) not in _LIST_TYPES:
        raise ValueError(
            f"{name}: a BATCH tool takes a list of inputs as its first parameter, such as 'items: list[str]'"
        )
    return asked


def _executor(name: str, asked: ExecutorName | None, signature: Signature) -> ExecutorName:
    if asked not in (None, "async", "thread"):
        raise ValueError(f"{name}: executor is 'async' or 'thread', not {asked!r}")
    if asked == "thread" and signature.is_async:
        raise ValueError(
            f"{name}: it is async, so it runs on the event loop; leave executor out, or write it as a plain def"
        )
    return asked or ("async" if signature.is_async else "thread")


def _set_options(spec: ToolSpec, options: _Options) -> None:
    name = spec.name
    if options.tool_id is not None:
        _check_name(options.tool_id, "tool_id", name)
        spec.tool_id = options.tool_id
    for what in ("description", "version"):
        text = getattr(options, what)
        if text is not None:
            if not isinstance(text, str):
                raise TypeError(f"{name}: {what} is text, not {text!r}")
            setattr(spec, what, text or getattr(spec, what))
    spec.idempotent = bool(options.idempotent)
    if isinstance(options.examples, str):
        raise TypeError(f"{name}: examples is a list of texts, not one text")
    spec.examples.extend(options.examples)
    spec.metadata.update(options.metadata or {})
    if options.limits is not None:
        spec.limits.CopyFrom(_limits(name, options.limits))


def _limits(name: str, limits: ResourceLimits | Mapping[str, int]) -> ResourceLimits:
    fields = ResourceLimits.DESCRIPTOR.fields_by_name
    if not isinstance(limits, ResourceLimits):
        unknown = [key for key in limits if key not in fields]
        if unknown:
            raise ValueError(f"{name}: there is no limit {unknown[0]!r}; the limits are {', '.join(fields)}")
        for key, value in limits.items():
            if type(value) is not int:
                raise TypeError(f"{name}: the limit {key} is a whole number, not {value!r}")
        limits = _filled(name, limits)
    for key in fields:
        if getattr(limits, key) < 0:
            raise ValueError(f"{name}: the limit {key} must not be negative; 0 is no limit of its own")
    return limits


def _filled(name: str, limits: Mapping[str, int]) -> ResourceLimits:
    try:
        return ResourceLimits(**limits)
    except ValueError as error:
        raise ValueError(f"{name}: a limit is too large: {error}") from error
