"""Tools: functions that can be called over the bridge.

``@tool`` inspects a function once: it builds the ToolSpec from the signature, and compiles a binder that checks the
arguments of every call.
"""

import functools
import inspect
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Concatenate, Generic, Literal, Never, Self, TypedDict, Unpack, overload

from typing_extensions import ParamSpec, TypeVar

from grpc_tool_bridge.llm.tool_marks import APPROVAL_KEY, deprecated_of, is_hidden, tags_of
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ResourceLimits, ToolSpec, ToolType
from grpc_tool_bridge.tools.annotations import UnresolvedNameError
from grpc_tool_bridge.tools.binding import Binder, Request
from grpc_tool_bridge.tools.checks import Check, compile_check
from grpc_tool_bridge.tools.options import (
    ExecutorName,
    ToolOptions,
    apply_options,
    checked_name,
    fitting_executor,
    fitting_name,
    fitting_type,
    own_name,
)
from grpc_tool_bridge.tools.providers import Dependencies
from grpc_tool_bridge.tools.signatures import EMPTY, Signature, described_by, docstring_of, read_signature
from grpc_tool_bridge.tools.specs import describe_tool
from grpc_tool_bridge.values.arguments import EXECUTOR_KEY

# What a function takes and returns. Without them, as in ``list[Tool]``, a tool takes and returns anything.
P = ParamSpec("P", default=...)
R_co = TypeVar("R_co", covariant=True, default=Any)
# Of a method: its instance, the class, and what it takes after them.
Instance = TypeVar("Instance")
Owner = TypeVar("Owner", bound=type)
Rest = ParamSpec("Rest")
# Of a function that becomes a tool.
Given = ParamSpec("Given")
Returned = TypeVar("Returned")

