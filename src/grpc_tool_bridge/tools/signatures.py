"""Reads a function's signature: its parameters, its result, its docstring, and how it runs."""

import asyncio
import contextlib
import functools
import inspect
import types
import typing
from collections import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import typing_extensions
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from grpc_tool_bridge.tools.annotations import (
    UnresolvedNameError,
    annotated_default,
    is_required,
    names_around,
    or_none,
    typed_dict_hints,
    typed_dict_of,
    unpacked,
    without_none,
)
from grpc_tool_bridge.tools.argument_kinds import KEYWORD_ONLY, POSITIONAL_ONLY, VAR_KEYWORD, VAR_POSITIONAL
from grpc_tool_bridge.tools.call_context import CallContext
from grpc_tool_bridge.tools.depends import Dependency, dependency_of
from grpc_tool_bridge.tools.docstrings import Docstring, read_docstring
from grpc_tool_bridge.tools.typespecs import bare_text

EMPTY = inspect.Parameter.empty


class _Omitted:
    """The default of an optional key: the function is not given one."""

    def __repr__(self) -> str:
        return "<omitted>"


OMITTED = _Omitted()

_ASYNC_STREAMS = (abc.AsyncIterator, abc.AsyncIterable, abc.AsyncGenerator)
# An Iterable may be a list as well, so it does not make a function a stream unless the function itself yields.
_STREAMS = (abc.Iterator, abc.Generator, *_ASYNC_STREAMS)
_AWAITABLES = (abc.Awaitable, abc.Coroutine, asyncio.Future, asyncio.Task)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a tool.

    Attributes:
        name: Its name, without stars.
        kind: One of ``inspect.Parameter``'s kinds.
        annotation: The annotation with names resolved; for ``*args`` and ``**kwargs``, that of one item. ``Any`` if
        there is none.
        default: The default; ``EMPTY`` if there is none, ``OMITTED`` if there is none but it may be omitted.
        description: What the docstring says about it.
        make_default: Makes the default if the annotation defines it and the function does not; otherwise None.
        dependency: Its ``Depends``; None if the caller fills it in.
    """

    name: str
    kind: Any
    annotation: Any
    default: Any = EMPTY
    description: str = ""
    make_default: Callable[[], Any] | None = None
    dependency: Dependency | None = None

    @property
    def variadic(self) -> bool:
        """Whether it is ``*args`` or ``**kwargs``."""
        return self.kind in (VAR_POSITIONAL, VAR_KEYWORD)

    @property
    def positional(self) -> bool:
        """Whether one argument may be given by position."""
        return self.kind in (POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)

    @property
    def required(self) -> bool:
        """Whether a call must include it."""
        return self.default is EMPTY and not self.variadic


@dataclass(frozen=True, slots=True)
class Signature:
    """A function as a tool.

    Attributes:
        parameters: The parameters that a caller may fill, in order: without ``self``, the context and dependencies.
        context: Name of the parameter that gets the ToolContext, if any.
        dependencies: The ``Depends`` of the parameters that have one, by name.
        own_index: How many arguments may be given by position before the first parameter that the bridge fills in; None
        if it does not limit them.
        result: Annotation of the result or, for a generator, of one item; ``EMPTY`` if there is none.
        description: The docstring without the parts about the arguments and the result.
        result_description: What the docstring says about the result.
        is_async: Whether it is a coroutine function or an async generator function.
        is_generator: Whether it is a generator function, async or not.
        is_stream: Whether its values are sent one by one: it yields, or is annotated to return an iterator.
        needs_instance: Whether it is a method not yet bound to an instance.
        aliases: Other names by which parameters may be given, and the names of the parameters.
    """

    parameters: tuple[Parameter, ...]
    context: str | None = None
    dependencies: Mapping[str, Dependency] = field(default_factory=dict)
    own_index: int | None = None
    result: Any = EMPTY
    description: str = ""
    result_description: str = ""
    is_async: bool = False
    is_generator: bool = False
    is_stream: bool = False
    needs_instance: bool = False
    aliases: Mapping[str, str] = field(default_factory=dict)


def read_signature(function: Callable[..., Any], label: str) -> Signature:
    """Reads a function's signature, with every annotation resolved.

    Args:
        function: A function, bound method, callable object or ``functools.partial``.
        label: How errors name the function.

    Raises:
        TypeError: There is no signature to read, an annotation cannot be resolved (``UnresolvedNameError`` if a name is
        not defined), or the bridge cannot fill in the context at its position.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{label}: its signature cannot be read ({error}); wrap it in a function that has one"
        ) from error
    code, described = implementation(function), described_by(function)
    raw = list(signature.parameters.values())
    needs_instance = _is_unbound_method(function, raw)
    raw = raw[1:] if needs_instance else raw
    doc = read_docstring(docstring_of(function))
    resolve = Resolver.of(described)
    parameters = tuple(part for item in raw for part in _read_parameters(item, resolve, doc, label))
    _check_names(parameters, label)
    context = _find_context(parameters, label)
    own = [item for item in parameters if item is context or item.dependency is not None]
    _check_own(own, parameters, label)
    result = signature.return_annotation
    if result is not EMPTY:
        result = _awaited_type(resolve(result, f"{label}: the result"))
    is_generator = _yields(code)
    is_stream = is_generator or _yields(described) or _origin(result) in _STREAMS
    return Signature(
        parameters=tuple(item for item in parameters if item not in own),
        context=context.name if context else None,
        dependencies={item.name: item.dependency for item in own if item.dependency is not None},
        own_index=next((parameters.index(item) for item in own if item.positional), None),
        result=_item_type(result, label) if is_stream else result,
        description=_with_others(doc, parameters, described),
        result_description=doc.result,
        is_async=inspect.iscoroutinefunction(code) or inspect.isasyncgenfunction(code),
        is_generator=is_generator,
        is_stream=is_stream,
        needs_instance=needs_instance,
    )


