"""Prepares annotations for pydantic: replaces what it would wrongly refuse, refuses what it would pass unchecked.

Also answers questions about an annotation: which TypedDicts it holds, whether it takes None, what its default is.
"""

import copy
import dataclasses
import functools
import inspect
import sys
import threading
import types
import typing
from collections import abc
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, Literal, NewType, TypeVar, Union

import typing_extensions
from pydantic import AfterValidator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from grpc_tool_bridge.tools.structs import constraint

_HOOK = "__get_pydantic_core_schema__"
_UNIONS = (Union, types.UnionType)
_LITERALS = (Literal, typing_extensions.Literal)
_UNPACKS = (typing.Unpack, typing_extensions.Unpack)
# Qualifiers of a variable or a key, which do not describe a value.
_QUALIFIERS = (
    typing.ClassVar, typing.Final, typing.Required, typing.NotRequired, typing_extensions.Required,
    typing_extensions.NotRequired, typing_extensions.ReadOnly, typing_extensions.Final, typing_extensions.ClassVar,
    dataclasses.InitVar,
)  # fmt: skip
# Lists, tuples and sets are all instances of these; the items are checked, the class is kept.
_COLLECTIONS = (abc.Collection, abc.Container, abc.Reversible)
_GENERATORS = (abc.Generator, typing.Generator)
_ITERATORS = (abc.Iterator, typing.Iterator, *_GENERATORS)
# Building a schema patches classes and the warning filters, so only one annotation is built at a time.
_CHANGING = threading.RLock()


class UnresolvedNameError(TypeError):
    """An annotation refers to an undefined name, which may still be defined before the tool is needed."""


def checkable(annotation: Any) -> Any:
    """Replaces what pydantic does not know by an equivalent.

    Raises:
        TypeError: It does not describe a value.
    """
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in (typing.LiteralString, typing_extensions.LiteralString):
        return str
    if annotation in (typing.Never, typing.NoReturn):
        return Any
    if isinstance(annotation, dataclasses.InitVar) or annotation in _QUALIFIERS or origin in _QUALIFIERS:
        name = str(annotation).removeprefix("typing.")
        raise TypeError(f"{name} does not describe a value; write the type itself")
    if origin in _LITERALS or (isinstance(annotation, type) and not args and annotation not in _ITERATORS):
        return annotation
    if origin is Annotated:
        return Annotated[(checkable(args[0]), *map(constraint, annotation.__metadata__))]
    if origin in _COLLECTIONS:
        item = checkable(args[0]) if args else Any
        return list[item] | tuple[item, ...] | set[item] | frozenset[item]  # type: ignore[valid-type] # made at run time
    kind = origin or annotation
    if kind in _ITERATORS:
        # It travels as the list of its items; the tool gets an iterator over that list.
        item, read = checkable(args[0]) if args else Any, _generated if kind in _GENERATORS else _iterated
        return Annotated[list[item], AfterValidator(read)]  # type: ignore[valid-type] # as above
    ready = tuple(item if isinstance(item, list) else checkable(item) for item in args)
    if origin is None or all(new is old for new, old in zip(ready, args, strict=True)):
        return annotation
    return (Union if origin is types.UnionType else origin)[ready]


def _iterated(items: list[Any]) -> Iterator[Any]:
    return iter(items)


def _generated(items: list[Any]) -> Iterator[Any]:
    yield from items


def takes_none(annotation: Any) -> bool:
    """Whether None is known to be one of an annotation's values."""
    annotation = unalias(annotation)
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return takes_none(args[0])
    if origin in _UNIONS:
        return any(takes_none(item) for item in args)
    if origin in _LITERALS:
        return None in args
    if isinstance(annotation, TypeVar):
        return not annotation.__constraints__ and annotation.__bound__ in (None, Any)
    return annotation in (Any, object, None, type(None))