# Checks and converts ``(args, kwargs)`` of a call.
Bound = tuple[Sequence[Any], dict[str, Any]]
Bind = Callable[[Sequence[Any], Mapping[str, Any]], Bound]
BindRequest = Callable[[Request, int, int, int | None], Bound]
TryBind = Callable[[Sequence[Any], Mapping[str, Any]], Bound | None]


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a function and its bound methods share."""

    spec: ToolSpec
    bind: Bind
    bind_request: BindRequest
    try_bind: TryBind
    result: Check | None
    is_async: bool
    is_generator: bool
    is_stream: bool
    executor: ExecutorName
    context_parameter: str | None
    dependencies: Dependencies | None
    needs_context: bool
    needs_instance: bool
    options: ToolOptions
    binder: Binder

    def changed(self, name: str, change: Callable[[ToolSpec], None]) -> "_Plan":
        """Returns the plan of the same function as a tool of another name, whose spec ``change`` completes."""
        spec = ToolSpec()
        spec.CopyFrom(self.spec)
        spec.name = spec.tool_id = name
        change(spec)
        binder = self.binder.renamed(name)
        options = replace(
            self.options,
            name=name,
            tool_id=None,
            version=spec.version,
            hidden=is_hidden(spec),
            deprecated=deprecated_of(spec),
            tags=tags_of(spec),
            approval=spec.metadata.get(APPROVAL_KEY, ""),
        )
        return replace(
            self,
            spec=spec,
            binder=binder,
            bind=binder.bind,
            bind_request=binder.bind_request,
            try_bind=binder.try_bind,
            dependencies=self.dependencies and self.dependencies.renamed(name),
            options=options,
        )


# The attributes that a tool gets from inspecting its function.
_PLANNED = frozenset(item.name for item in fields(_Plan)) - {"needs_instance", "options", "binder"}


class Tool(Generic[P, R_co]):
    """A function as a tool. Immutable; created by ``tool`` or ``as_tool``.

    It can be called like the function itself, and has its name, docstring and signature. As an attribute of a class, it
    binds to the instance like a function. Type checkers see the function's parameters and result:
    ``Tool[[str, int], str]`` is a tool that takes a text and a number.

    If an annotation refers to a name that is defined later in the module, the function is inspected when an attribute
    of the tool is first used, at the latest when the tool is registered; a name that is still undefined is a TypeError.

    Attributes:
        spec: What peers see of it.
        function: The original function.
        is_async: Whether it is a coroutine function or an async generator function.
        is_generator: Whether it is a generator function, async or not.
        is_stream: Whether its values are sent one by one: it yields, or is annotated to return an iterator.
        result: The check of what it returns or, for a stream, of each value; None if nothing is checked.
        executor: Where it runs: "async" on the event loop, "thread" in a thread, "process" in a spawned process.
        context_parameter: Name of the parameter that the bridge fills in with a ToolContext.
        dependencies: What fills in its parameters with ``Depends``; None if it has none.
        needs_context: Whether a call has a ToolContext, for the function or for its dependencies.
        bind: Checks and converts ``(args, kwargs)`` of a call and returns them ready for ``function(*args, **kwargs)``,
            the context and the dependencies still to be added by name; raises ValidationError, whose ``details`` has a
            text for each wrong argument (``Binder.bind``).
        bind_request: The same for the arguments of a request (``Binder.bind_request``).
        try_bind: The same as ``bind``, but returns None instead of an error (``Binder.try_bind``).
    """

    spec: ToolSpec
    function: Callable[P, R_co]
    is_async: bool
    is_generator: bool
    is_stream: bool
    result: Check | None
    executor: ExecutorName
    context_parameter: str | None
    dependencies: Dependencies | None
    needs_context: bool
    bind: Bind
    bind_request: BindRequest
    try_bind: TryBind
    __name__: str
    __wrapped__: Callable[P, R_co]
    _plan: _Plan

    def __init__(self, function: Callable[P, R_co], plan: _Plan | Callable[[], _Plan]) -> None:
        code = described_by(function)
        self.__dict__.update(
            function=function,
            __name__=own_name(function),
            __qualname__=getattr(code, "__qualname__", own_name(function)),
            __module__=code.__module__,
            __doc__=docstring_of(function),
            __wrapped__=function,
        )
        if isinstance(plan, _Plan):
            self._follow(plan)
        else:
            self.__dict__["_read_plan"] = plan

    def _follow(self, plan: _Plan) -> None:
        self.__dict__.update({name: getattr(plan, name) for name in _PLANNED}, _plan=plan)

    def __getattr__(self, name: str) -> Any:
        # Only called for missing attributes, so calls of an inspected tool do not pass here.
        if name not in {*_PLANNED, "_plan"} or "_plan" in self.__dict__:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        self._follow(self.__dict__["_read_plan"]())
        self.__dict__.pop("_read_plan", None)
        return self.__dict__[name]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Calls the function itself; nothing is checked."""
        return self.function(*args, **kwargs)

    def renamed(self, name: str) -> "Tool[P, R_co]":
        """Returns the same tool under another name, which is its id, too: ``tools=[add.renamed("plus")]``.

        Raises:
            TypeError: The name is no text.
            ValueError: The name is not valid.
        """
        return self.changed(checked_name(name, "name"))

    def changed(self, name: str, change: Callable[[ToolSpec], None] = lambda _: None) -> "Tool[P, R_co]":
        """Returns the same function as a tool of another name, whose spec ``change`` completes."""
        if "_plan" in self.__dict__:
            return Tool(self.function, self._plan.changed(name, change))
        # Its annotations cannot be read yet.
        return Tool(self.function, lambda: self._plan.changed(name, change))

    def overridden(self, function: Callable[..., Any]) -> "Tool":
        """Returns a function as a tool with the options of this one, such as a method that overrides it."""
        return _make(function, replace(self._plan.options, name=self.spec.name))

    @property
    def is_unbound(self) -> bool:
        """Whether it is a method that is not yet bound to an instance."""
        return self._plan.needs_instance and not isinstance(self.function, types.MethodType)

    # A class method, read from the class.
    @overload
    def __get__(
        self: Callable[Concatenate[Owner, Rest], Returned], instance: None, owner: Owner, /
    ) -> "Tool[Rest, Returned]": ...
    @overload
    def __get__(self, instance: None, owner: type, /) -> Self: ...
    @overload
    def __get__(
        self: Callable[Concatenate[Instance, Rest], Returned], instance: Instance, owner: type | None = None, /
    ) -> "Tool[Rest, Returned]": ...
    # A class method, read from an instance.
    @overload
    def __get__(
        self: Callable[Concatenate[Owner, Rest], Returned], instance: object, owner: Owner, /
    ) -> "Tool[Rest, Returned]": ...
    # A static method, or a tool that merely stands in the class.
    @overload
    def __get__(self, instance: object, owner: type | None = None, /) -> Self: ...
    def __get__(self, instance: object, owner: type | None = None, /) -> "Tool":
        if instance is None or not self.is_unbound:
            return self
        return Tool(types.MethodType(self.function, instance), self._plan)

    def __setattr__(self, name: str, value: object) -> Never:
        raise AttributeError(f"tool {self.__name__!r} is immutable; make another one from its function")

    def __delattr__(self, name: str) -> Never:
        self.__setattr__(name, None)

    def __reduce__(self) -> str | tuple[Any, ...]:
        # Pickled by its name, as the function itself is.
        if isinstance(self.function, types.MethodType):
            owner, name = self.function.__self__, self.function.__name__
            if isinstance(inspect.getattr_static(type(owner), name, None), Tool):
                return getattr, (owner, name)
        return str(self.__qualname__)

    def __repr__(self) -> str:
        name = self.spec.name if "_plan" in self.__dict__ else self.__name__
        return f"<Tool {name}{inspect.signature(self.function)}>"