def _with_others(doc: Docstring, parameters: tuple[Parameter, ...], described: Callable[..., Any]) -> str:
    """Adds to the description what the docstring says about arguments that only ``**kwargs`` takes."""
    if all(item.kind is not VAR_KEYWORD for item in parameters):
        return doc.description
    known = {item.name for item in parameters} | set(inspect.signature(described).parameters)
    others = [f"{name}: {text}" for name, text in doc.arguments.items() if name not in known]
    return "\n\n".join(filter(None, [doc.description, "\n".join(others)]))


def implementation(function: Callable[..., Any]) -> Callable[..., Any]:
    """Finds the ``def`` that runs when ``function`` is called: inside a partial, a bound method, a callable object."""
    while isinstance(function, functools.partial):
        function = function.func
    if isinstance(function, types.MethodType):
        return function.__func__
    if inspect.isroutine(function):
        return function
    return typing.cast("Callable[..., Any]", inspect.unwrap(type(function).__call__))


def described_by(function: Callable[..., Any]) -> Callable[..., Any]:
    """Finds the ``def`` that describes a function: the innermost one below its decorators."""
    while True:
        if isinstance(function, functools.partial):
            function = function.func
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        else:
            return implementation(function)


def docstring_of(function: Callable[..., Any]) -> str:
    """Returns a function's raw docstring; for a callable object whose ``__call__`` has none, that of its class."""
    while isinstance(function, functools.partial):
        function = function.func
    if hasattr(function, "__wrapped__"):
        # functools.wraps has copied the docstring of the wrapped function to the decorator's object or function.
        return vars(function).get("__doc__") or getattr(function, "__doc__", None) or ""
    # Not inspect.getdoc: it looks the function up in its class, which would make another tool of it.
    own = None if inspect.isroutine(function) else type(function).__doc__
    return implementation(function).__doc__ or own or ""