def or_none(annotation: Any) -> Any:
    """Adds None to an annotation's values, unless it is known to be one of them."""
    try:
        if takes_none(annotation):
            return annotation
        if any(isinstance(item, FieldInfo) for item in getattr(annotation, "__metadata__", ())):
            # Wrapped around it, the field's metadata would appear twice.
            return Annotated[(or_none(annotation.__origin__), *annotation.__metadata__)]
        return typing.Optional[annotation]  # noqa: UP045 - not of all types
    except TypeError:
        # It is not a type; the compiler reports that.
        return annotation


def without_none(annotation: Any) -> Any:
    """Returns the one type that an annotation allows besides None; otherwise the annotation itself."""
    if typing.get_origin(annotation) not in _UNIONS:
        return annotation
    others = [item for item in typing.get_args(annotation) if item is not type(None)]
    return others[0] if len(others) == 1 else annotation


@dataclasses.dataclass(frozen=True, slots=True)
class AnnotatedDefault:
    """A default in an annotation: its value (PydanticUndefined for a factory) and what makes it for a call."""

    value: Any
    make: Callable[[], Any]


def annotated_default(annotation: Any, where: str) -> AnnotatedDefault | None:
    """Finds the default set by a ``Field`` inside ``Annotated``.

    Raises:
        TypeError: Its factory takes other fields, which a parameter does not have.
    """
    fields = [item for item in getattr(unalias(annotation), "__metadata__", ()) if isinstance(item, FieldInfo)]
    for field in reversed(fields):
        if field.default_factory is not None:
            if field.default_factory_takes_validated_data:
                raise TypeError(f"{where}: its default_factory takes other fields, which a parameter does not have")
            return AnnotatedDefault(PydanticUndefined, typing.cast("Callable[[], Any]", field.default_factory))
        if field.default is not PydanticUndefined:
            return AnnotatedDefault(field.default, functools.partial(copy.deepcopy, field.default))
    return None


def unalias(annotation: Any) -> Any:
    """Returns what a ``type`` alias or a NewType stands for."""
    while True:
        if isinstance(annotation, NewType):
            annotation = annotation.__supertype__
        elif type(annotation).__name__ == "TypeAliasType":
            annotation = annotation.__value__
        else:
            return annotation


def unpacked(annotation: Any) -> Any:
    """Returns the type inside ``Unpack[…]``; None for any other annotation."""
    return typing.get_args(annotation)[0] if typing.get_origin(annotation) in _UNPACKS else None


def typed_dict_of(annotation: Any) -> Any:
    """Returns the class of a TypedDict, with or without type arguments; None for any other annotation."""
    cls = typing.get_origin(annotation) or annotation
    return cls if typing_extensions.is_typeddict(cls) else None


def hints_of(cls: Any) -> dict[str, Any]:
    """Returns the annotations of a class with names resolved, including its own name and, if local, those around it.

    Raises:
        NameError: A name is not defined.
    """
    own = {cls.__name__: cls}
    try:
        return typing_extensions.get_type_hints(cls, localns=own, include_extras=True)
    except NameError:
        around = {**names_around({cls.__module__}), **vars(cls), **own}
        return typing_extensions.get_type_hints(cls, localns=around, include_extras=True)


def names_around(modules: Collection[str], qualname: str = "") -> dict[str, Any]:
    """Finds the local names of functions and class bodies that are running, such as while they decorate their contents.

    Args:
        modules: The modules whose functions count.
        qualname: Of an object defined in them; default: all functions count.
    """
    names: dict[str, Any] = {}
    frame = inspect.currentframe()
    while frame is not None:
        around = frame.f_code.co_qualname
        holds = not qualname or qualname.startswith((f"{around}.", f"{around}.<locals>."))
        if holds and frame.f_globals is not frame.f_locals and frame.f_globals.get("__name__") in modules:
            names = {**frame.f_locals, **names}
        frame = frame.f_back
    return names


def modules_of(annotation: Any) -> set[str]:
    """Returns the names of the modules that define the classes and aliases of an annotation."""
    found = {str(getattr(annotation, "__module__", ""))}
    return found.union(*map(modules_of, typing.get_args(annotation)))