class _Options(TypedDict, total=False):
    name: str | None
    tool_id: str | None
    description: str | None
    type: ToolType.ValueType | None
    version: str
    idempotent: bool
    limits: ResourceLimits | Mapping[str, int] | None
    executor: ExecutorName | None
    examples: Iterable[str]
    metadata: Mapping[str, str] | None
    check_result: bool
    breaker: Mapping[str, float] | None
    hidden: bool
    deprecated: str
    tags: Iterable[str]
    approval: Literal["", "required"]


@overload
def tool(function: Callable[Given, Returned], /, **options: Unpack[_Options]) -> Tool[Given, Returned]: ...
@overload
def tool(
    function: None = None, /, **options: Unpack[_Options]
) -> Callable[[Callable[Given, Returned]], Tool[Given, Returned]]: ...
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
    check_result: bool = True,
    breaker: Mapping[str, float] | None = None,
    hidden: bool = False,
    deprecated: str = "",
    tags: Iterable[str] = (),
    approval: Literal["", "required"] = "",
) -> Tool | Callable[[Callable[..., Any]], Tool]:
    """Turns a function into a tool; also a decorator, with or without options.

    Args:
        function: A function, generator function, bound method, callable object or ``functools.partial``, async or not.
        name: The tool's name, 1 to 128 letters, digits, ``_``, ``-`` or ``.``; default: the function's.
        tool_id: The id that calls use, of the same form as a name; default: the tool's name.
        description: What the tool is for; default: the docstring without its arguments and result.
        type: BATCH for a function that takes a list of inputs. The others follow from the function.
        version: Any text. Several versions of a tool can be registered side by side; the plain name is the newest.
        idempotent: Whether calling twice with the same arguments has the same effect as calling once.
        limits: A ResourceLimits, or a dict of its fields. 0: no limit of the tool's own.
        executor: "async" runs a sync function on the event loop, where it must not block. "process" runs it in its own
            process, which a deadline or a cancellation kills; it must be a ``def`` at the top level of a module. By
            default, async functions run on the event loop, and sync ones in threads.
        examples: Calls that show how the tool is used, as text.
        metadata: Texts by name, for clients that list the tools.
        check_result: Whether the result is converted to the return annotation; a result that does not match is an error
            of the tool. False sends results unchecked, which is faster for large ones.
        breaker: When the tool is held back, such as {"failures": 5, "seconds": 30}: after so many failures in a row,
            for so long. 0 failures: never. By default, the hub's settings decide.
        hidden: Leave it out of listings and searches, and of what models are given unless they are given it by name. It
            can be called like any other.
        deprecated: What to use instead, such as "use plus". Listings say it, and a Python client warns when it is
            called. Models are given it only by name.
        tags: What listings are filtered by, such as ("db", "read"): each 1 to 64 letters, digits or any of ``_-.:``.
        approval: "required": each call waits until somebody with the right approves its arguments; no result is kept.

    Returns:
        The tool, or without ``function`` a decorator that makes it.

    Raises:
        TypeError: The function cannot be a tool, or an option is of the wrong type.
        ValueError: An option does not match the function, or has an invalid value.
    """
    options = ToolOptions(
        name, tool_id, description, type, version, idempotent, limits, executor, examples, metadata, check_result,
        breaker, hidden, deprecated, tags, approval,
    )  # fmt: skip
    return _make(function, options) if function is not None else functools.partial(_make, options=options)