def _read_parameters(item: inspect.Parameter, resolve: "Resolver", doc: Docstring, label: str) -> list[Parameter]:
    """Reads a parameter; for ``**kwargs: Unpack[…]``, one for each key of the TypedDict."""
    where = f"{label}: parameter '{item.name}'"
    if isinstance(item.default, FieldInfo):
        raise TypeError(f"{where}: its default is a Field, which the function would be given; put it in Annotated[...]")
    annotation = resolve(item.annotation, where)
    dependency = dependency_of(annotation, item.default, where)
    if dependency is not None:
        return [Parameter(item.name, item.kind, annotation, dependency=dependency)]
    inside = unpacked(annotation)
    if inside is None:
        return [_parameter(item.name, item.kind, annotation, item.default, doc, where)]
    if item.kind is VAR_POSITIONAL and typing.get_origin(inside) is tuple and typing.get_args(inside)[1:] == (...,):
        return [_parameter(item.name, item.kind, typing.get_args(inside)[0], EMPTY, doc, where)]
    if item.kind is not VAR_KEYWORD or typed_dict_of(inside) is None:
        raise TypeError(
            f"{where}: {bare_text(annotation)} cannot be read; give its arguments as parameters of their own"
        )
    return _read_keys(item.name, inside, doc, where)


def _read_keys(name: str, typed_dict: Any, doc: Docstring, where: str) -> list[Parameter]:
    try:
        hints = typed_dict_hints(typed_dict)
    except NameError as error:
        raise UnresolvedNameError(f"{where}: a key of {bare_text(typed_dict)} cannot be resolved ({error})") from error
    found = []
    for key, hint in hints.items():
        required, annotation = is_required(typed_dict, key, hint)
        read = _parameter(key, KEYWORD_ONLY, annotation, EMPTY if required else OMITTED, doc, where)
        found.append(read)
    others = getattr(typed_dict_of(typed_dict), "__extra_items__", None)
    if others not in (None, typing_extensions.NoExtraItems, typing.Never, typing_extensions.Never):
        found.append(_parameter(name, VAR_KEYWORD, others, EMPTY, doc, where))
    return found


def _parameter(name: str, kind: Any, annotation: Any, default: Any, doc: Docstring, where: str) -> Parameter:
    said = [extra.description for extra in getattr(annotation, "__metadata__", ()) if isinstance(extra, FieldInfo)]
    description = next(filter(None, said), None) or doc.arguments.get(name, "")
    make_default = None
    if (default is EMPTY or default is OMITTED) and kind not in (VAR_POSITIONAL, VAR_KEYWORD):
        found = annotated_default(annotation, where)
        if found is not None:
            # A default made for each call is not known beforehand.
            default, make_default = OMITTED if found.value is PydanticUndefined else found.value, found.make
    if default is None:
        annotation = or_none(annotation)
    return Parameter(name, kind, annotation, default, description, make_default)


def _check_names(parameters: tuple[Parameter, ...], label: str) -> None:
    names = [item.name for item in parameters]
    for place, name in enumerate(names):
        if name in names[:place]:
            raise TypeError(f"{label}: '{name}' is both a parameter and a key of its **kwargs, or a key of two")


def _is_unbound_method(function: Callable[..., Any], parameters: list[inspect.Parameter]) -> bool:
    """Whether the function is in a class body and its first parameter is ``self`` or ``cls``: nothing else shows it."""
    in_class = "." in getattr(function, "__qualname__", "").rpartition("<locals>.")[2]
    named = bool(parameters) and parameters[0].name in ("self", "cls") and parameters[0].annotation is EMPTY
    return inspect.isfunction(function) and in_class and named