def typed_dict_hints(annotation: Any) -> dict[str, Any]:
    """Returns the annotation of each key of a TypedDict, with names and type arguments resolved and qualifiers kept."""
    cls = typed_dict_of(annotation)
    hints = hints_of(cls)
    given = dict(zip(getattr(cls, "__parameters__", ()), typing.get_args(annotation), strict=False))
    return {name: _substituted(hint, given) for name, hint in hints.items()} if given else hints


def is_required(owner: Any, name: str, hint: Any) -> tuple[bool, Any]:
    """Returns whether a key is required, and the annotation of its value without qualifiers.

    If annotations are postponed, ``__required_keys__`` ignores the qualifiers in them.
    """
    required = name in typed_dict_of(owner).__required_keys__
    extras: tuple[Any, ...] = ()
    while True:
        origin = typing.get_origin(hint)
        if origin is Annotated:
            extras = (*hint.__metadata__, *extras)
            hint = hint.__origin__
        elif origin in _QUALIFIERS:
            if origin in (typing.NotRequired, typing_extensions.NotRequired):
                required = False
            elif origin in (typing.Required, typing_extensions.Required):
                required = True
            hint = typing.get_args(hint)[0]
        else:
            return required, Annotated[(hint, *extras)] if extras else hint


def _substituted(hint: Any, given: Mapping[Any, Any]) -> Any:
    if isinstance(hint, TypeVar):
        return given.get(hint, hint)
    inside = getattr(hint, "__parameters__", ())
    return hint[tuple(given.get(item, item) for item in inside)] if inside else hint


@contextmanager
def typed_dicts_taken(annotation: Any) -> Iterator[None]:
    """Lets pydantic accept ``typing.TypedDict``, which it refuses before Python 3.12, anywhere in the annotation."""
    with _CHANGING:
        wanted = [] if sys.version_info >= (3, 12) else _typed_dicts(annotation, {})
        changed = [cls for cls in wanted if _HOOK not in vars(cls)]
        for cls in changed:
            setattr(cls, _HOOK, _hook(_twin(cls)))
        try:
            yield
        finally:
            for cls in changed:
                delattr(cls, _HOOK)


def _hook(twin: Any) -> Any:
    def schema(source: Any, handler: Any) -> Any:
        args = typing.get_args(source)
        # The handler itself would resolve references, and a class that refers to itself is not built yet.
        return handler.generate_schema(twin[args] if args else twin)

    return staticmethod(schema)


def _twin(cls: Any) -> Any:
    """Makes the equivalent TypedDict of ``typing_extensions``, which knows which keys are required."""
    parameters = getattr(cls, "__parameters__", ())
    generic: Any = typing.Generic
    twin: Any = types.new_class(
        cls.__name__, (typing_extensions.TypedDict, *([generic[parameters]] if parameters else []))
    )
    twin.__annotations__ = typed_dict_hints(cls)
    twin.__required_keys__, twin.__optional_keys__ = cls.__required_keys__, cls.__optional_keys__
    for name in ("__module__", "__qualname__", "__doc__", "__pydantic_config__"):
        if hasattr(cls, name):
            setattr(twin, name, getattr(cls, name))
    return twin


def _typed_dicts(annotation: Any, seen: dict[int, Any]) -> Iterator[Any]:
    """Finds the TypedDicts of ``typing`` in an annotation and in the fields of the types in it."""
    annotation = unalias(annotation)
    if id(annotation) in seen:
        return
    seen[id(annotation)] = annotation
    cls = typing.get_origin(annotation) or annotation
    # The other arguments of Annotated are not types.
    parts: list[Any] = [*typing.get_args(annotation)][: 1 if cls is Annotated else None]
    if isinstance(annotation, TypeVar):
        parts += [*annotation.__constraints__, *filter(None, [annotation.__bound__])]
    elif typed_dict_of(cls):
        if type(cls).__module__ == "typing":
            yield cls
        parts += typed_dict_hints(cls).values()
    elif isinstance(cls, type) and (dataclasses.is_dataclass(cls) or issubclass(cls, tuple)):
        parts += hints_of(cls).values()
    elif isinstance(annotation, list):
        parts += annotation
    for part in parts:
        yield from _typed_dicts(part, seen)