def tool_of_spec(
    function: Callable[..., Any], spec: ToolSpec, signature: Signature, checks: Mapping[str, Check]
) -> Tool:
    """Makes a tool of an async function whose arguments are described elsewhere, and not by annotations.

    Args:
        function: A function that takes all of its arguments by name, and returns an awaitable or, if ``signature`` is
            that of a generator, an async generator.
        spec: The whole spec of the tool.
        signature: What calls are bound to, with the name of the context parameter if there is one.
        checks: A check for each parameter, by name.

    Returns:
        The tool. What it returns is not checked.
    """
    binder = Binder(spec.name, signature, checks)
    plan = _Plan(
        spec=spec,
        bind=binder.bind,
        bind_request=binder.bind_request,
        try_bind=binder.try_bind,
        result=None,
        is_async=True,
        is_generator=signature.is_generator,
        is_stream=signature.is_stream,
        executor="async",
        context_parameter=signature.context,
        dependencies=None,
        needs_context=signature.context is not None,
        needs_instance=False,
        options=ToolOptions(name=spec.name),
        binder=binder,
    )
    return Tool(function, plan)


def as_tool(obj: Tool | Callable[..., Any], name: str | None = None) -> Tool:
    """Turns anything that is accepted as a tool into one.

    Args:
        obj: A tool, or anything that ``tool`` takes.
        name: The name of a tool that is made. None: that of the function.

    Returns:
        ``obj`` itself if it is a tool, otherwise a tool with default options.

    Raises:
        TypeError: It cannot be a tool, such as a method without its instance.
        ValueError: Its name is not a valid tool name.
    """
    made = _tool_inside(obj) or _make(obj, ToolOptions(name=name))
    if made.is_unbound:
        qualname = made.__dict__["__qualname__"]
        raise TypeError(f"{qualname} is a method without its instance; offer it as instance.{made.__name__}")
    return made


def _make(function: Callable[..., Any], options: ToolOptions) -> Tool:
    _check_callable(function)
    name = fitting_name(function, options.name)
    try:
        return Tool(function, _read_plan(function, name, options))
    except UnresolvedNameError:
        return Tool(function, functools.partial(_read_plan, function, name, options))


def _read_plan(function: Callable[..., Any], name: str, options: ToolOptions) -> _Plan:
    signature = read_signature(function, name)
    checks = {
        item.name: compile_check(item.annotation, f"{name}: parameter '{item.name}'") for item in signature.parameters
    }
    result = None if signature.result is EMPTY else compile_check(signature.result, f"{name}: the result", output=True)
    spec = describe_tool(name, fitting_type(name, options.type, signature), signature, checks, result)
    apply_options(spec, options)
    executor = fitting_executor(name, options.executor, signature, function)
    if executor == "process":
        spec.metadata[EXECUTOR_KEY] = executor
    binder = Binder(name, signature, checks)
    return _Plan(
        spec=spec,
        bind=binder.bind,
        bind_request=binder.bind_request,
        try_bind=binder.try_bind,
        result=result if options.check_result else None,
        is_async=signature.is_async,
        is_generator=signature.is_generator,
        is_stream=signature.is_stream,
        executor=executor,
        context_parameter=signature.context,
        dependencies=Dependencies(signature.dependencies, name) if signature.dependencies else None,
        needs_context=signature.context is not None or bool(signature.dependencies),
        needs_instance=signature.needs_instance,
        options=options,
        binder=binder,
    )


def _tool_inside(obj: object) -> Tool | None:
    """Finds the tool inside a bound method or a partial."""
    if isinstance(obj, Tool):
        return obj
    if isinstance(obj, types.MethodType) and isinstance(obj.__func__, Tool):
        return obj.__func__.__get__(obj.__self__)
    if isinstance(obj, functools.partial) and isinstance(obj.func, Tool):
        whole = obj.func
        part = functools.partial(whole.function, *obj.args, **obj.keywords)
        return _make(part, replace(whole._plan.options, name=whole.spec.name))  # noqa: SLF001 - its own class
    return None


def _check_callable(function: object) -> None:
    if isinstance(function, Tool):
        raise TypeError(f"{function.spec.name!r} is already a tool; set its options where it is defined")
    if isinstance(function, staticmethod | classmethod):
        raise TypeError(f"put @{type(function).__name__} above @tool, not below it")
    if isinstance(function, type):
        raise TypeError(f"{function.__qualname__} is a class; offer a function, or an instance that can be called")
    if inspect.iscoroutine(function):
        # It is never awaited, and Python would warn about that.
        function.close()
        raise TypeError(f"a tool must be the function itself, not its result; write {function.__name__}, without ()")
    if not callable(function):
        raise TypeError(f"a tool must be a function or another callable, not {function!r}")