@dataclass(frozen=True, slots=True)
class Resolver:
    """Resolves annotations written as text. Made by ``of``."""

    global_names: dict[str, Any]
    local_names: dict[str, Any]
    qualname: str

    @classmethod
    def of(cls, code: Callable[..., Any]) -> "Resolver":
        """Returns the resolver for the annotations of a function."""
        code = inspect.unwrap(code)
        local_names = {item.__name__: item for item in getattr(code, "__type_params__", ())}
        if inspect.isfunction(code):
            for name, cell in zip(code.__code__.co_freevars, code.__closure__ or (), strict=True):
                # A name that gets its value later, such as the function's own, is an empty cell.
                with contextlib.suppress(ValueError):
                    local_names[name] = cell.cell_contents
        return cls(getattr(code, "__globals__", {}), local_names, getattr(code, "__qualname__", ""))

    def __call__(self, annotation: Any, where: str) -> Any:
        """Resolves an annotation; raises TypeError, whose text begins with ``where``, if it cannot be."""
        if annotation is EMPTY:
            return Any
        try:
            try:
                return self._resolved(annotation, self.local_names)
            except NameError:
                around = names_around({self.global_names.get("__name__", "")}, self.qualname)
                return self._resolved(annotation, around | self.local_names)
        except NameError as error:
            raise UnresolvedNameError(
                f"{where}: its annotation {annotation!r} cannot be resolved ({type(error).__name__}: {error}); "
                "import or define what it names at module level, outside 'if TYPE_CHECKING'"
            ) from error
        except Exception as error:
            raise TypeError(
                f"{where}: its annotation {annotation!r} cannot be read as a type ({type(error).__name__}: {error})"
            ) from error

    def _resolved(self, annotation: Any, local_names: dict[str, Any]) -> Any:
        holder = types.SimpleNamespace(__annotations__={"value": annotation})
        return typing.get_type_hints(holder, self.global_names, local_names, include_extras=True)["value"]


def _find_context(parameters: tuple[Parameter, ...], label: str) -> Parameter | None:
    found = [item for item in parameters if item.dependency is None and is_context(item.annotation)]
    if not found:
        return None
    if len(found) > 1:
        names = " and ".join(f"'{item.name}'" for item in found)
        raise TypeError(f"{label}: parameters {names} are both a ToolContext; a tool can have only one")
    return found[0]


def _check_own(own: list[Parameter], parameters: tuple[Parameter, ...], label: str) -> None:
    """Checks that the bridge can fill in its parameters by name."""
    is_starred = any(item.kind is VAR_POSITIONAL for item in parameters)
    for item in own:
        if item.variadic or item.kind is POSITIONAL_ONLY:
            raise TypeError(
                f"{label}: parameter '{item.name}' is given by name: it must not be positional-only or starred"
            )
        if item.positional and is_starred:
            raise TypeError(f"{label}: parameter '{item.name}' comes before the starred one; put it after that")


def is_context(annotation: Any) -> bool:
    """Whether an annotation is that of the context."""
    annotation = without_none(_bare(annotation))
    return isinstance(annotation, type) and issubclass(annotation, CallContext)


def _yields(code: Callable[..., Any]) -> bool:
    return inspect.isgeneratorfunction(code) or inspect.isasyncgenfunction(code)


def _bare(annotation: Any) -> Any:
    """Returns the type of an annotation, without ``Annotated``."""
    return annotation.__origin__ if typing.get_origin(annotation) is Annotated else annotation


def _origin(annotation: Any) -> Any:
    annotation = _bare(annotation)
    return typing.get_origin(annotation) or annotation


def _awaited_type(result: Any) -> Any:
    """Returns the type of an awaited result: ``int`` for ``Awaitable[int]``."""
    while _origin(result) in _AWAITABLES:
        args = typing.get_args(_bare(result))
        result = args[-1] if args else Any
    return result


def _item_type(result: Any, label: str) -> Any:
    if result is EMPTY or result is Any:
        return result
    if _origin(result) not in (*_STREAMS, abc.Iterable):
        raise TypeError(f"{label}: it yields its values, so its return annotation must be an Iterator or AsyncIterator")
    return (typing.get_args(_bare(result)) or (Any,))[0]
